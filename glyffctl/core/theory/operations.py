"""Counting the floating-point operations of a pass: those of convolutions, matrix products and attention.

PyTorch has a counter of its own, `torch.utils.flop_counter`, which leaves out attention on the CPU and imports Triton
where that is installed. But for attention the two agree.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from glyffctl.core.diffusion.condition import Condition


class OperationCounter(TorchDispatchMode):
    """Counts while it is active; a multiplication and an addition are two operations."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        count = _COUNTS.get(str(func.overloadpacket).removeprefix("aten."))
        if count is not None:
            self.count += count(args, out)
        return out


def _convolution(args: Any, out: Tensor) -> int:
    return 2 * out.numel() * prod(args[1].shape[1:])


def _convolution_back(args: Any, out: Any) -> int:  # noqa: ARG001
    gradient, weight, mask = args[0], args[2], args[-1]
    return sum(mask[:2]) * 2 * gradient.numel() * prod(weight.shape[1:])


def _product(first: int) -> Callable[[Any, Tensor], int]:
    """Of a product of matrices, the first of which is argument `first`."""
    return lambda args, out: 2 * out.numel() * args[first].shape[-1]


def _attention(args: Any, out: Any) -> int:  # noqa: ARG001
    query, key, value = args[:3]
    return 2 * prod(query.shape[:-1]) * key.shape[-2] * (query.shape[-1] + value.shape[-1])


_COUNTS: dict[str, Callable[[Any, Any], int]] = {
    "convolution": _convolution,
    "convolution_backward": _convolution_back,
    "mm": _product(0),
    "bmm": _product(0),
    "addmm": _product(1),
    "baddbmm": _product(1),
    "_scaled_dot_product_flash_attention_for_cpu": _attention,
}


def operations(network: Any, size: int, channels: int = 1, *, backward: bool = False) -> int:
    """Operations of a pass of a network on one picture; with `backward` also of the gradient of the picture.

    Args:
        network: a `Network`, on the CPU; its parameters are left without gradients.
        size: height and width of what it takes.
        channels: of what it takes.
        backward: count the way back, too.
    """
    z = torch.zeros(1, channels, size, size, requires_grad=backward)
    context = Condition.none(1, network.config.text_width)
    with OperationCounter() as counter, torch.set_grad_enabled(backward):
        found = network(z, torch.ones(1, dtype=torch.float64), network.requires_grad_(False).encode(context))
        if backward:
            found.sum().backward()
    return counter.count
