"""English definitions of characters, from Unihan or other tables.

Supported are

- Unihan.zip of any version; Unihan_Readings.txt (Unihan.txt in old versions) or kDefinition.txt from it, with lines
  like `U+9502<tab>kDefinition<tab>lithium` or `U+9502 锂<tab>kDefinition<tab>lithium`;
- TSV, CSV or JSON lines with character or code point (`U+9502`, or just `9502`) and definition.

Text files may be packed with gzip or bzip2, and are UTF-8, or UTF-16 with a byte order mark. See `io.tables` for
the format of tables. Several rows for one character give one definition, joined with "; " as Unihan joins senses.
"""

from __future__ import annotations

import http.client
import itertools
import os
import re
import unicodedata
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from glyffctl.core.errors import DefinitionsError
from glyffctl.core.io.atomic import atomic_file, reason
from glyffctl.core.io.reading import LARGEST_TABLE, check_file, check_lines, read_packed, short_repr, too_large
from glyffctl.core.io.tables import column_names, csv_rows, decode_text, fit_row, json_records, number_lines

UNIHAN_URL = "https://www.unicode.org/Public/UCD/latest/ucd/Unihan.zip"
URL_VARIABLE = "GLYFFCTL_UNIHAN_URL"
FEWEST_DEFINITIONS = 20_000
"""A Unihan.zip with no more definitions is incomplete: version 15 has 22,903."""

_LARGEST_ZIP = 1 << 24  # bytes; Unihan.zip of version 15 has 7 million, and zipfile loads its whole directory
_SYSTEM_FOLDER = Path("/usr/share/unicode")
_READINGS = "Unihan_Readings.txt"
_DEFINITIONS = (_READINGS, "Unihan.txt", "kDefinition.txt", "Unihan-kDefinition.txt")
"""Files with definitions: since version 5.1, before, and single properties."""
_RADICALS = ("Unihan_IRGSources.txt", "Unihan_RadicalStrokeCounts.txt", "kRSUnicode.txt")
"""Further files with radicals; which of them has kRSUnicode depends on the version."""
_PACKINGS = ("", ".bz2", ".gz")
_HOW_TO_GET = (
    f"download {UNIHAN_URL} yourself and pass it as `definitions`, or install your system's unicode-data package"
)


# Raised for files that are encrypted, or compressed in a way that Python does not support.
_ZIP_ERRORS = (RuntimeError, NotImplementedError)


class Entry(NamedTuple):
    """The definition of a character, as in the file, and its Kangxi radical (1 to 214) where known.

    The definition is "" where the row of the character has none.
    """

    definition: str
    radical: int | None


def read_definitions(path: Path) -> dict[int, Entry]:
    """Load code point → entry, for every character with a row in the file.

    Radicals come from the same archive of Unihan, or from the files that `radical_files` finds beside it.

    Raises:
        DefinitionsError: the file is missing, damaged, not UTF-8, in an unknown format, or without any definition; or
            a row is not valid, which the message names by its line.
    """
    check_file(path, DefinitionsError, LARGEST_TABLE)
    try:
        entries = _read_zip(path) if zipfile.is_zipfile(path) else _read_files(path)
    except OSError as error:
        raise DefinitionsError(f"cannot read {path}: {reason(error)}; get the file again") from error
    except (ValueError, EOFError, zlib.error, zipfile.BadZipFile, *_ZIP_ERRORS) as error:
        raise DefinitionsError(f"cannot read {path}: {str(error)[:200]}; get the file again") from error
    if not any(entry.definition for entry in entries.values()):
        raise DefinitionsError(
            f"{path} defines no character; give Unihan.zip, Unihan_Readings.txt, or a table of character and "
            "definition (TSV, CSV or JSON lines)"
        )
    return entries


def _read_files(path: Path) -> dict[int, Entry]:
    beside = radical_files(path)
    with ThreadPoolExecutor(1) as aside:  # unpacking takes longer than parsing, and another core can do half of it
        ahead = [aside.submit(_read_text, file) for file in beside[:1]]  # further ones are rarely needed
        radicals = itertools.chain((task.result() for task in ahead), map(_read_text, beside[1:]))
        return _parse(_read_text(path), radicals, path)


