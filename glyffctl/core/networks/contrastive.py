"""Two towers that put glyphs and captions into one space: close where they belong together.

CLIP (Radford et al. 2021, arXiv 2103.00020, section 2) and SigLIP (Zhai et al. 2023, arXiv 2303.15343): the scalar
product of two unit vectors, times a learned scale, is the logit of their belonging together. The glyph tower is a small
convolutional network, the text tower a transformer over the vectors of a text encoder, whose tokens a model can be
conditioned on (`models.text_tower`).

Shapes in comments: B pictures, C channels, H×W positions, T texts, L tokens, E numbers of a vector in common.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.errors import UsageError
from glyffctl.core.kernels.layers import group_norm, layer_norm
from glyffctl.core.networks.attention import FeedForward, SelfAttention
from glyffctl.core.networks.captioned import CaptionedNetwork
from glyffctl.core.networks.group_norm import GroupNorm
from glyffctl.core.networks.network import COMPARERS, NetworkConfig, NetworkKind, zeroed
from glyffctl.core.networks.sinusoid import sinusoid

Loss = Literal["softmax", "sigmoid"]
_LARGEST, _MOST_BLOCKS, _MOST_LEVELS = 1 << 12, 64, 8
_MOST_SCALE = 100.0  # CLIP, section 2.5: a larger one makes training unstable
_FIRST_SCALE: dict[Loss, float] = {"softmax": 1 / 0.07, "sigmoid": 10.0}
_EPS = 1e-6


@dataclass(frozen=True, kw_only=True)
class ContrastiveConfig(NetworkConfig):
    """The sizes of both towers, and the loss that they learn by.

    Attributes:
        loss: "softmax" as in CLIP, or "sigmoid" as in SigLIP; see `training.contrasting`.
        embedding: E.
        patch: side of the pixel blocks that become channels; the widest grid is size/patch.
        channels: width of each level of the glyph tower; each level halves the grid of the one before.
        blocks: residual blocks of each level.
        text_channels: width of a token in the text tower, and of what it gives to a model.
        text_blocks: of the text tower; 0 takes the mean of projected tokens.
        head_width: channels of an attention head.
        dropout: share of features dropped while training, in the blocks of both towers.
    """

    loss: Loss = "softmax"
    embedding: int = 128
    patch: int = 8
    channels: tuple[int, ...] = (64, 128, 192)
    blocks: int = 1
    text_channels: int = 128
    text_blocks: int = 2
    head_width: int = 32
    dropout: float = 0.1

    def __post_init__(self) -> None:
        """Raise UsageError for sizes that cannot be built."""
        sizes = (self.in_channels, self.text_width, self.embedding, self.patch, self.blocks, self.head_width)
        if min(self.size, self.text_blocks) < 0 or min(*sizes, self.text_channels, len(self.channels)) < 1:
            raise UsageError("network: sizes, widths and block counts must be positive; text_blocks may be 0")
        if any(width % 2 or not 2 <= width <= _LARGEST for width in self.channels[: _MOST_LEVELS + 1]):
            raise UsageError(f"network.channels must be even numbers in 2…{_LARGEST:,}")
        if (
            max(self.in_channels, self.text_width, self.patch, self.size) > 1 << 16
            or max(self.embedding, self.text_channels, self.head_width) > _LARGEST
            or max(self.blocks, self.text_blocks) > _MOST_BLOCKS
            or len(self.channels) > _MOST_LEVELS
        ):
            raise UsageError(
                f"network: towers are at most {_LARGEST:,} wide, with {_MOST_LEVELS} levels and {_MOST_BLOCKS} blocks"
            )
        grid = self.patch * 2 ** (len(self.channels) - 1)
        if self.size % grid:
            raise UsageError(
                f"network: size {self.size} is not a multiple of {grid} "
                f"(patch {self.patch}, halved {len(self.channels) - 1} times); change size, patch or channels"
            )
        if self.text_channels % 2 or self.text_channels % self.head_width:
            raise UsageError(
                f"network.text_channels must be even and a multiple of head_width {self.head_width}, not "
                f"{self.text_channels}"
            )
        if not 0 <= self.dropout < 1:
            raise UsageError(f"network.dropout must be in [0, 1), not {self.dropout}")

    def is_matrix(self, name: str, parameter: Tensor) -> bool:
        """Kernels and linear layers, but for those from pixels and token vectors, and into the common space."""
        outside = ("conv_in.", "text_in.", "picture_out.", "text_out.")
        return parameter.ndim > 1 and not name.startswith(outside)


class _PictureBlock(nn.Module):
    """Two 3×3 convolutions beside the identity."""

    def __init__(self, inputs: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = GroupNorm(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm2 = GroupNorm(outputs)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = zeroed(nn.Conv2d(outputs, outputs, 3, padding=1))
        self.skip = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) → (B, outputs, H, W)."""
        hidden = group_norm(self.conv1(group_norm(x, self.norm1, silu=True)), self.norm2, silu=True)
        return cast("Tensor", self.skip(x) + self.conv2(self.dropout(hidden)))


