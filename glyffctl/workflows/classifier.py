"""`glyffctl evaluate --train-classifier`: from real glyphs to a classifier of radicals."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from glyffctl.core.data.dataset import GlyphSet
from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.data.radicals import labels
from glyffctl.core.device import choose_device
from glyffctl.core.errors import DataError, OutputError
from glyffctl.core.estimates import Estimate, share
from glyffctl.core.evaluation.classifier import SIZE, RadicalClassifier, predict, save_classifier
from glyffctl.core.evaluation.classifier_training import train_classifier, training_split
from glyffctl.core.io.atomic import check_writable
from glyffctl.core.io.names import check_name
from glyffctl.core.precision import autocast_dtype
from glyffctl.version import __version__
from glyffctl.workflows.events import Event, Note, Progress
from glyffctl.workflows.pictures import check_pictures

_GLYPHS = 800_000  # to train on, within the limits below
_FEWEST, _MOST = 5, 40  # passes
_BATCH = 256


@dataclass(frozen=True, kw_only=True)
class ClassifierOptions:
    """The options of `make_classifier`.

    Attributes:
        data: a folder of `prepare`, preferably of several fonts.
        out: the file of the classifier.
        passes: epochs; None is as many as make 800,000 glyphs, but 5 to 40.
        seed: of all random numbers.
        device: where to train, see `core.device.choose_device`.
    """

    data: Path = Path("data")
    out: Path = Path("classifier.safetensors")
    passes: float | None = None
    seed: int = 0
    device: str = "auto"


@dataclass(frozen=True)
class ClassifierReport:
    """The accuracy of the classifier on held-out characters."""

    out: Path
    glyphs: int
    """The number of training glyphs."""
    accuracy: Estimate
    accuracy_of: dict[str, Estimate]
    """For each font."""
    seconds: float


def make_classifier(options: ClassifierOptions) -> Generator[Event, None, ClassifierReport]:
    """Train a classifier. See `ClassifierOptions`.

    Raises:
        DataError: the data cannot be used, or names no radicals.
        OutputError: the classifier cannot be written.
    """
    check_writable(options.out)
    check_name(options.out, OutputError)
    glyphs = open_glyphs(options.data, SIZE)
    index, held = training_split(glyphs)
    if not len(index) or not len(held):
        raise DataError(
            f"{options.data} has too few glyphs whose radical is known; prepare more with `glyffctl prepare`"
        )
    device = choose_device(options.device)
    yield from check_pictures(glyphs)
    passes = options.passes or min(_MOST, max(_FEWEST, _GLYPHS / len(index)))
    autocast = autocast_dtype("auto", device)
    with torch.random.fork_rng():
        torch.manual_seed(options.seed)
        classifier = RadicalClassifier().to(device)
    yield Note(
        f"a classifier learns from {len(index):,} glyphs in {len(glyphs.fonts)} fonts (+{len(held):,} held out)",
        "classifier-training",
    )
    started = time.perf_counter()
    losses: list[float] = []
    for step in train_classifier(classifier, glyphs, passes=passes, seed=options.seed, autocast=autocast):
        losses = [*losses[-49:], step.loss]
        note = f"loss {sum(losses) / len(losses):.3f}"
        yield Progress("Training the classifier", step.seen, step.total, "glyphs", note)
    # Its accuracy is measured as it will be used: with weights rounded to 16 bits as in the file, in float32.
    classifier.half().float()
    hits = check_predictions(classifier, glyphs, held)
    fonts = glyphs.font_of[held]
    accuracy_of = {
        font.name: share(int(hits[fonts == i].sum()), int((fonts == i).sum()))
        for i, font in enumerate(glyphs.fonts)
        if bool((fonts == i).any())
    }
    accuracy = share(int(hits.sum()), len(hits))
    radical = labels(glyphs)[held]
    save_classifier(
        options.out,
        classifier.cpu(),
        {
            "glyffctl": __version__,
            "fonts": [font.name for font in glyphs.fonts],
            "data": glyphs.fingerprint(),
            "glyphs": len(index),
            "passes": passes,
            "seed": options.seed,
            "precision": "fp32" if autocast is None else "bf16",
            "accuracy": accuracy.value,
            "accuracy_of_font": {name: figure.value for name, figure in accuracy_of.items()},
            "held_out_of_radical": {  # [right, all]
                str(r): [int(hits[radical == r].sum()), int((radical == r).sum())] for r in radical.unique().tolist()
            },
        },
    )
    return ClassifierReport(options.out, len(index), accuracy, accuracy_of, time.perf_counter() - started)


def check_predictions(classifier: RadicalClassifier, glyphs: GlyphSet, index: Tensor) -> Tensor:
    """(B,) bool: whether the classifier predicts the radical of each glyph `index` (B,)."""
    found = predict(classifier, (glyphs.images(part) for part in index.split(_BATCH))).radical
    return found == labels(glyphs)[index]
