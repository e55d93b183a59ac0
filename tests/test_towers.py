"""What trained towers are good for: retrieval, judging pictures, encoding texts."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor

from glyffctl.core.data.embeddings import load_embeddings
from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.data.split import held_out
from glyffctl.core.device import CPU
from glyffctl.core.errors import EmbeddingError, ModelError
from glyffctl.core.evaluation.prompts import Prompt
from glyffctl.core.evaluation.retrieval import prompt_ranks, radical_ranks
from glyffctl.core.models.checkpoint import load_model, save_model
from glyffctl.core.models.files import EncoderInfo
from glyffctl.core.models.recipe import Recipe
from glyffctl.core.models.text_tower import open_encoder
from glyffctl.core.networks.contrastive import Contrastive
from glyffctl.workflows.embed import EmbedOptions, embed
from glyffctl.workflows.evaluate import EvaluateOptions, evaluate
from glyffctl.workflows.evaluate_towers import tower_rows
from glyffctl.workflows.events import finish
from glyffctl.workflows.models import load_any
from glyffctl.workflows.retrieval import RetrievalOptions, not_learned, one_of_each, retrieval
from glyffctl.workflows.towers import load_towers, towers_path
from glyffctl.workflows.train import TrainOptions, train
from tests.command_line import app
from tests.conftest import Workshop, follow, of_kind
from tests.pretended_gpu import pretended_gpu
from tests.stand_ins import make_t5

# Retrieval -----------------------------------------------------------------------------------------------------------


def measure(towers_run: Path, workshop: Workshop, tmp_path: Path, **more: Any) -> dict[str, dict[str, Any]]:
    report = finish(
        retrieval(RetrievalOptions(model=towers_run, data=workshop.data, out=tmp_path / "out.json", **more))
    )
    written = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert [row["name"] for row in written["figures"]] == [row.name for row in report.figures]
    return {row.name: row.of for row in report.figures}


def test_retrieval_is_measured_both_ways_beside_shuffled_pairs(
    towers_run: Path, workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from glyffctl.workflows import retrieval as module

    monkeypatch.setattr(module, "held_out", lambda glyphs, _: torch.ones(len(glyphs), dtype=torch.bool))
    rows = measure(towers_run, workshop, tmp_path)
    assert list(rows) == ["top 1", "top 5", "top 10", "rank", "new 10"]
    assert rows["new 10"] == rows["top 10"]  # where all glyphs count as held out
    count = len(open_glyphs(workshop.data))
    for name, of in rows.items():
        assert list(of) == ["glyph → text", "text → glyph", "shuffled"]
        assert all(figure.low <= figure.value <= figure.high for figure in of.values()), name
    assert rows["rank"]["glyph → text"].count == count
    assert abs(rows["rank"]["shuffled"].value - count / 2) < count / 4
    with pretended_gpu(monkeypatch):
        there = measure(towers_run, workshop, tmp_path, device="cuda")
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
    towers_run: Path, workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("glyffctl.workflows.retrieval.HOLDOUT", 0.2)
    line = [*("evaluate", "--model", str(towers_run), "--data", str(workshop.data)), "--out", str(tmp_path / "x.json")]
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


def test_pictures_that_are_the_glyphs_fit_their_definitions_as_the_glyphs_do(
    towers_run: Path, workshop: Workshop
) -> None:
    towers = finish(load_towers(towers_run, CPU))
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
    towers_run: Path, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    glyphs = open_glyphs(workshop.data)
    pictures = glyphs.images(torch.arange(3))[:, 0]
    towers = finish(load_towers(towers_run, CPU))
    here = finish(towers.pictures(pictures))
    assert here.shape == (3, 16)
    torch.testing.assert_close(finish(towers.glyphs(glyphs, torch.arange(3))), here)
    twice = pictures.repeat_interleave(2, 1).repeat_interleave(2, 2)
    assert float((finish(towers.pictures(twice)) * here).sum(1).min()) > 0.95
    words = towers.texts(["one", "two"])
    with pretended_gpu(monkeypatch):
        there = finish(load_towers(towers_run, torch.device("cuda", 0)))
        torch.testing.assert_close(finish(there.pictures(pictures)), here, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(there.texts(["one", "two"]), words, rtol=1e-3, atol=1e-3)


@pytest.mark.thorough
def test_evaluate_measures_a_model_by_towers(
    towers_run: Path, tiny_run: Path, workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("glyffctl.workflows.evaluate.HOLDOUT", 0.5)
    wanted = EvaluateOptions(
        data=workshop.data,
        model=tiny_run,
        contrastive=towers_run,
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
    assert plain["contrastive"] == {"path": str(towers_run), "weights": load_model(towers_run).identity}


def test_what_is_no_pair_of_towers(tiny_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="--preset contrastive"):
        finish(load_towers(tiny_run, CPU))
    with pytest.raises(ModelError, match="no contrastive towers at"):
        towers_path(tmp_path / "nowhere")


def test_towers_that_come_with_the_program_are_taken_unless_others_are_named(
    towers_run: Path, workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("glyffctl.workflows.towers.pretrained", lambda name: tmp_path / name)
    assert towers_path(None) is None
    with pytest.raises(ModelError, match="--preset contrastive"):
        towers_path(Path("bundled"))
    file = tmp_path / "contrastive.safetensors"
    save_model(file, load_model(towers_run), torch.float16)
    assert towers_path(None) == towers_path(Path("bundled")) == file
    assert towers_path(towers_run) == towers_run
    pictures = open_glyphs(workshop.data).images(torch.arange(4))[:, 0]
    ours, theirs = (finish(finish(load_towers(path, CPU)).pictures(pictures)) for path in (towers_run, file))
    torch.testing.assert_close(theirs, ours, atol=5e-3, rtol=0)


# The text tower as an encoder ----------------------------------------------------------------------------------------


def test_its_text_tower_is_an_encoder(towers_run: Path, workshop: Workshop, tmp_path: Path) -> None:
    encoder = open_encoder(towers_run)
    model = load_model(towers_run)
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
    assert open_encoder(towers_run / "model.safetensors").fingerprint == encoder.fingerprint


@pytest.mark.thorough
def test_a_model_is_conditioned_on_the_text_tower(
    towers_run: Path, workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out = tmp_path / "data", tmp_path / "model"
    shutil.copytree(workshop.data, data)
    report = finish(embed(EmbedOptions(data=data, encoder=str(towers_run))))
    assert report.width == 16 and not report.reused
    finish(train(TrainOptions(data=data, config=workshop.config, gpus=0, out=out, overrides={"images": 8})))
    model = load_any(out)
    assert model.text_width == 16 and Path(model.encoder.name) == towers_run.absolute()
    assert finish(embed(EmbedOptions(data=data, encoder=str(towers_run)))).reused
    here = load_embeddings(data, open_glyphs(data).captions)
    with pretended_gpu(monkeypatch):
        (data / "embeddings.safetensors").unlink()
        finish(embed(EmbedOptions(data=data, encoder=str(towers_run), device="cuda")))
    there = load_embeddings(data, open_glyphs(data).captions)
    assert there.fingerprint == here.fingerprint
    torch.testing.assert_close(there.tokens, here.tokens, atol=5e-3, rtol=5e-3)


def test_an_encoder_that_has_changed_is_named(towers_run: Path, tmp_path: Path, workshop: Workshop) -> None:
    model = load_model(towers_run)
    known = model.encoder
    assert Path(known.name) == workshop.encoder
    others = make_t5(tmp_path / "t5", width=16)
    origin = replace(model.origin, encoder=EncoderInfo(str(others), known.fingerprint, known.max_tokens))
    save_model(tmp_path / "model.safetensors", replace(model, origin=origin))
    with pytest.raises(EmbeddingError, match="another text encoder"):
        open_encoder(tmp_path / "model.safetensors")


def test_towers_in_the_place_of_those_they_were_trained_with_are_told(towers_run: Path, tmp_path: Path) -> None:
    """`embed --encoder runs/contrastive`, then towers are trained anew in that folder: they were opened without end."""
    model = load_model(towers_run)
    trained_with = EncoderInfo(str(tmp_path), open_encoder(towers_run).fingerprint, model.encoder.max_tokens)
    save_model(tmp_path / "model.safetensors", replace(model, origin=replace(model.origin, encoder=trained_with)))
    with pytest.raises(EmbeddingError, match="another text encoder"):
        open_encoder(tmp_path)
