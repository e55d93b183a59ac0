"""The metrics of `glyffctl evaluate`, a group per function, from pictures or the classifier's predictions."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from glyffctl.core.data.dataset import GlyphSet
from glyffctl.core.data.radicals import labels
from glyffctl.core.data.split import held_out
from glyffctl.core.data.structure import LEFT_RIGHT, TOP_BOTTOM, read_sequences
from glyffctl.core.data.subset import evenly_spaced
from glyffctl.core.estimates import Estimate, mean, quantile, share
from glyffctl.core.evaluation.classifier import RadicalClassifier
from glyffctl.core.evaluation.classifier_training import HOLDOUT
from glyffctl.core.evaluation.composition import (
    MOST_TRAINING,
    PRECISION,
    Parts,
    PartsPrediction,
    accepted_parts,
    count_partly_accepted,
    find_thresholds,
    parts_of,
    train_parts_classifier,
)
from glyffctl.core.evaluation.discriminator import (
    FEWEST_CHARACTERS,
    PATTERNS,
    discriminator_features,
    two_sample_accuracy,
)
from glyffctl.core.evaluation.metrics import kernel_distance, manifold
from glyffctl.core.evaluation.novelty import characters_of, compare_candidates, find_candidates
from glyffctl.core.evaluation.prompts import Prompt, accepted, followed, shuffled
from glyffctl.core.evaluation.report import PartName, PartRow, PromptRow, Row
from glyffctl.core.noise import permutation
from glyffctl.workflows.events import Caution, Event, Progress, with_fraction

COPY_QUANTILE, NEAR_QUANTILE = 0.01, 0.05
_CALIBRATION = 1000  # glyphs
_BATCH = 256

Accuracy = list[tuple[Estimate | None, Estimate | None]]
"""The classifier's accuracy on real glyphs of each prompt: counting its radicals, and those of `also` as well."""


def adherence(prompts: list[Prompt], radical: Tensor, blank: Tensor, real: Accuracy) -> list[Row]:
    """Rows about prompts and their radicals.

    Args:
        prompts: P prompts.
        radical: (P, C) the radicals of C pictures of each prompt.
        blank: (N,) the radicals of pictures without a prompt.
        real: of each prompt.
    """
    strict, wide = (
        torch.tensor([pair[which].value for pair in real if pair[which] is not None])  # type: ignore[union-attr]
        for which in (0, 1)
    )
    note = "real: the classifier's own accuracy on held-out characters with these radicals"
    baseline_note = "the same pictures, held against the prompts of other radicals"
    rows = [
        Row(
            "the radical asked for",
            mean(followed(prompts, radical).double().mean(1)),
            mean(strict) if len(strict) else None,
            "share",
            note,
        )
    ]
    elsewhere = shuffled(prompts, radical)
    if len(elsewhere):
        rows.append(Row("… of another prompt", mean(elsewhere), None, "share", baseline_note))
    rows.append(
        Row(
            "… without a prompt",
            mean(accepted(prompts)[:, blank].double().mean(0)),
            None,
            "share",
            "the mean over what each prompt would have asked for",
        )
    )
    if any(prompt.also for prompt in prompts):
        rows.append(
            Row(
                "… or one its meaning takes",
                mean(followed(prompts, radical, also=True).double().mean(1)),
                mean(wide) if len(wide) else None,
                "share",
                f"others that one in eight of the characters with that meaning has, by Unihan; {note}",
            )
        )
        elsewhere = shuffled(prompts, radical, also=True)
        if len(elsewhere):
            rows.append(Row("… of another's meaning", mean(elsewhere), None, "share", baseline_note))
    return rows


def fidelity(drawn: Tensor, truth: Tensor, floor: Tensor) -> list[Row]:
    """Rows about distributions of the classifier's features.

    Args:
        drawn: (N, 128) of drawn pictures.
        truth: (N, 128) of real held-out glyphs.
        floor: (N, 128) of real glyphs from training, compared with the held-out ones as a baseline.
    """
    model, real = manifold(truth, drawn), manifold(truth, floor)
    note = "real: as many glyphs from training against the held-out ones"
    return [
        Row("kernel distance", kernel_distance(drawn, truth), kernel_distance(floor, truth), "number", note),
        Row("precision", model.precision, real.precision, "share", note),
        Row("recall", model.recall, real.recall, "share", note),
        Row("coverage", model.coverage, real.coverage, "share", note),
    ]


