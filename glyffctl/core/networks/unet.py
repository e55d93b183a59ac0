"""A U-Net with cross-attention to text.

Laid out as diffusers' `UNet2DConditionModel` (Ronneberger et al. 2015; Ho et al. 2020; Rombach et al. 2022), with which
it agrees number for number when given the same weights (a test holds that). Ours adds three things: a pixel-unshuffle
in front, which decides what a pass costs; a learned null token for captions that are absent; and the pooled text in
the time embedding (Saharia et al. 2022, "Imagen", section 2.4).

Shapes in comments: B pictures, C channels, H×W positions, L text tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glyffctl.core.errors import UsageError
from glyffctl.core.io.reading import short_repr
from glyffctl.core.kernels.layers import group_norm, layer_norm
from glyffctl.core.networks.attention import Attention, FeedForward, Pointwise, SelfAttention
from glyffctl.core.networks.captioned import CaptionedNetwork, Context, check_ways_in
from glyffctl.core.networks.group_norm import GroupNorm
from glyffctl.core.networks.network import NETWORKS, NetworkConfig, NetworkKind, zeroed
from glyffctl.core.networks.pass_size import unet_numbers_a_row
from glyffctl.core.networks.residual import CONCATENATED, ResBlock, TimeEmbedding
from glyffctl.core.networks.sinusoid import sinusoid

_LARGEST, _MOST_BLOCKS, _MOST_LEVELS = 1 << 16, 64, 12  # far beyond what anyone builds


@dataclass(frozen=True, kw_only=True)
class UNetConfig(NetworkConfig):
    """The sizes of a U-Net.

    Attributes:
        patch: side of the pixel blocks that become channels; the widest grid is size/patch.
        channels: width of each level; each level halves the grid of the one before.
        blocks: residual blocks of each level on the way down (one more on the way up).
        attention: levels (0 is the widest grid) with self-attention and, where `cross_text` is on, cross-attention to
            the text. The middle always has them.
        head_width: channels of an attention head; the widths of levels with attention are multiples of it.
        context_width: width of the text as cross-attention sees it.
        pooled_text: add the mean token to the time embedding.
        cross_text: look at the tokens by cross-attention. One of these two ways, or both, must be taken.
        dropout: share of features dropped in residual blocks while training.
        time: how the embedding of σ, with the mean token, gets into a residual block, see `ResBlock`.
    """

    patch: int = 8
    channels: tuple[int, ...] = (96, 160, 192)
    blocks: int = 1
    attention: tuple[int, ...] = (1, 2)
    head_width: int = 32
    context_width: int = 192
    pooled_text: bool = True
    cross_text: bool = True
    dropout: float = 0.0
    time: TimeEmbedding = "film"

    def __post_init__(self) -> None:
        """Raise UsageError for sizes that cannot be built."""
        sizes = (self.in_channels, self.patch, self.blocks)
        widths = (self.head_width, self.text_width, self.context_width)
        if self.size < 0 or min(*sizes, *widths) < 1 or not self.channels or min(self.channels) < 2:
            raise UsageError("network: sizes, widths and block counts must be positive")
        if (
            max(self.size, *sizes, *widths, *self.channels) > _LARGEST
            or self.blocks > _MOST_BLOCKS
            or len(self.channels) > _MOST_LEVELS
        ):
            raise UsageError(
                f"network: sizes and widths go up to {_LARGEST:,}, blocks to {_MOST_BLOCKS}, channels has at most "
                f"{_MOST_LEVELS} of them"
            )
        if any(width % 2 for width in self.channels):
            raise UsageError(f"network: channels must be even, not {list(self.channels)}")
        grid = self.patch * 2 ** (len(self.channels) - 1)
        if self.size % grid:
            raise UsageError(
                f"network: size {self.size} is not a multiple of {grid} "
                f"(patch {self.patch}, halved {len(self.channels) - 1} times); change size, patch or channels"
            )
        if any(level not in range(len(self.channels)) for level in self.attention):
            raise UsageError(
                f"network: attention names levels 0…{len(self.channels) - 1}, not {short_repr(list(self.attention))}"
            )
        attending = {self.channels[level] for level in (*self.attention, -1)}
        if any(width % self.head_width for width in attending):
            raise UsageError(f"network: {sorted(attending)} channels do not divide into heads of {self.head_width}")
        if not 0 <= self.dropout < 1:
            raise UsageError(f"network: dropout must be in [0, 1), not {self.dropout}")
        if self.time != "film" and any(GroupNorm.groups_of(width) == width for width in self.channels):
            raise UsageError(
                f"network: with time {self.time!r} norms in groups of one channel take the noise level out "
                f"again, as in {list(self.channels)}; take none of 2, 4, 8, 16 and 32 channels, or time 'film'"
            )
        check_ways_in(pooled=self.pooled_text, cross=self.cross_text)

    def is_matrix(self, name: str, parameter: Tensor) -> bool:
        """Kernels and linear layers, but for the convolutions from and to pixels."""
        return parameter.ndim > 1 and not name.startswith(("conv_in.", "conv_out."))

    def inner(self, levels: int) -> tuple[str, ...]:
        """At least the finest level is no part of it."""
        outer = len(self.channels) - levels
        if not 0 < outer < len(self.channels):
            return ()
        down = (f"down.{level}." for level in range(outer, len(self.channels)))
        up = (f"up.{number}." for number in range(levels))
        between = (*(f"downsample.{level}." for level in range(outer, len(self.channels) - 1)),
                   *(f"upsample.{number}." for number in range(levels - 1)))  # fmt: skip
        return "null_token", "text_in.", "embed_", "middle_", *down, *up, *between

    def cautions(self, prediction: str) -> list[str]:
        """Wide patches cannot carry noise from input to output."""
        pixels = self.patch**2 * self.in_channels
        if prediction == "x0" or 2 * pixels <= self.channels[0]:
            return []
        return [
            f"network.patch {self.patch} squeezes the noise of {pixels} pixels through {self.channels[0]} channels: "
            f"with diffusion.prediction = {prediction!r} grain remains; take 'x0'"
        ]


class Transformer(nn.Module):
    """Self-attention, cross-attention to the text if asked for, and a feed-forward, on the positions of a picture."""

    def __init__(self, width: int, config: UNetConfig) -> None:
        super().__init__()
        self.norm = GroupNorm(width, eps=1e-6)
        self.proj_in = Pointwise(width, width)
        self.norm1 = nn.LayerNorm(width)
        self.self_attn = SelfAttention(width, config.head_width)
        self.norm2 = nn.LayerNorm(width) if config.cross_text else None
        self.cross_attn = Attention(width, config.context_width, config.head_width) if config.cross_text else None
        self.norm3 = nn.LayerNorm(width)
        self.ff = FeedForward(width, 4 * width)
        self.proj_out = zeroed(Pointwise(width, width))

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """(B, C, H, W) → (B, C, H, W)."""
        # (B, H, W, C), the memory order of channels_last
        hidden = self.proj_in(group_norm(x, self.norm).permute(0, 2, 3, 1))
        normed = layer_norm(hidden, self.norm1)
        hidden = hidden + self.self_attn(normed, normed)
        if self.cross_attn is not None and self.norm2 is not None:
            hidden = hidden + self.cross_attn(layer_norm(hidden, self.norm2), context.tokens, context.mask)
        hidden = hidden + self.ff(layer_norm(hidden, self.norm3))
        return x + self.proj_out(hidden).permute(0, 3, 1, 2)


class Block(nn.Module):
    """A residual block, and a transformer where the level has attention."""

    def __init__(self, inputs: int, outputs: int, embedding: int, config: UNetConfig, *, attends: bool) -> None:
        super().__init__()
        self.res = ResBlock(inputs, outputs, embedding, config.dropout, config.time)
        self.transformer = Transformer(outputs, config) if attends else None

    def forward(self, x: Tensor, embedding: Tensor, context: Context) -> Tensor:
        """(B, inputs, H, W) → (B, outputs, H, W)."""
        x = self.res(x, embedding)
        return x if self.transformer is None else self.transformer(x, context)


class UNet(CaptionedNetwork):
    """F(z, σ, text); see `UNetConfig` for its sizes and `denoiser` for what its output means."""

    config: UNetConfig

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        widths, pixels = config.channels, config.in_channels * config.patch**2
        self.shift_width = embedding = 4 * widths[0]

        self.embed_sigma = nn.Sequential(nn.Linear(widths[0], embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        self.take_text(config.context_width, pooled=config.pooled_text)

        def block(inputs: int, level: int) -> Block:
            return Block(inputs, widths[level], embedding, config, attends=level in config.attention)

        last = len(widths) - 1
        self.conv_in = nn.Conv2d(pixels, widths[0], 3, padding=1)
        self.down, self.downsample = nn.ModuleList(), nn.ModuleList()
        skips, width = [widths[0]], widths[0]
        for level in range(len(widths)):
            blocks = nn.ModuleList()
            for _ in range(config.blocks):
                blocks.append(block(width, level))
                width = widths[level]
                skips.append(width)
            self.down.append(blocks)
            if level < last:
                self.downsample.append(nn.Conv2d(width, width, 3, stride=2, padding=1))
                skips.append(width)

        self.middle_in = Block(width, width, embedding, config, attends=True)
        self.middle_out = Block(width, width, embedding, config, attends=False)

        self.up, self.upsample = nn.ModuleList(), nn.ModuleList()
        for level in reversed(range(len(widths))):
            blocks = nn.ModuleList()
            for _ in range(config.blocks + 1):
                blocks.append(block(width + skips.pop(), level))
                width = widths[level]
            self.up.append(blocks)
            if level > 0:
                self.upsample.append(nn.Conv2d(width, width, 3, padding=1))

        self.norm_out = GroupNorm(width)
        self.conv_out = zeroed(nn.Conv2d(width, pixels, 3, padding=1))

    def numbers_a_row(self) -> int:
        """See `Network`."""
        config = self.config
        side, further = config.size // config.patch, CONCATENATED if config.time == "concat" else 0
        return unet_numbers_a_row(side, config.channels, config.blocks, config.attention, further)

    def _forward(self, z: Tensor, label: Tensor, context: Context) -> Tensor:
        embedding = self.embed_sigma(sinusoid(label, self.config.channels[0]))
        if context.pooled is not None:
            embedding = embedding + context.pooled
        embedding = F.silu(embedding)  # every residual block takes it so; once is enough

        h = F.pixel_unshuffle(z, self.config.patch).contiguous(memory_format=torch.channels_last)
        h = self.conv_in(h)
        skips = [h]
        for level, blocks in enumerate(cast("list[list[Block]]", self.down)):
            for block in blocks:
                h = block(h, embedding, context)
                skips.append(h)
            if level < len(self.downsample):
                h = self.downsample[level](h)
                skips.append(h)

        h = self.middle_out(self.middle_in(h, embedding, context), embedding, context)

        for level, blocks in enumerate(cast("list[list[Block]]", self.up)):
            for block in blocks:
                h = block(torch.cat([h, skips.pop()], dim=1), embedding, context)
            if level < len(self.upsample):
                h = self.upsample[level](F.interpolate(h, scale_factor=2.0, mode="nearest"))
        return F.pixel_shuffle(self.conv_out(group_norm(h, self.norm_out, silu=True)), self.config.patch)


NETWORKS["unet"] = NetworkKind(UNetConfig, UNet)
