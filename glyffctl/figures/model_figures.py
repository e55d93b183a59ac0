"""Figures of generated glyphs: few steps beside many, and generated glyphs beside real ones."""

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
from glyffctl.figures.demo_scene import resize
from glyffctl.figures.style import GREY, INK, PALETTE, SMALL, WIDTH, drawable_text, new_figure

FRAME_SIDE = 80
"""Width of a glyph in an animation, in pixels. Small, since noise does not compress."""
PAIRS = 4
"""Pairs of glyphs in a row."""
LINES, MOST_LETTERS = 3, 300
"""Lines of a definition, and the characters of it that are considered: more never fits."""
EDGE, BETWEEN, HEAD, LINE = 0.05, 0.18, 0.28, 0.17
"""Inches: around the pairs, between them, above them all, and a line of a definition."""


def draw_sheet(axes: Axes, pictures: Tensor, columns: int) -> None:
    """Draw pictures (N, H, W) uint8 as one sheet, without ticks."""
    axes.imshow(sheet(pictures, columns, gap=6))
    frame(axes)


def frame(axes: Axes) -> None:
    """A thin frame around a picture, and no ticks."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_color(GREY)
        spine.set_linewidth(0.6)


def draw_picture_table(
    rows: Sequence[str], columns: Sequence[str], cells: Sequence[Sequence[tuple[Tensor, str]]]
) -> Figure:
    """Draw a table of pictures, with a remark below each cell.

    Args:
        rows: headings at the left.
        columns: headings above.
        cells: for each row and column pictures (N, H, W) uint8 and a remark; a cell without pictures stays empty.
    """
    figure = new_figure(WIDTH, 0.98 * len(rows) + 0.3)
    grid = figure.subplots(len(rows), len(columns), squeeze=False)
    for line, row, name in zip(grid, cells, rows, strict=True):
        for axes, (pictures, remark) in zip(line, row, strict=True):
            if not len(pictures):
                axes.set_axis_off()
                continue
            draw_sheet(axes, pictures, len(pictures))
            axes.set_xlabel(remark, labelpad=3)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
    for axes, name in zip(grid[0], columns, strict=True):
        axes.set_title(name, loc="center", parse_math=False)
    return figure


def draw_pairs(real: Tensor, drawn: Tensor, definitions: Sequence[str]) -> Figure:
    """Draw pairs of a real and a generated glyph, each above the definition that both have.

    Args:
        real: (N, H, W) uint8.
        drawn: (N, H, W) uint8.
        definitions: N texts, from any source.
    """
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
        text = wrap_text(figure, definition, wide, LINES)
        axes.text(0, 1.06 * side, text, va="top", fontsize=SMALL, parse_math=False)
    return figure


def wrap_text(figure: Figure, text: str, width: float, lines: int) -> str:
    """Wrap untrusted `text` in the smallest lettering; "…" marks text that did not fit.

    Characters that no font of the figure has are left out.

    Args:
        figure: where the text will be drawn.
        text: any text.
        width: of a line, in inches.
        lines: the most lines.
    """
    renderer = FigureCanvasAgg(figure).get_renderer()
    letters = FontProperties(family=mpl.rcParams["font.family"], size=SMALL)

    def fits(line: str) -> bool:
        return renderer.get_text_width_height_descent(line, letters, ismath=False)[0] <= width * figure.dpi

    def too_long(length: int) -> bool:
        return not fits(rest[:length])

    done: list[str] = []
    rest = drawable_text(text[:MOST_LETTERS])
    while rest and len(done) < lines:
        full = max(1, bisect_left(range(1, len(rest) + 1), True, key=too_long))
        # Break at a space, unless one word fills the line.
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


def animation_frames(noisy: Sequence[Tensor]) -> list[Image.Image]:
    """Small sheets for an animation, one for each of `noisy`, pictures (N, H, W) uint8."""
    side = min(FRAME_SIDE, noisy[0].shape[-1])
    small = [resize(pictures[:, None].float(), side)[:, 0].round().clamp(0, 255).to(torch.uint8) for pictures in noisy]
    return [sheet(pictures, near_square(len(pictures))) for pictures in small]
