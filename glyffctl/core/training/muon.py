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
        self._scales: dict[tuple[int, ...], Tensor] = {}

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
        if moving[0].device.type == "cpu":
            # Products of many matrices at once are slower on a CPU: MKL's take seven times as long as one by one.
            directions = [orthogonalized(update, dtype) for update in updates]
            for parameter, direction in zip(moving, directions, strict=True):
                parameter.add_(direction.to(parameter.dtype) * (learning_rate * -_scale(parameter)))
            return
        alike: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
        for place, parameter in enumerate(moving):
            alike[_likeness(parameter)].append(place)
        for places in alike.values():
            group = [moving[place] for place in places]
            rates = self._scales_of(group) * learning_rate
            torch._foreach_add_(group, orthogonalized_together([updates[place] for place in places], dtype, rates))

    def _scales_of(self, group: list[Tensor]) -> Tensor:
        """(len(group), 1, 1): −`_scale` of each, made once: a captured step takes nothing from the CPU."""
        key = tuple(map(id, group))
        if key not in self._scales:
            self._scales[key] = torch.tensor([-_scale(parameter) for parameter in group]).to(group[0])[:, None, None]
        return self._scales[key]


def _scale(parameter: Tensor) -> float:
    """0.2·√max(m, n): how long a step is beside one of AdamW's rate."""
    return 0.2 * math.sqrt(max(parameter.shape))


def _likeness(parameter: Tensor) -> tuple[int, int]:
    """What matrices that go through together have in common: the shorter side, and the ratio of sides within four."""
    short, long = sorted(parameter.shape)
    return short, int(math.log(long / short, 4))


def orthogonalized_together(
    matrices: list[Tensor], dtype: torch.dtype | None = None, scales: Tensor | float = 1.0
) -> list[Tensor]:
    """`scales` times `orthogonalized` of matrices with the same shorter side, in their own precision.

    A GPU takes as long for many small products one after the other as for large ones. Zeros at the end of a wide
    matrix stay zeros, and change nothing else.

    Args:
        matrices: k of them, (m, n) or (n, m) with one m, n ≥ m.
        dtype: of the iteration; None is that of the matrices.
        scales: (k, 1, 1), or one number.
    """
    wide = [x if x.shape[0] <= x.shape[1] else x.mT for x in matrices]
    longest = max(x.shape[1] for x in wide)
    nothing = wide[0].new_zeros(wide[0].shape[0], longest)
    parts = [part for x in wide for part in (x, nothing[:, : longest - x.shape[1]])]
    stacked = torch.cat(parts, dim=1).to(dtype or wide[0].dtype).unflatten(1, (len(wide), longest)).transpose(0, 1)
    answers = (orthogonalized(stacked).to(wide[0].dtype) * scales).unbind()
    cut = [y[:, : x.shape[1]] for x, y in zip(wide, answers, strict=True)]
    return [y if x.shape == y.shape else y.mT for x, y in zip(matrices, cut, strict=True)]


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
