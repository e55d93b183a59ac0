"""`Run`: one training in its run folder, from the first step to the end of its budget."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from glyffctl.core.errors import Interrupted, ModelError, TrainingError
from glyffctl.core.io.atomic import write_text
from glyffctl.core.io.reading import short_repr
from glyffctl.core.models import checkpoint
from glyffctl.core.models.checkpoint import Origin
from glyffctl.core.models.config import BUDGETS
from glyffctl.core.training.learning_curve import Reference, reference
from glyffctl.core.training.trainer import NotFiniteError, Trainer, TrainStep
from glyffctl.workflows.checkpoint_metrics import CheckpointEvaluator
from glyffctl.workflows.checkpoint_samples import checkpoint_drawer, draw_samples, load_evaluator
from glyffctl.workflows.events import Caution, Event, Note, Progress, with_fraction
from glyffctl.workflows.forecast import Pace, forecast, is_measurable
from glyffctl.workflows.model_card import model_card
from glyffctl.workflows.run_log import RunLog
from glyffctl.workflows.signals import collected_signals

LOG_EVERY = 1000  # pictures between rows of the log
MAX_ROLLBACKS = 3  # without a checkpoint between them
_REMARK_EVERY = 1.0  # seconds between updates of the remark, where reading a loss costs nothing
_STROKES_APPEAR = 15_000  # pictures until samples show strokes, with the `cpu` preset: see examples/LOG.md
_CHANGEABLE = ("checkpoint_every", "evaluate", *BUDGETS, "compile")  # settings that a resumed run may change


def _fixed_settings(origin: Origin) -> dict[str, Any]:
    """The settings that a run cannot change once it has started, flat: 'training.batch' → 64."""
    flat = {"data": origin.data, "encoder": origin.encoder.fingerprint}
    for section, values in origin.as_dict()["config"].items():
        flat |= {f"{section}.{name}": value for name, value in values.items()}
    return {name: value for name, value in flat.items() if name.removeprefix("training.") not in _CHANGEABLE}


class Run:
    """One training in its run folder.

    Call `resume`, then `broadcast_state`, then `run`; in a job, the processes other than the first skip `resume`.

    Attributes:
        out: the run folder.
        seconds: spent in training, over all sessions.
        validation: loss on held-out characters by σ, at the last checkpoint.
    """

    # Where the log and the checkpoints are, see `_reset_counters`.
    _saved_images: int
    _logged_images: int
    _logged_seconds: float
    _unlogged: list[TrainStep]
    _clock: float  # time.perf_counter() up to which `seconds` counts
    _remark: str  # shown beside the progress bar
    _remark_seconds: float

    def __init__(self, out: Path, origin: Origin, trainer: Trainer, *, tensorboard: bool) -> None:
        """Prepare to train with `trainer`; only the log of TensorBoard is opened here.

        Raises:
            UsageError: `tensorboard`, and it is not installed.
            OutputError: its log cannot be written.
        """
        self.out, self.origin, self.trainer = out, origin, trainer
        self.group = trainer.group
        self.seconds = 0.0
        self.validation: dict[float, float] = {}
        self.log = RunLog(out, tensorboard=tensorboard)
        self.evaluator: CheckpointEvaluator | None = None
        self._rollbacks = 0  # since the last checkpoint
        self._first_step: Pace | None = None  # where this session's first step ended
        self._forecast_made = False
        self._reset_counters()

    # The budget -----------------------------------------------------------------------------------------------------

    @property
    def total(self) -> float:
        """The budget: seconds if `training.minutes` is set, else pictures, in whole batches."""
        training = self.origin.config.training
        if training.minutes:
            return training.minutes * 60
        images = training.images or training.epochs * self.trainer.epoch_size
        return -(-images // training.batch) * training.batch

    @property
    def done(self) -> float:
        """How much of `total` is spent, in its unit."""
        return self.seconds if self.origin.config.training.minutes else self.trainer.images

    # Saving and resuming --------------------------------------------------------------------------------------------

    def resume(self) -> bool:
        """Load the last checkpoint of this run, or start an empty run.

        Returns:
            Whether there was a checkpoint.

        Raises:
            TrainingError: the folder holds another run.
            ModelError: its files are damaged.
        """
        try:
            existing = checkpoint.load_origin(self.out)
        except ModelError as error:
            raise ModelError(f"{error}; name another folder with --out") from error
        if existing is not None:
            old, new = _fixed_settings(existing), _fixed_settings(self.origin)
            changed = [f"{name} ({old.get(name)} there, {new[name]} now)" for name in new if old.get(name) != new[name]]
            kinds = [change for change in changed if change.startswith(("network.kind ", "codec.kind "))]
            changed = kinds or changed
            if changed and self._has_trained():
                raise TrainingError(
                    f"{self.out} holds another run: {', '.join(changed[:4])}"
                    f"{' and more' if len(changed) > 4 else ''}; name another folder with --out"
                )
            if changed:
                (self.out / checkpoint.STATE_FILE).unlink(missing_ok=True)
        if not (self.out / checkpoint.STATE_FILE).exists() and (self.out / checkpoint.MODEL_FILE).exists():
            raise ModelError(f"{self.out} has no {checkpoint.STATE_FILE} any more; {self._restart_hint}")
        checkpoint.save_origin(self.out, self.origin)
        if not (self.out / checkpoint.STATE_FILE).exists():
            self.log.start()
            return False
        self._load_state()
        return True

    def _has_trained(self) -> bool:
        """Whether the run in the folder has made a step; if not, another run may replace it.

        A run that does not fit into memory leaves a state without a step, and is started again with other settings.
        """
        if (self.out / checkpoint.MODEL_FILE).exists():
            return True
        try:
            state = checkpoint.load_state(self.out)
        except ModelError:
            return True
        return state is not None and state[1].get("images") != 0

    @property
    def _restart_hint(self) -> str:
        return f"name another --out, with --from {self.out} to start from its weights"

    def _load_state(self) -> None:
        """Return to the last checkpoint."""
        try:
            state = checkpoint.load_state(self.out)
        except ModelError as error:
            raise ModelError(f"{error}; {self._restart_hint}") from error
        assert state is not None
        tensors, counters = state
        try:
            self.trainer.restore(tensors, counters)
            self.seconds = float(counters["seconds"])
            if not 0 <= self.seconds < math.inf:
                raise ValueError(f"{self.seconds} seconds of training")
            self.validation = {float(level): float(loss) for level, loss in counters["validation"].items()}
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, ModelError) as error:
            why = str(error) if isinstance(error, ModelError) else short_repr(error)
            raise ModelError(f"cannot use {self.out / checkpoint.STATE_FILE}: {why}; {self._restart_hint}") from error
        self.log.rewind(self.trainer.images)

    def broadcast_state(self) -> None:
        """Copy the state of the first process to all others.

        Raises:
            TrainingError: this process has other data, captions or settings than the first.
        """
        mine = json.loads(json.dumps(_fixed_settings(self.origin)))
        if (first := self.group.broadcast(mine)) != mine:
            different = ", ".join(name for name in first if first[name] != mine.get(name))
            raise TrainingError(f"process {self.group.rank} of this job differs from the first in: {different}")
        tensors, counters = self.trainer.state()
        tensors, counters = self.group.broadcast_tensors(tensors), self.group.broadcast(counters)
        if not self.group.is_main:
            self.trainer.restore(tensors, counters)

    def _save_state(self) -> None:
        tensors, counters = self.trainer.state()
        own = {"seconds": self.seconds, "validation": {str(k): v for k, v in self.validation.items()}}
        checkpoint.save_state(self.out, tensors, counters | own)

    def save(self) -> None:
        """Write the state, then the model and its card, which can be made from the state."""
        self._save_state()
        checkpoint.save_model(self.out / checkpoint.MODEL_FILE, self.trainer.model(self.origin))
        card = model_card(self.out, self.origin, self.trainer, self.seconds, self.validation)
        write_text(self.out / "README.md", card)

    # The loop -------------------------------------------------------------------------------------------------------

    def run(self) -> Generator[Event, None, None]:
        """Train until the budget is spent or a signal arrives.

        Raises:
            Interrupted: SIGINT or SIGTERM arrived; the run is saved.
            TrainingError: gradients were not finite `MAX_ROLLBACKS` times; the last checkpoint is good.
        """
        yield from self._prepare()
        trainer, every = self.trainer, self.origin.config.training.checkpoint_every
        start = trainer.images
        with collected_signals() as received:
            while True:
                progress, signal = self.group.synchronize(self.done / self.total, max(received, default=0))
                self._log_steps(now=progress >= 1)
                yield from self._forecast()
                if progress < 1 or trainer.images > start:
                    unit = "s" if self.origin.config.training.minutes else "pictures"
                    yield Progress("Training", min(self.done, self.total), self.total, unit, self._remark)
                if signal:
                    self._save_and_stop(signal)
                try:
                    if trainer.images - self._saved_images >= (1 if progress >= 1 else every):
                        yield from self._checkpoint()
                    if progress >= 1:
                        break
                    self._unlogged.append(trainer.step(progress))
                except NotFiniteError as error:
                    yield self._roll_back(error)
                    continue
                now = time.perf_counter()
                self.seconds, self._clock = self.seconds + now - self._clock, now
                self._first_step = self._first_step or Pace(trainer.images, self.seconds)
            if self.group.broadcast(not (self.out / checkpoint.MODEL_FILE).exists()):
                yield from self._checkpoint()
            elif trainer.images == start:
                yield Note(f"{self.out} has spent its whole budget; give it a larger one to continue", "budget-spent")

    def _prepare(self) -> Generator[Event, None, None]:
        """Choose the precision, load what evaluates checkpoints, and save a state to roll back to."""
        if self.trainer.precision == "auto":
            yield Progress("Trying bfloat16", 0, 1)
            chosen = self.trainer.choose_precision()
            yield Progress("Trying bfloat16", 1, 1)
            why = "faster here" if chosen == "bf16" else "bfloat16 is not faster here"
            yield Note(f"computing in {chosen}: {why}", "precision-chosen", {"precision": chosen})
        if self.origin.config.training.compile:
            yield Note("compiling the network: the first step takes about a minute", "network-compiling")
        if self.group.is_main:
            if self.origin.config.training.evaluate and self.evaluator is None:
                self.evaluator = yield from load_evaluator(self.trainer.objective, self.origin.encoder)
            if not (self.out / checkpoint.STATE_FILE).exists():
                self._save_state()  # also shows that the disk has room before any work can be lost
        self._reset_counters()

    def _reset_counters(self) -> None:
        """Count from the present state: it is the last checkpoint, and nothing after it is unlogged."""
        self._saved_images = self.trainer.images
        self._logged_images = self.trainer.images
        self._logged_seconds = self.seconds
        self._unlogged = []
        self._clock = time.perf_counter()
        self._remark, self._remark_seconds = "", 0.0

    def _roll_back(self, error: NotFiniteError) -> Caution:
        """Return to the last checkpoint, or give up after `MAX_ROLLBACKS` times without a new one."""
        self._rollbacks += 1
        if self._rollbacks == MAX_ROLLBACKS:
            raise TrainingError(
                f"{error}, {MAX_ROLLBACKS} times in a row; the last checkpoint in {self.out} is good: start from its "
                f"weights with a lower training.learning_rate, `glyffctl train --from {self.out}`"
            ) from error
        if self.group.is_main:
            self._load_state()
        self.broadcast_state()
        self._reset_counters()
        images = self.trainer.images
        return Caution(
            f"{error}; resuming from the last checkpoint, at {images:,} pictures", "rolled-back", {"images": images}
        )

    def _save_and_stop(self, signal: int) -> NoReturn:
        if self.trainer.finite and self.group.is_main:
            self.save()
        self.group.barrier()  # the first process to end ends the others: wait until the state is saved
        raise Interrupted(
            f"stopped at {self.trainer.images:,} pictures, everything is saved in {self.out}; "
            "run the same command to resume"
            if self.trainer.finite
            else f"stopped; {self.out} holds the last checkpoint, run the same command to resume from it",
            signal,
        )

    def _forecast(self) -> Generator[Event, None, None]:
        """Once, when the speed is known: how long an epoch and the budget take, and whether that is enough to learn."""
        trainer, training = self.trainer, self.origin.config.training
        first, now = self._first_step, Pace(trainer.images, self.seconds)
        ended = self.done >= self.total
        if self._forecast_made or first is None or not is_measurable(first, now, training.batch, ended=ended):
            return
        self._forecast_made = True
        left, timed = self.total - self.done, bool(training.minutes)
        yield from forecast(first, now, left, trainer.epoch_size, trainer.epochs_before, timed=timed)

    # Checkpoints ----------------------------------------------------------------------------------------------------

    def _checkpoint(self) -> Generator[Event, None, None]:
        """Validate, save, and draw samples in the first process, while the others wait."""
        if not self.trainer.finite:
            raise NotFiniteError(self.trainer.images)
        self._rollbacks = 0
        if self.group.is_main:
            yield from self._validate_and_save()
            yield from self._draw_and_measure()
        self.group.barrier()
        self._saved_images = self.trainer.images
        self._clock = time.perf_counter()  # the time that a checkpoint takes is not part of the budget

    def _validate_and_save(self) -> Generator[Event, None, None]:
        self.validation = yield from with_fraction(self.trainer.validate(), "Checking held-out characters")
        yield Progress("Saving", 0, 1)
        self.save()
        yield Progress("Saving", 1, 1)
        if self.validation:
            normal = self._reference()
            errors = {"reference": normal.error} if normal is not None else {}
            self._write({"images": self.trainer.images, "validation": self.validation, **errors})

    def _draw_and_measure(self) -> Generator[Event, None, None]:
        trainer, images = self.trainer, self.trainer.images
        path = self.out / "samples" / f"{images:09d}.png"
        drawer = checkpoint_drawer(trainer, self.origin)
        yield from draw_samples(drawer, trainer.objective, images, path)
        losses, held_out = self.validation.values(), ""
        if losses:
            held_out = f", loss on held-out characters {sum(losses) / len(losses):.4f}"
            if (normal := self._reference()) is not None:
                held_out += f" ({normal.verdict(self.validation)})"
        facts = {"images": images, "validation": self.validation, "samples": path}
        yield Note(f"{images:,} pictures{held_out}: {path}", "checkpoint", facts)
        if trainer.images_before + images < _STROKES_APPEAR:
            text = f"before some {_STROKES_APPEAR:,} pictures samples look like noise, then like smudges"
            yield Note(text, "samples-still-noisy", {"until_images": _STROKES_APPEAR})
        if self.evaluator is not None:
            metrics = yield from self.evaluator(drawer)
            self._write({"images": images, "evaluation": metrics.as_dict()})
            yield Note(metrics.summary(), "checkpoint-metrics", metrics.as_dict())

    def _reference(self) -> Reference | None:
        """What is normal for such a run after as many pictures."""
        return reference(self.origin.config.codec.size, self.trainer.config.training.batch, self.trainer.images)

    # The log --------------------------------------------------------------------------------------------------------

    def _log_steps(self, *, now: bool) -> None:
        """Log the last steps if there are enough of them, or `now`. Nothing else in the loop waits for a GPU."""
        if not self._unlogged:
            return
        count = self.trainer.images - self._logged_images
        speed = count / max(1e-9, self.seconds - self._logged_seconds)
        if count < LOG_EVERY and not now:
            if self.trainer.device.type == "cpu" and self.seconds - self._remark_seconds > _REMARK_EVERY:
                self._update_remark(float(self._unlogged_loss()), speed)
            return
        loss = float(self.group.all_reduce_mean(self._unlogged_loss()))
        step = self._unlogged[-1]
        self._write(
            {
                "images": step.images,
                "loss": loss,
                "learning_rate": step.learning_rate,
                "gradient": float(step.gradient),
                "images_per_second": round(speed, 2),
                "seconds": round(self.seconds, 1),
            }
        )
        self._update_remark(loss, speed)
        self._logged_images, self._logged_seconds = self.trainer.images, self.seconds
        self._unlogged.clear()

    def _unlogged_loss(self) -> Tensor:
        return torch.stack([step.loss for step in self._unlogged]).mean()

    def _update_remark(self, loss: float, speed: float) -> None:
        epoch = self.trainer.images / self.trainer.epoch_size
        self._remark = f"epoch {epoch:.2f}  loss {loss:.4f}  {speed:.{speed < 10:d}f} pictures/s"
        self._remark_seconds = self.seconds

    def _write(self, row: dict[str, Any]) -> None:
        if self.group.is_main:
            self.log.write(row)
