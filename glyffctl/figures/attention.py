"""The figure of where a drawing looks at which word."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from glyffctl.figures.model_figures import frame
from glyffctl.figures.style import DENSITY, WIDTH, new_figure

_INK = 0.55  # darkness of the strokes over a map


def draw_attention(levels: Sequence[str], words: Sequence[str], guesses: Tensor, maps: Tensor) -> Figure:
    """Draw a row for each noise level: the guess of the picture, then for each word where it is looked at.

    Args:
        levels: S headings at the left.
        words: K headings above, from any source.
        guesses: (S, size, size) uint8.
        maps: (S, K, size, size) shares in 0…1.
    """
    figure = new_figure(WIDTH, 1.15 * len(levels) + 0.9)
    grid = figure.subplots(len(levels), 1 + len(words), squeeze=False)
    highest = max(float(maps.max()), 1e-3)
    for row, (line, level, guess) in enumerate(zip(grid, levels, guesses, strict=True)):
        strokes = np.zeros((*guess.shape, 4))
        strokes[..., 3] = _INK * (1 - guess.numpy() / 255)
        line[0].imshow(guess.numpy(), vmin=0, vmax=255)
        line[0].set_ylabel(level, rotation=0, ha="right", va="center")
        for axes, shares in zip(line[1:], maps[row], strict=True):
            shown = axes.imshow(shares.numpy(), vmin=0, vmax=highest, cmap=DENSITY)
            axes.imshow(strokes)
    for axes, name in zip(grid[0], ("guess", *words), strict=True):
        axes.set_title(name, loc="center", parse_math=False)
    for axes in grid.flat:
        frame(axes)
    # Below the guesses, too: under one or two words alone its label would be cut off.
    bar = figure.colorbar(shown, ax=grid, location="bottom", fraction=0.06, aspect=40)
    bar.set_label("share that this part of the picture gives to the word")
    return figure
