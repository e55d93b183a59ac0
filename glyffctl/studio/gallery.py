"""What was drawn in the studio, in memory: glyphs by their names, and how each came to be."""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from glyffctl.core.errors import UsageError
from glyffctl.core.io.images import Array, near_square, sheet
from glyffctl.workflows.sample_options import SampleOptions

COUNT = 16
"""Glyphs of a sheet."""
MOST_SHEETS = 256
"""The newest that are kept; of 128×128 pixels they take 67 MB."""
MOST_FRAME_BYTES = 128 * 2**20
"""Of the steps of all drawings; those of the oldest go first."""
MOST_COLLECTED = 1000


@dataclass(eq=False)
class Glyph:
    """A glyph that was drawn.

    Attributes:
        name: "SHEET-NUMBER".
        pixels: (size, size) uint8, 255 is paper.
        options: that it was drawn with; `only` is its number in the sheet.
        settings: what a file records of them.
        recipe: in words.
        lineage: of what it was made, in words, the oldest first; none for a glyph that was drawn of words alone.
        frames: sheets (PNG) of the steps of its drawing; empty once they are no longer kept.
        large: the glyph enlarged, (n, n) uint8, and what a file records of that.
    """

    name: str
    pixels: Array
    options: SampleOptions
    settings: dict[str, Any]
    recipe: str
    lineage: tuple[str, ...]
    frames: list[bytes]
    large: tuple[Array, dict[str, Any]] | None = None

    @property
    def number(self) -> int:
        """Its place in the sheet, from 0."""
        assert self.options.only is not None
        return self.options.only

    @property
    def seed(self) -> int:
        """Of its noise."""
        return self.options.seed + self.number

    @property
    def prompt(self) -> str:
        """The words."""
        return self.options.prompts[0]

    def steps(self) -> list[Array]:
        """(size, size) uint8: what was seen of it after each step."""
        return [untiled(frame, len(self.pixels))[self.number] for frame in self.frames]


@dataclass(eq=False)
class Gallery:
    """The glyphs that are kept, and those that were collected."""

    _sheets: OrderedDict[int, list[Glyph]] = field(default_factory=OrderedDict)
    _collected: dict[str, Glyph] = field(default_factory=dict)
    _drawn: int = 0

    def next_number(self) -> int:
        """The number of a new sheet."""
        self._drawn += 1
        return self._drawn

    def add(self, number: int, glyphs: Sequence[Glyph]) -> None:
        """Keep the glyphs of a sheet, and let the oldest go."""
        self._sheets[number] = list(glyphs)
        while len(self._sheets) > MOST_SHEETS:
            _, oldest = self._sheets.popitem(last=False)
            oldest[0].frames.clear()  # which a glyph that was collected would hold
        frames = [glyphs[0].frames for glyphs in self._sheets.values()]
        size = sum(len(frame) for one in frames for frame in one)
        for one in frames[:-1]:
            if size <= MOST_FRAME_BYTES:
                break
            size -= sum(map(len, one))
            one.clear()

    def find(self, name: str) -> Glyph:
        """The glyph of that name.

        Raises:
            UsageError: it was let go, or never drawn.
        """
        if name in self._collected:
            return self._collected[name]
        sheet_number, _, number = name.partition("-")
        glyphs = self._sheets.get(int(sheet_number), [])
        if int(number) >= len(glyphs):
            raise UsageError("this glyph is no longer kept; draw it again")
        return glyphs[int(number)]

    def collect(self, name: str, wanted: bool) -> None:
        """Put a glyph into the collection, or take it out.

        Raises:
            UsageError: it is not there, or the collection is full.
        """
        if not wanted:
            self._collected.pop(name, None)
            return
        if len(self._collected) >= MOST_COLLECTED and name not in self._collected:
            raise UsageError(f"the collection is full, with {MOST_COLLECTED:,} glyphs; make a font, or take some out")
        self._collected[name] = self.find(name)

    @property
    def collected(self) -> list[Glyph]:
        """The collection, in the order in which it was made."""
        return list(self._collected.values())


def tiled(pictures: Array) -> bytes:
    """A PNG of pictures (N, H, W) uint8 side by side, without a gap."""
    return as_png(sheet(pictures, near_square(len(pictures)), gap=0))


def untiled(png: bytes, size: int) -> Array:
    """The inverse of `tiled`, for pictures of `size` pixels a side."""
    with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
        pixels = np.array(image)
    down, across = pixels.shape[0] // size, pixels.shape[1] // size
    return pixels.reshape(down, size, across, size).swapaxes(1, 2).reshape(-1, size, size)


def as_png(image: Image.Image) -> bytes:
    """A picture for the page, packed a little, since it is sent at once."""
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()
