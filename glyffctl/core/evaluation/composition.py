"""Composition: whether drawn glyphs consist of known parts.

Most characters have a left and a right part (⿰) or an upper and a lower one (⿱), each of which recurs in other
characters. Linear discriminants (Fisher 1936), trained on real glyphs, predict the parts of a glyph: one discriminant
for the arrangement, one for each position of a part. Their features are the activations of the classifier's second
block in each sixteenth of the picture. The confidence of a prediction is Lowe's ratio (2004, section 7.1): how much
farther away the second-best part is than the best. The confidence from which predictions are accepted is set on half of
the held-out real glyphs, so that `PRECISION` of the accepted predictions are right. The other half shows how many real
glyphs are accepted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from glyffctl.core.data.dataset import GlyphSet
from glyffctl.core.data.structure import LEFT_RIGHT, OPERATORS, TOP_BOTTOM
from glyffctl.core.evaluation.classifier import RadicalClassifier, to_ink

FEWEST_OF_PART = 3
"""The fewest training glyphs of a part."""
PRECISION = 0.95
MOST_TRAINING = 20_000
"""The most training glyphs."""
_FEWEST_ACCEPTED = 10  # predictions that a threshold must accept to be reliable
_SHRINKAGE = 0.3  # of the covariance towards a multiple of the identity: there are more features than glyphs of a part
_LAYERS = 9  # of the classifier's body: up to its second block
_BATCH = 128  # pictures
_ARRANGEMENTS = (LEFT_RIGHT, TOP_BOTTOM)
_THREE = {"⿲", "⿳"}  # the operators with three operands; the others have two
_REGIONS = re.compile(r"\[[A-Z]*\]")


class Parts(NamedTuple):
    """The composition of a glyph: ⿰ or ⿱, and its two parts as description sequences, the left or upper first."""

    operator: str
    first: str
    second: str


def parts_of(sequence: str) -> Parts | None:
    """The outermost arrangement of an IDS; None where it is not ⿰ or ⿱, or the sequence is broken."""
    text = _REGIONS.sub("", sequence)
    if text[:1] not in _ARRANGEMENTS:
        return None
    middle = _end(text, 1)
    end = _end(text, middle)
    return Parts(text[0], text[1:middle], text[middle:end]) if middle < end == len(text) else None


def _end(text: str, start: int) -> int:
    """The position after the operand that begins at `start`; greater than the length if it is incomplete."""
    missing, place = 1, start
    while missing and place < len(text):
        operands = 0 if text[place] not in OPERATORS else 3 if text[place] in _THREE else 2
        missing += operands - 1
        place += 1
    return place if not missing else len(text) + 1


@dataclass(frozen=True, eq=False)
class Discriminant:
    """A linear discriminant of K classes: predicts the class with the nearest mean in Mahalanobis distance."""

    names: list[str]
    means: Tensor  # (K, V)
    inverse: Tensor  # (V, V)

    @staticmethod
    def from_sums(names: list[str], sums: Tensor, counts: Tensor, products: Tensor) -> Discriminant:
        """Fit a discriminant.

        Args:
            names: of the K classes.
            sums: (K, V) of the features of each class.
            counts: (K,) of the samples of each class.
            products: (V, V), the sum of the outer products of all features.
        """
        means = sums / counts[:, None]
        within = (products - means.T @ sums) / (counts.sum() - len(names)).clamp(min=1)
        within += _SHRINKAGE * within.diagonal().mean().clamp(min=1e-6) * torch.eye(len(within))
        return Discriminant(names, means, torch.cholesky_inverse(torch.linalg.cholesky(within)))

    def predict(self, features: Tensor) -> tuple[list[str], Tensor]:
        """The nearest class of features (N, V), and its confidence (N,): second distance over its own, less 1."""
        halves = features @ self.inverse
        distance = (
            (halves * features).sum(1, keepdim=True)
            - 2 * halves @ self.means.T
            + ((self.means @ self.inverse) * self.means).sum(1)
        ).clamp(min=1e-6)
        near, index = distance.topk(2, dim=1, largest=False)
        return [self.names[i] for i in index[:, 0].tolist()], near[:, 1] / near[:, 0] - 1


class PartsPrediction(NamedTuple):
    """The predicted parts of N pictures."""

    parts: list[Parts | None]  # None where the arrangement is another one
    confidence: Tensor  # (N, 2) of each of the two parts; −1 where there are none


@dataclass(frozen=True, eq=False)
class PartsClassifier:
    """Predicts the parts of glyphs."""

    classifier: RadicalClassifier
    arrangement: Discriminant
    places: Mapping[tuple[str, int], Discriminant]

    def predict(self, pictures: Tensor) -> PartsPrediction:
        """Predict the parts of pictures (N, H, W) or (N, 1, H, W) uint8, 255 is paper."""
        parts: list[Parts | None] = []
        confidence: list[list[float]] = []
        for batch in pictures.split(_BATCH):
            features = _features(self.classifier, batch)
            operators, _ = self.arrangement.predict(features)
            predictions = {place: discriminant.predict(features) for place, discriminant in self.places.items()}
            for row, operator in enumerate(operators):
                if (operator, 0) not in predictions or (operator, 1) not in predictions:
                    parts.append(None)
                    confidence.append([-1.0, -1.0])
                    continue
                first, second = predictions[operator, 0], predictions[operator, 1]
                parts.append(Parts(operator, first[0][row], second[0][row]))
                confidence.append([float(first[1][row]), float(second[1][row])])
        return PartsPrediction(parts, torch.tensor(confidence).reshape(-1, 2))


def train_parts_classifier(
    classifier: RadicalClassifier, glyphs: GlyphSet, index: Tensor, truth: Sequence[Parts | None]
) -> Generator[float, None, PartsClassifier | None]:
    """Train a classifier of parts. It keeps sums in memory, not glyphs.

    Args:
        classifier: the source of the features.
        glyphs: real glyphs.
        index: (N,) the glyphs to train on.
        truth: the parts of each of them.

    Yields:
        The share of the glyphs that are done, 0 to 1.

    Returns:
        The classifier; None if the glyphs have too few parts in common.
    """
    counts = Counter((p.operator, place, p[1 + place]) for p in truth if p is not None for place in (0, 1))
    names = {
        (operator, place): sorted(
            part for (o, p, part), count in counts.items() if (o, p) == (operator, place) and count >= FEWEST_OF_PART
        )
        for operator in _ARRANGEMENTS
        for place in (0, 1)
    }
    rows = {place: {part: row for row, part in enumerate(known)} for place, known in names.items()}
    classifier.eval()
    width = _features(classifier, glyphs.images(index[:1])).shape[1]
    arrangements = ["", *_ARRANGEMENTS]
    arrangement_sums = _ClassSums(len(arrangements), width)
    sums = {place: _ClassSums(len(known), width) for place, known in names.items()}
    done = 0
    for part in torch.arange(len(index)).split(_BATCH):
        features, batch = _features(classifier, glyphs.images(index[part])), [truth[i] for i in part.tolist()]
        arrangement_sums.add(features, [arrangements.index(parts.operator) if parts else 0 for parts in batch])
        for (operator, place), known in rows.items():
            classes = [known.get(p[1 + place], -1) if p and p.operator == operator else -1 for p in batch]
            sums[operator, place].add(features, classes)
        done += len(part)
        yield done / len(index)
    discriminants = {place: sums[place].discriminant(known) for place, known in names.items() if len(known) > 1}
    if not discriminants or not bool((arrangement_sums.counts > 0).all()):
        return None
    return PartsClassifier(classifier, arrangement_sums.discriminant(arrangements), discriminants)


class _ClassSums:
    """The sums that a discriminant is fitted from."""

    def __init__(self, classes: int, width: int) -> None:
        self.sums, self.counts = torch.zeros(classes, width), torch.zeros(classes)
        self.products = torch.zeros(width, width)

    def add(self, features: Tensor, classes: Sequence[int]) -> None:
        """Add features (N, V) of these classes; −1 is none."""
        number = torch.tensor(classes)
        features, number = features[number >= 0], number[number >= 0]
        self.sums.index_add_(0, number, features)
        self.counts += number.bincount(minlength=len(self.counts))
        self.products += features.T @ features

    def discriminant(self, names: list[str]) -> Discriminant:
        return Discriminant.from_sums(names, self.sums, self.counts, self.products)


@torch.no_grad()
def _features(classifier: RadicalClassifier, pictures: Tensor) -> Tensor:
    """(N, 2048): the 128 activations of the classifier's second block in each sixteenth of the picture."""
    ink = to_ink(pictures.to(classifier.head.weight.device)).contiguous(memory_format=torch.channels_last)
    return F.adaptive_avg_pool2d(classifier.body[:_LAYERS](ink), 4).flatten(1).float().cpu()


