"""`glyffctl evaluate` of what gives pictures back instead of drawing them: a codec, or an upscaler."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from glyffctl.core.codecs.pixels import to_pixels, to_unit
from glyffctl.core.data.dataset import GlyphSet
from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.data.split import held_out
from glyffctl.core.data.subset import evenly_spaced
from glyffctl.core.device import choose_device
from glyffctl.core.errors import DataError, GlyffError, UsageError
from glyffctl.core.evaluation.classifier_training import HOLDOUT
from glyffctl.core.evaluation.reconstruction import reconstruction_rows
from glyffctl.core.io.names import utf8_name
from glyffctl.core.models.checkpoint import MODEL_FILE, Origin, load_model, load_origin
from glyffctl.core.models.codec_file import is_codec, load_codec
from glyffctl.core.models.files import enlarges
from glyffctl.core.models.upscaler import Upscaler, enlarge_smoothly, reduced
from glyffctl.core.precision import check_precision
from glyffctl.workflows.events import Caution, Event, Note, Progress, with_progress
from glyffctl.workflows.held_out import HeldOutOptions, HeldOutReport, check_out, write_report

_CODED_AT_ONCE = 16  # pictures


@dataclass(frozen=True, kw_only=True)
class RestorationOptions(HeldOutOptions):
    """The options of `restoration`: of a codec or an upscaler, see `restores`.

    For an upscaler the data are as large as it draws them, and the noise of its picture k has seed + k.

    Attributes:
        pictures: the most glyphs of held-out characters.
        batch: most pictures that an upscaler draws at once.
        precision: of an upscaler, as in `sample`.
    """

    pictures: int = 64
    batch: int = 4
    precision: str = "auto"

    def __post_init__(self) -> None:
        """Raise UsageError for values out of range."""
        super().__post_init__()
        for name, value in (("pictures", self.pictures), ("batch", self.batch)):
            if value < 1:
                raise UsageError(f"--{name} must be at least 1, not {value}")
        check_precision(self.precision)


def restores(path: Path | None) -> bool:
    """Whether what is at `path` gives pictures back: a codec, or an upscaler."""
    return path is not None and (is_codec(path) or enlarges(path / MODEL_FILE if path.is_dir() else path))


def restoration(options: RestorationOptions) -> Generator[Event, None, HeldOutReport]:
    """Measure how held-out glyphs come back.

    Raises:
        GlyffError: the model, the data or the output cannot be used.
    """
    started = time.perf_counter()
    check_out(options.out)
    device = choose_device(options.device)
    measured = _measure_codec if is_codec(options.model) else _measure_upscaler
    model, glyphs, index, made = yield from measured(options, device)
    yield Progress("Measuring", 0, 1)
    figures = reconstruction_rows(made, glyphs.images(index)[:, 0])
    yield Progress("Measuring", 1, 1)
    report = HeldOutReport(
        out=options.out,
        model={"path": utf8_name(options.model), **model},
        data={"path": utf8_name(options.data), "fingerprint": glyphs.fingerprint(), "held_out": len(index)},
        figures=figures,
        seconds=time.perf_counter() - started,
    )
    write_report(report)
    return report


_Measured = tuple[dict[str, Any], GlyphSet, Tensor, dict[str, Tensor]]
"""Facts about the model, the glyphs, those measured, and by what made them the pictures (N, H, W) uint8."""


def _measure_codec(options: RestorationOptions, device: torch.device) -> Generator[Event, None, _Measured]:
    codec = load_codec(options.model)
    glyphs, index = yield from _held(options, codec.size, _origin(options.model))
    channels, side, _ = codec.shape
    yield Note(
        f"codec: {options.model}, {codec.size}×{codec.size} pixels as {channels} channels at {side}×{side}",
        "model-chosen",
        {"model": options.model, "shape": codec.shape},
    )
    again, done = [], 0
    for rows in index.split(_CODED_AT_ONCE):
        yield Progress("Coding", done, len(index), "pictures")
        again.append(codec.decode(codec.encode(glyphs.images(rows)[:, 0].to(device))).cpu())
        done += len(rows)
    yield Progress("Coding", done, len(index), "pictures")
    return {"kind": "codec", "weights": codec.identity}, glyphs, index, {"codec": torch.cat(again)}


def _measure_upscaler(options: RestorationOptions, device: torch.device) -> Generator[Event, None, _Measured]:
    model = load_model(options.model)
    upscaler = Upscaler.of(model, device, options.batch, options.precision)
    size, scale = upscaler.config.size, upscaler.config.scale
    own = open_glyphs(options.data)
    if own.fonts and own.size < size:
        raise DataError(
            f"{options.data} has pictures of {own.size}×{own.size}, the upscaler draws {size}×{size}; make larger ones "
            f"with `glyffctl prepare --size {size} --out data-{size}`, and name them with --data"
        )
    glyphs, index = yield from _held(options, size, model.origin)
    yield Note(
        f"upscaler: {options.model}, {model.history}; {upscaler.recipe.summary()}",
        "model-chosen",
        {"model": options.model, "history": model.history},
    )
    small = torch.cat([reduced(to_unit(glyphs.images(rows)), scale) for rows in index.split(_CODED_AT_ONCE)])
    enlarged = [to_pixels(enlarge_smoothly(some, scale))[:, 0] for some in small.split(_CODED_AT_ONCE)]
    seeds = options.seed + torch.arange(len(index))
    drawing = upscaler.enlarge(to_pixels(small)[:, 0], seeds, size)
    drawn = yield from with_progress(drawing, Progress("Enlarging", 0, len(index), "pictures"))
    facts = {
        "kind": "upscaler",
        "weights": model.identity,
        "pictures": model.images,
        "recipe": upscaler.recipe.as_plain() | {"precision": upscaler.precision, "seed": options.seed},
    }
    return facts, glyphs, index, {"upscaler": drawn, "bicubic": torch.cat(enlarged)}


def _origin(codec: Path) -> Origin | None:
    """What a codec was trained with, where its run says so."""
    try:
        return load_origin(codec if codec.is_dir() else codec.parent)
    except GlyffError:
        return None


def _held(
    options: RestorationOptions, size: int, origin: Origin | None
) -> Generator[Event, None, tuple[GlyphSet, Tensor]]:
    """The glyphs at this size, and which of them are measured."""
    glyphs = open_glyphs(options.data, size)
    held = held_out(glyphs, HOLDOUT).nonzero().flatten()
    if not len(held):
        raise DataError(f"{options.data} has no glyph of a character that is held out; prepare more characters")
    if origin is None:
        yield Caution(
            "the model's training data are not known: if it was trained on the held-out characters, figures are better "
            "than they should be",
            "training-data-unknown",
        )
    elif origin.config.training.holdout < HOLDOUT:
        yield Caution(
            "the model was trained on some of the characters that are held out here: figures may be better than they "
            "should be",
            "trained-on-holdout",
        )
    return glyphs, evenly_spaced(held, options.pictures)
