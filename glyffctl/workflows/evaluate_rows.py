"""The rows of `glyffctl evaluate`: each group of figures from pictures, or from what the classifier made of them."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from glyffctl.core.data.dataset import GlyphSet
from glyffctl.core.data.split import held_out
from glyffctl.core.data.structure import LEFT_RIGHT, TOP_BOTTOM, read_sequences
from glyffctl.core.data.subset import evenly_spaced
from glyffctl.core.estimates import Estimate, mean, quantile, share
from glyffctl.core.evaluation.classifier import RadicalClassifier
from glyffctl.core.evaluation.classifier_training import HOLDOUT, labels
from glyffctl.core.evaluation.composition import LEARNED, PRECISION, Parts, Reading, legible, partly_legible, parts_of
from glyffctl.core.evaluation.composition import learn as learn_parts
from glyffctl.core.evaluation.composition import limits as parts_limits
from glyffctl.core.evaluation.discriminator import FEWEST as FEWEST_CHARACTERS
from glyffctl.core.evaluation.discriminator import PATTERNS, told_apart, views
from glyffctl.core.evaluation.metrics import kernel_distance, manifold
from glyffctl.core.evaluation.novelty import characters_of, search
from glyffctl.core.evaluation.prompts import Prompt, accepted, followed, shuffled
from glyffctl.core.evaluation.report import PartName, PartRow, PromptRow, Row
from glyffctl.core.evaluation.strokes import Strokes, measure
from glyffctl.core.noise import permutation
from glyffctl.workflows.events import Caution, Event, Progress

COPY_QUANTILE, NEAR_QUANTILE = 0.01, 0.05
_CALIBRATION = 1000  # glyphs
_FEWEST_STROKES = 5  # pictures of a third, without which nothing is said of it
_AT_ONCE = 256

Accuracy = list[tuple[Estimate | None, Estimate | None]]
"""How often the classifier is right about real glyphs of each prompt: by its radical alone, and by its whole set."""


def adherence(prompts: list[Prompt], radical: Tensor, blank: Tensor, real: Accuracy) -> list[Row]:
    """Rows about prompts and their radicals.

    Args:
        radical: (P, C) the radicals of C pictures of each prompt; `blank` (N,) those of pictures without one.
    """
    strict, wide = (
        torch.tensor([pair[which].value for pair in real if pair[which] is not None])  # type: ignore[union-attr]
        for which in (0, 1)
    )
    note = "real: the classifier's own accuracy on held-out characters with these radicals"
    held_against = "the same pictures, held against the prompts of other radicals"
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
        rows.append(Row("… of another prompt", mean(elsewhere), None, "share", held_against))
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
            rows.append(Row("… of another's meaning", mean(elsewhere), None, "share", held_against))
    return rows


def fidelity(drawn: Tensor, truth: Tensor, floor: Tensor) -> list[Row]:
    """Rows about distributions of the classifier's features (N, 128)."""
    model, real = manifold(truth, drawn), manifold(truth, floor)
    note = "real: as many glyphs from training against the held-out ones"
    return [
        Row("kernel distance", kernel_distance(drawn, truth), kernel_distance(floor, truth), "number", note),
        Row("precision", model.precision, real.precision, "share", note),
        Row("recall", model.recall, real.recall, "share", note),
        Row("coverage", model.coverage, real.coverage, "share", note),
    ]


def realness(
    classifier: RadicalClassifier, drawn: Tensor, truth: Tensor, floor: Tensor, character: Tensor, seed: int
) -> Generator[Event, None, list[Row]]:
    """Rows about a classifier that is made to tell pictures (N, H, W) from real ones; none where there are too few.

    Args:
        character: (N,) the character of each real held-out glyph, and of each drawn one's definition. Glyphs from
            training are paired with the held-out ones beside them, so that the control is divided in the same way.
    """
    if len(character.unique()) < FEWEST_CHARACTERS:
        return []
    seen: list[Tensor] = []
    before = 0
    total = len(drawn) + len(truth) + len(floor)
    for pictures in (drawn, truth, floor):
        for looked in views(classifier, pictures):
            yield Progress("Telling drawn from real", before + looked.done, total, "pictures")
        assert looked.views is not None
        seen.append(looked.views)
        before += len(pictures)
    model, real, training = seen
    note = (
        "balanced accuracy of a classifier on characters that it did not learn from; 50 % is guessing; real: glyphs "
        "from training against the held-out ones"
    )
    rows = []
    for name, looked_at in (
        ("told apart from real ones", slice(None)),
        ("… by their shapes alone", slice(PATTERNS, None)),
    ):
        figures = (
            told_apart(x[:, looked_at], real[:, looked_at], character, character, seed) for x in (model, training)
        )
        rows.append(Row(name, next(figures), next(figures), "share", note))
    return rows


