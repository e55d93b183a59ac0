"""A classifier of noisy pictures: the way down of a U-Net, and logits.

Dhariwal and Nichol 2021, arXiv 2105.05233, section 4.

Shapes in comments: B pictures, C channels, H×W positions, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glyffctl.core.errors import UsageError
from glyffctl.core.kernels.layers import group_norm
from glyffctl.core.networks.group_norm import GroupNorm
from glyffctl.core.networks.network import CLASSIFIERS, Network, NetworkConfig, NetworkKind
from glyffctl.core.networks.residual import ResBlock
from glyffctl.core.networks.sinusoid import noise_label, sinusoid

_LARGEST, _MOST_BLOCKS, _MOST_LEVELS, _MOST_CLASSES = 1 << 12, 16, 8, 1 << 16


@dataclass(frozen=True, kw_only=True)
class ClassifierConfig(NetworkConfig):
    """The sizes of a classifier.

    Attributes:
        classes: K; 214 is one for each Kangxi radical.
        patch: side of the pixel blocks that become channels; the widest grid is size/patch.
        channels: width of each level; each level halves the grid of the one before.
        blocks: residual blocks of each level.
        dropout: share of features dropped while training, in residual blocks and before the logits.
    """

    text_width: int = 1
    classes: int = 214
    patch: int = 8
    channels: tuple[int, ...] = (64, 128, 192)
    blocks: int = 1
    dropout: float = 0.1

    def __post_init__(self) -> None:
        """Raise UsageError for sizes that cannot be built."""
        sizes = (self.in_channels, self.text_width, self.classes, self.patch, self.blocks)
        if self.size < 0 or min(*sizes, len(self.channels)) < 1:
            raise UsageError("network: sizes, widths and block counts must be positive")
        if any(width % 2 or not 2 <= width <= _LARGEST for width in self.channels[: _MOST_LEVELS + 1]):
            raise UsageError(f"network.channels must be even numbers in 2…{_LARGEST:,}")
        if (
            max(self.in_channels, self.text_width, self.patch, self.size) > 1 << 16
            or self.classes > _MOST_CLASSES
            or self.blocks > _MOST_BLOCKS
            or len(self.channels) > _MOST_LEVELS
        ):
            raise UsageError(
                f"network: a classifier has at most {_MOST_CLASSES:,} classes, {_MOST_LEVELS} levels and "
                f"{_MOST_BLOCKS} blocks in each"
            )
        grid = self.patch * 2 ** (len(self.channels) - 1)
        if self.size % grid:
            raise UsageError(
                f"network: size {self.size} is not a multiple of {grid} "
                f"(patch {self.patch}, halved {len(self.channels) - 1} times); change size, patch or channels"
            )
        if not 0 <= self.dropout < 1:
            raise UsageError(f"network.dropout must be in [0, 1), not {self.dropout}")

    def is_matrix(self, name: str, parameter: Tensor) -> bool:
        """Kernels and linear layers, but for the convolution from pixels and the logits."""
        return parameter.ndim > 1 and not name.startswith(("conv_in.", "head."))


class Classifier(Network):
    """Logits of p(class | z, σ); see `ClassifierConfig` for its sizes. It is no denoiser."""

    config: ClassifierConfig
    classifies = True

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.channels
        embedding = 4 * widths[0]
        self.embed_sigma = nn.Sequential(nn.Linear(widths[0], embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        self.conv_in = nn.Conv2d(config.in_channels * config.patch**2, widths[0], 3, padding=1)
        self.down = nn.ModuleList()
        width = widths[0]
        for wide in widths:
            blocks = [ResBlock(wide if i else width, wide, embedding, config.dropout) for i in range(config.blocks)]
            self.down.append(nn.ModuleList(blocks))
            width = wide
        self.norm_out = GroupNorm(width)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(width, config.classes)

    def numbers_a_row(self) -> int:
        """See `Network`; with the gradients of z, for which all features are kept: some eight tensors a block."""
        config = self.config
        side = config.size // config.patch
        return 8 * config.blocks * sum(width * (side >> level) ** 2 for level, width in enumerate(config.channels))

    def forward(self, z: Tensor, sigma: Tensor, *_: Any) -> Tensor:
        """(B, K) float32 logits of z = x/√(1+σ²) (B, in_channels, H, W), sides multiples of the grid; sigma (B,)."""
        return self._forward(z, noise_label(sigma, z))

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile all but what is computed on the CPU."""
        self._forward = torch.compile(self._forward, *args, **kwargs)  # type: ignore[method-assign]

    def _forward(self, z: Tensor, label: Tensor) -> Tensor:
        """`forward` for noise labels ¼·ln σ (B,) (Karras et al. 2022, table 1)."""
        embedding = F.silu(self.embed_sigma(sinusoid(label, self.config.channels[0])))
        h = F.pixel_unshuffle(z, self.config.patch).contiguous(memory_format=torch.channels_last)
        h = self.conv_in(h)
        for level, blocks in enumerate(cast("list[list[ResBlock]]", self.down)):
            if level:
                h = F.avg_pool2d(h, 2)
            for block in blocks:
                h = block(h, embedding)
        features = group_norm(h, self.norm_out, silu=True).mean((2, 3))
        return cast("Tensor", self.head(self.dropout(features))).to(z.dtype)


CLASSIFIERS["classifier"] = NetworkKind(ClassifierConfig, Classifier)
