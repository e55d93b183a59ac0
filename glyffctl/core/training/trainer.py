"""Training: one optimizer step after another.

Every draw belongs to a global sample number (see `noise`): its glyph, its noise, its σ, which of its captions is told,
and whether it is told at all. So a run that is resumed goes on as if it had never stopped, with no state of random
generators to save.
"""

from __future__ import annotations

import math
import os
from collections.abc import Generator
from functools import cached_property
from typing import Any, NamedTuple, get_args

import torch
from torch import Tensor, nn

from glyffctl.core.data.dataset import GlyphSet, to_unit
from glyffctl.core.data.embeddings import Embeddings
from glyffctl.core.data.split import held_out
from glyffctl.core.data.subset import evenly_spaced
from glyffctl.core.device import send
from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.diffusion.denoiser import Denoiser, PredictionType, coefficients, loss_weight
from glyffctl.core.diffusion.schedule import Schedule, make_schedule
from glyffctl.core.errors import ModelError, TrainingError
from glyffctl.core.models.config import Config
from glyffctl.core.networks.unet import UNet, channels_last, parameter_count
from glyffctl.core.noise import Stream, normal, permutation, uniform
from glyffctl.core.precision import Precision, autocast_dtype
from glyffctl.core.training.distributed import SINGLE_PROCESS, ProcessGroup
from glyffctl.core.training.ema import EMA
from glyffctl.core.training.optimizer import Optimizer

VALIDATION_SIGMAS = (0.1, 0.3, 0.6, 1.0, 2.0, 4.0, 10.0, 40.0)
_VALIDATION_GLYPHS = 128
_VALIDATION_BATCH = 32
_RESIDENT_BYTES = 8 * 2**30  # a data set up to this size is kept on the GPU


class NotFiniteError(TrainingError):
    """A gradient that is not a finite number. What is in memory may be spoilt, what was saved is not."""

    def __init__(self, images: int) -> None:
        super().__init__(f"the gradient was not a finite number after {images:,} pictures")


class TrainStep(NamedTuple):
    """After one optimizer step. The tensors are on the device: reading them waits for it."""

    images: int  # pictures shown so far
    loss: Tensor  # () weighted loss of the batch, or of this process's share of it
    gradient: Tensor  # () norm of the gradient before clipping
    learning_rate: float


def draw_sigmas(config: Config, schedule: Schedule, number: Tensor) -> Tensor:
    """(B,) float64: the noise level of each sample `number` (B,), on the CPU as they are."""
    share = uniform(config.training.seed, number, Stream.SIGMA)
    diffusion = config.diffusion
    if diffusion.levels == "lognormal":
        return (diffusion.level_mean + diffusion.level_std * torch.special.ndtri(share)).exp()
    return schedule.sigmas[(share * len(schedule.sigmas)).long()]


def check_memory(config: Config, size: int, processes: int) -> None:
    """Complain about settings that cannot be trained on the CPU here, before the system ends the process for it.

    Counts what is certain: five numbers for each parameter (weight, gradient, two moments, average) and four for each
    pixel of a process's share of a batch (x0, ε, z, F). What is between the layers comes on top.

    Args:
        size: of the pictures, in pixels along a side.
        processes: that share a batch, anywhere.

    Raises:
        TrainingError: that alone is more than the memory of this machine.
    """
    with torch.device("meta"):
        parameters = parameter_count(UNet(config.network))
    batch = config.training.batch // processes
    needed = 4 * (5 * parameters + 4 * batch * size**2)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory:
        raise TrainingError(
            f"{parameters / 1e6:,.1f} million parameters and {batch:,} pictures of {size}×{size} at a time need "
            f"{needed / 2**30:,.0f} GiB at least, this machine has {memory / 2**30:,.0f}; make the network or "
            "training.batch smaller"
        )


