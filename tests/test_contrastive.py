"""Contrastive towers: their network and losses, what they learn, `train --preset contrastive`, and retrieval."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from typer.testing import CliRunner

from glyffctl.cli import app
from glyffctl.core.data.caption_table import CaptionTable, fit
from glyffctl.core.data.embeddings import load_embeddings
from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.data.split import held_out
from glyffctl.core.device import CPU
from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.errors import EmbeddingError, ModelError, TrainingError, UsageError
from glyffctl.core.evaluation.prompts import Prompt
from glyffctl.core.evaluation.retrieval import prompt_ranks, radical_ranks
from glyffctl.core.models.checkpoint import load_model, save_model
from glyffctl.core.models.config import fit_to_data, merge, read_preset
from glyffctl.core.models.files import EncoderInfo
from glyffctl.core.models.recipe import Recipe
from glyffctl.core.models.text_tower import open_encoder
from glyffctl.core.networks.contrastive import Contrastive, ContrastiveConfig, ranks
from glyffctl.core.networks.network import parameter_count
from glyffctl.core.training.contrasting import FIRST, sigmoid_loss, softmax_loss
from glyffctl.core.training.trainer import Trainer
from glyffctl.workflows.embed import EmbedOptions, embed
from glyffctl.workflows.evaluate import EvaluateOptions, evaluate
from glyffctl.workflows.evaluate_towers import tower_rows
from glyffctl.workflows.events import finish
from glyffctl.workflows.find_model import find_model
from glyffctl.workflows.models import load_any
from glyffctl.workflows.retrieval import RetrievalOptions, not_learned, one_of_each, retrieval
from glyffctl.workflows.towers import load_towers, towers_path
from glyffctl.workflows.train import TrainOptions, train
from tests.conftest import Workshop, cautions, follow, of_kind
from tests.pretended_gpu import no_waiting, pretended_gpu
from tests.stand_ins import make_t5
from tests.toys import captions, eps

SETTINGS = """
[network]
loss = "{loss}"
patch = 4
channels = [8, 16]
embedding = 16
text_channels = 16
head_width = 8
dropout = 0.0

