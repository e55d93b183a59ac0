"""The transformer: its blocks are those of diffusers, and what it adds to them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.embeddings import get_2d_sincos_pos_embed
from torch import Tensor, nn
from torch.nn import functional as F

from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.diffusion.denoiser import Denoiser
from glyffctl.core.errors import UsageError
from glyffctl.core.models.config import merge, network_config, parse, read_preset
from glyffctl.core.networks.attention_maps import looks_at_words
from glyffctl.core.networks.captioned import Context
from glyffctl.core.networks.dit import Block, DiT, DiTConfig, hidden_width, positions
from glyffctl.core.networks.network import build_network, channels_last
from glyffctl.core.networks.sinusoid import sinusoid
from glyffctl.core.networks.student import Student
from tests.toys import captions, eps

SMALL = DiTConfig(size=16, patch=4, width=32, depth=2, head_width=8, detail=0, text_width=12, context_width=20)
CONFIGS = {
    "plain": SMALL,
    "two channels, one head, no pooled text": replace(SMALL, in_channels=2, head_width=32, pooled_text=False),
    "bottleneck": replace(SMALL, bottleneck=8, patch=8),
    "details": replace(SMALL, detail=6),
}


def shaken(network: Any, seed: int = 0, by: float = 0.05) -> Any:
    """`network` moved off its start, where zeros would hide most of it."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(by * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return network


def made(config: DiTConfig, dtype: torch.dtype = torch.float32) -> Any:
    """A `DiT` whose layers tests look into."""
    torch.manual_seed(0)
    return channels_last(shaken(DiT(config).to(dtype))).eval().requires_grad_(False)


