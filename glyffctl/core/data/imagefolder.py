"""Image–caption folders in the format of `datasets.load_dataset("imagefolder", …)`: pictures and a metadata file.

`metadata.jsonl` (or `metadata.csv`) has a row per picture with `file_name` and `text` (or `caption`); folders of
`glyffctl prepare --format imagefolder` add `codepoint`, `character`, `font`, `radical` and `alternate_captions`.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple

import torch
from torch import Tensor

from glyffctl.core.data.manifest import OLD_CAPTIONS_KEY
from glyffctl.core.errors import DataError
from glyffctl.core.io.names import LONGEST_NAME, check_inside
from glyffctl.core.io.picture import read_picture
from glyffctl.core.io.reading import short_repr
from glyffctl.core.io.tables import csv_records, json_records, read_lines

METADATA_FILES = ("metadata.jsonl", "metadata.csv")
_LONGEST_CHARACTER = 2  # code points: one may select a variant
_RADICALS = 214
# A radical as a number, or as in kRSUnicode of Unihan: 167.5, 120'.3, perhaps with more behind a space.
_RADICAL = re.compile(r"([0-9]{1,3})'{0,3}(?:\.-?[0-9]{1,2})?(?:\s.*)?")
_CODEPOINT = re.compile(r"[Uu]\+([0-9A-Fa-f]{1,6})")
_COLUMNS_SHOWN = 8
CACHE_BYTES = 1 << 30
"""Bytes of decoded pictures to keep: 65,536 of 128×128."""


class MetadataRow(NamedTuple):
    """A row of a metadata file. Only `file_name` and `text` are required."""

    file_name: str
    text: str
    codepoint: int | None = None
    character: str = ""
    font: str = ""
    radical: int | None = None
    alternate_captions: tuple[str, ...] = ()


def metadata_file(folder: Path) -> Path | None:
    """Find the metadata file of an image–caption folder; None where there is none.

    Raises:
        DataError: there are several, which `datasets` also refuses.
    """
    there = [name for name in (*METADATA_FILES, "metadata.parquet") if (folder / name).is_file()]
    if len(there) > 1:
        raise DataError(f"{folder} holds {' and '.join(there)}, keep only one of them")
    return folder / there[0] if there and there[0] in METADATA_FILES else None


def read_metadata(path: Path) -> Iterator[MetadataRow]:
    """Parse the rows of a metadata file, in order.

    Raises:
        DataError: it is not JSON lines or CSV, or has no row; or a row lacks `file_name` or `text`, or its radical or
            code point is not valid. The message names the line.
    """
    lines = read_lines(path, DataError)
    empty = True
    for line, fields in (csv_records if path.suffix == ".csv" else json_records)(lines, path, DataError):
        yield _row(fields, path, line)
        empty = False
    if empty:
        raise DataError(f"{path} has no rows; add one with file_name and text for each picture")


def _row(fields: dict[str, Any], path: Path, line: int) -> MetadataRow:
    where = f"{path}, line {line}"
    file_name, text = fields.get("file_name"), fields.get("text", fields.get("caption"))
    if not isinstance(file_name, str) or not file_name or not isinstance(text, str):
        raise DataError(
            f"{where}: a row needs file_name and text (or caption); {_describe_row(fields, file_name, text)}"
        )
    _check_name(file_name, path, line)
    character = str(fields.get("character") or "")
    alternate_captions = fields.get("alternate_captions", fields.get(OLD_CAPTIONS_KEY))
    try:
        codepoint, radical = parse_codepoint(fields.get("codepoint")), parse_radical(fields.get("radical"))
    except ValueError as error:
        raise DataError(f"{where}: {error}") from None
    return MetadataRow(
        file_name=file_name,
        text=text,
        codepoint=codepoint,
        character=character if len(character) <= _LONGEST_CHARACTER else "",
        font=str(fields.get("font") or "")[:LONGEST_NAME],
        radical=radical,
        alternate_captions=tuple(map(str, alternate_captions)) if isinstance(alternate_captions, list) else (),
    )


def _describe_row(fields: dict[str, Any], file_name: object, text: object) -> str:
    """What a row has in place of `file_name` or `text`, for messages."""
    caption = "text" if "text" in fields else "caption"
    for name, value in (("file_name", file_name), (caption, text)):
        if name in fields and (value == "" or not isinstance(value, str)):
            return f"its {name} is {'empty' if value == '' else short_repr(value)}"
    if not fields:
        return "it has no columns"
    if len(fields) == 1 and any(mark in next(iter(fields)) for mark in ";\t|"):
        return f"it has one column, {short_repr(next(iter(fields)))}: put commas between columns"
    names = [short_repr(name)[1:-1] for name in list(fields)[:_COLUMNS_SHOWN]]
    more = f" and {len(fields) - _COLUMNS_SHOWN:,} more" if len(fields) > _COLUMNS_SHOWN else ""
    return f"it has {', '.join(names)}{more}"


def _check_name(name: str, path: Path, line: int) -> None:
    """Check that a row names a file in the folder of the metadata, by a relative path."""
    absolute = PurePosixPath(name).is_absolute() or PureWindowsPath(name).is_absolute()
    if absolute and ".." not in PurePosixPath(name).parts:
        for folder in (path.parent.absolute(), path.parent.resolve()):
            if PurePosixPath(name).is_relative_to(folder):
                inside = PurePosixPath(name).relative_to(folder)
                raise DataError(f"{path}, line {line}: file_name must be relative to the folder: {inside}")
        if (
            not PurePosixPath(name).is_absolute() and not (path.parent / name).is_file()
        ):  # on Linux, Windows paths are valid names
            raise DataError(f"{path}, line {line}: file_name must be relative to the folder, not {short_repr(name)}")
    check_inside(name, path, DataError)


def unreadable_picture(metadata: Path, name: str, error: Exception) -> DataError:
    """The error for a file that a row names but that cannot be read, with the name that was likely meant."""
    folder = metadata.parent
    named = f"{metadata} names {str(folder / name)[:300]}, which cannot be read"
    if not isinstance(error, FileNotFoundError | NotADirectoryError | ValueError):
        return DataError(f"{named}: {getattr(error, 'strerror', None) or error}")
    plain = name.replace("\\", "/")
    if plain != name and ".." not in PurePosixPath(plain).parts and (folder / plain).is_file():
        return DataError(f"{named}: with slashes it exists; write {plain}")
    place = (folder / name).parent
    try:
        near = sorted(path.name for path in place.iterdir()) if len(name) < _LONGEST_PATH and "\0" not in name else []
    except OSError:
        near = []
    wanted = PurePosixPath(name).name.lower()
    for there in near:
        if wanted in (there.lower(), PurePosixPath(there).stem.lower()):
            return DataError(f"{named}; there is {there}: write that as its file_name")
    return DataError(f"{named}; add it or remove its row")


_LONGEST_PATH = 1000


def parse_codepoint(value: object) -> int | None:
    """Parse a code point: `U+9502`, or an integer; None for no value.

    Raises:
        ValueError: `value` is anything else.
    """
    if value in (None, ""):
        return None
    found = _CODEPOINT.fullmatch(value) if isinstance(value, str) else None
    codepoint = int(found[1], 16) if found else value
    if type(codepoint) is not int or not 0 <= codepoint <= 0x10FFFF:
        raise ValueError(f"codepoint is {short_repr(value)}, which is not a code point; write it like U+9502")
    return codepoint


def parse_radical(value: object) -> int | None:
    """Parse the number of a radical, 1 to 214, perhaps with residual strokes as in Unihan; None for no value.

    Raises:
        ValueError: `value` is anything else.
    """
    if value in (None, ""):
        return None
    number = None
    if type(value) is int or (isinstance(value, float) and value.is_integer()):
        number = int(value)
    elif isinstance(value, str | float) and (found := _RADICAL.fullmatch(str(value).strip())):
        number = int(found[1])
    if number is None or not 1 <= number <= _RADICALS:
        raise ValueError(f"radical is {short_repr(value)}, which is not the number of a radical (1 to {_RADICALS})")
    return number


class StringList:
    """A list of strings in one buffer: for the file names of two million pictures it saves 200 MB."""

    def __init__(self) -> None:
        self._letters = bytearray()
        self._ends = array("q", [0])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def append(self, name: str) -> None:
        """Append a string."""
        self._letters += name.encode("utf-8", "surrogatepass")
        self._ends.append(len(self._letters))

    def __getitem__(self, row: int) -> str:
        return self._letters[self._ends[row] : self._ends[row + 1]].decode("utf-8", "surrogatepass")


class PictureReader:
    """Reads picture files as (N, size, size) uint8, 255 is paper.

    The first `CACHE_BYTES` of decoded pictures are kept; others are decoded for every call.
    """

    def __init__(self, folder: Path, names: StringList, size: int) -> None:
        self.folder, self.names = folder, names
        # torch.empty reserves address space; memory is used only for decoded pictures.
        self.pixels = torch.empty((min(len(names), CACHE_BYTES // size**2), size, size), dtype=torch.uint8)
        self.place = torch.full((len(names),), -1, dtype=torch.int32)  # row in `pixels`, or -1
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
