"""The objectives of models from before diffusion: variational autoencoders and generative adversarial networks.

Every draw belongs to a global sample number: its glyph, its caption, its latent, and the noise of its picture.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Generator

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from glyffctl.core.device import send
from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.diffusion.schedule import make_schedule
from glyffctl.core.errors import TrainingError
from glyffctl.core.models.checkpoint import Origin, TrainedModel, trained_model
from glyffctl.core.models.config import Config
from glyffctl.core.networks import generator
from glyffctl.core.networks.captioned import Context
from glyffctl.core.networks.network import GENERATORS, Network, build_network, channels_last
from glyffctl.core.noise import Stream, normal
from glyffctl.core.training.captioned import CaptionedObjective
from glyffctl.core.training.objective import OBJECTIVES, Batch, TrainingData

_SIDES = (8, 16, 32)  # of blocks of pixels
_AT_ONCE = 32  # pictures
_STEP = 0.01  # standard deviation of the noise that tells the critic's gradient


class Generating(CaptionedObjective):
    """A network that draws glyphs of latents and captions in one pass.

    Attributes:
        codec: of pixels.
        schedule: whose highest level a picture is drawn from.
    """

    validated = "side of the blocks of pixels"
    measures = "energy distance of drawings from held-out glyphs"

    def __init__(self, config: Config, data: TrainingData, device: torch.device, dtype: torch.dtype) -> None:
        """Build a network with random weights. The arguments and errors are those of `Objective`."""
        super().__init__(config, data, device, dtype)
        self.codec, self.schedule = config.codec.build(), make_schedule(config.diffusion.schedule)
        torch.manual_seed(config.training.seed)  # the random weights; nothing later draws from torch's generators
        network = channels_last(build_network(config.network).to(device, dtype))
        assert isinstance(network, generator.Generator)
        self.network: generator.Generator = network

    @classmethod
    def check(cls, config: Config) -> None:
        """See `Objective`: what is drawn are pixels, at once."""
        super().check(config)
        name, diffusion = config.training.objective, config.diffusion
        if config.codec.kind != "pixels":
            raise TrainingError(f'{name} takes codec.kind = "pixels", not {config.codec.kind!r}; leave it out')
        if diffusion.prediction != "x0" or diffusion.schedule != "karras":
            raise TrainingError(
                f'{name} draws the picture at once: take diffusion.prediction = "x0" and diffusion.schedule = "karras"'
            )
        if config.training.compile:  # its losses call parts of the network, which is compiled as a whole
            raise TrainingError(f"training.compile makes nothing faster in the training of a {name}; leave it out")

    def batch(self, number: Tensor) -> Batch:
        """Number, glyph, caption, and whether it is used, of the samples `number` (B,)."""
        index, caption, keep = self.captions(number)
        return Batch((number, self.source(index), caption, keep), self.padding(caption, keep))

    def forward(
        self,
        number: Tensor,
        source: Tensor,
        caption: Tensor,
        keep: Tensor,
        *,
        length: int,
        autocast: torch.dtype | None,
    ) -> Tensor:
        """(B,): the loss of the samples; the arguments are those of `batch`."""
        x = self.codec.encode(self.pictures(source)).to(self.dtype)
        condition = self.data.embeddings.batch(caption, length=length, keep=keep, dtype=self.dtype)
        seed = self.config.training.seed
        latent = normal(seed, number, (self.network.config.latent,), Stream.EPS, self.dtype)
        noise = normal(seed, number, tuple(x.shape[1:]), Stream.PICTURE, self.dtype)
        with torch.autocast(self.device.type, autocast, enabled=autocast is not None):
            return self.losses(x, condition, latent, noise)

    @abstractmethod
    def losses(self, x: Tensor, condition: Condition, latent: Tensor, noise: Tensor) -> Tensor:
        """Return the loss (B,) of pictures x (B, C, size, size) with captions.

        latent (B, latent) and noise, shaped as x, are N(0, 1).
        """

    @torch.no_grad()
    def validate(self, network: Network, autocast: torch.dtype | None) -> Generator[float, None, dict[float, float]]:
        """By side of blocks: the energy distance of drawn pictures from those of held-out characters.

        Of the mean colours of blocks, in −1…1, for each block; captions are those of the characters. It is 0 on average
        where both have the same law (Székely and Rizzo 2013). Empty where fewer than two are held out. Yields how much
        is done, from 0 to 1.
        """
        assert isinstance(network, generator.Generator)
        held = self.validation_index
        if len(held) < 2:
            return {}
        real, drawn = list[Tensor](), list[Tensor]()
        for start in range(0, len(held), _AT_ONCE):
            yield start / len(held)
            rows = held[start : start + _AT_ONCE]
            caption = self.data.glyphs.caption_of[rows]
            condition = self.data.embeddings.batch(
                send(caption, self.device), length=self.padding(caption), dtype=self.dtype
            )
            latent = normal(0, send(rows, self.device), (network.config.latent,), Stream.EPS, self.dtype)
            real.append(self.codec.encode(self.pictures(send(self.source(rows), self.device))).float().cpu())
            with torch.autocast(self.device.type, autocast, enabled=autocast is not None):
                drawn.append(network.pictures(latent, network.encode(condition)).float().cpu())
        both = torch.cat(real), torch.cat(drawn)
        return {
            float(side): _energy_distance(*(F.avg_pool2d(x, side).flatten(1).double() for x in both))
            for side in _SIDES
            if self.codec.size % side == 0
        }

    def model(self, network: Network, origin: Origin, images: int, epochs: float) -> TrainedModel:
        """The generator that `network` is."""
        return trained_model(network, self.schedule, origin, images=images, epochs=epochs)


class Variational(Generating):
    """The bound on the likelihood of black and white pixels, in nats for each pixel (Kingma and Welling 2014, eq. 10).

    Grey counts as a share of black. The divergence is weighted by β; with β = 0 latents are the encoder's means.
    """

    kinds = {"vae": GENERATORS["vae"]}  # noqa: RUF012 - a ClassVar, as in `Objective`

    def losses(self, x: Tensor, condition: Condition, latent: Tensor, noise: Tensor) -> Tensor:
        """See `Generating`."""
        assert isinstance(self.network, generator.VAE)
        config = self.network.config
        posterior = self.network.posterior(x + config.noise * noise, condition)
        drawn = posterior.sample(latent) if config.beta > 0 else posterior.mean
        logits = self.network.logits(drawn, self.network.encode(condition))
        surprise = F.binary_cross_entropy_with_logits(logits.float(), (x.float() + 1) / 2, reduction="none")
        return surprise.flatten(1).mean(1) + config.beta * posterior.divergence() / x[0].numel()


class Adversarial(Generating):
    """The non-saturating losses of generator and critic, added: each reaches the weights of its own player alone.

    So both take their steps at once (Goodfellow et al. 2014, section 3, last paragraph). The gradient penalty on real
    pictures is got from a small random step, E[(D(x + s·n) − D(x))²]/s² = |∇D|² + O(s²), which needs no second
    derivatives (Lin et al. 2025, arXiv 2501.08316, equation 5).
    """

    kinds = {"gan": GENERATORS["gan"]}  # noqa: RUF012 - a ClassVar, as in `Objective`

    def losses(self, x: Tensor, condition: Condition, latent: Tensor, noise: Tensor) -> Tensor:
        """See `Generating`."""
        assert isinstance(self.network, generator.GAN)
        critic = self.network.critic
        drawn = self.network.pictures(latent, self.network.encode(condition))
        text = critic.encode(condition)
        frozen = {name: parameter.detach() for name, parameter in critic.named_parameters()}
        fooled = functional_call(critic, frozen, (drawn, _detached(text)))
        found, real, near = critic(torch.cat([drawn.detach(), x, x + _STEP * noise]), _thrice(text)).float().chunk(3)
        penalty = ((near - real) / _STEP).square()
        losses = F.softplus(-fooled.float()) + F.softplus(found) + F.softplus(-real)
        return (losses + self.network.config.r1 / 2 * penalty)[:, 0]


def _detached(text: Context) -> Context:
    assert text.pooled is not None
    return Context(text.tokens.detach(), text.mask, text.pooled.detach())


def _thrice(text: Context) -> Context:
    assert text.pooled is not None
    return Context(text.tokens, text.mask, text.pooled.repeat(3, 1))  # nothing looks at single tokens


def _energy_distance(x: Tensor, y: Tensor) -> float:
    """2·E|X−Y| − E|X−X'| − E|Y−Y'| of N samples each (N, D), per dimension, without bias."""
    count, width = x.shape
    within = sum(float(torch.cdist(one, one).sum()) / (count * (count - 1)) for one in (x, y))
    return (2 * float(torch.cdist(x, y).mean()) - within) / width**0.5


OBJECTIVES["vae"] = Variational
OBJECTIVES["gan"] = Adversarial
