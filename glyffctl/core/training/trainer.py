"""Training: one optimizer step after another, whatever the objective."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, get_args

import torch
from torch import Tensor, nn

from glyffctl.core.codecs.latents import Latents
from glyffctl.core.data.dataset import GlyphSet
from glyffctl.core.data.embeddings import Embeddings
from glyffctl.core.device import memory_free, prefer_speed, send
from glyffctl.core.errors import ModelError, TrainingError, first_line
from glyffctl.core.kernels import switch as kernels
from glyffctl.core.models.checkpoint import TrainedModel
from glyffctl.core.models.config import Config
from glyffctl.core.networks.narrowed import layers_under_autocast
from glyffctl.core.networks.network import build_network, parameter_count
from glyffctl.core.precision import Precision, autocast_dtype
from glyffctl.core.training.captured import CapturedUpdate, Outcome, relative_difference, side_stream
from glyffctl.core.training.distributed import SINGLE_PROCESS, ProcessGroup
from glyffctl.core.training.ema import EMA
from glyffctl.core.training.low_precision import LowPrecisionWeights
from glyffctl.core.training.objective import Batch, TrainingData, find_objective
from glyffctl.core.training.optimizer import Optimizer

_ALIKE = 0.02  # relative difference of losses and gradients: kernels that add in any order differ by less


class NotFiniteError(TrainingError):
    """A gradient or a weight that is not a finite number. What is in memory may be spoilt, what was saved is not."""

    def __init__(self, images: int, what: str = "the gradient") -> None:
        super().__init__(f"{what} was not a finite number after {images:,} pictures")


class TrainStep(NamedTuple):
    """After one optimizer step. The tensors are on the device: reading them waits for it."""

    images: int  # pictures shown so far
    loss: Tensor  # () weighted loss of the batch, or of this process's share of it
    gradient: Tensor  # () norm of the gradient before clipping
    learning_rate: float


def _first_cause(error: BaseException) -> str:
    """The first line of the error that led to `error`: the end of a capture that failed raises one of its own."""
    while error.__context__ is not None:
        error = error.__context__
    return first_line(error)


def check_memory(config: Config, glyphs: int, processes: int, device: torch.device) -> None:
    """Refuse settings that need more memory than there is, before the system kills the process or a GPU runs full.

    Counts what is certain: five numbers for each parameter (weight, gradient, two moments, average) and four for each
    value of a process's share of a batch (x0, ε, z, F), and what the objective keeps. Activations come on top.

    Args:
        config: all settings of the run.
        glyphs: in the data set.
        processes: that share a batch, on any machine.
        device: where this process computes.

    Raises:
        TrainingError: that alone is more than the memory that is free.
        UsageError: there is no such objective.
    """
    with torch.device("meta"):
        parameters = parameter_count(build_network(config.network))
    batch, size = config.training.batch // processes, config.codec.size
    values = config.network.in_channels * config.network.size**2
    held = find_objective(config).held_numbers(config, glyphs)
    needed = 4 * (5 * parameters + 4 * batch * values + held)
    memory = memory_free(device)
    if needed > memory:
        where = "GPU" if device.type == "cuda" else "machine"
        kept = f", with {4 * held / 2**30:,.1f} GiB kept beside them," if held else ""
        raise TrainingError(
            f"{parameters / 1e6:,.1f} million parameters and {batch:,} pictures of {size}×{size} at a time{kept} need "
            f"{needed / 2**30:,.0f} GiB at least, this {where} has {memory / 2**30:,.0f} free; make the network or "
            "training.batch smaller"
        )


class Trainer:
    """An objective in training, with optimizer and average, on one device.

    In a process group, all processes hold the same weights and make the same steps; each computes its share of every
    batch.
    """

    def __init__(
        self,
        config: Config,
        glyphs: GlyphSet,
        embeddings: Embeddings,
        device: torch.device,
        group: ProcessGroup = SINGLE_PROCESS,
        dtype: torch.dtype = torch.float32,
        teacher: TrainedModel | None = None,
        codec: Latents | None = None,
    ) -> None:
        """Build a fresh run.

        Args:
            config: all settings of the run.
            glyphs: what to learn from.
            embeddings: of the glyphs' captions.
            device: where to compute.
            group: the processes that train together.
            dtype: of weights and pictures; float64 shows what is rounding and what is not.
            teacher: the model that a student learns from.
            codec: what pictures become first, if that has weights.

        Raises:
            TrainingError: nothing is left to train on, or a batch has fewer pictures than there are processes.
            UsageError: there is no such objective, or it cannot train such a network.
        """
        self.config, self.device, self.group = config, device, group
        prefer_speed(device)
        training = config.training
        if training.batch < group.size:
            raise TrainingError(
                f"a batch of {training.batch} pictures cannot be shared by {group.size} processes; make `batch` larger"
            )
        data = TrainingData(glyphs, embeddings.to(device), teacher, codec)
        self.objective = find_objective(config)(config, data, device, dtype)
        self.network = self.objective.network
        frozen = config.network.inner(training.freeze) if training.freeze else ()
        for name, parameter in self.network.named_parameters():
            if name.startswith(frozen):
                parameter.requires_grad_(False)
        self.images = 0
        self._finite = torch.ones((), dtype=torch.bool, device=device)
        self.images_before = 0  # that the weights had been shown when this run began,
        self.epochs_before = 0.0  # in so many epochs of what were their data then
        self.ema = EMA(self.network, training.ema_decay)
        self.optimizer = Optimizer(
            training.optimizer,
            self.network,
            config.network.is_matrix,
            learning_rate=training.learning_rate,
            weight_decay=training.weight_decay,
            betas=(training.beta1, training.beta2),
        )
        self.precision: Precision = training.precision
        if training.compile and device.type != "mps":
            self.network.compile()
        self._low_precision: LowPrecisionWeights | None = None  # both from `prepare`
        self._captured: CapturedUpdate | None = None
        # What averages gradients over processes has to see one forward pass.
        self._forward = group.data_parallel(self.objective, device)

    def start_from(self, network: nn.Module, images: int, epochs: float | None = None) -> None:
        """Begin with the weights of `network`, which has been shown `images` pictures, in place of random ones.

        Args:
            network: of the same sizes.
            images: pictures that it has been shown.
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
    def autocast(self) -> torch.dtype | None:
        """The lower precision for the inside of the network, if there is one."""
        return torch.bfloat16 if self.precision == "bf16" else None

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
        return self.objective.epoch_size

    def loss(self, number: Tensor) -> Tensor:
        """() the weighted loss of the global samples `number` (B,) int64, on the CPU.

        In a process group: of this process's share of them, such that the mean over the processes is that of the batch,
        however uneven the shares.
        """
        return self._loss(self._batch(number).to(self.device), len(number), self._forward)

    def _batch(self, number: Tensor) -> Batch:
        """This process's share of the samples `number` (B,)."""
        self.objective.autocast = self.autocast
        return self.objective.batch(self.group.shard(number))

    def _loss(self, batch: Batch, samples: int, forward: Callable[..., Tensor]) -> Tensor:
        """() the loss of this process's share of `samples` samples."""
        losses = forward(*batch.values, length=batch.length, autocast=self.autocast)
        return losses.sum() * (self.group.size / samples)

    def prepare(self) -> Generator[float, None, tuple[str, ...]]:
        """Do now what the first steps would wait for: compile the network, and capture the step as CUDA graphs.

        Weights, moments and counters are as before. Yields how much is done, from 0 to 1.

        Returns:
            What makes training on a GPU slower than it could be, a line each.
        """
        cuda = self.device.type == "cuda"
        if not (cuda or self.config.training.compile):
            return ()
        fault = kernels.enable(self.device, self.autocast or self.objective.dtype) if cuda else None
        cautions = [] if fault is None else [f"PyTorch's kernels are used in place of faster ones: {fault}"]
        self.network.train()
        batch = self._batch(self.objective.numbers(0))
        lengths = self.objective.lengths if cuda else (batch.length,)
        yield 0.0
        for number, length in enumerate(lengths, start=1):
            given = batch._replace(length=length).to(self.device)
            narrowed = self._pass(given)
            yield number / len(lengths) / (2 if cuda else 1)
        if not cuda or self.group.size > 1:  # NCCL's steps could be captured too, but nobody has tried
            return tuple(cautions)
        if narrowed and self.autocast is not None and not self.config.training.compile:
            self._low_precision = LowPrecisionWeights(self.objective, narrowed, self.autocast)
        fault = yield from self._capture(batch)
        if fault is not None:
            cautions.append(f"steps are launched kernel by kernel, not as CUDA graphs: {fault}")
        return tuple(cautions)

    def _pass(self, batch: Batch) -> set[nn.Module]:
        """Go forward and backward once, and return the layers that autocast narrows the weights of.

        Nothing of it is kept. A loss that lives on holds what adds gradients to weights, with the stream that it was
        made on; backward passes in a capture would use the same, on that other stream, which CUDA refuses.
        """
        watching: AbstractContextManager[set[nn.Module]] = nullcontext(set())
        if not self.config.training.compile:  # with hooks, another network would be compiled
            watching = layers_under_autocast(self.network, self.device)
        with watching as narrowed:
            loss = self._loss(batch, self.config.training.batch, self._forward)
        with self.group.collective():
            loss.backward()
        self.optimizer.zero_grad()
        return narrowed

    def _capture(self, batch: Batch) -> Generator[float, None, str | None]:
        """Capture the step for all lengths of captions, and hold some captured steps against plain ones.

        Returns what is wrong with them, or None.
        """
        lengths = self.objective.lengths
        order = (*lengths, *reversed(lengths))  # each graph after each of its neighbours
        tensors, counters = self.state()
        before = {name: tensor.clone() for name, tensor in tensors.items()}
        scalars = send(torch.tensor([self.config.training.learning_rate, self.ema.share(0)]), self.device)
        given = batch.to(self.device)
        try:
            with side_stream(self.device):
                plain = [self._update(given._replace(length=length), *scalars.unbind()) for length in order]
            self.restore(before, counters)
            self.optimizer.zero_grad()
            captured = CapturedUpdate(given)
            for number, length in enumerate(lengths, start=1):
                captured.capture(self._update, length)
                self.optimizer.zero_grad()
                yield (1 + number / len(lengths)) / 2
            replayed = [captured(given._replace(length=length), *scalars.tolist()) for length in order]
            difference = max(map(relative_difference, plain, replayed))
        except RuntimeError as error:  # what CUDA and torch raise, out of memory included
            return f"CUDA cannot capture them ({_first_cause(error)})"
        finally:
            self.optimizer.zero_grad()
            self.restore(before, counters)
        if not difference < _ALIKE:
            return f"captured steps differ from others by {difference:.1%}"
        self._captured = captured
        return None

    def learning_rate(self, progress: float) -> float:
        """Warm-up over the first pictures, times half a cosine over the whole budget (`progress` in 0…1)."""
        training = self.config.training
        warm = min(1.0, (self.images + training.batch) / max(1, training.warmup))
        return training.learning_rate * warm * (1 + math.cos(math.pi * min(1.0, progress))) / 2

    def step(self, progress: float) -> TrainStep:
        """One optimizer step on the next batch.

        Raises:
            NotFiniteError: the gradient is not finite, and the weights are unchanged. On a GPU only `finite` shows it.
        """
        rate, share = self.learning_rate(progress), self.ema.share(self.steps)
        batch = self._batch(self.objective.numbers(self.steps))
        self.network.train()
        if self._captured is not None:
            outcome = self._captured(batch, rate, share)
        elif self.device.type == "cuda":
            # As tensors, like those of a captured step, the numbers are the same whether it is captured or not.
            outcome = self._update(batch.to(self.device), *send(torch.tensor([rate, share]), self.device).unbind())
        else:
            outcome = self._update(batch.to(self.device), rate, share)
        self.images += self.config.training.batch
        return TrainStep(self.images, *outcome, rate)

    def _update(self, batch: Batch, learning_rate: float | Tensor, share: float | Tensor) -> Outcome:
        """Change weights, moments and average by the gradient of a batch on the device."""
        self.optimizer.zero_grad()
        loss = self._loss(batch, self.config.training.batch, self._low_precision or self._forward)
        with self.group.collective():
            loss.backward()
        if self._low_precision is not None:
            self._low_precision.collect()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.config.training.clip)
        self._finite &= norm.isfinite()
        if self.device.type == "cpu" and not self.finite:  # on a GPU, asking would stall every step
            raise NotFiniteError(self.images)
        self.optimizer.step(learning_rate, self.autocast)
        self.ema.update(self.network, share)
        return Outcome(loss.detach(), norm.detach())

    @property
    def finite(self) -> bool:
        """Whether all gradients since the last `restore` were finite: to be asked before anything is saved."""
        return bool(self._finite)

    @property
    def finite_flag(self) -> Tensor:
        """() bool on the device: `finite`, for whoever must not wait for the device. Steps change it."""
        return self._finite

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
        except torch.AcceleratorError:  # the fault of a GPU, not of the state
            raise
        except (RuntimeError, KeyError, ValueError) as error:
            raise ModelError("its tensors do not fit the network of these settings") from error
        images: Any = counters.get("images")
        before: Any = counters.get("images_before")
        precision: Any = counters.get("precision")
        if not (type(images) is type(before) is int and min(images, before) >= 0 and precision in get_args(Precision)):
            raise ModelError("it does not say how far the training is")
        self.images, self.images_before, self.precision = images, before, precision
        epochs: Any = counters.get("epochs_before")  # older versions did not write it
        self.epochs_before = before / self.epoch_size if type(epochs) is not float else epochs
        self._finite.fill_(True)
