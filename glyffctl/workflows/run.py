"""A run folder and the training that writes into it."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any, NoReturn

import torch

from glyffctl.core.errors import Interrupted, ModelError, TrainingError
from glyffctl.core.io.atomic import write_text
from glyffctl.core.io.reading import short_repr
from glyffctl.core.models import checkpoint
from glyffctl.core.models.checkpoint import Origin
from glyffctl.core.models.config import BUDGETS
from glyffctl.core.training.learning_curve import reference
from glyffctl.core.training.trainer import NotFiniteError, Trainer, TrainStep
from glyffctl.workflows.checkpoint_metrics import CheckpointEvaluator
from glyffctl.workflows.checkpoint_samples import checkpoint_drawer, draw_samples, load_evaluator
from glyffctl.workflows.events import Caution, Event, Note, Progress, shares
from glyffctl.workflows.forecast import Pace, forecast, is_known
from glyffctl.workflows.model_card import model_card
from glyffctl.workflows.run_log import RunLog
from glyffctl.workflows.signals import collected_signals

LOG_EVERY = 1000  # pictures between lines of the log
_REMARK_EVERY = 1.0  # seconds between remarks on the bar, where reading a loss costs nothing
MAX_ROLLBACKS = 3
SMUDGES = 15_000  # pictures until strokes are seen in samples, with the `cpu` preset: see examples/LOG.md


def _comparable(origin: Origin) -> dict[str, Any]:
    """The settings that a run cannot change once it has started, flat: 'training.batch' → 64."""
    flat = {"data": origin.data, "encoder": origin.encoder.fingerprint}
    for section, values in origin.as_dict()["config"].items():
        flat |= {f"{section}.{name}": value for name, value in values.items()}
    free = ("checkpoint_every", "evaluate", *BUDGETS, "compile")
    return {name: value for name, value in flat.items() if name.removeprefix("training.") not in free}


class Run:
    """A run folder and the training that writes into it."""

    # Since the last checkpoint and the last line of the log, see `_mark`.
    _saved: int
    _logged: int
    _logged_seconds: float
    _tick: float
    _steps: list[TrainStep]
    _remark: str
    _remarked: float

    def __init__(self, out: Path, origin: Origin, trainer: Trainer, *, tensorboard: bool) -> None:
        self.out, self.origin, self.trainer = out, origin, trainer
        self.group = trainer.group
        self.seconds = 0.0  # spent in training, over all sessions
        self.validation: dict[float, float] = {}
        self.log = RunLog(out, tensorboard=tensorboard)
        self.evaluator: CheckpointEvaluator | None = None
        self._rollbacks = 0  # since the last checkpoint
        self._first: Pace | None = None  # after this session's first step
        self._forecast_made = False
        self._mark()

    # The budget -----------------------------------------------------------------------------------------------------

    @property
    def total(self) -> float:
        """The budget, in seconds where it is one of time, else in pictures (whole batches)."""
        training = self.origin.config.training
        if training.minutes:
            return training.minutes * 60
        images = training.images or training.epochs * self.trainer.epoch_size
        return -(-images // training.batch) * training.batch

    @property
    def done(self) -> float:
        """How much of `total` is spent."""
        return self.seconds if self.origin.config.training.minutes else self.trainer.images

    # Starting and stopping ------------------------------------------------------------------------------------------

    def resume(self) -> bool:
        """Take up a run that is in the folder already, if it is the same run.

        Raises:
            TrainingError: another run is in the folder.
            ModelError: its files are damaged.
        """
        try:
            there = checkpoint.load_origin(self.out)
        except ModelError as error:
            raise ModelError(f"{error}; name another folder with --out") from error
        if there is not None:
            old, new = _comparable(there), _comparable(self.origin)
            changed = [f"{name} ({old.get(name)} there, {new[name]} now)" for name in new if old.get(name) != new[name]]
            kinds = [change for change in changed if change.startswith(("network.kind ", "codec.kind "))]
            changed = kinds or changed
            if changed and self._begun():
                raise TrainingError(
                    f"{self.out} holds another run: {', '.join(changed[:4])}"
                    f"{' and more' if len(changed) > 4 else ''}; name another folder with --out"
                )
            if changed:
                (self.out / checkpoint.STATE_FILE).unlink(missing_ok=True)
        if not (self.out / checkpoint.STATE_FILE).exists() and (self.out / checkpoint.MODEL_FILE).exists():
            raise ModelError(f"{self.out} has lost its {checkpoint.STATE_FILE}; {self._instead}")
        checkpoint.save_origin(self.out, self.origin)
        if not (self.out / checkpoint.STATE_FILE).exists():
            self.log.start()
            return False
        self._load()
        return True

    def _begun(self) -> bool:
        """Whether the run in the folder has learned from any picture: another may take the place of one that has not.

        One that memory could not hold leaves such a state, and is tried again with other settings.
        """
        if (self.out / checkpoint.MODEL_FILE).exists():
            return True
        try:
            state = checkpoint.load_state(self.out)
        except ModelError:
            return True
        return state is not None and state[1].get("images") != 0

    @property
    def _instead(self) -> str:
        return f"name another --out to start anew, or with --from {self.out} from the weights of its model"

    def _load(self) -> None:
        """Go back to the last checkpoint."""
        try:
            state = checkpoint.load_state(self.out)
        except ModelError as error:
            raise ModelError(f"{error}; {self._instead}") from error
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
            raise ModelError(f"cannot use {self.out / checkpoint.STATE_FILE}: {why}; {self._instead}") from error
        self.log.rewind(self.trainer.images)

    def broadcast_state(self) -> None:
        """Give the state of the first process to all of its group.

        Raises:
            TrainingError: this process has other data, captions or settings than the first.
        """
        mine = json.loads(json.dumps(_comparable(self.origin)))
        if (theirs := self.group.broadcast(mine)) != mine:
            other = ", ".join(name for name in theirs if theirs[name] != mine.get(name))
            raise TrainingError(f"process {self.group.rank} of this job differs from the first in: {other}")
        tensors, counters = self.trainer.state()
        tensors, counters = self.group.broadcast_tensors(tensors), self.group.broadcast(counters)
        if not self.group.is_main:
            self.trainer.restore(tensors, counters)

    def _save_state(self) -> None:
        tensors, counters = self.trainer.state()
        kept = {"seconds": self.seconds, "validation": {str(k): v for k, v in self.validation.items()}}
        checkpoint.save_state(self.out, tensors, counters | kept)

    def save(self) -> None:
        """Write a checkpoint: first the state, then the model and its card, which follow from it."""
        self._save_state()
        checkpoint.save_model(self.out / checkpoint.MODEL_FILE, self.trainer.model(self.origin))
        card = model_card(self.out, self.origin, self.trainer, self.seconds, self.validation)
        write_text(self.out / "README.md", card)

    # The loop -------------------------------------------------------------------------------------------------------

    def run(self) -> Generator[Event, None, None]:
        """Train until the budget is spent or a signal comes.

        Raises:
            Interrupted: SIGINT or SIGTERM came; the run is saved.
            TrainingError: gradients were not finite again and again; the last checkpoint is good.
        """
        yield from self._get_ready()
        trainer, every = self.trainer, self.origin.config.training.checkpoint_every
        started = trainer.images
        with collected_signals() as received:
            while True:
                progress, signal = self.group.synchronize(self.done / self.total, max(received, default=0))
                self._log_steps(at_once=progress >= 1)
                yield from self._forecast()
                if progress < 1 or trainer.images > started:
                    unit = "s" if self.origin.config.training.minutes else "pictures"
                    yield Progress("Training", min(self.done, self.total), self.total, unit, self._remark)
                if signal:
                    self._leave(signal)
                try:
                    if trainer.images - self._saved >= (1 if progress >= 1 else every):
                        yield from self._milestone()
                    if progress >= 1:
                        break
                    self._steps.append(trainer.step(progress))
                except NotFiniteError as error:
                    yield self._roll_back(error)
                    continue
                now = time.perf_counter()
                self.seconds, self._tick = self.seconds + now - self._tick, now
                self._first = self._first or Pace(trainer.images, self.seconds)
            if self.group.broadcast(not (self.out / checkpoint.MODEL_FILE).exists()):
                yield from self._milestone()
            elif trainer.images == started:
                yield Note(f"{self.out} has had its whole budget already; a larger one goes on with it")

    def _get_ready(self) -> Generator[Event, None, None]:
        if self.trainer.precision == "auto":
            yield Progress("Trying bfloat16", 0, 1)
            found = self.trainer.choose_precision()
            yield Progress("Trying bfloat16", 1, 1)
            yield Note(f"computing in {found}: {'faster here' if found == 'bf16' else 'bfloat16 is not faster here'}")
        if self.origin.config.training.compile:
            yield Note("compiling the network: the first step takes about a minute")
        if self.group.is_main:
            if self.origin.config.training.evaluate and self.evaluator is None:
                self.evaluator = yield from load_evaluator(self.trainer.objective, self.origin.encoder)
            if not (self.out / checkpoint.STATE_FILE).exists():
                self._save_state()  # to fall back to; and a full disk says so before anything is lost
        self._mark()

    def _mark(self) -> None:
        """Nothing has happened since the last checkpoint: this is it."""
        self._saved = self.trainer.images
        self._logged = self.trainer.images
        self._logged_seconds = self.seconds
        self._tick = time.perf_counter()
        self._steps = []  # not logged yet
        self._remark, self._remarked = "", 0.0

    def _log_steps(self, *, at_once: bool) -> None:
        """A line of the log about the last steps, if there are enough of them. Here alone a GPU is waited for."""
        count = self.trainer.images - self._logged
        if not self._steps:
            return
        speed = count / max(1e-9, self.seconds - self._logged_seconds)
        if count < LOG_EVERY and not at_once:
            if self.trainer.device.type == "cpu" and self.seconds - self._remarked > _REMARK_EVERY:
                self._comment(float(torch.stack([step.loss for step in self._steps]).mean()), speed)
            return
        loss = float(self.group.all_reduce_mean(torch.stack([step.loss for step in self._steps]).mean()))
        self._log(self._steps[-1], loss, speed)
        self._comment(loss, speed)
        self._logged, self._logged_seconds = self.trainer.images, self.seconds
        self._steps.clear()

    def _comment(self, loss: float, speed: float) -> None:
        """What stands beside the bar."""
        epoch = self.trainer.images / self.trainer.epoch_size
        self._remark = f"epoch {epoch:.2f}  loss {loss:.4f}  {speed:.{speed < 10:d}f} pictures/s"
        self._remarked = self.seconds

    def _forecast(self) -> Generator[Event, None, None]:
        """As soon as the speed is known: how long an epoch and the budget take, and whether that is enough to learn."""
        trainer, training = self.trainer, self.origin.config.training
        now = Pace(trainer.images, self.seconds)
        ended = self.done >= self.total
        if self._forecast_made or self._first is None or not is_known(self._first, now, training.batch, ended=ended):
            return
        self._forecast_made = True
        left, timed = self.total - self.done, bool(training.minutes)
        yield from forecast(self._first, now, left, trainer.epoch_size, trainer.epochs_before, timed=timed)

    def _leave(self, signal: int) -> NoReturn:
        """Save, and go, as a signal asked."""
        if self.trainer.finite and self.group.is_main:
            self.save()
        self.group.barrier()  # whoever ends first has the others stopped: not before it is saved
        raise Interrupted(
            f"stopped at {self.trainer.images:,} pictures, everything is saved in {self.out}; "
            "run the same command to go on"
            if self.trainer.finite
            else f"stopped; {self.out} holds the last checkpoint, run the same command to go on from it",
            signal,
        )

    def _roll_back(self, error: NotFiniteError) -> Caution:
        """Return to the last checkpoint; the third time in a row, give up."""
        self._rollbacks += 1
        if self._rollbacks == MAX_ROLLBACKS:
            raise TrainingError(
                f"{error}, {MAX_ROLLBACKS} times in a row; the last checkpoint in {self.out} is good: go on from its "
                f"weights with a lower training.learning_rate, `glyffctl train --from {self.out}`"
            ) from error
        if self.group.is_main:
            self._load()
        self.broadcast_state()
        self._mark()
        return Caution(f"{error}; going on from the last checkpoint, at {self.trainer.images:,} pictures")

    def _milestone(self) -> Generator[Event, None, None]:
        """Validate, save, and draw a sheet of samples, while the rest of the group waits."""
        if not self.trainer.finite:
            raise NotFiniteError(self.trainer.images)
        self._rollbacks = 0
        if self.group.is_main:
            yield from self._look()
        self.group.barrier()
        self._saved = self.trainer.images
        self._tick = time.perf_counter()  # the budget of time is for training, not for looking at its result

    def _look(self) -> Generator[Event, None, None]:
        self.validation = yield from shares(self.trainer.validate(), "Checking held-out characters")
        yield Progress("Saving", 0, 1)
        self.save()
        yield Progress("Saving", 1, 1)
        trainer = self.trainer
        usual = reference(self.origin.config.codec.size, trainer.config.training.batch, trainer.images)
        if self.validation:
            beside = {"reference": usual.error} if usual is not None else {}
            self._write({"images": trainer.images, "validation": self.validation, **beside})
        path = self.out / "samples" / f"{self.trainer.images:09d}.png"
        drawer = checkpoint_drawer(trainer, self.origin)
        yield from draw_samples(drawer, trainer.objective, trainer.images, path)
        losses = self.validation.values()
        held_out = f", loss on held-out characters {sum(losses) / len(losses):.4f}" if losses else ""
        if usual is not None and losses:
            held_out += f" ({usual.verdict(self.validation)})"
        yield Note(f"{trainer.images:,} pictures{held_out}: {path}")
        if trainer.images_before + trainer.images < SMUDGES:
            yield Note(f"before some {SMUDGES:,} pictures samples look like noise, then like smudges")
        if self.evaluator is not None:
            metrics = yield from self.evaluator(drawer)
            self._write({"images": trainer.images, "evaluation": metrics.as_dict()})
            yield Note(metrics.summary())

    def _log(self, step: TrainStep, loss: float, speed: float) -> None:
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

    def _write(self, row: dict[str, Any]) -> None:
        if self.group.is_main:
            self.log.write(row)