def radical_files(path: Path) -> list[Path]:
    """The files with radicals beside one of Unihan's files of definitions, plain or packed."""
    if path.name.removesuffix(".gz").removesuffix(".bz2") not in _DEFINITIONS:
        return []
    beside = ([path.with_name(name + packing) for packing in _PACKINGS] for name in _RADICALS)
    return [file for files in beside if (file := next((f for f in files if f.is_file()), None)) is not None]


def _read_zip(path: Path) -> dict[int, Entry]:
    check_file(path, DefinitionsError, _LARGEST_ZIP)
    with zipfile.ZipFile(path) as archive:
        # Of files with the same name, the one highest in the tree.
        members = sorted(archive.namelist(), key=lambda name: -name.count("/"))
        names = {PurePosixPath(name).name: name for name in members}
        readings = next((names[name] for name in _DEFINITIONS if name in names), None)
        if readings is None and any(name.startswith("xl/") for name in members):
            raise DefinitionsError(f"{path} is a spreadsheet; save the table as CSV")
        if readings is None:
            raise DefinitionsError(f"{path} holds no {_READINGS}; give Unicode's Unihan.zip")
        radicals = (_read_member(archive, names[name], path) for name in _RADICALS if name in names)
        return _parse(_read_member(archive, readings, path), radicals, path)


def _read_member(archive: zipfile.ZipFile, name: str, path: Path) -> str:
    with archive.open(name) as file:
        data = file.read(LARGEST_TABLE + 1)
    if len(data) > LARGEST_TABLE:
        raise too_large(path / name, DefinitionsError, LARGEST_TABLE)
    check_lines(data, path / name, DefinitionsError)
    return decode_text(data, path / name, DefinitionsError)


def _read_text(path: Path) -> str:
    try:
        return decode_text(read_packed(path, DefinitionsError), path, DefinitionsError)
    except (OSError, EOFError, zlib.error) as error:
        raise DefinitionsError(f"cannot read {path}: {error}; get the file again") from error


def _parse(text: str, radicals: Iterable[str], path: Path) -> dict[int, Entry]:
    lines = (match[0] for match in re.finditer(r"[^\n]+", text))
    first = next((line for line in lines if line.strip() and not line.startswith("#")), "")
    if not first:
        return {}
    unihan = _UNIHAN_LINE.match(first) is not None
    if unihan:
        found = _unihan_definitions(text, path)
    elif first.lstrip().startswith(("{", "[")):
        found = _collect(_json_rows(text, path), path)
    else:
        found = _collect(_table_rows(text, first, path), path)
    radical_of: dict[int, int] = {}
    for part in itertools.chain([text] if unihan else [], radicals):
        _find_radicals(part, found, radical_of)
        if len(radical_of) == len(found):
            break
    return {codepoint: Entry(definition, radical_of.get(codepoint)) for codepoint, definition in found.items()}


# --- Unihan's own lines -----------------------------------------------------------------------------------------------

_UNIHAN_LINE = re.compile(r"U\+[0-9A-Fa-f]{4,6}(?: \S+)?\tk\w+(?:\t|$)")
_NOT_UNIHAN = re.compile(rf"^(?!#|[ \t]*$|{_UNIHAN_LINE.pattern}).+", re.MULTILINE)


def _unihan_definitions(text: str, path: Path) -> dict[int, str]:
    if other := _NOT_UNIHAN.search(text):
        raise DefinitionsError(
            f"{path}, line {_line_number(text, other.start())}: {short_repr(other[0])} is not a line of "
            "Unihan like those before it: code point, property and value with tabs between them"
        )
    rows = ((key, match[1] or "", match.start()) for key, match in _property(text, r"kDefinition(?:\t(.*))?$"))
    return _collect(rows, path, text)


def _property(text: str, pattern: str) -> Iterator[tuple[str, re.Match[str]]]:
    """The code points that have a property, and the matches. Much faster than a pattern for whole lines."""
    for match in re.finditer(rf"\t{pattern}", text, re.MULTILINE):
        key = text[text.rfind("\n", 0, match.start()) + 1 : match.start()]
        if not key.startswith("#"):
            yield key, match


