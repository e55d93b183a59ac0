"""Networks that draw in one pass, as was done before diffusion: of a VAE and of a GAN.

Their noise is what a denoiser gets at the highest level, of which they read the first numbers as a latent; what they
answer is the picture. So a model that "predicts x0" and takes one step from there draws with them like with any other.

Shapes in comments: B pictures, C channels, H×W positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.errors import UsageError
from glyffctl.core.kernels.layers import group_norm
from glyffctl.core.networks.autoencoder import Posterior
from glyffctl.core.networks.captioned import CaptionedNetwork, Context
from glyffctl.core.networks.group_norm import GroupNorm
from glyffctl.core.networks.network import GENERATORS, NetworkConfig, NetworkKind
from glyffctl.core.networks.pass_size import unet_numbers_a_row
from glyffctl.core.networks.residual import ResBlock

_LARGEST, _MOST_BLOCKS, _MOST_LEVELS = 1 << 13, 16, 8
_LOWEST, _HIGHEST = -30.0, 20.0  # ln σ² of a posterior


@dataclass(frozen=True, kw_only=True)
class GeneratorConfig(NetworkConfig):
    """The sizes of a generator, and of the network that looks at pictures in its training.

    Attributes:
        latent: numbers that a picture is drawn from, besides its caption.
        patch: side of the pixel blocks that become channels; the widest grid is size/patch.
        channels: width of each level; each level halves the grid of the one before.
        blocks: residual blocks of each level.
        context_width: width of a token before the mean is taken.
    """

    latent: int = 128
    patch: int = 8
    channels: tuple[int, ...] = (128, 192, 256)
    blocks: int = 2
    context_width: int = 192

    def __post_init__(self) -> None:
        """Raise UsageError for sizes that cannot be built."""
        sizes = (self.in_channels, self.latent, self.patch, self.blocks, self.text_width, self.context_width)
        if self.size < 0 or min(*sizes, *self.channels, len(self.channels)) < 1:
            raise UsageError("network: sizes, widths and block counts must be positive")
        if any(width % 2 for width in self.channels):
            raise UsageError(f"network: channels must be even, not {list(self.channels)}")
        if (
            max(self.size, *sizes, *self.channels) > _LARGEST
            or self.blocks > _MOST_BLOCKS
            or len(self.channels) > _MOST_LEVELS
        ):
            raise UsageError(
                f"network: sizes and widths go up to {_LARGEST:,}, blocks to {_MOST_BLOCKS}, channels has at most "
                f"{_MOST_LEVELS} of them"
            )
        if self.size % self.block:
            raise UsageError(
                f"network: size {self.size} is not a multiple of {self.block} (patch {self.patch}, halved "
                f"{len(self.channels) - 1} times); change size, patch or channels"
            )
        numbers = self.in_channels * self.size**2
        if self.size and self.latent > numbers:
            raise UsageError(f"network.latent can be at most the {numbers:,} numbers of a picture")

    @property
    def block(self) -> int:
        """The side of the pictures' blocks that a position of the narrowest grid stands for."""
        return self.patch << (len(self.channels) - 1)

    @property
    def positions(self) -> int:
        """Of the narrowest grid."""
        return (self.size // self.block) ** 2

    def is_matrix(self, name: str, parameter: Tensor) -> bool:
        """Kernels and linear layers, but for those from and to pixels, latents and scores."""
        outside = ("conv_in", "conv_out", "linear_in", "linear_out")
        return parameter.ndim > 1 and not any(part in outside for part in name.split("."))


@dataclass(frozen=True, kw_only=True)
class VAEConfig(GeneratorConfig):
    """The sizes of a variational autoencoder (Kingma and Welling 2014, arXiv 1312.6114), and its loss.

    Attributes:
        beta: weight of the divergence of latents from N(0, 1): 1 is a bound on the likelihood, more is a β-VAE (Higgins
            et al. 2017), 0 an autoencoder, whose latents then have no noise either.
        noise: standard deviation of noise in the pictures that the encoder sees; above 0 it is a denoising autoencoder
            (Vincent et al. 2008).
    """

    beta: float = 1.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        """Raise UsageError for sizes that cannot be built."""
        super().__post_init__()
        if not 0 <= self.beta <= 1e6 or not 0 <= self.noise <= 1e3:
            raise UsageError(
                f"network.beta must be in 0…1,000,000 and network.noise in 0…1,000, not {self.beta} and {self.noise}"
            )


@dataclass(frozen=True, kw_only=True)
class GANConfig(GeneratorConfig):
    """The sizes of a generative adversarial network (Goodfellow et al. 2014, arXiv 1406.2661), and its loss.

    Attributes:
        r1: weight γ of the gradient penalty γ/2·|∇D|² on real pictures (Mescheder et al. 2018, arXiv 1801.04406).
    """

    r1: float = 1.0

    def __post_init__(self) -> None:
        """Raise UsageError for sizes that cannot be built."""
        super().__post_init__()
        if not 0 <= self.r1 <= 1e6:
            raise UsageError(f"network.r1 must be in 0…1,000,000, not {self.r1}")


class Looker(CaptionedNetwork):
    """From pictures and captions to `outputs` numbers: the encoder of a VAE, the critic of a GAN."""

    config: GeneratorConfig

    def __init__(self, config: GeneratorConfig, outputs: int) -> None:
        super().__init__()
        self.config = config
        widths = config.channels
        self.shift_width = embedding = 4 * widths[0]
        self.take_text(config.context_width, pooled=True)
        self.conv_in = nn.Conv2d(config.in_channels * config.patch**2, widths[0], 3, padding=1)
        self.levels, self.downsample = nn.ModuleList(), nn.ModuleList()
        for level, width in enumerate(widths):
            self.levels.append(nn.ModuleList(ResBlock(width, width, embedding, 0.0) for _ in range(config.blocks)))
            if level + 1 < len(widths):
                self.downsample.append(nn.Conv2d(width, widths[level + 1], 3, stride=2, padding=1))
        self.norm_out = GroupNorm(widths[-1])
        self.linear_out = nn.Linear(widths[-1] * config.positions, outputs)

    def forward(self, x: Tensor, context: Context) -> Tensor:  # type: ignore[override]
        """(B, outputs) float32 or better, of pictures (B, C, size, size)."""
        embedding = F.silu(cast("Tensor", context.pooled))
        h = F.pixel_unshuffle(x, self.config.patch).contiguous(memory_format=torch.channels_last)
        h = self.conv_in(h)
        for level, blocks in enumerate(self.levels):
            for block in cast("nn.ModuleList", blocks):
                h = block(h, embedding)
            if level < len(self.downsample):
                h = self.downsample[level](h)
        outputs: Tensor = self.linear_out(group_norm(h, self.norm_out, silu=True).flatten(1))
        return outputs.to(x.dtype)


class Generator(CaptionedNetwork):
    """From latents and captions to pictures."""

    config: GeneratorConfig
    one_pass = True

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        widths = tuple(reversed(config.channels))
        self.shift_width = embedding = 4 * widths[-1]
        self.take_text(config.context_width, pooled=True)
        self.embed_latent = nn.Sequential(
            nn.Linear(config.latent, embedding), nn.SiLU(), nn.Linear(embedding, embedding)
        )
        self.linear_in = nn.Linear(config.latent, widths[0] * config.positions)
        self.levels, self.upsample = nn.ModuleList(), nn.ModuleList()
        for level, width in enumerate(widths):
            self.levels.append(nn.ModuleList(ResBlock(width, width, embedding, 0.0) for _ in range(config.blocks)))
            if level + 1 < len(widths):
                self.upsample.append(nn.Conv2d(width, widths[level + 1], 3, padding=1))
        self.norm_out = GroupNorm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], config.in_channels * config.patch**2, 3, padding=1)

    def logits(self, latent: Tensor, context: Context) -> Tensor:
        """(B, C, size, size): twice the inverse hyperbolic tangent of the pictures of latents (B, latent)."""
        config = self.config
        side = config.size // config.block
        embedding = F.silu(self.embed_latent(latent) + cast("Tensor", context.pooled))
        h = self.linear_in(latent).unflatten(1, (config.channels[-1], side, side))
        h = h.contiguous(memory_format=torch.channels_last)
        for level, blocks in enumerate(self.levels):
            for block in cast("nn.ModuleList", blocks):
                h = block(h, embedding)
            if level < len(self.upsample):
                h = self.upsample[level](F.interpolate(h, scale_factor=2.0, mode="nearest"))
        h = self.conv_out(group_norm(h, self.norm_out, silu=True))
        return F.pixel_shuffle(h, config.patch).to(latent.dtype)

    def pictures(self, latent: Tensor, context: Context) -> Tensor:
        """(B, C, size, size) in −1…1, of latents (B, latent)."""
        return (self.logits(latent, context) / 2).tanh()

    def numbers_a_row(self) -> int:
        """See `Network`."""
        config = self.config
        return unet_numbers_a_row(config.size // config.patch, config.channels, config.blocks, ())

    def _forward(self, z: Tensor, label: Tensor, context: Context) -> Tensor:  # noqa: ARG002 - there is one level
        return self.pictures(z.flatten(1)[:, : self.config.latent], context)


class VAE(Generator):
    """A generator that learns from an encoder which latent a picture has."""

    config: VAEConfig

    def __init__(self, config: VAEConfig) -> None:
        super().__init__(config)
        self.encoder = Looker(config, 2 * config.latent)

    def posterior(self, x: Tensor, condition: Condition) -> Posterior:
        """The distribution of the latents (B, latent) of pictures (B, C, size, size) with captions."""
        mean, logvar = self.encoder(x, self.encoder.encode(condition)).chunk(2, dim=1)
        return Posterior(mean, logvar.clamp(_LOWEST, _HIGHEST))


class GAN(Generator):
    """A generator that learns from a critic which pictures are not real."""

    config: GANConfig

    def __init__(self, config: GANConfig) -> None:
        super().__init__(config)
        self.critic = Looker(config, 1)


GENERATORS["vae"] = NetworkKind(VAEConfig, VAE)
GENERATORS["gan"] = NetworkKind(GANConfig, GAN)
