"""The exponential moving average of weights: the model that is sampled from."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from glyffctl.core.networks.network import Network


class EMA:
    """A float32 copy of a network that follows it: θ̄ ← θ̄ + (1 − decay)·(θ − θ̄).

    While few steps have been made the decay is smaller, min(decay, (1+n)/(10+n)): the random start is soon forgotten.
    """

    def __init__(self, network: Network, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay = decay

    def share(self, steps: int) -> float:
        """1 − decay after the optimizer step number `steps` (from 0)."""
        return 1 - min(self.decay, (1 + steps) / (10 + steps))

    @torch.no_grad()
    def update(self, network: Network, share: float | Tensor) -> None:
        """Follow `network` by `share`; a tensor () is read by the device."""
        averages: list[Tensor] = list(self.network.parameters())
        weights: list[Tensor] = list(network.parameters())
        if not isinstance(share, Tensor):
            torch._foreach_lerp_(averages, weights, share)
            return
        differences = torch._foreach_sub(weights, averages)
        torch._foreach_mul_(differences, share)
        torch._foreach_add_(averages, differences)
