"""`Run`: one training in its run folder, from the first step to the end of its budget."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from glyffctl.core.errors import Interrupted, ModelError, TrainingError
from glyffctl.core.io.reading import short_repr
from glyffctl.core.models import checkpoint
from glyffctl.core.models.checkpoint import Origin
from glyffctl.core.models.config import BUDGETS
from glyffctl.core.training.trainer import NotFiniteError, Trainer, TrainStep
from glyffctl.workflows.background import Background
from glyffctl.workflows.checkpoint_metrics import CheckpointEvaluator
from glyffctl.workflows.checkpoint_samples import load_evaluator
from glyffctl.workflows.checkpoint_work import (
    Snapshot,
    has_room_beside_training,
    save,
    save_state,
    snapshot,
    works_beside_training,
    write_checkpoint,
)
from glyffctl.workflows.events import Caution, Event, Note, Progress, Result, with_fraction
from glyffctl.workflows.forecast import Pace, forecast, is_measurable
from glyffctl.workflows.run_log import LogRow, RunLog
from glyffctl.workflows.signals import collected_signals
from glyffctl.workflows.streams import SideStream, StepsAhead

LOG_EVERY = 1000  # pictures between rows of the log,
_LOG_SECONDS = 1.0  # and seconds, on a GPU
MAX_ROLLBACKS = 3  # without a checkpoint between them
_REMARK_EVERY = 1.0  # seconds between updates of the remark, where reading a loss costs nothing
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
        self.log = RunLog(out, tensorboard=tensorboard, validated=trainer.objective.validated)
        self.evaluator: CheckpointEvaluator | None = None
        self._rollbacks = 0  # since the last checkpoint
        self._works_beside = works_beside_training(trainer)
        self._room: bool | None = None  # whether memory allows it; not known yet
        self._stream = SideStream(trainer.device)
        self._background: Background[Event | LogRow, dict[float, float]] = Background(self._stream.use)
        self._steps_ahead = StepsAhead(trainer.device)
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
        if existing is not None and (changed := self._changed(existing)):
            if self._has_trained():
                raise TrainingError(self._another_run(changed))
            (self.out / checkpoint.STATE_FILE).unlink(missing_ok=True)
        if not (self.out / checkpoint.STATE_FILE).exists() and (self.out / self.trainer.objective.file).exists():
            raise ModelError(f"{self.out} has no {checkpoint.STATE_FILE} any more; {self._restart_hint}")
        checkpoint.save_origin(self.out, self.origin)
        if not (self.out / checkpoint.STATE_FILE).exists():
            self.log.start()
            return False
        self._load_state()
        return True

    def _changed(self, existing: Origin) -> list[str]:
        """Which fixed settings differ from those of the run in the folder, in words; their kinds alone if these do."""
        old, new = _fixed_settings(existing), _fixed_settings(self.origin)
        changed = [f"{name} ({old.get(name)} there, {new[name]} now)" for name in new if old.get(name) != new[name]]
        return [change for change in changed if change.startswith(("network.kind ", "codec.kind "))] or changed

    def _another_run(self, changed: list[str]) -> str:
        """Say why the run in the folder cannot go on with these changes."""
        if len(changed) == 1 and changed[0].startswith("codec.weights "):
            return (
                f"{self.out} was trained with another codec than the one named now, which has perhaps been "
                "trained on; leave --codec out to go on with the codec that the run keeps, or name another "
                "folder with --out"
            )
        return (
            f"{self.out} holds another run: {', '.join(changed[:4])}"
            f"{' and more' if len(changed) > 4 else ''}; name another folder with --out"
        )

    def _has_trained(self) -> bool:
        """Whether the run in the folder has made a step; if not, another run may replace it.

        A run that does not fit into memory leaves a state without a step, and is started again with other settings.
        """
        if (self.out / self.trainer.objective.file).exists():
            return True
        try:
            state = checkpoint.load_state(self.out)
        except ModelError:
            return True
        return state is not None and state[1].get("images") != 0

    @property
    def _restart_hint(self) -> str:
        if self.trainer.objective.file != checkpoint.MODEL_FILE:  # --from takes models alone
            return "name another --out"
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

    def _snapshot(self, *, copied: bool = False) -> Snapshot:
        return snapshot(self.trainer, self.origin, self.seconds, copied=copied)

    # The loop -------------------------------------------------------------------------------------------------------

    def run(self) -> Generator[Event, None, None]:
        """Train until the budget is spent or a signal arrives.

        Raises:
            Interrupted: SIGINT or SIGTERM arrived; the run is saved.
            TrainingError: gradients were not finite `MAX_ROLLBACKS` times; the last checkpoint is good.
        """
        yield from self._prepare()
        start = self.trainer.images
        with collected_signals() as received:
            try:
                ended = False
                while not ended:
                    try:
                        ended = yield from self._advance(start, received)
                    except NotFiniteError as error:
                        with suppress(NotFiniteError):
                            yield from self._collect(wait=True)
                        yield self._roll_back(error)
                if self.group.broadcast(not (self.out / self.trainer.objective.file).exists()):
                    yield from self._checkpoint(beside=False)
                elif self.trainer.images == start:
                    yield Note(
                        f"{self.out} has spent its whole budget; give it a larger one to continue", "budget-spent"
                    )
            except Exception:
                with suppress(Exception):  # the first error counts
                    yield from self._collect(wait=True)
                raise
            finally:
                self._background.stop()

    def _advance(self, start: int, received: list[int]) -> Generator[Event, None, bool]:
        """Do what is due and then a step, or find that the budget is spent: the answer.

        Args:
            start: the number of pictures at which this session began.
            received: signals so far.
        """
        trainer, every = self.trainer, self.origin.config.training.checkpoint_every
        progress, signal = self.group.synchronize(self.done / self.total, max(received, default=0))
        # What was not finite is found before it is logged; and nothing is left to do beside the end.
        yield from self._collect(wait=progress >= 1)
        self._log_steps(now=progress >= 1)
        yield from self._forecast()
        if progress < 1 or trainer.images > start:
            yield self._progress(self._remark)
        if signal:
            yield from self._save_and_stop(signal)
        if trainer.images - self._saved_images >= (1 if progress >= 1 else every):
            yield from self._checkpoint(beside=progress < 1)
        if progress >= 1:
            return True
        self._unlogged.append(trainer.step(progress))
        self._steps_ahead.asked()
        now = time.perf_counter()
        self.seconds, self._clock = self.seconds + now - self._clock, now
        self._first_step = self._first_step or Pace(trainer.images, self.seconds)
        return False

    def _progress(self, remark: str) -> Progress:
        unit = "s" if self.origin.config.training.minutes else "pictures"
        return Progress("Training", min(self.done, self.total), self.total, unit, remark)

    def _prepare(self) -> Generator[Event, None, None]:
        """Choose the precision, load what evaluates checkpoints, save a state to roll back to, and compile."""
        if self.trainer.precision == "auto":
            yield Progress("Trying bfloat16", 0, 1)
            chosen = self.trainer.choose_precision()
            yield Progress("Trying bfloat16", 1, 1)
            why = "faster here" if chosen == "bf16" else "bfloat16 is not faster here"
            yield Note(f"computing in {chosen}: {why}", "precision-chosen", {"precision": chosen})
        if self.group.is_main:
            if self.origin.config.training.evaluate and self.evaluator is None:
                self.evaluator = yield from load_evaluator(self.trainer.objective, self.origin.encoder)
            if not (self.out / checkpoint.STATE_FILE).exists():
                # Also shows that the disk has room before any work can be lost.
                save_state(self.out, self._snapshot(), self.validation)
        if self.group.broadcast(self.done < self.total):
            yield from self._compile()
        self._reset_counters()

    def _compile(self) -> Generator[Event, None, None]:
        """Prepare the objective and the trainer. The time of that belongs to no budget."""
        yield from with_fraction(self.trainer.objective.prepare(self.trainer.autocast), "Encoding glyphs")
        preparing = self.trainer.prepare()
        cautions: tuple[str, ...] = ()
        while True:
            try:
                yield Progress("Compiling", next(preparing), 1)
            except StopIteration as stop:
                cautions = stop.value
                break
        for caution in cautions:
            yield Caution(caution, "slower-steps")

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

    def _save_and_stop(self, signal: int) -> Generator[Event, None, NoReturn]:
        with suppress(NotFiniteError):  # then nothing is saved here, either
            yield from self._collect(wait=True)
        if self.trainer.finite and self.group.is_main:
            save(self.out, self._snapshot(), self.trainer, self.validation)
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
        if trainer.objective.new:
            denoises = not trainer.network.one_pass
            before = trainer.epochs_before
            yield from forecast(first, now, left, trainer.epoch_size, before, timed=timed, denoises=denoises)

    # Checkpoints ----------------------------------------------------------------------------------------------------

    def _checkpoint(self, *, beside: bool) -> Generator[Event, None, None]:
        """Validate, save, and draw samples in the first process, while the others wait.

        Args:
            beside: training will go on; where it can, it does so meanwhile.
        """
        yield from self._collect(wait=True)
        if self._room is None and beside:
            self._room = self._works_beside and has_room_beside_training(self.trainer)
        beside = beside and bool(self._room)
        if not beside and not self.trainer.finite:
            raise NotFiniteError(self.trainer.images)
        if self.group.is_main:
            moment = self._snapshot(copied=beside)
            work = write_checkpoint(self.out, moment, self.trainer, self.evaluator)
            if beside:
                self._stream.follow()
                self._background.start(work)
            else:
                self.validation = yield from self._passed_on(work, bars=True)
                self._rollbacks = 0
        self.group.barrier()
        self._saved_images = self.trainer.images
        self._clock = time.perf_counter()  # the time that a checkpoint takes, or waits, is not part of the budget

    def _collect(self, *, wait: bool) -> Generator[Event, None, None]:
        """Pass on what the checkpoint in the background has to tell; with `wait`, until it is done.

        Raises:
            NotFiniteError: it was not worth saving.
            OutputError: it cannot be written.
        """
        if not self._background.busy:
            return
        if wait:
            yield self._progress("waiting for the checkpoint")
        try:
            validation = yield from self._passed_on(self._background.take(wait=wait), bars=wait)
        except torch.OutOfMemoryError:  # not a second time: training pauses for the next one, which is due now
            self._room, self._saved_images = False, -self.origin.config.training.checkpoint_every
            torch.cuda.empty_cache()  # of what the other stream keeps
            return
        if validation is not None:
            self.validation, self._rollbacks = validation, 0

    def _passed_on(
        self, work: Generator[Event | LogRow, None, Result], *, bars: bool
    ) -> Generator[Event, None, Result]:
        """Run `work`, write its rows into the log, and pass on its other events, progress only with `bars`."""
        while True:
            try:
                item = next(work)
            except StopIteration as stop:
                result: Result = stop.value
                return result
            if isinstance(item, LogRow):
                self._write(item.values)
            elif bars or not isinstance(item, Progress):
                yield item

    # The log --------------------------------------------------------------------------------------------------------

    def _log_steps(self, *, now: bool) -> None:
        """Log the last steps if there are enough of them, or `now`. Nothing else in the loop waits for a GPU."""
        if not self._unlogged:
            return
        count = self.trainer.images - self._logged_images
        speed = count / max(1e-9, self.seconds - self._logged_seconds)
        # A GPU would be waited for at every other step. In a job all must read at once, and their clocks differ.
        timed = self.trainer.device.type != "cpu" and self.group.size == 1
        soon = timed and self.seconds - self._logged_seconds < _LOG_SECONDS
        if (count < LOG_EVERY or soon) and not now:
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