def arguments(config: DiTConfig, count: int = 3, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    return eps(count, config.in_channels, config.size, config.size).to(dtype), torch.logspace(-1, 1, count).double()


def text(config: DiTConfig, count: int = 3, dtype: torch.dtype = torch.float32) -> Condition:
    """Captions of several lengths, the second of them none."""
    found = captions(count, config.text_width)
    mask = found.mask & (torch.arange(count) != 1)[:, None]
    return Condition(found.tokens.to(dtype) * mask[..., None], mask)


def answer(network: Any, condition: Condition) -> Tensor:
    z, sigma = arguments(network.config, len(condition.mask))
    return network(z, sigma, network.encode(condition))


def in_diffusers(block: Block, config: DiTConfig) -> Any:
    """A block with the same weights in diffusers; its σ embedding is called with one that is computed already."""
    other = BasicTransformerBlock(
        config.width,
        config.width // config.head_width,
        config.head_width,
        cross_attention_dim=config.context_width,
        activation_fn="geglu",
        num_embeds_ada_norm=1,
        norm_type="ada_norm_zero",
        norm_eps=1e-6,
        ff_inner_dim=hidden_width(config.width),
    )
    assert block.norm is not None
    nn.Module.to(other, block.norm.weight.dtype)
    other.norm1.emb = None
    names = {"modulate": "norm1.linear", "norm": "norm2", "ff.up": "ff.net.0.proj", "ff.down": "ff.net.2"}
    for ours, theirs in (("self_attn", "attn1"), ("cross_attn", "attn2")):
        names |= {f"{ours}.{a}": f"{theirs}.to_{b}" for a, b in (("query", "q"), ("key", "k"), ("value", "v"))}
        names[f"{ours}.out"] = f"{theirs}.to_out.0"
    weights = {}
    for name, tensor in block.state_dict().items():
        layer, _, kind = name.rpartition(".")
        weights[f"{names[layer]}.{kind}"] = tensor
    norm3 = {"norm3.weight": torch.ones(config.width), "norm3.bias": torch.zeros(config.width)}  # adaLN's has none
    other.load_state_dict(weights | norm3)
    return other.eval()


@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_a_block_is_that_of_diffusers(name: str) -> None:
    config = CONFIGS[name]
    network = made(config, torch.float64)
    context = network.encode(text(config, dtype=torch.float64))
    side = config.size // config.patch
    x, embedding = eps(3, side, side, config.width).double(), eps(3, config.width).double()
    block = network.blocks[0]
    ours = block(x, F.silu(embedding), context)
    other = in_diffusers(block, config)
    norm1 = other.norm1.forward
    other.norm1.forward = lambda x, *_, **__: norm1(x, emb=embedding)
    theirs = other(x.flatten(1, 2), encoder_hidden_states=context.tokens, encoder_attention_mask=context.mask[:, 0, 0])
    assert float((ours.flatten(1, 2) - theirs).abs().max() / theirs.abs().max()) < 1e-12
    assert float((ours - x).abs().max()) > 0.1


@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_the_network_is_what_its_papers_say(name: str) -> None:
    """Written down again for one picture, patch by patch; the blocks are held to those of diffusers above."""
    config = CONFIGS[name]
    network = made(config, torch.float64)
    z, sigma = arguments(config, dtype=torch.float64)
    context = network.encode(text(config, dtype=torch.float64))
    together = network(z, sigma, context)
    side, patch = config.size // config.patch, config.patch
    for row in range(3):
        code = sinusoid((sigma[row : row + 1].log() / 4), config.width)
        embedding = network.embed_sigma(code)
        if context.pooled is not None:
            embedding = embedding + context.pooled[row]
        tokens = torch.zeros(1, side, side, config.width, dtype=torch.float64)
        for i in range(side):
            for j in range(side):
                pixels = z[row, :, i * patch : (i + 1) * patch, j * patch : (j + 1) * patch].flatten()
                token = F.linear(pixels, network.patch_in.weight, network.patch_in.bias)
                tokens[0, i, j] = network.widen(token[None, None, None]) if config.bottleneck else token
        tokens = tokens + positions(side, config.width, tokens)
        mine = Context(context.tokens[row : row + 1], context.mask[row : row + 1], None)
        for block in network.blocks:
            tokens = block(tokens, F.silu(embedding), mine)
        shift, scale = F.linear(F.silu(embedding), network.modulate.weight, network.modulate.bias).chunk(2, dim=1)
        tokens = F.layer_norm(tokens, (config.width,), eps=1e-6) * (1 + scale) + shift
        expected = torch.zeros_like(z[row])
        for i in range(side):
            for j in range(side):
                found = F.linear(tokens[0, i, j], network.out.weight, network.out.bias)
                expected[:, i * patch : (i + 1) * patch, j * patch : (j + 1) * patch] = found.view(-1, patch, patch)
        if network.details is not None:
            expected = expected + network.details(tokens, z[row : row + 1])[0]
        assert float((together[row] - expected).abs().max() / expected.abs().max()) < 1e-12


@pytest.mark.parametrize("side", [1, 3, 16])
def test_positions_are_those_of_diffusers(side: int) -> None:
    """But for the order of their numbers: sines before cosines there, columns before rows."""
    theirs = get_2d_sincos_pos_embed(24, side, base_size=side).view(side, side, 2, 2, 6)
    ours = positions(side, 24, torch.zeros(0, dtype=torch.float64)).view(side, side, 2, 2, 6)
    torch.testing.assert_close(ours, theirs.flip(2, 3).double(), rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", CONFIGS)
def test_at_first_it_answers_nothing_and_learns_from_there(name: str) -> None:
    """Zero start: blocks are the identity, the answer 0; some steps later all weights have moved."""
    config = CONFIGS[name]
    torch.manual_seed(0)
    network, condition = DiT(config), text(config)
    z, sigma = arguments(config)
    assert not network(z, sigma, network.encode(condition)).any()
    x, context = eps(3, 4, 4, config.width).float(), network.encode(condition)
    assert torch.equal(network.blocks[0](x, eps(3, config.width).float(), context), x)

    x0 = F.avg_pool2d(z, 4).repeat_interleave(4, 2).repeat_interleave(4, 3)
    start = {key: parameter.detach().clone() for key, parameter in network.named_parameters()}
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    losses = []
    for _ in range(60):
        loss = Denoiser(network, "x0").loss(x0, z, sigma, network.encode(condition)).mean()
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.5 * losses[0]
    assert not [key for key, parameter in network.named_parameters() if torch.equal(parameter, start[key])]


@pytest.mark.parametrize("name", CONFIGS)
def test_padding_is_not_seen_and_every_token_is(name: str) -> None:
    network = made(CONFIGS[name])
    condition = text(network.config)
    expected = answer(network, condition)
    scale = float(expected.abs().max())
    garbage = torch.full((3, 4, network.config.text_width), 1e4)
    longer = Condition(
        torch.cat([torch.where(condition.mask[..., None], condition.tokens, -1e4), garbage], 1),
        torch.cat([condition.mask, torch.zeros(3, 4, dtype=torch.bool)], 1),
    )
    order = torch.arange(longer.mask.shape[1]).roll(2)  # cross-attention knows no order: padding may lie anywhere
    for other in (longer, Condition(longer.tokens[:, order], longer.mask[:, order])):
        assert float((answer(network, other) - expected).abs().max()) < 1e-5 * scale
    for token in condition.mask[2].nonzero().flatten():
        changed = condition.tokens.clone()
        changed[2, token] = eps(network.config.text_width).float()
        moved = (answer(network, Condition(changed, condition.mask)) - expected).abs().amax(dim=(1, 2, 3))
        assert float(moved[2]) > 1e-4 * scale and float(moved[:2].max()) < 1e-5 * scale


def test_no_caption_is_one_learned_token() -> None:
    network = made(SMALL)
    none = answer(network, Condition.none(3, SMALL.text_width))
    dropped = answer(network, Condition(100 * eps(3, 5, SMALL.text_width).float(), torch.zeros(3, 5, dtype=torch.bool)))
    torch.testing.assert_close(dropped, none, rtol=0, atol=1e-5 * float(none.abs().max()))
    network.null_token += 1
    assert float((answer(network, Condition.none(3, SMALL.text_width)) - none).abs().max()) > 1e-3
    with pytest.raises(UsageError, match=r"vectors are 512 wide, the network takes 12"):
        network.encode(Condition.none(2, 512))


@pytest.mark.parametrize("pooled", [True, False])
def test_pooled_text_is_a_second_way_in(pooled: bool) -> None:
    network = made(replace(SMALL, pooled_text=pooled))
    for block in network.blocks:
        nn.init.zeros_(block.cross_attn.out.weight)
    difference = answer(network, text(SMALL)) - answer(network, Condition.none(3, SMALL.text_width))
    assert (float(difference.abs().max()) > 1e-3) == pooled


def test_cross_attention_can_be_left_out() -> None:
    """The mean token is then all that is seen of the text; a file of before has no such setting, and both ways."""
    assert network_config({"kind": "dit"}) == DiTConfig(pooled_text=True, cross_text=True)
    network = made(replace(SMALL, cross_text=False))
    assert not any("cross_attn" in name for name in network.state_dict()) and not looks_at_words(network)
    said, none = text(SMALL), Condition.none(3, SMALL.text_width)
    difference = (answer(network, said) - answer(network, none)).abs().amax(dim=(1, 2, 3))
    assert (difference > 1e-3).tolist() == [True, False, True]  # the second has no caption
    swapped = Condition(said.tokens.flip(1), said.mask.flip(1))
    torch.testing.assert_close(answer(network, swapped), answer(network, said))
    student = Student(network, 2)
    assert not any("cross_attn" in name for name in student.state_dict())
    with pytest.raises(UsageError, match="pooled_text and cross_text"):
        replace(SMALL, cross_text=False, pooled_text=False)


def test_positions_and_neighbours_matter() -> None:
    """Patches that change places are not just answered in other places; and each patch looks at all others."""
    network = made(SMALL)
    z, sigma = arguments(SMALL)
    context = network.encode(text(SMALL))
    expected = network(z, sigma, context)
    rolled = network(z.roll(4, 3), sigma, context).roll(-4, 3)
    assert float((rolled - expected).abs().max()) > 1e-3 * float(expected.abs().max())
    changed = z.clone()
    changed[:, :, :4, :4] += 1
    difference = F.max_pool2d((network(changed, sigma, context) - expected).abs(), 4)
    assert float(difference.min()) > 0


def test_details_cross_the_seams_of_patches() -> None:
    """A convolution sees what lies beside a patch even where attention is shut."""
    config = replace(SMALL, detail=6)
    network = made(config)
    z, sigma = arguments(config)
    context = network.encode(text(config))
    for block in network.blocks:
        for branch in (block.self_attn.out, block.cross_attn.out):
            nn.init.zeros_(branch.weight)
    changed = z.clone()
    changed[:, :, 3, 3] += 1  # of the first patch
    moved = (network(changed, sigma, context) - network(z, sigma, context)).abs().amax(dim=(0, 1)) > 0
    assert moved[:4, :4].any() and moved[4, 4] and not moved[8:].any() and not moved[:, 8:].any()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"size": 30}, ["size 30", "patch 4"]),
        ({"patch": 0}, ["positive"]),
        ({"depth": -1}, ["positive"]),
        ({"bottleneck": -1}, ["bottleneck"]),
        ({"width": 36}, ["width 36", "head_width 8"]),
        ({"width": 30, "head_width": 15}, ["width 30", "multiple of 4"]),
        ({"width": 1 << 20}, ["65,536"]),
        ({"depth": 10**9}, ["depth to 256"]),
        ({"detail": 8, "patch": 2}, ["detail", "multiple of 4"]),
        ({"dropout": 1.0}, ["dropout", "1.0"]),
        ({"dropout": float("nan")}, ["dropout", "nan"]),
    ],
)
def test_sizes_that_cannot_be_built_are_refused(change: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        replace(SMALL, **change)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_wide_patches_are_for_x0() -> None:
    assert not replace(SMALL, patch=16).cautions("x0") and not SMALL.cautions("eps")
    (line,) = replace(SMALL, patch=16).cautions("v")
    assert "x0" in line and "network.width" in line
    (line,) = replace(SMALL, bottleneck=8).cautions("eps")
    assert "network.bottleneck" in line


def test_muon_takes_maps_from_features_to_features() -> None:
    config = replace(SMALL, detail=6, bottleneck=8)
    taken = {name for name, parameter in DiT(config).named_parameters() if config.is_matrix(name, parameter)}
    assert {"widen.weight", "blocks.0.modulate.weight", "details.mix.weight", "text_in.1.weight"} <= taken
    assert not taken & {"patch_in.weight", "out.weight", "details.noisy.weight", "details.out.weight", "null_token"}


@torch.no_grad()
def test_dropout_is_for_training_alone() -> None:
    network = made(replace(SMALL, dropout=0.5))
    condition = text(SMALL)
    torch.testing.assert_close(answer(network, condition), answer(made(SMALL), condition))
    network.train()
    assert not torch.equal(answer(network, condition), answer(network, condition))


def test_a_student_of_it_is_told_where_to_jump() -> None:
    network = made(SMALL)
    student = Student(network, 2)
    z, sigma = arguments(SMALL)
    condition = text(SMALL)
    context, ones = student.encode(condition), torch.ones(3, dtype=torch.float64)
    torch.testing.assert_close(student(z, sigma, context, 0 * ones, ones), answer(network, condition))
    shaken(student.requires_grad_(False), by=0.2)
    merged, context = student.merged(), student.encode(condition)
    answers = [student(z, sigma, context, target * ones, gamma * ones) for target, gamma in ((0, 1), (0.05, 1), (0, 4))]
    assert all(float((other - answers[0]).abs().max()) > 1e-3 for other in answers[1:])
    torch.testing.assert_close(merged(z, sigma, merged.encode(condition), 0 * ones, 4 * ones), answers[2])


@pytest.mark.thorough
@pytest.mark.parametrize("name", [pytest.param("plain", marks=pytest.mark.thorough), "details"])
def test_it_compiles_whole(name: str) -> None:
    network, condition = made(CONFIGS[name]), text(CONFIGS[name])
    expected = answer(network, condition)
    network.compile(backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(answer(network, condition), expected)


def test_the_preset_costs_what_the_u_net_of_the_cpu_preset_does() -> None:
    """By the operations of one pass; attention is counted, which needs PyTorch's plain way through it."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    operations = {}
    for preset in ("cpu", "dit"):
        config = replace(parse(merge(read_preset(preset))).network, size=128)
        network = build_network(config).eval()
        condition = Condition(torch.zeros(1, 16, config.text_width), torch.ones(1, 16, dtype=torch.bool))
        counter = FlopCounterMode(display=False)
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
            network(torch.zeros(1, 1, 128, 128), torch.ones(1).double(), network.encode(condition))
        operations[preset] = counter.get_total_flops()
    print(operations)
    assert operations["dit"] == pytest.approx(operations["cpu"], rel=0.01)


def test_defaults_are_the_preset_s() -> None:
    assert parse(merge(read_preset("dit"))).network == DiTConfig()
