"""Generated pictures for the map: those of `glyffctl sample`, and the steps of one that is drawn for it."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from glyffctl.core.diffusion.samplers import Step
from glyffctl.core.errors import UsageError
from glyffctl.core.io.bundled import model_name
from glyffctl.core.io.images import near_square, read_png, split_sheet
from glyffctl.core.models.drawer import Drawer
from glyffctl.core.models.recipe import Recipe
from glyffctl.workflows.events import Event, Note, Progress, with_progress
from glyffctl.workflows.find_model import find_model
from glyffctl.workflows.models import load_any, load_text_encoder
from glyffctl.workflows.sample_options import SampleOptions, options_from_picture
from glyffctl.workflows.words import warn_of_unknown_words

MOST_PICTURES = 400


@dataclass(frozen=True, eq=False)
class GeneratedPicture:
    """A generated picture, or the steps of its generation."""

    label: str
    """The prompt."""
    pictures: Tensor  # (S, H, W) uint8: one, or the model's prediction of x0 after each step
    file: Path | None = None


def load_pictures(paths: Sequence[Path], size: int) -> list[GeneratedPicture]:
    """Load all pictures in files of `glyffctl sample`, or in the PNGs of folders.

    Args:
        paths: files and folders.
        size: the height and width that the glyphs must have, in pixels.

    Raises:
        GlyffError: a file is not such a picture, or its glyphs have another size.
    """
    files: list[Path] = []
    for path in paths:
        found = sorted(path.glob("*.png")) if path.is_dir() else [path]
        if not found:
            raise UsageError(f"{path} holds no PNG; name pictures of `glyffctl sample`")
        files += found
    made = [options_from_picture(file) for file in files]
    count = sum(len(options.prompts) * options.count if options.only is None else 1 for options in made)
    if count > MOST_PICTURES:
        raise UsageError(f"--with names {count:,} pictures; a map shows at most {MOST_PICTURES}")
    pictures = [one for file, options in zip(files, made, strict=True) for one in _pictures(file, options)]
    for one in pictures:
        if one.pictures.shape[-1] != size:
            has = one.pictures.shape[-1]
            raise UsageError(
                f"the glyphs in {one.file} have {has}×{has} pixels, those of the data {size}×{size}; draw with a model "
                "of that size, or name other data with --data"
            )
    return pictures


def _pictures(file: Path, options: SampleOptions) -> list[GeneratedPicture]:
    with read_png(file) as image:
        if options.only is not None:
            prompt = options.prompts[options.only // options.count]
            if image.width != image.height:
                raise UsageError(f"{file} is not the square picture that its settings describe")
            pixels = torch.frombuffer(bytearray(image.convert("L").tobytes()), dtype=torch.uint8)
            return [GeneratedPicture(prompt, pixels.view(1, image.height, image.width), file)]
        several = len(options.prompts) > 1
        columns = options.count if several else near_square(options.count)
        try:
            pictures = torch.from_numpy(
                split_sheet(image, len(options.prompts) * options.count, columns, titled=several)
            )
        except UsageError as error:
            raise UsageError(f"{file}: {error}; name the picture as `glyffctl sample` wrote it") from error
    prompts = [prompt for prompt in options.prompts for _ in range(options.count)]
    return [GeneratedPicture(prompt, picture[None], file) for prompt, picture in zip(prompts, pictures, strict=True)]


def trace_sampling(
    prompt: str, model: Path | None, encoder: str | None, seed: int, size: int, device: torch.device
) -> Generator[Event, None, GeneratedPicture]:
    """Draw one glyph with the default recipe, and keep the model's prediction of x0 after each step.

    Args:
        prompt: what to draw.
        model: a run folder or model file; None is the default.
        encoder: the model's text encoder, if it was moved.
        seed: of the picture.
        size: height and width of the glyphs in the map, in pixels.
        device: where to draw.

    Raises:
        GlyffError: the model or its encoder cannot be used, or it draws at another size.
    """
    path, why = yield from find_model(model, hub=True)
    loaded = load_any(path)
    if loaded.codec.size != size:
        has = loaded.codec.size
        raise UsageError(
            f"the model at {model_name(path)} draws {has}×{has} pixels, the data have {size}×{size}; name another "
            "with --model"
        )
    yield Note(f"model: {model_name(path)}{why}", "model-chosen", {"model": path})
    drawer = Drawer.of(loaded, device, 1)
    if loaded.encodes_empty or prompt.strip():
        loaded_encoder = yield from load_text_encoder(loaded, encoder)
        yield from warn_of_unknown_words(loaded_encoder, [prompt])
        drawer = drawer.with_encoder(loaded_encoder)
    text = drawer.encode([prompt])
    predictions: list[Tensor] = []

    def keep(step: Step) -> None:
        predictions.append(drawer.pictures(step.x0))

    recipe = loaded.full_recipe if loaded.network.one_pass else Recipe()
    drawing = drawer.draw(recipe, text, torch.tensor([seed]), watch=keep)
    yield from with_progress(drawing, Progress(f"Drawing {prompt[:30]!r}", 0, 1, "glyphs"))
    return GeneratedPicture(prompt or "(no prompt)", torch.cat(predictions))
