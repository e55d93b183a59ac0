"""`sample --radical` and `sample --guide` from the command line: what leads, what is recorded, what is refused."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from glyffctl.core.diffusion.schedule import make_schedule
from glyffctl.core.errors import UsageError
from glyffctl.core.io.images import read_png, read_settings, save_png
from glyffctl.core.models.checkpoint import load_model, save_model
from glyffctl.workflows import companions
from glyffctl.workflows.events import finish
from glyffctl.workflows.guide_options import AwayOptions, LeadOptions
from glyffctl.workflows.sample_light import may_draw_light
from glyffctl.workflows.sample_options import SampleOptions
from glyffctl.workflows.train import TrainOptions, train
from tests.command_line import app
from tests.conftest import Workshop, crashed
from tests.students import make_student

SETTINGS = """
[network]
patch = 4
channels = [8, 16]

[training]
batch = 8
warmup = 0
precision = "fp32"
ema_decay = 0.5
checkpoint_every = 1000
"""


@pytest.fixture(scope="module")
def classifier(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("classifiers") / "run"
    settings = out.with_suffix(".toml")
    settings.write_text(SETTINGS, encoding="utf-8")
    options = TrainOptions(data=workshop.data, out=out, gpus=0, preset="classifier", config=settings)
    finish(train(replace(options, overrides={"images": 320})))
    return out


def sample(*typed: object) -> Result:
    result = CliRunner().invoke(app, ["sample", *map(str, typed)])
    assert not crashed(result.output), result.output
    return result


def drawn(out: Path, *typed: object) -> Any:
    done = sample(*typed, "--out", out)
    assert done.exit_code == 0, done.output
    return np.asarray(read_png(out)).astype(int)


@pytest.fixture
def job(tiny_run: Path) -> tuple[object, ...]:
    return ("--model", tiny_run, "--count", 4, "--steps", 4)


# Led to a radical ----------------------------------------------------------------------------------------------------


def test_a_radical_needs_no_prompt_and_is_drawn_again_byte_for_byte(
    job: tuple[object, ...], classifier: Path, tmp_path: Path
) -> None:
    led = drawn(tmp_path / "a.png", "--radical", "木", "--classifier", classifier, *job)
    settings = read_settings(tmp_path / "a.png")
    assert settings["prompts"] == [""]
    assert settings["led"]["radical"] == 75 and settings["led"]["weights"] == load_model(classifier).identity
    assert settings["recipe"]["guidance"] == 1  # two passes would be the same
    assert sample("--again", tmp_path / "a.png").exit_code == 0
    assert (tmp_path / "a-again.png").read_bytes() == (tmp_path / "a.png").read_bytes()
    assert np.array_equal(led, drawn(tmp_path / "b.png", "--radical", "tree", "--classifier", classifier, *job))
    assert not np.array_equal(led, drawn(tmp_path / "c.png", "", *job))
    assert not np.array_equal(led, drawn(tmp_path / "d.png", "--radical", 85, "--classifier", classifier, *job))


@pytest.mark.thorough
def test_single_pictures_of_two_radicals_lie_beside_each_other(
    job: tuple[object, ...], classifier: Path, tmp_path: Path
) -> None:
    lead = ("--classifier", classifier, *job, "--count", 1, "--out", tmp_path)
    for typed in (("--radical", "tree"), ("--radical", "water"), ("gold", "--radical", "water"), ("gold",)):
        given = lead if "--radical" in typed else lead[2:]
        assert sample(*typed, *given).exit_code == 0
    names = ["gold-0.png", "gold-water-0.png", "tree-0.png", "water-0.png"]
    assert sorted(file.name for file in tmp_path.iterdir()) == names


def test_scale_0_changes_nothing(job: tuple[object, ...], classifier: Path, tmp_path: Path) -> None:
    lead = ("--radical", 1, "--classifier", classifier, "--classifier-scale", 0)
    with_prompt = drawn(tmp_path / "a.png", "gold", *lead, *job)
    assert np.array_equal(with_prompt, drawn(tmp_path / "b.png", "gold", *job))
    without = drawn(tmp_path / "c.png", *lead, *job)
    assert np.array_equal(without, drawn(tmp_path / "d.png", "", "--guidance", 1, *job))


@pytest.mark.parametrize(
    "sampler",
    ["ddpm", pytest.param("ddim", marks=pytest.mark.thorough), pytest.param("heun", marks=pytest.mark.thorough)],
)
def test_every_sampler_is_led_and_redraws(
    sampler: str, job: tuple[object, ...], classifier: Path, tmp_path: Path
) -> None:
    recipe = ("--sampler", sampler, *job)
    led = drawn(tmp_path / "a.png", "--radical", 1, "--classifier", classifier, *recipe)
    assert not np.array_equal(led, drawn(tmp_path / "b.png", "", *recipe))
    assert sample("--again", tmp_path / "a.png").exit_code == 0
    assert (tmp_path / "a-again.png").read_bytes() == (tmp_path / "a.png").read_bytes()


@pytest.mark.thorough
def test_in_bfloat16_and_with_a_gif_and_whatever_the_batch(
    job: tuple[object, ...], classifier: Path, tmp_path: Path
) -> None:
    lead = ("gold", "--radical", 1, "--classifier", classifier)
    exact = drawn(tmp_path / "a.png", *lead, *job, "--precision", "fp32", "--gif", tmp_path / "a.gif")
    assert np.abs(exact - drawn(tmp_path / "b.png", *lead, *job, "--precision", "fp32", "--batch", 1)).max() <= 1
    rounded = drawn(tmp_path / "c.png", *lead, *job, "--precision", "bf16")
    assert 0 < np.abs(exact - rounded).mean() < 10
    with Image.open(tmp_path / "a.gif") as gif:
        assert getattr(gif, "n_frames", 1) >= 4


@pytest.mark.thorough
def test_the_whole_model_is_led_not_its_student(
    classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_student(tmp_path)
    led = SampleOptions(prompts=("gold",), model=tmp_path, lead=LeadOptions(radical=1), count=1)
    away = SampleOptions(prompts=("gold",), model=tmp_path, away=AwayOptions(model=tmp_path), count=1)
    assert not may_draw_light(led) and not may_draw_light(away)
    typed = ("gold", "--model", tmp_path, "--guide", tmp_path, "--count", 1, "--out", tmp_path / "x.png")
    for passes in ((), ("--passes", 4)):
        done = sample(*typed, *passes)
        assert (done.exit_code == 0) is (not passes), done.output
    assert "--guide takes the whole model" in " ".join(done.output.split())
    assert read_settings(tmp_path / "x.png")["recipe"]["sampler"] == "dpmpp-2m"


def test_a_classifier_that_is_bundled_is_taken_and_else_a_line_says_how_to_get_one(
    job: tuple[object, ...], classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundled = tmp_path / "guide.safetensors"
    monkeypatch.setattr(companions, "pretrained", lambda _: bundled)
    done = sample("--radical", "金", *job, "--out", tmp_path / "x.png")
    assert done.exit_code != 0 and "--preset classifier" in " ".join(done.output.split())
    shutil.copy(classifier / "model.safetensors", bundled)
    drawn(tmp_path / "x.png", "--radical", "金", *job)
    assert read_settings(tmp_path / "x.png")["led"]["classifier"] == "bundled"
    monkeypatch.chdir(tmp_path)
    assert sample("--radical", "金", *job).exit_code == 0 and (tmp_path / "gold.png").exists()


def test_options_of_the_classifier_that_do_not_go_together(
    job: tuple[object, ...], classifier: Path, tiny_run: Path, tmp_path: Path
) -> None:
    led = ("--radical", "金", "--classifier", classifier)
    wrong: list[tuple[tuple[object, ...], str]] = [
        (("gold", "--classifier", classifier), "--radical"),
        (("gold", "--classifier-scale", 2), "--radical"),
        (("--radical", "lithium", "--classifier", classifier), "Kangxi"),
        ((*led, "--classifier-scale", "nan"), "--classifier-scale"),
        (("--radical", "金", "--classifier", tmp_path / "none"), "no classifier of noisy pictures at"),
        (("--radical", "金", "--classifier", tiny_run), "names no radicals"),
        ((*led, "--model", "bundled"), "32×32"),
        (("gold", "--model", classifier), "--classifier"),
        (("--upscale", tmp_path / "x.png", "--radical", "金"), "--radical"),
        ((*led, "--guidance", 7), "--classifier-scale"),
        ((*led, "", "--guidance", 7), "--guidance"),
    ]
    for typed, words in wrong:
        done = sample(*typed, *(job[2:] if "--model" in typed else job), "--out", tmp_path / "y.png")
        assert done.exit_code != 0 and words in " ".join(done.output.split()), (typed, done.output)


@pytest.mark.hostile
@pytest.mark.parametrize(
    "change",
    [
        {"radical": 215},
        {"radical": "x"},
        {"scale": float("nan")},
        {"scale": 1e9},
        {"classifier": "/dev/null/x"},
        {"classifier": "a\0b"},
        {"weights": "0" * 32},
        {"weights": None},
    ],
)
def test_a_picture_that_lies_about_its_classifier(
    change: dict[str, Any], job: tuple[object, ...], classifier: Path, tmp_path: Path
) -> None:
    drawn(tmp_path / "a.png", "--radical", 1, "--classifier", classifier, *job)
    settings = read_settings(tmp_path / "a.png")
    settings["led"] = {**settings["led"], **change}
    with Image.open(tmp_path / "a.png") as image:
        save_png(tmp_path / "b.png", image.copy(), settings)
    assert sample("--again", tmp_path / "b.png").exit_code != 0


@pytest.mark.thorough
def test_again_finds_a_classifier_that_was_moved(job: tuple[object, ...], classifier: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(classifier, tmp_path / "first")
    drawn(tmp_path / "a.png", "--radical", 1, "--classifier", tmp_path / "first", *job)
    (tmp_path / "first").rename(moved)
    assert sample("--again", tmp_path / "a.png").exit_code != 0
    assert sample("--again", tmp_path / "a.png", "--classifier", moved).exit_code == 0
    drawn(tmp_path / "b.png", "gold", *job)
    assert sample("--again", tmp_path / "b.png", "--classifier", moved).exit_code != 0
    assert sample("--again", tmp_path / "b.png", "--guide", moved).exit_code != 0


# Guided away from a worse model --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def worse(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A smaller model that was trained for a shorter time."""
    out = tmp_path_factory.mktemp("worse") / "run"
    settings = out.with_suffix(".toml")
    text = workshop.config.read_text(encoding="utf-8").replace("images = 96", "images = 32")
    text = text.replace("channels = [32, 32]", "channels = [32]").replace("attention = [1]", "attention = []")
    settings.write_text(text, encoding="utf-8")
    finish(train(TrainOptions(data=workshop.data, out=out, gpus=0, config=settings)))
    return out


