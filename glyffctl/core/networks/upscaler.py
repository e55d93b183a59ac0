"""A small U-Net that draws a large picture of a small one.

The pixels of the large picture that lie in one of the small picture become channels (Shi et al. 2016, arXiv
1609.05158), so the widest grid is that of the small picture, which is one more channel there. Everything is a
convolution or works on one position, the norms too: each position depends on its neighbourhood alone, so what was
learned on crops draws pictures of any size.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.errors import UsageError
from glyffctl.core.kernels.layers import layer_norm
from glyffctl.core.networks.network import UPSCALERS, Network, NetworkConfig, NetworkKind, zeroed
from glyffctl.core.networks.pass_size import unet_numbers_a_row
from glyffctl.core.networks.sinusoid import noise_label, sinusoid

_LEAST = 0.01  # added to the noise level of the small picture, which may be 0, before its logarithm is taken
_LARGEST, _LARGEST_SIZE, _MOST_LEVELS, _MOST_SCALE = 1 << 12, 1 << 16, 8, 16


@dataclass(frozen=True, kw_only=True)
class UpscalerConfig(NetworkConfig):
    """The sizes of an upscaler.

    Attributes:
        scale: how many times as wide the large picture is.
        channels: width of each level; each level halves the grid of the one before.
    """

    text_width: int = 1
    scale: int = 4
    channels: tuple[int, ...] = (48, 96, 128)

    def __post_init__(self) -> None:
        """Raise UsageError for sizes that cannot be built."""
        if self.scale % 2 or not 2 <= self.scale <= _MOST_SCALE:
            raise UsageError(f"network.scale must be even and in 2…{_MOST_SCALE}, not {self.scale}")
        if not 1 <= len(self.channels) <= _MOST_LEVELS or any(
            width % 2 or not 2 <= width <= _LARGEST for width in self.channels
        ):
            raise UsageError(
                f"network.channels must be 1 to {_MOST_LEVELS} even numbers up to {_LARGEST:,}, not "
                f"{list(self.channels)[: _MOST_LEVELS + 1]}"
            )
        if self.size < 0 or self.in_channels < 1 or self.text_width < 1:
            raise UsageError("network: sizes and widths must be positive")
        if max(self.size, self.in_channels, self.text_width) > _LARGEST_SIZE:
            raise UsageError(f"network: sizes and widths go up to {_LARGEST_SIZE:,}")
        if self.size % self.grid:
            raise UsageError(
                f"network: pictures of {self.size}×{self.size} do not divide into blocks of {self.grid} (scale "
                f"{self.scale}, halved {len(self.channels) - 1} times); prepare others, as with --size 512"
            )

    @property
    def grid(self) -> int:
        """What sides of large pictures are multiples of."""
        return self.scale * 2 ** (len(self.channels) - 1)

    def is_matrix(self, name: str, parameter: Tensor) -> bool:
        """Kernels and linear layers, but for the convolutions from and to pixels."""
        return parameter.ndim > 1 and not name.startswith(("conv_in.", "conv_out."))


class Small(NamedTuple):
    """The small picture as every pass uses it."""

    picture: Tensor  # (B, C, h, w)
    enlarged: Tensor  # (B, C, scale·h, scale·w)
    level: Tensor  # (B, embedding)


class _Block(nn.Module):
    """Two 3×3 convolutions with a norm over the channels of each position, scaled and shifted by the noise levels."""

    def __init__(self, width: int, embedding: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.norm = nn.LayerNorm(width)
        self.embed = nn.Linear(embedding, 2 * width)
        self.conv2 = zeroed(nn.Conv2d(width, width, 3, padding=1))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(B, width, H, W) and (B, embedding) → (B, width, H, W)."""
        scale, shift = self.embed(embedding)[:, :, None, None].chunk(2, dim=1)
        hidden = self.conv1(F.silu(x))
        hidden = layer_norm(hidden.permute(0, 2, 3, 1), self.norm).permute(0, 3, 1, 2)  # the order of memory: no copy
        return x + self.conv2(F.silu(torch.addcmul(shift, hidden, 1 + scale)))


