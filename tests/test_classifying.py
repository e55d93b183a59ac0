"""The classifier of noisy pictures: its network, what it learns from, and `train --preset classifier`."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from glyffctl.core.data.character import Character
from glyffctl.core.data.embeddings import no_embeddings
from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.data.radicals import labels
from glyffctl.core.device import CPU
from glyffctl.core.diffusion.classifier_guidance import NoisyClassifier
from glyffctl.core.errors import ModelError, TrainingError, UsageError
from glyffctl.core.models.checkpoint import load_model
from glyffctl.core.models.config import fit_to_data, merge, read_preset
from glyffctl.core.networks.classifier import Classifier, ClassifierConfig
from glyffctl.core.networks.network import parameter_count
from glyffctl.core.training.classifying import Classifying
from glyffctl.core.training.denoising import VALIDATION_SIGMAS
from glyffctl.core.training.shifts import shifted
from glyffctl.core.training.trainer import Trainer
from glyffctl.workflows.events import finish
from glyffctl.workflows.find_model import find_model
from glyffctl.workflows.models import load_any
from glyffctl.workflows.train import TrainOptions, show_settings, train
from tests.conftest import Workshop, cautions, follow, of_kind, stop_at_checkpoint
from tests.toys import eps

SETTINGS = """
[network]
patch = 4
channels = [8, 16]
dropout = 0.0

[training]
batch = 8
warmup = 0
precision = "fp32"
holdout = 0.2
ema_decay = 0.5
checkpoint_every = 16
"""
SIGMA = torch.tensor([0.1, 1.0, 10.0], dtype=torch.float64)


def options(data: Path, out: Path, images: int = 32, **more: Any) -> TrainOptions:
    settings = out.with_suffix(".toml")
    settings.write_text(SETTINGS, encoding="utf-8")
    wanted = TrainOptions(
        data=data, out=out, gpus=0, preset="classifier", config=settings, overrides={"images": images}
    )
    return replace(wanted, **more)


@pytest.fixture(scope="module")
def bare_data(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data of the workshop, not embedded."""
    out = tmp_path_factory.mktemp("bare") / "data"
    shutil.copytree(workshop.data, out, ignore=shutil.ignore_patterns("embeddings*"))
    return out


@pytest.fixture(scope="module")
def run(bare_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("classifiers") / "run"
    finish(train(options(bare_data, out)))
    return out


def network(**sizes: Any) -> Classifier:
    torch.manual_seed(0)
    built = Classifier(ClassifierConfig(size=16, classes=5, patch=2, channels=(8, 16), **sizes)).eval()
    for parameter in built.requires_grad_(False).parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))  # some are 0 at first
    return built


# The network ---------------------------------------------------------------------------------------------------------


