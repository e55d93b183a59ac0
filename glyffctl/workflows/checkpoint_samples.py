"""Drawing at a checkpoint: a sheet of samples, and pictures for metrics."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import torch

from glyffctl.core.codecs.pixels import to_pixels, to_unit
from glyffctl.core.data.subset import evenly_spaced
from glyffctl.core.errors import EmbeddingError
from glyffctl.core.io.images import near_square, save_png, sheet
from glyffctl.core.models.drawer import Drawer
from glyffctl.core.models.files import EncoderInfo
from glyffctl.core.models.recipe import ONE_PASS, Recipe
from glyffctl.core.models.text_tower import open_encoder
from glyffctl.core.models.upscaler import Upscaler, enlarge_smoothly, reduced
from glyffctl.core.training.objective import Objective
from glyffctl.workflows.checkpoint_metrics import FEWEST_REAL, CheckpointEvaluator
from glyffctl.workflows.events import Caution, Event, Progress, with_progress

SHEET_RECIPE = Recipe(steps=20, guidance=4.0)
SHEET_COUNT = 16
_ENLARGED = 4


def draw_samples(
    drawer: Drawer, objective: Objective, images: int, path: Path, recipe: Recipe | None = None
) -> Generator[Event, None, None]:
    """Write a sheet of glyphs for held-out captions, always with the same noise.

    Args:
        drawer: with the averaged weights.
        objective: with the data.
        images: pictures trained on so far, recorded in the PNG.
        path: of the PNG.
        recipe: how to draw; None is `SHEET_RECIPE`, or `ONE_PASS` for what draws in one pass.

    Raises:
        OutputError: the path cannot be written.
    """
    index = objective.validation_index if len(objective.validation_index) else objective.train_index
    index = evenly_spaced(index.repeat_interleave(-(-SHEET_COUNT // len(index))), SHEET_COUNT)
    glyphs, embeddings = objective.data.glyphs, objective.data.embeddings
    caption = glyphs.caption_of[index]
    condition = embeddings.batch(caption.to(drawer.device))
    recipe = recipe or (ONE_PASS if objective.network.one_pass else SHEET_RECIPE)
    drawing = drawer.draw(recipe, condition, torch.arange(SHEET_COUNT))
    pictures = yield from with_progress(drawing, Progress("Drawing samples", 0, SHEET_COUNT, "pictures"))
    captions = [glyphs.captions[i] for i in caption.tolist()]
    image = sheet(pictures, near_square(SHEET_COUNT))
    save_png(path, image, {"captions": captions, **recipe.as_plain(), "images": images})


def draw_enlarged(upscaler: Upscaler, objective: Objective, images: int, path: Path) -> Generator[Event, None, None]:
    """Write a sheet of some held-out glyphs: interpolated, by the upscaler, and as the font draws them.

    Args:
        upscaler: with the averaged weights.
        objective: with the data.
        images: pictures trained on so far, recorded in the PNG.
        path: of the PNG.

    Raises:
        OutputError: the path cannot be written.
    """
    index = objective.validation_index if len(objective.validation_index) else objective.train_index
    index = evenly_spaced(index, _ENLARGED)
    real = objective.data.glyphs.images(index)
    small = reduced(to_unit(real), upscaler.config.scale)
    drawing = upscaler.enlarge(to_pixels(small)[:, 0], index, upscaler.config.size)
    drawn = yield from with_progress(drawing, Progress("Drawing samples", 0, len(index), "pictures"))
    smooth = to_pixels(enlarge_smoothly(small, upscaler.config.scale))[:, 0]
    rows = torch.stack([smooth, drawn, real[:, 0]], dim=1).flatten(0, 1)
    save_png(path, sheet(rows, 3), {"columns": ["bicubic", "upscaler", "real"], "images": images})


def load_evaluator(objective: Objective, known: EncoderInfo) -> Generator[Event, None, CheckpointEvaluator | None]:
    """Make the evaluator of checkpoints, or None, with a caution, if its prompts cannot be encoded.

    Args:
        objective: with the data.
        known: the text encoder of the embeddings.
    """
    try:
        encoder = open_encoder(known.name, max_tokens=known.max_tokens)
    except EmbeddingError as error:
        yield Caution(f"training.evaluate is skipped: {error}", "metrics-skipped")
        return None
    if encoder.fingerprint != known.fingerprint:
        yield Caution(
            f"training.evaluate is skipped: {known.name} is no longer the encoder of the embeddings", "metrics-skipped"
        )
        return None
    held = objective.validation_index
    index = held if len(held) >= FEWEST_REAL else objective.train_index
    return CheckpointEvaluator(encoder, objective.data.glyphs, index)
