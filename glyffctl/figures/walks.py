"""Figure of walks in the plane under the exact score, without noise and with it."""

from __future__ import annotations

import torch
from matplotlib.axes import Axes
from torch import Tensor

from glyffctl.core.theory.walks import NEAR, PLACES, SIGMA, STEPS, WALKS, WEIGHTS, Ends, compare_walks, planar_data
from glyffctl.figures.demo_scene import DemoScene, MeasuredFigure
from glyffctl.figures.style import DENSITY, GREY, INK, PALETTE, SMALL, WIDTH, new_figure, square_frame

REACH = 3.7
CELLS = 181
SHOWN, DOTS = 9, 300
"""Walks whose path is drawn without noise, and walks whose end is."""
NAMES = ("left", "right", "top")
ROWS = (
    ("true shares", GREY),
    ("without noise", PALETTE[1]),
    ("with noise", PALETTE[0]),
)


def draw_walks(scene: DemoScene) -> MeasuredFigure:
    """Draw paths and ends of walks at one noise level, and how often they end at each mode."""
    found = compare_walks(scene.seed)
    figure = new_figure(WIDTH, 5.9)
    grid = figure.add_gridspec(2, 2, height_ratios=(5, 3))
    climbing, walking = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[0, 1])
    for axes in (climbing, walking):
        _draw_density(axes)
    for path in found.climbing[:, :SHOWN].permute(1, 2, 0):
        climbing.plot(*path, color=PALETTE[1], linewidth=1)
    climbing.scatter(*_axes(found.climbing[0, :SHOWN]), s=16, facecolors="white", edgecolors=PALETTE[1], zorder=3)
    climbing.scatter(*_axes(found.climbing[-1, :DOTS]), s=22, color=INK, linewidths=0, zorder=4)
    climbing.set_title("without noise: straight to a mode")
    walking.plot(*found.walking[:, 0].T, color=PALETTE[0], linewidth=0.7)
    walking.scatter(*_axes(found.walking[0, :1]), s=16, facecolors="white", edgecolors=PALETTE[0], zorder=3)
    walking.scatter(*_axes(found.walking[-1, :DOTS]), s=6, color=INK, linewidths=0, zorder=4)
    walking.set_title("with noise: all of the hills")
    bars = figure.add_subplot(grid[1, :])
    _draw_shares(bars, found.expected.tolist(), found.one_level)
    figure.legend(*bars.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    still, moving = found.one_level["without noise"], found.one_level["with noise"]
    weights = ", ".join(f"{weight / sum(WEIGHTS):.0%}" for weight in WEIGHTS)
    return MeasuredFigure(
        figure,
        f"{WALKS:,} walks of {STEPS} steps at σ = {SIGMA:g}, under the exact score of three points with the weights "
        f"{weights}. {_percent(still)} of them end within {NEAR:g} of a mode without noise, and {_percent(moving)} "
        "with it; in brackets are 95 % intervals.\n"
        f"By chance alone, shares would differ from the true ones as much as these with p = {still.p:.1g} without "
        f"noise, and with p = {moving.p:.1g} with it.\n"
        "Samplers that start from pure noise need none on the way; their shares at the three modes are "
        f"{_shares(found.from_noise['without noise'])} by ddim and {_shares(found.from_noise['with noise'])} by ddpm.",
    )


def _draw_density(axes: Axes) -> None:
    line = torch.linspace(-REACH, REACH, CELLS, dtype=torch.float64)
    grid = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1).reshape(-1, 1, 1, 2)
    density = planar_data().log_density(grid, torch.full((len(grid),), SIGMA, dtype=torch.float64)).exp()
    axes.pcolormesh(
        line.numpy(), line.numpy(), density.reshape(CELLS, CELLS).numpy(), cmap=DENSITY,
        vmin=0, vmax=2 * float(density.max()), shading="gouraud", rasterized=True,
    )  # fmt: skip
    square_frame(axes, REACH)


def _draw_shares(axes: Axes, expected: list[float], found: dict[str, Ends]) -> None:
    """Draw bars of the shares with their intervals, a group for each mode."""
    for row, (name, colour) in enumerate(ROWS):
        shares = expected if name not in found else [each.value for each in found[name].shares]
        places = [k + (row - 1) * 0.27 for k in range(len(PLACES))]
        axes.bar(places, [100 * value for value in shares], 0.25, color=colour, label=name)
        if name in found:
            reach = [[100 * (e.value - e.low), 100 * (e.high - e.value)] for e in found[name].shares]
            axes.errorbar(
                places, [100 * value for value in shares], torch.tensor(reach).T.numpy(), fmt="none", ecolor=INK,
                elinewidth=1, capsize=3,
            )  # fmt: skip
    axes.set_xticks(range(len(PLACES)), [f"{name} mode" for name in NAMES])
    axes.tick_params(axis="x", length=0)
    axes.yaxis.set_major_formatter("{x:g} %")
    axes.set_ylabel("walks that end there", fontsize=SMALL)


def _axes(points: Tensor) -> tuple[Tensor, Tensor]:
    return points[:, 0], points[:, 1]


def _percent(found: Ends) -> str:
    return f"{found.on_mode.value:.1%} ({found.on_mode.low:.1%} to {found.on_mode.high:.1%})"


def _shares(found: Ends) -> str:
    return f"{', '.join(f'{each.value:.1%}' for each in found.shares)} (p = {found.p:.2g})"
