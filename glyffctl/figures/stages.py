"""Figures of a drawing in two parts: the latents of a codec, and a small picture that is enlarged."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from glyffctl.figures.model_figures import frame
from glyffctl.figures.style import DIFFERENCE, DPI, WIDTH, new_figure

_EDGE, _GAP, _TITLE = 0.06, 0.12, 0.28  # inches: around everything, between pictures, and a line above each
_PIXEL = 1 / DPI  # inches


def draw_latents(
    columns: Sequence[str], glyph: Tensor, latents: Tensor, without: Tensor, alone: Tensor, remarks: Sequence[str]
) -> Figure:
    """Draw the channels of a latent, and what the decoder makes of it without each of them, and of each alone.

    Args:
        columns: C headings of the channels.
        glyph: (H, W) uint8.
        latents: (C, h, w).
        without: (1 + C, H, W) uint8: decoded from all channels, then without each.
        alone: (1 + C, H, W) uint8: decoded without any, then from each alone.
        remarks: 1 + C texts below the row `without`.
    """
    rows = (("latent", glyph, latents), ("without it", *_split(without)), ("it alone", *_split(alone)))
    wide = (WIDTH - 1.1) / (1 + len(columns))
    figure = new_figure(WIDTH, 3 * min(wide, 1.5) + 0.5)
    grid = figure.subplots(len(rows), 1 + len(columns), squeeze=False)
    reach = max(float(latents.abs().max()), 1e-6)
    for place, (line, (name, first, others)) in enumerate(zip(grid, rows, strict=True)):
        line[0].imshow(first.numpy(), vmin=0, vmax=255)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
        for axes, picture in zip(line[1:], others, strict=True):
            if place == 0:
                shown = axes.imshow(picture.numpy(), vmin=-reach, vmax=reach, cmap=DIFFERENCE)
            else:
                axes.imshow(picture.numpy(), vmin=0, vmax=255)
    for axes, name in zip(grid[0], ("glyph", *columns), strict=True):
        axes.set_title(name, loc="center")
    for axes, remark in zip(grid[1], remarks, strict=True):
        axes.set_xlabel(remark, labelpad=3)
    grid[2][0].set_xlabel("none of them", labelpad=3)
    for axes in grid.flat:
        frame(axes)
    bar = figure.colorbar(shown, ax=grid[0, 1:], location="right", fraction=0.04, aspect=12)
    bar.set_label("latent")
    return figure


def _split(pictures: Tensor) -> tuple[Tensor, Tensor]:
    return pictures[0], pictures[1:]


def draw_cascade(
    sizes: Sequence[Tensor],
    magnified: Sequence[tuple[str, Tensor]],
    passes: Sequence[tuple[str, Tensor]],
    corner: tuple[float, float, float],
) -> Figure:
    """Draw the sizes of a cascade beside each other, a magnified part of each, and that part in each pass.

    Args:
        sizes: (H, W) uint8 of each size, ascending: a pixel of theirs is one of the figure, if there is room.
        magnified: headings and parts (h, w) uint8.
        passes: headings and parts (h, w) uint8.
        corner: left, top and side of the magnified part, as shares of the picture.
    """
    room = WIDTH - 2 * _EDGE - (len(sizes) - 1) * _GAP
    total = sum(picture.shape[-1] for picture in sizes)
    pixel = max(1.0, room / _PIXEL // total) * _PIXEL if total * _PIXEL <= room else room / total
    widths = [picture.shape[-1] * pixel for picture in sizes]
    parts = [[(WIDTH - 2 * _EDGE - (len(row) - 1) * _GAP) / len(row)] * len(row) for row in (magnified, passes)]
    height = 2 * _EDGE + 3 * _TITLE + widths[-1] + parts[0][0] + parts[1][0] + 2 * _GAP
    # A little more than whole pixels, since matplotlib cuts the rest off, and scales everything to what is left.
    width, height = ((math.floor(inches / _PIXEL) + 0.01) * _PIXEL for inches in (WIDTH, height))
    figure = new_figure(width, height)
    figure.set_layout_engine("none")  # which would not keep pixels whole

    def row(top: float, wide: Sequence[float], pictures: Sequence[tuple[str, Tensor]]) -> list[Axes]:
        made, left = [], _EDGE
        for each, (title, picture) in zip(wide, pictures, strict=True):
            at = round(left / _PIXEL) * _PIXEL, round((top - each) / _PIXEL) * _PIXEL
            axes = figure.add_axes((at[0] / width, at[1] / height, each / width, each / height))
            axes.imshow(picture.numpy(), vmin=0, vmax=255)
            axes.set_title(title, loc="left")
            frame(axes)
            made.append(axes)
            left += each + _GAP
        return made

    top = height - _EDGE - _TITLE
    titles = [f"{picture.shape[-1]}×{picture.shape[-1]}" for picture in sizes]
    made = row(top, widths, list(zip(titles, sizes, strict=True)))
    left, above, side = (share * sizes[0].shape[-1] - 0.5 * (k < 2) for k, share in enumerate(corner))
    made[0].plot(
        left + np.array([0, side, side, 0, 0]), above + np.array([0, 0, side, side, 0]), color="#d55e00", linewidth=1.2
    )
    top -= widths[-1] + _GAP + _TITLE
    row(top, parts[0], magnified)
    row(top - parts[0][0] - _GAP - _TITLE, parts[1], passes)
    return figure
