"""Commands on a GPU that is pretended: no tensor of the CPU gets mixed in, and the pictures are the CPU's."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from glyffctl.core.data.embeddings import FILE_NAME, load_embeddings
from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.device import choose_device
from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.evaluation.classifier import load_classifier, predict
from glyffctl.core.io.bundled import BUNDLED
from glyffctl.core.models.checkpoint import MODEL_FILE, load_model
from glyffctl.core.models.recipe import FEW_STEP, Recipe
from glyffctl.core.text.encoder import PretrainedEncoder
from glyffctl.workflows import embed as embedding
from glyffctl.workflows.embed import EmbedOptions, embed
from glyffctl.workflows.events import finish
from glyffctl.workflows.noise_model import load_prompted_model
from glyffctl.workflows.sample import sample
from glyffctl.workflows.sample_options import SampleOptions
from glyffctl.workflows.train import TrainOptions, train
from glyffctl.workflows.umap_pictures import trace_sampling
from tests.conftest import Workshop
from tests.pretended_gpu import no_waiting, pretended_gpu
from tests.students import make_toy
from tests.test_training import make_trainer

GPUS = ["cuda", pytest.param("mps", marks=pytest.mark.slow)]


@pytest.mark.parametrize("kind", GPUS)
def test_the_pretended_gpu_is_as_strict_as_a_real_one(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pretended_gpu(monkeypatch, kind) as waits:
        device = torch.device(kind, 0) if kind == "cuda" else torch.device(kind)
        x = torch.ones(3, 4).to(device)
        assert x.device == device and (x @ x.T).device == device and (x + 1).device == device
        assert torch.zeros(2, device=device).device == device and torch.zeros_like(x).device == device
        assert x.cpu().device.type == "cpu" and x.cpu().numpy().sum() == 12
        with pytest.raises(TypeError, match="numpy"):
            x.numpy()
        with pytest.raises(RuntimeError, match="same device"):
            x + torch.ones(4)
        with pytest.raises(RuntimeError, match="same device"):
            torch.ones(3)[torch.zeros(2, dtype=torch.int64, device=device)]
        with pytest.raises(RuntimeError, match="generator"):
            torch.randn(3, device=device, generator=torch.Generator())
        assert (x * torch.tensor(2.0))[torch.tensor([0])].device == device  # scalars and indices may mix
        waits.clear()
        assert float(x.sum()) == 12 and dict(waits) == {"__float__": 1}
        with no_waiting(), pytest.raises(AssertionError, match="waits"):
            x.sum().item()
        layer = nn.Linear(4, 2).to(device)
        layer(x).sum().backward()
        assert layer.weight.grad is not None and layer.weight.grad.device == device
        if kind == "mps":
            with pytest.raises(TypeError, match="float64"):
                x.double()


@pytest.mark.parametrize("kind", GPUS)
def test_embedding_gives_the_vectors_of_the_cpu(
    kind: str, workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding, "GPU_BATCH_TOKENS", embedding.BATCH_TOKENS)  # sums depend on the sizes of products
    for encoder in (BUNDLED, str(workshop.encoder)):
        here, there = (shutil.copytree(workshop.data, tmp_path / name, dirs_exist_ok=True) for name in ("a", "b"))
        finish(embed(EmbedOptions(here, encoder, device="cpu")))
        with pretended_gpu(monkeypatch, kind):
            finish(embed(EmbedOptions(there, encoder, device=kind)))
        captions = open_glyphs(here).captions
        ours, theirs = load_embeddings(here, captions), load_embeddings(there, captions)
        assert ours.fingerprint == theirs.fingerprint
        assert torch.equal(ours.tokens, theirs.tokens) and torch.equal(ours.offsets, theirs.offsets)


@pytest.mark.thorough
def test_embedding_does_not_wait_for_each_batch(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []
    batches: list[int] = []
    tokens: list[torch.Tensor] = []
    folder = Path(shutil.copytree(workshop.data, tmp_path / "data"))
    captions = open_glyphs(folder).captions
    _encode_ids = PretrainedEncoder.encode_ids

    def counted(self: PretrainedEncoder, ids: list[list[int]]) -> Condition:
        assert torch.backends.cuda.matmul.allow_tf32
        batches[-1] += 1
        return _encode_ids(self, ids)

    monkeypatch.setattr(PretrainedEncoder, "encode_ids", counted)
    for size, held in ((1 << 15, 1 << 28), (20, 1 << 28), (20, 0)):
        monkeypatch.setattr(embedding, "GPU_BATCH_TOKENS", size)
        monkeypatch.setattr(embedding, "GPU_HELD_BYTES", held)
        (folder / FILE_NAME).unlink(missing_ok=True)
        batches.append(0)
        with pretended_gpu(monkeypatch) as waits:
            finish(embed(EmbedOptions(folder, BUNDLED, device="cuda")))
        counts.append(sum(waits.values()))
        tokens.append(load_embeddings(folder, captions).tokens)
    assert not torch.backends.cuda.matmul.allow_tf32
    assert batches[0] == 1 and batches[1] == batches[2] > 5
    assert counts[0] == counts[1] and counts[2] == counts[1] + batches[2] - 1
    for others in tokens[1:]:
        torch.testing.assert_close(others, tokens[0], atol=2e-3, rtol=2e-3)


SMALL = """
[network]
patch = 8
channels = [16, 32]
blocks = 1
attention = [1]
head_width = 16
context_width = 16

