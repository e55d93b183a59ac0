"""`glyffctl evaluate`: how good a model is, in figures with intervals, beside the same figures of real glyphs."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from glyffctl.core.bundled import model_name
from glyffctl.core.checkpoint import load_model
from glyffctl.core.dataset import GlyphSet, open_glyphs
from glyffctl.core.device import choose_device
from glyffctl.core.errors import DataError, UsageError
from glyffctl.core.files import check_writable, write_text
from glyffctl.core.generate import Recipe
from glyffctl.core.judge import Judge, load_judge, look
from glyffctl.core.judge_training import HOLDOUT, labels
from glyffctl.core.metrics import Figure, kernel_distance, manifold, mean, quantile, share
from glyffctl.core.newness import characters_of, search
from glyffctl.core.noise import permutation
from glyffctl.core.precision import check_precision
from glyffctl.core.prompts import Prompt, accepted, followed, radical_prompts, read_prompts, shuffled
from glyffctl.core.schedule import make_schedule
from glyffctl.core.strokes import measure
from glyffctl.core.text import TextBatch
from glyffctl.core.training import held_out
from glyffctl.workflows.draw import Pen, read, reader, told
from glyffctl.workflows.evaluation import EvaluateReport, PromptRow, Row, StepsRow, as_json
from glyffctl.workflows.events import Caution, Event, Note, Progress
from glyffctl.workflows.models import find_model
from glyffctl.workflows.steps import save_plot, steps_table
from glyffctl.workflows.words import unknown_words

FEWEST = 16  # held-out glyphs without which distributions are not worth comparing
COPY_QUANTILE, NEAR_QUANTILE = 0.01, 0.05
_CALIBRATION = 1000  # glyphs
_MOST_JUDGED = 20_000
_AT_ONCE = 256
_LARGEST_SEED = 2**62


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """What is measured on what.

    Attributes:
        data: real glyphs to compare with, in the fonts that the model was trained on.
        model: a run folder or model file; None is what `models.find_model` takes.
        encoder: where the model's text encoder is, if it moved.
        judge: a file of `make_judge`; None is the judge that comes with the program.
        prompts: a file of `core.prompts.read_prompts`; None is the prompts that come with the program.
        count: pictures of each prompt whose radical is known.
        pictures: of definitions of held-out characters, at most, and as many without a prompt.
        seed: picture k, counted over all that is drawn, depends on seed + k.
        precision: of the network while drawing, as in `sample`.
        device: where to draw and to look, see `core.device.choose_device`.
        steps_table: whether all samplers are compared at several numbers of steps.
        out: the JSON file; the plot of the steps goes beside it.
    """

    data: Path = Path("data")
    model: Path | None = None
    encoder: str | None = None
    judge: Path | None = None
    recipe: Recipe = field(default_factory=Recipe)
    prompts: Path | None = None
    count: int = 16
    pictures: int = 256
    seed: int = 0
    batch: int = 16
    precision: str = "auto"
    device: str = "auto"
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
        if not 0 <= self.seed < _LARGEST_SEED:
            raise UsageError(f"--seed must be in 0…2⁶²−1, not {self.seed}")


def evaluate(options: EvaluateOptions) -> Generator[Event, None, EvaluateReport]:
    """Measure a model. See `EvaluateOptions`.

    Raises:
        GlyffError: the model, its encoder, the data, the judge or the output cannot be used.
    """
    started = time.perf_counter()
    if options.out.suffix.lower() != ".json":
        raise UsageError(f"--out takes a .json file, not {options.out}")
    check_writable(options.out)
    prompts = read_prompts(options.prompts) if options.prompts else radical_prompts()
    judge, known = load_judge(options.judge)
    device = choose_device(options.device)
    path, why = yield from find_model(options.model)
    model = load_model(path)
    origin = model.origin
    make_schedule(origin.config.diffusion.schedule).steps(options.recipe.steps)  # complain before anything slow
    real = _Real.open(options.data, origin.config.network.size, options.pictures)
    yield Note(f"model: {model_name(path)}{why}, {model.history}")
    if origin.config.training.holdout < HOLDOUT:
        yield Caution("the model was trained on some of the characters that are held out here")

    glyphs, held = real.glyphs, real.held
    definitions = [glyphs.captions[i] for i in glyphs.caption_of[held].tolist()]
    encoder = yield from reader(model, options.encoder)
    yield from unknown_words(encoder, [prompt.text for prompt in prompts])
    text = read(encoder, [*(prompt.text for prompt in prompts), *definitions])
    pen = Pen.of(model, device, options.batch, options.precision)
    prompted, defined, empty = yield from _draw(pen, options, text, len(prompts))

    yield Progress("Looking at real glyphs", 0, 1)
    judge.to(device)
    answers = look(judge, [prompted]).radical.reshape(len(prompts), -1)
    blank = look(judge, [empty]).radical
    drawn = look(judge, [defined]).features
    truth = look(judge, [glyphs.images(held)]).features
    floor = look(judge, [glyphs.images(real.training)]).features
    accuracy = real.accuracy(judge, prompts)
    yield Progress("Looking at real glyphs", 1, 1)
    newness, threshold = yield from _newness(real, torch.cat([prompted, defined]), options.seed)
    rows = [
        *_adherence(prompts, answers, blank, accuracy),
        *_fidelity(drawn, truth, floor),
        *newness,
        *_strokes(defined, glyphs.images(held)[:, 0]),
    ]
    table: list[StepsRow] = []
    plot = None
    if options.steps_table:
        first = text.rows(torch.arange(len(prompts)))
        table = yield from steps_table(pen, options.recipe, first, prompts, judge, truth, options.seed)
        plot = options.out.with_name(f"{options.out.stem}-steps.png")
        save_plot(plot, table)
    report = EvaluateReport(
        out=options.out,
        plot=plot,
        model={"path": str(model_name(path)), "weights": model.identity, "pictures": model.images},
        data={"path": str(options.data), "fingerprint": glyphs.fingerprint(), "held_out": len(held)},
        judge={name: known[name] for name in ("accuracy", "fonts", "seed") if name in known},
        recipe={
            "sampler": options.recipe.sampler,
            "steps": options.recipe.steps,
            "guidance": options.recipe.guidance,
            "precision": pen.precision,
            "count": options.count,
            "seed": options.seed,
        },
        figures=rows,
        prompts=_by_prompt(prompts, answers, accuracy),
        copy_threshold=threshold,
        steps=table,
        seconds=time.perf_counter() - started,
    )
    write_text(options.out, as_json(report))
    return report


@dataclass(frozen=True, eq=False)
class _Real:
    """Real glyphs, and which of them figures are compared with."""

    glyphs: GlyphSet
    held: Tensor
    """At most `pictures` held-out glyphs, evenly spaced."""
    training: Tensor
    """As many that are not held out."""
    all_held: Tensor
    """Every held-out glyph with a known radical, or `_MOST_JUDGED` of them, evenly spaced."""

    @staticmethod
    def open(data: Path, size: int, pictures: int) -> _Real:
        """Open the data and split it.

        Raises:
            DataError: it names no radicals, or holds too few glyphs of held-out characters.
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
                f"{data} has {len(held)} glyphs of held-out characters; figures need at least {FEWEST}: "
                "prepare more characters"
            )
        judged = _spread(held, min(len(held), _MOST_JUDGED))
        return _Real(glyphs, _spread(held, count), _spread(training, count), judged)

    def accuracy(self, judge: Judge, prompts: list[Prompt]) -> list[Figure | None]:
        """How often the judge is right about held-out glyphs with each prompt's radical; None if there are none."""
        radical = labels(self.glyphs)[self.all_held]
        table = accepted(prompts)
        found: list[Figure | None] = []
        for prompt, right in zip(prompts, table, strict=True):
            index = self.all_held[radical == prompt.radicals[0]]
            if len(index):
                hits = right[look(judge, (self.glyphs.images(part) for part in index.split(_AT_ONCE))).radical]
                found.append(share(int(hits.sum()), len(hits)))
            else:
                found.append(None)
        return found


