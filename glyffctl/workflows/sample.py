"""`glyffctl sample`: draw pictures of prompts; each PNG records how it was made."""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from glyffctl.core.data.fonts import system_fonts
from glyffctl.core.data.subset import evenly_spaced
from glyffctl.core.device import choose_device
from glyffctl.core.diffusion.samplers import Step
from glyffctl.core.errors import FontError, ModelError, UsageError
from glyffctl.core.io.atomic import check_writable
from glyffctl.core.io.bundled import BUNDLED, model_name
from glyffctl.core.io.images import near_square, save_gif, save_png, sheet
from glyffctl.core.models.checkpoint import Model
from glyffctl.core.models.drawer import Drawer
from glyffctl.core.models.generate import Recipe
from glyffctl.workflows.events import Caution, Event, Note, Progress, with_progress
from glyffctl.workflows.models import choose_recipe, find_model, load_any, load_text_encoder
from glyffctl.workflows.sample_options import GIF_BESIDE_PICTURE, SampleOptions, to_settings
from glyffctl.workflows.words import shorten, warn_of_unknown_words

_GIF_FRAMES = 60


@dataclass(frozen=True)
class SampleReport:
    """Result of `sample`.

    Attributes:
        files: the files written.
        model: the model that drew them.
        seconds: spent drawing.
    """

    files: list[Path]
    model: Path
    seconds: float


def sample(options: SampleOptions) -> Generator[Event, None, SampleReport]:
    """Draw pictures of prompts and write them.

    Raises:
        GlyffError: the model, its encoder or the output cannot be used.
    """
    _check_outputs(options)
    device = choose_device(options.device)
    if options.typed and len(options.prompts) > 1 and all(len(prompt.split()) == 1 for prompt in options.prompts):
        yield Caution(
            f"{len(options.prompts):,} prompts: {shorten(', '.join(options.prompts))}; if they are one, put it in "
            f'quotes: "{shorten(" ".join(options.prompts))}"',
            "prompts-unquoted",
            {"prompts": options.prompts},
        )
    path, why = yield from find_model(options.model, hub=True)
    yield Progress("Loading the model", 0, 1)
    model = load_any(path)
    yield Progress("Loading the model", 1, 1)
    recipe = choose_recipe(model, options.recipe, options.guidance, negative=bool(options.negative.strip()))
    if options.weights not in (None, model.identity_of(recipe)):
        if model_name(path) == Path(BUNDLED):
            raise ModelError(
                "the picture was drawn with the bundled weights of another version of glyffctl; only that version can "
                "redraw it"
            )
        raise ModelError(f"the model at {model_name(path)} has other weights than the one that drew the picture")
    yield Note(
        f"model: {model_name(path)}{why}, {model.history}", "model-chosen", {"model": path, "history": model.history}
    )
    with _thread_count(options.threads):
        return (yield from _sample(options, recipe, model, path, device))


def _sample(
    options: SampleOptions, recipe: Recipe, model: Model, path: Path, device: torch.device
) -> Generator[Event, None, SampleReport]:
    drawer = yield from _make_drawer(options, model, device)
    started = time.perf_counter()
    yield from _warn_of_rounding(options, device)
    pictures, frames = yield from _draw(options, recipe, drawer)
    seconds = time.perf_counter() - started
    made = replace(options, precision=drawer.precision, threads=torch.get_num_threads(), drawn_on=device.type)
    files = _write(made, recipe, model, path, pictures, frames)
    yield Note(
        f"drew {len(pictures):,} {'picture' if len(pictures) == 1 else 'pictures'} in {seconds:.1f} s: "
        f"{recipe.summary()}",
        "pictures-drawn",
        {"pictures": len(pictures), "seconds": seconds, **recipe.as_plain()},
    )
    return SampleReport(files, model_name(path), seconds)


def _warn_of_rounding(options: SampleOptions, device: torch.device) -> Generator[Event, None, None]:
    """Warn if a picture is redrawn on another kind of device or with fewer threads: sums are rounded differently."""
    if options.drawn_on not in (None, device.type):
        yield Caution(
            f"the picture was drawn on {options.drawn_on}, not {device.type}: pixels may differ by rounding",
            "other-device",
            {"drawn_on": options.drawn_on, "device": device.type},
        )
    elif device.type == "cpu" and options.threads is not None and options.threads > _processors():
        yield Caution(
            f"the picture was drawn with {options.threads:,} threads, this machine has {_processors()} processors: "
            "pixels may differ by rounding",
            "fewer-processors",
            {"threads": options.threads, "processors": _processors()},
        )


