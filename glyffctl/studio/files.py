"""What the page saves: PNG, SVG, GIF and fonts, written by the functions of `sample` and `export` in a folder of ours.

A browser names glyphs of the gallery, never a file.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from glyffctl.core.errors import UsageError
from glyffctl.core.io.images import Array, save_png, sheet
from glyffctl.core.io.svg import Shape, save_svg
from glyffctl.core.outlines.trace import trace
from glyffctl.studio.gallery import Glyph, as_png
from glyffctl.workflows.events import finish
from glyffctl.workflows.export_font import FontOptions, export_font
from glyffctl.workflows.sample_files import single_name, write_pictures

MEDIA_TYPES = {
    "png": "image/png",
    "svg": "image/svg+xml",
    "gif": "image/gif",
    "ttf": "font/ttf",
    "otf": "font/otf",
    "woff2": "font/woff2",
}
FPS = 8.0
"""Frames a second of a GIF."""


def file_name(glyph: Glyph) -> str:
    """The name, without an ending, under which a glyph is saved; each in a session has its own."""
    stem = Path(single_name(glyph.options, glyph.number)).stem
    return f"{stem}-{glyph.name.partition('-')[0]}"


def write_png(glyph: Glyph, path: Path) -> None:
    """Write the PNG of a glyph.

    Raises:
        OutputError: the disk is full.
    """
    save_png(path, Image.fromarray(glyph.pixels), glyph.settings)


def picture_file(glyph: Glyph, ending: str) -> bytes:
    """The content of a file: a glyph as "png", "svg" or "gif", as `sample` writes it.

    Raises:
        UsageError: its steps are no longer kept, for a GIF.
        OutputError: the disk is full.
    """

    def write(folder: Path) -> Path:
        out = folder / f"glyph.{'svg' if ending == 'svg' else 'png'}"
        gif = folder / "glyph.gif" if ending == "gif" else None
        options = replace(glyph.options, out=out, gif=gif, fps=FPS)
        frames = [_every(step, options.count) for step in glyph.steps()] if gif else []
        if gif and not frames:
            raise UsageError("the steps of this drawing are no longer kept; draw it again")
        finish(write_pictures(options, lambda _: glyph.settings, _every(glyph.pixels, options.count), frames))
        return gif or out

    return _written(write)


def large_file(glyph: Glyph, ending: str) -> bytes:
    """The content of a file: an enlarged glyph as "png" or "svg".

    Raises:
        UsageError: it was not enlarged.
        OutputError: the disk is full.
    """
    if glyph.large is None:
        raise UsageError("this glyph was not enlarged; enlarge it first")
    large, settings = glyph.large

    def write(folder: Path) -> Path:
        out = folder / f"glyph.{ending}"
        if ending == "svg":
            save_svg(out, large.shape, [Shape(trace(large).as_path())], settings, glyph.prompt or "(no prompt)")
        else:
            save_png(out, Image.fromarray(large), settings)
        return out

    return _written(write)


def font_file(glyphs: Sequence[Glyph], ending: str, name: str) -> bytes:
    """The content of a font of the glyphs, as `export` makes it.

    Raises:
        GlyffError: there is no glyph with ink, the name is too long, or the format needs a package.
    """
    if not glyphs:
        raise UsageError("collect some glyphs first; a font needs one")

    def write(folder: Path) -> Path:
        out = folder / f"font.{ending}"
        pictures = folder / "pictures"
        pictures.mkdir()
        options = FontOptions(pictures=(pictures,), format=ending, out=out, name=name)  # type: ignore[arg-type]
        for k, glyph in enumerate(glyphs):
            write_png(glyph, pictures / f"{k:04d}.png")
        finish(export_font(options))
        return out

    return _written(write)


def film_strip(glyph: Glyph) -> bytes:
    """A PNG of the steps of a glyph's drawing, from left to right.

    Raises:
        UsageError: they are no longer kept.
    """
    steps = glyph.steps()
    if not steps:
        raise UsageError("the steps of this drawing are no longer kept; draw it again")
    return as_png(sheet(np.stack(steps), len(steps), gap=0))


def thumbnail(glyph: Glyph) -> str:
    """A PNG of the glyph, in base64."""
    return base64.b64encode(as_png(Image.fromarray(glyph.pixels))).decode()


def _every(picture: Array, count: int) -> Array:
    """(count, H, W): the picture at every place of a sheet, of which one is written."""
    return np.broadcast_to(picture, (count, *picture.shape))


def _written(write: Callable[[Path], Path]) -> bytes:
    with TemporaryDirectory(prefix="glyffctl-studio-") as folder:
        return write(Path(folder)).read_bytes()
