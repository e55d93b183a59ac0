"""The network: number for number diffusers' `UNet2DConditionModel`, and what it adds to that."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.embeddings import get_timestep_embedding
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from glyffctl.core.codecs.pixels import to_unit
from glyffctl.core.data.caption_table import caption_table
from glyffctl.core.data.character import Character, Font
from glyffctl.core.data.dataset import GlyphSet
from glyffctl.core.data.embeddings import Embeddings
from glyffctl.core.data.fonts import draw_glyphs, read_faces
from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.diffusion.denoiser import Denoiser
from glyffctl.core.diffusion.schedule import make_schedule
from glyffctl.core.errors import UsageError
from glyffctl.core.interop.diffusers_export import diffusers_name, unet_config, unet_weights
from glyffctl.core.interop.diffusers_model import DiffusersNetwork
from glyffctl.core.models.config import CodecConfig, Config, DiffusionConfig, TrainingConfig, merge, parse, read_preset
from glyffctl.core.models.generate import generate
from glyffctl.core.models.recipe import Recipe
from glyffctl.core.networks.attention import Pointwise
from glyffctl.core.networks.group_norm import GroupNorm
from glyffctl.core.networks.network import build_network, channels_last, parameter_count
from glyffctl.core.networks.sinusoid import sinusoid
from glyffctl.core.networks.unet import UNet, UNetConfig
from glyffctl.core.training.trainer import Trainer

SMALL = UNetConfig(
    size=16, patch=2, channels=(32, 64), blocks=1, attention=(1,), head_width=16, text_width=24, context_width=40
)
# Group counts are gcd(32, channels) here and a constant 32 in diffusers: multiples of 32 make them the same.
CONFIGS = {
    "no patch, attention below, two blocks": UNetConfig(
        size=16, patch=1, channels=(32, 64, 64), blocks=2, attention=(1,), head_width=16, context_width=24
    ),
    "patch 4, attention everywhere": UNetConfig(
        size=32, patch=4, channels=(96, 64), blocks=1, attention=(0, 1), head_width=32, context_width=48
    ),
    "patch 4, attention on top": UNetConfig(
        size=32, patch=4, channels=(32, 32, 64), blocks=2, attention=(0,), head_width=8, context_width=16
    ),
    "one level, attention only in the middle": UNetConfig(
        size=16, patch=2, channels=(32,), blocks=1, attention=(), head_width=32, context_width=16
    ),
}
CONFIGS = {name: replace(config, text_width=20, pooled_text=False) for name, config in CONFIGS.items()}


def shaken(network: UNet, seed: int = 0, by: float = 0.05) -> UNet:
    """`network` moved off its start, where zeros and ones would hide half of it."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(by * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return network


def in_diffusers(network: UNet) -> Any:
    """The same network with the same weights in diffusers."""
    other = UNet2DConditionModel(**unet_config(network))
    nn.Module.to(other, next(network.parameters()).dtype)  # their own `to` logs a warning about nothing
    # Strict: every weight of theirs has one of ours, and the other way round.
    other.load_state_dict(unet_weights(network))
    return other.eval()


def captions(config: UNetConfig, count: int, length: int = 5, dtype: torch.dtype = torch.float32) -> Condition:
    """Random captions of 1, 2, … tokens."""
    generator = torch.Generator().manual_seed(1)
    mask = torch.arange(length) < torch.arange(1, count + 1)[:, None]
    tokens = torch.randn(count, length, config.text_width, generator=generator, dtype=dtype)
    return Condition(tokens * mask[..., None], mask)


