"""`glyffctl evaluate` from one end to the other, with a tiny model and real glyphs."""

import io
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from rich.console import Console

from glyffctl.core.codecs.pixels import Pixels, to_unit
from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.data.split import held_out
from glyffctl.core.data.subset import evenly_spaced
from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.diffusion.denoiser import Denoiser
from glyffctl.core.diffusion.samplers import SAMPLERS
from glyffctl.core.diffusion.schedule import make_schedule
from glyffctl.core.errors import DataError, EmbeddingError, GlyffError, ModelError, OutputError, UsageError
from glyffctl.core.evaluation.metric import Pictures
from glyffctl.core.evaluation.report import EvaluateReport
from glyffctl.core.evaluation.strokes import measure_strokes, stroke_rows
from glyffctl.core.models.checkpoint import load_model
from glyffctl.core.models.drawer import Drawer
from glyffctl.core.models.recipe import Recipe
from glyffctl.core.text.loading import load_encoder
from glyffctl.core.theory.oracle import FiniteData
from glyffctl.display.evaluation_table import show_evaluation
from glyffctl.workflows.checkpoint_metrics import CheckpointEvaluator
from glyffctl.workflows.evaluate import EvaluateOptions, evaluate
from glyffctl.workflows.events import Progress, finish, with_progress
from glyffctl.workflows.prepare import PrepareOptions, prepare
from tests.command_line import app
from tests.conftest import Workshop, follow, of_kind
from tests.stand_in_pipelines import SMALL, add_encoder, make_pipeline
from tests.stand_ins import make_t5
from tests.toys import OracleNetwork

FIGURES = [
    "the radical asked for",
    "… of another prompt",
    "… without a prompt",
    "… or one its meaning takes",
    "… of another's meaning",
    "kernel distance",
    "precision",
    "recall",
    "coverage",
    "told apart from real ones",
    "… by their shapes alone",
    "distance to a real glyph",
    "… of the nearest 1 %",
    "copies",
    "… and near copies",
    "grey pixels",
    "ink",
    "stroke width",
    "uneven strokes",
    "grey pixels, sparse",
    "uneven strokes, sparse",
]  # the fog of a model that has learned nothing has no dense glyphs


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, noto_face: Path, unihan: Path) -> Path:
    """Some 800 characters of the radicals 9 to 40: about 40 are held out."""
    out = tmp_path_factory.mktemp("evaluate") / "data"
    options = PrepareOptions(fonts=(noto_face,), definitions=unihan, size=32, ranges="U+4EBA-51FF", out=out)
    finish(prepare(options))
    return out


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory, noto_face: Path, unihan: Path) -> Path:
    """Some 400 of them, of which 25 are held out: copies are looked for among all of them."""
    out = tmp_path_factory.mktemp("evaluate") / "few"
    ranges = "U+4FE0-51FF"
    finish(prepare(PrepareOptions(fonts=(noto_face,), definitions=unihan, size=32, ranges=ranges, out=out)))
    return out


@pytest.fixture(scope="module")
def options(few: Path, tiny_run: Path) -> EvaluateOptions:
    recipe = Recipe(steps=2)
    return EvaluateOptions(data=few, model=tiny_run, recipe=recipe, count=2, pictures=24, batch=64)


@pytest.fixture(scope="module")
def outcome(options: EvaluateOptions, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Any], EvaluateReport]:
    return follow(evaluate(replace(options, out=tmp_path_factory.mktemp("report") / "evaluation.json")))


def test_every_figure_is_there_with_its_interval(outcome: tuple[list[Any], EvaluateReport]):
    _, report = outcome
    assert [row.name for row in report.figures if row.name in FIGURES] == FIGURES
    for row in report.figures:
        for figure in (row.model, row.real):
            if figure is not None:
                assert figure.low <= figure.value <= figure.high
                assert row.unit != "share" or 0 <= figure.low <= figure.high <= 1
    without = ["… of another prompt", "… without a prompt", "… of another's meaning"]
    assert [row.name for row in report.figures if row.real is None] == without
    assert len(report.prompts) == 48 and report.steps == []
    assert all(row.found.count == 2 for row in report.prompts)
    # A model that has seen 96 pictures draws grey fog: the figures must say so.
    rows = {row.name: row for row in report.figures}
    grey = rows["grey pixels"]
    assert grey.real is not None
    assert grey.model.value > grey.real.value + 0.3


