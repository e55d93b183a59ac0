"""The files that `sample` writes: sheets, single pictures, GIFs and their names. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from glyffctl.core.data.captions import radical_name
from glyffctl.core.errors import FontError, UsageError
from glyffctl.core.io.atomic import check_writable
from glyffctl.core.io.images import Array, near_square, save_gif, save_png, sheet
from glyffctl.core.io.svg import SUFFIX
from glyffctl.workflows.events import Event
from glyffctl.workflows.sample_options import FORMATS, GIF_BESIDE_PICTURE, SampleOptions
from glyffctl.workflows.sample_outlines import titles, write_outlines

GIF_FRAMES = 60
"""The most that a GIF has."""


def check_outputs(options: SampleOptions) -> None:
    """Raise errors about files that cannot be written before drawing, not after."""
    if options.out is not None:
        check_output(options.out, FORMATS)
    if options.gif == GIF_BESIDE_PICTURE:
        if options.out is not None:
            check_writable(_gif_path(options.out, options))
    elif options.gif is not None:
        if options.gif.suffix.lower() != ".gif" or options.gif.is_dir():
            raise UsageError(f"--gif takes a file ending in .gif, not {options.gif}")
        check_writable(options.gif)


def check_output(out: Path, formats: tuple[str, ...] = ("png",)) -> None:
    """Raise UsageError or OutputError unless `out` can be a file of one of the formats, or a folder."""
    if out.suffix.lower() not in ("", *(f".{name}" for name in formats)) and not out.is_dir():
        raise UsageError(f"--out takes a .{' or .'.join(formats)} file or a folder, not {out}")
    check_writable(out)


def write_pictures(
    options: SampleOptions, settings: Callable[[SampleOptions], dict[str, Any]], pictures: Array, frames: list[Array]
) -> Generator[Event, None, list[Path]]:
    """Write the sheet or the single pictures, as PNG or SVG, and the GIF.

    Args:
        options: as the pictures were drawn.
        settings: what a file records of its options.
        pictures: (P·count, H, W) uint8, prompt after prompt.
        frames: of the GIF, each of the same shape.

    Returns:
        The files written.
    """
    out = options.out or unused(
        Path(f"{_slug(_name(options))}{options.ending}"), with_gif=options.gif == GIF_BESIDE_PICTURE
    )
    font = _title_font(options.prompts)
    if len(pictures) == 1:
        options = replace(options, only=0)  # one glyph has no margin
    if options.is_sheet:
        named = [(options, out)]
    else:
        numbers = range(len(pictures)) if options.only is None else [options.only]
        named = [(replace(options, only=k), out / single_name(options, k)) for k in numbers]
    files = [file for _, file in named]
    if options.ending == SUFFIX:
        yield from write_outlines(named, settings, pictures)
    else:
        for one, file in named:
            save_png(file, _sheet(one, pictures, font), settings(one))
    if options.gif is not None:
        gif = _gif_path(out, options) if options.gif == GIF_BESIDE_PICTURE else options.gif
        save_gif(gif, [_sheet(options, frame, font) for frame in frames], options.fps)
        files.append(gif)
    return files


def single_name(options: SampleOptions, k: int) -> str:
    """The file name of picture k, counted over all prompts, in a folder of single pictures."""
    prompt, number = divmod(k, options.count)
    name = f"{prompt:03d}-" if len(options.prompts) > 1 else ""
    return f"{name}{_slug(_name(options, options.prompts[prompt]))}-{options.seed + number}{options.ending}"


def _title_font(prompts: tuple[str, ...]) -> Path | None:
    """A font for the prompts as titles: the system's Chinese font if a prompt has letters beyond Latin."""
    if all(character < "\u0250" for prompt in prompts for character in prompt):
        return None
    from glyffctl.core.data.fonts import system_fonts  # noqa: PLC0415 - hardly ever needed, and slow to import

    try:
        return system_fonts()[0]
    except FontError:
        return None


def _sheet(options: SampleOptions, pictures: Array, font: Path | None) -> Image.Image:
    """A sheet: one prompt fills a near square; several get a row each, with the prompt above it."""
    if options.only is not None:
        return Image.fromarray(pictures[options.only])
    if len(options.prompts) == 1:
        return sheet(pictures, near_square(options.count))
    return sheet(pictures, options.count, titles=titles(options.prompts), font=font)


def _name(options: SampleOptions, *prompts: str) -> str:
    """What is drawn, in words; of all prompts unless some are given."""
    radical = [] if options.lead is None else [radical_name(options.lead.radical)]
    return " ".join([*(prompts or options.prompts), *radical])


def _slug(prompt: str) -> str:
    """A file name for a prompt: letters, digits and hyphens only, so that no prompt can lead to another folder."""
    return re.sub(r"[^\w]+", "-", prompt.lower()).strip("-_")[:40].rstrip("-_") or "unconditional"


def _gif_path(out: Path, options: SampleOptions) -> Path:
    """The default GIF: named after the sheet, or after the prompts in a folder of single pictures."""
    if not options.is_sheet:
        return out / f"{_slug(_name(options))}.gif"
    return out.with_suffix(".gif")


def unused(path: Path, *, with_gif: bool = False) -> Path:
    """`path`, with a number behind its name if it exists, or if `with_gif` and its GIF exists."""
    number = 1
    candidate = path
    while candidate.exists() or (with_gif and candidate.with_suffix(".gif").exists()):
        number += 1
        candidate = path.with_stem(f"{path.stem}-{number}")
    return candidate
