"""What every network of the table that reads text must do, with sizes of its defaults."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.errors import UsageError
from glyffctl.core.models.config import as_dict, fit_to_data, parse
from glyffctl.core.networks.network import NETWORKS, Network, build_network, kind_of, network_kinds
from tests.toys import captions, eps

SIZE, WIDTH = 32, 24


@pytest.fixture(params=list(NETWORKS))
def network(request: pytest.FixtureRequest) -> Network:
    return make(request.param)


def make(name: str) -> Network:
    """A network for two channels; its layers are shaken, since some start at zero."""
    config = NETWORKS[name].config(size=SIZE, in_channels=2, text_width=WIDTH)
    torch.manual_seed(0)
    network = build_network(config).eval().requires_grad_(False)
    for parameter in network.parameters():
        parameter.add_(0.02 * torch.randn_like(parameter))
    return network


def arguments(count: int = 3) -> tuple[Tensor, Tensor, Condition]:
    text = captions(count, WIDTH)
    tokens, mask = text.tokens.float(), text.mask.clone()
    mask[0] = False  # no caption
    z = eps(count, 2, SIZE, SIZE).float()
    return z, torch.logspace(-1, 1, count, dtype=torch.float64), Condition(tokens * mask[..., None], mask)


def test_its_output_has_the_shape_of_its_input(network: Network) -> None:
    z, sigma, text = arguments()
    output = network(z, sigma, network.encode(text))
    assert output.shape == z.shape and output.dtype == torch.float32
    assert bool(output.isfinite().all()) and float(output.std()) > 0


def test_every_row_is_its_own(network: Network) -> None:
    z, sigma, text = arguments()
    together = network(z, sigma, network.encode(text))
    for row in range(len(z)):
        one = slice(row, row + 1)
        alone = network(z[one], sigma[one], network.encode(Condition(text.tokens[one], text.mask[one])))
        torch.testing.assert_close(alone, together[one], rtol=1e-4, atol=1e-4 * float(together.abs().max()))


def test_noise_level_and_text_count(network: Network) -> None:
    z, sigma, text = arguments()
    context = network.encode(text)
    assert not torch.allclose(network(z, sigma, context), network(z, 2 * sigma, context))
    other = Condition(text.tokens.roll(1, 0), text.mask.roll(1, 0))
    assert not torch.allclose(network(z, sigma, context), network(z, sigma, network.encode(other)))


def test_it_runs_in_bfloat16(network: Network) -> None:
    z, sigma, text = arguments()
    exact = network(z, sigma, network.encode(text))
    with torch.autocast("cpu", torch.bfloat16):
        rounded = network(z, sigma, network.encode(text)).float()
    assert float((rounded - exact).norm() / exact.norm()) < 0.1


def test_gradients_reach_every_parameter(network: Network) -> None:
    network.requires_grad_(True).train()
    z, sigma, text = arguments()
    network(z, sigma, network.encode(text)).square().mean().backward()
    assert not [name for name, parameter in network.named_parameters() if parameter.grad is None]


@pytest.mark.parametrize("name", list(network_kinds()))
def test_its_settings_survive_a_round_trip_and_know_the_data(name: str) -> None:
    sections: dict[str, dict[str, Any]] = {"network": {"kind": name}, "training": {"minutes": 1}}
    config = fit_to_data(sections, SIZE, WIDTH)
    network = config.network
    assert (network.size, network.in_channels, network.text_width) == (SIZE, 1, WIDTH)
    assert kind_of(network) == name
    assert parse(as_dict(config)) == config


def test_what_is_no_kind_or_setting_is_named() -> None:
    with pytest.raises(UsageError, match=r"network.kind .*unet"):
        parse({"network": {"kind": "unnet"}, "training": {"minutes": 1}})
    with pytest.raises(UsageError, match=r"network.widht") as caught:
        parse({"network": {"widht": 3}, "training": {"minutes": 1}})
    assert "in_channels" not in str(caught.value)  # which no setting decides
