"""AdamW as torch has it, and Muon for matrices and kernels."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from glyffctl.core.networks.network import channels_last
from glyffctl.core.networks.unet import UNet, UNetConfig
from glyffctl.core.training.optimizer import Optimizer

CONFIG = UNetConfig(
    size=16, patch=2, channels=(16, 32), blocks=1, attention=(1,), head_width=16, text_width=8, context_width=16
)
SETTINGS: dict[str, Any] = {"learning_rate": 1e-2, "weight_decay": 0.1, "betas": (0.9, 0.99)}


@pytest.fixture
def network() -> UNet:
    torch.manual_seed(0)
    return channels_last(UNet(CONFIG))


def with_gradients(network: UNet, seed: int = 1) -> UNet:
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim == 4:
            parameter.grad = parameter.grad.contiguous(memory_format=torch.channels_last)
    return network


def test_adamw_is_torch_s_and_shrinks_matrices_alone(network: UNet) -> None:
    other = copy.deepcopy(network)
    ours = Optimizer("adamw", network, network.config.is_matrix, **SETTINGS)
    theirs = [
        torch.optim.AdamW([p], lr=3e-3, betas=(0.9, 0.99), weight_decay=0.1 if p.ndim > 1 else 0.0)
        for p in other.parameters()
    ]
    for seed in range(3):
        with_gradients(network, seed), with_gradients(other, seed)
        ours.step(3e-3)
        for optimizer in theirs:
            optimizer.step()
    for a, b in zip(network.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_muon_moves_every_direction_of_a_matrix_alike(network: UNet) -> None:
    before = copy.deepcopy(network)
    optimizer = Optimizer(
        "muon",
        with_gradients(network),
        network.config.is_matrix,
        learning_rate=1e-2,
        weight_decay=0.0,
        betas=(0.9, 0.99),
    )
    optimizer.step(1e-2)
    kinds = set()
    ends = {"conv_in.weight", "conv_out.weight"}
    for (name, after), old in zip(network.named_parameters(), before.parameters(), strict=True):
        moved = after.detach() - old.detach()
        assert moved.abs().max() > 0, name
        if after.ndim == 1 or name in ends:
            # The first step of AdamW is the sign of the gradient.
            torch.testing.assert_close(moved.abs(), torch.full_like(moved, 1e-2), rtol=1e-3, atol=1e-5)
            continue
        kinds.add(after.ndim)
        matrix = moved.permute(0, 2, 3, 1).flatten(1) if moved.ndim == 4 else moved
        length = torch.linalg.svdvals(matrix) / (0.2 * max(matrix.shape) ** 0.5 * 1e-2)
        # Five rounds of Newton and Schulz bring singular values near 1, not to it; hardly the smallest of square ones.
        assert length.max() < 1.4, name
        assert length.median() > 0.6, name
    assert kinds == {2, 4}


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_what_is_remembered_can_be_given_back(network: UNet, name: str) -> None:
    first = Optimizer(name, network, network.config.is_matrix, **SETTINGS)  # type: ignore[arg-type]
    with_gradients(network, 1)
    first.step(1e-2)
    other = copy.deepcopy(network)
    second = Optimizer(name, other, other.config.is_matrix, **SETTINGS)  # type: ignore[arg-type]
    assert second.state_of(next(other.parameters())) == {}
    for a, b in zip(network.parameters(), other.parameters(), strict=True):
        assert first.state_of(a)
        second.restore(b, {key: value.contiguous() for key, value in first.state_of(a).items()})
    with_gradients(network, 2), with_gradients(other, 2)
    first.step(1e-2)
    second.step(1e-2)
    for a, b in zip(network.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
    first.zero_grad()
    assert all(parameter.grad is None for parameter in network.parameters())