class _TextBlock(nn.Module):
    """Attention of the tokens to each other, and a feed-forward (Vaswani et al. 2017; norms in front)."""

    def __init__(self, width: int, head_width: int, dropout: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, _EPS), nn.LayerNorm(width, _EPS)
        self.attention = SelfAttention(width, head_width)
        self.feed_forward = FeedForward(width, 2 * width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, 1, L, width), and mask (B, 1, 1, L)."""
        inner = layer_norm(x, self.norm1)
        x = x + self.dropout(self.attention(inner, inner, mask))
        return x + self.dropout(self.feed_forward(layer_norm(x, self.norm2)))


class Contrastive(CaptionedNetwork):
    """Both towers and the scale of their product; see `ContrastiveConfig` for the sizes. It is no denoiser."""

    config: ContrastiveConfig
    compares = True

    def __init__(self, config: ContrastiveConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.channels
        self.conv_in = nn.Conv2d(config.in_channels * config.patch**2, widths[0], 3, padding=1)
        self.levels = nn.ModuleList()
        before = widths[0]
        for width in widths:
            blocks = (_PictureBlock(width if i else before, width, config.dropout) for i in range(config.blocks))
            self.levels.append(nn.Sequential(*blocks))
            before = width
        self.norm_out = GroupNorm(before)
        self.picture_out = nn.Linear(before, config.embedding)
        self.take_text(config.text_channels, pooled=False)
        self.text_blocks = nn.ModuleList(
            _TextBlock(config.text_channels, config.head_width, config.dropout) for _ in range(config.text_blocks)
        )
        self.text_norm = nn.LayerNorm(config.text_channels, _EPS)
        self.text_out = nn.Linear(config.text_channels, config.embedding)
        self.log_scale = nn.Parameter(torch.full((1,), math.log(_FIRST_SCALE[config.loss])))
        # A softmax does not change with what is added to all logits.
        self.bias = nn.Parameter(torch.zeros(1)) if config.loss == "sigmoid" else None

    def pictures(self, x: Tensor) -> Tensor:
        """The unit vectors (B, E) of pictures x (B, C, size, size), as the codec encodes them."""
        h = F.pixel_unshuffle(x, self.config.patch).contiguous(memory_format=torch.channels_last)
        h = self.conv_in(h)
        for level, blocks in enumerate(self.levels):
            h = blocks(F.avg_pool2d(h, 2) if level else h)
        features = group_norm(h, self.norm_out, silu=True).mean((2, 3))
        return F.normalize(self.picture_out(features).to(x.dtype), dim=1)

    def tokens(self, condition: Condition) -> tuple[Tensor, Tensor]:
        """The vectors (T, L, text_channels) of the tokens of captions, and which of them there are (T, L) bool.

        The text tower without its last layer; a caption that is missing has a token of its own.
        """
        text = self.encode(condition)
        length = text.tokens.shape[1]
        place = torch.arange(length, device=text.tokens.device) / 1000
        h = (text.tokens + sinusoid(place, self.config.text_channels).to(text.tokens.dtype))[:, None]
        for block in self.text_blocks:
            h = block(h, text.mask)
        return layer_norm(h, self.text_norm)[:, 0], text.mask[:, 0, 0]

    def texts(self, condition: Condition) -> Tensor:
        """The unit vectors (T, E) of captions."""
        tokens, mask = self.tokens(condition)
        weights = mask.to(tokens.dtype)
        mean = (tokens * weights[:, :, None]).sum(1) / weights.sum(1, keepdim=True)
        return F.normalize(self.text_out(mean).to(condition.tokens.dtype), dim=1)

    def logits(self, pictures: Tensor, texts: Tensor) -> Tensor:
        """(B, T): how well each picture fits each text, from the unit vectors of both."""
        products = pictures @ texts.mT * self.log_scale.exp().clamp(max=_MOST_SCALE)
        return products if self.bias is None else products + self.bias

    def forward(self, x: Tensor, condition: Condition) -> Tensor:  # type: ignore[override]
        """`logits` (B, T) of pictures x (B, C, size, size) with captions."""
        return self.logits(self.pictures(x), self.texts(condition))

    def numbers_a_row(self) -> int:
        """See `Network`: some four tensors are held at the widest level."""
        side = self.config.size // self.config.patch
        return 4 * max(width * (side >> level) ** 2 for level, width in enumerate(self.config.channels))


def ranks(scores: Tensor, right: Tensor) -> Tensor:
    """(N,) float64, from 1: the rank of the best right answer to each of N questions, among wrong answers.

    A wrong answer that scores as much counts half, so that a network that scores all answers alike does not win.

    Args:
        scores: (N, T), of T answers.
        right: (N, T) bool; at least one in each row.
    """
    best = scores.masked_fill(~right, -math.inf).amax(1, keepdim=True)
    above, equal = (scores > best) & ~right, (scores == best) & ~right
    return 1 + above.sum(1).double() + equal.sum(1).double() / 2


COMPARERS["contrastive"] = NetworkKind(ContrastiveConfig, Contrastive)