@pytest.mark.thorough
def test_a_worse_model_guides_and_is_drawn_again_byte_for_byte(
    job: tuple[object, ...], worse: Path, tiny_run: Path, tmp_path: Path
) -> None:
    guided = drawn(tmp_path / "a.png", "gold", "--guide", worse, *job)
    assert read_settings(tmp_path / "a.png")["away"]["weights"] == load_model(worse).identity
    assert sample("--again", tmp_path / "a.png").exit_code == 0
    assert (tmp_path / "a-again.png").read_bytes() == (tmp_path / "a.png").read_bytes()
    assert not np.array_equal(guided, drawn(tmp_path / "b.png", "gold", *job))
    plain = drawn(tmp_path / "c.png", "gold", *job, "--guidance", 1)
    assert np.array_equal(plain, drawn(tmp_path / "d.png", "gold", "--guide", worse, *job, "--guidance", 1))
    itself = drawn(tmp_path / "e.png", "gold", "--guide", tiny_run, *job)
    assert np.abs(plain - itself).max() <= 1  # led away from itself it stays where it is


@pytest.mark.thorough
def test_both_guides_together(job: tuple[object, ...], worse: Path, classifier: Path, tmp_path: Path) -> None:
    both = ("gold", "--guide", worse, "--radical", 1, "--classifier", classifier)
    pictures = drawn(tmp_path / "a.png", *both, *job)
    assert not np.array_equal(pictures, drawn(tmp_path / "b.png", *both[:3], *job))
    assert sample("--again", tmp_path / "a.png").exit_code == 0
    assert (tmp_path / "a-again.png").read_bytes() == (tmp_path / "a.png").read_bytes()


