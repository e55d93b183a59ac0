"""Are drawn glyphs put together of parts that there are?

Most characters have a left and a right part (⿰) or an upper and a lower one (⿱), each of which comes back in other
characters. Linear discriminants (Fisher 1936), learned from real glyphs, name the parts of a glyph: one for the
arrangement, one for each place of a part. They look at what the classifier's second block sees in each sixteenth of the
picture. How sure an answer is says Lowe's ratio test (2004, section 7.1): how much farther away the second-best part is
than the best. From which ratio on a part, or both, count as read is decided on real glyphs of characters that were not
learned from, half of those held out, so that `PRECISION` of what is read is right. The other half shows how much of
real glyphs is read.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from glyffctl.core.data.dataset import GlyphSet
from glyffctl.core.data.structure import LEFT_RIGHT, OPERATORS, TOP_BOTTOM
from glyffctl.core.evaluation.classifier import RadicalClassifier, to_ink

FEWEST = 3
"""Glyphs from which a part is learned, at least."""
PRECISION = 0.95
LEARNED = 20_000
"""Glyphs that are learned from, at most."""
_FEWEST_READ = 10  # glyphs that a threshold must let pass to be believed
_SHRINKAGE = 0.3  # of the covariance towards a multiple of the identity: there are more numbers than glyphs of a part
_LAYERS = 9  # of the classifier's body: up to its second block
_AT_ONCE = 128  # pictures
_ARRANGED = (LEFT_RIGHT, TOP_BOTTOM)
_THREE = {"⿲", "⿳"}  # the operators with three operands; the others have two
_REGIONS = re.compile(r"\[[A-Z]*\]")


class Parts(NamedTuple):
    """How a glyph is put together: ⿰ or ⿱, and its two parts as description sequences, first left or upper."""

    operator: str
    first: str
    second: str


def parts_of(sequence: str) -> Parts | None:
    """The outermost arrangement of an IDS; None where it is not ⿰ or ⿱, or the sequence is broken."""
    text = _REGIONS.sub("", sequence)
    if text[:1] not in _ARRANGED:
        return None
    middle = _end(text, 1)
    end = _end(text, middle)
    return Parts(text[0], text[1:middle], text[middle:end]) if middle < end == len(text) else None


def _end(text: str, start: int) -> int:
    """The place behind the operand that begins at `start`; more than there are characters if it is cut short."""
    missing, place = 1, start
    while missing and place < len(text):
        operands = 0 if text[place] not in OPERATORS else 3 if text[place] in _THREE else 2
        missing += operands - 1
        place += 1
    return place if not missing else len(text) + 1


@dataclass(frozen=True, eq=False)
class Discriminant:
    """Σ⁻¹ and the means of K kinds: the kind with the nearest mean by Mahalanobis' distance is the answer."""

    names: list[str]
    means: Tensor  # (K, V)
    inverse: Tensor  # (V, V)

    @staticmethod
    def of(names: list[str], sums: Tensor, counts: Tensor, products: Tensor) -> Discriminant:
        """From the sums (K, V) of each kind's views, their counts (K,), and the sum of all outer products (V, V)."""
        means = sums / counts[:, None]
        within = (products - means.T @ sums) / (counts.sum() - len(names)).clamp(min=1)
        within += _SHRINKAGE * within.diagonal().mean().clamp(min=1e-6) * torch.eye(len(within))
        return Discriminant(names, means, torch.cholesky_inverse(torch.linalg.cholesky(within)))

    def answer(self, views: Tensor) -> tuple[list[str], Tensor]:
        """The nearest kind of views (N, V), and how much farther the second is, in shares of its distance (N,)."""
        halves = views @ self.inverse
        distance = (
            (halves * views).sum(1, keepdim=True)
            - 2 * halves @ self.means.T
            + ((self.means @ self.inverse) * self.means).sum(1)
        ).clamp(min=1e-6)
        near, index = distance.topk(2, dim=1, largest=False)
        return [self.names[i] for i in index[:, 0].tolist()], near[:, 1] / near[:, 0] - 1


class Reading(NamedTuple):
    """What was read in N pictures."""

    parts: list[Parts | None]  # None where the arrangement is another one
    sureness: Tensor  # (N, 2) the ratio of each of the two; −1 where there are none


@dataclass(frozen=True, eq=False)
class PartsReader:
    """Names the parts of glyphs."""

    classifier: RadicalClassifier
    arrangement: Discriminant
    places: Mapping[tuple[str, int], Discriminant]

    def read(self, pictures: Tensor) -> Reading:
        """The parts of pictures (N, H, W) or (N, 1, H, W) uint8, 255 is paper."""
        parts: list[Parts | None] = []
        sureness: list[list[float]] = []
        for batch in pictures.split(_AT_ONCE):
            views = _views(self.classifier, batch)
            operators, _ = self.arrangement.answer(views)
            answers = {place: discriminant.answer(views) for place, discriminant in self.places.items()}
            for row, operator in enumerate(operators):
                if (operator, 0) not in answers or (operator, 1) not in answers:
                    parts.append(None)
                    sureness.append([-1.0, -1.0])
                    continue
                first, second = answers[operator, 0], answers[operator, 1]
                parts.append(Parts(operator, first[0][row], second[0][row]))
                sureness.append([float(first[1][row]), float(second[1][row])])
        return Reading(parts, torch.tensor(sureness).reshape(-1, 2))


class Learned(NamedTuple):
    """How far learning has come."""

    done: int  # glyphs
    total: int
    reader: PartsReader | None  # at the end; None there too if the glyphs have too few parts in common


