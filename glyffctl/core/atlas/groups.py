"""What the points of a map can be coloured by: what they are, or how much of something."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from glyffctl.core.data.captions import radical_character, radical_name
from glyffctl.core.data.dataset import GlyphSet
from glyffctl.core.data.structure import OPERATORS

COLOURS = 9
"""Groups with a colour of their own; a legend of more is not read, and more colours are not told apart."""


@dataclass(frozen=True, eq=False)
class Groups:
    """N points in a few named groups, the largest first."""

    name: str
    """What the groups are: "radical"."""
    labels: list[str]
    counts: list[int]
    of: Tensor
    """(N,) int64: the group of each point; −1 for none of these."""

    @property
    def others(self) -> int:
        """Points in no group."""
        return int((self.of < 0).sum())


def group(name: str, keys: Sequence[object], labels: Mapping[Any, str]) -> Groups | None:
    """The largest groups of equal keys among those that have a label; None if none has."""
    counts = Counter(key for key in keys if key in labels)
    # Equal counts in the order of their labels: not in that of a hash.
    chosen = sorted(counts, key=lambda key: (-counts[key], labels[key]))[:COLOURS]
    rows = {key: row for row, key in enumerate(chosen)}
    of = torch.tensor([rows.get(key, -1) for key in keys])
    return Groups(name, [labels[key] for key in chosen], [counts[key] for key in chosen], of) if chosen else None


def radical_label(radical: int | None) -> str:
    """A Kangxi radical as a label: "艸 grass"; "" where there is none of that number."""
    return (
        f"{radical_character(radical)} {radical_name(radical)}" if radical is not None and 1 <= radical <= 214 else ""
    )


def by_radical(glyphs: GlyphSet) -> Groups | None:
    """By Kangxi radical: "艸 grass"; None where no radical is known."""
    radicals = [glyphs.characters[row].radical for row in glyphs.character_of.tolist()]
    return group("radical", radicals, {r: radical_label(r) for r in set(radicals) if radical_label(r)})


def by_font(glyphs: GlyphSet) -> Groups | None:
    """By font; None where there are not several."""
    if len(glyphs.fonts) < 2:
        return None
    names = {row: font.name or font.file or "unnamed" for row, font in enumerate(glyphs.fonts)}
    return group("font", glyphs.font_of.tolist(), names)


def by_structure(operators: Sequence[str]) -> Groups | None:
    """By how the character is put together: "⿰ left and right"; None where no character of the table is there."""
    return group("structure", operators, {sign: f"{sign} {words}" for sign, words in OPERATORS.items()})