[training]
images = 24
batch = 8
optimizer = "muon"
precision = "fp32"
holdout = 0.1
checkpoint_every = 16
"""


@pytest.mark.thorough
@pytest.mark.parametrize("kind", GPUS)
def test_training_learns_what_the_cpu_learns(
    kind: str, workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "small.toml"
    config.write_text(SMALL + ("evaluate = true\n" if kind == "cuda" else ""), encoding="utf-8")
    options = TrainOptions(data=workshop.data, config=config, device="cpu", preset="cpu", out=tmp_path / "cpu")
    finish(train(options))
    there = replace(options, device=kind, out=tmp_path / "gpu")
    with pretended_gpu(monkeypatch, kind):
        finish(train(replace(there, overrides={"images": 16})))
        finish(train(there))  # resumes
    ours, theirs = load_model(tmp_path / "cpu"), load_model(tmp_path / "gpu")
    assert ours.images == theirs.images == 24
    weights = dict(ours.network.named_parameters())
    for name, weight in theirs.network.named_parameters():
        torch.testing.assert_close(weight, weights[name], atol=2e-3, rtol=0, msg=name)


@pytest.mark.thorough
def test_no_step_waits_for_the_gpu(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    with pretended_gpu(monkeypatch):
        trainer = make_trainer(workshop, torch.device("cuda", 0))
        trainer.step(0.1)  # brings the pictures over
        with no_waiting():
            for _ in range(3):
                trainer.step(0.1)
        assert trainer.finite


def assert_same_picture(one: Path, other: Path) -> None:
    """But for rounding: linear layers are not convolutions there."""
    first, second = (np.asarray(Image.open(path)).astype(int) for path in (one, other))
    assert first.shape == second.shape and first.std() > 1
    assert np.abs(first - second).max() <= 2


@pytest.mark.parametrize("kind", GPUS)
@pytest.mark.parametrize("sampler", ["dpmpp-2m", "dpmpp-sde"])
def test_drawing_gives_the_pictures_of_the_cpu(
    kind: str, sampler: str, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = SampleOptions(
        prompts=("one", ""),
        negative="two",
        count=2,
        recipe=Recipe(steps=4, sampler=sampler),
        model=tiny_run,
        precision="fp32",
        device="cpu",
        out=tmp_path / "cpu.png",
    )
    finish(sample(options))
    with pretended_gpu(monkeypatch, kind):
        finish(sample(replace(options, device=kind, out=tmp_path / "gpu.png", gif=tmp_path / "gpu.gif")))
    assert_same_picture(tmp_path / "cpu.png", tmp_path / "gpu.png")


@pytest.mark.parametrize("kind", GPUS)
def test_a_student_draws_on_a_gpu(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = SampleOptions(
        prompts=("",),
        count=2,
        recipe=Recipe(steps=2, sampler=FEW_STEP),
        model=make_toy(tmp_path) / MODEL_FILE,
        precision="fp32",
        device="cpu",
        out=tmp_path / "cpu.png",
    )
    finish(sample(options))
    with pretended_gpu(monkeypatch, kind):
        finish(sample(replace(options, device=kind, out=tmp_path / "gpu.png")))
    assert_same_picture(tmp_path / "cpu.png", tmp_path / "gpu.png")


@pytest.mark.parametrize("kind", GPUS)
def test_a_model_of_diffusers_draws_on_a_gpu(
    kind: str, pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = SampleOptions(
        prompts=("one",),
        count=2,
        recipe=Recipe(steps=3),
        model=pipeline,
        precision="fp32",
        out=tmp_path / "cpu.png",
        device="cpu",
    )
    finish(sample(options))
    with pretended_gpu(monkeypatch, kind):
        finish(sample(replace(options, device=kind, out=tmp_path / "gpu.png")))
    assert_same_picture(tmp_path / "cpu.png", tmp_path / "gpu.png")


@pytest.mark.thorough
@pytest.mark.parametrize("kind", GPUS)
def test_figures_about_a_model_on_a_gpu(
    kind: str, workshop: Workshop, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What else draws: traces through the map, figures of noise-demo, the classifier."""
    classifier, _ = load_classifier()
    glyphs = open_glyphs(workshop.data)
    with pretended_gpu(monkeypatch, kind):
        device = choose_device(kind)
        finish(trace_sampling("one", tiny_run, None, 0, 32, device))
        model = finish(load_prompted_model(tiny_run, None, "one", 0, device))
        denoise = model.denoiser_without_prompt()
        assert denoise is not None
        guess = denoise(torch.randn(2, 1, 32, 32), torch.ones(2, dtype=torch.float64))
        assert guess.device.type == "cpu"
        there = predict(classifier.to(device), [glyphs.images(torch.arange(8))])
    here = predict(load_classifier()[0], [glyphs.images(torch.arange(8))])
    torch.testing.assert_close(there.features, here.features, atol=1e-4, rtol=0)
    assert torch.equal(there.radical, here.radical)