def learn(
    classifier: RadicalClassifier, glyphs: GlyphSet, index: Tensor, truth: Sequence[Parts | None]
) -> Iterator[Learned]:
    """Learn the parts of glyphs; the last thing yielded holds the reader. Needs the memory of sums, not of glyphs.

    Args:
        index: (N,) the glyphs to learn from.
        truth: the parts of each of them.
    """
    counts = Counter((p.operator, place, p[1 + place]) for p in truth if p is not None for place in (0, 1))
    names = {
        (operator, place): sorted(
            part for (o, p, part), count in counts.items() if (o, p) == (operator, place) and count >= FEWEST
        )
        for operator in _ARRANGED
        for place in (0, 1)
    }
    rows = {place: {part: row for row, part in enumerate(known)} for place, known in names.items()}
    classifier.eval()
    width = _views(classifier, glyphs.images(index[:1])).shape[1]
    kinds = ["", *_ARRANGED]
    arranged = _Sums(len(kinds), width)
    sums = {place: _Sums(len(known), width) for place, known in names.items()}
    done = 0
    for part in torch.arange(len(index)).split(_AT_ONCE):
        views, told = _views(classifier, glyphs.images(index[part])), [truth[i] for i in part.tolist()]
        arranged.add(views, [kinds.index(parts.operator) if parts else 0 for parts in told])
        for (operator, place), known in rows.items():
            of_it = [known.get(p[1 + place], -1) if p is not None and p.operator == operator else -1 for p in told]
            sums[operator, place].add(views, of_it)
        done += len(part)
        yield Learned(done, len(index), None)
    discriminants = {place: sums[place].discriminant(known) for place, known in names.items() if len(known) > 1}
    reader = None
    if bool((arranged.counts > 0).all()) and discriminants:
        reader = PartsReader(classifier, arranged.discriminant(kinds), discriminants)
    yield Learned(done, len(index), reader)


class _Sums:
    """What a discriminant is made of, added up."""

    def __init__(self, kinds: int, width: int) -> None:
        self.sums, self.counts = torch.zeros(kinds, width), torch.zeros(kinds)
        self.products = torch.zeros(width, width)

    def add(self, views: Tensor, kind: Sequence[int]) -> None:
        """Add views (N, V) of these kinds; −1 is none."""
        number = torch.tensor(kind)
        views, number = views[number >= 0], number[number >= 0]
        self.sums.index_add_(0, number, views)
        self.counts += number.bincount(minlength=len(self.counts))
        self.products += views.T @ views

    def discriminant(self, names: list[str]) -> Discriminant:
        return Discriminant.of(names, self.sums, self.counts, self.products)


@torch.no_grad()
def _views(classifier: RadicalClassifier, pictures: Tensor) -> Tensor:
    """(N, 2048): the 128 answers of the classifier's second block in each sixteenth of the picture."""
    ink = to_ink(pictures.to(classifier.head.weight.device)).contiguous(memory_format=torch.channels_last)
    return F.adaptive_avg_pool2d(classifier.body[:_LAYERS](ink), 4).flatten(1).float().cpu()


class Limits(NamedTuple):
    """The sureness from which on a reading is believed; what is never read for sure is not there."""

    both: dict[str, float]  # by operator, of the less sure part
    each: dict[tuple[str, int], float]  # by operator and place


def limits(reading: Reading, truth: Sequence[Parts | None]) -> Limits:
    """The lowest limits from which on `PRECISION` of what is read is right."""
    both, each = {}, {}
    for operator in _ARRANGED:
        rows = [row for row, parts in enumerate(reading.parts) if parts is not None and parts.operator == operator]
        sure = reading.sureness[rows]
        right = torch.tensor([_right(reading.parts[row], truth[row]) for row in rows]).reshape(-1, 2)
        found = _limit(sure.amin(1), right.all(1))
        if found is not None:
            both[operator] = found
        for place in (0, 1):
            found = _limit(sure[:, place], right[:, place])
            if found is not None:
                each[operator, place] = found
    return Limits(both, each)


def _right(parts: Parts | None, truth: Parts | None) -> tuple[bool, bool]:
    """Which of the two parts are the true ones."""
    if parts is None or truth is None or parts.operator != truth.operator:
        return False, False
    return parts.first == truth.first, parts.second == truth.second


def _limit(sure: Tensor, right: Tensor) -> float | None:
    """The lowest limit that keeps `PRECISION`; None if none does, or only with so few that it proves nothing."""
    order = sure.argsort(descending=True, stable=True)
    good = (right[order].double().cumsum(0) / torch.arange(1, len(order) + 1) >= PRECISION).nonzero().flatten().tolist()
    return float(sure[order[good[-1]]]) if good and good[-1] + 1 >= _FEWEST_READ else None


def legible(reading: Reading, limits: Limits) -> list[Parts]:
    """The parts of the pictures of which both were read for sure."""
    return [
        parts
        for parts, sure in zip(reading.parts, reading.sureness.amin(1).tolist(), strict=True)
        if parts is not None and sure >= limits.both.get(parts.operator, torch.inf)
    ]


def partly_legible(reading: Reading, limits: Limits) -> int:
    """How many pictures have at least one part that was read for sure."""
    return sum(
        parts is not None
        and any(sure[place] >= limits.each.get((parts.operator, place), torch.inf) for place in (0, 1))
        for parts, sure in zip(reading.parts, reading.sureness.tolist(), strict=True)
    )
