"""Figures of the inside of a model: from text to vectors, the network as it is, and a step of training."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle
from torch import Tensor

from glyffctl.core.networks.stages import Stage
from glyffctl.figures.demo_scene import show_picture
from glyffctl.figures.model_figures import frame
from glyffctl.figures.style import DIFFERENCE, GREY, INK, PALETTE, SMALL, WIDTH, new_figure

SHOWN_NUMBERS = 48
"""Numbers of a vector that are drawn."""
_READS, _ATTENDS, _PLAIN = PALETTE[1], PALETTE[0], "#b8c4cc"


def _arrow(
    axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str = GREY, line: Any = "solid"
) -> None:
    how = {"color": colour, "linewidth": 1.1, "linestyle": line, "shrinkA": 0, "shrinkB": 0}
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=9, **how))


def draw_tokens(pieces: Sequence[str], numbers: Sequence[str], vectors: Tensor, labels: Sequence[str]) -> Figure:
    """Draw what becomes of a text: a row for each token, its number, and its vector.

    Args:
        pieces: n tokens as they are shown.
        numbers: n numbers of tokens in the vocabulary, as text.
        vectors: (n, d) the vectors; the first `SHOWN_NUMBERS` of each are drawn.
        labels: headings of the three columns.
    """
    rows = len(pieces)
    figure = new_figure(WIDTH, 0.32 * rows + 1.35)
    words, codes, strips = figure.subplots(1, 3, width_ratios=(1.1, 0.8, 5))
    shown = vectors[:, :SHOWN_NUMBERS].numpy()
    reach = float(np.abs(shown).max()) or 1.0
    image = strips.imshow(shown, vmin=-reach, vmax=reach, cmap=DIFFERENCE, aspect="auto", interpolation="nearest")
    strips.set_yticks([])
    strips.set_xticks([0, shown.shape[1] - 1], ["1", str(shown.shape[1])])
    for axes, texts in ((words, pieces), (codes, numbers)):
        axes.set_xlim(0, 1)
        axes.set_ylim(rows - 0.5, -0.5)
        axes.axis("off")
        for row, text in enumerate(texts):
            axes.text(0.5, row, text, ha="center", va="center", parse_math=False)
    for axes, label in zip((words, codes, strips), labels, strict=True):
        axes.set_title(label, loc="center", parse_math=False)
    bar = figure.colorbar(image, ax=[words, codes, strips], location="bottom", fraction=0.05, aspect=40)
    bar.set_label("value")
    return figure


def draw_ways_in(ways: Sequence[str], pictures: Tensor, notes: Sequence[str], names: Sequence[str]) -> Figure:
    """Draw a column for each way in which a network gets the text, and a row for each noise.

    Args:
        ways: W headings.
        pictures: (W, S, size, size) uint8 guesses.
        notes: W lines below.
        names: S headings at the left.
    """
    count = len(names)
    figure = new_figure(WIDTH, 1.6 * count + 0.9)
    grid = figure.subplots(count, len(ways), squeeze=False)
    for line, name, row in zip(grid, names, range(count), strict=True):
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
        for axes, column in zip(line, range(len(ways)), strict=True):
            axes.imshow(pictures[column, row].numpy(), vmin=0, vmax=255, cmap="gray")
            frame(axes)
    for axes, way in zip(grid[0], ways, strict=True):
        axes.set_title(way, loc="center")
    for axes, note in zip(grid[-1], notes, strict=True):
        axes.set_xlabel(note)
    return figure


def draw_network(stages: Sequence[Stage], size: int, channels: int) -> Figure:
    """Draw a network that narrows and widens again: a bar for each part, as high as its grid, as wide as its channels.

    Args:
        stages: in the order in which they run.
        size: height and width of the input.
        channels: of the input.
    """
    figure = new_figure(WIDTH, 4.6)
    axes = figure.subplots()
    axes.axis("off")
    sides = sorted({size, *(stage.side for stage in stages)}, reverse=True)
    height = {side: 0.6 + 2.4 * (side / sides[0]) ** 0.5 for side in sides}
    level = {side: -1.15 * place for place, side in enumerate(sides)}
    widest = max(stage.channels for stage in stages)
    boxes: list[tuple[float, float, int]] = []  # left, right, side
    left = 0.0
    parts = [(stage.channels, stage.side, _colour(stage)) for stage in stages]
    for wide, side, colour in ((channels, size, _PLAIN), *parts, (channels, size, _PLAIN)):
        width = 0.16 + 0.55 * wide / widest
        bottom = level[side] - height[side] / 2
        axes.add_patch(Rectangle((left, bottom), width, height[side], facecolor=colour, edgecolor=INK, linewidth=0.7))
        axes.text(left + width / 2, bottom - 0.07, f"{wide}", ha="center", va="top", fontsize=SMALL)
        boxes.append((left, left + width, side))
        left += width + 0.22
    for (_, right, side), (after, _, other) in pairwise(boxes):
        _arrow(axes, (right, level[side]), (after, level[other]))
    lowest = min(range(len(boxes)), key=lambda place: boxes[place][2])
    for side in sides[1:-1] if len(sides) > 2 else []:
        down = [box for box in boxes[:lowest] if box[2] == side]
        up = [box for box in boxes[lowest:] if box[2] == side]
        if down and up:
            top = level[side] + height[side] / 2 - 0.05
            _arrow(axes, (down[-1][1], top), (up[0][0], top), PALETTE[2], (0, (3, 2)))
    for side in sides:
        axes.text(-0.15, level[side], f"{side}×{side}", ha="right", va="center")
    for (near, far, _), name in ((boxes[0], "input"), (boxes[-1], "output")):
        axes.text((near + far) / 2, level[size] + height[size] / 2 + 0.1, name, ha="center", va="bottom")
    axes.set_xlim(-1.0, left)
    axes.set_ylim(min(level[side] - height[side] / 2 for side in sides) - 0.35, level[size] + height[size] / 2 + 0.35)
    colours = {_colour(stage) for stage in stages}
    for colour, text in (
        (_PLAIN, "convolutions"),
        (_ATTENDS, "with attention"),
        (_READS, "with attention to the text"),
    ):
        if colour in colours:
            axes.plot([], [], color=colour, linewidth=6, label=text)
    axes.plot([], [], color=PALETTE[2], linestyle=(0, (3, 2)), label="kept for the way up")
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    return figure


def _colour(stage: Stage) -> str:
    return _READS if stage.reads else _ATTENDS if stage.attends else _PLAIN


def draw_training(
    pictures: Sequence[tuple[str, Tensor, float]],
    notes: Sequence[str],
    seen: Sequence[int],
    errors: dict[str, Sequence[float]],
) -> Figure:
    """Draw a step of training from left to right, and below what many of them achieve.

    Args:
        pictures: heading, picture (1, H, W) and the value of white: the glyph, noise, both, what is predicted.
        notes: what stands between each and the next.
        seen: pictures seen at each point of the curves.
        errors: of each curve, by its label.
    """
    figure = new_figure(WIDTH, 4.7)
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=(1, 1.25))[:, 0]
    grid = above.subplots(1, len(pictures), squeeze=False)[0]
    for axes, (heading, picture, reach) in zip(grid, pictures, strict=True):
        show_picture(axes, picture, reach=reach, colours="gray")  # type: ignore[arg-type]
        axes.set_title(heading, loc="center")
    for axes, note in zip(grid, (*notes, ""), strict=True):
        axes.set_xlabel(note)
    axes = below.subplots()
    for (label, values), colour, marker in zip(errors.items(), PALETTE, "osD^v", strict=False):
        axes.plot(seen, values, color=colour, marker=marker, markersize=4, label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks([10_000, 20_000, 50_000, 100_000, 200_000], minor=False)
    axes.set_yticks([0.01, 0.03, 0.1, 0.3], minor=False)
    axes.minorticks_off()
    axes.set_xlim(0.9 * min(seen), 1.1 * max(seen))
    axes.xaxis.set_major_formatter("{x:,.0f}")  # exponents would be too small to read on a telephone
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("pictures seen")
    axes.set_ylabel("squared error of x̂0 on new glyphs")
    axes.legend(frameon=False, ncols=2)
    return figure
