"""A transformer on patches of the picture, with cross-attention to text.

DiT (Peebles and Xie 2023, arXiv 2212.09748): patches are tokens, and σ scales, shifts and gates the features of every
block (adaLN-zero, section 3.2). Between self-attention and feed-forward each block looks at the text, as those of
PixArt do (Chen et al. 2023, arXiv 2310.00426, section 2.3). A block agrees number for number with diffusers'
`BasicTransformerBlock` ("ada_norm_zero") given the same weights. Patches may be large where x0 is predicted: glyphs lie
on a surface of few dimensions, noise does not ("JiT", Li and He 2025, arXiv 2511.13720). From there is the bottleneck
in front. The head for details is that idea of DiP (Chen et al. 2025, arXiv 2511.18822), but it looks across patches.

Shapes in comments: B pictures, G×G patches, W channels of a patch, L text tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glyffctl.core.errors import UsageError
from glyffctl.core.kernels.layers import layer_norm
from glyffctl.core.networks.attention import Attention, FeedForward, Pointwise, SelfAttention
from glyffctl.core.networks.captioned import CaptionedNetwork, Context, check_ways_in
from glyffctl.core.networks.network import NETWORKS, NetworkConfig, NetworkKind, zeroed
from glyffctl.core.networks.sinusoid import sinusoid

_LARGEST, _DEEPEST = 1 << 16, 256  # far beyond what anyone builds
_FINER = 4  # positions of the head for details along a patch
_EPS = 1e-6


@dataclass(frozen=True, kw_only=True)
class DiTConfig(NetworkConfig):
    """The sizes of a transformer on patches.

    Attributes:
        patch: side of the pixel blocks that become tokens.
        width: channels of a token, a multiple of 4 and of head_width.
        depth: blocks.
        head_width: channels of an attention head.
        bottleneck: channels that a patch is squeezed through on its way in; 0 is none.
        detail: channels of convolutions on a grid four times as fine, which add details and smooth the seams between
            patches; 0 is none.
        context_width: width of the text as cross-attention sees it.
        pooled_text: add the mean token to the embedding of σ.
        cross_text: look at the tokens by cross-attention. One of these two ways, or both, must be taken.
        dropout: share of the features of each branch dropped while training.
    """

    patch: int = 16
    width: int = 320
    depth: int = 6
    head_width: int = 32
    bottleneck: int = 0
    detail: int = 48
    context_width: int = 192
    pooled_text: bool = True
    cross_text: bool = True
    dropout: float = 0.0

    def __post_init__(self) -> None:
        """Raise UsageError for sizes that cannot be built."""
        sizes = (self.in_channels, self.patch, self.width, self.depth, self.head_width)
        widths = (self.text_width, self.context_width)
        if min(*sizes, *widths) < 1 or min(self.size, self.bottleneck, self.detail) < 0:
            raise UsageError(
                "network: sizes, widths and depth must be positive; bottleneck and detail may be 0, which is none"
            )
        if max(self.size, *sizes, *widths, self.bottleneck, self.detail) > _LARGEST or self.depth > _DEEPEST:
            raise UsageError(f"network: sizes and widths go up to {_LARGEST:,}, depth to {_DEEPEST}")
        if self.size % self.patch:
            raise UsageError(f"network: size {self.size} is not a multiple of patch {self.patch}; change one of them")
        if self.width % 4 or self.width % self.head_width:
            raise UsageError(f"network: width {self.width} must be a multiple of 4 and of head_width {self.head_width}")
        if self.detail and self.patch % _FINER:
            raise UsageError(
                f"network: with detail, patch must be a multiple of {_FINER}, not {self.patch}; or set detail = 0"
            )
        if not 0 <= self.dropout < 1:
            raise UsageError(f"network: dropout must be in [0, 1), not {self.dropout}")
        check_ways_in(pooled=self.pooled_text, cross=self.cross_text)

    def is_matrix(self, name: str, parameter: Tensor) -> bool:
        """Linear layers and kernels, but for those from and to pixels."""
        return parameter.ndim > 1 and not name.startswith(("patch_in.", "out.", "details.noisy.", "details.out."))

    def cautions(self, prediction: str) -> list[str]:
        """Wide patches cannot carry noise from input to output."""
        pixels = self.patch**2 * self.in_channels
        squeezed = 0 < self.bottleneck < self.width
        narrowest, setting = (self.bottleneck, "bottleneck") if squeezed else (self.width, "width")
        if prediction == "x0" or 2 * pixels <= narrowest:
            return []
        return [
            f"network.patch {self.patch} squeezes the noise of {pixels} pixels through {narrowest} channels "
            f"(network.{setting}): with diffusion.prediction = {prediction!r} grain remains; take 'x0'"
        ]


def positions(side: int, width: int, like: Tensor) -> Tensor:
    """(side, side, width): codes of the row, then of the column, of each patch; of type and device of `like`.

    Fixed sines and cosines, added once. Every place of a picture is the same in all pictures, so rotations in each
    attention (Su et al. 2021, arXiv 2104.09864), which tell distances at any place, are not needed.
    """
    code = sinusoid(torch.arange(side, device=like.device) / 1000, width // 2).to(like.dtype)
    return torch.cat([code[:, None].expand(-1, side, -1), code[None].expand(side, -1, -1)], dim=2)


def _modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """x (B, G, G, W) normalised, then scaled and shifted by (B, 1, 1, W)."""
    with torch.autocast(x.device.type, enabled=False):  # which widens norms to float32 on CUDA, see `layer_norm`
        normed = F.layer_norm(x, x.shape[-1:], eps=_EPS)
    return normed * (1 + scale) + shift


class Block(nn.Module):
    """Self-attention, cross-attention to the text if asked for, and a feed-forward; at first it is the identity."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        width = config.width
        self.modulate = zeroed(nn.Linear(width, 6 * width))
        self.self_attn = SelfAttention(width, config.head_width)
        self.norm = nn.LayerNorm(width, eps=_EPS) if config.cross_text else None
        self.cross_attn = Attention(width, config.context_width, config.head_width) if config.cross_text else None
        if self.cross_attn is not None:
            zeroed(self.cross_attn.out)
        # Two thirds of the usual four widths: gated, it has as many weights as a plain one of four.
        self.ff = FeedForward(width, hidden_width(width))
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, embedding: Tensor, context: Context) -> Tensor:
        """(B, G, G, W) and (B, W) → (B, G, G, W)."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulate(embedding)[:, None, None].chunk(6, dim=3)
        hidden = _modulated(x, shift1, scale1)
        x = x + gate1 * self.dropout(self.self_attn(hidden, hidden))
        if self.cross_attn is not None and self.norm is not None:
            x = x + self.dropout(self.cross_attn(layer_norm(x, self.norm), context.tokens, context.mask))
        return x + gate2 * self.dropout(self.ff(_modulated(x, shift2, scale2)))


def hidden_width(width: int) -> int:
    """Channels inside a feed-forward: 8/3 of `width`, rounded up to a multiple of 32."""
    return -(-8 * width // 96) * 32


class Details(nn.Module):
    """Convolutions on a finer grid, guided by what the transformer says of each patch; at first they answer 0."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        channels, self.side = config.detail, config.patch // _FINER
        pixels = config.in_channels * self.side**2
        self.guide = Pointwise(config.width, channels * _FINER**2)
        self.noisy = nn.Conv2d(pixels, channels, 3, padding=1)
        self.mix = nn.Conv2d(channels, channels, 3, padding=1)
        self.out = zeroed(nn.Conv2d(channels, pixels, 3, padding=1))

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """x (B, G, G, W), z and the result (B, in_channels, size, size)."""
        guide = F.pixel_shuffle(self.guide(x).permute(0, 3, 1, 2), _FINER)
        hidden = F.silu(guide + self.noisy(_patches(z, self.side)))
        return F.pixel_shuffle(self.out(F.silu(self.mix(hidden))), self.side)