def _spread(index: Tensor, count: int) -> Tensor:
    """`count` of `index`, evenly spaced: every font and every part of the code chart has its share."""
    return index[torch.linspace(0, len(index) - 1, count).long()]


def _draw(
    pen: Pen, options: EvaluateOptions, text: TextBatch, prompts: int
) -> Generator[Event, None, tuple[Tensor, Tensor, Tensor]]:
    """Pictures of the prompts (P·count, H, W), of the definitions behind them in `text`, and as many of nothing."""
    rows = torch.arange(prompts).repeat_interleave(options.count)
    definitions = torch.arange(prompts, len(text.mask))
    jobs = [
        (options.recipe, text.rows(rows)),
        (options.recipe, text.rows(definitions)),
        (replace(options.recipe, guidance=1.0), TextBatch.none(len(definitions), pen.width)),
    ]
    total = sum(len(batch.mask) for _, batch in jobs)
    drawn: list[Tensor] = []
    for recipe, batch in jobs:
        before = sum(map(len, drawn))
        seeds = options.seed + before + torch.arange(len(batch.mask))
        pictures = yield from told(pen.draw(recipe, batch, seeds), Progress("Drawing", before, total, "pictures"))
        drawn.append(pictures)
    return drawn[0], drawn[1], drawn[2]


