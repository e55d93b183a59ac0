"""The objective of an autoencoder: give back a glyph from its latent (Rombach et al. 2022, arXiv 2112.10752).

The loss is the mean absolute error of pixels, which are black or white but for the edges of strokes: the square would
answer grey wherever an edge is in doubt. To it comes a little of the divergence of latents from N(0, 1), which keeps
them from growing without end. Every draw belongs to a global sample number, as in `denoising`.
"""

from __future__ import annotations

from collections.abc import Generator

import torch
from torch import Tensor

from glyffctl.core.codecs.latents import Latents
from glyffctl.core.data.subset import evenly_spaced
from glyffctl.core.device import send
from glyffctl.core.models.checkpoint import Origin
from glyffctl.core.models.codec_file import TrainedCodec
from glyffctl.core.models.config import Config
from glyffctl.core.models.files import CODEC_FILE
from glyffctl.core.networks.autoencoder import Autoencoder
from glyffctl.core.networks.network import AUTOENCODERS, Network, build_network, channels_last
from glyffctl.core.noise import Stream, normal
from glyffctl.core.training.objective import OBJECTIVES, Batch, Objective, TrainingData

GREYS = (32, 64, 96, 128, 160, 192, 224)
"""Of 0 to 255: which side of each of them pixels are on is validated."""
_AT_ONCE = 16  # pictures
_MEASURED = 256  # glyphs, whose latents tell their scale


class Autoencoding(Objective):
    """The absolute error of pictures that went through a latent, and its divergence.

    Attributes:
        codec: of pixels.
    """

    validated = "grey"
    new = False
    captioned = False
    kinds = AUTOENCODERS
    file = CODEC_FILE

    def __init__(self, config: Config, data: TrainingData, device: torch.device, dtype: torch.dtype) -> None:
        """Build an autoencoder with random weights. The arguments and errors are those of `Objective`."""
        super().__init__(config, data, device, dtype)
        self.codec = config.codec.build()
        torch.manual_seed(config.training.seed)  # the random weights; nothing later draws from torch's generators
        network = channels_last(build_network(config.network).to(device, dtype))
        assert isinstance(network, Autoencoder)
        self.network: Autoencoder = network

    def batch(self, number: Tensor) -> Batch:
        """Number and glyph of the samples `number` (B,)."""
        return Batch((number, self.source(self.sample_glyphs(number))), self.lengths[0])

    def forward(self, number: Tensor, source: Tensor, *, length: int, autocast: torch.dtype | None) -> Tensor:  # noqa: ARG002
        """(B,): the mean absolute error of pixels in −1…1, and the divergence in nats for each pixel, weighted."""
        x = self.codec.encode(self.pictures(source)).to(self.dtype)
        eps = normal(self.config.training.seed, number, self.network.latent_shape, Stream.EPS, self.dtype)
        with torch.autocast(self.device.type, autocast, enabled=autocast is not None):
            again, divergence = self.network(x, eps)
        error = (again - x).abs().flatten(1).mean(1)
        return error + self.network.config.kl_weight * divergence / x[0].numel()

    @torch.no_grad()
    def validate(self, network: Network, autocast: torch.dtype | None) -> Generator[float, None, dict[float, float]]:
        """By grey: the share of pixels of held-out characters that come back on the wrong side of it.

        Latents are the means of their distributions. The mean over greys is about half the absolute error in −1…1.
        Empty where nothing is held out. Yields how much is done, from 0 to 1.
        """
        assert isinstance(network, Autoencoder)
        wrong = dict.fromkeys(map(float, GREYS), 0.0)
        held = self.validation_index
        for start in range(0, len(held), _AT_ONCE):
            yield start / len(held)
            rows = held[start : start + _AT_ONCE]
            pictures = self.pictures(send(self.source(rows), self.device))
            with torch.autocast(self.device.type, autocast, enabled=autocast is not None):
                again = network.decode(network.posterior(self.codec.encode(pictures).to(self.dtype)).mean)
            decoded = self.codec.decode(again)
            for grey in GREYS:
                wrong[grey] += float(((decoded >= grey) != (pictures >= grey)).double().mean()) * len(rows) / len(held)
        return wrong if len(held) else {}

    def model(self, network: Network, origin: Origin, images: int, epochs: float) -> TrainedCodec:  # noqa: ARG002
        """The codec that `network` is, whose scale is measured when it is first asked for."""
        assert isinstance(network, Autoencoder)
        return TrainedCodec(lambda: self._measured(network), origin, images)

    def _measured(self, network: Autoencoder) -> Latents:
        """A codec with latents of mean 0 and variance 1 over some training glyphs."""
        size, total = self.data.glyphs.size, torch.zeros(2, dtype=torch.float64)
        bare, count = Latents(network, 1.0, 0.0, size), 0
        for rows in evenly_spaced(self.train_index, _MEASURED).split(_AT_ONCE):
            x = bare.encode(self.pictures(send(self.source(rows), self.device))).double().cpu()
            total += torch.stack([x.sum(), x.square().sum()])
            count += x.numel()
        mean, square = (total / count).tolist()
        return Latents(network, (square - mean**2) ** -0.5 if square > mean**2 else 1.0, mean, size)


OBJECTIVES["autoencoder"] = Autoencoding
