"""The register: the statements of the guide and its two companions that can be tested, in the order of the argument."""

from __future__ import annotations

from typing import NamedTuple

from glyffctl.figures.claims import beside, conditioning, denoising, drawing, guiding, learning, noising
from glyffctl.figures.claims.entry import Entry


class Part(NamedTuple):
    """A part of the argument."""

    title: str
    entries: tuple[Entry, ...]


PARTS = tuple(
    Part(module.TITLE, module.ENTRIES)
    for module in (learning, noising, denoising, drawing, conditioning, guiding, beside)
)
REGISTER: dict[str, Entry] = {entry.name: entry for part in PARTS for entry in part.entries}
"""All entries by name, in order."""
