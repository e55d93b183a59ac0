"""Contrastive towers: their network and losses, what they learn, and `train --preset contrastive`."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from glyffctl.core.data.caption_table import CaptionTable, fit
from glyffctl.core.data.embeddings import load_embeddings
from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.device import CPU
from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.errors import ModelError, TrainingError, UsageError
from glyffctl.core.models.checkpoint import load_model
from glyffctl.core.models.config import fit_to_data, merge, read_preset
from glyffctl.core.networks.contrastive import Contrastive, ContrastiveConfig, ranks
from glyffctl.core.networks.network import parameter_count
from glyffctl.core.training.contrasting import FIRST, sigmoid_loss, softmax_loss
from glyffctl.core.training.trainer import Trainer
from glyffctl.workflows.events import finish
from glyffctl.workflows.find_model import find_model
from glyffctl.workflows.models import load_any
from glyffctl.workflows.train import TrainOptions, train
from tests.conftest import TINY_TOWERS, Workshop, cautions, follow, of_kind
from tests.pretended_gpu import no_waiting, pretended_gpu
from tests.toys import captions, eps


def options(data: Path, out: Path, images: int = 32, loss: str = "softmax", **more: Any) -> TrainOptions:
    settings = out.with_suffix(".toml")
    settings.write_text(TINY_TOWERS.replace("softmax", loss), encoding="utf-8")
    wanted = TrainOptions(
        data=data, out=out, gpus=0, preset="contrastive", config=settings, overrides={"images": images}
    )
    return replace(wanted, **more)


def network(**sizes: Any) -> Contrastive:
    torch.manual_seed(0)
    small: dict[str, Any] = {"patch": 2, "channels": (8, 16), "text_channels": 16, "head_width": 8, "text_width": 6}
    built = Contrastive(ContrastiveConfig(**{"size": 16, **small, **sizes})).eval()
    for parameter in built.requires_grad_(False).parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))  # some are 0 at first
    return built


def texts(count: int = 3) -> Condition:
    text = captions(count, 6)
    return Condition(text.tokens.float() * text.mask[..., None], text.mask)


# The network ---------------------------------------------------------------------------------------------------------


def test_every_row_has_a_unit_vector_of_its_own() -> None:
    built, x, text = network(), eps(3, 1, 16, 16).float(), texts()
    pictures, words = built.pictures(x), built.texts(text)
    assert pictures.shape == words.shape == (3, 128)
    for vectors in (pictures, words):
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))
    alone = torch.cat([built.texts(text.rows(torch.tensor([i]))) for i in range(3)])
    torch.testing.assert_close(alone, words, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(torch.cat([built.pictures(x[i : i + 1]) for i in range(3)]), pictures)
    torch.testing.assert_close(built(x, text), pictures @ words.mT * built.log_scale.exp())


def test_padding_changes_nothing_and_the_order_of_tokens_counts() -> None:
    built, text = network(), texts(1)
    mask = torch.ones_like(text.mask)
    full = Condition(eps(1, mask.shape[1], 6).float(), mask)
    longer = Condition(
        torch.cat([full.tokens, torch.zeros(1, 3, 6)], 1), torch.cat([full.mask, torch.zeros(1, 3).bool()], 1)
    )
    torch.testing.assert_close(built.texts(longer), built.texts(full), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(built.texts(full._replace(tokens=full.tokens.flip(1))), built.texts(full), atol=1e-3)


def test_no_caption_has_a_vector_too() -> None:
    assert bool(network().texts(Condition.none(2, 6)).isfinite().all())


def test_it_runs_in_bfloat16() -> None:
    built, x = network(), eps(3, 1, 16, 16).float()
    exact = built(x, texts())
    with torch.autocast("cpu", torch.bfloat16):
        pictures, words = built.pictures(x), built.texts(texts())
    assert pictures.dtype == words.dtype == torch.float32
    assert float((built.logits(pictures, words) - exact).norm() / exact.norm()) < 0.1


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_gradients_reach_every_parameter(loss: str) -> None:
    built = network(loss=loss, dropout=0.0).requires_grad_(True).train()
    condition = texts()
    condition.mask[0] = False
    built(eps(3, 1, 16, 16).float(), condition).square().mean().backward()
    assert not [name for name, parameter in built.named_parameters() if parameter.grad is None]


def test_only_the_sigmoid_has_a_bias_and_the_scale_is_bounded() -> None:
    assert network().bias is None and network(loss="sigmoid").bias is not None
    built = network()
    built.log_scale.fill_(50.0)
    assert float(built.logits(torch.eye(2), torch.eye(2)).max()) == pytest.approx(100.0)


@pytest.mark.parametrize(
    "sizes",
    [
        *({"embedding": 0}, {"channels": (7,)}, {"channels": ()}, {"patch": 3}, {"dropout": 1.0}, {"blocks": 99}),
        *({"text_channels": 20, "head_width": 8}, {"text_blocks": -1}, {"text_channels": 1 << 20}),
    ],
)
def test_sizes_that_cannot_be_built(sizes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="network"):
        ContrastiveConfig(**{"size": 16, **sizes})


def test_the_preset_fits_into_three_megabytes() -> None:
    config = fit_to_data(merge(read_preset("contrastive")), 128, 256).network
    assert isinstance(config, ContrastiveConfig)
    assert parameter_count(Contrastive(config)) * 2 < 3e6


# The losses ----------------------------------------------------------------------------------------------------------


def test_losses_of_vectors_at_right_angles_have_a_closed_form() -> None:
    """B pairs whose vectors are those of a basis: t on the diagonal, 0 elsewhere."""
    count, scale, bias = 7, 3.0, -2.0
    right = torch.eye(count).bool()
    logits = scale * torch.eye(count, dtype=torch.float64)
    expected = math.log(math.exp(scale) + count - 1) - scale
    torch.testing.assert_close(softmax_loss(logits, right), torch.full((count,), expected, dtype=torch.float64))
    expected = math.log1p(math.exp(-scale - bias)) + (count - 1) * math.log1p(math.exp(bias))
    torch.testing.assert_close(sigmoid_loss(logits + bias, right), torch.full((count,), expected, dtype=torch.float64))


def test_losses_of_logits_that_are_all_alike() -> None:
    right, zeros = torch.eye(5).bool(), torch.zeros(5, 5)
    torch.testing.assert_close(softmax_loss(zeros, right), torch.full((5,), math.log(5)))
    torch.testing.assert_close(sigmoid_loss(zeros, right), torch.full((5,), 5 * math.log(2)))


def test_the_softmax_is_the_cross_entropy_of_both_directions() -> None:
    logits, place = eps(6, 6), torch.arange(6)
    expected = (F.cross_entropy(logits, place) + F.cross_entropy(logits.mT, place)) / 2
    torch.testing.assert_close(softmax_loss(logits, torch.eye(6).bool()).mean(), expected)


def test_shared_captions_share_the_target() -> None:
    """Two glyphs with one caption: the loss is least, and its gradient 0, where both are as likely."""
    right = torch.tensor([[True, True, False], [True, True, False], [False, False, True]])
    logits = torch.where(right, 40.0, 0.0).double().requires_grad_()
    loss = softmax_loss(logits, right)
    least = torch.tensor([math.log(2), math.log(2), 0.0], dtype=torch.float64)
    torch.testing.assert_close(loss, least, atol=1e-9, rtol=0)
    loss.sum().backward()
    assert logits.grad is not None and float(logits.grad.abs().max()) < 1e-9
    assert float(sigmoid_loss(torch.where(right, 30.0, -30.0), right).max()) < 1e-9


def test_which_captions_are_right() -> None:
    table = CaptionTable(torch.tensor([0, 1, 2, 1, 3]), torch.tensor([0, 3, 5]))
    own = table.padded()
    assert own.tolist() == [[0, 1, 2], [1, 3, -1]]
    assert fit(own, torch.tensor([1, 0, 3])).tolist() == [[True, True, False], [True, False, True]]


def test_ranks_count_what_is_better_and_half_of_what_is_as_good() -> None:
    scores = torch.tensor([[3.0, 2.0, 1.0], [1.0, 2.0, 2.0], [0.0, 0.0, 0.0], [1.0, 3.0, 2.0]])
    right = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 1]]).bool()
    assert ranks(scores, right).tolist() == [1.0, 1.5, 2.0, 2.0]


# What it learns ------------------------------------------------------------------------------------------------------


def trainer(workshop: Workshop, loss: str = "softmax", device: torch.device = CPU, **training: Any) -> Trainer:
    glyphs = open_glyphs(workshop.data)
    small = {"loss": loss, "patch": 4, "channels": [16, 32], "text_channels": 32, "dropout": 0.0}
    sections = merge(read_preset("contrastive"), {"network": small})
    sections["training"] |= {"batch": 16, "warmup": 0, "precision": "fp32", "holdout": 0.2, **training}
    embeddings = load_embeddings(workshop.data, glyphs.captions)
    return Trainer(fit_to_data(sections, glyphs.size, embeddings.width), glyphs, embeddings, device)


@pytest.mark.thorough
@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_it_learns_pairs_by_heart(workshop: Workshop, loss: str) -> None:
    made = trainer(workshop, loss, learning_rate=3e-3, ema_decay=0.9)
    objective = made.objective
    objective.train_index = objective.validation_index = objective.train_index[:16]
    objective.epoch_size = 16
    steps = 300
    losses = [float(made.step(step / steps).loss) for step in range(steps)]
    assert sum(losses[-10:]) < sum(losses[:10])
    found = finish(objective.validate(made.ema.network, None))
    assert tuple(found) == FIRST
    assert found[10.0] >= found[5.0] > 0.7 and found[5.0] >= found[1.0]  # by chance a third


def test_settings_that_it_cannot_learn_with(workshop: Workshop, codec_run: Path, tmp_path: Path) -> None:
    job = options(workshop.data, tmp_path / "x")
    assert job.config is not None
    with pytest.raises(TrainingError, match="pixels"):
        finish(train(replace(job, codec=codec_run)))
    for line, word in (("evaluate = true", r"training.evaluate"), ("batch = 1", r"training.batch")):
        job.config.write_text(f"[training]\n{line}", encoding="utf-8")
        with pytest.raises(TrainingError, match=word):
            finish(train(job))


def test_no_step_waits_for_the_gpu_and_it_learns_what_the_cpu_does(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = trainer(workshop)
    losses = [float(here.step(0.1).loss) for _ in range(4)]
    with pretended_gpu(monkeypatch):
        there = trainer(workshop, device=torch.device("cuda", 0))
        found = [there.step(0.1).loss]  # brings the pictures over
        with no_waiting():
            found += [there.step(0.1).loss for _ in range(3)]
        assert there.finite
        assert [float(loss) for loss in found] == pytest.approx(losses, rel=1e-3)
        measured = finish(there.objective.validate(there.ema.network, None))
    assert tuple(measured) == FIRST


# The commands --------------------------------------------------------------------------------------------------------


def test_it_trains_and_tells_what_it_finds(towers_run: Path) -> None:
    card = (towers_run / "README.md").read_text(encoding="utf-8")
    assert "| among the first | held-out glyphs whose definition is found |" in card
    rows = [json.loads(line) for line in (towers_run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    shares = next(row["validation"] for row in reversed(rows) if "validation" in row)
    assert [float(k) for k in shares] == list(FIRST)
    assert load_model(towers_run).network.compares


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(loss: str, workshop: Workshop, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "run"
    finish(train(options(workshop.data, whole, loss=loss)))
    for event in train(options(workshop.data, out, loss=loss)):  # leave after a checkpoint, as a killed process would
        if of_kind([event], "checkpoint"):
            break
    finish(train(options(workshop.data, out, loss=loss)))
    assert load_model(out).identity == load_model(whole).identity


def test_nothing_is_said_about_drawing(workshop: Workshop, tmp_path: Path) -> None:
    events, _ = follow(train(options(workshop.data, tmp_path / "run", 16)))
    assert not {"captions-always-used", "brightness-left", "noise-level-far"} & set(cautions(events))


def test_towers_are_no_model_that_draws(towers_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="--contrastive"):
        load_any(towers_run)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(towers_run, tmp_path / "runs" / "contrastive")
    path, _ = finish(find_model(None))
    assert path.parent.name == "pretrained"
