"""What strokes look like: how grey, how much ink, how wide, how even, how many."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

_AT_ONCE = 64  # pictures


class Strokes(NamedTuple):
    """Of N pictures, each (N,) float32."""

    grey: Tensor  # the share of pixels that are neither ink nor paper: between 10 % and 90 % black
    ink: Tensor  # the mean blackness, 0…1
    width: Tensor  # of strokes, in pixels; 0 where there is no ink at all
    unevenness: Tensor  # the standard deviation of the width within the picture, in shares of `width`
    crossed: Tensor  # strokes that a straight line from edge to edge crosses: the mean over all rows and columns


def measure(pictures: Tensor) -> Strokes:
    """Strokes of pictures (N, H, W) uint8, 255 is paper.

    The width at a black pixel is the shortest of the four straight runs of black through it: across, down and both
    diagonals. A picture's width is the mean over its black pixels (more than half black). Runs across the corners at a
    stroke's ends make that a few percent less than a ruler's width, in real glyphs as in drawn ones.
    """
    parts = [_measure(part) for part in pictures.split(_AT_ONCE)] or [Strokes(*torch.empty(len(Strokes._fields), 0))]
    return Strokes(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _measure(pictures: Tensor) -> Strokes:
    dark = 1 - pictures.float() / 255
    black = dark > 0.5
    width = torch.minimum(_run(black), _run(black.transpose(1, 2)).transpose(1, 2))
    for turned in (False, True):
        slanted = black.flip(2) if turned else black
        run = _unskew(_run(_skew(slanted).transpose(1, 2)).transpose(1, 2), black.shape[2]) * math.sqrt(2)
        width = torch.minimum(width, run.flip(2) if turned else run)
    pixels = black.sum((1, 2)).clamp(min=1)
    mean = (width * black).sum((1, 2)) / pixels
    scatter = (((width - mean[:, None, None]) * black).square().sum((1, 2)) / pixels).sqrt()
    return Strokes(
        ((dark > 0.1) & (dark < 0.9)).float().mean((1, 2)),
        dark.mean((1, 2)),
        mean,
        scatter / mean.clamp(min=1),
        (_begun(black) + _begun(black.transpose(1, 2))) / sum(black.shape[1:]),
    )


def _begun(black: Tensor) -> Tensor:
    """(N,) float: how many runs of black the rows of each picture have, all rows together."""
    return black.sum((1, 2)).float() - (black[..., 1:] & black[..., :-1]).sum((1, 2)).float()


def _run(black: Tensor) -> Tensor:
    """(N, H, W) float: the length of the run of black along its row that each pixel is in; 0 at white ones."""
    place = torch.arange(1, black.shape[2] + 1)
    before = torch.where(black, 0, place).cummax(2).values
    after = torch.where(black, 0, place).flip(2)
    after = (black.shape[2] + 1 - torch.where(after > 0, after, black.shape[2] + 1)).cummax(2).values.flip(2)
    return (black.shape[2] - before - after).float() * black


def _skew(x: Tensor) -> Tensor:
    """Row i of (N, H, W) moved right by i, in (N, H, W+H−1): diagonals become columns."""
    count, height, width = x.shape
    flat = F.pad(x, (0, height)).flatten(1)[:, : height * (width + height - 1)]
    return flat.reshape(count, height, width + height - 1)


def _unskew(x: Tensor, width: int) -> Tensor:
    """The inverse of `_skew`."""
    count, height, wide = x.shape
    return F.pad(x.flatten(1), (0, height)).reshape(count, height, wide + 1)[:, :, :width]
