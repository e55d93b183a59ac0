"""Flow maps: from one noise level to another in one pass, however far apart they are.

The probability-flow ODE carries every x at level σ to one x' at level σ'. Written as a step of DDIM,

    x' = D + (x − D)·σ'/σ,

D is a weighted mean of the guesses of x0 on the way from σ to σ'; for σ' → σ it is the denoiser itself (Kim et al.
2024, arXiv 2310.02279, equation 7). A network that has learned D(x, σ, σ', γ) takes a step of any length without the
error of a solver, guided by γ within that one pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.diffusion.denoiser import PredictionType, coefficients, column
from glyffctl.core.diffusion.samplers import Step, levels


class JumpNetwork(Protocol):
    """F of a flow map: `denoiser.Network` with two inputs more, the level to jump to and guidance."""

    def encode(self, condition: Condition) -> Any:
        """Return `condition` as `__call__` takes it."""
        ...

    def __call__(self, z: Tensor, sigma: Tensor, context: Any, target: Tensor, guidance: Tensor, /) -> Tensor:
        """F: z and the result (B, C, H, W); sigma, target and guidance (B,) float64."""
        ...


@dataclass(frozen=True, eq=False)
class FlowMap:
    """A network that knows the flow, and what its output means.

    Attributes:
        network: F.
        prediction: what F predicts, see `denoiser`.
        autocast: a lower precision for the inside of the network, or None.
    """

    network: JumpNetwork
    prediction: PredictionType
    autocast: torch.dtype | None = None

    def __call__(self, x: Tensor, sigma: Tensor, target: Tensor, guidance: Tensor, context: Any) -> Tensor:
        """D(x, σ, σ', γ): x and the result (B, C, H, W); sigma, target and guidance (B,) float64."""
        z = x * column((1 + sigma**2).rsqrt(), x)
        with torch.autocast(x.device.type, self.autocast, enabled=self.autocast is not None):
            output = self.network(z, sigma, context, target, guidance)
        skip, out = coefficients(self.prediction, sigma)
        return x * column(skip, x) + output.to(x.dtype) * column(out, x)


def jumped(x: Tensor, x0: Tensor, sigma: Tensor, target: Tensor) -> Tensor:
    """x' at the level σ' of a jump with the guess x0; sigma and target (B,)."""
    return x0 + (x - x0) * column(target / sigma, x)


def guess_of_jump(x: Tensor, end: Tensor, sigma: Tensor, target: Tensor) -> Tensor:
    """The guess x0 with which `jumped` leads from x to `end`; target < sigma, both (B,)."""
    left = target / sigma
    return (end - x * column(left, x)) * column(1 / (1 - left), x)


def jumps(
    flow: FlowMap, x: Tensor, sigmas: Tensor, guidance: float, context: Any, limit: float | None
) -> Iterator[Step]:
    """Go through the levels `sigmas` (n+1,) with one pass each; x is noise of the first, and the last is 0.

    Args:
        flow: the flow map.
        x: (B, C, H, W) at level sigmas[0].
        sigmas: descending to 0.
        guidance: γ.
        context: B rows, as the network's `encode` returns them.
        limit: guesses of x0 are held in ±limit; None leaves them as they are.
    """
    for i, sigma, target in levels(sigmas):
        start, end, gamma = (torch.full((len(x),), value, dtype=torch.float64) for value in (sigma, target, guidance))
        x0 = flow(x, start, end, gamma, context)
        if limit is not None:
            x0 = x0.clamp(-limit, limit)
        x = jumped(x, x0, start, end)
        yield Step(i, target, x, x0)
