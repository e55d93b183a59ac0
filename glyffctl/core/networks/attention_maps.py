"""Where a network looks at which word: the cross-attention of its layers, kept while it draws.

After Tang et al. (2022, "DAAM", arXiv 2210.04885): the share of a token in what a position takes from the text, the
mean over the heads.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from glyffctl.core.networks.attention import Attention, SelfAttention
from glyffctl.core.networks.captioned import CaptionedNetwork


@dataclass
class AttentionMaps:
    """What was kept.

    Attributes:
        layers: the names of the layers that look at the text, in the order in which they compute.
        passes: for each pass of the network and each layer (B, L, H, W) float32 on the CPU: at each position, the
            weights of all L tokens sum to 1. H×W is the grid of that layer; tokens that are padding have 0.
    """

    layers: list[str] = field(default_factory=list)
    passes: list[list[Tensor]] = field(default_factory=list)


def looks_at_words(network: nn.Module) -> bool:
    """Whether there is anything to keep: whether it has layers of cross-attention."""
    return isinstance(network, CaptionedNetwork) and any(True for _ in _looking(network))


@contextmanager
def kept_attention(network: nn.Module) -> Iterator[AttentionMaps]:
    """A block in which passes of `network` are watched. Outside of it they cost what they always do."""
    maps = AttentionMaps()
    first: list[nn.Module] = []

    def watch(name: str, layer: Attention) -> Any:
        @torch.no_grad()
        def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            x, source, mask = inputs
            if not first:
                first.append(layer)
            if layer is first[0]:
                maps.passes.append([])
            if len(maps.passes) == 1:
                maps.layers.append(name)
            # In float32 whatever the pass computes in: the pass itself does not see these numbers.
            with torch.autocast(x.device.type, enabled=False):
                weights = layer.weights(x.float(), source.float(), mask).mean(1).mT
            maps.passes[-1].append(weights.unflatten(2, x.shape[1:3]).cpu())

        return layer.register_forward_pre_hook(keep)

    hooks = [watch(name, layer) for name, layer in _looking(network)]
    try:
        yield maps
    finally:
        for hook in hooks:
            hook.remove()


def _looking(network: nn.Module) -> Iterator[tuple[str, Attention]]:
    for name, layer in network.named_modules():
        if isinstance(layer, Attention) and not isinstance(layer, SelfAttention):
            yield name, layer
