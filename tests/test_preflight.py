"""What `train` says before the first step, and what it holds the error against."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from glyffctl.core.data.embeddings import Embeddings
from glyffctl.core.networks.unet import UNetConfig
from glyffctl.core.training import learning_curve
from glyffctl.core.training.learning_curve import Reference, reference
from glyffctl.core.training.trainer import Trainer
from glyffctl.workflows.events import Note
from glyffctl.workflows.forecast import duration
from glyffctl.workflows.preflight import preflight
from tests.conftest import Workshop, cautions, of_kind
from tests.test_training import make_trainer


@pytest.fixture
def trainer(workshop: Workshop) -> Trainer:
    made = make_trainer(workshop)
    made.config = replace(made.config, diffusion=replace(made.config.diffusion, level_mean=-0.6))
    return made


def test_what_is_right_is_passed_over_and_the_average_is_told(trainer: Trainer) -> None:
    [note] = preflight(trainer)
    assert isinstance(note, Note) and note.kind == "weight-averaging"
    assert note.facts == {"steps": 1000, "images": 8000}


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({"caption_dropout": 0.0}, "captions-always-used"),
        ({"caption_dropout": 0.9}, "captions-rarely-used"),
        ({"level_mean": 0.8}, "noise-level-far"),
        ({"schedule": "linear"}, None),
        ({"prediction": "v"}, None),
    ],
)
def test_settings_that_are_off_are_named(trainer: Trainer, settings: dict[str, object], kind: str | None) -> None:
    trainer.config = replace(trainer.config, diffusion=replace(trainer.config.diffusion, **settings))  # type: ignore[arg-type]
    assert cautions(preflight(trainer)) == ([] if kind is None else [kind])


def test_noise_that_cannot_pass_the_network(trainer: Trainer) -> None:
    assert isinstance(trainer.config.network, UNetConfig)
    network = replace(trainer.config.network, patch=8)
    trainer.config = replace(
        trainer.config, network=network, diffusion=replace(trainer.config.diffusion, prediction="eps")
    )
    assert cautions(preflight(trainer)) == ["network-unsuitable"]
    trainer.config = replace(trainer.config, diffusion=replace(trainer.config.diffusion, prediction="x0"))
    assert cautions(preflight(trainer)) == []


def test_dark_and_faint_pictures(trainer: Trainer) -> None:
    for moments, kind in (((-0.6, 0.7), "pictures-dark"), ((0.9, 0.02), "pictures-faint")):
        trainer.objective.data.glyphs = replace(trainer.objective.data.glyphs, moments=moments)
        assert kind in cautions(preflight(trainer))


def test_captions_that_the_encoder_does_not_tell_apart(trainer: Trainer) -> None:
    lengths = torch.ones(10, dtype=torch.int64)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
    for tokens, alike in ((torch.randn(10, 4).half(), False), (torch.ones(10, 4).half(), True)):
        trainer.objective.data.embeddings = Embeddings("stand-in", "", 64, "", tokens, offsets)
        shares = [event.facts["share"] for event in of_kind(preflight(trainer), "embeddings-alike")]
        assert shares == ([1.0] if alike else [])


# What is normal -----------------------------------------------------------------------------------------------------

CURVES = [
    {"recipe": "slow", "batch": 32, "points": [{"images": n, "error": {"1.0": 100 / n}} for n in (100, 10_000)]},
    {"recipe": "fast", "batch": 512, "points": [{"images": n, "error": {"1.0": 50 / n}} for n in (100, 10_000)]},
]


@pytest.fixture
def curves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / learning_curve.FILE_NAME).write_text(json.dumps(CURVES))
    monkeypatch.setattr(learning_curve, "pretrained", lambda name: tmp_path / name)


@pytest.mark.usefixtures("curves")
def test_between_its_points_the_error_is_a_power_of_the_pictures() -> None:
    found = reference(128, 48, 1000)
    assert found is not None and found.recipe == "slow" and found.error[1.0] == pytest.approx(0.1)
    found = reference(128, 400, 1000)
    assert found is not None and found.recipe == "fast" and found.error[1.0] == pytest.approx(0.05)
    assert reference(128, 32, 99) is None and reference(128, 32, 10_001) is None and reference(64, 32, 1000) is None


@pytest.mark.parametrize(("mine", "word"), [(0.1, "normal"), (0.12, "normal"), (0.14, "slow"), (0.05, "ahead")])
def test_the_verdict(mine: float, word: str) -> None:
    assert Reference("cpu", {1.0: 0.1}).verdict({1.0: mine, 7.0: 3.0}) == f"the cpu recipe had 0.1000 here: {word}"


def test_the_curves_that_ship_fall() -> None:
    for batch in (32, 512):
        curve = [reference(128, batch, images) for images in range(4_000, 1_400_000, 20_000)]
        errors = [sum(found.error.values()) for found in curve if found is not None]
        assert len(errors) > 1 and errors == sorted(errors, reverse=True)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.5, "0.5 s"),
        (40, "40 s"),
        (90, "90 s"),
        (101, "1.7 min"),
        (1700, "28 min"),
        (12_600, "3.5 h"),
        (1e6, "12 days"),
    ],
)
def test_spans_of_time_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words
