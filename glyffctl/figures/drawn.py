"""Figures of what a model draws: few steps beside many, and generated glyphs beside real ones."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import matplotlib as mpl
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle
from PIL import Image
from torch import Tensor

from glyffctl.core.io.images import near_square, sheet
from glyffctl.figures.map_png import legible
from glyffctl.figures.scene import shrink
from glyffctl.figures.style import GREY, INK, PALETTE, SMALL, WIDTH, new_figure

FRAME_SIDE = 80
"""Pixels of a glyph in an animation: noise does not compress."""
PAIRS = 4
"""Pairs of glyphs in a row."""
LINES, MOST_LETTERS = 3, 300
"""Lines of a definition, and how much of one is looked at: more never fits."""
EDGE, BETWEEN, HEAD, LINE = 0.05, 0.18, 0.28, 0.17
"""Inches: around the pairs, between them, above them all, and a line of a definition."""


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
    """Pictures side by side in each cell, with a remark below them.

    Args:
        cells: for each row and column pictures (N, H, W) uint8 and a remark; without pictures the cell stays empty.
    """
    figure = new_figure(WIDTH, 0.98 * len(rows) + 0.3)
    grid = figure.subplots(len(rows), len(columns), squeeze=False)
    for line, row, name in zip(grid, cells, rows, strict=True):
        for axes, (pictures, remark) in zip(line, row, strict=True):
            if not len(pictures):
                axes.set_axis_off()
                continue
            block(axes, pictures, len(pictures))
            axes.set_xlabel(remark, labelpad=3)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
    for axes, name in zip(grid[0], columns, strict=True):
        axes.set_title(name, loc="center", parse_math=False)
    return figure


def beside(real: Tensor, drawn: Tensor, definitions: Sequence[str]) -> Figure:
    """Pairs of a real glyph (N, H, W) uint8 and a drawn one, each with the definition that they have in common."""
    rows, side = -(-len(real) // PAIRS), real.shape[-1]
    wide = (WIDTH - 2 * EDGE - (PAIRS - 1) * BETWEEN) / PAIRS
    gap = side / 16
    high = wide * side / (2 * side + gap)
    height = HEAD + rows * (high + LINES * LINE + BETWEEN)
    figure = new_figure(WIDTH, height)
    figure.set_layout_engine("none")  # so that definitions, long or short, do not move the pictures
    for place, (*pair, definition) in enumerate(zip(real, drawn, definitions, strict=True)):
        row, column = divmod(place, PAIRS)
        left = EDGE + column * (wide + BETWEEN)
        bottom = height - HEAD - high - row * (high + LINES * LINE + BETWEEN)
        axes = figure.add_axes((left / WIDTH, bottom / height, wide / WIDTH, high / height))
        axes.set_axis_off()
        for start, picture, colour, name in zip(
            (0, side + gap), pair, (INK, PALETTE[1]), ("real", "drawn"), strict=True
        ):
            axes.imshow(picture.numpy(), vmin=0, vmax=255, extent=(start, start + side, side, 0), aspect="auto")
            frame = GREY if colour == INK else colour
            axes.add_patch(Rectangle((start, 0), side, side, fill=False, edgecolor=frame, linewidth=1.2, clip_on=False))
            if row == 0:
                axes.text(start + side / 2, -0.05 * side, name, color=colour, ha="center", va="bottom")
        axes.set_xlim(0, 2 * side + gap)
        axes.set_ylim(side, 0)
        text = fitted(figure, definition, wide, LINES)
        axes.text(0, 1.06 * side, text, va="top", fontsize=SMALL, parse_math=False)
    return figure


def fitted(figure: Figure, text: str, width: float, lines: int) -> str:
    """`text` of anyone's in at most `lines` lines of `width` inches, in the smallest lettering; "…" where more follows.

    Characters that no font of the figure has are left out.
    """
    renderer = FigureCanvasAgg(figure).get_renderer()
    letters = FontProperties(family=mpl.rcParams["font.family"], size=SMALL)

    def fits(line: str) -> bool:
        return renderer.get_text_width_height_descent(line, letters, ismath=False)[0] <= width * figure.dpi

    def too_long(letters_of_rest: int) -> bool:
        return not fits(rest[:letters_of_rest])

    done: list[str] = []
    rest = legible(text[:MOST_LETTERS])
    while rest and len(done) < lines:
        full = max(1, bisect_left(range(1, len(rest) + 1), True, key=too_long))
        # A line ends where a word does, unless one word fills it.
        space = rest.rfind(" ", 0, full + 1)
        cut = full if full == len(rest) or space <= 0 else space
        done.append(rest[:cut])
        rest = rest[cut:].lstrip()
    if rest and done:
        last = done[-1]
        while last and not fits(last + "…"):
            last = last[:-1]
        done[-1] = last.rstrip(" ,;") + "…"
    return "\n".join(done) or "(no letters for it)"


def frames(noisy: Sequence[Tensor]) -> list[Image.Image]:
    """Sheets for an animation, each of (N, H, W) uint8, made small."""
    side = min(FRAME_SIDE, noisy[0].shape[-1])
    small = [shrink(pictures[:, None].float(), side)[:, 0].round().clamp(0, 255).to(torch.uint8) for pictures in noisy]
    return [sheet(pictures, near_square(len(pictures))) for pictures in small]
