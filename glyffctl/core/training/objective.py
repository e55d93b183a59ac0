"""What one optimizer step learns from a batch, and the table of objectives.

An objective in a file of its own adds itself to `OBJECTIVES`, and `training/__init__.py` imports that file.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor, nn

from glyffctl.core.codecs.latents import Latents
from glyffctl.core.data.dataset import GlyphSet
from glyffctl.core.data.embeddings import Embeddings
from glyffctl.core.data.split import held_out
from glyffctl.core.data.subset import evenly_spaced
from glyffctl.core.device import send
from glyffctl.core.errors import TrainingError, UsageError
from glyffctl.core.models.checkpoint import Origin, TrainedModel
from glyffctl.core.models.codec_file import TrainedCodec
from glyffctl.core.models.config import Config
from glyffctl.core.models.files import MODEL_FILE
from glyffctl.core.networks.network import NETWORKS, Network, NetworkKind, kind_of
from glyffctl.core.noise import permutation

_RESIDENT_BYTES = 8 * 2**30  # a data set up to this size is kept on the GPU


@dataclass(eq=False, slots=True)
class TrainingData:
    """What a run learns from.

    Attributes:
        glyphs: the pictures with their captions.
        embeddings: of the captions, on the device of the run.
        teacher: the model that a student learns from, if it has one.
        codec: what pictures become first, if that has weights.
    """

    glyphs: GlyphSet
    embeddings: Embeddings
    teacher: TrainedModel | None = None
    codec: Latents | None = None


class Batch(NamedTuple):
    """What decides the loss of some samples: little, drawn on the CPU. What is large is made of it on the device.

    Attributes:
        values: tensors with a row for each sample, of the same types and other dimensions in every batch.
        length: tokens that captions are padded to. No other shape differs between batches of equally many samples.
    """

    values: tuple[Tensor, ...]
    length: int

    def to(self, device: torch.device) -> Batch:
        """The same on `device`, without waiting for it; see `core.device.send`."""
        return Batch(tuple(send(value, device) for value in self.values), self.length)


class Objective(nn.Module, ABC):
    """A network to train, and a loss.

    `forward(*values, length=..., autocast=...)` is one forward pass, from a `Batch` on the device to the weighted loss
    (B,) of each sample, with the inside of the network computed in `autocast`. On a GPU it is captured and replayed as
    a CUDA graph: it reads no value of a tensor, and sends nothing from the CPU. Everything drawn at random depends on
    the seed and the number of a sample (see `core.noise`): a run that is resumed goes on as if it had never stopped.

    Attributes:
        network: what is trained, averaged and saved.
        train_index, validation_index: glyphs that are learned from, and some of those held out.
        epoch_size: glyphs in an epoch.
        lengths: all that `Batch.length` can be on a GPU, in increasing order.
        autocast: what is computed in `batch` by a network, is so in this; the trainer sets it.
        validation_glyphs: the most of those held out that `validate` looks at.
        validated: what it measures by.
        measures: what it measures, in words.
        new: what is learned is not known at the start: it takes epochs, which are forecast.
        captioned: it reads captions, which have to be embedded.
        taught: it learns from a model, and what it makes lies beside a copy of that.
        shared: several processes can share its batches.
        kinds: of networks that it can train.
        file: the name of what it makes, in the run folder.
        images_before: pictures that the weights it begins with were shown.
    """

    lengths: tuple[int, ...] = (0,)
    autocast: torch.dtype | None = None
    validation_glyphs: int = 128
    validated: str = "σ"
    measures: str = "loss on held-out characters"
    new: bool = True
    captioned: bool = True
    taught: bool = False
    shared: bool = True
    kinds: Mapping[str, NetworkKind] = NETWORKS
    file: str = MODEL_FILE
    images_before: int = 0

    network: Network

    def __init__(self, config: Config, data: TrainingData, device: torch.device, dtype: torch.dtype) -> None:
        """Divide the glyphs.

        Args:
            config: all settings of the run.
            data: what to learn from.
            device: where to compute.
            dtype: of weights and pictures; float64 shows what is rounding and what is not.

        Raises:
            TrainingError: it cannot learn with these settings, or no glyph is left to train on.
        """
        super().__init__()
        self.check(config)
        self.config, self.data, self.device, self.dtype = config, data, device, dtype
        out, usable = held_out(data.glyphs, config.training.holdout), self.usable(data.glyphs)
        self.train_index = (usable & ~out).nonzero().flatten()
        self.validation_index = evenly_spaced((usable & out).nonzero().flatten(), self.validation_glyphs)
        self.epoch_size = len(self.train_index)
        if self.epoch_size == 0:
            raise TrainingError("no glyph is left to train on; prepare more characters or lower training.holdout")
        self._orders: dict[int, Tensor] = {}

    def numbers(self, step: int) -> Tensor:
        """(B,) int64: the global samples of the optimizer step number `step` (from 0)."""
        batch = self.config.training.batch
        return torch.arange(step * batch, (step + 1) * batch)

    @classmethod
    def check(cls, config: Config) -> None:
        """Raise TrainingError for settings that it cannot learn with, once the data have decided all sizes."""
        if config.training.evaluate and not cls.captioned:
            raise TrainingError(
                f"training.evaluate draws pictures of prompts, and what {config.training.objective} trains draws none; "
                "leave it out"
            )

    @staticmethod
    def usable(glyphs: GlyphSet) -> Tensor:
        """(N,) bool: the glyphs that it can learn from or be measured by.

        Raises:
            TrainingError: there is none.
        """
        return torch.ones(len(glyphs), dtype=torch.bool)

    @staticmethod
    def held_numbers(config: Config, glyphs: int) -> int:  # noqa: ARG004
        """How many numbers an objective keeps on its device besides those of a network in training and its batches.

        Args:
            config: all settings of the run.
            glyphs: in the data set.
        """
        return 0

    @abstractmethod
    def batch(self, number: Tensor) -> Batch:
        """Return what decides the loss of the global samples `number` (B,) int64, all of it on the CPU."""

    @abstractmethod
    def validate(self, network: Network, autocast: torch.dtype | None) -> Generator[float, None, dict[float, float]]:
        """Measure `network`, an average of the one in training, on glyphs that are held out.

        Yields how much is done, from 0 to 1; returns a loss for each noise level, or whatever `validated` says, empty
        where nothing is held out.
        """

    @abstractmethod
    def model(self, network: Network, origin: Origin, images: int, epochs: float) -> TrainedModel | TrainedCodec:
        """Return what `network`, an average of the one in training, is saved as and drawn with."""

    def prepare(self, autocast: torch.dtype | None) -> Generator[float, None, None]:  # noqa: ARG002
        """Do once, before the first step of a session, what all of them need; yields how much is done, from 0 to 1.

        What a network computes is computed in `autocast`, as in `validate`.
        """
        yield from ()

    def sample_glyphs(self, number: Tensor) -> Tensor:
        """(B,) the glyph of each global sample number: every glyph once in an epoch, each epoch in its own order."""
        epoch, place = number // self.epoch_size, number % self.epoch_size
        row = torch.empty_like(number)
        epochs, counts = epoch.unique(return_counts=True)
        for e, those in zip(epochs.tolist(), epoch.argsort(stable=True).split(counts.tolist()), strict=True):
            row[those] = self._order(e)[place[those]]
        return self.train_index[row]

    def _order(self, epoch: int) -> Tensor:
        if epoch not in self._orders:
            # A batch may reach from one epoch into the next; older orders are not needed again.
            self._orders = {e: order for e, order in self._orders.items() if e == epoch - 1}
            self._orders[epoch] = permutation(self.config.training.seed, epoch, self.epoch_size)
        return self._orders[epoch]

    def source(self, index: Tensor) -> Tensor:
        """What a `Batch` holds of the glyphs `index` (B,): the index, or the pictures if the GPU does not hold them."""
        if self.device.type == "cpu" or self._resident is not None:
            return index
        return self.data.glyphs.images(index)[:, 0]

    def pictures(self, source: Tensor) -> Tensor:
        """(B, size, size) uint8 on the device, of a `source` on the device."""
        if source.ndim > 1:
            return source
        return self.data.glyphs.images(source)[:, 0] if self._resident is None else self._resident[source]

    @cached_property
    def _resident(self) -> Tensor | None:
        """The whole data set on the GPU, where there is one and it fits."""
        glyphs = self.data.glyphs
        if self.device.type == "cpu" or len(glyphs) * glyphs.size**2 > _RESIDENT_BYTES:
            return None
        parts = torch.arange(len(glyphs)).split(4096)
        return torch.cat([glyphs.images(part)[:, 0].to(self.device) for part in parts])


OBJECTIVES: dict[str, type[Objective]] = {}
"""By the name that `objective` has in the section [training]."""


def find_objective(config: Config) -> type[Objective]:
    """The objective of a run.

    Raises:
        UsageError: there is no such objective, or it cannot train such a network.
    """
    name, kind = config.training.objective, kind_of(config.network)
    if name not in OBJECTIVES:
        raise UsageError(f"training.objective must be one of {', '.join(OBJECTIVES)}, not {name!r}")
    found = OBJECTIVES[name]
    if kind not in found.kinds:
        raise UsageError(
            f"training.objective {name} cannot train network.kind {kind}; take one of {', '.join(found.kinds)}"
        )
    return found
