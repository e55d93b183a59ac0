"""Pictures shifted by a few pixels, for objectives that would learn the few glyphs there are by heart."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from glyffctl.core.noise import Stream, uniform

_PARTS = 32  # glyphs are shifted by up to a 32nd of their side
_PAPER = 255


def reach(size: int) -> int:
    """The most pixels that pictures of this size are shifted by."""
    return size // _PARTS


def draw_shifts(seed: int, number: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """How far the samples `number` (B,) are shifted up, and to the left: (B,) int64 in 0…2·reach, reach is not at all.

    Args:
        seed: of the run.
        number: of the samples.
        size: of the pictures.
    """
    places = 2 * reach(size) + 1
    top, left = ((uniform(seed, number, stream) * places).long() for stream in (Stream.TOP, Stream.LEFT))
    return top, left


def shifted(pictures: Tensor, top: Tensor, left: Tensor) -> Tensor:
    """Pictures (B, size, size) uint8 moved by so many pixels less `reach`, up and to the left; see `draw_shifts`."""
    padded = F.pad(pictures, (reach(pictures.shape[-1]),) * 4, value=_PAPER)
    side = torch.arange(pictures.shape[-1], device=pictures.device)
    row = torch.arange(len(pictures), device=pictures.device)[:, None, None]
    return padded[row, (top[:, None] + side)[:, :, None], (left[:, None] + side)[:, None]]
