"""Latents of an autoencoder are diffused (Rombach et al. 2022, arXiv 2112.10752).

A codec of this kind has weights, so it is not made from the size of pictures alone: it is read from a file, see
`models.codec_file`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from glyffctl.core.codecs.pixels import Pixels
from glyffctl.core.errors import UsageError
from glyffctl.core.networks.autoencoder import Autoencoder

_AT_ONCE = 16  # pictures: the first level of an autoencoder has all of their pixels


@dataclass(frozen=True, eq=False)
class Latents:
    """Means of an autoencoder's posteriors, shifted and scaled to a mean of 0 and a variance of 1.

    x = (mean − shift) · scale, as with `shift_factor` and `scaling_factor` of diffusers.

    Attributes:
        network: the autoencoder, in eval mode; it moves to the device of what is encoded or decoded.
        scale, shift: measured on training glyphs.
        identity: a digest of all these numbers.
        size: height and width of a picture, in pixels.
        limit: see `Codec`.
    """

    network: Autoencoder
    scale: float
    shift: float
    size: int
    identity: str = ""
    limit: float | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, h, w): the latent channels, and the side of a picture divided by the factor of the autoencoder."""
        config = self.network.config
        side = self.size // config.factor
        return config.latent_channels, side, side

    def at(self, size: int) -> Latents:
        """The same for pictures of `size` pixels.

        Raises:
            UsageError: the autoencoder takes no such pictures.
        """
        factor = self.network.config.factor
        if size < factor or size % factor:
            raise UsageError(
                f"this codec takes pictures whose side is a multiple of {factor}, not {size}; set codec.size to one"
            )
        return replace(self, size=size)

    @property
    def pixels(self) -> Pixels:
        """What the autoencoder takes and gives."""
        return Pixels(self.size, self.network.config.in_channels)

    @torch.no_grad()
    def encode(self, pictures: Tensor) -> Tensor:
        """(B, C, h, w) float32 from pictures (B, size, size) uint8."""
        network = self.network.to(pictures.device)
        parts = [network.posterior(self.pixels.encode(part)).mean for part in pictures.split(_AT_ONCE)]
        return (torch.cat(parts) - self.shift) * self.scale

    @torch.no_grad()
    def decode(self, x: Tensor) -> Tensor:
        """Pictures (B, size, size) uint8 from x (B, C, h, w)."""
        network = self.network.to(x.device)
        latents = x.float() / self.scale + self.shift
        return torch.cat([self.pixels.decode(network.decode(part)) for part in latents.split(_AT_ONCE)])
