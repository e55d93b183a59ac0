"""Group norms (Wu and He 2018, arXiv 1803.08494) as networks here have them."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

_LARGE_GRID = 1024  # positions from which PyTorch takes another kernel for group norms, GroupNormKernel.cpp


class GroupNorm(nn.GroupNorm):
    """nn.GroupNorm in at most `groups` groups, by the way round that is fast."""

    def __init__(self, channels: int, eps: float = 1e-5, groups: int = 32) -> None:
        super().__init__(self.groups_of(channels, groups), channels, eps=eps)

    @staticmethod
    def groups_of(channels: int, groups: int = 32) -> int:
        """How many groups so many channels have."""
        return math.gcd(groups, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W), normalised."""
        if (
            x.device.type == "cpu"
            and x.dtype == torch.bfloat16
            and (torch.is_grad_enabled() or x.shape[2:].numel() < _LARGE_GRID)
        ):
            # PyTorch's kernels for this order of memory take three times as long as turning it twice; but for the one
            # forward on large grids, which takes a quarter.
            return self._norm(x.contiguous()).contiguous(memory_format=torch.channels_last)
        return self._norm(x)

    def _norm(self, x: Tensor) -> Tensor:
        # Not F.group_norm: it refuses a single picture of 1×1 positions with one channel a group.
        return torch.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)