[training]
batch = 8
warmup = 0
precision = "fp32"
holdout = 0.2
ema_decay = 0.5
checkpoint_every = 16
"""


def options(data: Path, out: Path, images: int = 32, loss: str = "softmax", **more: Any) -> TrainOptions:
    settings = out.with_suffix(".toml")
    settings.write_text(SETTINGS.format(loss=loss), encoding="utf-8")
    wanted = TrainOptions(
        data=data, out=out, gpus=0, preset="contrastive", config=settings, overrides={"images": images}
    )
    return replace(wanted, **more)


@pytest.fixture(scope="module")
def run(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("towers") / "run"
    finish(train(options(workshop.data, out)))
    return out


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


def test_it_trains_and_tells_what_it_finds(run: Path) -> None:
    card = (run / "README.md").read_text(encoding="utf-8")
    assert "| among the first | held-out glyphs whose definition is found |" in card
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    shares = next(row["validation"] for row in reversed(rows) if "validation" in row)
    assert [float(k) for k in shares] == list(FIRST)
    assert load_model(run).network.compares


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


def test_towers_are_no_model_that_draws(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="--contrastive"):
        load_any(run)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run, tmp_path / "runs" / "contrastive")
    path, _ = finish(find_model(None))
    assert path.parent.name == "pretrained"


def measure(run: Path, workshop: Workshop, tmp_path: Path, **more: Any) -> dict[str, dict[str, Any]]:
    report = finish(retrieval(RetrievalOptions(model=run, data=workshop.data, out=tmp_path / "out.json", **more)))
    written = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert [row["name"] for row in written["figures"]] == [row.name for row in report.figures]
    return {row.name: row.of for row in report.figures}


def test_retrieval_is_measured_both_ways_beside_shuffled_pairs(
    run: Path, workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from glyffctl.workflows import retrieval as module

    monkeypatch.setattr(module, "held_out", lambda glyphs, _: torch.ones(len(glyphs), dtype=torch.bool))
    rows = measure(run, workshop, tmp_path)
    assert list(rows) == ["top 1", "top 5", "top 10", "rank", "new 10"]
    assert rows["new 10"] == rows["top 10"]  # where all glyphs count as held out
    count = len(open_glyphs(workshop.data))
    for name, of in rows.items():
        assert list(of) == ["glyph → text", "text → glyph", "shuffled"]
        assert all(figure.low <= figure.value <= figure.high for figure in of.values()), name
    assert rows["rank"]["glyph → text"].count == count
    assert abs(rows["rank"]["shuffled"].value - count / 2) < count / 4
    with pretended_gpu(monkeypatch):
        there = measure(run, workshop, tmp_path, device="cuda")
    assert there["rank"]["text → glyph"].value == pytest.approx(rows["rank"]["text → glyph"].value, abs=1)


def test_one_glyph_of_each_character_of_one_font_after_the_other(workshop: Workshop) -> None:
    glyphs = open_glyphs(workshop.data)
    twice = replace(
        glyphs, character_of=glyphs.character_of.repeat(2), font_of=torch.tensor([0, 1]).repeat_interleave(len(glyphs))
    )
    index = one_of_each(twice, torch.ones(len(twice), dtype=torch.bool))
    assert twice.character_of[index].sort().values.tolist() == list(range(len(glyphs.characters)))
    assert abs(int(twice.font_of[index].sum()) - len(index) / 2) <= 1


def test_texts_are_new_unless_a_character_to_learn_from_has_them(workshop: Workshop) -> None:
    glyphs = open_glyphs(workshop.data)
    new, out = not_learned(glyphs, 0.3), held_out(glyphs, 0.3)
    own = glyphs.caption_table.padded()[glyphs.character_of]
    for caption in range(len(glyphs.captions)):
        assert bool(new[caption]) == (not bool((own[~out] == caption).any()))
    assert 0 < int(new.sum()) < len(new)


def test_the_command_measures_towers(
    run: Path, workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("glyffctl.workflows.retrieval.HOLDOUT", 0.2)
    line = [*("evaluate", "--model", str(run), "--data", str(workshop.data)), "--out", str(tmp_path / "x.json")]
    done = CliRunner().invoke(app, line)
    assert done.exit_code == 0, done.output
    assert "glyphs of held-out characters" in done.stdout and "new 10" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    refused = CliRunner().invoke(app, [*line, "--steps", "3"])
    assert refused.exit_code == 2 and "--steps" in refused.output and "towers" in refused.output


# As a judge of pictures ----------------------------------------------------------------------------------------------


def test_ranks_of_prompts_are_averaged_over_their_own_pictures_and_those_of_others() -> None:
    by_prompt = torch.tensor([[[1.0, 3.0], [2.0, 1.0]], [[2.0, 1.0], [2.0, 2.0]]])  # (P, C, P)
    own, others = prompt_ranks(by_prompt)
    assert own.tolist() == [1.5, 1.5] and others.tolist() == [2.0, 2.0]
    prompts = [Prompt("gold", (167,)), Prompt("fish", (195,))]
    found = radical_ranks(by_prompt.flatten(0, 1), torch.tensor([167, 167, 30, 167]), prompts)
    assert found.tolist() == [pytest.approx(5 / 3)]  # no glyph is a fish
    assert len(radical_ranks(by_prompt.flatten(0, 1), torch.tensor([1, 2, 3, 4]), prompts)) == 0


def test_pictures_that_are_the_glyphs_fit_their_definitions_as_the_glyphs_do(run: Path, workshop: Workshop) -> None:
    towers = finish(load_towers(run, CPU))
    glyphs = open_glyphs(workshop.data)
    held = torch.arange(0, len(glyphs), 2)
    prompts = [Prompt("one", (1,)), Prompt("hook", (6,)), Prompt("gold", (167,))]
    pictures = glyphs.images(held)[:, 0]
    rows = {
        row.name: row
        for row in finish(tower_rows(towers, prompts, pictures[:6], pictures, glyphs, held, torch.arange(len(glyphs))))
    }
    drawn = rows["rank of the definition"]
    assert drawn.real is not None and drawn.model == drawn.real and drawn.model.count == len(held)
    asked = rows["rank of the prompt"]
    assert asked.real is not None and 1 <= asked.real.count <= 2  # no glyph of the workshop is of gold
    assert 1 <= asked.model.value <= 3


def test_pictures_of_any_size_and_device_have_vectors(
    run: Path, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    glyphs = open_glyphs(workshop.data)
    pictures = glyphs.images(torch.arange(3))[:, 0]
    towers = finish(load_towers(run, CPU))
    here = finish(towers.pictures(pictures))
    assert here.shape == (3, 16)
    torch.testing.assert_close(finish(towers.glyphs(glyphs, torch.arange(3))), here)
    twice = pictures.repeat_interleave(2, 1).repeat_interleave(2, 2)
    assert float((finish(towers.pictures(twice)) * here).sum(1).min()) > 0.95
    words = towers.texts(["one", "two"])
    with pretended_gpu(monkeypatch):
        there = finish(load_towers(run, torch.device("cuda", 0)))
        torch.testing.assert_close(finish(there.pictures(pictures)), here, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(there.texts(["one", "two"]), words, rtol=1e-3, atol=1e-3)


def test_evaluate_measures_a_model_by_towers(
    run: Path, tiny_run: Path, workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("glyffctl.workflows.evaluate.HOLDOUT", 0.5)
    wanted = EvaluateOptions(
        data=workshop.data,
        model=tiny_run,
        contrastive=run,
        recipe=Recipe(steps=1),
        count=1,
        pictures=16,
        batch=64,
        out=tmp_path / "out.json",
    )
    events, report = follow(evaluate(wanted))
    assert of_kind(events, "towers-chosen")
    rows = {row.name: row for row in report.figures}
    for what, count in (("prompt", 48), ("definition", 16)):
        row = rows[f"rank of the {what}"]
        assert row.model.low <= row.model.value <= row.model.high and row.model.count == count
    assert rows["rank of the definition"].real is not None  # real glyphs with a prompt's radical there may be none
    assert abs(rows["rank of the prompt"].model.value - 24.5) < 10  # a model that has learned nothing
    plain = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert plain["contrastive"] == {"path": str(run), "weights": load_model(run).identity}


def test_what_is_no_pair_of_towers(tiny_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="--preset contrastive"):
        finish(load_towers(tiny_run, CPU))
    with pytest.raises(ModelError, match="no contrastive towers at"):
        towers_path(tmp_path / "nowhere")


# The text tower as an encoder ----------------------------------------------------------------------------------------


def test_its_text_tower_is_an_encoder(run: Path, workshop: Workshop, tmp_path: Path) -> None:
    encoder = open_encoder(run)
    model = load_model(run)
    assert isinstance(model.network, Contrastive)
    below = open_encoder(workshop.encoder)
    words = ["lithium", "", "a kind of fish"]
    found = encoder.encode(words)
    assert encoder.width == 16 and found.tokens.shape[-1] == 16
    assert found.mask.any(1).tolist() == [True, False, True]
    expected: Tensor = model.network.tokens(below.encode(words[2:]))[0]
    torch.testing.assert_close(found.tokens[2:, : expected.shape[1]], expected, rtol=1e-4, atol=1e-5)
    assert not found.tokens[1].any()
    assert encoder.fingerprint not in (below.fingerprint, model.identity)
    assert open_encoder(run / "model.safetensors").fingerprint == encoder.fingerprint


def test_a_model_is_conditioned_on_the_text_tower(run: Path, workshop: Workshop, tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "model"
    shutil.copytree(workshop.data, data)
    report = finish(embed(EmbedOptions(data=data, encoder=str(run))))
    assert report.width == 16 and not report.reused
    finish(train(TrainOptions(data=data, config=workshop.config, gpus=0, out=out, overrides={"images": 8})))
    model = load_any(out)
    assert model.text_width == 16 and Path(model.encoder.name) == run.absolute()
    assert finish(embed(EmbedOptions(data=data, encoder=str(run)))).reused


def test_an_encoder_that_has_changed_is_named(run: Path, tmp_path: Path, workshop: Workshop) -> None:
    model = load_model(run)
    known = model.encoder
    assert Path(known.name) == workshop.encoder
    others = make_t5(tmp_path / "t5", width=16)
    origin = replace(model.origin, encoder=EncoderInfo(str(others), known.fingerprint, known.max_tokens))
    save_model(tmp_path / "model.safetensors", replace(model, origin=origin))
    with pytest.raises(EmbeddingError, match="another text encoder"):
        open_encoder(tmp_path / "model.safetensors")
