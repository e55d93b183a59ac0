"""Groups that colour the points of a map: by radical, font or structure."""

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

MOST_GROUPS = 9
"""Groups with a colour of their own: more colours are hard to distinguish."""


@dataclass(frozen=True, eq=False)
class Groups:
    """N points in a few named groups, the largest first."""

    name: str
    """What the groups differ in, as in "radical"."""
    labels: list[str]
    counts: list[int]
    of: Tensor
    """(N,) int64: the group of each point; −1 for none."""

    @property
    def others(self) -> int:
        """The number of points in no group."""
        return int((self.of < 0).sum())


def group(name: str, keys: Sequence[object], labels: Mapping[Any, str]) -> Groups | None:
    """Form the largest groups of equal keys among those that have a label.

    Args:
        name: what the groups differ in.
        keys: N, one for each point.
        labels: of the keys that may form a group.

    Returns:
        The groups, at most `MOST_GROUPS`; None if no key has a label.
    """
    counts = Counter(key for key in keys if key in labels)
    # Equal counts are ordered by label, so that the result does not depend on hashes.
    chosen = sorted(counts, key=lambda key: (-counts[key], labels[key]))[:MOST_GROUPS]
    rows = {key: row for row, key in enumerate(chosen)}
    of = torch.tensor([rows.get(key, -1) for key in keys])
    return Groups(name, [labels[key] for key in chosen], [counts[key] for key in chosen], of) if chosen else None


def radical_label(radical: int | None) -> str:
    """A Kangxi radical as a label, as in "艸 grass"; "" for no radical."""
    return (
        f"{radical_character(radical)} {radical_name(radical)}" if radical is not None and 1 <= radical <= 214 else ""
    )


def by_radical(glyphs: GlyphSet) -> Groups | None:
    """Group glyphs by Kangxi radical; None where no radical is known."""
    radicals = [glyphs.characters[row].radical for row in glyphs.character_of.tolist()]
    return group("radical", radicals, {r: radical_label(r) for r in set(radicals) if radical_label(r)})


def by_font(glyphs: GlyphSet) -> Groups | None:
    """Group glyphs by font; None where there is only one."""
    if len(glyphs.fonts) < 2:
        return None
    names = {row: font.name or font.file or "unnamed" for row, font in enumerate(glyphs.fonts)}
    return group("font", glyphs.font_of.tolist(), names)


def by_structure(operators: Sequence[str]) -> Groups | None:
    """Group characters by the operator that composes them, as in "⿰ left and right"; None where none has one."""
    return group("structure", operators, {sign: f"{sign} {words}" for sign, words in OPERATORS.items()})
