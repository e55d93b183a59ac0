"""Latent models: trained in the latents of a codec, which lies beside them, and drawn with as any other."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from glyffctl.core.codecs.latents import Latents
from glyffctl.core.data.embeddings import load_embeddings
from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.device import CPU
from glyffctl.core.errors import GlyffError, ModelError, TrainingError, UsageError
from glyffctl.core.io.images import read_settings
from glyffctl.core.models.checkpoint import MODEL_FILE, load_model, load_state, save_model
from glyffctl.core.models.codec_file import load_codec, save_codec
from glyffctl.core.models.config import CodecConfig
from glyffctl.core.models.files import CODEC_FILE
from glyffctl.core.models.recipe import Recipe
from glyffctl.core.networks.dit import DiT
from glyffctl.core.training.denoising import Denoising
from glyffctl.core.training.trainer import Trainer
from glyffctl.workflows.evaluate import EvaluateOptions, evaluate
from glyffctl.workflows.events import finish
from glyffctl.workflows.export import ExportOptions, export
from glyffctl.workflows.sample import sample
from glyffctl.workflows.sample_options import SampleOptions, options_from_picture
from glyffctl.workflows.train import TrainOptions, show_settings, train
from glyffctl.workflows.umap import UmapOptions, visualize
from tests.command_line import app
from tests.conftest import Workshop, follow, of_kind, stop_at_checkpoint
from tests.pretended_gpu import pretended_gpu
from tests.recorded_graph import recorded_graphs
from tests.test_autoencoder import make, theirs

SETTINGS = """
[network]
channels = [16, 32]
attention = [1]
head_width = 16
context_width = 16

