"""The autoencoder: closed forms, the same numbers as diffusers', and what its training makes of glyphs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import load_file, save_file

from glyffctl.core.codecs.latents import Latents
from glyffctl.core.data.embeddings import no_embeddings
from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.device import CPU
from glyffctl.core.errors import GlyffError, ModelError, UsageError
from glyffctl.core.interop.diffusers_codec import difference, find_autoencoder, load_autoencoder, write_autoencoder
from glyffctl.core.models.checkpoint import load_state
from glyffctl.core.models.codec_file import load_codec, pack, save_codec
from glyffctl.core.models.config import fit_to_data, merge, read_preset
from glyffctl.core.models.files import CODEC_FILE, MODEL_FILE
from glyffctl.core.networks.autoencoder import Autoencoder, AutoencoderConfig, Posterior
from glyffctl.core.training.distributed import SINGLE_PROCESS
from glyffctl.core.training.trainer import Trainer
from glyffctl.workflows.codec import share_codec
from glyffctl.workflows.events import finish
from glyffctl.workflows.export import ExportOptions, export
from glyffctl.workflows.train import TrainOptions, train
from tests.command_line import app
from tests.conftest import Workshop, follow, of_kind, stop_at_checkpoint
from tests.pretended_gpu import pretended_gpu
from tests.recorded_graph import recorded_graphs
from tests.toys import eps


def options(workshop: Workshop, out: Path) -> TrainOptions:
    settings = workshop.folder / "codec.toml"
    return TrainOptions(data=workshop.data, out=out, gpus=0, preset="autoencoder", config=settings)


def make(**sizes: Any) -> Autoencoder:
    torch.manual_seed(0)
    return Autoencoder(AutoencoderConfig(**{"size": 32, "channels": (16, 32), **sizes})).eval()


def test_the_divergence_is_the_integral_that_defines_it() -> None:
    mean, logvar = eps(2, 3), eps(2, 3, seed=1)
    x = torch.linspace(-30, 30, 10_001, dtype=torch.float64)[:, None, None]
    log_p = -((x - mean).square() / logvar.exp() + logvar) / 2
    p = log_p.exp() / (2 * torch.pi) ** 0.5
    expected = (p * (log_p + x.square() / 2)).sum(0) * float(x[1, 0, 0] - x[0, 0, 0])
    torch.testing.assert_close(Posterior(mean, logvar).divergence(), expected.sum(1))
    assert float(Posterior(torch.zeros(1, 2), torch.zeros(1, 2)).divergence()) == 0


def test_a_sample_has_the_law_of_its_posterior_and_gradients_reach_both_its_parts() -> None:
    mean, logvar = torch.tensor([0.7], requires_grad=True), torch.tensor([-1.2], requires_grad=True)
    drawn = Posterior(mean, logvar).sample(eps(1, 100_000)[0].float())
    assert float(drawn.detach().mean()) == pytest.approx(0.7, abs=0.01)
    assert float(drawn.detach().var()) == pytest.approx(float(logvar.detach().exp()), rel=0.02)
    noise = torch.tensor([2.0])
    Posterior(mean, logvar).sample(noise).backward()
    assert mean.grad is not None and float(mean.grad) == 1
    assert logvar.grad is not None
    torch.testing.assert_close(logvar.grad, noise * (logvar / 2).exp().detach() / 2)


SIZES: list[dict[str, Any]] = [
    {},
    {"channels": (16, 32, 64, 64), "latent_channels": 16},
    {"in_channels": 3, "attention": True, "quant_conv": True, "blocks": 2},
]


def theirs(tmp_path: Path, config: AutoencoderConfig) -> Path:
    """A folder that diffusers' own AutoencoderKL wrote."""
    from diffusers import AutoencoderKL

    torch.manual_seed(1)
    levels = len(config.channels)
    AutoencoderKL(
        in_channels=config.in_channels,
        out_channels=config.in_channels,
        down_block_types=["DownEncoderBlock2D"] * levels,
        up_block_types=["UpDecoderBlock2D"] * levels,
        block_out_channels=config.channels,
        layers_per_block=config.blocks,
        latent_channels=config.latent_channels,
        norm_num_groups=config.groups,
        scaling_factor=0.7,
        shift_factor=0.2,
        use_quant_conv=config.quant_conv,
        use_post_quant_conv=config.quant_conv,
        mid_block_add_attention=config.attention,
    ).save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize("sizes", SIZES)
