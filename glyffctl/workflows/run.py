"""A run folder and the training that writes into it."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

import torch

from glyffctl.core.data.subset import evenly_spaced
from glyffctl.core.errors import EmbeddingError, Interrupted, ModelError, OutputError, TrainingError, UsageError
from glyffctl.core.io.atomic import reason, write_text
from glyffctl.core.io.images import near_square, save_png, sheet
from glyffctl.core.io.reading import LARGEST_RECORD, parse_json, read_bytes, short_repr
from glyffctl.core.models import checkpoint
from glyffctl.core.models.checkpoint import Origin
from glyffctl.core.models.config import BUDGETS
from glyffctl.core.models.generate import Recipe
from glyffctl.core.networks.unet import parameter_count
from glyffctl.core.text.loading import load_encoder
from glyffctl.core.training.learning_curve import reference
from glyffctl.core.training.trainer import NotFiniteError, Trainer, TrainStep
from glyffctl.workflows.checkpoint_metrics import FEWEST_REAL, CheckpointEvaluator
from glyffctl.workflows.draw import Drawer, with_progress
from glyffctl.workflows.events import Caution, Event, Note, Progress, shares
from glyffctl.workflows.models import FEWEST_EPOCHS
from glyffctl.workflows.signals import collected_signals

LOG_FILE = "log.jsonl"
TENSORBOARD = "tensorboard"
LOG_EVERY = 1000  # pictures between lines of the log
_REMARK_EVERY = 1.0  # seconds between remarks on the bar, where reading a loss costs nothing
_TIMED = 4.0  # seconds of steps after the first, or two at least, that a forecast is made from
SHEET_RECIPE = Recipe(steps=20, guidance=4.0)
SHEET_COUNT = 16
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
        self.tensorboard = _tensorboard(out) if tensorboard else None
        self.evaluator: CheckpointEvaluator | None = None
        self._rollbacks = 0  # since the last checkpoint
        self._first: tuple[int, float] | None = None  # pictures and seconds after this session's first step
        self._foretold = False
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
            write_text(self.out / LOG_FILE, "")
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
        self._rewind_log()

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

    def _rewind_log(self) -> None:
        """Drop what was logged after the checkpoint: those steps are made again."""
        path = self.out / LOG_FILE
        text = read_bytes(path, ModelError, LARGEST_RECORD).decode("utf-8", "replace") if path.exists() else ""
        kept = []
        for line in text.split("\n"):
            try:
                if parse_json(line)["images"] <= self.trainer.images:
                    kept.append(line + "\n")
            except (ValueError, KeyError, TypeError):
                continue  # a line that a crash cut short; the run does not depend on any
        write_text(path, "".join(kept))

    def _save_state(self) -> None:
        tensors, counters = self.trainer.state()
        kept = {"seconds": self.seconds, "validation": {str(k): v for k, v in self.validation.items()}}
        checkpoint.save_state(self.out, tensors, counters | kept)

    def save(self) -> None:
        """Write a checkpoint: first the state, then the model and its card, which follow from it."""
        self._save_state()
        checkpoint.save_model(
            self.out / checkpoint.MODEL_FILE,
            self.trainer.ema.network,
            self.origin,
            self.trainer.images_before + self.trainer.images,
            self.trainer.epochs,
        )
        write_text(self.out / "README.md", _model_card(self))

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
                self._first = self._first or (trainer.images, self.seconds)
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
                self.evaluator = yield from self._evaluator()
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
        if self._foretold or self._first is None:
            return
        images, seconds = trainer.images - self._first[0], self.seconds - self._first[1]
        if images < 2 * training.batch or (seconds < _TIMED and self.done < self.total):
            return
        self._foretold = True
        speed = images / max(1e-9, seconds)
        epoch = trainer.epoch_size / speed
        whole = trainer.images + max(0.0, self.total - self.done) * (speed if training.minutes else 1)
        epochs = whole / trainer.epoch_size
        left = (whole - trainer.images) / speed
        yield Note(
            f"{speed:.{speed < 10:d}f} pictures/s: an epoch takes {duration(epoch)}; the budget ends after "
            f"{epochs:.2g} epochs, in {duration(left)}"
        )
        if trainer.epochs_before + epochs < FEWEST_EPOCHS:
            yield Caution(
                f"this budget shows {epochs:.0%} of the glyphs once, too few to draw anything but smudges: train "
                f"longer (10 epochs take {duration(10 * epoch)}), prepare fewer characters (--range 4E00-5FFF), start "
                "from the model in the box with --from bundled, or use a GPU"
            )

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
        usual = reference(trainer.glyphs.size, trainer.config.training.batch, trainer.images)
        if self.validation:
            beside = {"reference": usual.error} if usual is not None else {}
            self._write({"images": trainer.images, "validation": self.validation, **beside})
        path = self.out / "samples" / f"{self.trainer.images:09d}.png"
        yield from self._draw(path)
        losses = self.validation.values()
        held_out = f", loss on held-out characters {sum(losses) / len(losses):.4f}" if losses else ""
        if usual is not None and losses:
            held_out += f" ({usual.verdict(self.validation)})"
        yield Note(f"{trainer.images:,} pictures{held_out}: {path}")
        if trainer.images_before + trainer.images < SMUDGES:
            yield Note(f"before some {SMUDGES:,} pictures samples look like noise, then like smudges")
        if self.evaluator is not None:
            metrics = yield from self.evaluator(self._drawer)
            self._write({"images": trainer.images, "evaluation": metrics.as_dict()})
            yield Note(metrics.summary())

    def _evaluator(self) -> Generator[Event, None, CheckpointEvaluator | None]:
        """What measures the model at checkpoints; None, with a caution, where its prompts cannot be read."""
        trainer, known = self.trainer, self.origin.encoder
        try:
            encoder = load_encoder(known.name, max_tokens=known.max_tokens)
        except EmbeddingError as error:
            yield Caution(f"training.evaluate is left out: {error}")
            return None
        if encoder.fingerprint != known.fingerprint:
            yield Caution(f"training.evaluate is left out: {known.name} is not the encoder of the embeddings any more")
            return None
        held = trainer.validation_index
        return CheckpointEvaluator(encoder, trainer.glyphs, held if len(held) >= FEWEST_REAL else trainer.train_index)

    @property
    def _drawer(self) -> Drawer:
        """What draws with the averaged weights as they are now."""
        trainer, network = self.trainer, self.origin.config.network
        return Drawer(trainer.ema_denoiser, trainer.schedule, network.size, network.text_width, trainer.device)

    def _draw(self, path: Path) -> Generator[Event, None, None]:
        """A sheet of glyphs for held-out captions, always with the same noise."""
        trainer = self.trainer
        index = trainer.validation_index if len(trainer.validation_index) else trainer.train_index
        # Where there are fewer, some come again.
        index = evenly_spaced(index.repeat_interleave(-(-SHEET_COUNT // len(index))), SHEET_COUNT)
        caption = trainer.glyphs.caption_of[index]
        text = trainer.embeddings.batch(caption.to(trainer.device))
        drawing = self._drawer.draw(SHEET_RECIPE, text, torch.arange(SHEET_COUNT))
        pictures = yield from with_progress(drawing, Progress("Drawing samples", 0, SHEET_COUNT, "pictures"))
        captions = [trainer.glyphs.captions[i] for i in caption.tolist()]
        image = sheet(pictures, near_square(SHEET_COUNT))
        save_png(path, image, {"captions": captions, **dataclasses.asdict(SHEET_RECIPE), "images": trainer.images})

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
        if not self.group.is_main:
            return
        path = self.out / LOG_FILE
        length = path.stat().st_size if path.exists() else 0
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            with suppress(OSError):  # no half line
                os.truncate(path, length)
            raise OutputError(f"cannot write {path}: {reason(error)}") from error
        if self.tensorboard is not None:
            flat = {name: value for name, value in row.items() if not isinstance(value, dict)}
            for kind in ("validation", "reference"):
                flat |= {f"{kind}/sigma {sigma:g}": loss for sigma, loss in row.get(kind, {}).items()}
            flat |= {f"evaluation/{name}": value for name, value in row.get("evaluation", {}).items()}
            with _events_written(self.out):
                for name, value in flat.items():
                    self.tensorboard.add_scalar(name, value, row["images"])
                self.tensorboard.flush()


def duration(seconds: float) -> str:
    """A span of time in words: 40 s, 28 min, 3.5 h, 12 days."""
    for limit, unit, name in ((100, 1, "s"), (6000, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name}" if seconds >= 10 * unit else f"{seconds / unit:.2g} {name}"
    return f"{seconds / 86400:,.0f} days"


def _tensorboard(out: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415
    except ImportError:
        raise UsageError('--tensorboard needs the package tensorboard: pip install "glyffctl[tensorboard]"') from None
    heard = threading.excepthook

    def hook(failure: threading.ExceptHookArgs) -> None:
        if not issubclass(failure.exc_type, OSError):
            heard(failure)

    # It writes in a thread, whose failure is raised once more by the next call: then it is told, in a line.
    threading.excepthook = hook
    with _events_written(out):
        return SummaryWriter(out / TENSORBOARD)


@contextmanager
def _events_written(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot write {out / TENSORBOARD}: {reason(error)}") from error


def _model_card(run: Run) -> str:
    trainer, config = run.trainer, run.origin.config
    losses = "\n".join(f"| {sigma:g} | {loss:.4f} |" for sigma, loss in run.validation.items())
    before = f", starting from weights that had seen {trainer.images_before:,}" if trainer.images_before else ""
    validation = f"\n| σ | loss on held-out characters |\n|---|---|\n{losses}\n" if losses else ""
    fonts = ", ".join(font.name for font in trainer.glyphs.fonts) or "not recorded"
    return f"""# {run.out.name}

A glyffctl model: English definition → glyph, {config.network.size}×{config.network.size} pixels.

- {parameter_count(trainer.network):,} parameters
- {config.diffusion.prediction} prediction, {config.diffusion.schedule} schedule
- trained on {trainer.images:,} pictures in {run.seconds / 60:.0f} minutes{before}
- {trainer.epoch_size:,} glyphs, so {trainer.images / trainer.epoch_size:.1f} epochs
- fonts: {fonts}
- text encoder: {run.origin.encoder.name}
{validation}
Draw with it: `glyffctl sample "lithium" --model {run.out}`. All settings are in `config.json`.
"""
