"""Weights that autocast narrows wherever they are used, narrowed once."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from glyffctl.core.networks.network import AnyNetwork, Network
from glyffctl.core.networks.student import MergedStudent


@contextmanager
def layers_under_autocast(module: nn.Module, device: torch.device) -> Iterator[set[nn.Module]]:
    """A block, with a pass of `module` inside; the set then has the layers that autocast narrows the weights of."""
    inside, outside = set[nn.Module](), set[nn.Module]()

    def note(layer: nn.Module, _: Any) -> None:
        (inside if torch.is_autocast_enabled(device.type) else outside).add(layer)

    layers = [layer for layer in module.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_pre_hook(note) for layer in layers]
    try:
        yield inside
    finally:
        for hook in hooks:
            hook.remove()
        inside -= outside


def narrow(network: AnyNetwork, layers: Iterable[nn.Module], dtype: torch.dtype) -> AnyNetwork:
    """A copy of `network` in which `layers` of it have their weights in `dtype`; it shares all other tensors."""
    tensors: dict[int, Any] = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
    for layer in layers:
        for weight in layer.parameters(recurse=False):
            tensors[id(weight)] = nn.Parameter(weight.detach().to(dtype), requires_grad=False)
    return copy.deepcopy(network, tensors)  # which takes what the memo has as it is


class NarrowedNetwork:
    """A network to draw with under autocast: the same numbers, and its weights are narrowed in the first pass alone.

    Autocast keeps narrowed weights for the length of a pass, and only where they have gradients. Weights that change
    after the first pass are not noticed.
    """

    def __init__(self, network: Network | MergedStudent, dtype: torch.dtype) -> None:
        """Take a network, and the type that autocast is used with."""
        self.encode = network.encode  # in float32, so not with the narrowed weights
        self._network = network
        self._dtype = dtype
        self._narrowed: Network | MergedStudent | None = None

    def __call__(self, z: Tensor, sigma: Tensor, context: Any, *others: Any) -> Tensor:
        """F, as the network's `forward`; under autocast."""
        if self._narrowed is not None:
            return self._narrowed(z, sigma, context, *others)
        with layers_under_autocast(self._network, z.device) as layers:
            result: Tensor = self._network(z, sigma, context, *others)
        self._narrowed = narrow(self._network, layers, self._dtype)
        return result
