"""Novelty: the distance of a picture to the nearest of many real glyphs, insensitive to small shifts.

Two pictures are compared as blurred ink at 64×64, with the mean subtracted: the distance is 1 − their largest
correlation over shifts of up to 1/32 of the picture (4 pixels at 128×128) in each direction. 0 is the same picture, 1
an unrelated one.

For speed the search has two stages. `find_candidates` compares every glyph at 32×32 with shifts of one pixel, by one
matrix product; `compare_candidates` compares the best `CANDIDATES` of each picture in full.
"""

from __future__ import annotations

import itertools
from collections.abc import Generator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from glyffctl.core.data.dataset import GlyphSet
from glyffctl.core.data.split import canonical
from glyffctl.core.evaluation.classifier import to_ink

CANDIDATES = 64
_SHIFT = 2  # pixels of 64
_CHUNK = 2048  # glyphs
_EVERY = 32  # pictures between two yields


class Nearest(NamedTuple):
    """For Q pictures, the nearest glyph of a set."""

    distance: Tensor  # (Q,) float32, 0…2
    glyph: Tensor  # (Q,) int64, its index in the set


class Candidates(NamedTuple):
    """For Q pictures, the glyphs that may be nearest."""

    glyph: Tensor  # (Q, C) int64, indices in the set
    allowed: Tensor  # (Q, C) bool; False for glyphs of the picture's own character


def characters_of(glyphs: GlyphSet) -> Tensor:
    """(N,) int64: a number for the character of each glyph; a compatibility ideograph has that of its original."""
    numbers: dict[str, int] = {}
    rows = [
        numbers.setdefault(canonical(c.character) if c.character else f"caption {i}", len(numbers))
        for i, c in enumerate(glyphs.characters)
    ]
    return torch.tensor(rows)[glyphs.character_of]


def find_candidates(
    pictures: Tensor, glyphs: GlyphSet, character: Tensor | None = None
) -> Generator[float, None, Candidates]:
    """Find the glyphs that may be nearest to each picture.

    Args:
        pictures: (Q, H, W) uint8, 255 is paper; Q ≥ 1.
        glyphs: the set to search, in all its fonts.
        character: (Q,) numbers of `characters_of`; glyphs of that character are left out.

    Yields:
        The share of the glyphs that have been compared, 0 to 1.
    """
    coarse = _coarse(to_ink(pictures))
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
        yield done / len(glyphs)
    return Candidates(rows, best > -torch.inf)


def compare_candidates(pictures: Tensor, glyphs: GlyphSet, candidates: Candidates) -> Generator[float, None, Nearest]:
    """Find the nearest of the candidates of each picture.

    Args:
        pictures: (Q, H, W) uint8, 255 is paper.
        glyphs: the set that was searched.
        candidates: of `find_candidates`, at least one allowed for each picture.

    Yields:
        The share of the pictures that have been compared, 0 to 1.
    """
    distance = torch.empty(len(pictures))
    glyph = torch.empty(len(pictures), dtype=torch.int64)
    for k, picture in enumerate(_fine(to_ink(pictures))):
        if k % _EVERY == 0:
            yield k / len(pictures)
        allowed = candidates.glyph[k][candidates.allowed[k]]
        assert len(allowed), "no glyph is left to compare with"
        moved = _normal(torch.stack([_shift(picture, *by) for by in _shifts(_SHIFT)]).flatten(1))
        likeness = (moved @ _normal(_fine(to_ink(glyphs.images(allowed))).flatten(1)).T).amax(0)
        distance[k], glyph[k] = 1 - likeness.max(), allowed[likeness.argmax()]
    return Nearest(distance, glyph)


def _shifts(most: int) -> list[tuple[int, int]]:
    return list(itertools.product(range(-most, most + 1), range(-most, most + 1)))


def _shift(x: Tensor, down: int, right: int) -> Tensor:
    """Shift x (…, H, W), with paper at the edges."""
    return F.pad(x, (right, -right, down, -down))


def _fine(ink: Tensor) -> Tensor:
    """(N, 64, 64): ink blurred by [1 4 6 4 1]/16 each way, so that half a pixel of shift or width changes little.

    Sums of shifted pictures are faster on a CPU than a convolution of one channel.
    """
    x = ink[:, 0]
    for _ in range(2):
        wide = F.pad(x, (1, 1, 1, 1))
        x = wide[:, 1:-1, :-2] + 2 * wide[:, 1:-1, 1:-1] + wide[:, 1:-1, 2:]
        wide = F.pad(x, (1, 1, 1, 1))
        x = (wide[:, :-2, 1:-1] + 2 * wide[:, 1:-1, 1:-1] + wide[:, 2:, 1:-1]) / 16
    return x


def _coarse(ink: Tensor) -> Tensor:
    """(N, 32, 32): blurred ink at half the resolution."""
    return F.avg_pool2d(_fine(ink)[:, None], 2)[:, 0]


def _normal(x: Tensor) -> Tensor:
    """Normalise rows (N, P) to mean 0 and length 1: their products are correlations. A blank picture becomes 0."""
    x = x - x.mean(1, keepdim=True)
    return x / x.norm(dim=1, keepdim=True).clamp(min=1e-6)
