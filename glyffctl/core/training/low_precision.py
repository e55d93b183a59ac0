"""A copy of the weights in lower precision, made once a step.

Autocast narrows every weight where it is used, and widens its gradient: two kernels for each of some hundred weights.
With a copy, a few kernels narrow them all before the step and a few widen all gradients after it; the numbers are the
same.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call


class LowPrecisionWeights:
    """The weights of some layers of a module in `dtype`."""

    def __init__(self, module: nn.Module, layers: Iterable[nn.Module], dtype: torch.dtype) -> None:
        """Make the copy.

        Args:
            module: to be called with the copy.
            layers: of the module, which run under autocast to `dtype` and nowhere else.
            dtype: of the copy.
        """
        self._module = module
        narrowed = {id(p) for layer in layers for p in layer.parameters(recurse=False)}
        named = {name: p for name, p in module.named_parameters() if id(p) in narrowed}
        self._weights: list[Tensor] = list(named.values())
        self._copies = {
            name: torch.empty_like(p, dtype=dtype).requires_grad_(p.requires_grad) for name, p in named.items()
        }
        self._gradients = [torch.empty_like(p) for p in self._weights]

    def __call__(self, *args: Any, **options: Any) -> Any:
        """What the module returns with the present weights, narrowed."""
        copies = list(self._copies.values())
        for copy in copies:
            copy.grad = None
        with torch.no_grad():
            torch._foreach_copy_(copies, self._weights)
        return functional_call(self._module, self._copies, args, options)

    @torch.no_grad()
    def collect(self) -> None:
        """After the backward pass: give the gradients of the copies to the weights."""
        with_gradient = [
            (weight, wide, copy.grad)
            for weight, wide, copy in zip(self._weights, self._gradients, self._copies.values(), strict=True)
            if copy.grad is not None
        ]
        wide: list[Tensor] = [wide for _, wide, _ in with_gradient]
        torch._foreach_copy_(wide, [narrow for _, _, narrow in with_gradient])
        for weight, gradient, _ in with_gradient:
            weight.grad = gradient
