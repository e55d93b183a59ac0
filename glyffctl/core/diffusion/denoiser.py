"""From a network to a denoiser: preconditioning and the one loss.

A denoiser answers D(x, σ), the best guess of x0 for x = x0 + σ·ε. The network F sees z = x/√(1+σ²), which has the
scale of the data at every σ:

    D(x, σ) = c_skip·x + c_out·F(x/√(1+σ²), σ, condition)

    F predicts   c_skip        c_out
    eps          1             −σ
    v            1/(1+σ²)      −σ/√(1+σ²)
    x0           0             1

Regressing F on (x0 − c_skip·x)/c_out gives the usual target of each, so there is one loss. The score of the noisy data
is (D(x, σ) − x)/σ². Everything that depends on σ alone is computed in float64 where σ is: for samplers the CPU, as not
every device has float64; in training the device, as a step captured as a CUDA graph reads nothing from the CPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from glyffctl.core.diffusion.condition import Condition

PredictionType = Literal["eps", "v", "x0"]


class Denoise(Protocol):
    """D as samplers call it."""

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """D(x, σ): x and the result (B, C, H, W), sigma (B,) on the CPU."""
        ...


class Network(Protocol):
    """F: what a `Denoiser` needs of a network. Those of this program are in the wing `networks`."""

    def encode(self, condition: Condition) -> Any:
        """Return `condition` as `__call__` takes it: computed once for a prompt, used at every step."""
        ...

    def __call__(self, z: Tensor, sigma: Tensor, context: Any) -> Tensor:
        """F(z, σ, condition): z and the result (B, C, H, W), sigma (B,) float64 on the CPU or where z is."""
        ...


def coefficients(prediction: PredictionType, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """(c_skip, c_out), each (B,) float64, for `sigma` (B,)."""
    sigma = sigma.double()
    scale = 1 + sigma**2
    if prediction == "eps":
        return torch.ones_like(sigma), -sigma
    if prediction == "v":
        return 1 / scale, -sigma / scale.sqrt()
    return torch.zeros_like(sigma), torch.ones_like(sigma)


def column(values: Tensor, x: Tensor) -> Tensor:
    """`values` (B,), a factor for each row of x (B, C, H, W), as (B, 1, 1, 1) of its type and on its device.

    Without waiting for what that device is doing.
    """
    return values.to(x.dtype).to(x.device, non_blocking=x.device.type == "cuda").reshape(-1, 1, 1, 1)


@dataclass(frozen=True, eq=False)
class Denoiser:
    """A network and what its output means.

    Attributes:
        network: F.
        prediction: what F predicts.
        autocast: a lower precision for the inside of the network, or None.
    """

    network: Network
    prediction: PredictionType
    autocast: torch.dtype | None = None

    def _network(self, x: Tensor, sigma: Tensor, context: Any) -> Tensor:
        sigma = sigma.double()
        z = x * column((1 + sigma**2).rsqrt(), x)
        with torch.autocast(x.device.type, self.autocast, enabled=self.autocast is not None):
            output = self.network(z, sigma, context)
        if output.shape != z.shape:
            raise ValueError(f"the network returned {tuple(output.shape)} for z of {tuple(z.shape)}")
        return output.to(x.dtype)

    def __call__(self, x: Tensor, sigma: Tensor, context: Any) -> Tensor:
        """D(x, σ): x (B, C, H, W), sigma (B,), context from `network.encode`."""
        c_skip, c_out = coefficients(self.prediction, sigma)
        return column(c_skip, x) * x + column(c_out, x) * self._network(x, sigma, context)

    def loss(self, x0: Tensor, eps: Tensor, sigma: Tensor, context: Any) -> Tensor:
        """(B,): the mean squared error of F on each noisy x0 + σ·ε, unweighted."""
        c_skip, c_out = coefficients(self.prediction, sigma)
        x = x0 + column(sigma, x0) * eps
        # (x0 − c_skip·x)/c_out, regrouped so that nothing large cancels at either end of σ.
        target = x0 * column((1 - c_skip) / c_out, x0) - eps * column(c_skip * sigma / c_out, x0)
        return F.mse_loss(self._network(x, sigma, context), target, reduction="none").mean(dim=(1, 2, 3))
