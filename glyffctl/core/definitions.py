"""English definitions of characters: Unihan's own files, and tables of anyone's.

Understood are Unihan.zip, Unihan_Readings.txt, lines of `U+9502<tab>definition`, and TSV, CSV or JSON lines
of character (or code point) and definition; text files plain or packed with gzip or bzip2, in UTF-8.
"""

from __future__ import annotations

import csv
import hashlib
import http.client
import os
import re
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from glyffctl.core.errors import DefinitionsError
from glyffctl.core.files import atomic_file, reason
from glyffctl.core.reading import LARGEST_TABLE, check_file, check_lines, csv_rows, parse_json, read_packed, too_large

UNIHAN_URL = "https://www.unicode.org/Public/UCD/latest/ucd/Unihan.zip"
URL_VARIABLE = "GLYFFCTL_UNIHAN_URL"
FEWEST_DEFINITIONS = 20_000
"""A Unihan.zip with no more than this is not whole: version 15 has 22,903."""

_LARGEST_ZIP = 1 << 24  # bytes; Unihan.zip of version 15 has 7 million, and its directory is read whole
_SYSTEM_FOLDER = Path("/usr/share/unicode")
_READINGS, _SOURCES = "Unihan_Readings.txt", "Unihan_IRGSources.txt"
_PACKINGS = ("", ".bz2", ".gz")
_HOW_TO_GET = (
    f"fetch {UNIHAN_URL} yourself and name it with --definitions, or install your system's unicode-data package"
)


# Its directory can say that a file is encrypted, or packed in a way that Python does not know.
_ZIP_ERRORS = (RuntimeError, NotImplementedError)


class Entry(NamedTuple):
    """The definition of a character as written in the file, and its Kangxi radical (1 to 214) where known."""

    definition: str
    radical: int | None


def read_definitions(path: Path) -> dict[int, Entry]:
    """Code point → entry, for every character the file defines; radicals come from Unihan's kRSUnicode.

    Beside an unpacked Unihan_Readings.txt, Unihan_IRGSources.txt is read for the radicals if it is there.

    Raises:
        DefinitionsError: no such file, not UTF-8, broken, in no format we know, or without any definition.
    """
    check_file(path, DefinitionsError, LARGEST_TABLE)
    try:
        if zipfile.is_zipfile(path):
            entries = _read_zip(path)
        else:
            text = _read_text(path)
            beside = (path.with_name(_SOURCES + packing) for packing in _PACKINGS)
            sources = next((file for file in beside if file.is_file()), None)
            use_sources = sources is not None and path.name.startswith(_READINGS)
            entries = _parse(text, _read_text(sources) if sources and use_sources else "", path)
    except UnicodeDecodeError as error:
        raise DefinitionsError(f"{path} is not UTF-8 text; convert it, or give another file") from error
    except OSError as error:
        raise DefinitionsError(f"cannot read {path}: {reason(error)}; get the file again") from error
    except (ValueError, EOFError, zlib.error, csv.Error, zipfile.BadZipFile, *_ZIP_ERRORS) as error:
        raise DefinitionsError(f"cannot read {path}: {str(error)[:200]}; get the file again") from error
    if not entries:
        raise DefinitionsError(
            f"{path} defines no character; give Unihan.zip, Unihan_Readings.txt, or a table of character and "
            "definition (TSV, CSV or JSON lines)"
        )
    return entries


def digest(path: Path) -> str:
    """sha256 of a file, to say later which one it was."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_zip(path: Path) -> dict[int, Entry]:
    check_file(path, DefinitionsError, _LARGEST_ZIP)
    with zipfile.ZipFile(path) as archive:
        names = {Path(name).name: name for name in archive.namelist()}
        if _READINGS not in names:
            raise DefinitionsError(f"{path} holds no {_READINGS}; give Unicode's Unihan.zip")
        readings, sources = (
            _read_member(archive, names[name], path) if name in names else "" for name in (_READINGS, _SOURCES)
        )
    return _parse(readings, sources, path)


def _read_member(archive: zipfile.ZipFile, name: str, path: Path) -> str:
    with archive.open(name) as file:
        data = file.read(LARGEST_TABLE + 1)
    if len(data) > LARGEST_TABLE:
        raise too_large(path / name, DefinitionsError, LARGEST_TABLE)
    check_lines(data, path / name, DefinitionsError)
    return data.decode("utf-8")


def _read_text(path: Path) -> str:
    try:
        return read_packed(path, DefinitionsError).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DefinitionsError(f"{path} is not UTF-8 text; convert it, or give another file") from error
    except (OSError, EOFError, zlib.error) as error:
        raise DefinitionsError(f"cannot read {path}: {error}; get the file again") from error


_UNIHAN_LINE = re.compile(r"^U\+([0-9A-F]{4,6})\t(k\w+)\t(.+)$", re.MULTILINE)


def _parse(text: str, sources: str, path: Path) -> dict[int, Entry]:
    lines = (match[0] for match in re.finditer(r"[^\r\n]+", text))
    first = next((line for line in lines if line.strip() and not line.startswith("#")), "")
    if _UNIHAN_LINE.match(first):
        definitions = _unihan_property(text, "kDefinition")
        radicals = _unihan_property(text, "kRSUnicode") | _unihan_property(sources, "kRSUnicode")
        return {
            codepoint: Entry(definition, _radical(radicals.get(codepoint)))
            for codepoint, definition in definitions.items()
        }
    rows = _json_rows(text, path) if first.lstrip().startswith("{") else _table_rows(text, first, path)
    return {codepoint: Entry(definition, None) for codepoint, definition in rows if definition.strip()}


def _unihan_property(text: str, name: str) -> dict[int, str]:
    found = {int(m[1], 16): m[3].strip() for m in _UNIHAN_LINE.finditer(text) if m[2] == name}
    return {codepoint: value for codepoint, value in found.items() if _is_character(codepoint)}


def _is_character(codepoint: int) -> bool:
    """Whether it is a code point, and none of those that UTF-16 sets aside for itself."""
    return codepoint <= 0x10FFFF and not 0xD800 <= codepoint <= 0xDFFF


def _radical(strokes: str | None) -> int | None:
    """The radical of a kRSUnicode value such as "167.5" or "120'.3 120.3": that of its first reading."""
    match = re.match(r"[0-9]{1,3}\b", strokes) if strokes else None
    return int(match[0]) if match and int(match[0]) in range(1, 215) else None


_KEYS = ("codepoint", "character", "char")
_VALUES = ("definition", "text", "caption")


def _json_rows(text: str, path: Path) -> Iterator[tuple[int, str]]:
    for number, line in _lines(text):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
        except ValueError:
            row = None
        fields = row if isinstance(row, dict) else {}
        key = next((fields[name] for name in _KEYS if fields.get(name)), None)
        value = next((fields[name] for name in _VALUES if name in fields), None)
        if key is None or value is None:
            raise DefinitionsError(
                f"{path}, line {number}: not a JSON object with character (or codepoint) and definition"
            )
        yield _codepoint(str(key), path, number), str(value)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Those that are not empty, with their numbers: a list of them takes many times what they take themselves."""
    number, before = 1, 0
    for match in re.finditer(r"[^\n]+", text):
        number += text.count("\n", before, match.start())
        before = match.start()
        yield number, match[0]


