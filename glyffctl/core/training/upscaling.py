"""The objective of an upscaler: guess a large picture from noise of it and the small one.

Pairs come from one picture, so they fit each other to the pixel: the small one is the large one, reduced. Everything
drawn at random belongs to a global sample number: its glyph and where the crop is, the noise of the large picture, that
of the small one, and both levels.
"""

from __future__ import annotations

from collections.abc import Generator

import torch
from torch import Tensor

from glyffctl.core.device import send
from glyffctl.core.diffusion.denoiser import Denoiser
from glyffctl.core.diffusion.weighting import loss_weight
from glyffctl.core.errors import TrainingError
from glyffctl.core.models.checkpoint import Origin, TrainedModel, trained_model
from glyffctl.core.models.config import Config
from glyffctl.core.models.upscale_recipe import UPSCALING
from glyffctl.core.models.upscaler import reduced, small_condition, upscaling_schedule
from glyffctl.core.networks.network import UPSCALERS, Network, build_network, channels_last
from glyffctl.core.networks.upscaler import UpscalerConfig
from glyffctl.core.noise import Stream, normal, uniform
from glyffctl.core.training.denoising import draw_sigmas
from glyffctl.core.training.objective import OBJECTIVES, Batch, Objective, TrainingData

_SIGMAS = (0.05, 0.15, 0.4, 1.0)  # of validation
_AT_ONCE = 16  # crops


class Upscaling(Objective):
    """The weighted squared error of a denoiser on crops of large pictures, conditioned on the small ones.

    Attributes:
        codec: from pictures to what is diffused: pixels.
        schedule: the noise levels that the model will be sampled at.
    """

    validated = "σ of the large picture"
    new = False
    captioned = False
    kinds = UPSCALERS

    def __init__(self, config: Config, data: TrainingData, device: torch.device, dtype: torch.dtype) -> None:
        """Build a network that starts as interpolation. The arguments and errors are those of `Objective`."""
        super().__init__(config, data, device, dtype)
        self.crop, size = config.upscaling.crop, config.codec.size
        assert isinstance(config.network, UpscalerConfig)
        self.scale = config.network.scale
        self._places = (size - self.crop) // self.scale + 1  # where a crop can begin: at a pixel of the small picture
        self.codec = config.codec.build()
        self.schedule = upscaling_schedule(config.upscaling.start)
        torch.manual_seed(config.training.seed)  # the random weights; nothing later draws from torch's generators
        self.network = channels_last(build_network(config.network).to(device, dtype))

    @classmethod
    def check(cls, config: Config) -> None:
        """See `Objective`: the pictures have to be pixels, and large enough."""
        super().check(config)
        network, crop, size = config.network, config.upscaling.crop, config.codec.size
        assert isinstance(network, UpscalerConfig)
        if config.codec.kind != "pixels":
            raise TrainingError(f'an upscaler takes codec.kind = "pixels", not {config.codec.kind!r}; leave it out')
        if config.diffusion.prediction != "x0":
            raise TrainingError('an upscaler learns diffusion.prediction = "x0"; take it out of the settings')
        if crop > size:
            raise TrainingError(
                f"upscaling.crop is {crop}, but the pictures have {size}×{size} pixels; prepare larger ones, as with "
                "`glyffctl prepare --size 512`"
            )
        if crop % network.grid:
            raise TrainingError(f"upscaling.crop must be a multiple of {network.grid}, not {crop}")

    def _corner(self, seed: int, number: Tensor) -> tuple[Tensor, Tensor]:
        """The upper and the left edge (B,) int64 of the crops of the samples `number`."""
        top, left = (
            (uniform(seed, number, stream) * self._places).long() * self.scale for stream in (Stream.TOP, Stream.LEFT)
        )
        return top, left

    def _crops(self, source: Tensor, top: Tensor, left: Tensor) -> Tensor:
        """(B, 1, crop, crop): what is diffused of the glyphs in `source`."""
        pictures = self.pictures(source)
        side = torch.arange(self.crop, device=pictures.device)
        rows, columns = (edge.to(pictures.device)[:, None] + side for edge in (top, left))
        row = torch.arange(len(pictures), device=pictures.device)
        return self.codec.encode(pictures[row[:, None, None], rows[:, :, None], columns[:, None]]).to(self.dtype)

    def batch(self, number: Tensor) -> Batch:
        """Number, glyph, place of the crop, σ, noise level of the small picture, and weight of the samples `number`."""
        diffusion, seed = self.config.diffusion, self.config.training.seed
        sigma = draw_sigmas(self.config, self.schedule, number)
        level = self.config.upscaling.noise * uniform(seed, number, Stream.LEVEL)
        weight = loss_weight(diffusion.weighting, diffusion.prediction, sigma).to(self.dtype)
        top, left = self._corner(seed, number)
        return Batch((number, self.source(self.sample_glyphs(number)), top, left, sigma, level, weight), 0)

    def forward(
        self,
        number: Tensor,
        source: Tensor,
        top: Tensor,
        left: Tensor,
        sigma: Tensor,
        level: Tensor,
        weight: Tensor,
        *,
        length: int,  # noqa: ARG002 - there are no captions
        autocast: torch.dtype | None,
    ) -> Tensor:
        """(B,): see `Denoiser.loss`, weighted; the arguments are those of `batch`."""
        errors = self._errors(
            self.network, self.config.training.seed, number, self._crops(source, top, left), sigma, level, autocast
        )
        return errors * weight.to(errors.dtype)

    def _errors(
        self,
        network: Network,
        seed: int,
        number: Tensor,
        large: Tensor,
        sigma: Tensor,
        level: Tensor,
        autocast: torch.dtype | None,
    ) -> Tensor:
        """(B,): see `Denoiser.loss`, of large pictures (B, 1, H, W) with the noise of `number` (B,) under `seed`."""
        small = reduced(large, self.scale)
        noise = normal(seed, number, tuple(small.shape[1:]), Stream.SMALL, self.dtype)
        eps = normal(seed, number, tuple(large.shape[1:]), Stream.EPS, self.dtype)
        denoiser = Denoiser(network, self.config.diffusion.prediction, autocast)
        return denoiser.loss(large, eps, sigma, network.encode(small_condition(small, level, noise)))

    def validate(self, network: Network, autocast: torch.dtype | None) -> Generator[float, None, dict[float, float]]:
        """The loss of `network` on crops of held-out characters at some σ, always with the same noise.

        The small picture has the noise that it has in drawing. Empty where nothing is held out. Yields how much is
        done, from 0 to 1.
        """
        batches = self.validation_index.split(_AT_ONCE) if len(self.validation_index) else ()
        errors: dict[float, list[Tensor]] = {sigma: [] for sigma in _SIGMAS if batches}
        for number, held in enumerate(batches):
            large = self._crops(send(self.source(held), self.device), *self._corner(0, held))
            level = torch.full((len(held),), self.config.upscaling.drawn, dtype=torch.float64)
            for place, (sigma, found) in enumerate(errors.items()):
                yield (number + place / len(errors)) / len(batches)
                with torch.no_grad():
                    levels = torch.full((len(held),), sigma, dtype=torch.float64)
                    found.append(
                        self._errors(network, 0, send(held, self.device), large, levels, level, autocast).float().cpu()
                    )
        return {sigma: float(torch.cat(found).mean()) for sigma, found in errors.items()}

    def model(self, network: Network, origin: Origin, images: int, epochs: float) -> TrainedModel:
        """See `Objective`."""
        return trained_model(network, self.schedule, origin, images=images, epochs=epochs)


OBJECTIVES[UPSCALING] = Upscaling