def pictures(config: UNetConfig, count: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Random pictures and noise levels from the lowest to the highest."""
    generator = torch.Generator().manual_seed(2)
    z = torch.randn(count, 1, config.size, config.size, generator=generator, dtype=dtype)
    return z, (4 * torch.linspace(-1, 1.3, count, dtype=torch.float64)).exp()


def both(network: UNet, dtype: torch.dtype) -> tuple[Tensor, Tensor, Any]:
    """Our answer, the answer of diffusers, and its network."""
    config, other = network.config, in_diffusers(network)
    z, sigma = pictures(config, 3, dtype)
    context = network.encode(captions(config, 3, dtype=dtype))
    ours = network(z, sigma, context)
    theirs = other(
        F.pixel_unshuffle(z, config.patch),
        (250 * sigma.log()).float(),
        encoder_hidden_states=context.tokens,
        encoder_attention_mask=context.mask[:, 0, 0],
    ).sample
    return ours, F.pixel_shuffle(theirs, config.patch), other


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_network_is_that_of_diffusers(name: str, dtype: torch.dtype, tolerance: float) -> None:
    network = channels_last(shaken(UNet(CONFIGS[name]).to(dtype)).eval())
    ours, theirs, _ = both(network, dtype)
    assert ours.dtype == dtype
    assert float((ours - theirs).abs().max() / theirs.abs().max()) < tolerance


def test_gradients_are_those_of_diffusers() -> None:
    # The one without groups of a single channel, which make the bias before a norm of no account.
    network = shaken(UNet(CONFIGS["patch 4, attention everywhere"]).double())
    ours, theirs, other = both(network, torch.float64)
    weights = torch.randn(ours.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    (ours * weights).sum().backward(retain_graph=True)
    expected = dict(other.named_parameters())
    (theirs * weights).sum().backward()
    compared = 0
    for name, parameter in network.named_parameters():
        if name.startswith(("text_in.", "null_token")):
            continue
        gradient = expected.pop(diffusers_name(name)).grad
        assert parameter.grad is not None
        assert float(gradient.abs().max()) > 0, f"{name} has no part in the answer"
        assert float((parameter.grad - gradient).abs().max() / gradient.abs().max()) < 1e-9, name
        compared += 1
    assert not expected
    assert compared > 100


@given(labels=st.lists(st.floats(-2, 2, width=32), min_size=1, max_size=4), half=st.integers(1, 40))
def test_sinusoid_is_the_timestep_embedding_of_diffusers(labels: list[float], half: int) -> None:
    label = torch.tensor(labels)
    expected = get_timestep_embedding(1000 * label, 2 * half, flip_sin_to_cos=True, downscale_freq_shift=0)
    assert torch.equal(sinusoid(label, 2 * half), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pointwise_is_a_linear_layer(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    pointwise = Pointwise(24, 10).to(dtype)
    linear = nn.Linear(24, 10).to(dtype)
    linear.load_state_dict(pointwise.state_dict())
    x = torch.randn(3, 5, 7, 24, dtype=dtype)
    here, there = x.clone().requires_grad_(), x.clone().requires_grad_()
    weights = torch.randn(3, 5, 7, 10, dtype=dtype)
    answer, expected = pointwise(here), linear(there)
    (answer * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(answer, expected)
    torch.testing.assert_close(here.grad, there.grad)
    torch.testing.assert_close(pointwise.weight.grad, linear.weight.grad)
    torch.testing.assert_close(pointwise.bias.grad, linear.bias.grad)


@pytest.mark.parametrize(
    ("config", "grids"),
    [
        (SMALL, {8, 4}),
        (replace(SMALL, size=24, patch=1, channels=(32, 32, 48, 64), attention=(2, 3)), {24, 12, 6, 3}),
        (replace(SMALL, size=32, patch=8, channels=(48,), attention=(0,), dropout=0.5), {4}),
        (replace(SMALL, channels=(6, 32), pooled_text=False), {8, 4}),
    ],
)
def test_shapes(config: UNetConfig, grids: set[int]) -> None:
    network = UNet(config)
    seen: set[int] = set()
    for module in network.modules():
        if isinstance(module, nn.GroupNorm):
            module.register_forward_pre_hook(lambda _, inputs: seen.add(inputs[0].shape[-1]))
    z, sigma = pictures(config, 2)
    answer = network(z, sigma, network.encode(captions(config, 2)))
    assert answer.shape == z.shape
    assert seen == grids
    assert not answer.any(), "an untrained network answers 0"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"size": 30}, ["size 30", "multiple of 4", "patch 2"]),
        ({"patch": 16}, ["size 16", "multiple of 32", "patch 16"]),
        ({"channels": (32, 32, 32, 32, 32)}, ["size 16", "multiple of 32", "halved 4 times"]),
        ({"channels": (32, 33)}, ["even", "[32, 33]"]),
        ({"channels": ()}, ["positive"]),
        ({"channels": (32, 0)}, ["positive"]),
        ({"blocks": 0}, ["positive"]),
        ({"patch": -1}, ["positive"]),
        ({"attention": (2,)}, ["levels 0…1", "[2]"]),
        ({"attention": (-1,)}, ["levels 0…1", "[-1]"]),
        ({"channels": (32, 1 << 40)}, ["65,536"]),
        ({"blocks": 10**9}, ["blocks to 64"]),
        ({"head_width": 48}, ["[64]", "48"]),
        ({"dropout": 1.0}, ["dropout", "1.0"]),
        ({"pooled_text": False, "cross_text": False}, ["pooled_text", "cross_text"]),
        ({"dropout": float("nan")}, ["dropout", "nan"]),
    ],
)
def test_sizes_that_cannot_be_built_are_refused(change: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        replace(SMALL, **change)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_text_of_another_width_is_refused() -> None:
    with pytest.raises(UsageError, match=r"vectors are 512 wide, the network takes 24"):
        UNet(SMALL).encode(Condition.none(2, 512))


@pytest.mark.parametrize(("preset", "low", "high"), [("glyffuser", 125e6, 145e6), ("cpu", 4e6, 20e6)])
def test_presets_have_the_size_they_say(preset: str, low: float, high: float) -> None:
    config = parse(merge(read_preset(preset), {"network": {"text_width": 1024}}))
    with torch.device("meta"):
        network = build_network(config.network)
    count = parameter_count(network)
    print(f"{preset}: {count:,} parameters")
    assert low < count < high


@pytest.fixture(scope="module", params=["both", "cross", "pooled"])
def network(request: pytest.FixtureRequest) -> UNet:
    """A network in which everything has a part, text above all, which comes in by one way or both."""
    torch.manual_seed(0)
    ways = {"cross_text": request.param != "pooled", "pooled_text": request.param != "cross"}
    return shaken(UNet(replace(SMALL, **ways)).eval().requires_grad_(False))


def answer(network: UNet, text: Condition) -> Tensor:
    z, sigma = pictures(network.config, len(text.mask))
    return network(z, sigma, network.encode(text))


def test_padding_is_not_seen(network: UNet) -> None:
    text = captions(network.config, 3)
    expected = answer(network, text)
    assert float(expected.std()) > 0.1
    garbage = torch.randn(3, 4, network.config.text_width) * 1e4
    longer = Condition(
        torch.cat([torch.where(text.mask[..., None], text.tokens, -1e4), garbage], 1),
        torch.cat([text.mask, torch.zeros(3, 4, dtype=torch.bool)], 1),
    )
    assert float((answer(network, longer) - expected).abs().max()) < 1e-5 * float(expected.abs().max())
    # Alone and without padding: each caption is as long as its row number.
    z, sigma = pictures(network.config, 3)
    for row in range(3):
        bare = Condition(text.tokens[row : row + 1, : row + 1], text.mask[row : row + 1, : row + 1])
        alone = network(z[row : row + 1], sigma[row : row + 1], network.encode(bare))
        assert float((alone - expected[row]).abs().max()) < 1e-5 * float(expected.abs().max())


def test_dropped_caption_is_no_caption(network: UNet) -> None:
    text = captions(network.config, 3)
    none = answer(network, Condition.none(3, network.config.text_width))
    dropped = answer(network, Condition(torch.randn_like(text.tokens) * 100, torch.zeros_like(text.mask)))
    torch.testing.assert_close(dropped, none, rtol=0, atol=1e-5 * float(none.abs().max()))
    assert float((answer(network, text) - none).abs().max()) > 1e-2
    # One row dropped, the others kept.
    mixed = answer(network, Condition(text.tokens, text.mask & torch.tensor([[True], [False], [True]])))
    torch.testing.assert_close(mixed[1], none[1], rtol=0, atol=1e-5 * float(none.abs().max()))
    torch.testing.assert_close(mixed[::2], answer(network, text)[::2], rtol=0, atol=1e-5 * float(none.abs().max()))


def test_null_token_is_learned() -> None:
    network = shaken(UNet(SMALL))
    answer(network, Condition.none(2, SMALL.text_width)).square().sum().backward()
    assert network.null_token.grad is not None
    assert float(network.null_token.grad.abs().max()) > 0


def test_every_token_counts(network: UNet) -> None:
    text = captions(network.config, 4)
    expected = answer(network, text)
    for token in range(4):
        changed = text.tokens.clone()
        changed[3, token] = torch.randn(network.config.text_width, generator=torch.Generator().manual_seed(token))
        difference = (answer(network, Condition(changed, text.mask)) - expected).abs().amax(dim=(1, 2, 3))
        assert float(difference[3]) > 1e-3
        assert float(difference[:3].max()) < 1e-5  # rows are independent


@pytest.mark.parametrize("pooled", [True, False])
def test_pooled_text_is_a_second_way_in(pooled: bool) -> None:
    network = shaken(UNet(replace(SMALL, pooled_text=pooled)).eval().requires_grad_(False))
    for name, parameter in network.named_parameters():
        if ".cross_attn.out." in name:  # cross-attention is shut
            parameter.zero_()
    text = captions(SMALL, 3)
    none = Condition.none(3, SMALL.text_width)
    difference = float((answer(network, text) - answer(network, none)).abs().max())
    assert difference > 1e-2 if pooled else difference == 0


def test_without_cross_attention_there_is_nothing_of_it_in_the_file() -> None:
    """What is left has the names and shapes that it had, and self-attention is among it."""
    whole, part = (UNet(replace(SMALL, cross_text=cross)).state_dict() for cross in (True, False))
    gone = {name for name in whole if ".transformer.cross_attn." in name or ".transformer.norm2." in name}
    assert gone and {name: tensor.shape for name, tensor in part.items()} == {
        name: tensor.shape for name, tensor in whole.items() if name not in gone
    }
    assert any(".self_attn." in name for name in part)


def test_rows_of_a_batch_are_independent(network: UNet) -> None:
    text = captions(network.config, 4)
    z, sigma = pictures(network.config, 4)
    whole = network(z, sigma, network.encode(text))
    order = torch.tensor([2, 0, 3])
    part = network(z[order], sigma[order], network.encode(text.rows(order)))
    torch.testing.assert_close(part, whole[order], rtol=0, atol=1e-5 * float(whole.abs().max()))


def test_sigma_counts(network: UNet) -> None:
    text = captions(network.config, 3)
    z, sigma = pictures(network.config, 3)
    context = network.encode(text)
    difference = (network(z, sigma * 1.05, context) - network(z, sigma, context)).abs().amax(dim=(1, 2, 3))
    assert float(difference.min()) > 1e-3


@pytest.mark.thorough
@settings(max_examples=10)
@given(seed=st.integers(0, 2**32), dropout=st.sampled_from([0.0, 0.3]))
def test_dropout_is_for_training_alone(seed: int, dropout: float) -> None:
    torch.manual_seed(seed)
    network = shaken(UNet(replace(SMALL, dropout=dropout)))
    text = captions(SMALL, 2)
    assert torch.equal(answer(network, text), answer(network, text)) == (dropout == 0)
    network.eval()
    assert torch.equal(answer(network, text), answer(network, text))


SIXTEEN = "锂金天鹅河刀鱼钟木火土日月山马龙"


@pytest.mark.slow
def test_sixteen_glyphs_are_learned_by_heart(noto_sans: Path) -> None:
    """The whole path, from fonts through `Trainer` to `generate`: each caption brings its own glyph back.

    80 seconds on one core of a Zen 5; measured: the worst mean squared error to the own glyph 0.015, the closest
    other glyph at 0.41.
    """
    size = 32
    face = next(face for face in read_faces(noto_sans) if "SC" in face.name)
    drawn = [picture for _, picture in draw_glyphs(face, map(ord, SIXTEEN), size) if picture is not None]
    x0 = torch.stack([torch.from_numpy(picture.copy()) for picture in drawn])
    rows = torch.arange(16)
    characters = [Character(ord(character), character, character, None) for character in SIXTEEN]
    captions, table = caption_table(characters)
    glyphs = GlyphSet(
        size,
        [Font(noto_sans.name, face.index, face.name)],
        characters,
        captions=captions,
        caption_table=table,
        character_of=rows,
        font_of=torch.zeros_like(rows),
        pixels=lambda index: x0[index],
        identity="sixteen",
    )
    tokens = torch.randn(16 * 3, 32, generator=torch.Generator().manual_seed(0)).half()
    embeddings = Embeddings("random", "", 3, "", tokens, torch.arange(17) * 3)
    config = Config(
        network=UNetConfig(
            size=size, patch=2, channels=(32, 64), attention=(1,), head_width=16, text_width=32, context_width=64
        ),
        codec=CodecConfig(size=size),
        diffusion=DiffusionConfig(prediction="v", level_mean=-0.4),
        training=TrainingConfig(images=16 * 700, batch=16, learning_rate=2e-3, warmup=160, ema_decay=0.98, holdout=0),
    )
    trainer = Trainer(config, glyphs, embeddings, torch.device("cpu"))
    while trainer.images < config.training.images:
        trainer.step(trainer.images / config.training.images)

    denoiser = Denoiser(trainer.ema.network, config.diffusion.prediction)
    recipe = Recipe(sampler="dpmpp-2m", steps=20, guidance=1.0)
    *_, last = generate(
        denoiser,
        make_schedule(config.diffusion.schedule),
        recipe,
        embeddings.batch(rows),
        Condition.none(16, 32),
        rows,
        (1, size, size),
    )
    errors = (last.x[:, None] - to_unit(x0)[None, :, None]).square().mean(dim=(2, 3, 4))  # [sample, glyph]
    own, others = errors.diag(), errors + torch.eye(16) * 9
    print(f"own glyph: {float(own.mean()):.4f}, at most {float(own.max()):.4f}; others: {float(others.min()):.3f}")
    assert errors.argmin(dim=1).tolist() == rows.tolist()
    assert float(own.max()) < 0.08


@pytest.mark.parametrize("name", CONFIGS)
def test_bfloat16_is_the_same_network_rounded(name: str) -> None:
    """On a CPU attention and group norm go another way in bfloat16: to the same place, forth and back."""
    config = CONFIGS[name]
    network = channels_last(shaken(UNet(config)))
    (z, sigma), text = pictures(config, 2), captions(config, 2)

    def answer(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            out = network(z, sigma, network.encode(text))
        out.float().square().mean().backward()
        gradients = [p.grad.flatten() for p in network.parameters() if p.grad is not None]
        return out.detach().float(), torch.cat(gradients)

    for exact, rounded in zip(answer(torch.float32), answer(torch.bfloat16), strict=True):
        # Each rounding is one in 256, and processors sum in different orders; a wrong way is off by about one.
        assert 0 < float((rounded - exact).norm() / exact.norm()) < 0.1


@pytest.mark.parametrize("name", CONFIGS)
def test_a_pass_holds_as_much_with_diffusers(name: str) -> None:
    with torch.device("meta"):
        ours = UNet(CONFIGS[name])
        theirs = UNet2DConditionModel(**unet_config(ours))
    assert DiffusersNetwork(theirs, torch.ones(1)).numbers_a_row() == ours.numbers_a_row() > 0


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("side", [8, 31, 32, 40])
def test_group_norm_in_bfloat16_is_the_exact_one_rounded(side: int, gradients: bool) -> None:
    """Three ways lead there, by size and by whether gradients are wanted."""
    torch.manual_seed(0)
    norm = GroupNorm(96)
    nn.init.uniform_(norm.weight)
    nn.init.uniform_(norm.bias)
    x = (3 * torch.randn(2, 96, side, side) + 1).to(torch.bfloat16).contiguous(memory_format=torch.channels_last)
    exact = nn.functional.group_norm(x.double(), 32, norm.weight.double(), norm.bias.double())
    with torch.set_grad_enabled(gradients), torch.autocast("cpu", torch.bfloat16):
        rounded = norm(x)
    assert rounded.dtype == torch.bfloat16 and rounded.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(rounded.detach().double(), exact, rtol=2**-8, atol=1e-6)


def test_a_single_picture_passes_a_level_of_one_position() -> None:
    """With one channel a group, PyTorch's own norm refuses a batch of one there."""
    config = UNetConfig(
        size=8, patch=2, channels=(32, 32, 32), attention=(), head_width=16, text_width=24, context_width=32
    )
    network = shaken(UNet(config)).eval()
    z, sigma = pictures(config, 2)
    context = network.encode(captions(config, 2))
    with torch.no_grad():
        both = network(z, sigma, context)
        one = network(z[:1], sigma[:1], network.encode(captions(config, 2).rows(torch.tensor([0]))))
    torch.testing.assert_close(one, both[:1], rtol=1e-4, atol=1e-5)


def test_inner_levels_are_the_coarsest_with_what_embeds_text_and_noise() -> None:
    config = UNetConfig(size=32, patch=2, channels=(8, 16, 24, 32), head_width=8, context_width=8, attention=(3,))
    names = [name for name, _ in build_network(config).named_parameters()]
    assert config.inner(0) == config.inner(4) == ()
    trained = [{name for name in names if not name.startswith(config.inner(levels))} for levels in (1, 2, 3)]
    assert trained[0] > trained[1] > trained[2]
    first = {name.split(".")[0] + "." + name.split(".")[1] for name in trained[2]}
    assert first == {"conv_in.weight", "conv_in.bias", "down.0", "downsample.0", "up.3", "upsample.2"} | {
        f"{layer}.{part}" for layer in ("norm_out", "conv_out") for part in ("weight", "bias")
    }
    assert {name.split(".")[1] for name in trained[0] if name.startswith("down.")} == {"0", "1", "2"}
    for prefix in config.inner(3):
        assert any(name.startswith(prefix) for name in names), prefix