def test_the_file_holds_what_the_report_says(outcome: tuple[list[Any], EvaluateReport]):
    _, report = outcome
    plain = json.loads(report.out.read_text(encoding="utf-8"))
    assert [row["name"] for row in plain["figures"] if row["name"] in FIGURES] == FIGURES
    assert plain["figures"][0]["model"]["value"] == report.figures[0].model.value
    assert plain["recipe"].pop("precision") in ("fp32", "bf16")
    assert plain["recipe"] == {**Recipe(steps=2).as_plain(), "count": 2, "seed": 0}
    assert plain["classifier"]["accuracy"] > 0.9
    assert plain["plot"] is None


def test_progress_is_honest(outcome: tuple[list[Any], EvaluateReport]):
    events, _ = outcome
    for task in ("Drawing", "Looking for copies"):
        own = [event for event in events if isinstance(event, Progress) and event.task == task]
        done = [event.done for event in own]
        assert done == sorted(done) and done[-1] == own[-1].total and {event.total for event in own} == {own[0].total}


def test_a_prompt_that_the_encoder_does_not_know_is_named_before_anything_is_drawn(
    options: EvaluateOptions, tmp_path: Path
):
    file = tmp_path / "prompts.toml"
    file.write_text('[prompts]\n"gold" = 167\n"вода" = 85\n', encoding="utf-8")
    for event in evaluate(replace(options, prompts=file, out=tmp_path / "x.json")):
        assert not (isinstance(event, Progress) and event.task == "Drawing")
        for caution in of_kind([event], "prompts-unknown"):
            assert caution.facts == {"prompts": ("вода",)}
            return
    raise AssertionError("nothing was said")


@pytest.mark.thorough
def test_the_same_seed_gives_the_same_figures(
    options: EvaluateOptions, outcome: tuple[list[Any], EvaluateReport], tmp_path: Path
):
    _, report = outcome
    again = finish(evaluate(replace(options, out=tmp_path / "again.json")))
    assert again.figures == report.figures and again.prompts == report.prompts
    other = finish(evaluate(replace(options, seed=5, out=tmp_path / "other.json")))
    ink, before = (next(row for row in r.figures if row.name == "ink") for r in (other, report))
    assert ink.model != before.model
    assert ink.real == before.real


@pytest.mark.parametrize("columns", [80, 120])
def test_tables_fit_the_terminal(outcome: tuple[list[Any], EvaluateReport], columns: int):
    _, report = outcome
    text = io.StringIO()
    show_evaluation(report, Console(file=text, width=columns, highlight=False))
    lines = text.getvalue().splitlines()
    assert max(map(len, lines)) <= columns
    for name in FIGURES:
        assert any(line.strip().startswith(name) for line in lines), name
    assert "a kind of fish" in text.getvalue()
    assert not any("-" * 3 in line or line.rstrip().endswith("…") for line in lines)


