"""A checkpoint of a run: check it on held-out characters, save it, draw with it and measure that.

All of it works on a `Snapshot`, so that training may go on meanwhile.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from glyffctl.core.diffusion.entropic import lost_information, without_own_error
from glyffctl.core.errors import UsageError
from glyffctl.core.io.atomic import write_text
from glyffctl.core.models import checkpoint
from glyffctl.core.models.checkpoint import Origin, TrainedModel
from glyffctl.core.models.codec_file import TrainedCodec, save_codec
from glyffctl.core.models.drawer import Drawer
from glyffctl.core.models.few_step import save_few_step
from glyffctl.core.models.files import CODEC_FILE, FEW_STEP_FILE, TABLE_FILE
from glyffctl.core.models.level_table import LevelTable
from glyffctl.core.models.recipe import FEW_STEP, PASSES, Recipe
from glyffctl.core.models.upscaler import Upscaler
from glyffctl.core.networks.network import Network
from glyffctl.core.training.learning_curve import Reference, reference
from glyffctl.core.training.trainer import NotFiniteError, Trainer
from glyffctl.workflows.checkpoint_codec import check_codec
from glyffctl.workflows.checkpoint_metrics import CheckpointEvaluator
from glyffctl.workflows.checkpoint_samples import SHEET_COUNT, draw_enlarged, draw_samples
from glyffctl.workflows.events import Event, Note, Progress, with_fraction
from glyffctl.workflows.model_card import codec_card, model_card
from glyffctl.workflows.run_log import LogRow

_STROKES_APPEAR = 15_000  # pictures until samples show strokes, with the `cpu` preset: see examples/LOG.md
_AT_ONCE = 32  # pictures that go through the network together: in validation, and in drawing 16 with guidance
_HANDLES = 1 << 29  # bytes of what cuBLAS and cuDNN keep for another stream, generously


@dataclass(frozen=True, eq=False, kw_only=True)
class Snapshot:
    """A moment of a run.

    Attributes:
        tensors, counters: what `Trainer.state` returned, and the seconds of training.
        network: the average in training.
        model: what it is saved as and drawn with.
        finite: () bool on the device, `Trainer.finite_flag`.
        images: pictures trained on.
        seconds: spent in training.
    """

    tensors: dict[str, Tensor]
    counters: dict[str, Any]
    network: Network
    model: TrainedModel | TrainedCodec
    finite: Tensor
    images: int
    seconds: float


def snapshot(trainer: Trainer, origin: Origin, seconds: float, *, copied: bool) -> Snapshot:
    """The present moment. Unless `copied`, it holds the very tensors that the next step changes.

    Nothing here waits for a GPU: the copies are made when it comes to them, between two steps.
    """
    tensors, counters = trainer.state()
    network, finite = trainer.ema.network, trainer.finite_flag
    if copied:
        tensors = {name: tensor.detach().clone() for name, tensor in tensors.items()}
        network, finite = copy.deepcopy(network), finite.clone()
    return Snapshot(
        tensors=tensors,
        counters=counters,
        network=network,
        model=trainer.objective.model(network, origin, trainer.images_before + trainer.images, trainer.epochs),
        finite=finite,
        images=trainer.images,
        seconds=seconds,
    )


def works_beside_training(trainer: Trainer) -> bool:
    """Whether a checkpoint can be written while training goes on: on a GPU, which a CPU only has to keep busy.

    Not in a job, whose processes all have to wait for the same things.
    """
    return trainer.device.type == "cuda" and trainer.group.size == 1


def has_room_beside_training(trainer: Trainer) -> bool:
    """Whether a GPU has memory for a copy of the state, and for drawing while training goes on.

    What training has reserved, for a batch of pictures, bounds what fewer of them need.
    """
    if trainer.device.type != "cuda":
        return True
    copied = sum(tensor.nbytes for tensor in trainer.state()[0].values())
    drawing = torch.cuda.memory_reserved(trainer.device) * _AT_ONCE / trainer.config.training.batch
    free, _ = torch.cuda.mem_get_info(trainer.device)
    return bool(free > copied + drawing + _HANDLES)


def save_state(out: Path, moment: Snapshot, validation: dict[float, float]) -> None:
    """Write all that resuming needs; `validation` is the last loss on held-out characters by σ."""
    own = {"seconds": moment.seconds, "validation": {str(k): v for k, v in validation.items()}}
    checkpoint.save_state(out, moment.tensors, moment.counters | own)


def save(out: Path, moment: Snapshot, trainer: Trainer, validation: dict[float, float]) -> None:
    """Write the state, then the model and its card, which can be made from the state."""
    save_state(out, moment, validation)
    model, file = moment.model, out / checkpoint.MODEL_FILE
    if isinstance(model, TrainedCodec):
        save_codec(out / CODEC_FILE, model.codec, {"images": model.images})
        write_text(out / "README.md", codec_card(out, model, trainer, moment.images, moment.seconds, validation))
        return
    if model.few_step is not None:
        save_few_step(out / FEW_STEP_FILE, model.few_step, model.identity)
    if model.few_step is None or not file.exists():  # the teacher of a student stays as it is
        checkpoint.save_model(file, model, model.stored)
    by_level = trainer.objective.validated == "σ" and model.few_step is None and not model.network.enlarges
    if by_level and validation and all(0 < error < math.inf for error in validation.values()):
        about = f"measured at {model.images:,} pictures, see --schedule entropic"
        with suppress(UsageError):  # of errors so large or so small that there is no table of them
            write_text(out / TABLE_FILE, measured_table(model, validation).as_toml(about))
    card = model_card(out, moment.model.origin, trainer, moment.images, moment.seconds, validation)
    write_text(out / "README.md", card)


def measured_table(model: TrainedModel, validation: dict[float, float]) -> LevelTable:
    """The information that each noise level hides, by the squared error of a number at some (I-MMSE).

    From the lowest level of the model to its highest. Beyond those of `validation` the error is taken to be constant
    above, where it can hardly rise, and to follow σ² below.

    Raises:
        UsageError: of such errors none can be made.
    """
    sigmas = list(validation)
    errors = without_own_error(torch.tensor(sigmas), torch.tensor(list(validation.values()))).tolist()
    low, high = model.schedule.sigmas[[0, -1]].tolist()
    if low < sigmas[0]:
        sigmas, errors = [low, *sigmas], [errors[0] * (low / sigmas[0]) ** 2, *errors]
    if high > sigmas[-1]:
        sigmas, errors = [*sigmas, high], [*errors, errors[-1]]
    known = torch.tensor(sigmas, dtype=torch.float64)
    total = torch.tensor(errors, dtype=torch.float64) * math.prod(model.codec.shape)
    return LevelTable.rising(sigmas, lost_information(known, total).tolist())


def write_checkpoint(
    out: Path, moment: Snapshot, trainer: Trainer, evaluator: CheckpointEvaluator | None
) -> Generator[Event | LogRow, None, dict[float, float]]:
    """Validate and save `moment`, draw samples, and measure with `evaluator` if there is one.

    Returns the loss on held-out characters by σ. Of `trainer` only that is read which no step changes.

    Raises:
        NotFiniteError: a gradient before `moment` or a number in it is not finite, and nothing of it is written.
        OutputError: the folder cannot be written.
    """
    if not bool(moment.finite):
        raise NotFiniteError(moment.images)
    norms = torch._foreach_norm([tensor for tensor in moment.tensors.values() if tensor.is_floating_point()])
    if not bool(torch.stack([norm.to(moment.finite.device) for norm in norms]).isfinite().all()):
        raise NotFiniteError(moment.images, "a weight")
    model, images, measures = moment.model, moment.images, trainer.objective.measures
    validation = yield from with_fraction(
        trainer.objective.validate(moment.network, trainer.autocast), "Checking held-out characters"
    )
    yield Progress("Saving", 0, 1)
    save(out, moment, trainer, validation)
    yield Progress("Saving", 1, 1)
    learned = isinstance(model, TrainedCodec) or model.origin.config.codec.learned
    compared = validation and trainer.objective.validated == "σ" and not learned  # the reference is of pixels
    normal = reference(model.origin.config.codec.size, trainer.config.training.batch, images) if compared else None
    if validation:
        errors = {"reference": normal.error} if normal is not None else {}
        yield LogRow({"images": images, "validation": validation, **errors})

    path = out / "samples" / f"{images:09d}.png"
    if isinstance(model, TrainedCodec):
        yield from check_codec(model.codec, trainer.objective, images, path, validation)
        return validation
    if model.network.classifies or model.network.compares:
        shares = _shares(validation, compares=model.network.compares)
        yield Note(f"{images:,} pictures, {shares}", "checkpoint", {"images": images, "validation": validation})
        return validation
    facts = {"images": images, "validation": validation, "samples": path}
    if model.network.enlarges:
        upscaler = Upscaler.of(model, trainer.device, SHEET_COUNT, trainer.precision)
        yield from draw_enlarged(upscaler, trainer.objective, images, path)
        yield Note(f"{images:,} pictures{_in_words(measures, validation, None)}: {path}", "checkpoint", facts)
        return validation
    drawer = Drawer.of(model, trainer.device, precision=trainer.precision)
    few = model.few_step
    own = None
    if few is not None:
        low, high = few.guidance
        guidance = min(max(Recipe().guidance, low), high)
        own = Recipe(sampler=FEW_STEP, steps=few.passes or max(PASSES), guidance=guidance)
    yield from draw_samples(drawer, trainer.objective, images, path, own)
    measured = _in_words(measures, validation, normal) if few is None else _by_passes(validation)
    yield Note(f"{images:,} pictures{measured}: {path}", "checkpoint", facts)
    if model.images < _STROKES_APPEAR and not model.network.one_pass:
        text = f"before some {_STROKES_APPEAR:,} pictures samples look like noise, then like smudges"
        yield Note(text, "samples-still-noisy", {"until_images": _STROKES_APPEAR})
    if evaluator is not None:
        metrics = yield from evaluator(drawer, own)
        yield LogRow({"images": images, "evaluation": metrics.as_dict()})
        yield Note(metrics.summary(), "checkpoint-metrics", metrics.as_dict())
    return validation


def _shares(validation: dict[float, float], *, compares: bool) -> str:
    where = "among the first" if compares else "at"
    shares = ", ".join(f"{share:.1%} {where} {value:g}" for value, share in validation.items())
    what = "held-out definitions found by their glyph" if compares else "radicals named of held-out characters by σ"
    return f"{what}: {shares}" if shares else "and no character is held out"


def _by_passes(validation: dict[float, float]) -> str:
    parts = [f"{error:.4f} at {passes:.0f}" for passes, error in validation.items()]
    return f", squared difference from the teacher {', '.join(parts)} passes" if parts else ""


def _in_words(measures: str, validation: dict[float, float], normal: Reference | None) -> str:
    if not validation:
        return ""
    losses = validation.values()
    verdict = f" ({normal.verdict(validation)})" if normal is not None else ""
    return f", {measures} {sum(losses) / len(losses):.4f}{verdict}"