[training]
images = 48
batch = 8
warmup = 0
precision = "fp32"
holdout = 0.1
checkpoint_every = 24
"""


def options(workshop: Workshop, out: Path, codec: Path | None, **overrides: Any) -> TrainOptions:
    settings = workshop.folder / "latent.toml"
    settings.write_text(SETTINGS, encoding="utf-8")
    return TrainOptions(
        data=workshop.data, out=out, gpus=0, preset="latent", config=settings, codec=codec, overrides=overrides
    )


@pytest.fixture(scope="module")
def run(workshop: Workshop, codec_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("latent") / "run"
    finish(train(options(workshop, out, codec_run)))
    return out


def test_a_model_has_its_codec_beside_it(run: Path, codec_run: Path) -> None:
    model, codec = load_model(run), load_codec(codec_run)
    assert isinstance(model.codec, Latents) and model.codec.identity == codec.identity
    assert model.origin.config.codec.weights == codec.identity
    assert (model.network.config.in_channels, model.network.config.size) == (4, 16)
    assert model.identity_of(Recipe()) == f"{model.identity}+{codec.identity}"


def test_sample_and_its_animation_need_no_option(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.png"
    done = CliRunner().invoke(app, ["sample", "gold", "--count", "2", "--gif", "--model", str(run), "--out", str(out)])
    assert done.exit_code == 0, done.output
    with Image.open(out) as sheet, Image.open(tmp_path / "x.gif") as frames:
        assert sheet.height >= 32 and sheet.width >= 64
        assert getattr(frames, "n_frames", 1) > 5
    finish(sample(options_from_picture(out)))
    assert (tmp_path / "x-again.png").read_bytes() == out.read_bytes()


@pytest.mark.thorough
def test_a_picture_is_varied_in_latents_and_no_part_of_it_is_kept(run: Path, tmp_path: Path) -> None:
    given, out = tmp_path / "given.png", tmp_path / "x.png"
    Image.new("L", (32, 32), 255).save(given)
    job = ["sample", "gold", "--count", "1", "--model", str(run), "--out", str(out)]
    refused = CliRunner().invoke(app, [*job, "--keep", "left", str(given)])
    assert refused.exit_code != 0 and "latents" in refused.output and not out.exists()
    assert CliRunner().invoke(app, [*job, "--vary", str(given), "--strength", "0.3"]).exit_code == 0
    finish(sample(options_from_picture(out)))
    assert (tmp_path / "x-again.png").read_bytes() == out.read_bytes()


@pytest.mark.thorough
@pytest.mark.usefixtures("mapped")  # makes the layout, which is kept beside the data, for other tests, too
def test_it_is_measured_and_traced_as_any_model(run: Path, map_data: Path, tmp_path: Path) -> None:
    measured = EvaluateOptions(
        data=map_data, model=run, recipe=Recipe(steps=1), count=1, pictures=16, out=tmp_path / "x.json"
    )
    assert {"the radical asked for", "stroke width"} <= {row.name for row in finish(evaluate(measured)).figures}
    traced = UmapOptions(data=map_data, out=tmp_path / "map", trace=("fish",), model=run)
    page = next(file for file in finish(visualize(traced)).files if file.suffix == ".html")
    assert "fish" in page.read_text(encoding="utf-8")


def test_a_picture_of_another_codec_is_not_redrawn(run: Path, tmp_path: Path) -> None:
    """The model is the same but for its codec."""
    out, other = tmp_path / "x.png", tmp_path / "other"
    finish(sample(SampleOptions(prompts=("gold",), model=run, count=1, recipe=Recipe(steps=2), out=out)))
    shutil.copytree(run, other)
    codec = load_codec(run)
    save_codec(other / CODEC_FILE, replace(codec, scale=2 * codec.scale))
    identity = load_codec(other).identity
    model = load_model(run)
    config = model.origin.config
    moved = replace(config, codec=replace(config.codec, weights=identity))
    save_model(other / MODEL_FILE, replace(model, origin=replace(model.origin, config=moved)))
    assert load_model(other).identity == model.identity
    assert "+" in read_settings(out)["weights"]
    with pytest.raises(ModelError, match="other weights"):
        finish(sample(options_from_picture(out, model=other)))


@pytest.mark.thorough
def test_a_run_that_was_stopped_goes_on_with_its_own_copy(
    workshop: Workshop, run: Path, codec_run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    stop_at_checkpoint(train(options(workshop, out, codec_run)))
    finish(train(options(workshop, out, None)))
    ended, alone = load_state(out), load_state(run)
    assert ended is not None and alone is not None
    for name, tensor in alone[0].items():
        assert torch.equal(ended[0][name], tensor), name


@pytest.mark.thorough
def test_a_codec_left_by_a_run_without_a_step_is_replaced(
    workshop: Workshop, codec_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, other = tmp_path / "run", tmp_path / "other"
    shutil.copytree(codec_run, other)
    codec = load_codec(codec_run)
    save_codec(other / CODEC_FILE, replace(codec, scale=2 * codec.scale))
    with monkeypatch.context() as patch:

        def full(*_: object) -> None:
            raise TrainingError("no memory")

        patch.setattr(Trainer, "step", full)
        with pytest.raises(TrainingError, match="no memory"):
            finish(train(options(workshop, out, other)))
    finish(train(options(workshop, out, codec_run)))
    model = load_model(out)
    assert isinstance(model.codec, Latents) and model.codec.identity == codec.identity


@pytest.mark.thorough
def test_captured_steps_are_plain_steps(
    workshop: Workshop, run: Path, codec_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU that is pretended, with latents that were encoded before; and they are what is encoded in a step."""
    glyphs = open_glyphs(workshop.data)
    cached = load_embeddings(workshop.data, glyphs.captions)
    config = load_model(run).origin.config
    usual = Trainer(config, glyphs, cached, CPU, codec=load_codec(codec_run))
    expected = [usual.step(0.5) for _ in range(2)]
    with pretended_gpu(monkeypatch), recorded_graphs(monkeypatch):
        captured = Trainer(config, glyphs, cached, torch.device("cuda", 0), codec=load_codec(codec_run))
        finish(captured.objective.prepare(None))
        assert finish(captured.prepare()) == (), "steps are captured"
        for step in expected:
            torch.testing.assert_close(captured.step(0.5).loss.cpu(), step.loss, rtol=1e-3, atol=1e-5)