class _Objective(nn.Module):
    """The loss as a module of its own: what averages gradients over processes has to see one forward pass."""

    def __init__(self, network: UNet, prediction: PredictionType) -> None:
        super().__init__()
        self.network, self.prediction = network, prediction

    def forward(self, x0: Tensor, eps: Tensor, sigma: Tensor, text: Condition, autocast: torch.dtype | None) -> Tensor:
        """(B,): see `Denoiser.loss`."""
        denoiser = Denoiser(self.network, self.prediction, autocast)
        return denoiser.loss(x0, eps, sigma, self.network.encode_text(text))


class Trainer:
    """A network in training, with its optimizer and average, on one device.

    In a group, all processes hold the same weights and make the same steps; each looks at its share of every batch.
    """

    def __init__(
        self,
        config: Config,
        glyphs: GlyphSet,
        embeddings: Embeddings,
        device: torch.device,
        group: ProcessGroup = SINGLE_PROCESS,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Build a fresh run.

        Args:
            dtype: of weights and pictures; float64 shows what is rounding and what is not.

        Raises:
            TrainingError: nothing is left to train on, or a batch has fewer pictures than there are processes.
        """
        self.config, self.glyphs, self.device, self.group, self.dtype = config, glyphs, device, group, dtype
        training = config.training
        if training.batch < group.size:
            raise TrainingError(
                f"a batch of {training.batch} pictures cannot be shared by {group.size} processes; raise --batch"
            )
        out = held_out(glyphs, training.holdout)
        self.train_index = (~out).nonzero().flatten()
        self.validation_index = evenly_spaced(out.nonzero().flatten(), _VALIDATION_GLYPHS)
        if len(self.train_index) == 0:
            raise TrainingError("no glyph is left to train on; prepare more characters or lower training.holdout")
        self.embeddings = embeddings.to(device)
        self.schedule = make_schedule(config.diffusion.schedule)
        self.images = 0
        self._finite = torch.ones((), dtype=torch.bool, device=device)
        self.images_before = 0  # that the weights had been shown when this run began,
        self.epochs_before = 0.0  # in so many epochs of what were their data then
        self._orders: dict[int, Tensor] = {}

        torch.manual_seed(training.seed)  # the start of the weights; nothing later draws from torch's generators
        network = UNet(config.network)
        self.network = channels_last(network.to(device, dtype))
        self.ema = EMA(self.network, training.ema_decay)
        self.optimizer = Optimizer(
            training.optimizer,
            self.network,
            learning_rate=training.learning_rate,
            weight_decay=training.weight_decay,
            betas=(training.beta1, training.beta2),
        )
        self.precision: Precision = training.precision
        if training.compile and device.type != "mps":
            self.network.compile()
        self._objective = group.data_parallel(_Objective(self.network, config.diffusion.prediction), device)
        # Shapes that change from batch to batch would be compiled, and waited for, again and again.
        self.text_length = None if device.type == "cpu" else embeddings.longest

    def start_from(self, network: UNet, images: int, epochs: float | None = None) -> None:
        """Begin with the weights of `network`, which has been shown `images` pictures, in place of random ones.

        Args:
            epochs: how often it has seen its data; None takes them to be as many as those of this run.

        Raises:
            ModelError: it is a network of other sizes.
        """
        try:
            self.network.load_state_dict(network.state_dict())
            self.ema.network.load_state_dict(network.state_dict())
        except RuntimeError as error:
            raise ModelError("the model to start from has a network of other sizes") from error
        self.images_before = images
        self.epochs_before = images / self.epoch_size if epochs is None else epochs

    @property
    def _autocast(self) -> torch.dtype | None:
        return torch.bfloat16 if self.precision == "bf16" else None

    @property
    def ema_denoiser(self) -> Denoiser:
        """The denoiser of the averaged network: the one to draw with."""
        return Denoiser(self.ema.network, self.config.diffusion.prediction, self._autocast)

    def choose_precision(self) -> Precision:
        """Replace "auto" with what `precision.autocast_dtype` finds faster on the main process, for all processes."""
        if self.precision == "auto":
            self.precision = self.group.broadcast("fp32" if autocast_dtype("auto", self.device) is None else "bf16")
        return self.precision

    @property
    def steps(self) -> int:
        """Optimizer steps made so far."""
        return self.images // self.config.training.batch

    @property
    def epochs(self) -> float:
        """How often the weights have seen their data, before this run included."""
        return self.epochs_before + self.images / self.epoch_size

    @property
    def epoch_size(self) -> int:
        """Glyphs in an epoch: those not held out."""
        return len(self.train_index)

    def sample_glyphs(self, number: Tensor) -> Tensor:
        """(B,) the glyph of each global sample number: every glyph once in an epoch, each epoch in its own order."""
        epoch, place = number // self.epoch_size, number % self.epoch_size
        row = torch.empty_like(number)
        for e in epoch.unique().tolist():
            row[epoch == e] = self._order(e)[place[epoch == e]]
        return self.train_index[row]

    def _order(self, epoch: int) -> Tensor:
        if epoch not in self._orders:
            # A batch may reach from one epoch into the next; older orders are not asked for again.
            self._orders = {e: order for e, order in self._orders.items() if e == epoch - 1}
            self._orders[epoch] = permutation(self.config.training.seed, epoch, self.epoch_size)
        return self._orders[epoch]

    @cached_property
    def _resident(self) -> Tensor | None:
        """The whole data set as uint8 on the GPU, where there is one and it fits."""
        if self.device.type == "cpu" or len(self.glyphs) * self.glyphs.size**2 > _RESIDENT_BYTES:
            return None
        return torch.cat(
            [self.glyphs.images(part).to(self.device) for part in torch.arange(len(self.glyphs)).split(4096)]
        )

    def _pictures(self, index: Tensor) -> Tensor:
        if self._resident is not None:
            return to_unit(self._resident[send(index, self.device)]).to(self.dtype)
        return to_unit(self.glyphs.images(index).to(self.device)).to(self.dtype)

    def loss(self, number: Tensor) -> Tensor:
        """() the weighted loss of the global samples `number` (B,) int64, on the CPU.

        In a group: of this process's share of them, such that the mean over the processes is that of the batch, however
        uneven the shares.
        """
        config, count = self.config, len(number)
        number = self.group.shard(number)
        # All that is one number a sample is decided on the CPU, in float64; what is large is made on the device.
        index = self.sample_glyphs(number)
        sigma = draw_sigmas(config, self.schedule, number)
        keep = uniform(config.training.seed, number, Stream.DROP) >= config.diffusion.caption_dropout
        share = uniform(config.training.seed, number, Stream.CAPTION)
        caption = self.glyphs.caption_table.pick(self.glyphs.character_of[index], share)
        weight = loss_weight(config.diffusion.weighting, config.diffusion.prediction, sigma).to(self.dtype)

        x0 = self._pictures(index)
        number, caption, keep, weight = (send(part, self.device) for part in (number, caption, keep, weight))
        eps = normal(config.training.seed, number, tuple(x0.shape[1:]), Stream.EPS, self.dtype)
        text = self.embeddings.batch(caption, length=self.text_length, keep=keep, dtype=self.dtype)
        errors = self._objective(x0, eps, sigma, text, self._autocast)
        return (errors * weight.to(errors.dtype)).sum() * (self.group.size / count)

    def learning_rate(self, progress: float) -> float:
        """Warm-up over the first pictures, times half a cosine over the whole budget (`progress` in 0…1)."""
        training = self.config.training
        warm = min(1.0, (self.images + training.batch) / max(1, training.warmup))
        return training.learning_rate * warm * (1 + math.cos(math.pi * min(1.0, progress))) / 2

    def step(self, progress: float) -> TrainStep:
        """One optimizer step on the next batch.

        Raises:
            NotFiniteError: the gradient is not finite, and the weights are left as they were. On a GPU `finite` tells.
        """
        training = self.config.training
        rate = self.learning_rate(progress)
        self.network.train()
        self.optimizer.zero_grad()
        loss = self.loss(torch.arange(self.images, self.images + training.batch))
        with self.group.collective():
            loss.backward()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), training.clip)
        self._finite &= norm.isfinite()
        if self.device.type == "cpu" and not self.finite:  # on a GPU, asking would stall every step
            raise NotFiniteError(self.images)
        self.optimizer.step(rate, self._autocast)
        self.ema.update(self.network, self.steps)
        self.images += training.batch
        return TrainStep(self.images, loss.detach(), norm.detach(), rate)

    @property
    def finite(self) -> bool:
        """Whether all gradients since the last `restore` were finite: to be asked before anything is saved."""
        return bool(self._finite)

    def validate(self) -> Generator[float, None, dict[float, float]]:
        """The averaged network's loss on held-out characters at each of `VALIDATION_SIGMAS`, always with the same
        noise.

        The mean squared error of D against x0, which means the same whatever the network predicts. Empty where nothing
        is held out. Yields how much is done, from 0 to 1.
        """
        batches = self.validation_index.split(_VALIDATION_BATCH) if len(self.validation_index) else ()
        errors: dict[float, list[Tensor]] = {sigma: [] for sigma in VALIDATION_SIGMAS if batches}
        for number, held in enumerate(batches):
            x0 = self._pictures(held)
            eps = normal(0, send(held, self.device), tuple(x0.shape[1:]), Stream.EPS, self.dtype)
            caption = send(self.glyphs.caption_of[held], self.device)
            text = self.embeddings.batch(caption, length=self.text_length, dtype=self.dtype)
            for place, sigma in enumerate(errors):
                yield (number + place / len(errors)) / len(batches)
                errors[sigma].append(self._error(x0, eps, sigma, text))
        return {sigma: float(torch.cat(parts).mean()) for sigma, parts in errors.items()}

    @torch.no_grad()
    def _error(self, x0: Tensor, eps: Tensor, sigma: float, text: Condition) -> Tensor:
        """(B,): the mean squared error of the averaged denoiser on x0 + σ·ε."""
        denoiser = self.ema_denoiser
        level = torch.full((len(x0),), sigma, dtype=torch.float64)
        _, c_out = coefficients(denoiser.prediction, level)
        loss = denoiser.loss(x0, eps, level, self.ema.network.encode_text(text))
        return loss * float(c_out[0]) ** 2

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that resuming needs, as tensors and counters."""
        tensors = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        tensors |= {f"ema.{name}": tensor for name, tensor in self.ema.network.state_dict().items()}
        for name, parameter in self.network.named_parameters():
            for key, value in self.optimizer.state_of(parameter).items():
                tensors[f"optimizer.{key}.{name}"] = torch.as_tensor(value)
        return tensors, {
            "images": self.images,
            "images_before": self.images_before,
            "epochs_before": self.epochs_before,
            "precision": self.precision,
        }

    def restore(self, tensors: dict[str, Tensor], counters: dict[str, Any]) -> None:
        """Go back to a `state`.

        Raises:
            ModelError: the state is of another network.
        """
        parts: dict[str, dict[str, Tensor]] = {"network": {}, "ema": {}}
        moments: dict[str, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            part, _, rest = name.partition(".")
            if part == "optimizer":
                key, _, owner = rest.partition(".")
                moments.setdefault(owner, {})[key] = tensor
            else:
                parts.setdefault(part, {})[rest] = tensor
        try:
            self.network.load_state_dict(parts["network"])
            self.ema.network.load_state_dict(parts["ema"])
            for name, parameter in self.network.named_parameters():
                self.optimizer.restore(parameter, moments.get(name, {}))
        except (RuntimeError, KeyError, ValueError) as error:
            raise ModelError("its tensors do not fit the network of these settings") from error
        images: Any = counters.get("images")
        before: Any = counters.get("images_before")
        precision: Any = counters.get("precision")
        if not (type(images) is type(before) is int and min(images, before) >= 0 and precision in get_args(Precision)):
            raise ModelError("it does not say how far the training is")
        self.images, self.images_before, self.precision = images, before, precision
        epochs: Any = counters.get("epochs_before")  # states of before did not say
        self.epochs_before = before / self.epoch_size if type(epochs) is not float else epochs
        self._finite.fill_(True)
