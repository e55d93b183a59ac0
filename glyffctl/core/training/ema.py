"""The exponential moving average of weights: the model that is sampled from."""

from __future__ import annotations

import copy

import torch

from glyffctl.core.networks.network import Network


class EMA:
    """A float32 copy of a network that follows it: θ̄ ← θ̄ + (1 − decay)·(θ − θ̄).

    While few steps have been made the decay is smaller, min(decay, (1+n)/(10+n)): the random start is soon forgotten.
    """

    def __init__(self, network: Network, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, network: Network, steps: int) -> None:
        """Follow `network` after its optimizer step number `steps` (from 0)."""
        decay = min(self.decay, (1 + steps) / (10 + steps))
        torch._foreach_lerp_(list(self.network.parameters()), list(network.parameters()), 1 - decay)
