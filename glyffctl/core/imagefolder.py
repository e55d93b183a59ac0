"""Image–caption folders as `datasets.load_dataset("imagefolder", …)` knows them: pictures, one metadata file.

`metadata.jsonl` (or `metadata.csv`) has a row per picture with `file_name` and `text` (or `caption`); folders
that `glyffctl prepare --format imagefolder` made add `codepoint`, `character`, `font`, `radical` and `wordings`.
Ours or anyone's, they are read the same way.
"""

from __future__ import annotations

import csv
import warnings
from array import array
from collections.abc import Iterator
from json import JSONDecodeError
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from glyffctl.core.errors import DataError
from glyffctl.core.names import LONGEST_NAME, check_inside
from glyffctl.core.reading import LARGEST_PICTURE, check_file, csv_rows, parse_json, read_lines, shown

METADATA_FILES = ("metadata.jsonl", "metadata.csv")
PAPER = 255
_BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)  # sizes that a few bytes can ask for
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
"""Pillow knows more; what it does with EPS, say, is to start Ghostscript."""
_LONGEST_CHARACTER = 2  # code points: one may select a variant
_MOST_PIXELS = 160_000_000  # bytes as Pillow holds them: 40 million in colour
_STRIP = 1 << 20  # pixels
KEPT = 1 << 30  # 65,536 pictures of 128×128


class Row(NamedTuple):
    """One row of a metadata file. Only `file_name` and `text` are there in every folder."""

    file_name: str
    text: str
    codepoint: int | None = None
    character: str = ""
    font: str = ""
    radical: int | None = None
    wordings: tuple[str, ...] = ()


def metadata_file(folder: Path) -> Path | None:
    """The metadata file of an image–caption folder, or None where there is none."""
    return next((folder / name for name in METADATA_FILES if (folder / name).is_file()), None)


def read_metadata(path: Path) -> Iterator[Row]:
    """All rows of a metadata file, in its order.

    Raises:
        DataError: not UTF-8, not JSON lines or CSV, no row, or one without `file_name` or `text`; names the line.
    """
    empty = True
    lines = read_lines(path, DataError)
    try:
        for line, fields in _csv_rows(lines) if path.suffix == ".csv" else _json_rows(lines):
            yield _row(fields, path, line)
            empty = False
    except (ValueError, csv.Error) as error:
        raise DataError(f"cannot read {path}: {error}; it must be UTF-8 with one row per picture") from error
    if empty:
        raise DataError(f"{path} names no picture; give it a row with file_name and text for each")


def _json_rows(lines: Iterator[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                fields = parse_json(line)
            except JSONDecodeError as error:
                raise ValueError(f"line {number}, column {error.colno}: {error.msg}") from error
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from error
            if not isinstance(fields, dict):
                raise ValueError(f"line {number} is not a JSON object")
            yield number, fields


def _csv_rows(lines: Iterator[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    rows = ((number, row) for number, row in csv_rows(lines) if row)
    _, names = next(rows, (0, []))
    for number, row in rows:
        yield number, dict(zip(names, row, strict=False))


def _row(fields: dict[str, Any], path: Path, line: int) -> Row:
    file_name, text = fields.get("file_name"), fields.get("text", fields.get("caption"))
    if not isinstance(file_name, str) or not file_name or not isinstance(text, str):
        raise DataError(f"{path}, line {line}: a row needs file_name and text (or caption)")
    check_inside(file_name, path, DataError)
    character = str(fields.get("character") or "")
    radical, wordings = fields.get("radical"), fields.get("wordings")
    return Row(
        file_name=file_name,
        text=text,
        codepoint=parse_codepoint(fields.get("codepoint")),
        character=character if len(character) <= _LONGEST_CHARACTER else "",
        font=str(fields.get("font") or "")[:LONGEST_NAME],
        radical=parse_radical(radical),
        wordings=tuple(map(str, wordings)) if isinstance(wordings, list) else (),
    )


def parse_codepoint(text: object) -> int | None:
    """`U+9502` as a number; None for anything else."""
    if not (isinstance(text, str) and text.startswith("U+")):
        return None
    codepoint = int(text[2:], 16)
    if not 0 <= codepoint <= 0x10FFFF:
        raise ValueError(f"{shown(text)} is no code point")
    return codepoint


def parse_radical(value: Any) -> int | None:
    """The number of a radical; None for nothing."""
    try:
        return int(value) if value not in (None, "") else None
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{shown(value)} is no number of a radical") from None


class Names:
    """Many strings in one piece: as a list of them, the file names of two million pictures would take 200 MB more."""

    def __init__(self) -> None:
        self._letters = bytearray()
        self._ends = array("q", [0])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def append(self, name: str) -> None:
        """Add a string at the end."""
        self._letters += name.encode("utf-8", "surrogatepass")
        self._ends.append(len(self._letters))

    def __getitem__(self, row: int) -> str:
        return self._letters[self._ends[row] : self._ends[row + 1]].decode("utf-8", "surrogatepass")


class Pictures:
    """Pixels of picture files: (N, size, size) uint8, 255 is paper.

    The first `KEPT` bytes of what is decoded are kept; a picture beyond is decoded whenever it is asked for.
    """

    def __init__(self, folder: Path, names: Names, size: int) -> None:
        self.folder, self.names = folder, names
        # torch.empty takes address space only; memory is used as pictures are decoded.
        self.pixels = torch.empty((min(len(names), KEPT // size**2), size, size), dtype=torch.uint8)
        self.place = torch.full((len(names),), -1, dtype=torch.int32)  # in `pixels`, or -1
        self.used = 0

    def __call__(self, index: Tensor) -> Tensor:
        """Pictures (B, size, size) of the rows `index` (B,)."""
        images = torch.empty((len(index), *self.pixels.shape[1:]), dtype=torch.uint8)
        place = self.place[index]
        there = place >= 0
        images[there] = self.pixels[place[there]]
        for k in (~there).nonzero().flatten().tolist():
            images[k] = self._read(int(index[k]))
        return images

    def _read(self, row: int) -> Tensor:
        picture = torch.from_numpy(read_picture(self.folder / self.names[row], self.pixels.shape[-1]))
        if self.used < len(self.pixels) and self.place[row] < 0:
            self.pixels[self.used] = picture
            self.place[row] = self.used
            self.used += 1
        return picture


def read_picture(path: Path, size: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """One picture as (size, size) uint8 grey: padded to a square with white paper, then resized.

    Raises:
        DataError: the file cannot be read as a picture.
    """
    check_file(path, DataError, LARGEST_PICTURE)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                if image.width * image.height * (1 if image.mode in ("1", "L", "P") else 4) > _MOST_PIXELS:
                    raise ValueError(f"{image.width}×{image.height} pixels are too many")
                return np.array(ImageOps.pad(_grey(image), (size, size), Image.Resampling.LANCZOS, color=PAPER))
    except (OSError, ValueError, SyntaxError, *_BOMBS) as error:
        raise DataError(f"cannot read the picture {path}: {error}; mend it or take out its row") from error


def _grey(image: Image.Image) -> Image.Image:
    """`image` in grey on white paper, a strip at a time: a large one whole would take four times its own memory."""
    grey, rows = Image.new("L", image.size), max(1, _STRIP // image.width)
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        grey.paste(_grey_strip(image.crop((0, top, image.width, bottom))), (0, top))
    return grey


def _grey_strip(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits: Pillow's own conversion clips instead of scaling
        return Image.fromarray((np.asarray(image, dtype=np.uint32) // 257).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        paper = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(paper, image.convert("RGBA")).convert("L")
    return image.convert("L")
