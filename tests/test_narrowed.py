"""Drawing in bfloat16 with weights that are narrowed once: the numbers of autocast, for every network of the table."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from glyffctl.core.networks.narrowed import NarrowedNetwork, layers_under_autocast
from glyffctl.core.networks.network import NETWORKS
from tests.test_networks import arguments, make


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_the_numbers_are_those_of_autocast(name: str) -> None:
    network = make(name)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    z, sigma, text = arguments()
    narrowed = NarrowedNetwork(network, torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        expected = network(z, sigma, network.encode(text))
        for turn in range(3):
            context = narrowed.encode(text)
            assert torch.equal(narrowed(z, sigma, context), expected), turn
    for key, tensor in network.state_dict().items():
        assert tensor.dtype == before[key].dtype and torch.equal(tensor, before[key]), key


@torch.no_grad()
def test_no_pass_but_the_first_casts_weights() -> None:
    network = make("unet")
    z, sigma, text = arguments()
    narrowed, context = NarrowedNetwork(network, torch.bfloat16), network.encode(text)
    with torch.autocast("cpu", torch.bfloat16):
        narrowed(z, sigma, context)
        with torch.profiler.profile(record_shapes=True) as profile:
            narrowed(z, sigma, context)
    shapes = {tuple(weight.shape) for weight in network.parameters() if weight.ndim == 4}
    casts = [event.input_shapes[0] for event in profile.events() if event.name == "aten::_to_copy"]
    assert casts and not [shape for shape in casts if tuple(shape) in shapes]


class Mixed(nn.Module):
    """One layer runs under autocast, one in float32, one both ways, and one has its weight used bare."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.outside, self.both, self.bare = (nn.Linear(6, 6) for _ in range(4))

    def encode(self, text: Tensor) -> Tensor:
        return self.inside(text)

    def forward(self, z: Tensor, sigma: Tensor, context: Tensor) -> Tensor:
        hidden = self.both(self.inside(z * sigma[:, None])) + self.bare.weight.sum()
        with torch.autocast("cpu", enabled=False):
            return self.both(self.outside(hidden.float() + context))


@torch.no_grad()
def test_what_needs_float32_keeps_it() -> None:
    torch.manual_seed(0)
    network, z, sigma = Mixed(), torch.randn(5, 6), torch.ones(5)
    narrowed = NarrowedNetwork(network, torch.bfloat16)  # type: ignore[arg-type]
    context = narrowed.encode(z)  # type: ignore[arg-type]
    assert context.dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        expected = network(z, sigma, context)
        assert all(torch.equal(narrowed(z, sigma, context), expected) for _ in range(2))
        with layers_under_autocast(network, z.device) as layers:
            network(z, sigma, context)
    assert layers == {network.inside}
