"""Figure of a glyph as numbers."""

from __future__ import annotations

from glyffctl.core.codecs.pixels import to_pixels
from glyffctl.figures.demo_scene import DemoScene, MeasuredFigure, resize
from glyffctl.figures.style import FAINT, GREY, INK, SMALL, new_figure

SIDE = 32
CELL = 0.3
"""Size of a pixel in inches: three digits in the smallest lettering, and a margin."""


def draw_pixels(scene: DemoScene) -> MeasuredFigure:
    """Draw the glyph at 32×32 (or less) with the value of every pixel written into it."""
    small = scene.glyph[None]
    if small.shape[-1] > SIDE:
        small = resize(small, SIDE)
    values = to_pixels(small)[0, 0]
    side = values.shape[-1]
    figure = new_figure(CELL * side, CELL * side)
    axes = figure.subplots()
    # Ink is grey, not black, so that the numbers on it are legible.
    axes.imshow(values.numpy(), vmin=-300, vmax=255)
    for row, line in enumerate(values.tolist()):
        for column, value in enumerate(line):
            colour = GREY if value >= 250 else INK
            axes.text(column, row, value, ha="center", va="center", fontsize=SMALL, color=colour)
    axes.set_xticks([k - 0.5 for k in range(side + 1)], minor=True)
    axes.set_yticks([k - 0.5 for k in range(side + 1)], minor=True)
    axes.grid(which="minor", color=FAINT, linewidth=0.4)
    axes.spines[:].set_visible(False)
    axes.tick_params(which="both", bottom=False, left=False, labelbottom=False, labelleft=False)
    height, width = scene.glyph.shape[-2:]
    return MeasuredFigure(
        figure,
        f"At {side} × {side} the glyph is {values.numel():,} numbers; in the data it is {height} × {width} = "
        f"{height * width:,}. {float((values >= 250).float().mean()):.0%} of the numbers here are bare paper.",
    )