class Upscaler(Network):
    """F(z, σ, small picture); see `UpscalerConfig` for its sizes and `denoiser` for what its output means.

    With prediction "x0" it starts as bicubic interpolation, and learns what that lacks.
    """

    config: UpscalerConfig
    enlarges = True

    def __init__(self, config: UpscalerConfig) -> None:
        super().__init__()
        self.config = config
        widths, pixels = config.channels, config.in_channels * config.scale**2
        embedding = 4 * widths[0]
        self.embed_sigma = nn.Sequential(nn.Linear(widths[0], embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        self.embed_level = nn.Sequential(nn.Linear(widths[0], embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        self.conv_in = nn.Conv2d(pixels + config.in_channels, widths[0], 3, padding=1)
        steps = list(pairwise(widths))
        self.down = nn.ModuleList(_Block(width, embedding) for width in widths[:-1])
        self.downsample = nn.ModuleList(nn.Conv2d(wide, narrow, 2, stride=2) for wide, narrow in steps)
        self.middle = nn.ModuleList(_Block(widths[-1], embedding) for _ in range(2))
        self.upsample = nn.ModuleList(nn.Conv2d(narrow, wide, 1) for wide, narrow in steps)
        self.up = nn.ModuleList(_Block(width, embedding) for width in widths[:-1])
        self.conv_out = zeroed(nn.Conv2d(widths[0], pixels, 3, padding=1))

    def encode(self, condition: Condition) -> Small:
        """The small picture, enlarged, and the embedding of its noise level."""
        picture, level = condition.picture, condition.level
        if picture is None or level is None:
            raise UsageError("this model enlarges pictures and draws none of its own; name it with --upscaler")
        enlarged = F.interpolate(picture, scale_factor=float(self.config.scale), mode="bicubic")
        label = ((level + _LEAST).log() / 4).to(picture.dtype).to(picture.device)
        return Small(picture, enlarged, self.embed_level(sinusoid(label, self.config.channels[0])))

    def numbers_a_row(self) -> int:
        """See `Network`; for pictures of `config.size`."""
        config = self.config
        inside = unet_numbers_a_row(config.size // config.scale, config.channels, 1, ())
        return inside + 4 * config.in_channels * config.size**2

    def forward(self, z: Tensor, sigma: Tensor, context: Small) -> Tensor:
        """z and the result (B, in_channels, H, W), sides multiples of `grid`; sigma (B,) float64."""
        return self._forward(z, noise_label(sigma, z), context)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile all but what is computed on the CPU."""
        self._forward = torch.compile(self._forward, *args, **kwargs)  # type: ignore[method-assign]

    def _forward(self, z: Tensor, label: Tensor, context: Small) -> Tensor:
        """`forward` for noise labels ¼·ln σ (B,) (Karras et al. 2022, table 1)."""
        embedding = F.silu(self.embed_sigma(sinusoid(label, self.config.channels[0])) + context.level)
        seen = torch.cat([F.pixel_unshuffle(z, self.config.scale), context.picture.to(z.dtype)], dim=1)
        h = self.conv_in(seen.contiguous(memory_format=torch.channels_last))
        skips = []
        for block, downsample in zip(self.down, self.downsample, strict=True):
            h = block(h, embedding)
            skips.append(h)
            h = downsample(h)
        for block in self.middle:
            h = block(h, embedding)
        for block, upsample in zip(reversed(self.up), reversed(self.upsample), strict=True):
            # The 1×1 convolution costs a quarter before the grid is doubled.
            h = block(skips.pop() + F.interpolate(upsample(h), scale_factor=2.0, mode="nearest"), embedding)
        return context.enlarged.to(z.dtype) + F.pixel_shuffle(self.conv_out(F.silu(h)), self.config.scale)


UPSCALERS["upscaler"] = NetworkKind(UpscalerConfig, Upscaler)
