"""What colours the points of a map: groups by radical, font, structure or any column, or a scale of numbers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from glyffctl.core.data.captions import radical_character, radical_name
from glyffctl.core.data.dataset import GlyphSet
from glyffctl.core.data.structure import OPERATORS

MOST_GROUPS = 9
"""Groups with a colour of their own: more colours are hard to distinguish."""
MOST_LABELS = 500
"""Groups that a page can list."""


@dataclass(frozen=True, eq=False)
class Groups:
    """N points in named groups, the largest first."""

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

    def largest(self) -> Groups:
        """The `MOST_GROUPS` largest groups; points in others are in none."""
        of = torch.where(self.of < MOST_GROUPS, self.of, -1)
        return replace(self, labels=self.labels[:MOST_GROUPS], counts=self.counts[:MOST_GROUPS], of=of)


@dataclass(frozen=True, eq=False)
class Scale:
    """N points by a number."""

    values: Tensor
    """(N,) float: 0 to 1, NaN where there is no number."""
    ends: tuple[str, str] = ("less", "more")
    """What 0 and 1 stand for."""

    @property
    def missing(self) -> int:
        """The number of points without a number."""
        return int(self.values.isnan().sum())


def group(name: str, keys: Sequence[object], labels: Mapping[Any, str]) -> Groups | None:
    """Form groups of equal keys among those that have a label.

    Args:
        name: what the groups differ in.
        keys: N, one for each point.
        labels: of the keys that may form a group.

    Returns:
        The groups, the largest `MOST_LABELS` at most; None if no key has a label.
    """
    counts = Counter(key for key in keys if key in labels)
    # Equal counts are ordered by label, so that the result does not depend on hashes.
    chosen = sorted(counts, key=lambda key: (-counts[key], labels[key]))[:MOST_LABELS]
    rows = {key: row for row, key in enumerate(chosen)}
    of = torch.tensor([rows.get(key, -1) for key in keys])
    return Groups(name, [labels[key] for key in chosen], [counts[key] for key in chosen], of) if chosen else None


def radical_label(radical: int | None) -> str:
    """A Kangxi radical as a label, as in "艸 grass"; "" for no radical."""
    return (
        f"{radical_character(radical)} {radical_name(radical)}" if radical is not None and 1 <= radical <= 214 else ""
    )


def by_values(
    name: str, values: Sequence[str | float | None], write: Callable[[float], str] | None = None
) -> Groups | Scale | None:
    """Group points by a column of any values.

    Numbers, also written ones, are a scale where there are more of them than colours for groups. Its ends are the 1st
    and the 99th percentile, so that a single outlier does not take all the colours.

    Args:
        name: of the column.
        values: N texts or numbers; None for no value.
        write: writes the numbers at the ends of a scale; None is with four digits.

    Returns:
        None where the column tells nothing: it has no value, or texts of which none occurs twice.
    """
    given = [value for value in values if value is not None]
    if not given:
        return None
    numbers = [_number(value) for value in values]
    if not any(number is None and value is not None for number, value in zip(numbers, values, strict=True)):
        exact = torch.tensor([math.nan if number is None else number for number in numbers], dtype=torch.float64)
        known = exact[~exact.isnan()]
        if len(known.unique()) > MOST_GROUPS:
            low, high = np.quantile(known.numpy(), [0.01, 0.99]).tolist()
            if high == low:
                low, high = float(known.min()), float(known.max())
            signs = ("≤ " if known.min() < low else "", "≥ " if known.max() > high else "")
            scaled = ((exact - low) / (high - low)).clamp(0, 1).float()
            low_text, high_text = map(write or _brief, (low, high))
            return Scale(scaled, (f"{signs[0]}{low_text}", f"{signs[1]}{high_text}"))
        values = [None if number is None else f"{number:g}" for number in numbers]
        given = [value for value in values if value is not None]
    if len(set(given)) == len(given) > 1:
        return None
    return group(name, values, {value: str(value) for value in given})


def _number(value: str | float | None) -> float | None:
    try:
        number = float(value) if value is not None else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _brief(number: float) -> str:
    """Four digits, and no exponent where there are few more."""
    return f"{number:,.0f}" if 1000 <= abs(number) < 1e7 else f"{number:.4g}"


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
