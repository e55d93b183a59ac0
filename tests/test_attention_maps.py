"""Where a drawing looks at which word: the numbers, that nobody pays for them, and the figure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from glyffctl.core.device import CPU
from glyffctl.core.errors import ModelError
from glyffctl.core.io.bundled import BUNDLED
from glyffctl.core.models.checkpoint import load_model, save_model
from glyffctl.core.models.drawer import Drawer
from glyffctl.core.models.recipe import Recipe
from glyffctl.core.models.word_maps import word_maps
from glyffctl.core.networks.attention import Attention
from glyffctl.core.networks.attention_maps import kept_attention, looks_at_words
from glyffctl.core.networks.network import NETWORKS
from glyffctl.core.networks.unet import UNet, UNetConfig
from glyffctl.core.text.loading import load_encoder
from glyffctl.workflows.events import finish
from glyffctl.workflows.noise_demo import NoiseDemoOptions, noise_demo
from tests.conftest import Workshop, of_kind
from tests.stand_ins import make_t5
from tests.test_dit import SMALL, arguments, made, text
from tests.test_encoders import Letters
from tests.test_extensions import added
from tests.test_unet import shaken
from tests.toys import eps


@torch.no_grad()
@pytest.mark.parametrize("masked", [True, False])
def test_weights_are_those_that_attention_mixes_by(masked: bool) -> None:
    attention = Attention(12, 10, 4).double()
    x, source = eps(2, 3, 5, 12), eps(2, 7, 10)
    mask = torch.tensor([[True] * 7, [True] * 3 + [False] * 4])[:, None, None] if masked else None
    weights = attention.weights(x, source, mask).double()
    values = attention.value(source).unflatten(2, (3, 4)).transpose(1, 2)
    mixed = (weights @ values).transpose(1, 2).flatten(2).unflatten(1, (3, 5))
    torch.testing.assert_close(attention.out(mixed), attention(x, source, mask), rtol=0, atol=1e-6)
    assert weights.shape == (2, 3, 15, 7) and (not masked or not weights[1, ..., 3:].any())


@torch.no_grad()
def test_a_watched_pass_is_the_same_pass_and_leaves_nothing_behind() -> None:
    network, condition = made(SMALL), text(SMALL)
    z, sigma = arguments(SMALL)
    context = network.encode(condition)
    expected = network(z, sigma, context)
    with kept_attention(network) as kept:
        for _ in range(2):
            assert torch.equal(network(z, sigma, context), expected)
    assert not any(module._forward_pre_hooks for module in network.modules())
    network(z, sigma, context)
    assert kept.layers == ["blocks.0.cross_attn", "blocks.1.cross_attn"] and len(kept.passes) == 2
    for maps in kept.passes:
        assert [tuple(each.shape) for each in maps] == [(3, 3, 4, 4)] * 2
        for each in maps:
            torch.testing.assert_close(each.sum(1), torch.ones(3, 4, 4))
            for row in (0, 2):
                assert not each[row, ~condition.mask[row]].any(), "padding has no share"
            assert bool((each[1, 0] == 1).all()), "no caption is one token"
            assert float(each[2].std(dim=(1, 2)).min()) > 0, "patches look at different words"


@torch.no_grad()
def test_levels_of_a_u_net_have_their_own_grids() -> None:
    config = UNetConfig(
        size=16, patch=2, channels=(32, 64), attention=(0, 1), head_width=16, text_width=12, context_width=20
    )
    network, condition = shaken(UNet(config)).eval(), text(SMALL)
    z, sigma = arguments(SMALL)
    with kept_attention(network) as kept:
        network(z, sigma, network.encode(condition))
    assert {each.shape[-1] for each in kept.passes[0]} == {8, 4} and len(kept.layers) == len(kept.passes[0]) == 7
    assert not looks_at_words(nn.Linear(2, 2)) and looks_at_words(network)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_maps_of_a_drawing(tiny_run: Path, precision: str) -> None:
    model = load_model(tiny_run)
    drawer, recipe = Drawer.of(model, CPU, precision=precision), Recipe(steps=6)
    encoder = load_encoder(model.encoder.name, max_tokens=model.encoder.max_tokens)
    condition = encoder.encode(["a bell used in ancient times"])
    expected = finish(drawer.draw(recipe, condition, torch.tensor([3])))
    found = finish(word_maps(drawer, model.network, recipe, condition, 3, (20.0, 19.9, 1.0, 1e-3)))
    assert found.sigmas == sorted(found.sigmas, reverse=True) and 1 < len(found.sigmas) < 4
    assert found.guesses.shape == (len(found.sigmas), 32, 32) and len(found.layers) > 1
    for level in range(len(found.sigmas)):
        means = found.mean_over_layers(level)
        assert means.shape == (condition.mask.shape[1], 32, 32)
        torch.testing.assert_close(means.sum(0), torch.ones(32, 32))
    assert torch.equal(finish(drawer.draw(recipe, condition, torch.tensor([3]))), expected)


def test_tokens_have_names(tmp_path: Path) -> None:
    for name in (BUNDLED, str(make_t5(tmp_path / "t5"))):
        encoder = load_encoder(name)
        pieces = encoder.pieces("a kind of fish")
        assert len(pieces) == len(encoder.tokenize(["a kind of fish"])[0])
        assert pieces[-1] == "‹s›" and "".join(pieces[:-1]).replace("␣", "") == "akindoffish"
    assert Letters(8).pieces("ab") == ["token 1", "token 2"] and encoder.pieces("") == []


@pytest.fixture
def mixer() -> Iterator[None]:
    yield from added(NETWORKS, "mixer")


@pytest.mark.thorough
def test_the_figure_is_for_models_that_look_at_words(
    mixer: None, workshop: Workshop, tiny_run: Path, tmp_path: Path
) -> None:
    wanted = NoiseDemoOptions(data=workshop.data, figures=("attention",), prompt="a $kind$ of fish, and more than that")
    report = finish(noise_demo(replace(wanted, model=tiny_run, out=tmp_path / "whole")))
    assert report.figures[0].file.is_file() and "$kind$" in report.figures[0].measured
    empty = finish(noise_demo(replace(wanted, model=tiny_run, prompt="", out=tmp_path / "empty")))
    assert "100%" in empty.figures[0].measured, "no prompt is one token"

    model = load_model(tiny_run)
    other = NETWORKS["mixer"]
    config = other.config(size=32, text_width=model.text_width, width=8, layers=1)
    origin = replace(model.origin, config=replace(model.origin.config, network=config))
    (tmp_path / "mixer").mkdir()
    save_model(tmp_path / "mixer" / "model.safetensors", replace(model, network=other.build(config), origin=origin))
    mixed = replace(wanted, model=tmp_path / "mixer", out=tmp_path / "mixed")
    with pytest.raises(ModelError, match="--figure attention"):
        finish(noise_demo(mixed))
    # Among all figures it is left out: not drawn to the end here.
    running = noise_demo(replace(mixed, figures=()))
    events = []
    for event in running:
        events.append(event)
        if of_kind(events, "figures-skipped"):
            break
    running.close()
    assert of_kind(events, "figures-skipped")[0].facts == {"figures": ("attention",)}
