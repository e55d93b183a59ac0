"""Attention and a feed-forward on the positions of a picture: what the networks with transformers are made of.

Shapes in comments: B pictures, C channels, H×W positions.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glyffctl.core.kernels.layers import geglu


class Pointwise(nn.Linear):
    """A linear layer over the channels of (B, H, W, C).

    On the CPU it runs as a 1×1 convolution on the same memory: oneDNN's convolutions were measured at 4.8 times the
    speed of MKL's fp32 matrix product on a Zen 5.
    """

    def forward(self, input: Tensor) -> Tensor:
        """(B, H, W, C) → (B, H, W, C')."""
        if input.device.type != "cpu":
            return super().forward(input)
        picture = input.permute(0, 3, 1, 2)  # channels_last without a copy
        return F.conv2d(picture, self.weight[:, :, None, None], self.bias).permute(0, 2, 3, 1)


class Attention(nn.Module):
    """Multi-head attention from the positions of a picture to those of `source`."""

    def __init__(self, width: int, source_width: int, head_width: int) -> None:
        super().__init__()
        self.heads = width // head_width
        self.query = Pointwise(width, width, bias=False)
        self.key = nn.Linear(source_width, width, bias=False)
        self.value = nn.Linear(source_width, width, bias=False)
        self.out = Pointwise(width, width)

    def _split(self, x: Tensor) -> Tensor:
        return x.flatten(1, -2).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, heads, positions, C/heads)

    def forward(self, x: Tensor, source: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, H, W, C), from x of that shape and source (B, …, source width); mask is False where not to look."""
        q, k, v = (self._split(t) for t in (self.query(x), self.key(source), self.value(source)))
        dtype = q.dtype
        if x.device.type == "cpu" and dtype == torch.bfloat16:
            q, k, v = q.float(), k.float(), v.float()  # a fifth of the time that the kernel for bfloat16 takes
        with torch.autocast(x.device.type, enabled=False):
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).to(dtype)
        return self.out(mixed.transpose(1, 2).flatten(2).unflatten(1, x.shape[1:3]))

    def weights(self, x: Tensor, source: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, heads, H·W, positions of source): how much each position takes from where; rows sum to 1.

        `forward` never holds these numbers; this is for looking at them. The arguments are those of `forward`.
        """
        q, k = self._split(self.query(x)).float(), self._split(self.key(source)).float()
        scores = q @ k.mT / math.sqrt(q.shape[-1])
        return (scores if mask is None else scores.masked_fill(~mask, -math.inf)).softmax(dim=-1)


class SelfAttention(Attention):
    """Attention of a picture's positions to each other."""

    def __init__(self, width: int, head_width: int) -> None:
        super().__init__(width, width, head_width)
        self.key = Pointwise(width, width, bias=False)
        self.value = Pointwise(width, width, bias=False)


class FeedForward(nn.Module):
    """Gated linear unit with GELU (Shazeer 2020, arXiv 2002.05202), `inside` wide inside."""

    def __init__(self, width: int, inside: int) -> None:
        super().__init__()
        self.up = Pointwise(width, 2 * inside)
        self.down = Pointwise(inside, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) → (B, H, W, C)."""
        return self.down(geglu(self.up(x)))
