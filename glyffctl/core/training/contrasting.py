"""The objective of two towers: glyphs and their captions are found by each other among those of the batch.

Pairs that belong together are more than the diagonal: characters share captions, such as the name of their radical. A
picture and a text are right for each other if the text is one of the picture's captions; where several are, the softmax
is to be spread evenly over them (Yang et al. 2022, arXiv 2204.03610, equations 3 and 4). Every draw belongs to a global
sample number: its glyph, how far that is shifted, and its caption.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glyffctl.core.data.caption_table import fit
from glyffctl.core.device import send
from glyffctl.core.diffusion.schedule import make_schedule
from glyffctl.core.errors import TrainingError
from glyffctl.core.models.checkpoint import Origin, TrainedModel, trained_model
from glyffctl.core.models.config import Config
from glyffctl.core.networks.contrastive import Contrastive, Loss, ranks
from glyffctl.core.networks.network import COMPARERS, Network, build_network, channels_last
from glyffctl.core.training.captioned import CaptionedObjective
from glyffctl.core.training.objective import OBJECTIVES, Batch, TrainingData
from glyffctl.core.training.shifts import draw_shifts, shifted

_AT_ONCE = 128  # glyphs or captions
FIRST = (1, 5, 10)
"""The k of "among the first k"."""


def softmax_loss(logits: Tensor, right: Tensor) -> Tensor:
    """(B,) nats: half the cross-entropy of the texts of each picture, and half that of the pictures of each text.

    CLIP (Radford et al. 2021, arXiv 2103.00020, figure 3) where `right` is the diagonal.

    Args:
        logits: (B, B), of pictures in rows with texts in columns.
        right: (B, B) bool, at least one in each row and column.
    """
    losses = torch.zeros_like(logits[:, 0])
    for scores, wanted in ((logits, right), (logits.mT, right.mT)):
        targets = wanted.to(scores.dtype)
        targets = targets / targets.sum(1, keepdim=True)
        losses = losses - (targets * scores.log_softmax(1)).sum(1) / 2
    return losses


def sigmoid_loss(logits: Tensor, right: Tensor) -> Tensor:
    """(B,) nats: −Σ ln σ(±logit) over the texts, for each picture: each pair by itself, + where it is right.

    SigLIP (Zhai et al. 2023, arXiv 2303.15343, equation 1). The arguments are those of `softmax_loss`.
    """
    return F.softplus(torch.where(right, -logits, logits)).sum(1)


LOSSES: dict[Loss, Callable[[Tensor, Tensor], Tensor]] = {"softmax": softmax_loss, "sigmoid": sigmoid_loss}
"""By the name that `network.loss` has."""


class Contrasting(CaptionedObjective):
    """The loss of finding the captions of glyphs, and the glyphs of captions.

    Attributes:
        codec: of pixels.
    """

    validation_glyphs = 2048
    validated = "among the first"
    measures = "held-out glyphs whose definition is found"
    new = False
    shared = False
    kinds = COMPARERS

    def __init__(self, config: Config, data: TrainingData, device: torch.device, dtype: torch.dtype) -> None:
        """Build towers with random weights. The arguments and errors are those of `Objective`."""
        super().__init__(config, data, device, dtype)
        self.codec = config.codec.build()
        self._captions_of = data.glyphs.caption_table.padded().to(device)
        torch.manual_seed(config.training.seed)  # the random weights; dropout draws from the same generators
        network = channels_last(build_network(config.network).to(device, dtype))
        assert isinstance(network, Contrastive)
        if network.bias is not None:
            # Most pairs do not belong together. SigLIP's −10 (section 3.2) is −ln of its batch of 32,768, nearly.
            nn.init.constant_(network.bias, -math.log(config.training.batch))
        self.network: Contrastive = network

    @classmethod
    def check(cls, config: Config) -> None:
        """See `Objective`: nothing is drawn, pictures are not latents, and there has to be something to tell apart."""
        if config.training.evaluate:
            raise TrainingError("training.evaluate draws pictures of prompts, and these towers draw none; leave it out")
        if config.codec.learned:
            raise TrainingError("contrastive towers learn from pixels; leave `codec` and codec.kind out")
        if config.training.batch < 2:
            raise TrainingError("contrastive towers tell the glyphs of a batch apart; make training.batch at least 2")

    def batch(self, number: Tensor) -> Batch:
        """Glyph, its character, caption and place of the samples `number` (B,)."""
        index, caption, _ = self.captions(number)
        character = self.data.glyphs.character_of[index]
        top, left = draw_shifts(self.config.training.seed, number, self.codec.size)
        return Batch((self.source(index), character, caption, top, left), self.padding(caption))

    def forward(
        self,
        source: Tensor,
        character: Tensor,
        caption: Tensor,
        top: Tensor,
        left: Tensor,
        *,
        length: int,
        autocast: torch.dtype | None,
    ) -> Tensor:
        """(B,): the loss of the samples; the arguments are those of `batch`."""
        x = self.codec.encode(shifted(self.pictures(source), top, left)).to(self.dtype)
        condition = self.data.embeddings.batch(caption, length=length, dtype=self.dtype)
        with torch.autocast(self.device.type, autocast, enabled=autocast is not None):
            pictures, texts = self.network.pictures(x), self.network.texts(condition)
        right = fit(self._captions_of[character], caption)
        return LOSSES[self.network.config.loss](self.network.logits(pictures, texts), right)

    @torch.no_grad()
    def validate(self, network: Network, autocast: torch.dtype | None) -> Generator[float, None, dict[float, float]]:
        """By k: the share of held-out glyphs whose definition is among the k that fit them best.

        Of the distinct definitions of all that are looked at; see `evaluate` for the other direction. Empty where
        fewer than two are held out. Yields how much is done, from 0 to 1.
        """
        assert isinstance(network, Contrastive)
        held = self.validation_index
        if len(held) < 2:
            return {}
        glyphs = self.data.glyphs
        own = glyphs.caption_of[held]
        caption = own.unique()
        pictures, texts = list[Tensor](), list[Tensor]()
        total, done = len(held) + len(caption), 0
        for rows in held.split(_AT_ONCE):
            yield done / total
            x = self.codec.encode(self.pictures(send(self.source(rows), self.device))).to(self.dtype)
            with torch.autocast(self.device.type, autocast, enabled=autocast is not None):
                pictures.append(network.pictures(x).cpu())
            done += len(rows)
        for rows in caption.split(_AT_ONCE):
            yield done / total
            condition = self.data.embeddings.batch(send(rows, self.device), length=self.padding(rows), dtype=self.dtype)
            with torch.autocast(self.device.type, autocast, enabled=autocast is not None):
                texts.append(network.texts(condition).cpu())
            done += len(rows)
        # Another definition may be one of a glyph's captions, such as its radical; to find that is not enough.
        found = ranks(torch.cat(pictures) @ torch.cat(texts).mT, own[:, None] == caption)
        return {float(k): float((found <= k).double().mean()) for k in FIRST}

    def model(self, network: Network, origin: Origin, images: int, epochs: float) -> TrainedModel:
        """The towers; their noise levels are those of no drawing."""
        schedule = make_schedule("karras")
        return trained_model(network, schedule, origin, images=images, epochs=epochs)


OBJECTIVES["contrastive"] = Contrasting
