"""`glyffctl evaluate`: metrics of a model with intervals, beside the same metrics of real glyphs."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from glyffctl.core.data.dataset import GlyphSet
from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.data.radicals import labels
from glyffctl.core.data.split import held_out
from glyffctl.core.data.structure import read_structure
from glyffctl.core.data.subset import evenly_spaced
from glyffctl.core.device import choose_device
from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.errors import DataError, ModelError, UsageError
from glyffctl.core.estimates import share
from glyffctl.core.evaluation.classifier import Prediction, RadicalClassifier, load_classifier, predict
from glyffctl.core.evaluation.classifier_training import HOLDOUT
from glyffctl.core.evaluation.metric import METRICS, Pictures
from glyffctl.core.evaluation.novelty import characters_of
from glyffctl.core.evaluation.prompts import Prompt, accepted, radical_prompts, read_prompts
from glyffctl.core.evaluation.report import EvaluateReport, PartRow, Row, StepsRow, as_json
from glyffctl.core.io.atomic import check_writable, write_text
from glyffctl.core.io.bundled import model_name
from glyffctl.core.io.names import utf8_name
from glyffctl.core.models.checkpoint import Model, TrainedModel
from glyffctl.core.models.drawer import Drawer
from glyffctl.core.models.recipe import FEW_STEP, Recipe
from glyffctl.core.precision import check_precision
from glyffctl.figures.sampler_comparison import save_sampler_comparison
from glyffctl.workflows.drawings import load_drawings, save_drawings, texts_digest
from glyffctl.workflows.evaluate_rows import (
    Accuracy,
    adherence,
    by_prompt,
    composition,
    distinguishability,
    fidelity,
    novelty,
)
from glyffctl.workflows.evaluate_towers import tower_rows
from glyffctl.workflows.events import Caution, Event, Note, Progress, with_progress
from glyffctl.workflows.find_model import find_model
from glyffctl.workflows.held_out import check_out, check_seed
from glyffctl.workflows.models import choose_recipe, load_any, load_text_encoder
from glyffctl.workflows.sampler_comparison import compare_samplers
from glyffctl.workflows.towers import load_towers, towers_path
from glyffctl.workflows.words import warn_of_unknown_words

FEWEST = 16  # held-out glyphs that a comparison of distributions needs
_MOST_CLASSIFIED = 20_000
_BATCH = 256


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """The options of `evaluate`.

    Attributes:
        data: a folder of real glyphs to compare with, in the fonts that the model was trained on.
        model: a run folder or model file; None is the default of `models.find_model`.
        encoder: the model's text encoder, if it was moved.
        classifier: a file of `make_classifier`; None is the bundled classifier.
        contrastive: the run or model file of contrastive towers, which measure adherence beyond radicals; None is the
            bundled ones, if there are any.
        recipe: sampler, steps and guidance; None is the model's own, `Model.recipe`.
        guidance: γ instead of the recipe's; None leaves that.
        prompts: a file of `core.evaluation.prompts.read_prompts`; None is the bundled prompts.
        count: pictures of each prompt.
        pictures: the most pictures of definitions of held-out characters; as many are drawn without a prompt.
        seed: picture k of all pictures has seed + k.
        batch: most pictures drawn at once, fewer where memory is short.
        precision: of the network, as in `sample`.
        device: where to draw and classify, see `core.device.choose_device`.
        ids: a table of ideographic description sequences, for metrics of the parts of glyphs.
        drawings: a .safetensors file that caches drawn pictures: those of the same model, prompts and settings are
            reused, others replace them.
        steps_table: compare all samplers at several numbers of steps.
        out: the JSON file; the plot of the comparison is written beside it.
    """

    data: Path = Path("data")
    model: Path | None = None
    encoder: str | None = None
    classifier: Path | None = None
    contrastive: Path | None = None
    recipe: Recipe | None = None
    guidance: float | None = None
    prompts: Path | None = None
    count: int = 16
    pictures: int = 256
    seed: int = 0
    batch: int = 16
    precision: str = "auto"
    device: str = "auto"
    ids: Path | None = None
    drawings: Path | None = None
    steps_table: bool = False
    out: Path = Path("evaluation.json")

    def __post_init__(self) -> None:
        """Raise UsageError for values out of range."""
        for name, value in (("count", self.count), ("batch", self.batch)):
            if value < 1:
                raise UsageError(f"--{name} must be at least 1, not {value}")
        check_precision(self.precision)
        if self.pictures < FEWEST:
            raise UsageError(f"--pictures must be at least {FEWEST}, not {self.pictures}")
        check_seed(self.seed)
        if self.steps_table and self.recipe is not None and self.recipe.schedule is not None:
            raise UsageError("--steps-table compares samplers at the model's own levels; leave --schedule out")


def evaluate(options: EvaluateOptions) -> Generator[Event, None, EvaluateReport]:
    """Measure a model.

    Raises:
        GlyffError: the model, its encoder, the data, the classifier or the output cannot be used.
    """
    started = time.perf_counter()
    _check_files(options)
    prompts = read_prompts(options.prompts) if options.prompts else radical_prompts()
    classifier, header = _load_classifier(options.classifier)
    device = choose_device(options.device)
    comparing = towers_path(options.contrastive)
    towers = None if comparing is None else (yield from load_towers(comparing, device))
    path, why = yield from find_model(options.model, hub=True)
    model = load_any(path)
    recipe = choose_recipe(model, options.recipe, options.guidance)  # raise errors before slow work
    if options.steps_table and model.network.one_pass:
        raise UsageError("this model draws in one pass, and has no steps to compare; leave `steps_table` out")
    real = _RealGlyphs.open(options.data, model.codec.size, options.pictures)
    yield from _introduced(model, path, why)
    glyphs, held = real.glyphs, real.held
    definitions = [glyphs.captions[i] for i in glyphs.caption_of[held].tolist()]
    encoder = yield from load_text_encoder(model, options.encoder)
    yield from warn_of_unknown_words(encoder, [prompt.text for prompt in prompts])
    texts = [*(prompt.text for prompt in prompts), *definitions]
    drawer = Drawer.of(model, device, options.batch, options.precision).with_encoder(encoder)
    text = drawer.encode(texts)
    drawing = recipe.as_plain() | {"precision": drawer.precision, "count": options.count, "seed": options.seed}
    made = drawing | {"model": model.identity_of(recipe), "encoder": encoder.fingerprint, "texts": texts_digest(texts)}
    if model.encodes_empty:  # version 0.2 drew no prompt as a vector of zeros: its drawings are others
        made["no prompt"] = "the empty text"
    prompted, defined, empty = yield from _draw_or_reuse(drawer, recipe, options, text, len(prompts), made)

    classifier.to(device)
    predictions = yield from _classify(classifier, real, prompts, prompted, defined, empty)
    answers = predictions["prompted"].radical.reshape(len(prompts), -1)
    accuracy = _accuracy(prompts, predictions["prompted real"].radical, labels(glyphs)[real.of_prompts(prompts)])
    rows = adherence(prompts, answers, predictions["empty"].radical, accuracy)
    if towers is not None:
        rows += yield from tower_rows(towers, prompts, prompted, defined, glyphs, held, real.of_prompts(prompts))
    rows += fidelity(predictions["defined"].features, predictions["held"].features, predictions["training"].features)
    more, threshold, parts = yield from _picture_rows(classifier, real, prompts, prompted, defined, options)
    rows += more
    table: list[StepsRow] = []
    plot = None
    if options.steps_table:
        first = text.rows(torch.arange(len(prompts)))
        table = yield from compare_samplers(
            drawer, recipe.guidance, first, prompts, classifier, predictions["held"].features, options.seed
        )
        plot = options.out.with_name(f"{options.out.stem}-steps.png")
        save_sampler_comparison(plot, table)
    report = EvaluateReport(
        out=options.out,
        plot=plot,
        model={
            "path": utf8_name(model_name(path)),
            "weights": model.identity_of(recipe),
            "pictures": getattr(model, "images", None),
        },
        data={"path": utf8_name(options.data), "fingerprint": glyphs.fingerprint(), "held_out": len(held)},
        classifier={name: header[name] for name in ("accuracy", "fonts", "seed") if name in header},
        contrastive={"path": str(model_name(towers.path)), "weights": towers.model.identity} if towers else {},
        recipe=drawing,
        figures=rows,
        prompts=by_prompt(prompts, answers, accuracy),
        copy_threshold=threshold,
        steps=table,
        seconds=time.perf_counter() - started,
        parts=parts,
    )
    write_text(options.out, as_json(report))
    return report


def _introduced(model: Model, path: Path, why: str) -> Generator[Event, None, None]:
    """Say which model is measured, and whether it may know the glyphs that it is measured on."""
    yield Note(
        f"model: {model_name(path)}{why}, {model.history}", "model-chosen", {"model": path, "history": model.history}
    )
    if not isinstance(model, TrainedModel):
        yield Caution(
            "the model's training data are not known: if it was trained on the held-out characters, figures are better "
            "than they should be",
            "training-data-unknown",
        )
    elif model.origin.config.training.holdout < HOLDOUT:
        yield Caution(
            "the model was trained on some of the characters that are held out here: figures may be better than they "
            "should be",
            "trained-on-holdout",
        )


def _load_classifier(path: Path | None) -> tuple[RadicalClassifier, dict[str, Any]]:
    """Load the classifier; the error says how to get one."""
    try:
        return load_classifier(path)
    except ModelError as error:
        hint = "make one with `glyffctl evaluate --train-classifier`, or leave --classifier out"
        raise ModelError(f"{error}; {hint}") from error


def _check_files(options: EvaluateOptions) -> None:
    """Raise errors about files before slow work."""
    check_out(options.out)
    if options.drawings is not None:
        if options.drawings.suffix.lower() != ".safetensors":
            raise UsageError(f"--drawings takes a .safetensors file, not {options.drawings}")
        check_writable(options.drawings)
        load_drawings(options.drawings, {})
    if options.ids is not None:
        read_structure(options.ids)


@dataclass(frozen=True, eq=False)
class _RealGlyphs:
    """Real glyphs, and the indices of those to compare with."""

    glyphs: GlyphSet
    held: Tensor
    """At most `pictures` held-out glyphs, evenly spaced."""
    training: Tensor
    """As many glyphs that are not held out."""
    all_held: Tensor
    """Every held-out glyph with a known radical, or `_MOST_CLASSIFIED` of them, evenly spaced."""

    @staticmethod
    def open(data: Path, size: int, pictures: int) -> _RealGlyphs:
        """Open the data and split it.

        Raises:
            DataError: the data lack radicals, or have too few glyphs of held-out characters.
        """
        glyphs = open_glyphs(data, size)
        known, out = labels(glyphs) > 0, held_out(glyphs, HOLDOUT)
        if not bool(known.any()):
            raise DataError(
                f"{data} does not say which radical its characters have; name a folder of `glyffctl prepare`"
            )
        held, training = (known & out).nonzero().flatten(), (known & ~out).nonzero().flatten()
        count = min(pictures, len(held), len(training))
        if count < FEWEST:
            raise DataError(
                f"{data} has {len(held)} glyphs of held-out characters; the metrics need at least {FEWEST}: "
                "prepare more characters"
            )
        return _RealGlyphs(
            glyphs, evenly_spaced(held, count), evenly_spaced(training, count), evenly_spaced(held, _MOST_CLASSIFIED)
        )

    def of_prompts(self, prompts: list[Prompt]) -> Tensor:
        """Those of `all_held` with the first radical of a prompt."""
        radicals = torch.tensor([prompt.radicals[0] for prompt in prompts])
        return self.all_held[torch.isin(labels(self.glyphs)[self.all_held], radicals)]


def _picture_rows(
    classifier: RadicalClassifier,
    real: _RealGlyphs,
    prompts: list[Prompt],
    prompted: Tensor,
    defined: Tensor,
    options: EvaluateOptions,
) -> Generator[Event, None, tuple[list[Row], float, list[PartRow]]]:
    """The rows about the pictures themselves, the threshold of copies, and the accuracy for parts of real glyphs."""
    glyphs, held = real.glyphs, real.held
    pictures, trained = (glyphs.images(index)[:, 0] for index in (held, real.training))
    rows = yield from distinguishability(
        classifier, defined, pictures, trained, characters_of(glyphs)[held], options.seed
    )
    new, threshold = yield from novelty(glyphs, held, torch.cat([prompted, defined]), options.seed)
    samples = Pictures(prompts, prompted.unflatten(0, (len(prompts), -1)), defined, pictures)
    rows += [*new, *(row for metric in METRICS for row in metric(samples))]
    parts: list[PartRow] = []
    if options.ids:
        composed, parts = yield from composition(classifier, glyphs, options.ids, defined)
        rows += composed
    return rows, threshold, parts


def _accuracy(prompts: list[Prompt], found: Tensor, radical: Tensor) -> Accuracy:
    """The accuracy of the radicals `found` in real glyphs, for each prompt; None where it has no real glyphs."""
    accuracy: Accuracy = []
    strict, wide = accepted(prompts), accepted(prompts, also=True)
    for prompt, own, whole in zip(prompts, strict, wide, strict=True):
        answers = found[radical == prompt.radicals[0]]
        if not len(answers):
            accuracy.append((None, None))
            continue
        once, more = (share(int(right[answers].sum()), len(answers)) for right in (own, whole))
        accuracy.append((once, more))
    return accuracy


def _classify(
    classifier: RadicalClassifier,
    real: _RealGlyphs,
    prompts: list[Prompt],
    prompted: Tensor,
    defined: Tensor,
    empty: Tensor,
) -> Generator[Event, None, dict[str, Prediction]]:
    """Classify all pictures, a few at a time."""
    drawn = {"prompted": prompted, "defined": defined, "empty": empty}
    indices = {"held": real.held, "training": real.training, "prompted real": real.of_prompts(prompts)}
    total = sum(map(len, (drawn | indices).values()))
    predictions: dict[str, Prediction] = {}
    done = 0
    for name, of in (drawn | indices).items():
        found = [predict(classifier, ())]
        for part in of.split(_BATCH) if len(of) else ():  # there may be no real glyph of any prompt's radical
            found.append(predict(classifier, [part if name in drawn else real.glyphs.images(part)]))
            done += len(part)
            yield Progress("Looking at glyphs", done, total, "pictures")
        predictions[name] = Prediction(*(torch.cat(column) for column in zip(*found, strict=True)))
    return predictions


def _draw_or_reuse(
    drawer: Drawer, recipe: Recipe, options: EvaluateOptions, text: Condition, prompts: int, made: dict[str, Any]
) -> Generator[Event, None, tuple[Tensor, Tensor, Tensor]]:
    """The pictures of `_draw`, from the cache if it has them."""
    if options.drawings is None:
        return (yield from _draw(drawer, recipe, options, text, prompts))
    kept, other = load_drawings(options.drawings, made)
    if kept is not None:
        yield Note(
            f"using the pictures in {options.drawings}: nothing is drawn again",
            "drawings-reused",
            {"file": options.drawings},
        )
        return kept["prompted"], kept["defined"], kept["empty"]
    if other:
        yield Note(
            f"{options.drawings} has pictures made in another way ({', '.join(other)}): drawing anew, to replace them",
            "drawings-replaced",
            {"file": options.drawings, "changed": tuple(other)},
        )
    pictures = yield from _draw(drawer, recipe, options, text, prompts)
    save_drawings(options.drawings, dict(zip(("prompted", "defined", "empty"), pictures, strict=True)), made)
    return pictures


def _draw(
    drawer: Drawer, recipe: Recipe, options: EvaluateOptions, text: Condition, prompts: int
) -> Generator[Event, None, tuple[Tensor, Tensor, Tensor]]:
    """Draw pictures of the prompts (P·count, H, W), of the definitions that follow in `text`, and as many of none."""
    student = drawer.few_step if recipe.sampler == FEW_STEP else None
    plain = replace(recipe, guidance=student.guidance[0] if student else 1.0)
    rows = torch.arange(prompts).repeat_interleave(options.count)
    definitions = torch.arange(prompts, len(text.mask))
    jobs = [
        (recipe, text.rows(rows)),
        (recipe, text.rows(definitions)),
        (plain, drawer.nothing(len(definitions))),
    ]
    total = sum(len(batch.mask) for _, batch in jobs)
    drawn: list[Tensor] = []
    for job, batch in jobs:
        before = sum(map(len, drawn))
        seeds = options.seed + before + torch.arange(len(batch.mask))
        pictures = yield from with_progress(
            drawer.draw(job, batch, seeds), Progress("Drawing", before, total, "pictures")
        )
        drawn.append(pictures)
    return drawn[0], drawn[1], drawn[2]
