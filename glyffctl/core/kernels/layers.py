"""Layers that are kernels where those are on, and PyTorch's functions everywhere else."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glyffctl.core.kernels.switch import enabled


def _by_kernel(x: Tensor) -> bool:
    return x.is_cuda and enabled(x.dtype) and not torch.compiler.is_exporting()


def group_norm(
    x: Tensor, norm: nn.GroupNorm, scale: Tensor | None = None, shift: Tensor | None = None, *, silu: bool = False
) -> Tensor:
    """A group norm and what follows it: silu(norm(x)·(1 + scale) + shift).

    The modulation is FiLM (Perez et al. 2018, arXiv 1709.07871), the norm that of Wu and He (2018, arXiv 1803.08494).

    Args:
        x: (B, C, H, W).
        norm: with a weight and a bias.
        scale: (B, C), together with `shift`, or None for no modulation.
        shift: (B, C).
        silu: whether a SiLU ends it.

    Returns:
        (B, C, H, W). By the kernel it has the type of x and the memory order channels_last, and was rounded once.
    """
    if _by_kernel(x):
        y: Tensor = torch.ops.glyffctl.group_norm(
            x, norm.weight, norm.bias, scale, shift, norm.num_groups, norm.eps, silu
        )[0]
        return y
    return plain_group_norm(x, norm, scale, shift, silu=silu)


def plain_group_norm(
    x: Tensor,
    norm: Callable[[Tensor], Tensor],
    scale: Tensor | None = None,
    shift: Tensor | None = None,
    *,
    silu: bool = False,
) -> Tensor:
    """`group_norm` in functions of PyTorch, for any `norm`."""
    y = norm(x)
    if scale is not None and shift is not None:
        y = y * (1 + scale[:, :, None, None]) + shift[:, :, None, None]
    return F.silu(y) if silu else y


def geglu(x: Tensor) -> Tensor:
    """hidden·gelu(gate) with the exact GELU (Shazeer 2020, arXiv 2002.05202): x (…, 2W), hidden first → (…, W)."""
    if _by_kernel(x):
        y: Tensor = torch.ops.glyffctl.geglu(x)
        return y
    return plain_geglu(x)


def plain_geglu(x: Tensor) -> Tensor:
    """`geglu` in functions of PyTorch."""
    hidden, gate = x.chunk(2, dim=-1)
    return hidden * F.gelu(gate)


def layer_norm(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    """`norm(x)`, x (…, C); bfloat16 on CUDA stays bfloat16.

    Autocast there widens x to float32 and so all that follows up to the next matrix product. The kernel computes in
    float32 whatever it reads.
    """
    if not (x.is_cuda and x.dtype == torch.bfloat16) or torch.compiler.is_exporting():
        y: Tensor = norm(x)
        return y
    with torch.autocast("cuda", enabled=False):
        return F.layer_norm(x, norm.normalized_shape, norm.weight.to(x.dtype), norm.bias.to(x.dtype), norm.eps)
