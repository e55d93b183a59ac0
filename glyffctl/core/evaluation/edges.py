"""How crisp the edges of large pictures are: grey pixels, their breadth along edges, and corners."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from glyffctl.core.evaluation.strokes import measure_strokes

_WINDOW = 9  # pixels, around an edge pixel: a straight edge leaves half of it black, a corner a quarter or three
_CORNER = 0.35  # of the window, at most, has the colour of the pixel at a corner
_AROUND = 5  # pixels a side, around a corner


class Edges(NamedTuple):
    """Statistics of N pictures, each (N,) float32."""

    grey: Tensor  # the share of pixels that are neither ink nor paper: between 10 % and 90 % black
    width: Tensor  # mean stroke width in pixels; 0 without ink
    breadth: Tensor  # grey pixels for each pixel of edge; 0 without edges
    corners: Tensor  # the mean difference in blackness from the real picture around its corners; NaN without any


def measure_edges(pictures: Tensor, real: Tensor) -> Edges:
    """Measure the edges of pictures (N, H, W) uint8, 255 is paper, beside the real ones that they should be.

    A corner is a pixel whose colour has at most 35 % of the 9×9 pixels around it, where black is more than half black.
    The differences are taken in the 5×5 pixels around each corner of a real picture.
    """
    strokes = measure_strokes(pictures)
    dark, truth = 1 - pictures.float() / 255, 1 - real.float() / 255
    black = dark > 0.5
    # Each row and column counts its changes of colour: the length of edges along the axes.
    changes = sum(
        (black.narrow(side, 1, black.shape[side] - 1) != black.narrow(side, 0, black.shape[side] - 1)).sum((1, 2))
        for side in (1, 2)
    )
    pixels = pictures.shape[1] * pictures.shape[2]
    near = _near_corners(truth > 0.5)
    difference = ((dark - truth).abs() * near).sum((1, 2)) / near.sum((1, 2))  # 0/0 is NaN
    return Edges(strokes.grey, strokes.width, strokes.grey * pixels / torch.as_tensor(changes).clamp(min=1), difference)


def _near_corners(black: Tensor) -> Tensor:
    """(N, H, W) bool: pixels in the 5×5 around corners."""
    ink = black.float()[:, None]
    share = F.avg_pool2d(F.pad(ink, [_WINDOW // 2] * 4), _WINDOW, stride=1)  # beyond the picture there is paper
    corner = torch.where(ink > 0, share, 1 - share) <= _CORNER
    return F.max_pool2d(corner.float(), _AROUND, stride=1, padding=_AROUND // 2)[:, 0] > 0
