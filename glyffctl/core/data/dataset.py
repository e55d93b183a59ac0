"""A set of captioned glyphs."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from glyffctl.core.data.caption_table import CaptionTable
from glyffctl.core.data.character import Character, Font
from glyffctl.core.data.moments import pixel_moments
from glyffctl.core.data.subset import evenly_spaced
from glyffctl.core.noise import permutation


class PictureStatistics(NamedTuple):
    """Statistics of the pictures of a data set, or of a sample of them."""

    mean: float
    """Of the pixels in [-1, 1]."""
    std: float
    sampled: int
    """Pictures that were measured."""
    blank: int
    """Pictures of one shade of grey, as far as an eye can tell."""
    white: int
    """Blank pictures that are white."""
    distinct: int
    """Distinct pictures among those that are not blank."""


_READING = threading.Lock()  # readers keep what they have read, and a checkpoint may read beside training
_VISIBLE = 8  # of 255 greys: a smaller range between the darkest and the lightest pixel is not seen


@dataclass(frozen=True, eq=False)
class GlyphSet:
    """N glyphs with captions. The pictures stay on disk (memory-mapped) until `images` reads them."""

    size: int
    """Height and width of a picture, in pixels."""
    fonts: list[Font]
    characters: list[Character]
    captions: list[str]
    """The distinct captions, in order of first appearance: definitions and alternate captions."""
    caption_table: CaptionTable
    """The rows in `captions` of each character."""
    character_of: Tensor
    """(N,) int64: the row in `characters` of each glyph."""
    font_of: Tensor
    """(N,) int64: the row in `fonts` of each glyph; -1 where the font is not known."""
    pixels: Callable[[Tensor], Tensor]
    """Reads pictures: (B,) int64 on the CPU → (B, size, size) uint8."""
    identity: str
    """The text that `fingerprint` hashes."""
    moments: tuple[float, float] | None = None
    """Mean and standard deviation of the pixels in [-1, 1], where the manifest records them."""

    def __len__(self) -> int:
        return len(self.character_of)

    def images(self, index: Tensor) -> Tensor:
        """Pictures (B, 1, size, size) uint8, 255 is paper, of the glyphs `index` (B,) in 0…N-1.

        Raises:
            IndexError: an index outside 0…N-1.
            DataError: a picture file of an image folder cannot be read.
        """
        index = index.cpu()
        if len(index) and not 0 <= int(index.min()) <= int(index.max()) < len(self):
            raise IndexError(f"glyph index outside 0…{len(self) - 1}")
        with _READING:
            return self.pixels(index).unsqueeze(1)

    def sample(self, count: int) -> GlyphSet:
        """At most `count` of the glyphs, in their order: a random sample, always the same."""
        if len(self) <= count:
            return self
        index = self.sampled(count)
        return replace(
            self,
            character_of=self.character_of[index],
            font_of=self.font_of[index],
            pixels=lambda rows: self.pixels(index[rows]),
            identity=f"{count} of {self.identity}",
        )

    def sampled(self, count: int) -> Tensor:
        """The rows that `sample` keeps, ascending."""
        return permutation(0, 0, len(self))[:count].sort().values

    @property
    def caption_of(self) -> Tensor:
        """(N,) int64: the row in `captions` of the definition of each glyph."""
        return self.caption_table.rows[self.caption_table.starts[self.character_of]]

    def fingerprint(self) -> str:
        """A short name for this data at this size: equal data, equal name. Reads no pictures."""
        return hashlib.sha256(f"{self.size}\n{self.identity}".encode()).hexdigest()[:16]

    @property
    def mean(self) -> float:
        """Mean of the pixels in [-1, 1]: from `moments`, else from `statistics`."""
        return self.moments[0] if self.moments is not None else self.statistics.mean

    @property
    def std(self) -> float:
        """Standard deviation of the pixels in [-1, 1]; see `mean`."""
        return self.moments[1] if self.moments is not None else self.statistics.std

    @cached_property
    def statistics(self) -> PictureStatistics:
        """Statistics of at most 16,384 pictures, evenly spaced.

        Raises:
            DataError: a picture file of an image folder cannot be read.
        """
        counts = torch.zeros(256, dtype=torch.int64)
        white = blank = 0
        distinct = set()
        sampled = evenly_spaced(torch.arange(len(self)), 1 << 14)
        for index in sampled.split(256):
            images = self.images(index).flatten(1)
            counts += images.flatten().bincount(minlength=256)
            low, high = images.aminmax(dim=1)
            empty = high.int() - low.int() < _VISIBLE
            blank += int(empty.sum())
            white += int((empty & (low > 255 - _VISIBLE)).sum())
            distinct |= {hash(image.tobytes()) for image in images[~empty].numpy()}
        return PictureStatistics(*pixel_moments(counts.tolist()), len(sampled), blank, white, len(distinct))
