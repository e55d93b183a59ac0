"""What draws in one pass: the losses of VAE and GAN against plain restatements, what they learn, and the commands."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from glyffctl.core.data.dataset import GlyphSet
from glyffctl.core.data.embeddings import Embeddings, load_embeddings
from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.device import CPU
from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.errors import TrainingError, UsageError
from glyffctl.core.io.images import near_square, read_settings, sheet
from glyffctl.core.models.checkpoint import load_model, load_state
from glyffctl.core.models.config import Config, fit_to_data, merge, read_preset
from glyffctl.core.models.drawer import Drawer
from glyffctl.core.models.recipe import ONE_PASS, Recipe
from glyffctl.core.networks import generator
from glyffctl.core.networks.network import GENERATORS
from glyffctl.core.training.generating import Adversarial, Generating, Variational, _energy_distance
from glyffctl.core.training.trainer import Trainer
from glyffctl.workflows.events import finish
from glyffctl.workflows.models import choose_recipe
from glyffctl.workflows.sample import sample
from glyffctl.workflows.sample_options import options_from_picture
from glyffctl.workflows.train import train
from tests.command_line import app
from tests.conftest import Workshop, crashed, follow, generator_options, of_kind, stop_at_checkpoint
from tests.pretended_gpu import pretended_gpu
from tests.recorded_graph import recorded_graphs
from tests.toys import captions, eps

SIZES: dict[str, Any] = {"latent": 8, "channels": [8, 16], "blocks": 1, "context_width": 8}


def make(kind: str, **sizes: Any) -> generator.Generator:
    """A network in float64 whose layers are shaken, since some start at zero."""
    torch.manual_seed(0)
    config = GENERATORS[kind].config(
        **{**SIZES, "channels": (8, 16), "size": 32, "in_channels": 2, "text_width": 8, **sizes}
    )
    network = GENERATORS[kind].build(config).double().eval()
    for parameter in network.parameters():
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    assert isinstance(network, generator.Generator)
    return network


@pytest.mark.parametrize("kind", list(GENERATORS))
def test_the_first_numbers_of_the_noise_and_the_caption_make_the_picture(kind: str) -> None:
    network, z, text = make(kind), eps(3, 2, 32, 32), captions(3)
    sigma = torch.full((3,), 160.0, dtype=torch.float64)

    @torch.no_grad()
    def draw(z: Tensor, text: Condition) -> Tensor:
        return network(z, sigma[: len(z)], network.encode(text))

    drawn = draw(z, text)
    assert drawn.shape == z.shape and float(drawn.abs().max()) < 1
    other, latent = z.clone(), z.clone()
    other.flatten(1)[:, 8:] = 0
    latent.flatten(1)[:, 7] += 1
    assert torch.equal(draw(other, text), drawn)
    assert not torch.allclose(draw(latent, text), drawn)
    assert not torch.allclose(draw(z, text.rows(torch.tensor([1, 2, 0]))), drawn)
    torch.testing.assert_close(draw(z[1:2], text.rows(torch.tensor([1]))), drawn[1:2])


@pytest.mark.parametrize(
    "sizes",
    [
        {"size": 36},
        {"channels": (8, 15)},
        {"channels": ()},
        {"latent": 0},
        {"latent": 32 * 32 * 2 + 1},
        {"blocks": 17},
        {"patch": 1 << 14},
    ],
)
def test_sizes_that_cannot_be_built_are_refused(sizes: dict[str, Any]) -> None:
    for kind in GENERATORS:
        with pytest.raises(UsageError, match="network"):
            GENERATORS[kind].config(**{"size": 32, "in_channels": 2, "channels": (8, 16), **sizes})
    with pytest.raises(UsageError, match="beta"):
        generator.VAEConfig(beta=-1.0)
    with pytest.raises(UsageError, match="noise"):
        generator.VAEConfig(noise=float("nan"))
    with pytest.raises(UsageError, match="r1"):
        generator.GANConfig(r1=float("inf"))


class Losses:
    """`losses` of an objective, without its data."""

    def __init__(self, network: generator.Generator) -> None:
        self.network = network

    def __call__(self, x: Tensor, text: Condition, latent: Tensor, noise: Tensor) -> Tensor:
        kind = Variational if isinstance(self.network, generator.VAE) else Adversarial
        return kind.losses(self, x, text, latent, noise)  # type: ignore[arg-type]


def pictures() -> Tensor:
    return eps(3, 2, 32, 32, seed=1).clamp(-1, 1)


@pytest.mark.parametrize(("beta", "noise"), [(1.0, 0.0), (4.0, 0.5), (0.0, 0.3)])
def test_the_loss_of_a_vae_is_the_bound_for_each_pixel(beta: float, noise: float) -> None:
    network, x, latent, unit, text = (
        make("vae", beta=beta, noise=noise),
        pictures(),
        eps(3, 8),
        eps(3, 2, 32, 32),
        captions(3),
    )
    assert isinstance(network, generator.VAE)
    mean, logvar = network.encoder(x + noise * unit, network.encoder.encode(text)).chunk(2, dim=1)
    drawn = mean if beta == 0 else mean + (logvar / 2).exp() * latent
    black = (network.pictures(drawn, network.encode(text)) + 1) / 2
    share = (x + 1) / 2
    expected = -(share * black.log() + (1 - share) * (1 - black).log()).sum((1, 2, 3))
    expected = expected + beta * (mean.square() + logvar.exp() - 1 - logvar).sum(1) / 2
    torch.testing.assert_close(
        Losses(network)(x, text, latent, unit).double(), expected / x[0].numel(), rtol=1e-5, atol=1e-6
    )


def test_each_player_of_a_gan_gets_the_gradient_of_its_own_loss() -> None:
    network, x, latent, unit, text = make("gan", r1=0.0), pictures(), eps(3, 8), eps(3, 2, 32, 32), captions(3)
    assert isinstance(network, generator.GAN)
    critic = dict(network.critic.named_parameters(prefix="critic"))
    others = {name: p for name, p in network.named_parameters() if name not in critic}

    def gradients(loss: Tensor, of: Mapping[str, Tensor]) -> list[Tensor]:
        return [
            torch.zeros_like(p) if g is None else g
            for p, g in zip(
                of.values(),
                torch.autograd.grad(loss, list(of.values()), retain_graph=True, allow_unused=True),
                strict=True,
            )
        ]

    both = Losses(network)(x, text, latent, unit).sum()
    drawn, seen = network.pictures(latent, network.encode(text)), network.critic.encode(text)
    fooled = F.softplus(-network.critic(drawn, seen)).sum()
    found = (F.softplus(network.critic(drawn, seen)) + F.softplus(-network.critic(x, seen))).sum()
    assert any(float(g.abs().max()) > 0 for g in gradients(both, others))
    for mine, theirs in (
        (gradients(both, others), gradients(fooled, others)),
        (gradients(both, critic), gradients(found, critic)),
    ):
        for a, b in zip(mine, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_the_penalty_is_the_gradient_of_the_critic() -> None:
    """On average over its random step, beside the gradient itself."""
    network, text, count = make("gan", r1=2.0, in_channels=1), captions(1), 400
    free = make("gan", r1=0.0, in_channels=1)
    assert isinstance(network, generator.GAN)
    x = eps(1, 1, 32, 32, seed=2).clamp(-1, 1).requires_grad_()
    (slope,) = torch.autograd.grad(network.critic(x, network.critic.encode(text)).sum(), x)
    with torch.no_grad():
        many = (
            x.detach().expand(count, -1, -1, -1),
            text.rows(torch.zeros(count, dtype=torch.int64)),
            eps(1, 8).expand(count, -1),
        )
        noise = eps(count, 1, 32, 32, seed=3)
        penalty = Losses(network)(*many, noise) - Losses(free)(*many, noise)
    error = float(penalty.std()) / count**0.5
    assert float(penalty.mean()) == pytest.approx(float(slope.square().sum()), abs=4 * error)
    assert error < 0.1 * float(penalty.mean())


def test_the_energy_distance_is_its_definition_and_0_for_equal_laws() -> None:
    x, y = eps(5, 3), eps(5, 3, seed=1) + 1
    apart = sum(float((a - b).norm()) for a in x for b in y) / 25
    within = sum(float((a - b).norm()) for one in (x, y) for a in one for b in one) / 20
    assert _energy_distance(x, y) == pytest.approx((2 * apart - within) / 3**0.5)
    same = torch.tensor([_energy_distance(eps(20, 4, seed=k), eps(20, 4, seed=100 + k)) for k in range(60)])
    assert abs(float(same.mean())) < 4 * float(same.std()) / 60**0.5
    assert _energy_distance(eps(20, 4), eps(20, 4, seed=7) + 1) > 5 * float(same.std())


def settings(kind: str, workshop: Workshop, **training: Any) -> Config:
    plain = merge(
        read_preset(kind),
        {"network": SIZES | {"patch": 4, "channels": [16, 32]}, "training": {"batch": 16, "warmup": 0, **training}},
    )
    return fit_to_data(plain, 32, learned_from(workshop)[1].width)


def learned_from(workshop: Workshop) -> tuple[GlyphSet, Embeddings]:
    glyphs = open_glyphs(workshop.data)
    return glyphs, load_embeddings(workshop.data, glyphs.captions)


@pytest.mark.thorough
@pytest.mark.parametrize(("kind", "rate"), [("vae", 3e-3), ("gan", 3e-3)])
def test_training_brings_drawings_nearer_to_glyphs(workshop: Workshop, kind: str, rate: float) -> None:
    config = settings(kind, workshop, learning_rate=rate, clip=10.0, ema_decay=0.9, holdout=0.2)
    trainer = Trainer(config, *learned_from(workshop), CPU)
    before = finish(trainer.objective.validate(trainer.network, None))
    for _ in range(100):
        trainer.step(0.0)
    after = finish(trainer.objective.validate(trainer.ema.network, None))
    assert after.keys() == before.keys() == {8.0, 16.0, 32.0}
    assert after[8.0] < 0.6 * before[8.0]


def test_a_run_says_what_it_measures_and_gives_no_advice_on_denoisers(workshop: Workshop, tmp_path: Path) -> None:
    events, _ = follow(train(generator_options(workshop, "vae", tmp_path / "run")))
    assert "| side of the blocks of pixels | energy distance" in (tmp_path / "run" / "README.md").read_text("utf-8")
    assert of_kind(events, "checkpoint") and not of_kind(events, "samples-still-noisy")
    assert all("--from bundled" not in caution.text for caution in of_kind(events, "budget-too-small"))


@pytest.mark.parametrize("kind", list(GENERATORS))
def test_sample_draws_in_one_pass_and_redraws(generator_runs: dict[str, Path], kind: str, tmp_path: Path) -> None:
    out, run = tmp_path / "x.png", str(generator_runs[kind])
    done = CliRunner().invoke(app, ["sample", "gold", "--count", "2", "--gif", "--model", run, "--out", str(out)])
    assert done.exit_code == 0, done.output
    with Image.open(out) as sheet:
        assert sheet.height >= 32 and sheet.width >= 64
    finish(sample(options_from_picture(out)))
    assert (tmp_path / "x-again.png").read_bytes() == out.read_bytes()
    for refused in (
        ["--steps", "4"],
        ["--guidance", "4"],
        ["--negative", "water"],
        ["--sampler", "ddim"],
        ["--radical", "167"],
        ["--vary", str(out)],
        ["--keep", "left", str(out)],
    ):
        done = CliRunner().invoke(app, ["sample", "gold", "--model", run, "--out", str(tmp_path / "y.png"), *refused])
        assert done.exit_code != 0 and "one pass" in done.output and "Traceback" not in done.output
    assert not (tmp_path / "y.png").exists()


@pytest.mark.parametrize("kind", ["vae", pytest.param("gan", marks=pytest.mark.thorough)])
def test_a_run_that_was_stopped_goes_on_as_if_it_never_was(
    workshop: Workshop, generator_runs: dict[str, Path], kind: str, tmp_path: Path
) -> None:
    stop_at_checkpoint(train(generator_options(workshop, kind, tmp_path / "run")))
    finish(train(generator_options(workshop, kind, tmp_path / "run")))
    ended, alone = load_state(tmp_path / "run"), load_state(generator_runs[kind])
    assert ended is not None and alone is not None
    for name, tensor in alone[0].items():
        assert torch.equal(ended[0][name], tensor), name


@pytest.mark.thorough
@pytest.mark.parametrize("kind", [pytest.param("vae", marks=pytest.mark.thorough), "gan"])
def test_it_trains_on_a_gpu_as_on_the_cpu(workshop: Workshop, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = settings(kind, workshop, precision="fp32")
    glyphs, texts = learned_from(workshop)
    usual = Trainer(config, glyphs, texts, CPU)
    expected = [usual.step(0.5) for _ in range(3)]
    with pretended_gpu(monkeypatch), recorded_graphs(monkeypatch):
        captured = Trainer(config, glyphs, texts, torch.device("cuda", 0))
        assert finish(captured.prepare()) == (), "steps are captured"
        for step in expected:
            torch.testing.assert_close(captured.step(0.5).loss.cpu(), step.loss, rtol=1e-3, atol=1e-5)
        assert finish(captured.objective.validate(captured.ema.network, None)).keys() == {8.0, 16.0, 32.0}


def test_what_a_generator_cannot_do_is_one_line(
    workshop: Workshop, generator_runs: dict[str, Path], tmp_path: Path
) -> None:
    model = load_model(generator_runs["vae"])
    assert choose_recipe(model, None, None) == Recipe(steps=1, guidance=1.0)
    with pytest.raises(UsageError, match="one pass"):
        choose_recipe(model, Recipe(steps=2, guidance=1.0), None)
    wrong: dict[str, dict[str, Any]] = {
        "diffusion": {"prediction": "v"},
        "codec": {"kind": "autoencoder"},
        "training": {"compile": True},
    }
    for section, values in wrong.items():
        plain = merge(read_preset("gan"), {section: values})
        with pytest.raises((TrainingError, UsageError)):
            Generating.check(replace(fit_to_data(plain, 32, 8)))
    shutil.copytree(generator_runs["gan"], tmp_path / "gan")
    for arguments in (
        [
            "train",
            "--preset",
            "few-step",
            "--from",
            str(tmp_path / "gan"),
            "--data",
            str(workshop.data),
            "--images",
            "8",
        ],
        ["evaluate", "--steps-table", "--model", str(tmp_path / "gan"), "--data", str(workshop.data)],
        ["sample", "gold", "--guide", str(tmp_path / "gan"), "--out", str(tmp_path / "there")],
        ["export", str(tmp_path / "gan"), "--format", "diffusers", "--out", str(tmp_path / "there")],
    ):
        done = CliRunner().invoke(app, [*arguments])
        assert done.exit_code != 0 and not crashed(done.output), done.output
        assert done.stderr.count("error: ") == 1
    assert not (tmp_path / "there").exists()


def test_sheets_of_training_are_drawn_in_one_pass(workshop: Workshop, generator_runs: Mapping[str, Path]) -> None:
    """In the twenty steps of a denoiser a latent would be read from what was drawn before."""
    for kind, run in generator_runs.items():
        saved = sorted((run / "samples").glob("*.png"))[-1]
        settings = read_settings(saved)
        assert (settings["steps"], settings["guidance"]) == (1, 1.0), kind
        model = load_model(run)
        glyphs = open_glyphs(workshop.data)
        embeddings = load_embeddings(workshop.data, glyphs.captions)
        rows = torch.tensor([glyphs.captions.index(caption) for caption in settings["captions"]])
        drawing = Drawer.of(model, CPU, precision="fp32").draw(
            ONE_PASS, embeddings.batch(rows), torch.arange(len(rows))
        )
        expected = sheet(finish(drawing), near_square(len(rows)))
        with Image.open(saved) as shown:
            difference = np.abs(np.asarray(shown).astype(int) - np.asarray(expected).astype(int))
        assert difference.max() <= 1, kind