def test_every_row_has_its_own_logits_by_picture_and_level() -> None:
    built, x = network(), eps(3, 1, 16, 16).float()
    together = built(x, SIGMA)
    assert together.shape == (3, 5)
    alone = torch.cat([built(x[i : i + 1], SIGMA[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(built(x, SIGMA.flip(0)), together)


def test_its_gradient_is_that_of_differences() -> None:
    built = network().double()
    classifier, x = NoisyClassifier(built), eps(2, 1, 16, 16)
    level, step = torch.full((2,), 0.8, dtype=torch.float64), 1e-5 * eps(2, 1, 16, 16, seed=4)
    gradient = classifier.gradient(3)(x, level)
    change = classifier.log_probabilities(x + step, level)[:, 3] - classifier.log_probabilities(x - step, level)[:, 3]
    torch.testing.assert_close((gradient * 2 * step).flatten(1).sum(1), change, rtol=1e-6, atol=1e-12)


def test_in_bfloat16_probabilities_and_gradient_are_nearly_the_same() -> None:
    built, x = network(), eps(3, 1, 16, 16).float()
    exact, rounded = (NoisyClassifier(built, dtype) for dtype in (None, torch.bfloat16))
    torch.testing.assert_close(
        rounded.log_probabilities(x, SIGMA), exact.log_probabilities(x, SIGMA), rtol=0.05, atol=0.05
    )
    one, other = (each.gradient(2)(x, SIGMA) for each in (exact, rounded))
    assert other.dtype == torch.float32
    assert float((one - other).norm() / one.norm()) < 0.1


@pytest.mark.parametrize(
    "sizes", [{"classes": 0}, {"channels": (7,)}, {"channels": ()}, {"patch": 3}, {"dropout": 1.0}, {"blocks": 99}]
)
def test_sizes_that_cannot_be_built(sizes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="network"):
        ClassifierConfig(**{"size": 16, **sizes})


def test_the_preset_fits_into_three_megabytes() -> None:
    config = fit_to_data(merge(read_preset("classifier")), 128, 1).network
    assert isinstance(config, ClassifierConfig)
    assert parameter_count(Classifier(config)) * 2 < 3e6


# What it learns from -------------------------------------------------------------------------------------------------


def trainer(data: Path, **training: Any) -> Trainer:
    glyphs = open_glyphs(data)
    sections = merge(read_preset("classifier"), {"network": {"patch": 4, "channels": [16, 32], "dropout": 0.0}})
    sections["diffusion"] |= {"level_mean": -1.0, "level_std": 1.0}  # 32 pixels: a quarter of the noise
    sections["training"] |= {"batch": 16, "warmup": 0, "precision": "fp32", "holdout": 0.2, **training}
    config = fit_to_data(sections, glyphs.size, 1)
    return Trainer(config, glyphs, no_embeddings(len(glyphs.captions), 1), CPU)


def test_glyphs_without_a_radical_are_left_out(bare_data: Path) -> None:
    made = trainer(bare_data)
    glyphs = made.objective.data.glyphs
    assert bool((labels(glyphs)[made.objective.train_index] > 0).all())
    first = int(made.objective.train_index[0])
    unknown = [
        c if i != int(glyphs.character_of[first]) else c._replace(radical=None) for i, c in enumerate(glyphs.characters)
    ]
    fewer = Trainer(made.config, replace(glyphs, characters=unknown), no_embeddings(len(glyphs.captions), 1), CPU)
    assert fewer.epoch_size == made.epoch_size - int((glyphs.character_of == glyphs.character_of[first]).sum())
    nameless = replace(glyphs, characters=[Character(None, c.character, "", None) for c in glyphs.characters])
    with pytest.raises(TrainingError, match="radicals"):
        Trainer(made.config, nameless, no_embeddings(len(glyphs.captions), 1), CPU)


def test_a_glyph_is_shifted_by_a_few_pixels_and_keeps_its_ink(bare_data: Path) -> None:
    objective = trainer(bare_data).objective
    assert isinstance(objective, Classifying)
    number = torch.arange(64)
    _, source, _, top, left, sigma = objective.batch(number).values
    assert set(top.tolist()) == set(left.tolist()) == {0, 1, 2}  # 32 pixels: one to each side
    assert float(sigma.min()) < 0.2 and float(sigma.max()) > 2
    pictures = objective.pictures(source)
    moved = shifted(pictures, top, left)
    for row in range(8):
        back = moved[row].roll((int(top[row]) - 1, int(left[row]) - 1), (0, 1))
        assert torch.equal(back[2:-2, 2:-2], pictures[row][2:-2, 2:-2])


@pytest.mark.thorough
def test_it_learns_radicals_where_noise_leaves_them(bare_data: Path) -> None:
    """Glyphs learned by heart: nearly all without noise, and fewer the more there is."""
    made = trainer(bare_data, learning_rate=2e-2, ema_decay=0.9)
    made.objective.validation_index = made.objective.train_index
    steps = 240
    losses = [float(made.step(step / steps).loss) for step in range(steps)]
    assert sum(losses[-10:]) < 0.2 * sum(losses[:10])
    accuracy = finish(made.objective.validate(made.ema.network, None))
    assert tuple(accuracy) == VALIDATION_SIGMAS
    assert accuracy[0.1] > 0.9 > accuracy[10.0] and accuracy[2.0] > accuracy[40.0]


def test_settings_that_it_cannot_learn_with(bare_data: Path, codec_run: Path, tmp_path: Path) -> None:
    job = options(bare_data, tmp_path / "x")
    with pytest.raises(TrainingError, match="214 radicals"):
        settings = tmp_path / "few.toml"
        settings.write_text("[network]\nclasses = 3", encoding="utf-8")
        finish(train(replace(job, config=settings)))
    with pytest.raises(TrainingError, match="pixels"):
        finish(train(replace(job, codec=codec_run)))
    with pytest.raises(UsageError, match="--encoder"):
        finish(train(replace(job, encoder="bundled")))
    with pytest.raises(TrainingError, match=r"training.evaluate"):
        settings.write_text("[training]\nevaluate = true", encoding="utf-8")
        finish(train(replace(job, config=settings)))


# The command ---------------------------------------------------------------------------------------------------------


def test_it_trains_without_embeddings_and_tells_its_accuracy(run: Path, bare_data: Path, tmp_path: Path) -> None:
    assert not (bare_data / "embeddings.safetensors").exists()
    card = (run / "README.md").read_text(encoding="utf-8")
    assert "| accuracy at σ | held-out characters whose radical is named |" in card
    assert f"--classifier {run}" in card
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    shares = next(row["validation"] for row in reversed(rows) if "validation" in row)
    assert [float(sigma) for sigma in shares] == list(VALIDATION_SIGMAS)
    assert all(0 <= share <= 1 for share in shares.values())
    assert load_model(run).network.classifies
    assert "[network]" in show_settings(options(bare_data, tmp_path / "x"))
    assert 'kind = "classifier"' in show_settings(options(bare_data, tmp_path / "x"))


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(run: Path, bare_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    stop_at_checkpoint(train(options(bare_data, out)))
    finish(train(options(bare_data, out)))
    assert load_model(out).identity == load_model(run).identity


def test_it_learns_at_levels_of_the_table_that_settings_give(bare_data: Path, tmp_path: Path) -> None:
    job = options(bare_data, tmp_path / "run", 16)
    assert job.config is not None and job.out is not None
    table = '[diffusion]\nschedule = "entropic"\nsigma = [0.1, 1, 30]\ninformation = [0, 3, 4]\n'
    job.config.write_text(SETTINGS + table, encoding="utf-8")
    finish(train(job))
    assert load_model(job.out).schedule.sigmas[[0, -1]].tolist() == pytest.approx([0.1, 30])


def test_a_run_starts_from_another(run: Path, bare_data: Path, tmp_path: Path) -> None:
    events, report = follow(train(options(bare_data, tmp_path / "run", 16, config=None, start=run)))
    assert report is not None and of_kind(events, "weights-loaded") and "encoder-changed" not in cautions(events)


def test_a_classifier_is_no_model_that_draws(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="--classifier"):
        load_any(run)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run, tmp_path / "runs" / "classifier")
    path, _ = finish(find_model(None))
    assert path.name == "model.safetensors" and path.parent.name == "pretrained"