def _processors() -> int:
    """Processors that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _thread_count(count: int | None) -> Iterator[None]:
    """Compute with `count` threads in this block, because the last digits of sums depend on their number.

    None changes nothing, and neither does a count above the machine's processors.
    """
    before = torch.get_num_threads()
    if count is not None and count <= _processors():
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _check_outputs(options: SampleOptions) -> None:
    """Raise errors about files that cannot be written before drawing, not after."""
    if options.out is not None:
        if options.out.suffix.lower() not in ("", ".png") and not options.out.is_dir():
            raise UsageError(f"--out takes a .png file or a folder, not {options.out}")
        check_writable(options.out)
    if options.gif == GIF_BESIDE_PICTURE:
        if options.out is not None:
            check_writable(_gif_path(options.out, options))
    elif options.gif is not None:
        if options.gif.suffix.lower() != ".gif" or options.gif.is_dir():
            raise UsageError(f"--gif takes a file ending in .gif, not {options.gif}")
        check_writable(options.gif)


def _make_drawer(options: SampleOptions, model: Model, device: torch.device) -> Generator[Event, None, Drawer]:
    """Make the drawer; its text encoder is loaded only if there is text to encode."""
    texts = [*options.prompts, options.negative]
    if not model.encodes_empty and not any(text.strip() for text in texts):
        return Drawer.of(model, device, options.batch, options.precision)
    encoder = yield from load_text_encoder(model, options.encoder)
    yield from warn_of_unknown_words(encoder, texts)
    for text in texts:
        if encoder.is_cut(text):
            yield Caution(
                f"only the first {encoder.max_tokens} tokens are used of: {text[:60]}…",
                "prompt-cut",
                {"prompt": text, "max_tokens": encoder.max_tokens},
            )
    return Drawer.of(model, device, options.batch, options.precision, encoder)


def _draw(
    options: SampleOptions, recipe: Recipe, drawer: Drawer
) -> Generator[Event, None, tuple[Tensor, list[Tensor]]]:
    """Draw pictures (P·count, H, W) uint8, prompt after prompt, and for a GIF its frames, each of the same shape."""
    prompts, negative = drawer.encode(options.prompts), drawer.encode([options.negative])
    prompt = torch.arange(len(options.prompts)).repeat_interleave(options.count)
    seeds = options.seed + torch.arange(options.count).repeat(len(options.prompts))
    kept = set(evenly_spaced(torch.arange(recipe.steps), _GIF_FRAMES).tolist())
    frames: dict[int, list[Tensor]] = {i: [] for i in sorted(kept)}

    def keep(step: Step) -> None:
        if step.i in kept:
            # The DDPM view of x has the scale of a picture at every noise level.
            frames[step.i].append(drawer.pictures(step.x / math.sqrt(1 + step.sigma**2)))

    drawing = drawer.draw(recipe, prompts.rows(prompt), seeds, negative=negative, watch=keep if options.gif else None)
    pictures = yield from with_progress(drawing, Progress("Drawing", 0, len(prompt), "pictures"))
    return pictures, [torch.cat(parts) for parts in frames.values()] if options.gif else []


def _write(
    options: SampleOptions, recipe: Recipe, model: Model, path: Path, pictures: Tensor, frames: list[Tensor]
) -> list[Path]:
    """Write the sheet or the single pictures, and the GIF; the paths of the files written."""
    encoder, weights = options.encoder or model.encoder.name, model.identity_of(recipe)
    out = options.out or _unused(
        Path(f"{_slug(' '.join(options.prompts))}.png"), with_gif=options.gif == GIF_BESIDE_PICTURE
    )
    font = _title_font(options.prompts)
    files = []
    if options.only is None and (out.suffix.lower() != ".png" or out.is_dir()):
        for k, picture in enumerate(pictures):
            prompt, number = divmod(k, options.count)
            name = f"{prompt:03d}-" if len(options.prompts) > 1 else ""
            file = out / f"{name}{_slug(options.prompts[prompt])}-{options.seed + number}.png"
            one = replace(options, only=k)
            save_png(
                file,
                Image.fromarray(picture.numpy()),
                to_settings(one, recipe, path, encoder, model.identity_of(recipe)),
            )
            files.append(file)
    else:
        image = _sheet(options, pictures, font)
        save_png(out, image, to_settings(options, recipe, path, encoder, weights))
        files.append(out)
    if options.gif is not None:
        gif = _gif_path(out, options) if options.gif == GIF_BESIDE_PICTURE else options.gif
        save_gif(gif, [_sheet(options, frame, font) for frame in frames], options.fps)
        files.append(gif)
    return files


def _title_font(prompts: tuple[str, ...]) -> Path | None:
    """A font for the prompts as titles: the system's Chinese font if a prompt has letters beyond Latin."""
    if all(character < "\u0250" for prompt in prompts for character in prompt):
        return None
    try:
        return system_fonts()[0]
    except FontError:
        return None


def _sheet(options: SampleOptions, pictures: Tensor, font: Path | None) -> Image.Image:
    """A sheet: one prompt fills a near square; several get a row each, with the prompt above it."""
    if options.only is not None:
        return Image.fromarray(pictures[options.only].numpy())
    if len(options.prompts) == 1:
        return sheet(pictures, near_square(options.count))
    return sheet(pictures, options.count, titles=[p or "(no prompt)" for p in options.prompts], font=font)


def _slug(prompt: str) -> str:
    """A file name for a prompt: letters, digits and hyphens only, so that no prompt can lead to another folder."""
    return re.sub(r"[^\w]+", "-", prompt.lower()).strip("-_")[:40].rstrip("-_") or "unconditional"


def _gif_path(out: Path, options: SampleOptions) -> Path:
    """The default GIF: named after the sheet, or after the prompts in a folder of single pictures."""
    if options.only is None and (out.suffix.lower() != ".png" or out.is_dir()):
        return out / f"{_slug(' '.join(options.prompts))}.gif"
    return out.with_suffix(".gif")


def _unused(path: Path, *, with_gif: bool = False) -> Path:
    """`path`, with a number behind its name if it exists, or if `with_gif` and its GIF exists."""
    number = 1
    candidate = path
    while candidate.exists() or (with_gif and candidate.with_suffix(".gif").exists()):
        number += 1
        candidate = path.with_stem(f"{path.stem}-{number}")
    return candidate
