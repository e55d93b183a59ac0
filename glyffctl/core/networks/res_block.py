"""The residual block of networks that know a noise level (Ho et al. 2020, appendix B; Dhariwal and Nichol 2021)."""

from __future__ import annotations

from torch import Tensor, nn

from glyffctl.core.kernels.layers import group_norm
from glyffctl.core.networks.group_norm import GroupNorm
from glyffctl.core.networks.network import zeroed


class ResBlock(nn.Module):
    """Two 3×3 convolutions; the embedding scales and shifts the features between them (FiLM)."""

    def __init__(self, inputs: int, outputs: int, embedding: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = GroupNorm(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.embed = nn.Linear(embedding, 2 * outputs)
        self.norm2 = GroupNorm(outputs)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = zeroed(nn.Conv2d(outputs, outputs, 3, padding=1))
        self.skip = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(B, inputs, H, W) and (B, embedding) → (B, outputs, H, W)."""
        scale, shift = self.embed(embedding).chunk(2, dim=1)
        hidden = self.conv1(group_norm(x, self.norm1, silu=True))
        hidden = group_norm(hidden, self.norm2, scale, shift, silu=True)
        return self.skip(x) + self.conv2(self.dropout(hidden))
