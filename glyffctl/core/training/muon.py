"""Muon: steps in which all singular directions of a matrix's momentum have the same length.

What is seen seldom then moves the weights as much as what is seen always (Jordan et al. 2024,
https://kellerjordan.github.io/posts/muon/; Liu et al. 2025, arXiv 2502.16982). The update rule is that of
`torch.optim.Muon` with `adjust_lr_fn="match_rms_adamw"`. That one iterates in bfloat16 whatever the machine: without
arithmetic for it a step of the `cpu` preset takes twenty seconds. Here the precision is the caller's, and on a GPU
matrices of one shape go through together.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

MOMENTUM = 0.95
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of x, x³ and x⁵: Jordan's, steep at 0, near 1 after a few rounds
_ROUNDS = 5
_SMALLEST_NORM = 1e-7


class Muon:
    """The optimizer for matrices (m, n).

    Attributes:
        state: what is remembered of each parameter: {"momentum_buffer": (m, n)}; empty before its first step.
    """

    def __init__(self, parameters: Sequence[Tensor], *, weight_decay: float) -> None:
        self._parameters, self._weight_decay = parameters, weight_decay
        self.state: dict[Tensor, dict[str, Tensor]] = {}

    @torch.no_grad()
    def step(self, learning_rate: float | Tensor, dtype: torch.dtype | None = None) -> None:
        """One step down the gradients that the parameters hold; those without are left alone.

        Args:
            learning_rate: that of AdamW would do: updates have the same root mean square. A tensor () is read by the
                device, so that a step captured as a CUDA graph takes the rate of the day.
            dtype: of the iteration; None is that of the parameters.
        """
        moving = [parameter for parameter in self._parameters if parameter.grad is not None]
        if not moving:
            return
        for parameter in moving:
            if not self.state.get(parameter):
                self.state[parameter] = {"momentum_buffer": torch.zeros_like(parameter)}
        momenta = [self.state[parameter]["momentum_buffer"] for parameter in moving]
        gradients = [parameter.grad for parameter in moving if parameter.grad is not None]
        torch._foreach_lerp_(momenta, gradients, 1 - MOMENTUM)
        updates = torch._foreach_lerp(gradients, momenta, MOMENTUM)
        torch._foreach_mul_(moving, 1 - learning_rate * self._weight_decay)
        by_shape: defaultdict[torch.Size, list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for parameter, update in zip(moving, updates, strict=True):
            by_shape[parameter.shape].append((parameter, update))
        for shape, pairs in by_shape.items():
            parameters = [parameter for parameter, _ in pairs]
            rate = learning_rate * (-0.2 * math.sqrt(max(shape)))
            torch._foreach_add_(parameters, _steps([update for _, update in pairs], rate, dtype))


def _steps(updates: list[Tensor], rate: float | Tensor, dtype: torch.dtype | None) -> list[Tensor]:
    """`rate` times each of the updates, which have one shape, orthogonalized."""
    if updates[0].device.type == "cpu":
        # Products of many matrices at once are slower on a CPU: MKL's take seven times as long as one by one.
        return [orthogonalized(update, dtype).to(update.dtype) * rate for update in updates]
    together = orthogonalized(torch.stack(updates), dtype).to(updates[0].dtype) * rate
    return list(together.contiguous().unbind())  # in the memory order of the parameters all are added at once


def orthogonalized(x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """U·S·Vᵀ with all of S near 1 (0.7 to 1.2) for x = U·Σ·Vᵀ: (…, m, n), in `dtype` or else that of x.

    Five rounds of Newton and Schulz's iteration with coefficients a, b, c:

        X ← a·X + (b·A + c·A²)·X,  A = X·Xᵀ

    A wide X need not be touched in between: in A, which is much smaller, the same iteration is A ← P·A·P with
    P = a + b·A + c·A², and the product of all P is applied to X at the end. In float32 and float64 that saves two
    thirds of the work, at an error of 2·10⁻⁴ at most (relative, on matrices of rank 8 with a little noise). In
    bfloat16 the small singular values, squared, would be lost: there X itself is iterated.
    """
    x = x.to(dtype or x.dtype)
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=_SMALLEST_NORM)
    narrow = x.shape[-1] < 2 * x.shape[-2] or x.dtype in (torch.bfloat16, torch.float16)
    x = _iterated(x) if narrow else _iterated_small(x)
    return x.mT if tall else x


def _polynomial(gram: Tensor) -> Tensor:
    """b·A + c·A²."""
    _, b, c = _COEFFICIENTS
    return _add_product(gram, gram, gram, b, c)


def _add_product(x: Tensor, left: Tensor, right: Tensor, beta: float, alpha: float) -> Tensor:
    """β·x + α·left·right, rounded once."""
    multiply = torch.addmm if x.ndim == 2 else torch.baddbmm
    return multiply(x, left, right, beta=beta, alpha=alpha)


def _iterated(x: Tensor) -> Tensor:
    for _ in range(_ROUNDS):
        x = _add_product(x, _polynomial(x @ x.mT), x, _COEFFICIENTS[0], 1.0)
    return x


def _iterated_small(x: Tensor) -> Tensor:
    gram = x @ x.mT
    applied: Tensor | None = None
    for round_ in range(_ROUNDS):
        factor = _polynomial(gram)
        factor.diagonal(dim1=-2, dim2=-1).add_(_COEFFICIENTS[0])
        applied = factor if applied is None else applied @ factor
        if round_ + 1 < _ROUNDS:
            gram = factor @ (gram @ factor)
    assert applied is not None
    return applied @ x
