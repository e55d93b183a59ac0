"""The sinusoidal embedding of a number, and the label of a noise level that goes in there."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def noise_label(sigma: Tensor, z: Tensor) -> Tensor:
    """(B,) of z's type on its device: ¼·ln σ of sigma (B,) float64 (Karras et al. 2022, table 1)."""
    return (sigma.log() / 4).to(z.dtype).to(z.device, non_blocking=z.device.type == "cuda")


def sinusoid(label: Tensor, width: int) -> Tensor:
    """(B, width): cosines, then sines, of 1000·label at `width`/2 frequencies from 1 down to 10⁻⁴.

    The transformer's position code (Vaswani et al. 2017, section 3.5). Labels ¼·ln σ span about −1…1.3; times 1000 they
    have the range of DDPM's t, for which these frequencies were made.
    """
    half = width // 2
    frequencies = torch.arange(half, device=label.device, dtype=torch.float32).mul(-math.log(1e4)).div(half).exp()
    angle = 1000 * label.float()[:, None] * frequencies[None]
    return torch.cat([angle.cos(), angle.sin()], dim=1).to(label.dtype)