def _find_radicals(text: str, of: Mapping[int, str], found: dict[int, int]) -> None:
    """Add to `found` the radicals of characters without one, from lines of Unihan or its kRSUnicode.txt."""
    for name in ("kRSUnicode\t", "kRSKangXi\t") if "\tk" in text else ("",):
        for key, match in _property(text, rf"{name}([0-9]{{1,3}})(?=['.])"):
            try:
                codepoint = int(key.removeprefix("U+").partition(" ")[0], 16)
            except ValueError:
                continue
            if codepoint in of and 1 <= int(match[1]) <= 214:
                found.setdefault(codepoint, int(match[1]))


def _line_number(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


# --- tables -----------------------------------------------------------------------------------------------------------

_KEYS = ("codepoint", "character", "char")
_VALUES = ("definition", "text", "caption")
_HEADER_ADVICE = "name the columns character (or codepoint) and definition in the first line"
Row = tuple[object, str, int]
"""The character or code point, the definition, and the number of the line, or in Unihan its offset in the text."""


def _json_rows(text: str, path: Path) -> Iterator[Row]:
    names = dict[str, None]()
    defined = False
    without_comments = ("\n" * line.count("\n") if line.startswith("#") else line for line in _lines(text))
    for line, fields in json_records(without_comments, path, DefinitionsError):
        keys = {name: fields[name] for name in _KEYS if fields.get(name) not in (None, "")}
        if not keys:
            raise DefinitionsError(
                f"{path}, line {line}: no character (or codepoint) among its keys: {short_repr(', '.join(fields))}"
            )
        value = next((name for name in _VALUES if fields.get(name) is not None), None)
        defined = defined or any(name in fields for name in _VALUES)
        if not defined and len(names) < _MOST_NAMES:
            names |= dict.fromkeys(fields)
        definition = "" if value is None else _json_text(fields[value], value, path, line)
        for name, key in keys.items():
            if not isinstance(key, str) and name != "codepoint":
                raise DefinitionsError(
                    f"{path}, line {line}: {name} is {_type_name(key)}, {short_repr(key)}; write the character"
                )
            yield key, definition, line
    if not defined:
        raise DefinitionsError(
            f"{path}: no row has a definition (or text, or caption); the keys are {short_repr(', '.join(names))}"
        )


_MOST_NAMES = 20


def _json_text(value: object, name: str, path: Path, line: int) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(text, str) for text in value):
        return "; ".join(text.strip() for text in value if text.strip())
    raise DefinitionsError(
        f"{path}, line {line}: {name} is {_type_name(value)}, {short_repr(value)}; write a text or a list of texts"
    )


def _type_name(value: object) -> str:
    return {bool: "a boolean", int: "a number", float: "a number", dict: "an object"}.get(type(value), "a list")


def _lines(text: str) -> Iterator[str]:
    """Lines with their ends, empty ones joined to the line before; a list of all would take far more memory."""
    return (match[0] for match in re.finditer(r"\n+|[^\n]+\n*", text))


# TSV as spreadsheets and libraries write it: every quotation mark belongs to a quoted field.
_TSV_FIELD = r'(?:"[^"]*+(?:""[^"]*+)*+"|[^"\t\n]*+)'
_TSV_ROW = rf"(?:#[^\n]*+|{_TSV_FIELD}(?:\t{_TSV_FIELD})*+)"
_QUOTED_TSV = re.compile(rf"(?:{_TSV_ROW}\n)*+(?:{_TSV_ROW})?")


def _table_rows(text: str, first: str, path: Path) -> Iterator[Row]:
    delimiter = "\t" if "\t" in first else next((c for c in first if c in ",;"), ",")
    if delimiter == "\t" and not ('"' in text and _QUOTED_TSV.fullmatch(text)):
        rows: Iterator[tuple[int, list[str]]] = (
            (number, line.rstrip("\n").split("\t")) for number, line in number_lines(_lines(text)) if line.strip()
        )
    else:
        rows = csv_rows(_lines(text), path, DefinitionsError, delimiter)
    keys, values, columns, than = [0], [1], 0, ""
    for number, row in rows:
        if row[0].startswith("#"):
            continue
        if not columns:
            header = _header(row, number, path)
            if header is not None:
                columns, keys, values = header
                than = "the header names"
                continue
            columns, than = _without_header(row, number, delimiter, path), f"line {number} has"
        fields = fit_row(row, columns, number, path, DefinitionsError, delimiter, than)
        definition = next((text for value in values if (text := fields[value].strip())), "")
        named = False
        for column in keys:
            if key := fields[column].strip():
                named = True
                yield key, definition, number
        if not named:
            raise DefinitionsError(f"{path}, line {number} names no character")