def _adherence(prompts: list[Prompt], radical: Tensor, blank: Tensor, real: list[Figure | None]) -> list[Row]:
    known = torch.tensor([figure.value for figure in real if figure is not None])
    elsewhere = shuffled(prompts, radical)
    rows = [
        Row(
            "the radical asked for",
            mean(followed(prompts, radical).double().mean(1)),
            mean(known) if len(known) else None,
            "share",
            "real: the judge's own accuracy on held-out characters with these radicals",
        ),
        Row(
            "… without a prompt",
            mean(accepted(prompts)[:, blank].double().mean(0)),
            None,
            "share",
            "the mean over what each prompt would have asked for",
        ),
    ]
    if len(elsewhere):
        note = "the same pictures, held against the prompts of other radicals"
        rows.insert(1, Row("… of another prompt", mean(elsewhere), None, "share", note))
    return rows


def _fidelity(drawn: Tensor, truth: Tensor, floor: Tensor) -> list[Row]:
    model, real = manifold(truth, drawn), manifold(truth, floor)
    note = "real: as many glyphs from training against the held-out ones"
    return [
        Row("kernel distance", kernel_distance(drawn, truth), kernel_distance(floor, truth), "number", note),
        Row("precision", model.precision, real.precision, "share", note),
        Row("recall", model.recall, real.recall, "share", note),
        Row("coverage", model.coverage, real.coverage, "share", note),
    ]


def _newness(real: _Real, drawn: Tensor, seed: int) -> Generator[Event, None, tuple[list[Row], float]]:
    """Rows about the nearest real glyph, and the distance below which a picture is called a copy.

    That distance is set by real glyphs from training: one in a hundred is nearer than that to another character. It is
    not 0, since real characters can differ by a corner, as 己, 已 and 巳 do. Held-out characters, which had no say in
    it, then show how often a glyph that is new is called a copy.

    So strict a limit finds a drawing repeated with the same strokes. A character repeated in a wavering hand is farther
    away, and shows in the share that is nearer than five in a hundred real glyphs are.
    """
    glyphs = real.glyphs
    others = (labels(glyphs) > 0).logical_and(~held_out(glyphs, HOLDOUT)).nonzero().flatten()
    others = others[permutation(seed, 0, len(others))[:_CALIBRATION]]
    number = characters_of(glyphs)
    pictures = torch.cat([drawn, glyphs.images(real.held)[:, 0], glyphs.images(others)[:, 0]])
    own = torch.cat([torch.full((len(drawn),), -1), number[real.held], number[others]])
    nearest = None
    for searched in search(pictures, glyphs, own):
        yield Progress("Looking for copies", searched.done, searched.total, "glyphs")
        nearest = searched.nearest
    assert nearest is not None
    model, held, rest = nearest.distance.split([len(drawn), len(real.held), len(others)])
    threshold, near = float(rest.quantile(COPY_QUANTILE)), float(rest.quantile(NEAR_QUANTILE))
    note = "real: held-out characters, each compared with all other characters"
    return [
        Row("distance to a real glyph", quantile(model, 0.5), quantile(held, 0.5), "number", f"median; {note}"),
        Row("… of the nearest 1 %", quantile(model, 0.01), quantile(held, 0.01), "number", note),
        _copies("copies", model, held, threshold, note),
        _copies("… and near copies", model, held, near, note),
    ], threshold


def _copies(name: str, model: Tensor, held: Tensor, limit: float, note: str) -> Row:
    found, real = ((distance < limit) for distance in (model, held))
    note = f"nearer than {limit:.3f}; {note}"
    return Row(name, share(int(found.sum()), len(found)), share(int(real.sum()), len(real)), "share", note)


def _strokes(drawn: Tensor, real: Tensor) -> list[Row]:
    of_model, of_real = measure(drawn), measure(real)
    return [
        Row("grey pixels", mean(of_model.grey), mean(of_real.grey), "share", "between 10 % and 90 % black"),
        Row("ink", mean(of_model.ink), mean(of_real.ink), "share", "the mean blackness"),
        Row("stroke width", mean(of_model.width), mean(of_real.width), "number", "in pixels"),
    ]


def _by_prompt(prompts: list[Prompt], radical: Tensor, real: list[Figure | None]) -> list[PromptRow]:
    """Best first."""
    rows = [
        PromptRow(prompt.text, list(prompt.radicals), share(int(hits.sum()), len(hits)), figure)
        for prompt, hits, figure in zip(prompts, followed(prompts, radical), real, strict=True)
    ]
    return sorted(rows, key=lambda row: -row.found.value)
