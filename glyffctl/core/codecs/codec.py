"""Between pictures and what is diffused, and the table of codecs.

A codec in a file of its own adds itself to `CODECS`, and `codecs/__init__.py` imports that file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor


class Codec(Protocol):
    """Grey pictures as uint8, 255 white ↔ tensors whose values have a spread of about 1, which is what is diffused.

    Noise levels are measured in units of those values: the schedules are made for a standard deviation of 0.5 to 1.
    """

    @property
    def size(self) -> int:
        """Height and width of a picture, in pixels."""
        ...

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of what is diffused; H = W."""
        ...

    @property
    def limit(self) -> float | None:
        """Values of what is diffused are in ±limit; None where they have no limit."""
        ...

    def encode(self, pictures: Tensor) -> Tensor:
        """Return (B, C, H, W) float32 from pictures (B, size, size) uint8, on their device."""
        ...

    def decode(self, x: Tensor) -> Tensor:
        """Return pictures (B, size, size) uint8 from x (B, C, H, W), on its device.

        x is what a sampler ends with or is at: float32 with noise, values beyond ±limit included.
        """
        ...


CODECS: dict[str, Callable[[int], Codec]] = {}
"""By the name that `kind` has in the section [codec]; each makes a codec for pictures of `size` pixels.

A codec that cannot take a size raises UsageError when it is made.
"""

LEARNED = "autoencoder"
"""The kind of codec that is no row of the table, because it has weights: `latents.Latents`, read from a file."""