def _header(row: list[str], line: int, path: Path) -> tuple[int, list[int], list[int]] | None:
    """The number of columns, those of characters and those of definitions, if `row` is a header; None if it is data."""
    lower = [name.lower() for name in row] if _names_columns(row) else []
    names = column_names(lower, line, path, DefinitionsError)
    keys = [names.index(name) for name in _KEYS if name in names]
    values = [names.index(name) for name in _VALUES if name in names]
    if not keys and not values:
        return None
    if not keys or not values:
        raise DefinitionsError(
            f"{path}, line {line} names the columns {short_repr(', '.join(names))}; {_HEADER_ADVICE}"
        )
    return len(names), keys, values


def _names_columns(row: list[str]) -> bool:
    return any(name.strip().lower() in (*_KEYS, *_VALUES) for name in row) and _parse_codepoint(row[0].strip()) is None


def _without_header(row: list[str], line: int, delimiter: str, path: Path) -> int:
    columns = max(number for number, field in enumerate(row, 1) if field.strip())
    if columns > 2:
        or_quote = "" if delimiter == "\t" else ", or put quotation marks around a text that has the delimiter in it"
        raise DefinitionsError(
            f"{path}, line {line} has {columns} columns, and no line names them; {_HEADER_ADVICE}{or_quote}"
        )
    if len(row) == 1:
        raise DefinitionsError(f"{path}, line {line}: {short_repr(row[0])} has no tab or comma before a definition")
    return 2


def _collect(rows: Iterable[Row], path: Path, text: str = "") -> dict[int, str]:
    """Code point → its definitions, in order, each once, joined with "; ".

    The places of rows are numbers of lines, or offsets in `text` if that is given.
    """
    found: dict[int, str | dict[str, None]] = {}
    before: tuple[int, int] | None = None  # the place of the previous row, and its code point
    bare = False  # whether any code point without U+ is certainly hexadecimal
    unclear: tuple[str, int] | None = None
    for key, definition, place in rows:
        codepoint = _parse_codepoint(key)
        if codepoint is None:
            raise DefinitionsError(f"{path}, line {_line_number(text, place) if text else place}: {_invalid_key(key)}")
        if isinstance(key, str) and len(key) > 1 and key[0] not in "Uu":
            if len(key) > 4 and key.isdecimal():
                unclear = unclear or (key, place)
            else:
                bare = True
        if before is not None and before[0] == place and before[1] != codepoint:
            raise DefinitionsError(
                f"{path}, line {place}: U+{before[1]:04X} {chr(before[1])} and U+{codepoint:04X} {chr(codepoint)} are "
                "two characters; a row defines one"
            )
        before = place, codepoint
        meaning = definition.strip()
        there = found.setdefault(codepoint, meaning)
        if isinstance(there, dict):
            there[meaning] = None
        elif there != meaning:
            found[codepoint] = {there: None, meaning: None}
    if unclear is not None and not bare:
        raise DefinitionsError(
            f"{path}, line {unclear[1]}: {unclear[0]} may be decimal or hexadecimal; write U+ before hexadecimal code "
            "points, or the character itself"
        )
    return {c: texts if isinstance(texts, str) else "; ".join(filter(None, texts)) for c, texts in found.items()}


_CODE_POINT = re.compile(r"[Uu]\+([0-9A-Fa-f]{4,6})(?: (\S+))?|([0-9A-F]{4,6}|(?=[a-f]*[0-9])[0-9a-f]{4,6})(?: (\S+))?")