def distinguishability(
    classifier: RadicalClassifier, drawn: Tensor, truth: Tensor, floor: Tensor, character: Tensor, seed: int
) -> Generator[Event, None, list[Row]]:
    """Rows about a classifier trained to distinguish drawn pictures from real ones; none where there are too few.

    Args:
        classifier: the source of some of the features.
        drawn: (N, H, W) uint8.
        truth: (N, H, W) real held-out glyphs.
        floor: (N, H, W) real glyphs from training.
        character: (N,) the character of each real held-out glyph, and of the definition of each drawn one. Glyphs from
            training are paired with the held-out ones, so that the baseline is divided into the same folds.
        seed: of the folds.
    """
    if len(character.unique()) < FEWEST_CHARACTERS:
        return []
    pictures = torch.cat([drawn, truth, floor])
    work = discriminator_features(classifier, pictures)
    features = yield from with_fraction(work, "Telling drawn from real", len(pictures), "pictures")
    model, real, training = features.split([len(drawn), len(truth), len(floor)])
    note = (
        "balanced accuracy of a classifier on characters that it did not learn from; 50 % is guessing; real: glyphs "
        "from training against the held-out ones"
    )
    rows = []
    for name, columns in (
        ("told apart from real ones", slice(None)),
        ("… by their shapes alone", slice(PATTERNS, None)),
    ):
        of_model, of_training = (
            two_sample_accuracy(x[:, columns], real[:, columns], character, character, seed) for x in (model, training)
        )
        rows.append(Row(name, of_model, of_training, "share", note))
    return rows


def novelty(
    glyphs: GlyphSet, held: Tensor, drawn: Tensor, seed: int
) -> Generator[Event, None, tuple[list[Row], float]]:
    """Rows about the nearest real glyph, and the distance below which a picture counts as a copy.

    That threshold is set by real glyphs from training: one in a hundred is closer to another character. It is not 0,
    since real characters can differ by a corner, as 己, 已 and 巳 do. Held-out characters, which did not set it, then
    show how often a new glyph is mistaken for a copy.

    So strict a threshold finds exact copies. A copy with uneven strokes is farther away, and shows in the share of near
    copies, whose threshold is that of five in a hundred real glyphs.

    Args:
        glyphs: real glyphs.
        held: (N,) indices of held-out glyphs.
        drawn: (M, H, W) uint8.
        seed: of the choice of real glyphs that set the threshold.
    """
    others = (labels(glyphs) > 0).logical_and(~held_out(glyphs, HOLDOUT)).nonzero().flatten()
    others = others[permutation(seed, 0, len(others))[:_CALIBRATION]]
    number = characters_of(glyphs)
    pictures = torch.cat([drawn, glyphs.images(held)[:, 0], glyphs.images(others)[:, 0]])
    own = torch.cat([torch.full((len(drawn),), -1), number[held], number[others]])
    search = find_candidates(pictures, glyphs, own)
    candidates = yield from with_fraction(search, "Looking for copies", len(glyphs), "glyphs")
    comparison = compare_candidates(pictures, glyphs, candidates)
    nearest = yield from with_fraction(comparison, "Comparing the nearest", len(pictures), "pictures")
    model, real, rest = nearest.distance.split([len(drawn), len(held), len(others)])
    threshold, near = float(rest.quantile(COPY_QUANTILE)), float(rest.quantile(NEAR_QUANTILE))
    note = "real: held-out characters, each compared with all other characters"
    return [
        Row("distance to a real glyph", quantile(model, 0.5), quantile(real, 0.5), "number", f"median; {note}"),
        Row("… of the nearest 1 %", quantile(model, 0.01), quantile(real, 0.01), "number", note),
        _copies("copies", model, real, threshold, note),
        _copies("… and near copies", model, real, near, note),
    ], threshold


def _copies(name: str, model: Tensor, held: Tensor, threshold: float, note: str) -> Row:
    found, real = ((distance < threshold) for distance in (model, held))
    note = f"nearer than {threshold:.3f}; {note}"
    return Row(name, share(int(found.sum()), len(found)), share(int(real.sum()), len(real)), "share", note)