def test_a_run_keeps_its_codec(workshop: Workshop, run: Path, tmp_path: Path) -> None:
    out = shutil.copytree(run, tmp_path / "run")
    save_codec(tmp_path / CODEC_FILE, Latents(make(), 1.0, 0.0, 32))
    with pytest.raises(TrainingError, match="leave --codec out"):
        finish(train(options(workshop, out, tmp_path, images=56)))
    assert (out / CODEC_FILE).read_bytes() == (run / CODEC_FILE).read_bytes()
    report = finish(train(options(workshop, out, None, images=56)))  # as advised
    assert report is not None and report.images == 56


def test_a_new_run_starts_from_a_latent_model_with_its_codec(workshop: Workshop, run: Path, tmp_path: Path) -> None:
    asked = replace(options(workshop, tmp_path / "run", None, images=8), start=run)
    assert of_kind(follow(train(asked))[0], "weights-loaded")
    assert load_codec(tmp_path / "run").identity == load_codec(run).identity
    save_codec(tmp_path / CODEC_FILE, Latents(make(), 1.0, 0.0, 32))
    with pytest.raises(UsageError, match="another codec"):
        finish(train(replace(asked, codec=tmp_path, out=tmp_path / "other")))


@pytest.mark.thorough
def test_a_codec_of_diffusers_is_taken(workshop: Workshop, tmp_path: Path) -> None:
    """Of three channels; its pictures are as large as those of the data."""
    folder = theirs(tmp_path / "theirs", make(in_channels=3, quant_conv=True, attention=True).config)
    finish(train(options(workshop, tmp_path / "run", folder, images=8)))
    model = load_model(tmp_path / "run")
    assert isinstance(model.codec, Latents) and (model.codec.size, model.codec.shape) == (32, (4, 16, 16))
    assert (model.codec.scale, model.codec.shift) == (0.7, 0.2)
    out = tmp_path / "x.png"
    asked = SampleOptions(prompts=("",), model=tmp_path / "run", recipe=Recipe(steps=2), count=1, out=out)
    assert finish(sample(asked)).files == [out]


def test_a_codec_takes_other_sizes_than_it_learned(workshop: Workshop, codec_run: Path, tmp_path: Path) -> None:
    """The copy beside the model says which; the run is drawn with, and resumed, as any other."""
    sized = tmp_path / "sized.toml"
    sized.write_text(f"{SETTINGS}\n[codec]\nsize = 64\n", encoding="utf-8")
    asked = replace(options(workshop, tmp_path / "run", codec_run, images=8), config=sized)
    finish(train(asked))
    model = load_model(tmp_path / "run")
    assert isinstance(model.codec, Latents) and (model.codec.size, model.codec.shape[1:]) == (64, (32, 32))
    assert model.codec.identity == load_codec(codec_run).identity
    out = tmp_path / "x.png"
    drawn = SampleOptions(prompts=("",), model=tmp_path / "run", recipe=Recipe(steps=2), count=1, out=out)
    assert finish(sample(drawn)).files == [out]
    report = finish(train(replace(asked, overrides={"images": 16})))
    assert report is not None and report.images == 16


@pytest.mark.parametrize("damage", ["missing", "cut", "another", "resized"])
def test_a_model_without_its_own_codec_is_one_line(run: Path, tmp_path: Path, damage: str) -> None:
    copied = shutil.copytree(run, tmp_path / "run")
    file = copied / CODEC_FILE
    if damage == "missing":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:1000])
    elif damage == "another":
        save_codec(file, Latents(make(), 1.0, 0.0, 32))
    else:
        save_codec(file, replace(load_codec(run), size=64))
    with pytest.raises(ModelError, match=r"codec\.safetensors.*whole") as caught:
        load_model(copied)
    assert "\n" not in str(caught.value)


