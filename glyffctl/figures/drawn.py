"""Figures of what a model draws: few steps beside many, and generated glyphs beside real ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from glyffctl.core.images import near_square, sheet
from glyffctl.figures.scene import shrink
from glyffctl.figures.style import GREY, new_figure

SMALL = 80
"""Pixels of a glyph in an animation: noise does not compress."""
IN_A_ROW = 3
"""Pictures in a row of a cell."""


def block(axes: Axes, pictures: Tensor, columns: int) -> None:
    """Pictures (N, H, W) uint8 as one sheet, without a frame."""
    axes.imshow(sheet(pictures, columns, gap=6))
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_color(GREY)
        spine.set_linewidth(0.6)


def table(rows: Sequence[str], columns: Sequence[str], cells: Sequence[Sequence[tuple[Tensor, str]]]) -> Figure:
    """A sheet of pictures in each cell, with a remark below it.

    Args:
        cells: for each row and column pictures (N, H, W) uint8 and a remark; without pictures the cell stays empty.
    """
    figure = new_figure(2.4 * len(columns) + 0.3, 1.95 * len(rows) + 0.35)
    grid = figure.subplots(len(rows), len(columns), squeeze=False)
    for line, row, name in zip(grid, cells, rows, strict=True):
        for axes, (pictures, remark) in zip(line, row, strict=True):
            if not len(pictures):
                axes.set_axis_off()
                continue
            block(axes, pictures, IN_A_ROW)
            axes.set_xlabel(remark, fontsize=9, labelpad=3)
        line[0].set_ylabel(name, fontsize=11)
    for axes, name in zip(grid[0], columns, strict=True):
        axes.set_title(name, loc="center", fontsize=11)
    return figure


def beside(real: Tensor, drawn: Tensor) -> Figure:
    """Real glyphs to the left, drawn ones to the right, each (N, H, W) uint8."""
    figure = new_figure(10, 5.3)
    for axes, pictures, title in zip(figure.subplots(1, 2), (real, drawn), ("real", "drawn by the model"), strict=True):
        block(axes, pictures, near_square(len(pictures)))
        axes.set_title(title, loc="center", fontsize=11)
    return figure


def frames(noisy: Sequence[Tensor]) -> list[Image.Image]:
    """Sheets for an animation, each of (N, H, W) uint8, made small."""
    side = min(SMALL, noisy[0].shape[-1])
    small = [shrink(pictures[:, None].float(), side)[:, 0].round().clamp(0, 255).to(torch.uint8) for pictures in noisy]
    return [sheet(pictures, near_square(len(pictures))) for pictures in small]
