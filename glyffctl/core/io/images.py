"""Sheets of glyphs, PNG files that hold the settings they were made with, and animations."""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin, UnidentifiedImageError

from glyffctl.core.errors import GlyffError, UsageError
from glyffctl.core.io.atomic import atomic_file
from glyffctl.core.io.reading import LARGEST_PICTURE, check_file, parse_json
from glyffctl.core.io.svg import SUFFIX, read_svg_settings

if TYPE_CHECKING:
    from torch import Tensor

Array = np.ndarray[Any, np.dtype[np.uint8]]

SETTINGS_KEY = "glyffctl"
_GIF_GREYS = 16
_MOST_PIXELS = 180_000_000  # bytes; a sheet of 10,000 glyphs of 128×128 has 174 million
_LAST_FRAME_MS = 1500
_GAP, _TITLE = 4, 22  # pixels of a sheet: between pictures, and a line of title


def sheet(
    pictures: Array | Tensor, columns: int, gap: int = _GAP, titles: Sequence[str] = (), font: Path | None = None
) -> Image.Image:
    """Lay out pictures in rows on white paper.

    Args:
        pictures: (N, H, W) uint8.
        columns: pictures in a row.
        gap: pixels between pictures and around them.
        titles: a line of text above each row, or none.
        font: the font of the titles; None is Pillow's own, which has no Han.
    """
    count, height, width = pictures.shape
    size, corners = sheet_places(count, columns, (width, height), gap, titled=bool(titles))
    canvas, line = Image.new("L", size, 255), _TITLE if titles else 0
    for picture, corner in zip(pictures, corners, strict=True):
        canvas.paste(Image.fromarray(np.asarray(picture)), corner)
    if titles:
        draw = ImageDraw.Draw(canvas)
        letters = ImageFont.load_default(15) if font is None else ImageFont.truetype(font, 15)
        for row, title in enumerate(titles):
            text = _fit(title, letters, canvas.width - 2 * gap)
            draw.text((gap, gap + line - 5 + row * (height + gap + line)), text, 0, letters, anchor="ls")
    return canvas


def sheet_places(
    count: int, columns: int, size: tuple[int, int], gap: int = _GAP, *, titled: bool
) -> tuple[tuple[int, int], list[tuple[int, int]]]:
    """Width and height of a sheet, and the left and upper edge of each picture in it, in pixels.

    Args:
        count: pictures.
        columns: pictures in a row.
        size: width and height of a picture.
        gap: as in `sheet`.
        titled: whether each row has a title.
    """
    (width, height), line, rows = size, _TITLE if titled else 0, -(-count // columns)
    places = [
        (gap + k % columns * (width + gap), gap + k // columns * (height + gap + line) + line) for k in range(count)
    ]
    return (columns * (width + gap) + gap, rows * (height + gap + line) + gap), places


def split_sheet(image: Image.Image, count: int, columns: int, *, titled: bool) -> Array:
    """Undo `sheet`: `count` square pictures (N, S, S) uint8, S from the width of the sheet.

    Args:
        image: the sheet.
        count: N.
        columns: pictures in a row.
        titled: whether each row has a title.

    Raises:
        UsageError: square pictures do not fill `image` that way.
    """
    size = (image.width - _GAP) // columns - _GAP
    whole, corners = sheet_places(count, columns, (size, size), titled=titled)
    if size < 1 or image.size != whole:
        raise UsageError(f"a sheet of {image.width}×{image.height} does not hold {count} pictures in rows of {columns}")
    pixels = np.array(image.convert("L"))
    return np.stack([pixels[top : top + size, left : left + size] for left, top in corners])


def _fit(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """`text` in one line, cut with an ellipsis where it is wider than `width` pixels."""
    text = " ".join(text.split())[:300]
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def near_square(count: int) -> int:
    """The number of columns that makes `count` pictures nearly a square, with full rows where possible.

    16 → 4, 12 → 4, 32 → 8, 2 → 2, 7 → 3.
    """
    side = math.isqrt(count - 1) + 1  # √count, rounded up
    for columns in range(side, math.isqrt(4 * count) + 1):  # up to four times as wide as high
        if count % columns == 0:
            return columns
    return side


def save_png(path: Path, image: Image.Image, settings: dict[str, Any] | None = None) -> None:
    """Write a PNG with `settings` as JSON in a text chunk.

    Raises:
        OutputError: the path cannot be written.
    """
    chunks = PngImagePlugin.PngInfo()
    if settings is not None:
        chunks.add_itxt(SETTINGS_KEY, json.dumps(settings, ensure_ascii=False))
    with atomic_file(path) as temporary:
        image.save(temporary, "PNG", pnginfo=chunks)


def read_png(path: Path) -> Image.Image:
    """Load a PNG.

    Raises:
        GlyffError: there is no such file, it is not a PNG, or it has more than 180 million bytes of pixels.
    """
    check_file(path, GlyffError, LARGEST_PICTURE)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own largest sheets exceed its limit
            with Image.open(path, formats=["PNG"]) as image:
                if image.width * image.height * len(image.getbands()) > _MOST_PIXELS:
                    raise ValueError(f"{image.width}×{image.height} pixels are too many")
                image.load()
                return image
    except UnidentifiedImageError:
        raise GlyffError(f"cannot read {path} as a PNG picture: it is none, or damaged") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise GlyffError(f"cannot read {path} as a PNG picture: {error}") from error


def read_settings(path: Path) -> dict[str, Any]:
    """Load the settings that `save_png` or `save_svg` wrote into `path`.

    Raises:
        GlyffError: see `read_png`.
        UsageError: the file has no such settings.
    """
    settings = read_svg_settings(path) if path.suffix.lower() == SUFFIX else settings_in(read_png(path))
    if not isinstance(settings, dict):
        raise UsageError(f"{path} has no settings: it is not a picture from `glyffctl sample`")
    return settings


def settings_in(image: Image.Image) -> dict[str, Any] | None:
    """The settings of a PNG that is loaded; None if it has none."""
    try:
        settings = parse_json(getattr(image, "text", {}).get(SETTINGS_KEY) or "")
    except ValueError:
        return None
    return settings if isinstance(settings, dict) else None


def picture_digest(picture: Array) -> str:
    """A digest of the pixels of a picture."""
    return hashlib.sha256(picture.tobytes()).hexdigest()


def save_gif(path: Path, frames: Sequence[Image.Image], fps: float) -> None:
    """Write a looping GIF; the last frame stays for a second and a half.

    It has 16 greys: with 256, noise hardly compresses and an animation of 16 glyphs takes 30 MB.

    Args:
        path: the file.
        frames: at least one, in grey.
        fps: frames a second, at most 50.

    Raises:
        OutputError: the path cannot be written.
    """
    levels = [grey * 255 // (_GIF_GREYS - 1) for grey in range(_GIF_GREYS)]
    palette = [level for level in levels for _ in range(3)]
    small = []
    for frame in frames:
        indexed = frame.point([round(value * (_GIF_GREYS - 1) / 255) for value in range(256)])
        indexed = Image.frombytes("P", indexed.size, indexed.tobytes())
        indexed.putpalette(palette)
        small.append(indexed)
    durations = [max(20, round(1000 / fps))] * (len(small) - 1) + [_LAST_FRAME_MS]
    with atomic_file(path) as temporary:
        small[0].save(
            temporary, "GIF", save_all=True, append_images=small[1:], duration=durations, loop=0, optimize=False
        )