def test_it_computes_what_diffusers_computes(tmp_path: Path, sizes: dict[str, Any]) -> None:
    """Read from what diffusers saved, and written for it again: latents, pictures and weights."""
    from diffusers import AutoencoderKL

    folder = theirs(tmp_path / "theirs", make(**sizes).config)
    codec = load_autoencoder(folder, 32)
    assert (codec.scale, codec.shift) == (0.7, 0.2)
    other = AutoencoderKL.from_pretrained(folder).eval()
    pictures = (eps(3, 32, 32).sigmoid() * 255).to(torch.uint8)
    x = (pictures.float() / 127.5 - 1)[:, None].expand(-1, codec.network.config.in_channels, -1, -1)
    with torch.no_grad():
        latents = (other.encode(x).latent_dist.mean - other.config.shift_factor) * other.config.scaling_factor
        torch.testing.assert_close(codec.encode(pictures), latents, rtol=1e-5, atol=1e-5)
        decoded = other.decode(latents / other.config.scaling_factor + other.config.shift_factor).sample
    grey = (decoded.mean(1) + 1) * 127.5
    assert float((codec.decode(latents).float() - grey.clamp(0, 255)).abs().max()) <= 0.51
    again = tmp_path / "again"
    again.mkdir()
    write_autoencoder(again, codec)
    found = difference(codec, again)
    assert found is not None and found < 1e-5
    twice = load_autoencoder(again, 32)
    assert twice.identity == codec.identity and (twice.scale, twice.shift) == (0.7, 0.2)


@pytest.mark.parametrize("change", [
    {"act_fn": "relu"}, {"latents_mean": [0.0]}, {"down_block_types": ["AttnDownEncoderBlock2D"] * 2},
    {"scaling_factor": 0}, {"scaling_factor": "x"}, {"shift_factor": [1]}, {"out_channels": 3}, {"in_channels": 2},
    {"use_quant_conv": True}, {"block_out_channels": [16]}, {"block_out_channels": 7}, {"norm_num_groups": 5},
    {"latent_channels": 3}, {"layers_per_block": 10**9}, {"block_out_channels": [2**40, 32]},
])  # fmt: skip
def test_settings_of_diffusers_that_would_be_ignored_are_one_line(tmp_path: Path, change: dict[str, Any]) -> None:
    folder = theirs(tmp_path / "theirs", make().config)
    config = folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | change))
    with pytest.raises(ModelError, match=r"config\.json|safetensors") as caught:
        load_autoencoder(folder, 32)
    assert "\n" not in str(caught.value)


def test_what_holds_no_autoencoder_or_takes_no_such_pictures(tmp_path: Path) -> None:
    assert find_autoencoder(tmp_path) is None
    (tmp_path / "config.json").write_text("[" * 100_000)
    assert find_autoencoder(tmp_path) is None
    folder = theirs(tmp_path / "pipeline" / "vae", make().config)
    assert find_autoencoder(tmp_path / "pipeline") == folder
    with pytest.raises(UsageError, match=r"multiple of 2.*codec\.size"):
        load_autoencoder(folder, 33)


def test_latents_of_training_glyphs_have_unit_variance(workshop: Workshop, codec_run: Path) -> None:
    codec, glyphs = load_codec(codec_run), open_glyphs(workshop.data)
    latents = codec.encode(glyphs.images(torch.arange(len(glyphs)))[:, 0])
    assert latents.shape[1:] == codec.shape == (4, 16, 16)
    assert float(latents.mean()) == pytest.approx(0, abs=0.02)
    assert float(latents.var()) == pytest.approx(1, abs=0.03)  # some of these glyphs are held out


