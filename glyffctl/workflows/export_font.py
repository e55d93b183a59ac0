"""`glyffctl export --format ttf`: a font whose glyphs are pictures of `sample`."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from fontTools.ttLib import TTFont

from glyffctl.core.errors import DataError, OutputError, UsageError
from glyffctl.core.io.atomic import atomic_file, atomic_folder, check_writable
from glyffctl.core.io.images import Array
from glyffctl.core.io.names import printable, utf8_name
from glyffctl.core.io.tables import csv_records, read_lines
from glyffctl.core.outlines.font import MOST_GLYPHS, FontFormat, FontGlyph, build_font
from glyffctl.core.outlines.ligatures import LONGEST, typed
from glyffctl.core.outlines.trace import trace
from glyffctl.version import __version__
from glyffctl.workflows.events import Caution, Event, Progress
from glyffctl.workflows.font_pictures import FontPicture, find_pictures, read_pictures

UFO = "ufo"
FORMATS: tuple[str, ...] = (*get_args(FontFormat), UFO)
_PRIVATE = (range(0xE000, 0xF900), range(0xF0000, 0xFFFFE))
_SHARED = ("glyffctl", "recipe", "negative", "model", "weights", "encoder", "enlarged", "led", "away", "runtime")
"""Settings of `sample` that say how a glyph was drawn, besides its prompt and seed."""
_TOO_MANY = f"a font holds at most 65,535 glyphs, of which {MOST_GLYPHS:,} can be pictures; make several fonts"
_INK = 128
"""Greys below are ink."""
_MOST_RIM = 0.25
"""Of the rim of a picture, that ink covers; pictures that are not square have white added on two sides."""
_LONGEST_NAME = 60
"""Characters of a family: Windows shows no font whose name has more than 63."""


@dataclass(frozen=True, kw_only=True)
class FontOptions:
    """Options of a font.

    Attributes:
        pictures: files, or folders whose PNGs are meant: single pictures or sheets of `sample`, or any other picture.
        format: "ttf" (quadratic outlines), "otf" (cubic), "woff2" (quadratic, packed), or "ufo", a folder for font
            editors (cubic).
        out: the file, or the folder of a UFO; None is glyphs.FORMAT.
        name: of the family; None is the name of the file.
        codepoints: a CSV or TSV with the columns file and codepoint; None numbers the glyphs from U+E000 on.
    """

    pictures: tuple[Path, ...]
    format: FontFormat | Literal["ufo"] = "ttf"
    out: Path | None = None
    name: str | None = None
    codepoints: Path | None = None

    def __post_init__(self) -> None:
        """Raise UsageError for options that do not go together."""
        if not self.pictures:
            raise UsageError(f"name pictures or a folder of them: glyffctl export --format {self.format} pictures/")
        if self.format not in FORMATS:
            raise UsageError(f"--format must be one of {', '.join(FORMATS)}, not {self.format!r}")
        if self.out is not None and self.out.suffix.lower() != f".{self.format}":
            what = "folder" if self.format == UFO else "file"
            raise UsageError(f"--out takes a {what} ending in .{self.format}, not {self.out}")
        if self.name is not None and not 0 < len(printable(self.name).strip()) <= _LONGEST_NAME:
            raise UsageError(f"--name takes 1 to {_LONGEST_NAME} characters")


@dataclass(frozen=True)
class FontReport:
    """Result of an export of a font.

    Attributes:
        out: the file or folder.
        glyphs: how many pictures it has.
        first: the least code point of a glyph.
        last: the greatest one.
        left_out: blank pictures.
        bytes: of the file.
    """

    out: Path
    glyphs: int
    first: int
    last: int
    left_out: int
    bytes: int


@dataclass
class _Made:
    """What is known of the glyphs so far."""

    records: list[dict[str, Any]] = field(default_factory=list)
    codepoints: dict[int, str] = field(default_factory=dict)
    drawings: list[dict[str, Any]] = field(default_factory=list)
    blank: list[str] = field(default_factory=list)
    framed: list[str] = field(default_factory=list)
    files: int = 0


def export_font(options: FontOptions) -> Generator[Event, None, FontReport]:
    """Trace pictures, and write a font of them.

    Raises:
        GlyffError: a picture, the table or the output cannot be used.
    """
    out = options.out or Path(f"glyphs.{options.format}")
    if out.is_dir() and options.format != UFO:
        raise OutputError(f"cannot write {out}: it is a folder; name a file")
    if out.is_dir() and any(out.iterdir()):  # an editor may have worked on it
        raise OutputError(f"cannot write {out}: it holds files; name a new folder, or delete it")
    check_writable(out)
    if options.format == "woff2" and find_spec("brotli") is None:
        raise UsageError('WOFF2 needs a package: pip install "glyffctl[woff2]"; or take --format ttf')
    files = find_pictures(options.pictures)
    if len(files) > MOST_GLYPHS:  # before hours of tracing
        raise UsageError(_TOO_MANY)
    table = None if options.codepoints is None else read_codepoints(options.codepoints)
    if table is not None:
        _check_table(table, files)
    made = _Made()
    glyphs = _glyphs(files, table, made)
    first = next(glyphs, None)
    if first is None:
        raise DataError(
            f"no picture has ink, of {len(made.blank):,}; draw black or dark grey on white or transparent paper"
        )
    family = printable(options.name or out.stem).strip()[:_LONGEST_NAME] or "Glyphs"
    form: FontFormat = "otf" if options.format == "ufo" else options.format
    building = build_font(chain([first], glyphs), utf8_name(family), form, lambda: _record(made))
    font = yield from _followed(building, made, len(files))
    yield from _cautions(made)
    if options.format == UFO:
        yield from _save_ufo(font, out)
    else:
        with atomic_file(out) as temporary:
            font.save(temporary)
    points, size = made.codepoints, sum(file.stat().st_size for file in (out, *out.rglob("*")) if file.is_file())
    return FontReport(out, len(points), min(points), max(points), len(made.blank), size)


def _cautions(made: _Made) -> Generator[Caution, None, None]:
    """What may not be as expected."""
    if made.blank:
        yield Caution(
            f"{len(made.blank):,} blank {'picture is' if len(made.blank) == 1 else 'pictures are'} left out: "
            f"{_names(made.blank)}",
            "pictures-blank",
            {"blank": made.blank},
        )
    if made.framed:
        yield Caution(
            f"the edges of {_names(made.framed)} are mostly dark; if the glyphs there are white on black, invert the "
            "pictures: a font needs dark ink",
            "pictures-framed",
            {"framed": made.framed},
        )
    prompts = [record.get("prompt", "") for record in made.records]
    if count := sum(bool(prompt) and not typed(prompt) for prompt in prompts):
        yield Caution(
            f"{count:,} {'prompt has' if count == 1 else 'prompts have'} one character, or more than {LONGEST}, which "
            "no ligature can have: insert such glyphs by their code points",
            "prompts-untyped",
            {"count": count},
        )


def _save_ufo(font: TTFont, out: Path) -> Generator[Event, None, None]:
    from glyffctl.core.outlines.ufo import write_ufo  # noqa: PLC0415 - few fonts need what it imports

    yield Progress("Writing", 0, 1)
    with atomic_folder(out) as folder:
        new = folder / "new"  # fontTools makes the folder itself
        write_ufo(font, new)
        for part in list(new.iterdir()):
            part.rename(folder / part.name)
        new.rmdir()
    yield Progress("Writing", 1, 1)


def _names(pictures: list[str]) -> str:
    return f"{', '.join(pictures[:3])}{', …' if len(pictures) > 3 else ''}"


def _framed(pixels: Array) -> bool:
    """Whether a picture is dark along its rim, as white ink on black is."""
    rim = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return float((rim < _INK).mean()) > _MOST_RIM


def _followed(building: Generator[float, None, TTFont], made: _Made, files: int) -> Generator[Event, None, TTFont]:
    """Report the files that are done while a font is built."""
    while True:
        try:
            next(building)
        except StopIteration as stop:
            font: TTFont = stop.value
            return font
        yield Progress("Tracing", made.files, files, "files")


def _glyphs(files: list[Path], table: Mapping[str, int] | None, made: _Made) -> Iterator[FontGlyph]:
    """Trace the pictures of all files, one after the other; what they record goes into `made`."""
    free = (codepoint for places in _PRIVATE for codepoint in places)
    for file in files:
        for picture in read_pictures(file):
            name = f"{picture.file.name}{f' ({picture.place + 1})' if picture.place else ''}"
            outline = trace(picture.pixels)
            if not outline.contours:
                made.blank.append(name)
                continue
            if _framed(picture.pixels):
                made.framed.append(name)
            codepoint = next(free) if table is None else _listed(table, picture)
            if codepoint in made.codepoints:
                raise DataError(_twice(name, made.codepoints[codepoint], codepoint))
            made.codepoints[codepoint] = name
            if len(made.codepoints) > MOST_GLYPHS:
                raise UsageError(_TOO_MANY)
            made.records.append(_about(picture, codepoint, made.drawings))
            yield FontGlyph(codepoint, picture.prompt, outline)
        made.files += 1


def _about(picture: FontPicture, codepoint: int, drawings: list[dict[str, Any]]) -> dict[str, Any]:
    """The record of a glyph; settings that many glyphs share are in `drawings` once."""
    about: dict[str, Any] = {"codepoint": f"U+{codepoint:04X}", "file": utf8_name(picture.file.name)}
    if picture.settings is not None:
        shared = {key: value for key, value in picture.settings.items() if key in _SHARED}
        if shared not in drawings[-1:]:
            drawings.append(shared)
        about |= {"prompt": picture.prompt, "seed": picture.seed, "drawing": len(drawings) - 1}
    return about


def _record(made: _Made) -> str:
    return json.dumps({"glyffctl": __version__, "glyphs": made.records, "drawings": made.drawings}, ensure_ascii=True)


def _check_table(table: Mapping[str, int], files: Sequence[Path]) -> None:
    """Raise DataError for a table that does not do for `files`, before minutes of tracing."""
    places: dict[int, Path] = {}
    for file in files:
        first = _first(table, file)
        if first is None:  # which blank pictures may be
            for picture in read_pictures(file):
                if (picture.pixels < _INK).any():
                    _listed(table, picture)
        elif first in places and file != places[first]:
            raise DataError(_twice(str(file), str(places[first]), first))
        else:
            places[first] = file


def _twice(one: str, other: str, codepoint: int) -> str:
    return f"{one} and {other} both have the code point U+{codepoint:04X}; give each its own"


def _first(table: Mapping[str, int], file: Path) -> int | None:
    return table.get(file.name, table.get(str(file)))


def _listed(table: Mapping[str, int], picture: FontPicture) -> int:
    """The code point that a table gives a picture; pictures of a sheet have those from its own on."""
    first = _first(table, picture.file)
    if first is None:
        raise DataError(f"the table of code points does not name {picture.file.name}; add it, or leave the picture out")
    _check_codepoint(first + picture.place, picture.file.name)
    return first + picture.place


def read_codepoints(path: Path) -> dict[str, int]:
    """Code points by the names of files.

    Args:
        path: a CSV or TSV with the columns file and codepoint, such as "gold-0.png,U+E000".

    Raises:
        DataError: the table cannot be read, names a file twice, or has what is no code point.
    """
    lines = list(read_lines(path, DataError))
    table: dict[str, int] = {}
    first = lines[0] if lines else ""
    delimiter = next((character for character in "\t;," if character in first), ",")
    for line, row in csv_records(lines, path, DataError, delimiter):
        if not {"file", "codepoint"} <= row.keys():
            raise DataError(f"{path} needs a first line with the names of its columns: file,codepoint")
        text = row["codepoint"].strip()
        try:
            codepoint = ord(text) if len(text) == 1 else int(text.upper().removeprefix("U+").removeprefix("0X"), 16)
        except ValueError:
            raise DataError(f"{path}, line {line}: {text[:20]!r} is no code point; write one such as U+E000") from None
        _check_codepoint(codepoint, f"{path}, line {line}")
        if row["file"] in table:
            raise DataError(f"{path}, line {line}: {row['file']} was named before; name each file once")
        table[row["file"]] = codepoint
    return table


def _check_codepoint(codepoint: int, where: str) -> None:
    """Raise DataError unless a glyph may have the code point."""
    character = chr(codepoint) if 0 <= codepoint <= 0x10FFFF else "\0"
    category = unicodedata.category(character)
    if category in ("Cc", "Cf", "Cs", "Zs", "Zl", "Zp") or codepoint & 0xFFFE == 0xFFFE:
        raise DataError(
            f"{where}: no glyph can have the code point {f'{codepoint:X}'[:10]}; take one of the private ones, U+E000 "
            "to U+F8FF"
        )
