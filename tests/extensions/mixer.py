"""An MLP-mixer (Tolstikhin et al. 2021, arXiv 2105.01601) that denoises.

Patches become tokens; layers that mix positions and layers that mix channels take turns. The noise level and the mean
text token scale and shift the features of every layer (Peebles & Xie 2023, "DiT", arXiv 2212.09748).

Shapes in comments: B pictures, N patches, W channels of a patch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.errors import UsageError
from glyffctl.core.networks.network import NETWORKS, Network, NetworkConfig, NetworkKind


@dataclass(frozen=True, kw_only=True)
class MixerConfig(NetworkConfig):
    """The sizes of a mixer.

    Attributes:
        patch: side of the pixel blocks that become tokens.
        width: channels of a token.
        layers: pairs of position mixing and channel mixing.
        expansion: width of the hidden layers, in multiples of their inputs.
    """

    patch: int = 4
    width: int = 128
    layers: int = 6
    expansion: float = 2.0

    def __post_init__(self) -> None:
        """Raise UsageError for sizes that cannot be built."""
        sizes = (self.in_channels, self.text_width, self.patch, self.width, self.layers)
        if min(sizes) < 1 or max(sizes) > 1 << 16:
            raise UsageError("network: sizes, `patch`, `width` and `layers` must be between 1 and 65,536")
        if not 0 < self.expansion <= 64:
            raise UsageError(f"network: `expansion` must be above 0 and at most 64, not {self.expansion}")
        if self.size % self.patch:
            raise UsageError(f"network: size {self.size} is not a multiple of `patch` {self.patch}; change one of them")

    def is_matrix(self, name: str, parameter: Tensor) -> bool:
        """Linear layers, but for those from and to pixels."""
        return parameter.ndim == 2 and not name.startswith(("inside.", "outside."))


def _mlp(width: int, expansion: float) -> nn.Sequential:
    hidden = max(1, round(width * expansion))
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))


class MixerLayer(nn.Module):
    """Mix positions, then channels."""

    def __init__(self, patches: int, width: int, expansion: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulate = nn.Linear(width, 4 * width)
        self.positions = _mlp(patches, expansion)
        self.channels = _mlp(width, expansion)

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        """(B, N, W) and (B, W) → (B, N, W)."""
        scale1, shift1, scale2, shift2 = self.modulate(embedding)[:, None].chunk(4, dim=2)
        mixed = self.norm(h) * (1 + scale1) + shift1
        h = h + self.positions(mixed.transpose(1, 2)).transpose(1, 2)
        return h + self.channels(self.norm(h) * (1 + scale2) + shift2)


class Mixer(Network):
    """F(z, σ, condition) as an MLP-mixer."""

    def __init__(self, config: MixerConfig) -> None:
        super().__init__()
        self.config: MixerConfig = config
        pixels = config.in_channels * config.patch**2
        self.sigma = nn.Sequential(nn.Linear(32, config.width), nn.SiLU(), nn.Linear(config.width, config.width))
        self.text = nn.Linear(config.text_width, config.width)
        self.null_text = nn.Parameter(torch.zeros(config.width))
        self.inside = nn.Linear(pixels, config.width)
        self.layers = nn.ModuleList(
            MixerLayer((config.size // config.patch) ** 2, config.width, config.expansion) for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(config.width)
        self.outside = nn.Linear(config.width, pixels)
        nn.init.zeros_(self.outside.weight)
        nn.init.zeros_(self.outside.bias)

    def encode(self, condition: Condition) -> Tensor:
        """The mean token (B, W); rows without a caption get a learned vector."""
        width = condition.tokens.shape[-1]
        if width != self.config.text_width:
            raise UsageError(f"the text vectors are {width} wide, the network takes {self.config.text_width}")
        count = condition.mask.sum(1, keepdim=True)
        text = self.text(condition.tokens.sum(1) / count.clamp(min=1))
        return torch.where(count > 0, text, self.null_text.to(text.dtype))

    def forward(self, z: Tensor, sigma: Tensor, context: Tensor) -> Tensor:
        """z and the result (B, in_channels, size, size); sigma (B,) float64 on the CPU; context from `encode`."""
        label = (sigma.log() / 4).to(z.dtype).to(z.device)
        angles = label[:, None] * 2.0 ** torch.arange(16, dtype=z.dtype, device=z.device)[None] / 16
        embedding = F.silu(self.sigma(torch.cat([angles.cos(), angles.sin()], dim=1)) + context)
        patches = F.pixel_unshuffle(z, self.config.patch)  # (B, pixels, H, W)
        h = self.inside(patches.flatten(2).transpose(1, 2))
        for layer in self.layers:
            h = layer(h, embedding)
        out = self.outside(self.norm(h)).transpose(1, 2).reshape(patches.shape)
        return F.pixel_shuffle(out, self.config.patch)


NETWORKS["mixer"] = NetworkKind(MixerConfig, Mixer)
