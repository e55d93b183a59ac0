"""Image–caption folders as `datasets.load_dataset("imagefolder", …)` knows them: pictures, one metadata file.

`metadata.jsonl` (or `metadata.csv`) has a row per picture with `file_name` and `text` (or `caption`); folders
that `glyffctl prepare --format imagefolder` made add `codepoint`, `character`, `font`, `radical` and
`alternate_captions`. Ours or anyone's, they are read the same way.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple

import torch
from torch import Tensor

from glyffctl.core.errors import DataError
from glyffctl.core.io.names import LONGEST_NAME, check_inside
from glyffctl.core.io.picture import read_picture
from glyffctl.core.io.reading import short_repr
from glyffctl.core.io.tables import csv_records, json_records, read_lines

METADATA_FILES = ("metadata.jsonl", "metadata.csv")
_LONGEST_CHARACTER = 2  # code points: one may select a variant
_RADICALS = 214
# A radical as a number, or as Unihan writes it in kRSUnicode: 167.5, 120'.3, with more of them behind a space.
_RADICAL = re.compile(r"([0-9]{1,3})'{0,3}(?:\.-?[0-9]{1,2})?(?:\s.*)?")
_CODEPOINT = re.compile(r"[Uu]\+([0-9A-Fa-f]{1,6})")
_COLUMNS_SHOWN = 8  # columns
CACHE_BYTES = 1 << 30  # 65,536 pictures of 128×128


class MetadataRow(NamedTuple):
    """One row of a metadata file. Only `file_name` and `text` are there in every folder."""

    file_name: str
    text: str
    codepoint: int | None = None
    character: str = ""
    font: str = ""
    radical: int | None = None
    alternate_captions: tuple[str, ...] = ()


def metadata_file(folder: Path) -> Path | None:
    """The metadata file of an image–caption folder, or None where there is none.

    Raises:
        DataError: there are several, which `datasets` refuses, too.
    """
    there = [name for name in (*METADATA_FILES, "metadata.parquet") if (folder / name).is_file()]
    if len(there) > 1:
        raise DataError(f"{folder} holds {' and '.join(there)}, keep only one of them")
    return folder / there[0] if there and there[0] in METADATA_FILES else None


def read_metadata(path: Path) -> Iterator[MetadataRow]:
    """All rows of a metadata file, in its order.

    Raises:
        DataError: it is no text, not JSON lines or CSV, has no row, or one without `file_name` or `text`, or with a
            radical or code point that is none; names the line.
    """
    lines = read_lines(path, DataError)
    empty = True
    for line, fields in (csv_records if path.suffix == ".csv" else json_records)(lines, path, DataError):
        yield _row(fields, path, line)
        empty = False
    if empty:
        raise DataError(f"{path} names no picture; give it a row with file_name and text for each")


def _row(fields: dict[str, Any], path: Path, line: int) -> MetadataRow:
    where = f"{path}, line {line}"
    file_name, text = fields.get("file_name"), fields.get("text", fields.get("caption"))
    if not isinstance(file_name, str) or not file_name or not isinstance(text, str):
        raise DataError(
            f"{where}: a row needs file_name and text (or caption); {_describe_row(fields, file_name, text)}"
        )
    _check_name(file_name, path, line)
    character = str(fields.get("character") or "")
    alternate_captions = fields.get("alternate_captions")
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
    """What a row has instead of the two that it needs."""
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
    """See that a row names a file in the folder of the metadata, by a path from there."""
    absolute = PurePosixPath(name).is_absolute() or PureWindowsPath(name).is_absolute()
    if absolute and ".." not in PurePosixPath(name).parts:
        for folder in (path.parent.absolute(), path.parent.resolve()):
            if PurePosixPath(name).is_relative_to(folder):
                inside = PurePosixPath(name).relative_to(folder)
                raise DataError(f"{path}, line {line}: file_name must be relative to the folder: {inside}")
        if not PurePosixPath(name).is_absolute() and not (path.parent / name).is_file():  # on Linux a name like any
            raise DataError(f"{path}, line {line}: file_name must be relative to the folder, not {short_repr(name)}")
    check_inside(name, path, DataError)


def unreadable_picture(metadata: Path, name: str, error: Exception) -> DataError:
    """What to say of a file that a row names and that cannot be read, with the name that was likely meant."""
    folder = metadata.parent
    asked = f"{metadata} names {str(folder / name)[:300]}, which cannot be read"
    if not isinstance(error, FileNotFoundError | NotADirectoryError | ValueError):
        return DataError(f"{asked}: {getattr(error, 'strerror', None) or error}")
    plain = name.replace("\\", "/")
    if plain != name and ".." not in PurePosixPath(plain).parts and (folder / plain).is_file():
        return DataError(f"{asked}: with slashes it is there; write {plain}")
    place = (folder / name).parent
    try:
        near = sorted(path.name for path in place.iterdir()) if len(name) < _LONGEST_PATH and "\0" not in name else []
    except OSError:
        near = []
    wanted = PurePosixPath(name).name.lower()
    for there in near:
        if wanted in (there.lower(), PurePosixPath(there).stem.lower()):
            return DataError(f"{asked}; there is {there}: write that as its file_name")
    return DataError(f"{asked}; add it or remove its row")


_LONGEST_PATH = 1000


def parse_codepoint(value: object) -> int | None:
    """`U+9502`, or the same as a whole number; None for nothing.

    Raises:
        ValueError: it is neither.
    """
    if value in (None, ""):
        return None
    found = _CODEPOINT.fullmatch(value) if isinstance(value, str) else None
    codepoint = int(found[1], 16) if found else value
    if type(codepoint) is not int or not 0 <= codepoint <= 0x10FFFF:
        raise ValueError(f"codepoint is {short_repr(value)}, which is not a code point; write it like U+9502")
    return codepoint


def parse_radical(value: object) -> int | None:
    """The number of a radical, 1 to 214, also as Unihan writes it with the strokes beyond it; None for nothing.

    Raises:
        ValueError: it is neither.
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


class PictureReader:
    """Pixels of picture files: (N, size, size) uint8, 255 is paper.

    The first `CACHE_BYTES` bytes of what is decoded are kept; a picture beyond is decoded whenever it is asked for.
    """

    def __init__(self, folder: Path, names: StringList, size: int) -> None:
        self.folder, self.names = folder, names
        # torch.empty takes address space only; memory is used as pictures are decoded.
        self.pixels = torch.empty((min(len(names), CACHE_BYTES // size**2), size, size), dtype=torch.uint8)
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
