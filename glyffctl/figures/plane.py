"""Figures of a flat data set under noise: its points, its density, its score."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from glyffctl.core import forward, plane
from glyffctl.figures.scene import Drawn, Scene
from glyffctl.figures.style import DENSITY, GREY, INK, PALETTE, new_figure

TIMES = (0, 50, 150, 350, 1000)
REACH = 2.9
CELLS, ARROWS = 181, 17
SHARPEST = 0.999
"""The most signal that is drawn: sharper points would be finer than the grid."""


def _alpha_bar(scene: Scene, t: int) -> float:
    return float(scene.schedule.alpha_bar()[t - 1]) if t else 1.0


def _clean(axes: Axes) -> None:
    axes.set_xlim(-REACH, REACH)
    axes.set_ylim(-REACH, REACH)
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_linewidth(0.6)


def _points(scene: Scene, figure: Figure, row: Sequence[Axes]) -> None:
    """The data set in each panel, noised by the same noise, and which colour is which."""
    eps = scene.noise(scene.plane)
    for axes, t in zip(row, TIMES, strict=True):
        noisy = forward.jump(scene.plane, _alpha_bar(scene, t), eps)
        for group in range(len(scene.group_names)):
            x, y = noisy[scene.groups == group].T.numpy()
            axes.scatter(x, y, s=3.5, linewidths=0, color=PALETTE[group], alpha=0.8)
        axes.set_title(f"t = {t:,}", loc="center")
        _clean(axes)
    row[0].set_ylabel("drawn from $q(x_t)$")
    if len(scene.group_names) > 1:
        handles = [
            row[0].scatter([], [], s=26, color=PALETTE[group], label=name)
            for group, name in enumerate(scene.group_names)
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), handletextpad=0.2)


def _hills(scene: Scene, row: Sequence[Axes], strength: float) -> None:
    """The density in each panel, darkest where it is greatest there."""
    line = torch.linspace(-REACH, REACH, CELLS, dtype=torch.float64)
    for axes, t in zip(row, TIMES, strict=True):
        values = plane.density(scene.plane, line, min(_alpha_bar(scene, t), SHARPEST))
        values = values / values.max()
        axes.pcolormesh(
            line.numpy(), line.numpy(), values.numpy(), cmap=DENSITY, vmin=0, vmax=1 / strength, shading="gouraud",
            rasterized=True,
        )  # fmt: skip
        _clean(axes)


def density(scene: Scene) -> Drawn:
    """The data set after more and more noise, and below the distribution it is then drawn from."""
    figure = new_figure(11, 5.1)
    upper, lower = figure.subplots(2, len(TIMES))
    _points(scene, figure, upper)
    _hills(scene, lower, 1)
    lower[0].set_ylabel("$q(x_t)$")
    gaps = ", ".join(f"{plane.normal_gap(scene.plane, _alpha_bar(scene, t)):.4f} at t = {t:,}" for t in TIMES[1:])
    return Drawn(
        figure,
        f"{len(scene.plane):,} real glyphs in their two principal directions, {scene.schedule_name} schedule. Total "
        f"variation distance between q(x_t) and N(0, I), from 1 (apart) to 0 (alike): {gaps}.",
    )


def score(scene: Scene) -> Drawn:
    """The data set after more and more noise, and below the exact score on the density."""
    figure = new_figure(11, 5.2)
    upper, lower = figure.subplots(2, len(TIMES))
    _points(scene, figure, upper)
    _hills(scene, lower, 0.6)
    line = torch.linspace(-REACH, REACH, ARROWS, dtype=torch.float64)
    roots, cell, said = plane.grid(line), float(line[1] - line[0]), []
    for axes, t in zip(lower, TIMES, strict=True):
        arrows = plane.score(scene.plane, roots, min(_alpha_bar(scene, t), SHARPEST))
        lengths = arrows.norm(dim=1, keepdim=True)
        longest = float(lengths.max())
        # The square root keeps short arrows in sight beside long ones.
        arrows = arrows / lengths * (lengths / longest).sqrt() * cell * 1.15
        axes.quiver(
            *roots.T.numpy(), *arrows.T.numpy(), angles="xy", scale_units="xy", scale=1, color=INK, width=0.008,
            headwidth=4, headlength=4.5, headaxislength=4, minlength=0.3,
        )  # fmt: skip
        axes.set_xlabel(f"longest {longest:,.0f}" if longest >= 100 else f"longest {longest:.1f}", color=GREY)
        said.append(f"{longest:,.1f} at t = {t:,}")
    lower[0].set_ylabel(r"$\nabla\log q(x_t)$")
    return Drawn(
        figure,
        f"The longest arrow stands for a score of {', '.join(said)}; lengths are drawn by their square root. At t = 0 "
        f"the score would be infinite: shown is ᾱ = {SHARPEST}.",
    )