def newness(
    glyphs: GlyphSet, held: Tensor, drawn: Tensor, seed: int
) -> Generator[Event, None, tuple[list[Row], float]]:
    """Rows about the nearest real glyph, and the distance below which a picture is called a copy.

    That distance is set by real glyphs from training: one in a hundred is nearer than that to another character. It is
    not 0, since real characters can differ by a corner, as 己, 已 and 巳 do. Held-out characters, which had no say in
    it, then show how often a glyph that is new is called a copy.

    So strict a limit finds a drawing repeated with the same strokes. A character repeated in a wavering hand is farther
    away, and shows in the share that is nearer than five in a hundred real glyphs are.
    """
    others = (labels(glyphs) > 0).logical_and(~held_out(glyphs, HOLDOUT)).nonzero().flatten()
    others = others[permutation(seed, 0, len(others))[:_CALIBRATION]]
    number = characters_of(glyphs)
    pictures = torch.cat([drawn, glyphs.images(held)[:, 0], glyphs.images(others)[:, 0]])
    own = torch.cat([torch.full((len(drawn),), -1), number[held], number[others]])
    nearest = None
    for searched in search(pictures, glyphs, own):
        yield Progress("Looking for copies", searched.done, searched.total, "glyphs")
        if searched.done == searched.total:
            yield Progress("Comparing the nearest", searched.compared, len(pictures), "pictures")
        nearest = searched.nearest
    assert nearest is not None
    model, real, rest = nearest.distance.split([len(drawn), len(held), len(others)])
    threshold, near = float(rest.quantile(COPY_QUANTILE)), float(rest.quantile(NEAR_QUANTILE))
    note = "real: held-out characters, each compared with all other characters"
    return [
        Row("distance to a real glyph", quantile(model, 0.5), quantile(real, 0.5), "number", f"median; {note}"),
        Row("… of the nearest 1 %", quantile(model, 0.01), quantile(real, 0.01), "number", note),
        _copies("copies", model, real, threshold, note),
        _copies("… and near copies", model, real, near, note),
    ], threshold


def _copies(name: str, model: Tensor, held: Tensor, limit: float, note: str) -> Row:
    found, real = ((distance < limit) for distance in (model, held))
    note = f"nearer than {limit:.3f}; {note}"
    return Row(name, share(int(found.sum()), len(found)), share(int(real.sum()), len(real)), "share", note)


def strokes(drawn: Tensor, real: Tensor) -> list[Row]:
    """Rows about the strokes of pictures (N, H, W): of all, and of the thirds with the fewest and the most of them.

    The thirds are those of the real glyphs, by how many strokes a line across the picture meets.
    """
    of_model, of_real = measure(drawn), measure(real)
    few, many = (float(of_real.crossed.quantile(q)) for q in (1 / 3, 2 / 3))
    rows = [
        Row("grey pixels", mean(of_model.grey), mean(of_real.grey), "share", "between 10 % and 90 % black"),
        Row("ink", mean(of_model.ink), mean(of_real.ink), "share", "the mean blackness"),
        Row("stroke width", mean(of_model.width), mean(of_real.width), "number", "in pixels"),
        Row(
            "uneven strokes",
            mean(of_model.unevenness),
            mean(of_real.unevenness),
            "share",
            "the standard deviation of the stroke width within a glyph, in shares of its mean",
        ),
    ]
    for name, third in (
        ("sparse", lambda s: s.crossed <= few),
        ("dense", lambda s: s.crossed > many),
    ):
        ours, theirs = _only(of_model, third(of_model)), _only(of_real, third(of_real))
        if min(len(ours.grey), len(theirs.grey)) < _FEWEST_STROKES:
            continue
        limit = f"up to {few:.1f}" if name == "sparse" else f"more than {many:.1f}"
        note = f"glyphs of which a line across meets {limit} strokes on average, a third of the real ones"
        rows += [
            Row(f"grey pixels, {name}", mean(ours.grey), mean(theirs.grey), "share", note),
            Row(f"uneven strokes, {name}", mean(ours.unevenness), mean(theirs.unevenness), "share", note),
        ]
    return rows


