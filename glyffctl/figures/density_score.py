"""Figures of a planar data set under noise: its points, its density, its score."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from glyffctl.core.theory import forward
from glyffctl.core.theory.planar import distance_from_normal, grid_points, mixture_density, mixture_score
from glyffctl.figures.demo_scene import DemoScene, MeasuredFigure
from glyffctl.figures.style import DENSITY, PALETTE, STRENGTH, WIDTH, new_figure, square_frame

TIMES = (0, 50, 150, 350, 1000)
REACH = 2.9
CELLS, ARROWS = 181, 11
SCORE_TIMES = (50, 150, 350, 1000)
SHORTEST = 0.5
"""Scores shorter than this are drawn as dots: the arrow would be only a head."""
SHARPEST = 0.999
"""The largest ᾱ that is drawn: with less noise the peaks are narrower than the grid."""


def alpha_bar_at(scene: DemoScene, t: int) -> float:
    """ᾱ after step t, 0 to 1,000, of the schedule of `scene`."""
    return float(scene.schedule.alpha_bar()[t - 1]) if t else 1.0


def draw_cloud(scene: DemoScene, figure: Figure, row: Sequence[Axes]) -> None:
    """Draw the data in each panel under the same noise, with a legend of the groups."""
    eps = scene.noise(scene.plane)
    for axes, t in zip(row, TIMES, strict=True):
        noisy = forward.jump(scene.plane, alpha_bar_at(scene, t), eps)
        for group in range(len(scene.group_names)):
            x, y = noisy[scene.groups == group].T.numpy()
            axes.scatter(x, y, s=3.5, linewidths=0, color=PALETTE[group], alpha=0.8)
        axes.set_title(f"t = {t:,}", loc="center")
        square_frame(axes, REACH)
    row[0].set_ylabel("noisy glyphs")
    if len(scene.group_names) > 1:
        handles = [
            row[0].scatter([], [], s=26, color=PALETTE[group], label=name)
            for group, name in enumerate(scene.group_names)
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), handletextpad=0.2)


def draw_hills(scene: DemoScene, panels: Sequence[Axes], times: Sequence[int], strength: float) -> None:
    """Draw the density in each panel, each on its own scale."""
    line = torch.linspace(-REACH, REACH, CELLS, dtype=torch.float64)
    for axes, t in zip(panels, times, strict=True):
        values = mixture_density(scene.plane, line, min(alpha_bar_at(scene, t), SHARPEST))
        values = values / values.max()
        axes.pcolormesh(
            line.numpy(), line.numpy(), values.numpy(), cmap=DENSITY, vmin=0, vmax=1 / strength, shading="gouraud",
            rasterized=True,
        )  # fmt: skip
        square_frame(axes, REACH)


def draw_density(scene: DemoScene) -> MeasuredFigure:
    """Draw the data under more and more noise, and below the density of the noisy data."""
    figure = new_figure(WIDTH, 3.9)
    upper, lower = figure.subplots(2, len(TIMES))
    draw_cloud(scene, figure, upper)
    draw_hills(scene, lower, TIMES, 1)
    lower[0].set_ylabel("their density")
    gaps = ", ".join(f"{distance_from_normal(scene.plane, alpha_bar_at(scene, t)):.4f} at t = {t:,}" for t in TIMES[1:])
    return MeasuredFigure(
        figure,
        f"{len(scene.plane):,} real glyphs along their two principal axes, {scene.schedule_name} schedule.\n"
        "How far the noisy glyphs are from pure noise (total variation distance: the share of one distribution that "
        f"the other does not cover, from 0, alike, to 1, apart): {gaps}.",
    )


def draw_score(scene: DemoScene) -> MeasuredFigure:
    """Draw the exact score at several noise levels, as arrows on the density.

    Scores range from 0 to over a hundred, so colour and length follow their logarithm, on one scale in all panels.
    """
    figure = new_figure(WIDTH, 8.3)
    panels = list(figure.subplots(2, 2).flat)
    draw_hills(scene, panels, SCORE_TIMES, 0.4)
    norm, longest = draw_arrows(scene, panels, SCORE_TIMES, ARROWS)
    for axes, t in zip(panels, SCORE_TIMES, strict=True):
        axes.set_title(f"t = {t:,}", loc="center")
    bar = figure.colorbar(ScalarMappable(norm, STRENGTH), ax=panels, location="bottom", aspect=45, pad=0.02)
    ticks = [tick for tick in (0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if tick <= max(longest)]
    bar.set_ticks(ticks, labels=[f"{tick:g}" for tick in ticks], minor=False)
    bar.ax.minorticks_off()
    bar.set_label(f"length of the score (dots: below {SHORTEST:g})")
    longest_text = ", ".join(f"{_round(value)} at t = {t:,}" for value, t in zip(longest, SCORE_TIMES, strict=True))
    return MeasuredFigure(
        figure,
        f"The longest score among the arrows is {longest_text}, {scene.schedule_name} schedule. Colour and length of "
        "an arrow follow the logarithm of that length, on one scale in all panels.",
    )


def draw_arrows(
    scene: DemoScene, panels: Sequence[Axes], times: Sequence[int], across: int
) -> tuple[LogNorm, list[float]]:
    """Draw the score of the plane of `scene` in each panel, as a square of arrows.

    Returns:
        The scale of the arrows' colours, and the length of the longest score in each panel.
    """
    line = torch.linspace(-REACH, REACH, across + 2, dtype=torch.float64)[1:-1]
    starts, cell = grid_points(line), float(line[1] - line[0])
    levels = [min(alpha_bar_at(scene, t), SHARPEST) for t in times]
    scores = [mixture_score(scene.plane, starts, alpha_bar) for alpha_bar in levels]
    longest = [float(values.norm(dim=1).max()) for values in scores]
    top = max(longest)
    norm = LogNorm(SHORTEST, top)
    for axes, values in zip(panels, scores, strict=True):
        lengths = values.norm(dim=1, keepdim=True)
        shown = (lengths >= SHORTEST).flatten()
        share = 0.45 + 0.5 * (lengths / SHORTEST).log() / math.log(top / SHORTEST)
        arrows = values / lengths * share * cell
        axes.quiver(
            *starts[shown].T.numpy(), *arrows[shown].T.numpy(), lengths[shown].flatten().numpy(),
            cmap=STRENGTH, norm=norm, angles="xy", scale_units="xy", scale=1, pivot="mid", width=0.0075,
            headwidth=3.2, headlength=3.4, headaxislength=3.2, minlength=0,
        )  # fmt: skip
        x, y = starts[~shown].T.numpy()
        axes.scatter(x, y, s=6, color=STRENGTH(0.0), linewidths=0)
    return norm, longest


def _round(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"
