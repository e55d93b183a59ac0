"""Can a machine that is made for it tell drawn glyphs from real ones?

A ridge classifier (Hoerl and Kennard 1970) learns the difference from some pictures and is asked about others. It looks
at patterns of paper, grey and ink in neighbouring pixels, which show how edges are drawn, and at shapes: how ink is
spread over the picture, and what small filters see of strokes and corners at 64×64, the classifier's first layers. It
is not shown the exact grey of paper and ink: paper of 254 instead of 255 would give every drawn picture away, and
nobody sees that.

Each picture's verdict comes from a classifier that saw neither it nor another picture of the same character.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from glyffctl.core.estimates import Estimate, mean
from glyffctl.core.evaluation.classifier import RadicalClassifier, to_ink
from glyffctl.core.noise import permutation

FOLDS = 5
FEWEST = 2 * FOLDS
"""Characters without which there is nothing to learn from."""
_GREY, _INK = 0.1, 0.9  # of black, as in `strokes`
_GRID = 8
PATTERNS = 2 * 3**6
"""The first of the `views` are about patterns of pixels, this many; the others about shapes."""
_RIDGES = torch.logspace(-4, 2, 13, dtype=torch.float64)
_AT_ONCE = 64  # pictures
_BLOCKS = (7, 8, 9)
"""The classifier's residual blocks, by their place in its body."""


class Looked(NamedTuple):
    """How far `views` has come."""

    done: int  # pictures
    total: int
    views: Tensor | None  # (N, V) float32, once all have been looked at


def views(classifier: RadicalClassifier, pictures: Tensor) -> Iterator[Looked]:
    """What the classifier knows of pictures (N, H, W) uint8, 255 is paper; the last thing yielded holds it."""
    classifier.eval()
    found: list[Tensor] = []
    done = 0
    for part in pictures.split(_AT_ONCE):
        clear = _clear(part)
        found.append(torch.cat([_patterns(clear), _layers(classifier, clear)], 1))
        done += len(part)
        yield Looked(done, len(pictures), None)
    yield Looked(done, len(pictures), torch.cat(found))


def _clear(pictures: Tensor) -> Tensor:
    """The pictures with paper that is white and ink that is black, whatever they are to the last bit."""
    white, black = round(255 * (1 - _GREY)), round(255 * (1 - _INK))
    return pictures.masked_fill(pictures >= white, 255).masked_fill(pictures <= black, 0)


def _patterns(pictures: Tensor) -> Tensor:
    """(N, PATTERNS + 64): how often each pattern of 2×3 and 3×2 pixels occurs, as square roots, and ink by places."""
    dark = 1 - pictures.float() / 255
    level = (dark > _GREY).long() + (dark > _INK).long()
    counts = []
    for turned in (level, level.transpose(1, 2)):
        row = turned[:, :, :-2] * 9 + turned[:, :, 1:-1] * 3 + turned[:, :, 2:]
        pattern = (row[:, :-1] * 27 + row[:, 1:]).flatten(1)
        count = torch.zeros(len(pictures), 729).scatter_add_(1, pattern, torch.ones(pattern.shape))
        counts.append((count / pattern.shape[1]).sqrt())
    return torch.cat([*counts, F.adaptive_avg_pool2d(dark[:, None], _GRID).flatten(1)], 1)


@torch.no_grad()
def _layers(classifier: RadicalClassifier, pictures: Tensor) -> Tensor:
    """(N, 768): mean and deviation over the picture of what each filter of the classifier's blocks answers."""
    x = to_ink(pictures.to(classifier.head.weight.device)).contiguous(memory_format=torch.channels_last)
    found = []
    for place, layer in enumerate(classifier.body):
        x = layer(x)
        if place in _BLOCKS:
            found += [x.mean((2, 3)), x.std((2, 3))]
        if place == max(_BLOCKS):
            break
    return torch.cat(found, 1).float().cpu()


def told_apart(first: Tensor, second: Tensor, groups_first: Tensor, groups_second: Tensor, seed: int) -> Estimate:
    """The share of pictures told apart, as balanced accuracy; 0.5 is guessing.

    Its interval is that over characters: pictures of one character are one unit.

    Args:
        first, second: (N, V) and (M, V) `views` of two samples of pictures.
        groups_first, groups_second: (N,) and (M,) int64 ≥ 0, the character of each picture; `FEWEST` or more.
        seed: of the division into folds.
    """
    x = torch.cat([first, second]).double()
    sign = torch.cat([torch.ones(len(first)), -torch.ones(len(second))]).double()
    characters, group = torch.cat([groups_first, groups_second]).unique(return_inverse=True)
    assert len(characters) >= FEWEST
    fold = (permutation(seed, 0, len(characters)) % FOLDS)[group]
    right = torch.zeros(len(x), dtype=torch.float64)
    for number in range(FOLDS):
        asked = fold == number
        right[asked] = ((_ridge(x[~asked], sign[~asked], x[asked]) > 0) == (sign[asked] > 0)).double()
    # A picture weighs so that both samples weigh the same, and characters are what is resampled.
    weight = torch.where(sign > 0, len(x) / (2 * len(first)), len(x) / (2 * len(second))).double()
    hits, held = (torch.zeros(len(characters)).double().index_add_(0, group, w) for w in (weight * right, weight))
    return _ratio(hits, held)


def _ratio(hits: Tensor, weights: Tensor) -> Estimate:
    """Σ hits / Σ weights over units, with the interval of its linear approximation, resampled."""
    value = float(hits.sum() / weights.sum())
    if value in (0.0, 1.0):
        return mean(torch.full((len(hits),), value))
    spread = mean((hits - value * weights) / weights.mean())
    return Estimate(value, max(0.0, value + spread.low), min(1.0, value + spread.high), len(hits))


def _ridge(x: Tensor, sign: Tensor, asked: Tensor) -> Tensor:
    """What a ridge regression on `sign` (N,) of x (N, V) says of `asked` (M, V): above 0 for 1, below for −1.

    The strength of the ridge is the one that is best at telling each picture after learning from all others, which has
    a closed form (Golub, Heath and Wahba 1979).
    """
    middle, scale = x.mean(0), x.std(0)
    kept = scale > 1e-6
    x, asked = ((y[:, kept] - middle[kept]) / scale[kept] for y in (x, asked))
    # Both kinds count for the same, whatever their numbers.
    weight = torch.where(sign > 0, 1 / (sign > 0).double().mean(), 1 / (sign < 0).double().mean()).sqrt()
    values, vectors = torch.linalg.eigh((x @ x.T) * weight[:, None] * weight / x.shape[1])
    target = vectors.T @ (sign * weight)
    best, chosen = torch.inf, target
    for ridge in _RIDGES * values.mean():
        shrunk = values / (values + ridge)
        left = (sign * weight - vectors @ (shrunk * target)) / (1 - (vectors.square() @ shrunk))
        wrong = float(left.square().mean())
        if wrong < best:
            best, chosen = wrong, vectors @ (target / (values + ridge))
    return (asked @ x.T) * weight @ chosen / x.shape[1]