def tiny_trainer(workshop: Workshop, device: torch.device) -> Trainer:
    glyphs = open_glyphs(workshop.data)
    own: dict[str, dict[str, Any]] = {
        "network": {"channels": [8, 16]},
        "training": {"batch": 8, "precision": "fp32", "warmup": 0, "ema_decay": 0.9, "holdout": 0.1},
    }
    config = fit_to_data(merge(read_preset("autoencoder"), own), glyphs.size, 1)
    return Trainer(config, glyphs, no_embeddings(len(glyphs.captions), 1), device)


@pytest.mark.thorough
def test_an_autoencoder_learns(workshop: Workshop) -> None:
    trainer = tiny_trainer(workshop, CPU)
    for step in range(100):
        trainer.step(step / 100)
    wrong = finish(trainer.objective.validate(trainer.ema.network, None))
    assert list(wrong) == [32, 64, 96, 128, 160, 192, 224]
    assert wrong[128] < 0.06


@pytest.mark.thorough
def test_captured_steps_are_plain_steps(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU that is pretended."""
    usual = tiny_trainer(workshop, CPU)
    expected = [usual.step(0.5) for _ in range(4)]
    with pretended_gpu(monkeypatch), recorded_graphs(monkeypatch):
        captured = tiny_trainer(workshop, torch.device("cuda", 0))
        assert finish(captured.prepare()) == (), "steps are captured"
        for step in expected:
            torch.testing.assert_close(captured.step(0.5).loss.cpu(), step.loss, rtol=1e-3, atol=1e-5)


def test_all_processes_of_a_job_have_the_codec_of_the_first(codec_run: Path) -> None:
    codec, sent = load_codec(codec_run), list[str]()

    def broadcast(value: Any) -> Any:
        sent.extend([] if value is None else [json.dumps(value)])
        return json.loads(sent[0])

    first: Any = SimpleNamespace(size=2, broadcast=broadcast, broadcast_tensors=lambda mine: mine)
    other: Any = SimpleNamespace(size=2, broadcast=broadcast, broadcast_tensors=lambda _: pack(codec)[0])
    for group, own in ((first, codec), (other, None)):
        shared = share_codec(own, group)
        assert shared is not None and shared.identity == codec.identity and shared.size == codec.size
    assert share_codec(None, SINGLE_PROCESS) is None


def test_a_run_that_was_stopped_ends_with_the_same_bits(workshop: Workshop, codec_run: Path, tmp_path: Path) -> None:
    """Without embeddings: an autoencoder needs no captions."""
    out = tmp_path / "run"
    asked = options(workshop, out)
    stop_at_checkpoint(train(asked))
    finish(train(asked))
    ended, alone = load_state(out), load_state(codec_run)
    assert ended is not None and alone is not None
    for name, tensor in alone[0].items():
        assert torch.equal(ended[0][name], tensor), name
    assert load_codec(out).identity == load_codec(codec_run).identity


def test_a_checkpoint_tells_what_strokes_lost(codec_run: Path, workshop: Workshop, tmp_path: Path) -> None:
    events, report = follow(train(options(workshop, tmp_path / "run")))
    facts: dict[str, Any] = dict(of_kind(events, "checkpoint")[-1].facts)
    assert report is not None and facts["validation"] == report.validation
    assert report.next_step.command == f"glyffctl train --preset latent --codec {report.out}"
    assert abs(facts["stroke_width"]) < 2 and facts["samples"].is_file()
    assert "128" in (codec_run / "README.md").read_text() and not (codec_run / MODEL_FILE).exists()


def test_a_codec_is_no_model(codec_run: Path, tmp_path: Path) -> None:
    for path in (codec_run, codec_run / CODEC_FILE, codec_run / "state.safetensors"):
        done = CliRunner().invoke(app, ["sample", "gold", "--model", str(path)])
        assert done.exit_code == 1 and "--preset latent --codec" in done.stderr
    done = CliRunner().invoke(app, ["export", str(codec_run), "--out", str(tmp_path / "x")])
    assert done.exit_code == 2 and "--format diffusers" in done.stderr


def test_a_codec_is_exported_for_diffusers(codec_run: Path, tmp_path: Path) -> None:
    report = finish(export(ExportOptions(model=codec_run, format="diffusers", out=tmp_path / "x")))
    assert report.difference is not None and report.difference < 1e-5
    codec = load_codec(codec_run)
    again = load_autoencoder(tmp_path / "x", codec.size)
    assert again.identity == codec.identity


@pytest.mark.thorough
@pytest.mark.parametrize("channels", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_the_program_beside_an_exported_codec_runs(tmp_path: Path, channels: int) -> None:
    """In a process of its own; what it writes is what the codec gives back."""
    (tmp_path / "run").mkdir()
    codec = Latents(make(in_channels=channels), 1.5, -0.25, 32)
    save_codec(tmp_path / "run" / CODEC_FILE, codec)
    out = finish(export(ExportOptions(model=tmp_path / "run", format="diffusers", out=tmp_path / "x"))).out
    glyph = torch.full((32, 32), 255, dtype=torch.uint8)
    glyph[8:12, 4:28] = 0
    Image.fromarray(glyph.numpy()).save(out / "glyph.png")
    [program] = re.findall(r"```python\n(.*?)```", (out / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    subprocess.run([sys.executable, "-c", program], cwd=out, check=True, capture_output=True)
    expected = codec.decode(codec.encode(glyph[None]))[0].int()
    with Image.open(out / "again.png") as again:
        assert int((torch.tensor(np.array(again)).int() - expected).abs().max()) <= 1


def test_an_objective_takes_its_own_kind_of_network(workshop: Workshop, tmp_path: Path) -> None:
    for preset, other in (("autoencoder", "unet"), ("cpu", "autoencoder")):
        settings = tmp_path / "x.toml"
        settings.write_text(f'[network]\nkind = "{other}"\n')
        asked = TrainOptions(data=workshop.data, out=tmp_path / "run", gpus=0, preset=preset, config=settings)
        with pytest.raises(UsageError, match=r"cannot train network\.kind"):
            finish(train(asked))


def test_what_needs_captions_is_declined_before_a_folder_is_made(workshop: Workshop, tmp_path: Path) -> None:
    asked = options(workshop, tmp_path / "run")
    for change, word in (({"encoder": "bundled"}, "--encoder"), ({"overrides": {"evaluate": True}}, "evaluate")):
        with pytest.raises(GlyffError, match=word):
            finish(train(replace(asked, **change)))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("sizes", "words"), [
    ({"size": 33}, "multiple of 2"), ({"channels": ()}, "positive"), ({"channels": (12, 16)}, "groups"),
    ({"kl_weight": 2.0}, "kl_weight"), ({"blocks": 99}, "up to"), ({"latent_channels": 0}, "positive"),
])  # fmt: skip
def test_sizes_that_cannot_be_built_are_one_line(sizes: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        make(**sizes)


def test_a_codec_survives_its_file(tmp_path: Path) -> None:
    codec = Latents(make(in_channels=3, attention=True), 1.5, -0.25, 64)
    save_codec(tmp_path / CODEC_FILE, codec)
    loaded = load_codec(tmp_path)
    assert (loaded.scale, loaded.shift, loaded.size) == (1.5, -0.25, 64)
    for name, tensor in codec.network.state_dict().items():
        assert torch.equal(loaded.network.state_dict()[name], tensor), name
    save_codec(tmp_path / CODEC_FILE, replace(loaded, shift=0.0))
    assert load_codec(tmp_path).identity != loaded.identity


@pytest.mark.parametrize("damage", ["cut", "flipped", "scale", "sizes", "nan", "other", "missing"])
def test_a_damaged_codec_is_one_line(tmp_path: Path, damage: str) -> None:
    codec, file = Latents(make(), 1.5, 0.0, 32), tmp_path / CODEC_FILE
    if damage == "scale":
        codec = replace(codec, scale=-1.0)
    if damage == "nan":
        next(codec.network.parameters()).data.fill_(float("nan"))
    if damage == "sizes":
        codec = replace(codec, size=33)
    save_codec(file, codec)
    content = bytearray(file.read_bytes())
    if damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        content[-3] ^= 255
        file.write_bytes(content)
    elif damage == "other":
        save_file(load_file(file), file)
    elif damage == "missing":
        file.unlink()
    with pytest.raises(GlyffError, match=r"codec\.safetensors") as caught:
        load_codec(tmp_path)
    assert "\n" not in str(caught.value)
