"""Names of the regions of a map: where one radical, or one word of the definitions, is the commonest around."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter, label
from torch import Tensor

from glyffctl.core.atlas.density import CELLS, WIDTH, Density

SHARE = 1 / 3
"""A region's name belongs to at least this share of the glyphs around each of its cells."""
LIFT = 3.0
"""And to this many times its share of the whole map, or half way from that to all: a word that is common everywhere
names no region."""
MOST_NAMES = 400
"""Names that are tried, the commonest: each costs a few milliseconds."""
MOST_REGIONS = 300
_SPARSE = 0.02  # of the greatest density: below, a single glyph would decide
_WORD = re.compile(r"[a-z]{3,}")
_NO_NAME = frozenset(
    re.findall(
        r"\w+",
        "the and for with from used that this not its his her one two also same see non who are was has which into "
        "kind type name names variant variants form forms ancient simplified traditional radical character cjk "
        "part parts surname place county province meaning unclear standard interchangeable corrupted old term etc "
        "like made make being cant very big large small put out off ",
    )
)

Numbers = np.ndarray[Any, Any]


class Region(NamedTuple):
    """A part of a map and what to call it."""

    name: str
    x: float  # where the glyphs with that name lie densest, 0 to 1 over the square of the density
    y: float
    glyphs: int
    """How many of the glyphs in it the name belongs to."""


def words_of(definition: str) -> frozenset[str]:
    """The words of a definition that could name a region: no articles, and none that tell how a word is used."""
    return frozenset(_WORD.findall(definition.lower())) - _NO_NAME


def regions(points: Tensor, field: Density, kinds: Sequence[Sequence[Collection[str]]]) -> list[Region]:
    """Find the regions of a map that have a name.

    The names of a kind compete for every cell of the density's grid. With a share p of the glyphs around and q of the
    whole map, a name can win the cell if p ≥ `SHARE` and p ≥ min(`LIFT`·q, (1+q)/2), and that with the largest
    p·log(p/q), its part of the divergence of the two, does. Connected cells of one winner are a region. A later kind
    gets the cells that no earlier one has.

    Args:
        points: (N, 2) the map.
        field: its density.
        kinds: radicals and then words, for instance: for each kind, N collections of names, one for each point.

    Returns:
        The regions, that with most glyphs first; at most `MOST_REGIONS`.
    """
    unit = (points.double().numpy() - [field.left, field.bottom]) / field.side
    column, row = (unit * CELLS).astype(int).clip(0, CELLS - 1).T
    wide = WIDTH * CELLS  # as the density's, but for its margin

    def smoothed(chosen: Numbers) -> Numbers:
        counts = np.zeros((CELLS, CELLS), np.float32)
        np.add.at(counts, (row[chosen], column[chosen]), 1)
        return np.asarray(gaussian_filter(counts, wide, mode="constant", truncate=3))

    everything = smoothed(np.arange(len(points)))
    free = field.values.numpy() > _SPARSE
    fewest = max(5, len(points) // 2000)
    found = []
    for kind in kinds:
        counts = Counter(name for names in kind for name in names)
        chosen = sorted((n for n in counts if counts[n] >= fewest), key=lambda n: (-counts[n], n))[:MOST_NAMES]
        members: dict[str, list[int]] = {name: [] for name in chosen}
        for point, names in enumerate(kind):
            for name in names:
                if name in members:
                    members[name].append(point)
        best, winner = np.zeros((CELLS, CELLS), np.float32), np.full((CELLS, CELLS), -1)
        for k, name in enumerate(chosen):
            share, common = smoothed(np.array(members[name])) / everything.clip(1e-9), counts[name] / len(points)
            value = share * np.log(share.clip(1e-9) / common)
            better = free & (value > best) & (share >= max(SHARE, min(LIFT * common, (1 + common) / 2)))
            best[better], winner[better] = value[better], k
        for k in np.unique(winner[winner >= 0]).tolist():
            own = np.array(members[chosen[k]])
            parts, _ = label(winner == k)
            part_of = parts[row[own], column[own]]
            dense = smoothed(own)
            for part, count in Counter(part_of[part_of > 0].tolist()).items():
                if count < fewest:
                    continue
                y, x = np.unravel_index(np.where(parts == part, dense, -1).argmax(), parts.shape)
                found.append(Region(chosen[k], (float(x) + 0.5) / CELLS, (float(y) + 0.5) / CELLS, count))
        free = free & (winner < 0)
    return sorted(found, key=lambda region: (-region.glyphs, region))[:MOST_REGIONS]
