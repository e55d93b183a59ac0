"""Is a glyph new? The distance to the nearest of many real ones, whatever a few pixels of shift do to it.

Two pictures are compared as blurred ink at 64×64, mean taken out: the distance is 1 − their largest correlation over
shifts of up to 1/32 of the picture (4 pixels at 128×128) in each direction. 0 is the same picture, 1 an unrelated one.

Not every real glyph need be shifted for that. At 32×32, with shifts of a whole pixel, all are compared by one matrix
product, and the best `CANDIDATES` of each picture are then compared in full.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from glyffctl.core.data.dataset import GlyphSet
from glyffctl.core.data.split import canonical
from glyffctl.core.evaluation.classifier import to_ink

CANDIDATES = 64
_REACH = 2  # pixels of 64
_CHUNK = 2048  # glyphs
_TOLD = 32  # pictures, from one sign of life to the next


class Nearest(NamedTuple):
    """For Q pictures, the nearest glyph of a set."""

    distance: Tensor  # (Q,) float32, 0…2
    glyph: Tensor  # (Q,) int64, its index in the set


class Searched(NamedTuple):
    """How far a search has come."""

    done: int  # glyphs
    total: int
    nearest: Nearest | None  # once the search has ended
    compared: int = 0  # pictures that have been compared with their candidates in full


def characters_of(glyphs: GlyphSet) -> Tensor:
    """(N,) int64: the same number for glyphs of the same character, copies in the compatibility block included."""
    numbers: dict[str, int] = {}
    rows = [
        numbers.setdefault(canonical(c.character) if c.character else f"caption {i}", len(numbers))
        for i, c in enumerate(glyphs.characters)
    ]
    return torch.tensor(rows)[glyphs.character_of]


def search(pictures: Tensor, glyphs: GlyphSet, character: Tensor | None = None) -> Iterator[Searched]:
    """Find the nearest glyph of each picture; the last thing yielded holds the answer.

    Args:
        pictures: (Q, H, W) uint8, 255 is paper; Q ≥ 1.
        glyphs: where to look, every glyph in every font; at least one must be left for each picture.
        character: (Q,) numbers of `characters_of`; glyphs of that character are passed over.
    """
    fine, coarse = _fine(to_ink(pictures)), _coarse(to_ink(pictures))
    shifted = _normal(torch.stack([_shift(coarse, *by) for by in _shifts(1)]).flatten(0, 1).flatten(1))
    own = characters_of(glyphs) if character is not None else None
    count = min(CANDIDATES, len(glyphs))
    best = torch.full((len(pictures), 0), -torch.inf)
    rows = torch.zeros(len(pictures), 0, dtype=torch.int64)
    done = 0
    for index in torch.arange(len(glyphs)).split(_CHUNK):
        bank = _normal(_coarse(to_ink(glyphs.images(index))).flatten(1))
        likeness = (shifted @ bank.T).reshape(-1, len(pictures), len(index)).amax(0)
        if own is not None and character is not None:
            likeness[character[:, None] == own[index]] = -torch.inf
        best = torch.cat([best, likeness], 1)
        rows = torch.cat([rows, index.expand(len(pictures), -1)], 1)
        best, order = best.topk(min(count, best.shape[1]), dim=1)
        rows = rows.gather(1, order)
        done += len(index)
        yield Searched(done, len(glyphs), None)
    distance = torch.empty(len(pictures))
    glyph = torch.empty(len(pictures), dtype=torch.int64)
    for k, picture in enumerate(fine):
        if k % _TOLD == 0:
            yield Searched(done, len(glyphs), None, k)
        allowed = rows[k][best[k] > -torch.inf]
        assert len(allowed), "no glyph is left to compare with"
        moved = _normal(torch.stack([_shift(picture, *by) for by in _shifts(_REACH)]).flatten(1))
        likeness = (moved @ _normal(_fine(to_ink(glyphs.images(allowed))).flatten(1)).T).amax(0)
        distance[k], glyph[k] = 1 - likeness.max(), allowed[likeness.argmax()]
    yield Searched(done, len(glyphs), Nearest(distance, glyph), len(pictures))


def _shifts(reach: int) -> list[tuple[int, int]]:
    return list(itertools.product(range(-reach, reach + 1), range(-reach, reach + 1)))


def _shift(x: Tensor, down: int, right: int) -> Tensor:
    """x (…, H, W) moved, paper coming in at the edges."""
    return F.pad(x, (right, -right, down, -down))


def _fine(ink: Tensor) -> Tensor:
    """(N, 64, 64) blurred by [1 4 6 4 1]/16 each way: a stroke half a pixel off, or heavier, is still nearly the same.

    Sums of shifted pictures: on a CPU a good deal faster than a convolution of one channel.
    """
    x = ink[:, 0]
    for _ in range(2):
        wide = F.pad(x, (1, 1, 1, 1))
        x = wide[:, 1:-1, :-2] + 2 * wide[:, 1:-1, 1:-1] + wide[:, 1:-1, 2:]
        wide = F.pad(x, (1, 1, 1, 1))
        x = (wide[:, :-2, 1:-1] + 2 * wide[:, 1:-1, 1:-1] + wide[:, 2:, 1:-1]) / 16
    return x


def _coarse(ink: Tensor) -> Tensor:
    """(N, 32, 32)."""
    return F.avg_pool2d(_fine(ink)[:, None], 2)[:, 0]


def _normal(x: Tensor) -> Tensor:
    """Rows (N, P) with mean 0 and length 1, so that their products are correlations; a blank picture is 0."""
    x = x - x.mean(1, keepdim=True)
    return x / x.norm(dim=1, keepdim=True).clamp(min=1e-6)