class Thresholds(NamedTuple):
    """The confidence from which predictions are accepted; without an entry none are."""

    both: dict[str, float]  # by operator, of the less confident part
    each: dict[tuple[str, int], float]  # by operator and place


def find_thresholds(prediction: PartsPrediction, truth: Sequence[Parts | None]) -> Thresholds:
    """The lowest thresholds at which `PRECISION` of the accepted predictions are right.

    Args:
        prediction: of N real glyphs.
        truth: their parts.
    """
    both, each = {}, {}
    for operator in _ARRANGEMENTS:
        rows = [row for row, parts in enumerate(prediction.parts) if parts is not None and parts.operator == operator]
        confidence = prediction.confidence[rows]
        right = torch.tensor([_correct(prediction.parts[row], truth[row]) for row in rows]).reshape(-1, 2)
        found = _threshold(confidence.amin(1), right.all(1))
        if found is not None:
            both[operator] = found
        for place in (0, 1):
            found = _threshold(confidence[:, place], right[:, place])
            if found is not None:
                each[operator, place] = found
    return Thresholds(both, each)


def _correct(parts: Parts | None, truth: Parts | None) -> tuple[bool, bool]:
    """Whether each of the two parts is right."""
    if parts is None or truth is None or parts.operator != truth.operator:
        return False, False
    return parts.first == truth.first, parts.second == truth.second


def _threshold(confidence: Tensor, right: Tensor) -> float | None:
    """The lowest threshold with `PRECISION`; None if there is none, or it accepts too few to be reliable."""
    order = confidence.argsort(descending=True, stable=True)
    good = (right[order].double().cumsum(0) / torch.arange(1, len(order) + 1) >= PRECISION).nonzero().flatten().tolist()
    return float(confidence[order[good[-1]]]) if good and good[-1] + 1 >= _FEWEST_ACCEPTED else None


def accepted_parts(prediction: PartsPrediction, thresholds: Thresholds) -> list[Parts]:
    """The parts of the pictures where the prediction of both is accepted."""
    return [
        parts
        for parts, confidence in zip(prediction.parts, prediction.confidence.amin(1).tolist(), strict=True)
        if parts is not None and confidence >= thresholds.both.get(parts.operator, torch.inf)
    ]


def count_partly_accepted(prediction: PartsPrediction, thresholds: Thresholds) -> int:
    """The number of pictures where the prediction of at least one part is accepted."""
    return sum(
        parts is not None
        and any(confidence[place] >= thresholds.each.get((parts.operator, place), torch.inf) for place in (0, 1))
        for parts, confidence in zip(prediction.parts, prediction.confidence.tolist(), strict=True)
    )
