"""The objective of a denoiser: guess x0 from x0 + σ·ε and a caption.

Every draw belongs to a global sample number: its glyph, its noise, its σ, which of its captions is used, and whether
one is used at all.
"""

from __future__ import annotations

from collections.abc import Generator

import torch
from torch import Tensor

from glyffctl.core.device import send
from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.diffusion.denoiser import Denoiser, coefficients
from glyffctl.core.diffusion.schedule import Schedule
from glyffctl.core.diffusion.weighting import loss_weight
from glyffctl.core.models.checkpoint import Origin, TrainedModel, trained_model
from glyffctl.core.models.config import Config
from glyffctl.core.networks.network import Network, build_network, channels_last
from glyffctl.core.noise import Stream, normal, uniform
from glyffctl.core.training.captioned import CaptionedObjective
from glyffctl.core.training.objective import OBJECTIVES, Batch, TrainingData

VALIDATION_SIGMAS = (0.1, 0.3, 0.6, 1.0, 2.0, 4.0, 10.0, 40.0)
_VALIDATION_BATCH = 32
_KEPT_BYTES = 1 << 31  # of latents: 131,072 glyphs, where a glyph has 4096 numbers
_ENCODED_AT_ONCE = 64  # glyphs


def draw_sigmas(config: Config, schedule: Schedule, number: Tensor) -> Tensor:
    """(B,) float64: the noise level of each sample `number` (B,), on the CPU as they are."""
    share = uniform(config.training.seed, number, Stream.SIGMA)
    diffusion = config.diffusion
    if diffusion.levels == "lognormal":
        return (diffusion.level_mean + diffusion.level_std * torch.special.ndtri(share)).exp()
    return schedule.sigmas[(share * len(schedule.sigmas)).long()]


class Denoising(CaptionedObjective):
    """The weighted squared error of a denoiser on glyphs.

    Attributes:
        codec: from pictures to what is diffused.
        schedule: the noise levels that the model will be sampled at.
    """

    def __init__(self, config: Config, data: TrainingData, device: torch.device, dtype: torch.dtype) -> None:
        """Build a network with random weights. The arguments and errors are those of `Objective`."""
        super().__init__(config, data, device, dtype)
        self.codec = config.codec.build(data.codec)
        self._latents: Tensor | None = None  # of all glyphs, from `prepare`
        self.schedule = config.diffusion.noise_levels()
        torch.manual_seed(config.training.seed)  # the random weights; nothing later draws from torch's generators
        self.network = channels_last(build_network(config.network).to(device, dtype))

    @staticmethod
    def held_numbers(config: Config, glyphs: int) -> int:
        """Those of all latents, where they are kept; see `prepare`."""
        network = config.network
        latents = glyphs * network.in_channels * network.size**2 if config.codec.learned else 0
        return latents if 4 * latents <= _KEPT_BYTES else 0

    def prepare(self, autocast: torch.dtype | None) -> Generator[float, None, None]:
        """Encode all glyphs once, where that takes a network and there is room: a pass of it in every step costs more.

        Always the same glyphs together: a run that goes on sees the very numbers of one that was not stopped.
        """
        glyphs, shape = self.data.glyphs, self.codec.shape
        if not self.held_numbers(self.config, len(glyphs)):
            return
        latents = torch.empty(len(glyphs), *shape, device=self.device)
        for rows in torch.arange(len(glyphs)).split(_ENCODED_AT_ONCE):
            yield int(rows[0]) / len(glyphs)
            pictures = glyphs.images(rows)[:, 0].to(self.device)
            with torch.autocast(self.device.type, autocast, enabled=autocast is not None):
                latents[rows] = self.codec.encode(pictures)
        self._latents = latents
        yield 1.0

    def source(self, index: Tensor) -> Tensor:
        """See `Objective`."""
        return index if self._latents is not None else super().source(index)

    def _encoded(self, source: Tensor) -> Tensor:
        """(B, C, H, W): what is diffused of the glyphs in `source`."""
        if self._latents is not None:
            return self._latents[source].to(self.dtype)
        return self.codec.encode(self.pictures(source)).to(self.dtype)

    def batch(self, number: Tensor) -> Batch:
        """Number, glyph, caption, whether it is used, σ and weight of the samples `number` (B,)."""
        diffusion = self.config.diffusion
        index, caption, keep = self.captions(number)
        sigma = draw_sigmas(self.config, self.schedule, number)
        weight = loss_weight(diffusion.weighting, diffusion.prediction, sigma).to(self.dtype)
        length = self.padding(caption, keep)
        return Batch((number, self.source(index), caption, keep, sigma, weight), length)

    def forward(
        self,
        number: Tensor,
        source: Tensor,
        caption: Tensor,
        keep: Tensor,
        sigma: Tensor,
        weight: Tensor,
        *,
        length: int,
        autocast: torch.dtype | None,
    ) -> Tensor:
        """(B,): see `Denoiser.loss`, weighted; the arguments are those of `batch`."""
        x0 = self._encoded(source)
        eps = normal(self.config.training.seed, number, tuple(x0.shape[1:]), Stream.EPS, self.dtype)
        condition = self.data.embeddings.batch(caption, length=length, keep=keep, dtype=self.dtype)
        denoiser = Denoiser(self.network, self.config.diffusion.prediction, autocast)
        errors = denoiser.loss(x0, eps, sigma, self.network.encode(condition))
        return errors * weight.to(errors.dtype)

    def validate(self, network: Network, autocast: torch.dtype | None) -> Generator[float, None, dict[float, float]]:
        """The loss of `network` on held-out characters at each of `VALIDATION_SIGMAS`, always with the same noise.

        The mean squared error of D against x0, which means the same whatever the network predicts. Empty where nothing
        is held out. Yields how much is done, from 0 to 1.
        """
        denoiser = Denoiser(network, self.config.diffusion.prediction, autocast)
        batches = self.validation_index.split(_VALIDATION_BATCH) if len(self.validation_index) else ()
        errors: dict[float, list[Tensor]] = {sigma: [] for sigma in VALIDATION_SIGMAS if batches}
        for number, held in enumerate(batches):
            x0 = self._encoded(send(self.source(held), self.device))
            eps = normal(0, send(held, self.device), tuple(x0.shape[1:]), Stream.EPS, self.dtype)
            caption = self.data.glyphs.caption_of[held]
            length = self.padding(caption)
            condition = self.data.embeddings.batch(send(caption, self.device), length=length, dtype=self.dtype)
            for place, sigma in enumerate(errors):
                yield (number + place / len(errors)) / len(batches)
                errors[sigma].append(_squared_error(denoiser, x0, eps, sigma, condition))
        return {sigma: float(torch.cat(parts).mean()) for sigma, parts in errors.items()}

    def model(self, network: Network, origin: Origin, images: int, epochs: float) -> TrainedModel:
        """The denoiser that `network` is."""
        return trained_model(network, self.schedule, origin, images=images, epochs=epochs, learned=self.data.codec)


@torch.no_grad()
def _squared_error(denoiser: Denoiser, x0: Tensor, eps: Tensor, sigma: float, condition: Condition) -> Tensor:
    """(B,): the mean squared error of D on x0 + σ·ε."""
    level = torch.full((len(x0),), sigma, dtype=torch.float64)
    _, c_out = coefficients(denoiser.prediction, level)
    return denoiser.loss(x0, eps, level, denoiser.network.encode(condition)) * float(c_out[0]) ** 2


OBJECTIVES["denoising"] = Denoising
