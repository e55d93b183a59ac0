"""Discriminator: how well a classifier trained for it distinguishes drawn glyphs from real ones.

A ridge classifier (Hoerl and Kennard 1970) is trained on some pictures and tested on others: a classifier two-sample
test. Its features are patterns of paper, grey and ink in neighboring pixels, which show how edges are drawn, and
shapes: the distribution of ink over the picture, and the activations of the radical classifier at 64×64. The exact grey
of paper and ink is removed: paper of 254 instead of 255 would give away every drawn picture, and is invisible.

Each picture is tested by a classifier that was trained on neither it nor another picture of the same character.
"""

from __future__ import annotations

from collections.abc import Generator

import torch
from torch import Tensor
from torch.nn import functional as F

from glyffctl.core.estimates import Estimate, mean
from glyffctl.core.evaluation.classifier import RadicalClassifier, to_ink
from glyffctl.core.noise import permutation

FOLDS = 5
FEWEST_CHARACTERS = 2 * FOLDS
"""The fewest characters to train on."""
_GREY, _INK = 0.1, 0.9  # of black, as in `strokes`
_GRID = 8
PATTERNS = 2 * 3**6
"""The number of features about patterns of pixels, which come first; the others are about shapes."""
_RIDGES = torch.logspace(-4, 2, 13, dtype=torch.float64)
_BATCH = 64  # pictures
_BLOCKS = (7, 8, 9)
"""The classifier's residual blocks, by their index in its body."""


def discriminator_features(classifier: RadicalClassifier, pictures: Tensor) -> Generator[float, None, Tensor]:
    """Compute the features of the discriminator.

    Args:
        classifier: the source of the features of shapes.
        pictures: (N, H, W) uint8, 255 is paper.

    Yields:
        The share of the pictures that are done, 0 to 1.

    Returns:
        (N, V) float32.
    """
    classifier.eval()
    found: list[Tensor] = []
    done = 0
    for part in pictures.split(_BATCH):
        clipped = _clip_greys(part)
        found.append(torch.cat([_patterns(clipped), _layers(classifier, clipped)], 1))
        done += len(part)
        yield done / len(pictures)
    return torch.cat(found)


def _clip_greys(pictures: Tensor) -> Tensor:
    """Replace almost white by white and almost black by black."""
    white, black = round(255 * (1 - _GREY)), round(255 * (1 - _INK))
    return pictures.masked_fill(pictures >= white, 255).masked_fill(pictures <= black, 0)


def _patterns(pictures: Tensor) -> Tensor:
    """(N, PATTERNS + 64): the square roots of the frequencies of patterns of 2×3 and 3×2 pixels, and ink on a grid."""
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
    """(N, 768): mean and deviation over the picture of each channel of the classifier's blocks."""
    x = to_ink(pictures.to(classifier.head.weight.device)).contiguous(memory_format=torch.channels_last)
    found = []
    for place, layer in enumerate(classifier.body):
        x = layer(x)
        if place in _BLOCKS:
            found += [x.mean((2, 3)), x.std((2, 3))]
        if place == max(_BLOCKS):
            break
    return torch.cat(found, 1).float().cpu()


def two_sample_accuracy(
    first: Tensor, second: Tensor, groups_first: Tensor, groups_second: Tensor, seed: int
) -> Estimate:
    """The balanced accuracy of a classifier that distinguishes two samples, by cross-validation; 0.5 is guessing.

    The interval is over characters: the pictures of one character are one unit.

    Args:
        first: (N, V) features of a sample of pictures.
        second: (M, V) features of the other sample.
        groups_first: (N,) int64 ≥ 0, the character of each picture; at least `FEWEST_CHARACTERS` in both samples.
        groups_second: (M,) int64 ≥ 0.
        seed: of the division into folds.
    """
    x = torch.cat([first, second]).double()
    sign = torch.cat([torch.ones(len(first)), -torch.ones(len(second))]).double()
    characters, group = torch.cat([groups_first, groups_second]).unique(return_inverse=True)
    assert len(characters) >= FEWEST_CHARACTERS
    fold = (permutation(seed, 0, len(characters)) % FOLDS)[group]
    right = torch.zeros(len(x), dtype=torch.float64)
    for number in range(FOLDS):
        test = fold == number
        right[test] = ((_ridge(x[~test], sign[~test], x[test]) > 0) == (sign[test] > 0)).double()
    # Weights make both samples count the same; characters are resampled.
    weight = torch.where(sign > 0, len(x) / (2 * len(first)), len(x) / (2 * len(second))).double()
    hits, total = (torch.zeros(len(characters)).double().index_add_(0, group, w) for w in (weight * right, weight))
    return _ratio(hits, total)


def _ratio(hits: Tensor, weights: Tensor) -> Estimate:
    """Σ hits / Σ weights over units, with the bootstrap interval of its linear approximation."""
    value = float(hits.sum() / weights.sum())
    if value in (0.0, 1.0):
        return mean(torch.full((len(hits),), value))
    spread = mean((hits - value * weights) / weights.mean())
    return Estimate(value, max(0.0, value + spread.low), min(1.0, value + spread.high), len(hits))


def _ridge(x: Tensor, sign: Tensor, test: Tensor) -> Tensor:
    """(M,): predictions for `test` (M, V) by ridge regression of `sign` (N,), 1 or −1, on x (N, V).

    The strength of the ridge minimises the leave-one-out error, which has a closed form (Golub, Heath and Wahba 1979).
    """
    middle, scale = x.mean(0), x.std(0)
    kept = scale > 1e-6
    x, test = ((y[:, kept] - middle[kept]) / scale[kept] for y in (x, test))
    # Both classes count the same, whatever their sizes.
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
    return (test @ x.T) * weight @ chosen / x.shape[1]
