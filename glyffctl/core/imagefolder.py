"""Image–caption folders as `datasets.load_dataset("imagefolder", …)` knows them: pictures, one metadata file.

`metadata.jsonl` (or `metadata.csv`) has a row per picture with `file_name` and `text` (or `caption`); folders
that `glyffctl prepare --format imagefolder` made add `codepoint`, `character`, `font`, `radical` and `wordings`.
Ours or anyone's, they are read the same way.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from glyffctl.core.errors import DataError

METADATA_FILES = ("metadata.jsonl", "metadata.csv")
PAPER = 255


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


def read_metadata(path: Path) -> list[Row]:
    """All rows of a metadata file, in its order.

    Raises:
        DataError: not UTF-8, not JSON lines or CSV, or a row without `file_name` or `text`; names the line.
    """
    rows = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for line, fields in _csv_rows(file) if path.suffix == ".csv" else _json_rows(file):
                rows.append(_row(fields, path, line))
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"cannot read {path}: {error}; it must be UTF-8 with one row per picture") from error
    if not rows:
        raise DataError(f"{path} names no picture; give it a row with file_name and text for each")
    return rows


def _json_rows(lines: Iterator[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            fields = json.loads(line)
            if not isinstance(fields, dict):
                raise ValueError(f"line {number} is not a JSON object")
            yield number, fields


def _csv_rows(lines: Iterator[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(lines)
    for fields in reader:
        yield reader.line_num, fields


def _row(fields: dict[str, Any], path: Path, line: int) -> Row:
    file_name, text = fields.get("file_name"), fields.get("text", fields.get("caption"))
    if not isinstance(file_name, str) or not file_name or not isinstance(text, str):
        raise DataError(f"{path}, line {line}: a row needs file_name and text (or caption)")
    radical, wordings = fields.get("radical"), fields.get("wordings")
    return Row(
        file_name=file_name,
        text=text,
        codepoint=parse_codepoint(fields.get("codepoint")),
        character=str(fields.get("character") or ""),
        font=str(fields.get("font") or ""),
        radical=int(radical) if radical not in (None, "") else None,
        wordings=tuple(map(str, wordings)) if isinstance(wordings, list) else (),
    )


def parse_codepoint(text: object) -> int | None:
    """`U+9502` as a number; None for anything else."""
    return int(text[2:], 16) if isinstance(text, str) and text.startswith("U+") else None


class Pictures:
    """Pixels of picture files, decoded when first asked for and kept: (N, size, size) uint8, 255 is paper."""

    def __init__(self, files: list[Path], size: int) -> None:
        self.files = files
        # torch.empty takes address space only; memory is used as pictures are decoded.
        self.pixels = torch.empty((len(files), size, size), dtype=torch.uint8)
        self.decoded = torch.zeros(len(files), dtype=torch.bool)

    def __call__(self, index: Tensor) -> Tensor:
        """Pictures (B, size, size) of the rows `index` (B,)."""
        for row in sorted(set(index[~self.decoded[index]].tolist())):
            self.pixels[row] = torch.from_numpy(read_picture(self.files[row], self.pixels.shape[-1]))
            self.decoded[row] = True
        return self.pixels[index]


def read_picture(path: Path, size: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """One picture as (size, size) uint8 grey: padded to a square with white paper, then resized.

    Raises:
        DataError: the file cannot be read as a picture.
    """
    try:
        with Image.open(path) as image:
            return np.array(ImageOps.pad(_grey(image), (size, size), Image.Resampling.LANCZOS, color=PAPER))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"cannot read the picture {path}: {error}; mend it or take out its row") from error


def _grey(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits: Pillow's own conversion clips instead of scaling
        return Image.fromarray((np.asarray(image, dtype=np.uint32) // 257).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        paper = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(paper, image.convert("RGBA")).convert("L")
    return image.convert("L")