def composition(
    classifier: RadicalClassifier, glyphs: GlyphSet, ids: Path, drawn: Tensor
) -> Generator[Event, None, tuple[list[Row], list[PartRow]]]:
    """Rows about the parts of drawn pictures, and the accuracy of predicting those of real glyphs.

    Args:
        classifier: the source of the features.
        glyphs: real glyphs.
        ids: a table of ideographic description sequences.
        drawn: (N, H, W) uint8.

    Raises:
        DataError: `ids` cannot be read.
    """
    task = "Learning the parts of glyphs"
    yield Progress(task, 0, None)
    table = {
        character: [parts for sequence in sequences if (parts := parts_of(sequence)) is not None]
        for character, sequences in read_sequences(ids).items()
    }
    existing = {parts for several in table.values() for parts in several}
    known = torch.tensor([c.character in table for c in glyphs.characters])[glyphs.character_of]
    known &= labels(glyphs) > 0  # no compatibility ideographs, which may be copies of held-out characters
    out = held_out(glyphs, HOLDOUT)
    index = evenly_spaced((known & ~out).nonzero().flatten(), MOST_TRAINING)
    held = evenly_spaced((known & out).nonzero().flatten(), MOST_TRAINING // 10)

    def truth(rows: Tensor) -> list[Parts | None]:
        several = [table[glyphs.characters[i].character] for i in glyphs.character_of[rows].tolist()]
        return [each[0] if each else None for each in several]

    parts_classifier = None
    if len(index) and len(held) > 1:
        training = train_parts_classifier(classifier, glyphs, index, truth(index))
        parts_classifier = yield from with_fraction(training, task, len(index), "glyphs")
    if parts_classifier is None:
        yield Caution(
            f"the parts of glyphs are left out: too few of the data's characters share a part by {ids}", "parts-skipped"
        )
        return [], []
    calibration, test = held[::2].contiguous(), held[1::2].contiguous()
    predictions: list[PartsPrediction] = []
    done = 0
    for batches in (_images(glyphs, calibration), _images(glyphs, test), drawn.split(_BATCH)):
        found: list[PartsPrediction] = []
        for batch in batches:
            found.append(parts_classifier.predict(batch))
            done += len(batch)
            yield Progress("Finding the parts of glyphs", done, len(held) + len(drawn), "glyphs")
        merged = [parts for each in found for parts in each.parts]
        predictions.append(PartsPrediction(merged, torch.cat([each.confidence for each in found])))
    thresholds = find_thresholds(predictions[0], truth(calibration))
    of_real, of_model = accepted_parts(predictions[1], thresholds), accepted_parts(predictions[2], thresholds)
    rows = [
        Row(
            "a part is a known one",
            share(count_partly_accepted(predictions[2], thresholds), len(drawn)),
            share(count_partly_accepted(predictions[1], thresholds), len(test)),
            "share",
            "left, right, upper or lower, read as surely as both are below",
        ),
        Row(
            "both parts are known ones",
            share(len(of_model), len(drawn)),
            share(len(of_real), len(test)),
            "share",
            f"left and right, or upper and lower, read so surely that {PRECISION:.0%} of such readings are right in "
            "real glyphs; real: half of the held-out glyphs, where the other half set that limit",
        ),
    ]
    if of_model:
        rows.append(
            Row(
                "… in a new combination",
                share(sum(parts not in existing for parts in of_model), len(of_model)),
                share(sum(parts not in existing for parts in of_real), len(of_real)) if of_real else None,
                "share",
                f"no character in {ids.name} has these two parts; real: such readings are wrong",
            )
        )
    return rows, _part_accuracy(predictions[1], truth(test))


def _images(glyphs: GlyphSet, index: Tensor) -> Iterator[Tensor]:
    return (glyphs.images(part)[:, 0] for part in index.split(_BATCH))


def _part_accuracy(prediction: PartsPrediction, truth: Sequence[Parts | None]) -> list[PartRow]:
    """The accuracy for each part, whatever the confidence; parts too rare to be trained on count as wrong."""
    rows = []
    names: tuple[tuple[str, tuple[PartName, PartName]], ...] = (
        (LEFT_RIGHT, ("left", "right")),
        (TOP_BOTTOM, ("upper", "lower")),
    )
    for operator, places in names:
        pairs = [
            (p, t) for p, t in zip(prediction.parts, truth, strict=True) if t is not None and t.operator == operator
        ]
        for place, name in enumerate(places, 1):
            hits = sum(p is not None and p.operator == operator and p[place] == t[place] for p, t in pairs)
            if pairs:
                rows.append(PartRow(name, share(hits, len(pairs))))
    return rows


def by_prompt(prompts: list[Prompt], radical: Tensor, real: Accuracy) -> list[PromptRow]:
    """A row for each prompt, the best first.

    Args:
        prompts: P prompts.
        radical: (P, C) the radicals of C pictures of each.
        real: of each prompt.
    """
    rows = [
        PromptRow(
            prompt.text,
            list(prompt.radicals),
            share(int(hits.sum()), len(hits)),
            strict,
            list(prompt.also),
            share(int(more.sum()), len(more)),
        )
        for prompt, hits, more, (strict, _) in zip(
            prompts, followed(prompts, radical), followed(prompts, radical, also=True), real, strict=True
        )
    ]
    return sorted(rows, key=lambda row: (-row.found.value, -row.taken.value if row.taken else 0))
