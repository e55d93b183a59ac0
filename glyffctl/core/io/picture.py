"""Loading a picture file as a grey square on white paper."""

from __future__ import annotations

import logging
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from glyffctl.core.errors import DataError
from glyffctl.core.io.atomic import reason
from glyffctl.core.io.reading import LARGEST_PICTURE, check_file, short_repr

# Keep its log off the terminal: errors report what matters.
logging.getLogger("PIL").addHandler(logging.NullHandler())

PAPER = 255
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
"""Pillow supports more, but for EPS, say, it starts Ghostscript."""
_BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)  # huge sizes in small files
# Raised by Pillow for damaged files.
_BROKEN = (OSError, ValueError, SyntaxError, EOFError, struct.error, LookupError, TypeError, ArithmeticError)
_MOST_PIXELS = 160_000_000  # bytes as Pillow holds them: 40 million in colour
_STRIP = 1 << 20  # pixels
_MEND = "mend it or take out its row"
_SAVE = "save it with 8 or 16 bits"
# Unsupported formats by their first bytes; others are recognised by the ending of the name.
_MAGIC = {
    b"%PDF": "PDF",
    b"%!PS": "EPS",
    b"8BPS": "PSD",
    b"\0\0\0\x0cjP": "JPEG 2000",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL": "JPEG XL",
    b"\x76\x2f\x31\x01": "OpenEXR",
    b"\0\0\1\0": "ICO",
    b"gimp xcf": "XCF",
    b"qoif": "QOI",
    b"DDS ": "DDS",
    b"II\xbc": "JPEG XR",
    b"PK\3\4": "ZIP",
    b"\x1f\x8b": "gzip",
    b"<svg": "SVG",
}
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIF", b"msf1": "HEIF"}


def read_picture(path: Path, size: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Load a picture as (size, size) uint8 grey: rotated by its EXIF, padded to a square with white, then resized.

    Transparent parts are white. Of several frames the first is taken.

    Raises:
        DataError: the file cannot be read as a picture, or its value for white is unknown.
    """
    grey = read_grey(path, _MEND)
    return np.array(ImageOps.pad(grey, (size, size), Image.Resampling.LANCZOS, color=PAPER))


def read_grey(path: Path, mend: str) -> Image.Image:
    """Load a picture in grey at its own size: rotated by its EXIF, on white paper.

    Args:
        path: the file.
        mend: what to do about a damaged one, for messages.

    Raises:
        DataError: as in `read_picture`.
    """
    check_file(path, DataError, LARGEST_PICTURE)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about tags that are not used here
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            # Opened here: Pillow memory-maps some TIFFs that it opens itself, and then misreads rotated ones.
            with path.open("rb") as file, Image.open(file, formats=FORMATS) as image:
                if image.width * image.height * (1 if image.mode in ("1", "L", "P") else 4) > _MOST_PIXELS:
                    raise ValueError(f"{image.width}×{image.height} pixels are too many")
                image.load()
                turned = image.getexif().get(ExifTags.Base.Orientation)
    except UnidentifiedImageError:
        raise DataError(_unidentified(path, mend)) from None
    except (*_BROKEN, *_BOMBS) as error:
        cause = reason(error) if isinstance(error, OSError) else error
        raise DataError(f"cannot read the picture {path}: {cause}; {mend}") from error
    grey = to_grey(image, str(path))
    if turned is not None:
        grey.getexif()[ExifTags.Base.Orientation] = turned
        grey = ImageOps.exif_transpose(grey)
    return grey


def to_grey(image: Image.Image, name: str) -> Image.Image:
    """A picture that is loaded in grey, on white paper; `name` is what an error calls it.

    Raises:
        DataError: its value for white is unknown.
    """
    try:
        return _grey(image)
    except ValueError as error:
        raise DataError(f"cannot read the picture {name}: {error}") from error


def _unidentified(path: Path, mend: str) -> str:
    """The message for a file in none of `FORMATS`."""
    with path.open("rb") as file:
        start = file.read(256)
    if not start:
        return f"{path} is empty, and no picture; {mend}"
    if start.startswith(b"version https://git-lfs"):
        return f"{path} is a Git LFS pointer, not the picture; fetch it with `git lfs pull`"
    kind = _BRANDS.get(start[8:12]) if start[4:8] == b"ftyp" else None
    if kind is None:
        kind = next((name for magic, name in _MAGIC.items() if start.lstrip().startswith(magic)), None)
    if kind is None and b"<svg" in start.lower():
        kind = "SVG"
    Image.init()  # registers the endings of all formats of Pillow
    by_name = Image.registered_extensions().get(path.suffix.lower())
    if kind is None and by_name not in (None, *FORMATS):
        kind = by_name
    if kind is not None:
        return f"cannot read the picture {path}: {kind} is not supported; convert it to PNG"
    if start.lstrip()[:1] == b"<":
        return f"cannot read the picture {path}: it is text, not a picture, and begins with {short_repr(start[:20])}"
    return (
        f"cannot read the picture {path}: it is not {', '.join(FORMATS[:-1])} or {FORMATS[-1]}, but begins with "
        f"{short_repr(start[:12])}; {mend}"
    )


def _grey(image: Image.Image) -> Image.Image:
    """`image` in grey on white paper, strip by strip: a large one at once would take four times its memory.

    Raises:
        ValueError: its value for white is unknown.
    """
    white = _white(image)
    grey, rows = Image.new("L", image.size), max(1, _STRIP // image.width)
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        strip = image.crop((0, top, image.width, bottom))
        grey.paste(_grey_strip(strip) if white is None else _scaled_strip(strip, white), (0, top))
    return grey


_BITS, _PHOTOMETRIC = 258, 262  # tags of TIFF


def _white(image: Image.Image) -> int | None:
    """The value of white in modes that Pillow would clip instead of scaling; None for other modes.

    Negative where 0 is white and that value black.
    """
    if image.mode != "F" and not image.mode.startswith("I"):
        return None
    if image.format != "TIFF":
        return 1 if image.mode == "F" else 65535  # PNG and PPM: Pillow scales fewer bits to 16
    tags = getattr(image, "tag_v2", {})
    white_is_zero = tags.get(_PHOTOMETRIC) == 0
    bits = tags.get(_BITS, 16)
    bits = bits[0] if isinstance(bits, tuple) else bits
    if image.mode == "I":
        raise ValueError(f"its values are integers of {bits} bits, and its white is unknown; {_SAVE}")
    return (1 if image.mode == "F" else 2**bits - 1) * (-1 if white_is_zero else 1)


def _scaled_strip(image: Image.Image, white: int) -> Image.Image:
    values = np.asarray(image)
    if image.mode == "F" and not (float(values.min()) >= 0 and float(values.max()) <= 1):  # false for NaN, too
        there = f"{values.min():g} to {values.max():g}"
        raise ValueError(f"it has floating-point values from {there}, where only 0 to 1 is accepted; {_SAVE}")
    if image.mode != "F":
        values = values.astype(np.uint32)
    grey = (values * PAPER // abs(white)).clip(0, PAPER)
    if white < 0:
        grey = PAPER - grey
    if "transparency" in image.info:  # this one value is transparent
        grey[values == image.info["transparency"]] = PAPER
    return Image.fromarray(grey.astype(np.uint8))


def _grey_strip(image: Image.Image) -> Image.Image:
    if image.has_transparency_data:
        paper = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(paper, image.convert("RGBA")).convert("L")
    return image.convert("L")