def _parse_codepoint(key: object) -> int | None:
    """锂, U+9502, 9502, `U+9502 锂` or, from JSON, the number 38146, as a code point; None for anything else."""
    if isinstance(key, int) and not isinstance(key, bool):
        return key if 0 < key <= 0x10FFFF and _is_character(key) else None
    if not isinstance(key, str):
        return None
    if len(key) == 1:
        return ord(key) if _is_character(ord(key)) else None
    match = _CODE_POINT.fullmatch(key)
    if match is None:
        return None
    codepoint, character = int(match[1] or match[3], 16), match[2] or match[4]
    if not _is_character(codepoint):
        return None
    # Normalization by editors and archives turns compatibility ideographs into unified ones.
    same = character is None or character in (chr(codepoint), unicodedata.normalize("NFC", chr(codepoint)))
    return codepoint if same else None


def _is_character(codepoint: int) -> bool:
    """Whether it is a code point, and no surrogate."""
    return codepoint <= 0x10FFFF and not 0xD800 <= codepoint <= 0xDFFF


def _invalid_key(key: object) -> str:
    if isinstance(key, str) and (match := _CODE_POINT.fullmatch(key)):
        codepoint = int(match[1] or match[3], 16)
        if not _is_character(codepoint):
            return f"{short_repr(key)} is not the code point of a character; the last is U+10FFFF"
        return f"{short_repr(key)}: U+{codepoint:04X} is {chr(codepoint)}; correct one of the two"
    if isinstance(key, str) and all(ord(character) > 0x2E7F for character in key):
        return f"{short_repr(key)} is {len(key)} characters; a row defines one"
    if not isinstance(key, str):
        return f"{short_repr(key)} is not a code point; write one such as U+9502, or the character"
    return f"{short_repr(key)} is not one character, or its code point such as U+9502; in a header, {_HEADER_ADVICE}"


def cache_file() -> Path:
    """The path of a downloaded Unihan.zip, by the XDG base directory specification."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "glyffctl" / "Unihan.zip"


def installed_definitions() -> Path | None:
    """Unihan on this machine: downloaded before, or from the system's unicode-data package; None without either."""
    names = ["Unihan.zip", *(_READINGS + packing for packing in _PACKINGS)]
    candidates = [cache_file(), *(_SYSTEM_FOLDER / name for name in names)]
    return next((path for path in candidates if path.is_file()), None)


def download_unihan(target: Path) -> Iterator[tuple[int, int | None]]:
    """Download Unihan.zip from unicode.org, or $GLYFFCTL_UNIHAN_URL, and check that it is complete.

    Args:
        target: the file to write.

    Yields:
        Bytes so far, and in all where that is known.

    Raises:
        DefinitionsError: the download fails, or is not a complete Unihan.zip.
        OutputError: `target` cannot be written.
    """
    url = os.environ.get(URL_VARIABLE) or UNIHAN_URL
    with atomic_file(target) as temporary:
        with temporary.open("wb") as file:
            done = 0
            for chunk, total in _download_chunks(url):
                file.write(chunk)
                done += len(chunk)
                if done > LARGEST_TABLE:
                    raise DefinitionsError(f"the download from {url} does not end; {_HOW_TO_GET}")
                yield done, total
        _check_unihan(temporary, url)


def _download_chunks(url: str) -> Iterator[tuple[bytes, int | None]]:
    try:
        with urllib.request.urlopen(url, timeout=30) as response:
            length = response.headers.get("Content-Length")
            while chunk := response.read(1 << 16):
                yield chunk, int(length) if length else None
    except (OSError, http.client.HTTPException, ValueError) as error:
        why = error.reason if isinstance(error, urllib.error.URLError) else error
        raise DefinitionsError(f"cannot download {url}: {why}; {_HOW_TO_GET}") from error


def _check_unihan(path: Path, url: str) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
        count = 0 if broken else sum(bool(entry.definition) for entry in read_definitions(path).values())
    except (zipfile.BadZipFile, *_ZIP_ERRORS, zlib.error, EOFError, DefinitionsError):
        count = 0
    if count <= FEWEST_DEFINITIONS:
        raise DefinitionsError(f"the download from {url} is not a complete Unihan.zip; {_HOW_TO_GET}")