class DiT(CaptionedNetwork):
    """F(z, σ, text) as a transformer; see `DiTConfig` for its sizes and `denoiser` for what its output means."""

    config: DiTConfig

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.config = config
        self.shift_width = width = config.width
        pixels = config.in_channels * config.patch**2
        self.embed_sigma = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.take_text(config.context_width, pooled=config.pooled_text)
        self.patch_in = Pointwise(pixels, config.bottleneck or width)
        self.widen = Pointwise(config.bottleneck, width) if config.bottleneck else nn.Identity()
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.modulate = zeroed(nn.Linear(width, 2 * width))
        self.out = zeroed(Pointwise(width, pixels))
        self.details = Details(config) if config.detail else None

    def numbers_a_row(self) -> int:
        """See `Network`; the widest layer, and what is beside it, were measured to hold less."""
        config = self.config
        side = config.size // config.patch
        inside = (4 * config.width + 4 * hidden_width(config.width)) * side**2
        return inside + 4 * config.detail * (_FINER * side) ** 2 + 4 * config.in_channels * config.size**2

    def _forward(self, z: Tensor, label: Tensor, context: Context) -> Tensor:
        embedding = self.embed_sigma(sinusoid(label, self.config.width))
        if context.pooled is not None:
            embedding = embedding + context.pooled
        embedding = F.silu(embedding)  # every block takes it so; once is enough

        x = self.widen(self.patch_in(_patches(z, self.config.patch).permute(0, 2, 3, 1)))
        x = x + positions(x.shape[1], self.config.width, x)
        for block in cast("list[Block]", self.blocks):
            x = block(x, embedding, context)
        shift, scale = self.modulate(embedding)[:, None, None].chunk(2, dim=3)
        x = _modulated(x, shift, scale)
        answer = F.pixel_shuffle(self.out(x).permute(0, 3, 1, 2), self.config.patch)
        return answer if self.details is None else answer + self.details(x, z)


def _patches(z: Tensor, side: int) -> Tensor:
    """(B, C·side², H/side, W/side): blocks of pixels as channels."""
    return F.pixel_unshuffle(z, side).contiguous(memory_format=torch.channels_last)


NETWORKS["dit"] = NetworkKind(DiTConfig, DiT)