def _only(measured: Strokes, rows: Tensor) -> Strokes:
    return Strokes(*(column[rows] for column in measured))


def composition(
    classifier: RadicalClassifier, glyphs: GlyphSet, ids: Path, drawn: Tensor
) -> Generator[Event, None, tuple[list[Row], list[PartRow]]]:
    """Rows about the parts of pictures (N, H, W), and how well those of real glyphs are read.

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
    known &= labels(glyphs) > 0  # no second copies, which may be of held-out characters
    out = held_out(glyphs, HOLDOUT)
    index = evenly_spaced((known & ~out).nonzero().flatten(), LEARNED)
    held = evenly_spaced((known & out).nonzero().flatten(), LEARNED // 10)

    def truth(rows: Tensor) -> list[Parts | None]:
        several = [table[glyphs.characters[i].character] for i in glyphs.character_of[rows].tolist()]
        return [each[0] if each else None for each in several]

    reader = None
    if len(index) and len(held) > 1:
        for learned in learn_parts(classifier, glyphs, index, truth(index)):
            yield Progress(task, learned.done, len(index) + len(held) + len(drawn), "glyphs")
            reader = learned.reader
    if reader is None:
        yield Caution(f"the parts of glyphs are left out: too few of the data's characters share a part by {ids}")
        return [], []
    total = len(index) + len(held) + len(drawn)
    judged, asked = held[::2].contiguous(), held[1::2].contiguous()
    readings: list[Reading] = []
    done = len(index)
    for batches in (_images(glyphs, judged), _images(glyphs, asked), drawn.split(_AT_ONCE)):
        found: list[Reading] = []
        for batch in batches:
            found.append(reader.read(batch))
            done += len(batch)
            yield Progress(task, done, total, "glyphs")
        readings.append(Reading([p for r in found for p in r.parts], torch.cat([r.sureness for r in found])))
    limits = parts_limits(readings[0], truth(judged))
    of_real, of_model = legible(readings[1], limits), legible(readings[2], limits)
    rows = [
        Row(
            "a part is a known one",
            share(partly_legible(readings[2], limits), len(drawn)),
            share(partly_legible(readings[1], limits), len(asked)),
            "share",
            "left, right, upper or lower, read as surely as both are below",
        ),
        Row(
            "both parts are known ones",
            share(len(of_model), len(drawn)),
            share(len(of_real), len(asked)),
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
    return rows, _read_right(readings[1], truth(asked))


def _images(glyphs: GlyphSet, index: Tensor) -> Iterator[Tensor]:
    return (glyphs.images(part)[:, 0] for part in index.split(_AT_ONCE))


def _read_right(reading: Reading, truth: Sequence[Parts | None]) -> list[PartRow]:
    """How often each part is named rightly, sure or not; parts that are too rare to be learned count as wrong."""
    rows = []
    names: tuple[tuple[str, tuple[PartName, PartName]], ...] = (
        (LEFT_RIGHT, ("left", "right")),
        (TOP_BOTTOM, ("upper", "lower")),
    )
    for operator, places in names:
        pairs = [(p, t) for p, t in zip(reading.parts, truth, strict=True) if t is not None and t.operator == operator]
        for place, name in enumerate(places, 1):
            hits = sum(p is not None and p.operator == operator and p[place] == t[place] for p, t in pairs)
            if pairs:
                rows.append(PartRow(name, share(hits, len(pairs))))
    return rows


def by_prompt(prompts: list[Prompt], radical: Tensor, real: Accuracy) -> list[PromptRow]:
    """The prompts with what was found in (P, C) pictures of them, best first."""
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
