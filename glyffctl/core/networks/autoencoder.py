"""A variational autoencoder of pictures, the first stage of latent diffusion (Rombach et al. 2022, arXiv 2112.10752).

Laid out as diffusers' `AutoencoderKL`, whose names its weights have: files of either are files of the other, and both
compute the same numbers (a test holds that).

Shapes in comments: B pictures, C channels, H×W positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glyffctl.core.errors import UsageError
from glyffctl.core.kernels.layers import group_norm
from glyffctl.core.networks.group_norm import GroupNorm
from glyffctl.core.networks.network import AUTOENCODERS, Network, NetworkConfig, NetworkKind

_LARGEST, _MOST_BLOCKS, _MOST_LEVELS = 1 << 13, 16, 6
_LOWEST, _HIGHEST = -30.0, 20.0  # ln σ² of a posterior, as in the paper's code and diffusers


@dataclass(frozen=True, kw_only=True)
class AutoencoderConfig(NetworkConfig):
    """The sizes of an autoencoder.

    Attributes:
        latent_channels: numbers at each position of a latent.
        channels: width of each level; each level halves the grid of the one before, so three make a latent of a quarter
            of the picture's side (f4), four of an eighth (f8).
        blocks: residual blocks of each level of the encoder (one more in the decoder).
        groups: of the norms.
        attention: whether the positions of a latent attend to each other.
        quant_conv: 1×1 convolutions between encoder, latent and decoder, which models of other programs have.
        kl_weight: of the divergence of latents from N(0, 1) in the loss, in nats for each pixel.
    """

    latent_channels: int = 4
    channels: tuple[int, ...] = (16, 32, 64)
    blocks: int = 1
    groups: int = 8
    attention: bool = False
    quant_conv: bool = False
    kl_weight: float = 1e-6

    def __post_init__(self) -> None:
        """Raise UsageError for sizes that cannot be built."""
        sizes = (self.in_channels, self.latent_channels, self.blocks, self.groups)
        if self.size < 0 or min(*sizes, *self.channels, len(self.channels)) < 1:
            raise UsageError("network: sizes, widths and block counts must be positive")
        if (
            max(*sizes, *self.channels) > _LARGEST
            or self.size > 1 << 16
            or self.blocks > _MOST_BLOCKS
            or len(self.channels) > _MOST_LEVELS
        ):
            raise UsageError(
                f"network: widths of an autoencoder go up to {_LARGEST:,}, blocks to {_MOST_BLOCKS}, channels has at "
                f"most {_MOST_LEVELS} of them"
            )
        if any(width % self.groups for width in self.channels):
            raise UsageError(f"network: {list(self.channels)} channels do not divide into {self.groups} groups")
        if self.size % self.factor:
            raise UsageError(
                f"network: this autoencoder takes pictures whose side is a multiple of {self.factor}, not {self.size}; "
                "change codec.size or the number of network.channels"
            )
        if not 0 <= self.kl_weight < 1:
            raise UsageError(f"network.kl_weight must be in [0, 1), not {self.kl_weight}")

    @property
    def factor(self) -> int:
        """How many times as wide as a latent a picture is."""
        return 1 << (len(self.channels) - 1)

    def is_matrix(self, name: str, parameter: Tensor) -> bool:
        """Kernels and linear layers, but for the convolutions from and to pixels and latents."""
        return parameter.ndim > 1 and "conv_in." not in name and "conv_out." not in name and "quant_conv" not in name


class Posterior(NamedTuple):
    """N(mean, diag(e^logvar)), the distribution of the latents of a picture; both (B, C, h, w)."""

    mean: Tensor
    logvar: Tensor

    def sample(self, eps: Tensor) -> Tensor:
        """mean + σ·ε, so that gradients reach both (Kingma and Welling 2014, arXiv 1312.6114, section 2.4)."""
        return self.mean + (self.logvar / 2).exp() * eps

    def divergence(self) -> Tensor:
        """(B,): the Kullback–Leibler divergence from N(0, 1), in nats (the same, appendix B)."""
        return (self.mean.square() + self.logvar.exp() - 1 - self.logvar).flatten(1).sum(1) / 2


class _Res(nn.Module):
    """Two 3×3 convolutions beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, groups: int) -> None:
        super().__init__()
        self.norm1 = GroupNorm(inputs, 1e-6, groups)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm2 = GroupNorm(outputs, 1e-6, groups)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.conv_shortcut = None if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) → (B, outputs, H, W)."""
        hidden = self.conv1(group_norm(x, self.norm1, silu=True))
        hidden = self.conv2(group_norm(hidden, self.norm2, silu=True))
        return (x if self.conv_shortcut is None else self.conv_shortcut(x)) + hidden


class _Attention(nn.Module):
    """Attention of all positions to each other, with one head."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.group_norm = GroupNorm(width, 1e-6, groups)
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, width) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → (B, C, H, W)."""
        hidden = self.group_norm(x).flatten(2).transpose(1, 2)
        query, key, value = (to(hidden)[:, None] for to in (self.to_q, self.to_k, self.to_v))
        mixed = F.scaled_dot_product_attention(query, key, value)[:, 0]
        return x + self.to_out[0](mixed).transpose(1, 2).unflatten(2, x.shape[2:])


class _Middle(nn.Module):
    def __init__(self, width: int, config: AutoencoderConfig) -> None:
        super().__init__()
        self.attentions = nn.ModuleList([_Attention(width, config.groups)] if config.attention else [])
        self.resnets = nn.ModuleList([_Res(width, width, config.groups) for _ in range(2)])

    def forward(self, x: Tensor) -> Tensor:
        x = self.resnets[0](x)
        for attention in self.attentions:
            x = attention(x)
        return self.resnets[1](x)


class _Resize(nn.Module):
    """A convolution to half the grid, or to twice."""

    def __init__(self, width: int, *, down: bool) -> None:
        super().__init__()
        self.down = down
        self.conv = nn.Conv2d(width, width, 3, 2) if down else nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)) if self.down else F.interpolate(x, scale_factor=2.0, mode="nearest"))


class _Level(nn.Module):
    """Residual blocks, and a change of the grid but at the last level."""

    def __init__(self, inputs: int, outputs: int, blocks: int, groups: int, *, down: bool, last: bool) -> None:
        super().__init__()
        self.resnets = nn.ModuleList([_Res(outputs if i else inputs, outputs, groups) for i in range(blocks)])
        resize = nn.ModuleList([] if last else [_Resize(outputs, down=down)])
        if down:
            self.downsamplers = resize
        else:
            self.upsamplers = resize

    def forward(self, x: Tensor) -> Tensor:
        for module in self.children():
            for layer in cast("nn.ModuleList", module):
                x = layer(x)
        return x


def _levels(widths: list[int], start: int, blocks: int, groups: int, *, down: bool) -> nn.ModuleList:
    pairs = zip([start, *widths], widths, strict=False)
    return nn.ModuleList(
        [
            _Level(inputs, outputs, blocks, groups, down=down, last=level == len(widths) - 1)
            for level, (inputs, outputs) in enumerate(pairs)
        ]
    )


class Encoder(nn.Module):
    """From pictures to means and log variances, one after the other along the channels."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        widths, groups = list(config.channels), config.groups
        self.conv_in = nn.Conv2d(config.in_channels, widths[0], 3, padding=1)
        self.down_blocks = _levels(widths, widths[0], config.blocks, groups, down=True)
        self.mid_block = _Middle(widths[-1], config)
        self.conv_norm_out = GroupNorm(widths[-1], 1e-6, groups)
        self.conv_out = nn.Conv2d(widths[-1], 2 * config.latent_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → (B, 2·latent channels, H/factor, W/factor)."""
        x = self.conv_in(x)
        for level in self.down_blocks:
            x = level(x)
        return self.conv_out(group_norm(self.mid_block(x), self.conv_norm_out, silu=True))


class Decoder(nn.Module):
    """From latents to pictures."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        widths, groups = list(reversed(config.channels)), config.groups
        self.conv_in = nn.Conv2d(config.latent_channels, widths[0], 3, padding=1)
        self.up_blocks = _levels(widths, widths[0], config.blocks + 1, groups, down=False)
        self.mid_block = _Middle(widths[0], config)
        self.conv_norm_out = GroupNorm(widths[-1], 1e-6, groups)
        self.conv_out = nn.Conv2d(widths[-1], config.in_channels, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        """(B, latent channels, h, w) → (B, C, h·factor, w·factor)."""
        x = self.mid_block(self.conv_in(z))
        for level in self.up_blocks:
            x = level(x)
        return self.conv_out(group_norm(x, self.conv_norm_out, silu=True))


class Autoencoder(Network):
    """Encoder and decoder. It is no denoiser: `forward` is one pass of its training."""

    config: AutoencoderConfig

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder, self.decoder = Encoder(config), Decoder(config)
        if config.quant_conv:
            self.quant_conv = nn.Conv2d(2 * config.latent_channels, 2 * config.latent_channels, 1)
            self.post_quant_conv = nn.Conv2d(config.latent_channels, config.latent_channels, 1)

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(C, h, w) of the latent of a picture of `config.size`."""
        side = self.config.size // self.config.factor
        return self.config.latent_channels, side, side

    def posterior(self, x: Tensor) -> Posterior:
        """Of pictures (B, C, H, W), in float32 or better."""
        moments = self.encoder(x.contiguous(memory_format=torch.channels_last))
        if self.config.quant_conv:
            moments = self.quant_conv(moments)
        mean, logvar = moments.to(x.dtype).chunk(2, dim=1)
        return Posterior(mean, logvar.clamp(_LOWEST, _HIGHEST))

    def decode(self, z: Tensor) -> Tensor:
        """(B, C, H, W) pictures of latents (B, latent channels, h, w)."""
        z = z.contiguous(memory_format=torch.channels_last)
        decoded: Tensor = self.decoder(self.post_quant_conv(z) if self.config.quant_conv else z)
        return decoded.to(z.dtype)

    def forward(self, x: Tensor, eps: Tensor, *_: Any) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Pictures (B, C, H, W) again from latents drawn with eps (B, *latent_shape), and (B,) the divergence."""
        posterior = self.posterior(x)
        return self.decode(posterior.sample(eps)), posterior.divergence()


AUTOENCODERS["autoencoder"] = NetworkKind(AutoencoderConfig, Autoencoder)