@pytest.mark.thorough
def test_latents_that_are_kept_count_as_memory(
    workshop: Workshop, codec_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Just as many as are kept; where they would be too many, none are, and none count."""
    glyphs = open_glyphs(workshop.data)
    asked = options(workshop, tmp_path / "run", codec_run, images=8)
    with monkeypatch.context() as patch:
        patch.setattr("glyffctl.core.training.trainer.memory_free", lambda _: 1)
        with pytest.raises(TrainingError, match=r"with 0\.\d GiB kept beside them"):
            finish(train(asked))
    finish(train(asked))
    config = load_model(tmp_path / "run").origin.config
    trainer = Trainer(config, glyphs, load_embeddings(workshop.data, glyphs.captions), CPU, codec=load_codec(codec_run))
    finish(trainer.objective.prepare(None))
    assert isinstance(trainer.objective, Denoising) and trainer.objective._latents is not None
    assert trainer.objective.held_numbers(config, len(glyphs)) == trainer.objective._latents.numel()
    assert trainer.objective.held_numbers(config, 10**9) == 0
    pixels = replace(config, codec=CodecConfig(size=glyphs.size))
    assert trainer.objective.held_numbers(pixels, len(glyphs)) == 0


def test_what_is_asked_for_wrongly_is_one_line(
    workshop: Workshop, run: Path, codec_run: Path, tiny_run: Path, tmp_path: Path
) -> None:
    new = options(workshop, tmp_path / "run", codec_run)
    odd = tmp_path / "odd.toml"
    odd.write_text("[codec]\nsize = 31\n")
    pixels = tmp_path / "pixels.toml"
    pixels.write_text('[codec]\nkind = "pixels"\n')
    cases: list[tuple[TrainOptions, str]] = [
        (replace(new, codec=None), "needs a codec"),
        (replace(new, codec=tmp_path), "holds no codec"),
        (replace(new, codec=tiny_run), "holds no codec"),
        (replace(new, codec=tmp_path / "nowhere"), "nowhere"),
        (replace(new, codec=tiny_run / MODEL_FILE), "glyffctl-model"),
        (replace(new, config=odd), "a multiple of"),
        (replace(new, config=pixels), "leave one of them out"),
        (replace(new, preset="autoencoder", config=None), "learns from pixels"),
        (replace(new, codec=None, preset="few-step", start=run, config=None), "students of latent models"),
    ]
    for asked, words in cases:
        with pytest.raises(GlyffError) as caught:
            finish(train(asked))
        assert words in str(caught.value), (words, caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match="pixels"):
        finish(export(ExportOptions(model=run, out=tmp_path / "x")))


def test_settings_can_be_shown_with_and_without_a_codec(workshop: Workshop, codec_run: Path, tmp_path: Path) -> None:
    asked = options(workshop, tmp_path / "run", None)
    assert 'kind = "autoencoder"' in show_settings(asked)
    assert load_codec(codec_run).identity in show_settings(replace(asked, codec=codec_run))


def test_a_transformer_draws_in_latents(workshop: Workshop, codec_run: Path, tmp_path: Path) -> None:
    settings = tmp_path / "dit.toml"
    settings.write_text(
        '[network]\nkind = "dit"\npatch = 2\nwidth = 32\ndepth = 1\ndetail = 0\n'
        '[training]\nimages = 8\nbatch = 4\nwarmup = 0\nprecision = "fp32"\n'
    )
    finish(train(replace(options(workshop, tmp_path / "run", codec_run), config=settings)))
    model = load_model(tmp_path / "run")
    assert isinstance(model.codec, Latents) and isinstance(model.network, DiT)
    asked = SampleOptions(prompts=("gold",), model=tmp_path / "run", recipe=Recipe(steps=1), count=1, out=tmp_path)
    assert len(finish(sample(asked)).files) == 1
