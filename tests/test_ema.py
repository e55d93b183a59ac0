"""The average follows the network by the formula, and by nothing else."""

import pytest
import torch
from torch import Tensor

from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.networks.unet import UNet, UNetConfig
from glyffctl.core.training.ema import EMA

CONFIG = UNetConfig(
    size=8, patch=2, channels=(8,), attention=(), head_width=8, text_width=4, context_width=4, dropout=0.5
)


@pytest.fixture
def network() -> UNet:
    torch.manual_seed(0)
    return UNet(CONFIG)


def shift(network: UNet) -> None:
    """An optimizer step's worth of change."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter))


def weights(network: UNet) -> dict[str, Tensor]:
    return {name: tensor.double().clone() for name, tensor in network.state_dict().items()}


def test_starts_as_a_copy(network: UNet) -> None:
    ema = EMA(network, 0.9)
    before = weights(network)
    shift(network)
    assert all(torch.equal(ema.network.state_dict()[name].double(), tensor) for name, tensor in before.items())


@pytest.mark.parametrize(
    ("steps", "decay"),
    [(0, 1 / 10), (1, 2 / 11), (8, 9 / 18), (80, 81 / 90), (81, 0.9), (100_000, 0.9)],
)
def test_decay_warms_up(network: UNet, steps: int, decay: float) -> None:
    ema = EMA(network, 0.9)
    old = weights(network)
    shift(network)
    ema.update(network, ema.share(steps))
    new = weights(network)
    for name, averaged in ema.network.state_dict().items():
        expected = old[name] + (1 - decay) * (new[name] - old[name])
        torch.testing.assert_close(averaged.double(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("as_tensor", [False, True])
def test_agrees_with_a_plain_loop(network: UNet, as_tensor: bool) -> None:
    ema = EMA(network, 0.7)
    average = weights(network)
    for step in range(60):  # past the warm-up, which ends at step 20
        shift(network)
        share = ema.share(step)
        ema.update(network, torch.tensor(share) if as_tensor else share)
        decay = min(0.7, (1 + step) / (10 + step))
        for name, tensor in weights(network).items():
            average[name] = decay * average[name] + (1 - decay) * tensor
    for name, averaged in ema.network.state_dict().items():
        torch.testing.assert_close(averaged.double(), average[name], rtol=1e-5, atol=1e-5)
        assert averaged.dtype == torch.float32


def test_the_copy_does_not_train(network: UNet) -> None:
    network.train()
    ema = EMA(network, 0.9)
    assert not any(parameter.requires_grad for parameter in ema.network.parameters())
    assert not any(module.training for module in ema.network.modules())  # so dropout, 0.5 here, is off
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert network.training
    context = ema.network.encode(Condition.none(2, CONFIG.text_width))
    answer = ema.network(torch.randn(2, 1, 8, 8), torch.zeros(2), context)
    assert answer.grad_fn is None
    ema.update(network, ema.share(5))
    assert not any(parameter.requires_grad for parameter in ema.network.parameters())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in network.parameters())


def test_the_network_is_left_alone(network: UNet) -> None:
    ema = EMA(network, 0.9)
    shift(network)
    before = weights(network)
    ema.update(network, ema.share(3))
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights(network).items())