_CSV_LINE = re.compile(r"[^\r\n]*[\r\n]+|[^\r\n]+")


def _table_rows(text: str, first: str, path: Path) -> Iterator[tuple[int, str]]:
    # TSV has no quoting: a definition may begin with a quotation mark.
    table: Iterable[tuple[int, list[str]]] = csv_rows(match[0] for match in _CSV_LINE.finditer(text))
    if "\t" in first:
        table = ((number, line.rstrip("\r").split("\t")) for number, line in _lines(text))
    columns: tuple[int, int] | None = None
    for number, row in table:
        if not any(row) or row[0].startswith("#"):
            continue
        if columns is None:
            columns = _header(row, path)
            if columns is not None:
                continue
            columns = 0, 1
        key, value = columns
        if len(row) <= max(key, value):
            raise DefinitionsError(f"{path}, line {number}: expected a character and its definition")
        yield _codepoint(row[key].strip(), path, number), row[value]


def _header(row: list[str], path: Path) -> tuple[int, int] | None:
    """The columns of character and definition if `row` names columns, None if it is data."""
    names = [name.strip().lower() for name in row]
    key = next((names.index(name) for name in _KEYS if name in names), None)
    value = next((names.index(name) for name in _VALUES if name in names), None)
    if key is None and value is None:
        return None
    if key is None or value is None:
        raise DefinitionsError(f"{path}: the first line must name both character (or codepoint) and definition")
    return key, value


def _codepoint(text: str, path: Path, line: int) -> int:
    if len(text) == 1 and _is_character(ord(text)):
        return ord(text)
    if re.fullmatch(r"[Uu]\+[0-9A-Fa-f]{4,6}", text) and _is_character(int(text[2:], 16)):
        return int(text[2:], 16)
    raise DefinitionsError(
        f"{path}, line {line}: {text[:40]!r} is neither one character nor a code point such as U+9502"
    )


def cache_file() -> Path:
    """Where a downloaded Unihan.zip is kept, by the XDG base directory specification."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "glyffctl" / "Unihan.zip"


def installed_definitions() -> Path | None:
    """The definitions on this machine: downloaded before, or of the system's unicode-data package."""
    names = ["Unihan.zip", *(_READINGS + packing for packing in _PACKINGS)]
    candidates = [cache_file(), *(_SYSTEM_FOLDER / name for name in names)]
    return next((path for path in candidates if path.is_file()), None)


def download_unihan(target: Path) -> Iterator[tuple[int, int | None]]:
    """Fetch Unihan.zip to `target`; yields bytes so far and in all. Nothing is kept unless it proves whole.

    The address is Unicode's, or $GLYFFCTL_UNIHAN_URL.

    Raises:
        DefinitionsError: it cannot be fetched, or what came is not a whole Unihan.zip.
        OutputError: `target` cannot be written.
    """
    url = os.environ.get(URL_VARIABLE) or UNIHAN_URL
    with atomic_file(target) as temporary:
        with temporary.open("wb") as file:
            done = 0
            for chunk, total in _chunks(url):
                file.write(chunk)
                done += len(chunk)
                if done > LARGEST_TABLE:
                    raise DefinitionsError(f"what comes from {url} has no end; {_HOW_TO_GET}")
                yield done, total
        _check_unihan(temporary, url)


def _chunks(url: str) -> Iterator[tuple[bytes, int | None]]:
    try:
        with urllib.request.urlopen(url, timeout=30) as response:
            length = response.headers.get("Content-Length")
            while chunk := response.read(1 << 16):
                yield chunk, int(length) if length else None
    except (OSError, http.client.HTTPException, ValueError) as error:
        why = error.reason if isinstance(error, urllib.error.URLError) else error
        raise DefinitionsError(f"cannot fetch {url}: {why}; {_HOW_TO_GET}") from error


def _check_unihan(path: Path, url: str) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
        count = 0 if broken else len(read_definitions(path))
    except (zipfile.BadZipFile, *_ZIP_ERRORS, zlib.error, EOFError, DefinitionsError):
        count = 0
    if count <= FEWEST_DEFINITIONS:
        raise DefinitionsError(f"what came from {url} is not a whole Unihan.zip; {_HOW_TO_GET}")
