"""All ways to colour a map: what the data say about each glyph, and what is measured on it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from glyffctl.core.atlas.density import Density
from glyffctl.core.atlas.groups import Groups, Scale, by_font, by_radical, by_structure, by_values
from glyffctl.core.data.columns import metadata_columns
from glyffctl.core.data.dataset import GlyphSet
from glyffctl.core.errors import UsageError

MEASURED = ("density", "ink")
"""Colours that any map has, since they are measured on it."""
Colours = dict[str, tuple[str, Groups | Scale]]
"""By the name that chooses them: their heading, and what they are."""


def colours_of_data(glyphs: GlyphSet, folder: Path, rows: Tensor, operators: Sequence[str] | None) -> Colours:
    """The colours that the data have: structure, radical, font, code point, and further columns of their metadata.

    Args:
        glyphs: N of them.
        folder: their data folder.
        rows: (N,) int64, their rows in that folder.
        operators: N operators that compose the characters.

    Raises:
        DataError: the metadata cannot be read.
    """
    found: dict[str, tuple[str, Groups | Scale | None]] = {
        "structure": ("Structure", by_structure(operators) if operators else None),
        "radical": ("Kangxi radical", by_radical(glyphs)),
        "font": ("Font", by_font(glyphs)),
    }
    codepoints = [glyphs.characters[row].codepoint for row in glyphs.character_of.tolist()]
    by_code = by_values("codepoint", codepoints, lambda code: f"U+{round(code):04X}")
    found["codepoint"] = ("Code point", by_code if isinstance(by_code, Scale) else None)
    for name, values in metadata_columns(folder, rows).items():
        taken = name in found or name in (*MEASURED, "none")
        found[f"{name} (column)" if taken else name] = (name, by_values(name, values))
    return {name: (heading, by) for name, (heading, by) in found.items() if by is not None}


def check_colour(colour: str | None, there: Colours) -> None:
    """Raise UsageError for a colour that the data do not have."""
    if colour not in (None, "none", *MEASURED, *there):
        names = ", ".join([*there, *MEASURED])
        raise UsageError(f"--color {colour} is not in these data; choose one of {names}")


def measured_colours(field: Density, points: Tensor, thumbnails: Tensor) -> Colours:
    """The colours that any map has: density, and ink.

    Args:
        field: the density of the map.
        points: (N, 2) the map.
        thumbnails: (N, T, T) uint8, 255 is paper.
    """
    ink = [1 - float(picture.float().mean()) / 255 for picture in thumbnails]
    by_ink = by_values("ink", ink, lambda share: f"{share:.0%} black")
    found: Colours = {"density": ("Density", Scale(field.at(points)))}
    return found | ({"ink": ("Ink", by_ink)} if isinstance(by_ink, Scale) else {})