@pytest.mark.thorough
def test_models_that_cannot_guide_each_other(
    job: tuple[object, ...], worse: Path, classifier: Path, tiny_run: Path, tmp_path: Path
) -> None:
    wide, other = tmp_path / "wide", tmp_path / "other"
    for folder in (wide, other):
        shutil.copytree(worse, folder)
    model = load_model(worse)
    save_model(wide / "model.safetensors", replace(model, schedule=make_schedule("linear")))
    encoder = replace(model.origin.encoder, fingerprint="another", name="another")
    save_model(other / "model.safetensors", replace(model, origin=replace(model.origin, encoder=encoder)))
    wrong: list[tuple[tuple[object, ...], str]] = [
        (("--guide", "bundled"), "128×128"),
        (("--guide", tmp_path / "none"), "no model at"),
        (("--guide", classifier), "classifier"),
        (("--guide", other), "text encoder"),
        (("--guide", worse, "--negative", "water"), "--negative"),
    ]
    for typed, words in wrong:
        done = sample("gold", *typed, *job, "--out", tmp_path / "y.png")
        assert done.exit_code != 0 and words in " ".join(done.output.split()), (typed, done.output)


@pytest.mark.thorough
def test_levels_that_the_worse_model_does_not_know(worse: Path, tiny_run: Path, tmp_path: Path) -> None:
    model = load_model(worse)
    narrow = tmp_path / "narrow"
    shutil.copytree(worse, narrow)
    known = model.schedule.sigmas[(model.schedule.sigmas > 0.1) & (model.schedule.sigmas < 10)]
    save_model(narrow / "model.safetensors", replace(model, schedule=replace(model.schedule, sigmas=known)))
    job = ("gold", "--model", tiny_run, "--count", 1, "--steps", 4, "--guide", narrow, "--out", tmp_path / "x.png")
    done = sample(*job)
    assert done.exit_code != 0 and "--interval" in done.output
    assert sample(*job, "--interval", 0.1, 10).exit_code == 0


def test_options_out_of_range() -> None:
    for wrong in ({"radical": 0}, {"radical": 215}, {"radical": 1, "scale": float("inf")}):
        with pytest.raises(UsageError):
            LeadOptions(**wrong)
    with pytest.raises(UsageError, match="--negative"):
        SampleOptions(prompts=("a",), negative="b", away=AwayOptions(model=Path("x")))
