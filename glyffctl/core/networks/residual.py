"""The residual block of the U-Net and of what draws in one pass.

Shapes in comments: B pictures, C channels, H×W positions.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from glyffctl.core.kernels.layers import group_norm
from glyffctl.core.networks.group_norm import GroupNorm
from glyffctl.core.networks.network import zeroed

TimeEmbedding = Literal["film", "add", "concat"]

CONCATENATED = 32
"""Channels of "concat"; with as many a block has about as many weights as with "add"."""


class ResBlock(nn.Module):
    """Two 3×3 convolutions, and between them the embedding of σ, with all that was added to it.

    There are three ways for it to get in (Dumoulin et al. 2018, "Feature-wise transformations"):

    - "film": it scales and shifts the normalised features (Perez et al. 2018, arXiv 1709.07871; Dhariwal and Nichol
      2021, arXiv 2105.05233, section 3.1);
    - "add": it is added to the features before they are normalised (Ho et al. 2020, arXiv 2006.11239, appendix B);
    - "concat": it becomes further channels, the same at each position, that the first convolution sees.
    """

    def __init__(self, inputs: int, outputs: int, embedding: int, dropout: float, time: TimeEmbedding = "film") -> None:
        super().__init__()
        further = CONCATENATED if time == "concat" else 0
        self.time = time
        self.norm1 = GroupNorm(inputs)
        self.conv1 = nn.Conv2d(inputs + further, outputs, 3, padding=1)
        self.embed = nn.Linear(embedding, {"film": 2 * outputs, "add": outputs, "concat": further}[time])
        self.norm2 = GroupNorm(outputs)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = zeroed(nn.Conv2d(outputs, outputs, 3, padding=1))
        self.skip = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(B, inputs, H, W) and (B, embedding) → (B, outputs, H, W)."""
        embedded = self.embed(embedding)
        everywhere = embedded.unsqueeze(2).unsqueeze(3)
        hidden = group_norm(x, self.norm1, silu=True)
        if self.time == "concat":
            # In the order of memory that the convolution takes: `cat` keeps it only where all have it.
            further = everywhere.to(hidden.dtype).expand(-1, -1, *hidden.shape[2:])
            hidden = torch.cat([hidden, further.clone(memory_format=torch.channels_last)], dim=1)
        hidden = self.conv1(hidden)
        if self.time == "add":
            hidden = hidden + everywhere
        scale, shift = embedded.chunk(2, dim=1) if self.time == "film" else (None, None)
        hidden = group_norm(hidden, self.norm2, scale, shift, silu=True)
        return self.skip(x) + self.conv2(self.dropout(hidden))
