"""The stages of a network as it is: what each part gives to the next, with its shape, in the order they run in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import nn

from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.networks.attention import Attention, SelfAttention
from glyffctl.core.networks.network import Network, parameter_count


class Stage(NamedTuple):
    """A part of a network.

    Attributes:
        name: of the module in its network, as "down.0.1".
        channels: of what it gives on.
        side: height and width of that.
        parameters: its trained numbers.
        attends: whether places in it look at each other.
        reads: whether places in it look at the text.
    """

    name: str
    channels: int
    side: int
    parameters: int
    attends: bool
    reads: bool


def _parts(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The children of a network, with lists opened."""
    for name, child in network.named_children():
        if isinstance(child, nn.ModuleList):
            for inner, part in _parts(child):
                yield f"{name}.{inner}", part
        else:
            yield name, child


@torch.no_grad()
def stages(network: Network) -> list[Stage]:
    """Send one empty picture through `network` and note what each of its parts gives: those that give pictures."""
    found: list[Stage] = []
    device = next(network.parameters()).device

    def noted(name: str) -> Any:
        def note(module: nn.Module, _: Any, out: Any) -> None:
            mixes = any(parameter.ndim > 1 for parameter in module.parameters())  # a norm alone is no stage
            if mixes and isinstance(out, torch.Tensor) and out.ndim == 4:
                inside = list(module.modules())
                found.append(
                    Stage(
                        name,
                        out.shape[1],
                        out.shape[2],
                        parameter_count(module),
                        any(isinstance(each, SelfAttention) for each in inside),
                        any(isinstance(each, Attention) and not isinstance(each, SelfAttention) for each in inside),
                    )
                )

        return note

    hooks = [part.register_forward_hook(noted(name)) for name, part in _parts(network)]
    try:
        size, channels = network.config.size, network.config.in_channels
        context = network.encode(Condition.none(1, network.config.text_width).to(device))
        network(torch.zeros(1, channels, size, size, device=device), torch.ones(1, dtype=torch.float64), context)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def narrows(found: list[Stage]) -> bool:
    """Whether a network goes down to smaller grids and up again, as a U-Net does."""
    sides = [stage.side for stage in found]
    return len(set(sides)) > 1 and min(sides) < min(sides[0], sides[-1])