@pytest.mark.thorough
def test_the_command(few: Path, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("glyffctl.workflows.sampler_comparison.STEPS", (2, 4))
    out = tmp_path / "figures.json"
    line = ["evaluate", "--data", few, "--model", tiny_run, "--count", 1, "--pictures", 16, "--out", out]
    done = CliRunner().invoke(app, [*map(str, line), "--steps-table"])
    assert done.exit_code == 0, done.output
    assert "the radical asked for" in done.stdout and str(out) in done.stdout
    plain = json.loads(out.read_text(encoding="utf-8"))
    recipe = load_model(tiny_run).recipe
    assert Recipe.from_plain(plain["recipe"]) == recipe and recipe.summary() in " ".join(done.stdout.split())
    assert {row["sampler"] for row in plain["steps"]} == set(SAMPLERS)
    twice = {(row["sampler"], row["steps"]): row["passes"] for row in plain["steps"]}
    assert twice["dpmpp-2m", 4] == 8 and twice["heun", 4] == 14  # with guidance two passes for each question
    plot = tmp_path / "figures-steps.png"
    assert plain["plot"] == str(plot) and plot.read_bytes().startswith(b"\x89PNG")


@pytest.mark.thorough
def test_drawings_are_kept_and_taken_again(
    options: EvaluateOptions, outcome: tuple[list[Any], EvaluateReport], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    _, report = outcome
    chosen = replace(options, drawings=tmp_path / "drawn.safetensors", out=tmp_path / "out.json")
    assert finish(evaluate(chosen)).figures == report.figures
    before = (tmp_path / "drawn.safetensors").read_bytes()

    def draw(*_: object) -> None:
        raise AssertionError("drawn again")

    with monkeypatch.context() as patched:
        patched.setattr(Drawer, "draw", draw)
        events, again = follow(evaluate(chosen))
        assert again.figures == report.figures
        assert [event.facts for event in of_kind(events, "drawings-reused")] == [{"file": chosen.drawings}]
        with pytest.raises(AssertionError):
            finish(evaluate(replace(chosen, seed=1)))
        with pytest.raises(AssertionError):
            finish(evaluate(replace(chosen, recipe=Recipe(steps=2, interval=(1.0, 2.0)))))
    assert (tmp_path / "drawn.safetensors").read_bytes() == before
    events, other = follow(evaluate(replace(chosen, seed=1)))
    assert [event.facts["changed"] for event in of_kind(events, "drawings-replaced")] == [("seed",)]
    assert other.figures != report.figures and (tmp_path / "drawn.safetensors").read_bytes() != before


@pytest.mark.thorough
def test_parts_are_read_where_there_is_a_table(
    options: EvaluateOptions, outcome: tuple[list[Any], EvaluateReport], tmp_path: Path
):
    """A table that calls every character ⿰ of one of two parts and the radical it has: too coarse, but learnable."""
    _, report = outcome
    assert report.parts == []
    glyphs = open_glyphs(options.data)
    ids = tmp_path / "ids.txt"
    kinds = ["⿰{}口", "⿱{}口", "{}"]
    lines = [
        f"U+{ord(c.character):04X}\t{c.character}\t{kinds[i % 3].format('亻' if c.radical == 9 else '刂')}"
        for i, c in enumerate(glyphs.characters)
    ]
    ids.write_text("\n".join(lines), encoding="utf-8")
    chosen = replace(options, ids=ids, out=tmp_path / "out.json")
    events, with_parts = follow(evaluate(chosen))
    assert not of_kind(events, "parts-skipped")
    assert [row.part for row in with_parts.parts] == ["left", "right", "upper", "lower"]
    rows = {row.name: row for row in with_parts.figures}
    assert rows["both parts are known ones"].model.count == 24
    assert rows["a part is a known one"].model.value <= 1
    ids.write_text("U+4EBA\t人\t⿰亻口\n", encoding="utf-8")
    events, without = follow(evaluate(chosen))
    assert of_kind(events, "parts-skipped")
    assert without.figures == report.figures


@pytest.mark.thorough
def test_training_a_classifier_by_the_command(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("glyffctl.workflows.classifier._MOST", 2)
    classifier = tmp_path / "own.safetensors"
    done = CliRunner().invoke(
        app, ["evaluate", "--train-classifier", "--data", str(data), "--classifier", str(classifier), "--json"]
    )
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["accuracy"]["count"] > 20
    assert classifier.is_file()


def test_what_training_a_classifier_does_not_use_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["evaluate", "--train-classifier", "--count", "3", "--data", str(tmp_path)])
    assert done.exit_code == 2 and "--count" in done.stderr


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.thorough
def test_a_model_of_diffusers_is_measured_as_ours_is(few: Path, tmp_path: Path) -> None:
    folder = make_pipeline(tmp_path / "pipeline", SMALL | {"sample_size": 32})
    add_encoder(folder)
    options = EvaluateOptions(
        data=few, model=folder, recipe=Recipe(steps=2), count=1, pictures=16, batch=64, out=tmp_path / "out.json"
    )
    events, report = follow(evaluate(options))
    assert {"the radical asked for", "kernel distance", "copies", "grey pixels"} <= {row.name for row in report.figures}
    assert report.model["pictures"] is None and report.model["weights"]
    assert of_kind(events, "training-data-unknown")


def test_what_cannot_be_evaluated(options: EvaluateOptions, workshop: Workshop, tmp_path: Path, tiny_run: Path):
    out = tmp_path / "out.json"
    anyones = tmp_path / "pictures"
    anyones.mkdir()
    (anyones / "metadata.jsonl").write_text('{"file_name": "a.png", "text": "a"}\n', encoding="utf-8")
    from PIL import Image

    Image.new("L", (8, 8)).save(anyones / "a.png")
    wrong: list[tuple[dict[str, Any], type[GlyffError], str]] = [
        ({"data": workshop.data}, DataError, "held-out"),
        ({"data": anyones}, DataError, "radical"),
        ({"data": tmp_path / "none"}, DataError, "no data folder"),
        ({"model": tmp_path / "none"}, ModelError, "no model at"),
        ({"classifier": tiny_run / "model.safetensors"}, ModelError, "classifier"),
        ({"encoder": str(make_t5(tmp_path / "t5", width=16))}, EmbeddingError, "trained with another"),
        ({"out": tmp_path / "figures.txt"}, UsageError, ".json"),
        ({"out": anyones / "a.png" / "out.json"}, OutputError, "cannot write"),
        ({"ids": anyones / "metadata.jsonl"}, DataError, "description sequences"),
        ({"drawings": tmp_path / "drawn.png"}, UsageError, "safetensors"),
        ({"drawings": tiny_run / "model.safetensors"}, DataError, "--drawings"),
        ({"recipe": Recipe(steps=5000)}, UsageError, "`steps`"),
    ]
    for change, kind, words in wrong:
        with pytest.raises(kind, match=words):
            finish(evaluate(replace(options, **{"out": out} | change)))
    assert not out.exists()
    bad: list[dict[str, Any]] = [{"count": 0}, {"pictures": 3}, {"batch": 0}, {"seed": -1}]
    for change in bad:
        with pytest.raises(UsageError):
            replace(options, **change)


@pytest.mark.thorough
def test_a_model_that_has_seen_what_is_held_out(options: EvaluateOptions, tmp_path: Path, workshop: Workshop):
    from glyffctl.workflows.train import TrainOptions, train

    text = workshop.config.read_text(encoding="utf-8").replace("holdout = 0.1", "holdout = 0.0")
    (tmp_path / "all.toml").write_text(text, encoding="utf-8")
    run = tmp_path / "run"
    finish(train(TrainOptions(data=workshop.data, config=tmp_path / "all.toml", gpus=0, out=run)))
    events, _ = follow(evaluate(replace(options, model=run, count=1, pictures=16, out=tmp_path / "out.json")))
    assert of_kind(events, "trained-on-holdout")


def test_strokes_of_sparse_and_dense_glyphs(data: Path):
    glyphs = open_glyphs(data)
    pictures = glyphs.images(torch.arange(90))[:, 0]
    crossed = measure_strokes(pictures).crossed
    sparse, dense = pictures[crossed.argsort()[:30]], pictures[crossed.argsort()[60:]]
    faint = (255 - (255 - dense.float()) * 0.8).to(torch.uint8)
    rows = {
        row.name: row for row in stroke_rows(Pictures([], pictures[:0, None], torch.cat([sparse, faint]), pictures))
    }
    # Faded strokes are grey: only in the dense third, and there in every picture.
    faded, same = rows["grey pixels, dense"], rows["grey pixels, sparse"]
    assert faded.real is not None and same.real is not None
    assert same.model.value == pytest.approx(same.real.value, rel=0.1) and same.model.count >= 30
    assert faded.model.value > 1.5 * faded.real.value
    assert rows["uneven strokes, dense"].real is not None
    few = {row.name for row in stroke_rows(Pictures([], pictures[:0, None], sparse[:4], pictures))}
    assert few == {"grey pixels", "ink", "stroke width", "uneven strokes"}


# The metrics of checkpoints -------------------------------------------------------------------------------------------


@pytest.mark.thorough
def test_checkpoint_metrics(data: Path, tiny_run: Path, workshop: Workshop):
    glyphs = open_glyphs(data)
    model = load_model(tiny_run)
    held = held_out(glyphs, 0.05).nonzero().flatten()
    drawer = Drawer.of(model, torch.device("cpu"), 16)
    evaluator = CheckpointEvaluator(load_encoder(workshop.encoder), glyphs, held)
    metrics = finish(evaluator(drawer))
    assert metrics.adherence.count == 32
    assert metrics.kernel_distance.value > 0
    assert metrics.grey.value > evaluator.real["grey"].value + 0.3
    assert metrics.as_dict() == finish(evaluator(drawer)).as_dict()
    assert all(math.isfinite(value) for value in metrics.as_dict().values())
    with torch.random.fork_rng():
        before = torch.random.get_rng_state()
        finish(evaluator(drawer))
        assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.thorough
def test_training_takes_that_look_at_every_checkpoint(workshop: Workshop, tmp_path: Path):
    from glyffctl.workflows.train import TrainOptions, train

    overrides = {"images": 32, "checkpoint_every": 16, "evaluate": True}
    options = TrainOptions(
        data=workshop.data, config=workshop.config, gpus=0, out=tmp_path / "run", overrides=overrides
    )
    events, _ = follow(train(options))
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    looks = {row["images"]: row["evaluation"] for row in rows if "evaluation" in row}
    assert list(looks) == [16, 32]
    assert set(looks[16]) == {"adherence", "kernel_distance", "grey", "ink", "width"}
    assert [event.facts for event in of_kind(events, "checkpoint-metrics")] == list(looks.values())


# Copies -------------------------------------------------------------------------------------------------------------


@pytest.mark.thorough
def test_a_model_that_can_do_nothing_but_repeat_500_glyphs_is_caught(data: Path):
    """Their exact denoiser is what a network comes to that learns them by heart, drawn with as any model is."""
    from glyffctl.workflows.evaluate import _RealGlyphs
    from glyffctl.workflows.evaluate_rows import novelty

    real = _RealGlyphs.open(data, 32, 64)
    training = (~held_out(real.glyphs, 0.05)).nonzero().flatten()[:500]
    by_heart = OracleNetwork(FiniteData(to_unit(real.glyphs.images(training))))
    drawer = Drawer(Denoiser(by_heart, "eps"), make_schedule("karras"), Pixels(32), 8, torch.device("cpu"), batch=64)
    drawing = drawer.draw(Recipe(steps=20, guidance=1.0), Condition.none(64, 8), torch.arange(64))
    rows, limit = finish(novelty(real.glyphs, real.held, finish(with_progress(drawing, Progress("Drawing", 0, 64))), 0))
    found = {row.name: row for row in rows}
    assert found["copies"].model.value > 0.9
    assert found["copies"].model.low > 0.8
    assert found["copies"].real is not None and found["copies"].real.low < 0.03
    assert 0 < limit < 0.2


BY_HEART = """
[network]
patch = 4
channels = [96, 192]
blocks = 1
attention = [1]
context_width = 192

[diffusion]
level_mean = 0.3
caption_dropout = 0.05

[training]
images = 50000
batch = 32
optimizer = "muon"
learning_rate = 1e-3
weight_decay = 0.0
warmup = 1000
ema_decay = 0.99
holdout = 0.0
"""


@pytest.mark.slow
def test_a_network_that_has_learned_500_glyphs_by_heart_is_caught(
    data: Path, tmp_path: Path, noto_sans: Path, unihan: Path
):
    from glyffctl.core.data.embeddings import load_embeddings
    from glyffctl.workflows.evaluate import _RealGlyphs
    from glyffctl.workflows.evaluate_rows import novelty
    from glyffctl.workflows.train import TrainOptions, train

    few = tmp_path / "few"
    ranges = "U+4E9A-513F"
    chosen = PrepareOptions((noto_sans,), unihan, size=32, ranges=ranges, alternate_captions=False, out=few)
    assert 450 < finish(prepare(chosen)).glyphs <= 500
    (tmp_path / "by_heart.toml").write_text(BY_HEART, encoding="utf-8")
    finish(train(TrainOptions(data=few, gpus=0, config=tmp_path / "by_heart.toml", out=tmp_path / "run")))

    model, glyphs = load_model(tmp_path / "run"), open_glyphs(few)
    captions = load_embeddings(few, glyphs.captions).batch(evenly_spaced(glyphs.caption_of, 64))
    drawer = Drawer(
        Denoiser(model.network, "x0"), make_schedule("karras"), Pixels(32), 256, torch.device("cpu"), batch=64
    )
    drawing = drawer.draw(Recipe(steps=20, guidance=1.0), captions, torch.arange(64))
    drawn = finish(with_progress(drawing, Progress("Drawing", 0, 64)))
    real = _RealGlyphs.open(data, 32, 64)
    rows, _ = finish(novelty(real.glyphs, real.held, drawn, 0))
    copies = next(row for row in rows if row.name == "copies")
    print(f"copies: {copies.model}")
    assert copies.model.low > 0.5


def test_a_table_of_steps_has_the_levels_of_the_model() -> None:
    with pytest.raises(UsageError, match="leave --schedule out"):
        EvaluateOptions(recipe=Recipe(schedule="linear"), steps_table=True)
