"""The ways in which the embedding of σ gets into a residual block: scaling and shifting, added, and as channels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn
from torch.nn import functional as F

from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.errors import ModelError, UsageError
from glyffctl.core.interop.diffusers_export import as_unet, compare, unet_config, unet_weights
from glyffctl.core.light.model import Declined, load_light
from glyffctl.core.models.checkpoint import load_model, save_model
from glyffctl.core.models.config import Config, as_dict, parse
from glyffctl.core.models.drawer import Drawer
from glyffctl.core.models.recipe import FEW_STEP, Recipe
from glyffctl.core.networks.network import channels_last, parameter_count
from glyffctl.core.networks.residual import CONCATENATED, ResBlock, TimeEmbedding
from glyffctl.core.networks.unet import UNet, UNetConfig
from glyffctl.workflows.events import finish
from glyffctl.workflows.export import ExportOptions, export
from tests.conftest import Workshop
from tests.students import make_toy
from tests.test_extensions import run
from tests.test_unet import both, captions, pictures, shaken
from tests.toys import captions as toy_captions

TIMES: list[TimeEmbedding] = ["film", "add", "concat"]
SMALL = UNetConfig(size=16, patch=2, channels=(48, 64), attention=(1,), head_width=16, text_width=20, context_width=24)


def made(time: TimeEmbedding, **sizes: Any) -> UNet:
    torch.manual_seed(0)
    return channels_last(shaken(UNet(replace(SMALL, time=time, **sizes))).eval().requires_grad_(False))


def block(time: TimeEmbedding) -> tuple[ResBlock, Tensor, Tensor]:
    """A block in which everything has a part, features and an embedding, in float64."""
    torch.manual_seed(0)
    made = ResBlock(48, 64, 20, 0.0, time).double().requires_grad_(False)
    for parameter in made.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    return made, torch.randn(2, 48, 6, 6).double(), torch.randn(2, 20).double()


def test_added_it_shifts_features_before_their_norm() -> None:
    """Ho et al. 2020: h ← conv(swish(norm(x))) + W·emb, then norm, swish, conv."""
    made, x, embedding = block("add")
    hidden = made.conv1(F.silu(made.norm1(x))) + made.embed(embedding)[:, :, None, None]
    expected = made.skip(x) + made.conv2(F.silu(made.norm2(hidden)))
    torch.testing.assert_close(made(x, embedding), expected, rtol=1e-12, atol=1e-12)


def test_concatenated_it_is_further_channels_and_but_for_the_border_a_bias() -> None:
    made, x, embedding = block("concat")
    channels = made.embed(embedding)
    features = F.silu(made.norm1(x))
    everywhere = channels[:, :, None, None].expand(-1, -1, 6, 6)
    hidden = made.conv1(torch.cat([features, everywhere], 1))
    expected = made.skip(x) + made.conv2(F.silu(made.norm2(hidden)))
    torch.testing.assert_close(made(x, embedding), expected, rtol=1e-12, atol=1e-12)

    kernel, bias = made.conv1.weight, made.conv1.bias
    plain = F.conv2d(features, kernel[:, :48], bias, padding=1)
    added = plain + (channels @ kernel[:, 48:].sum((2, 3)).T)[:, :, None, None]
    torch.testing.assert_close(hidden[..., 1:-1, 1:-1], added[..., 1:-1, 1:-1], rtol=1e-12, atol=1e-12)
    assert float((hidden - added)[..., 0, :].abs().min()) > 0


def test_channels_keep_the_order_of_memory() -> None:
    made, x, embedding = block("concat")
    seen = list[bool]()
    made.conv1.register_forward_pre_hook(
        lambda _, inputs: seen.append(inputs[0].is_contiguous(memory_format=torch.channels_last))
    )
    made(x.contiguous(memory_format=torch.channels_last), embedding)
    assert seen == [True]


@pytest.mark.parametrize("time", TIMES)
def test_noise_level_and_pooled_text_count(time: TimeEmbedding) -> None:
    """The mean token comes in beside σ, so without cross-attention text has no other way."""
    network = made(time, cross_text=False)
    text = captions(SMALL, 3)
    z, sigma = pictures(SMALL, 3)
    answer = network(z, sigma, network.encode(text))
    louder = network(z, 1.05 * sigma, network.encode(text))
    unsaid = network(z, sigma, network.encode(Condition.none(3, SMALL.text_width)))
    assert float((louder - answer).abs().amax((1, 2, 3)).min()) > 1e-3
    assert float((unsaid - answer).abs().amax((1, 2, 3)).min()) > 1e-3


@pytest.mark.parametrize("time", TIMES)
def test_gradients_reach_every_parameter_and_bfloat16_is_the_same_rounded(time: TimeEmbedding) -> None:
    network = made(time).requires_grad_(True)
    z, sigma = pictures(SMALL, 3)
    exact = network(z, sigma, network.encode(captions(SMALL, 3)))
    with torch.autocast("cpu", torch.bfloat16):
        rounded = network(z, sigma, network.encode(captions(SMALL, 3)))
    assert 0 < float((rounded.float() - exact).detach().norm() / exact.detach().norm()) < 0.1
    exact.square().sum().backward()
    idle = [name for name, p in network.named_parameters() if p.grad is None or not bool((p.grad != 0).any())]
    assert idle == ["null_token"]  # no caption is absent


def test_the_default_has_the_weights_that_it_had() -> None:
    """By name, shape and number; and settings from before there was a choice mean the same."""
    default, film = UNet(replace(SMALL)), UNet(replace(SMALL, time="film"))
    assert default.config == film.config
    embeds = {m.embed.weight.shape for m in film.modules() if isinstance(m, ResBlock)}
    assert embeds == {(2 * width, 4 * SMALL.channels[0]) for width in SMALL.channels}
    config = Config(network=SMALL)
    plain = as_dict(config)
    assert plain["network"].pop("time") == "film"
    assert parse(plain) == config


def test_what_each_way_costs() -> None:
    film, add, concat = (parameter_count(UNet(replace(SMALL, time=time))) for time in TIMES)
    assert add < film and 0.9 < concat / add < 1.1
    film, add, concat = (UNet(replace(SMALL, channels=(64, 48), time=time)).numbers_a_row() for time in TIMES)
    assert film == add and concat - film == 4 * CONCATENATED * 8**2


@pytest.mark.parametrize("time", ["add", "concat"])
@pytest.mark.parametrize("channels", [(32, 64), (48, 16)])
def test_norms_that_would_take_it_out_again_are_refused(time: TimeEmbedding, channels: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"groups of one channel.*take none of 2, 4, 8, 16 and 32") as caught:
        replace(SMALL, time=time, channels=channels)
    assert "\n" not in str(caught.value)
    replace(SMALL, channels=channels)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@torch.no_grad()
def test_added_it_is_the_network_of_diffusers(dtype: torch.dtype, tolerance: float) -> None:
    """In one count of groups, as there."""
    network = made("add", channels=(96, 64), head_width=32, pooled_text=False).to(dtype)
    ours, theirs, _ = both(network, dtype)
    assert float((ours - theirs).abs().max() / theirs.abs().max()) < tolerance


def test_added_it_is_written_for_diffusers_and_concatenated_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    network = as_unet(made("add", channels=(96, 64), head_width=32))
    file = tmp_path / "x.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in unet_weights(network).items()}, file)
    assert compare(network, unet_config(network), file) < 1e-5
    with torch.device("meta"):
        theirs = UNet2DConditionModel(**unet_config(network))
    assert {type(part.nonlinearity) for part in theirs.modules() if hasattr(part, "time_emb_proj")} == {nn.SiLU}
    with pytest.raises(ModelError, match=r"further channels.*`format` onnx"):
        as_unet(made("concat"))


@pytest.mark.parametrize("time", ["add", "concat"])
def test_a_student_is_left_to_pytorch_which_draws(time: TimeEmbedding, tmp_path: Path) -> None:
    folder = make_toy(tmp_path, channels=(24, 48), time=time)
    with pytest.raises(Declined):
        load_light(folder / "model.safetensors", folder / "few-step.safetensors")
    model = load_model(folder)
    assert isinstance(model.network, UNet) and model.network.config.time == time
    some = toy_captions(2, width=model.text_width)
    some = some._replace(tokens=some.tokens.float())
    drawer = Drawer.of(model, torch.device("cpu"), precision="fp32")
    steps = drawer.steps(Recipe(sampler=FEW_STEP, steps=1, guidance=2.5), some, some, torch.zeros(2, dtype=torch.long))
    [first, second] = [step.x for step in steps][-1]
    assert float((first - second).abs().max()) > 1e-3  # one noise, two captions


@pytest.mark.parametrize("time", ["concat", pytest.param("add", marks=pytest.mark.thorough)])
def test_a_run_is_trained_by_the_setting_and_draws(workshop: Workshop, tmp_path: Path, time: str) -> None:
    config = tmp_path / "own.toml"
    tiny = "patch = 4\nchannels = [24, 48]\nattention = [1]\nhead_width = 16\ncontext_width = 16"
    training = 'images = 16\nbatch = 8\nwarmup = 8\nprecision = "fp32"'
    config.write_text(f'[network]\n{tiny}\ntime = "{time}"\n[training]\n{training}\n')
    asked = ("train", "--preset", "cpu", "--data", str(workshop.data), "--gpus", "0", "--config", str(config))
    assert f'time = "{time}"' in run(*asked, "--show-config")
    out, picture = tmp_path / "run", tmp_path / "x.png"
    run(*asked, "--out", str(out))
    run("sample", "gold", "--model", str(out), "--steps", "1", "--count", "1", "--out", str(picture))
    assert picture.is_file()
    config.write_text('[network]\ntime = "sum"\n')
    assert "network.time must be one of film, add, concat, not 'sum'" in run(*asked, "--show-config", code=2)


@pytest.mark.slow
@pytest.mark.thorough
def test_concatenated_it_is_exported_as_onnx(tiny_run: Path, tmp_path: Path) -> None:
    model = load_model(tiny_run)
    assert isinstance(model.network, UNet)
    sizes = replace(model.network.config, channels=(24, 48), head_width=8, time="concat")
    config = replace(model.origin.config, network=sizes)
    network = shaken(UNet(sizes), by=0.1)
    changed = replace(model, network=network, origin=replace(model.origin, config=config))
    save_model(tmp_path / "x.safetensors", changed)
    report = finish(export(ExportOptions(model=tmp_path / "x.safetensors", format="onnx", out=tmp_path / "out")))
    assert report.difference is not None and 0 < report.difference < 1e-4
