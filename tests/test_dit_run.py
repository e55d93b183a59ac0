"""A transformer from the command line: trained, resumed, drawn with, measured, exported."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from glyffctl.core.data.embeddings import load_embeddings
from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.io.images import read_settings
from glyffctl.core.models.checkpoint import load_model, save_model
from glyffctl.core.models.config import fit_to_data, merge, read_preset
from glyffctl.core.models.recipe import Recipe
from glyffctl.core.training.trainer import Trainer
from glyffctl.workflows.evaluate import EvaluateOptions, evaluate
from glyffctl.workflows.events import finish
from glyffctl.workflows.export import ExportOptions, export
from glyffctl.workflows.train import TrainOptions, train
from tests.conftest import Workshop, of_kind
from tests.pretended_gpu import pretended_gpu
from tests.recorded_graph import recorded_graphs
from tests.test_dit import shaken
from tests.test_extensions import run
from tests.test_few_step import distil

SETTINGS = """
[network]
patch = 8
width = 32
depth = 2
head_width = 16
bottleneck = 16
detail = 8
context_width = 16

[training]
images = {images}
batch = 8
warmup = 8
precision = "fp32"
checkpoint_every = 16
"""


@pytest.fixture(scope="module")
def tiny_dit(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained by the preset with other sizes, and resumed; tests only read it."""
    folder = tmp_path_factory.mktemp("dit")
    for images in (16, 32):
        config = folder / f"{images}.toml"
        config.write_text(SETTINGS.format(images=images))
        command = ["train", "--preset", "dit", "--gpus", "0", "--data", workshop.data, "--config", config]
        run(*map(str, command), "--out", str(folder / "run"))
    return folder / "run"


def test_it_is_trained_and_resumed(tiny_dit: Path) -> None:
    model = load_model(tiny_dit)
    assert type(model.network).__name__ == "DiT" and model.images == 32
    assert json.loads((tiny_dit / "config.json").read_text())["config"]["network"]["kind"] == "dit"
    assert f"{sum(p.numel() for p in model.network.parameters()):,} parameters" in (tiny_dit / "README.md").read_text()


def test_a_run_that_was_cut_off_ends_with_the_weights_of_one_that_was_not(workshop: Workshop, tmp_path: Path) -> None:
    config = tmp_path / "tiny.toml"
    config.write_text(SETTINGS.format(images=32))
    options = TrainOptions(data=workshop.data, config=config, preset="dit", gpus=0, out=tmp_path / "whole")
    finish(train(options))
    cut = replace(options, out=tmp_path / "cut")
    running = train(cut)
    next(event for event in running if of_kind([event], "checkpoint"))
    running.close()
    assert load_model(tmp_path / "cut").images == 16
    finish(train(cut))
    assert load_model(tmp_path / "cut").identity == load_model(tmp_path / "whole").identity


@pytest.mark.thorough
def test_its_captured_steps_are_plain_steps(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    glyphs = open_glyphs(workshop.data)
    embeddings = load_embeddings(workshop.data, glyphs.captions)
    own = {"training": {"precision": "bf16"}}
    sections = merge(read_preset("dit"), tomllib.loads(SETTINGS.format(images=64)), own)
    config = fit_to_data(sections, glyphs.size, embeddings.width)
    with pretended_gpu(monkeypatch), recorded_graphs(monkeypatch):
        usual, captured = (Trainer(config, glyphs, embeddings, torch.device("cuda", 0)) for _ in range(2))
        assert finish(captured.prepare()) == ()
        for turn in range(4):
            one, other = usual.step(turn / 4), captured.step(turn / 4)
            assert torch.equal(one.loss, other.loss) and torch.equal(one.gradient, other.gradient)


def test_show_config_shows_the_preset(workshop: Workshop) -> None:
    shown = run("train", "--preset", "dit", "--data", str(workshop.data), "--show-config", "--gpus", "0")
    assert 'kind = "dit"' in shown and "patch = 16" in shown and "depth = " in shown and "channels" not in shown


def test_the_text_comes_in_by_the_ways_that_are_asked_for(workshop: Workshop, tmp_path: Path) -> None:
    """The setting is shown, taken, refused where no way is left, and kept by the run."""
    asked = ("train", "--preset", "dit", "--data", str(workshop.data), "--gpus", "0", "--config")
    config = tmp_path / "tiny.toml"
    config.write_text(SETTINGS.format(images=8).replace("patch = 8", "patch = 8\ncross_text = false"))
    assert "cross_text = false\n" in run(*asked, str(config), "--show-config")
    run(*asked, str(config), "--out", str(tmp_path / "run"))
    assert not any("cross_attn" in name for name in load_model(tmp_path / "run").network.state_dict())
    run(
        "sample",
        "gold",
        "--model",
        str(tmp_path / "run"),
        "--steps",
        "1",
        "--count",
        "1",
        "--out",
        str(tmp_path / "x.png"),
    )
    config.write_text("[network]\npooled_text = false\ncross_text = false\n")
    refused = run(*asked, str(config), "--show-config", code=2)
    assert "error: network: with pooled_text and cross_text" in refused and str(config) in refused


def test_it_draws_and_draws_again(tiny_dit: Path, tmp_path: Path) -> None:
    sheet, again = tmp_path / "sheet.png", tmp_path / "again.png"
    run("sample", "gold", "--model", str(tiny_dit), "--steps", "2", "--count", "4", "--out", str(sheet))
    with Image.open(sheet) as image:
        assert image.width == image.height > 64
    run("sample", "--again", str(sheet), "--out", str(again))
    assert again.read_bytes() == sheet.read_bytes()


@pytest.mark.thorough
def test_it_is_measured(tiny_dit: Path, map_data: Path, tmp_path: Path) -> None:
    options = EvaluateOptions(
        data=map_data, model=tiny_dit, recipe=Recipe(steps=1), count=1, pictures=16, out=tmp_path / "x.json"
    )
    report = finish(evaluate(options))
    assert {"the radical asked for", "stroke width"} <= {row.name for row in report.figures}


@pytest.mark.thorough
def test_it_has_students(tiny_dit: Path, workshop: Workshop, tmp_path: Path) -> None:
    student, sheet = tmp_path / "student", tmp_path / "sheet.png"
    distil(workshop, student, tiny_dit, images=16)
    run("sample", "gold", "--model", str(student), "--passes", "4", "--count", "1", "--out", str(sheet))
    assert "few-step" in str(read_settings(sheet))
    run("sample", "--again", str(sheet), "--out", str(tmp_path / "again.png"))
    assert (tmp_path / "again.png").read_bytes() == sheet.read_bytes()


def test_diffusers_has_no_such_network(tiny_dit: Path, tmp_path: Path) -> None:
    refused = run("export", str(tiny_dit), "--format", "diffusers", "--out", str(tmp_path / "out"), code=1)
    assert "error: only a U-Net" in refused and not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.thorough
def test_it_is_exported_as_onnx(tiny_dit: Path, tmp_path: Path) -> None:
    """With weights off their start, which answer something: within 1e-5 at every noise level, see `export`."""
    model = load_model(tiny_dit)
    shaken(model.network, by=0.1)
    (tmp_path / "run").mkdir()
    save_model(tmp_path / "run" / "model.safetensors", model)
    report = finish(export(ExportOptions(model=tmp_path / "run", format="onnx", out=tmp_path / "onnx")))
    assert report.difference is not None and report.difference < 1e-5
    assert (tmp_path / "onnx" / "denoiser.onnx").is_file()
