"""A checkpoint of an autoencoder: a sheet of glyphs beside what comes back of them, and what their strokes lost."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import torch

from glyffctl.core.codecs.latents import Latents
from glyffctl.core.data.subset import evenly_spaced
from glyffctl.core.evaluation.strokes import measure_strokes
from glyffctl.core.io.images import save_png, sheet
from glyffctl.core.training.objective import Objective
from glyffctl.workflows.events import Event, Note

_MIDDLE = 128.0  # of the greys that pixels are validated at
_MEASURED = 64  # glyphs
_SHOWN = 16
_COLUMNS = 8


def check_codec(
    codec: Latents, objective: Objective, images: int, path: Path, validation: dict[float, float]
) -> Generator[Event, None, None]:
    """Write a sheet of glyphs, each row above what comes back of it, and note how well they do.

    Args:
        codec: of the averaged weights.
        objective: with the data.
        images: pictures trained on so far, recorded in the PNG.
        path: of the PNG.
        validation: of the objective.

    Raises:
        OutputError: the path cannot be written.
    """
    held = objective.validation_index
    index = evenly_spaced(held if len(held) else objective.train_index, _MEASURED)
    real = objective.data.glyphs.images(index)[:, 0]
    again = codec.decode(codec.encode(real.to(objective.device))).cpu()
    widths = [measure_strokes(pictures).width.double() for pictures in (real, again)]
    thicker = float(widths[1].sum() / widths[0].sum().clamp(min=1e-9)) - 1
    rows = evenly_spaced(torch.arange(len(index)), _SHOWN).split(_COLUMNS)
    pairs = [part[row] for row in rows for part in (real, again)]
    save_png(path, sheet(torch.cat(pairs), min(_COLUMNS, len(rows[0]))), {"images": images})
    measured = f", {validation[_MIDDLE]:.2%} of held-out pixels on the wrong side of grey" if validation else ""
    yield Note(
        f"{images:,} pictures{measured}, strokes {thicker:+.1%} wide: {path}",
        "checkpoint",
        {"images": images, "validation": validation, "stroke_width": thicker, "samples": path},
    )
