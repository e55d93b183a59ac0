"""Pixels are diffused as they are."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from glyffctl.core.codecs.codec import CODECS


def to_unit(pictures: Tensor) -> Tensor:
    """uint8 pictures (0 ink, 255 paper) as float32 in [−1, 1]."""
    return pictures.to(torch.float32) / 127.5 - 1


def to_pixels(x: Tensor) -> Tensor:
    """The inverse of `to_unit`: values are clamped to [−1, 1] and rounded to uint8."""
    return ((x.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


@dataclass(frozen=True, slots=True)
class Pixels:
    """Pictures as they are, in −1…1, or as other programs scale them.

    Attributes:
        size: height and width of a picture, in pixels.
        channels: 1 for grey pictures, 3 for coloured ones, which are decoded to their mean.
        low: the value of black; white is 1.
        limit: see `Codec`.
    """

    size: int
    channels: int = 1
    low: float = -1.0
    limit: float | None = 1.0

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, size, size)."""
        return self.channels, self.size, self.size

    def encode(self, pictures: Tensor) -> Tensor:
        """(B, channels, size, size) float32 from pictures (B, size, size) uint8."""
        x = to_unit(pictures)[:, None].expand(-1, self.channels, -1, -1)
        return x if self.low == -1 else (x + 1) * ((1 - self.low) / 2) + self.low

    def decode(self, x: Tensor) -> Tensor:
        """Pictures (B, size, size) uint8 from x (B, channels, size, size)."""
        grey = x.mean(1)
        return to_pixels(grey if self.low == -1 else (grey - self.low) * (2 / (1 - self.low)) - 1)


CODECS["pixels"] = Pixels
