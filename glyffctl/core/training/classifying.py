"""The objective of a classifier that leads a denoiser: name the radical of x0 + σ·ε, at every σ that it is drawn at.

Dhariwal and Nichol 2021, arXiv 2105.05233, section 4. The loss is the cross-entropy, without smoothing of labels: what
leads is the gradient of log p, so the probabilities have to be meant. Every draw belongs to a global sample number: its
glyph, how far that is shifted, its σ and its noise.
"""

from __future__ import annotations

from collections.abc import Generator

import torch
from torch import Tensor
from torch.nn import functional as F

from glyffctl.core.data.dataset import GlyphSet
from glyffctl.core.data.radical_names import RADICALS
from glyffctl.core.data.radicals import labels
from glyffctl.core.device import send
from glyffctl.core.diffusion.classifier_guidance import NoisyClassifier
from glyffctl.core.diffusion.denoiser import column
from glyffctl.core.errors import TrainingError
from glyffctl.core.models.checkpoint import Origin, TrainedModel, trained_model
from glyffctl.core.models.config import Config
from glyffctl.core.networks.classifier import ClassifierConfig
from glyffctl.core.networks.network import CLASSIFIERS, Network, build_network, channels_last
from glyffctl.core.noise import Stream, normal
from glyffctl.core.training.denoising import VALIDATION_SIGMAS, draw_sigmas
from glyffctl.core.training.objective import OBJECTIVES, Batch, Objective, TrainingData
from glyffctl.core.training.shifts import draw_shifts, shifted

_AT_ONCE = 64  # glyphs


class Classifying(Objective):
    """The cross-entropy of the radical of noisy glyphs, in nats.

    Attributes:
        codec: from pictures to what is diffused.
        schedule: the noise levels that the classifier knows.
    """

    validation_glyphs = 512
    validated = "accuracy at σ"
    measures = "held-out characters whose radical is named"
    new = False
    captioned = False
    kinds = CLASSIFIERS

    def __init__(self, config: Config, data: TrainingData, device: torch.device, dtype: torch.dtype) -> None:
        """Build a classifier with random weights. The arguments and errors are those of `Objective`."""
        super().__init__(config, data, device, dtype)
        self._class = labels(data.glyphs) - 1
        self.codec = config.codec.build()
        self.schedule = config.diffusion.noise_levels()
        torch.manual_seed(config.training.seed)  # the random weights; dropout draws from the same generators
        self.network = channels_last(build_network(config.network).to(device, dtype))

    @classmethod
    def check(cls, config: Config) -> None:
        """See `Objective`: there is a class for each radical, and pictures are not latents."""
        super().check(config)
        assert isinstance(config.network, ClassifierConfig)
        if config.network.classes != RADICALS:
            raise TrainingError(f"network.classes is {config.network.classes}, but there are {RADICALS} radicals")
        if config.codec.learned:
            raise TrainingError("a classifier learns from pixels; leave `codec` and codec.kind out")

    @staticmethod
    def usable(glyphs: GlyphSet) -> Tensor:
        """See `Objective`: the glyphs whose radical is known."""
        known = labels(glyphs) > 0
        if not bool(known.any()):
            raise TrainingError("the data name no radicals to learn; take those that `glyffctl prepare` draws of fonts")
        return known

    def batch(self, number: Tensor) -> Batch:
        """Number, glyph, class, place and σ of the samples `number` (B,)."""
        seed, index = self.config.training.seed, self.sample_glyphs(number)
        top, left = draw_shifts(seed, number, self.codec.size)
        sigma = draw_sigmas(self.config, self.schedule, number)
        return Batch((number, self.source(index), self._class[index], top, left, sigma), self.lengths[0])

    def forward(
        self,
        number: Tensor,
        source: Tensor,
        label: Tensor,
        top: Tensor,
        left: Tensor,
        sigma: Tensor,
        *,
        length: int,  # noqa: ARG002 - there are no captions
        autocast: torch.dtype | None,
    ) -> Tensor:
        """(B,): −log p(radical | x, σ) in nats; the arguments are those of `batch`."""
        x0 = self.codec.encode(shifted(self.pictures(source), top, left)).to(self.dtype)
        eps = normal(self.config.training.seed, number, tuple(x0.shape[1:]), Stream.EPS, self.dtype)
        x = x0 + column(sigma, x0) * eps
        found = NoisyClassifier(self.network, autocast).log_probabilities(x, sigma)
        return F.nll_loss(found, label, reduction="none")

    @torch.no_grad()
    def validate(self, network: Network, autocast: torch.dtype | None) -> Generator[float, None, dict[float, float]]:
        """The share of held-out glyphs whose radical is the likeliest class, at each of `VALIDATION_SIGMAS`.

        Always with the same noise. Empty where nothing is held out. Yields how much is done, from 0 to 1.
        """
        classifier = NoisyClassifier(network, autocast)
        batches = self.validation_index.split(_AT_ONCE) if len(self.validation_index) else ()
        hits: dict[float, list[Tensor]] = {sigma: [] for sigma in VALIDATION_SIGMAS if batches}
        for place, held in enumerate(batches):
            x0 = self.codec.encode(self.pictures(send(self.source(held), self.device))).to(self.dtype)
            eps = normal(0, send(held, self.device), tuple(x0.shape[1:]), Stream.EPS, self.dtype)
            for at, (sigma, found) in enumerate(hits.items()):
                yield (place + at / len(hits)) / len(batches)
                levels = torch.full((len(held),), sigma, dtype=torch.float64)
                answers = classifier.log_probabilities(x0 + sigma * eps, levels).argmax(1).cpu()
                found.append(answers == self._class[held])
        return {sigma: float(torch.cat(found).double().mean()) for sigma, found in hits.items()}

    def model(self, network: Network, origin: Origin, images: int, epochs: float) -> TrainedModel:
        """The classifier with the noise levels that it knows."""
        return trained_model(network, self.schedule, origin, images=images, epochs=epochs)


OBJECTIVES["classifying"] = Classifying
