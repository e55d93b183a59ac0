"""Reading files that anyone may have made: what is wrong with one ends in one plain line.

What is no plain file is refused before it is opened: a pipe would be waited for, and /dev/zero has no end. Nothing is
read further than what is expected can reach: a few bytes can claim gigabytes, and unpack to them.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import re
import stat
import tomllib
from pathlib import Path
from typing import Any

from glyffctl.core.errors import GlyffError
from glyffctl.core.io.atomic import reason

LARGEST_SETTINGS = 1 << 22
"""Bytes of a file of settings, at most; that of a data folder of 10,000 fonts has 1.5 million."""
LARGEST_TOML = 1 << 20
"""Bytes; ten thousand prompts have 500,000."""
LARGEST_TABLE = 1 << 25
"""Bytes of a table of characters, unpacked; the largest of Unihan's has 12 million."""
LARGEST_RECORD = 1 << 28
"""Bytes of what the program itself writes down of characters or steps; for 21,000 glyphs 4.5 million."""
LARGEST_PICTURE = 1 << 28
"""Bytes of a file that holds a picture: a sheet of 10,000 takes a tenth of it."""
LONGEST_LINE = 1 << 20
"""Characters."""
_LONGEST_NUMBER = 300  # digits: what has more is none as a float either
_LONGEST_SHOWN = 60
# A key of TOML with more than 30 parts (a.b.c…): tomllib's memory and time grow with their square, to 1 TB for 1 MB.
_MANY_PARTS = re.compile(r"""(?<![\w\\-])(?:(?:[\w-]++|"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){30}""")


def check_file(path: Path, error: type[GlyffError], most: int | None = None) -> None:
    """See that `path` is a plain file, or a link to one.

    Raises:
        error: it is not, or nothing is there, or it has more than `most` bytes.
    """
    try:
        state = path.stat()
    except FileNotFoundError:
        raise error(f"{path} does not exist") from None
    except OSError as cause:
        raise error(f"cannot read {path}: {reason(cause)}") from cause
    except ValueError as cause:  # a name that no file can have
        raise error(f"cannot read {str(path)!r}: {cause}") from cause
    if stat.S_ISDIR(state.st_mode):
        raise error(f"cannot read {path}: it is a folder, and a file was expected")
    if not stat.S_ISREG(state.st_mode):
        raise error(f"cannot read {path}: it is a pipe or a device, and a file was expected")
    if most is not None and state.st_size > most:
        raise too_large(path, error, most)


def too_large(path: Path, error: type[GlyffError], most: int) -> GlyffError:
    """What is wrong with a file of more than `most` bytes."""
    return error(f"cannot read {path}: it is larger than {most >> 20} MiB, and so not what was expected")


def read_bytes(path: Path, error: type[GlyffError], most: int) -> bytes:
    """All of a file.

    Raises:
        error: it is no plain file, cannot be read, or has more than `most` bytes.
    """
    check_file(path, error, most)
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)  # the files of /proc have more than they say
    except OSError as cause:
        raise error(f"cannot read {path}: {reason(cause)}") from cause
    if len(data) > most:
        raise too_large(path, error, most)
    return data


def digest(path: Path, error: type[GlyffError], most: int) -> str:
    """sha256 of a file, to say later which one it was.

    Raises:
        error: see `read_bytes`.
    """
    check_file(path, error, most)
    sha256, length = hashlib.sha256(), 0
    try:
        with path.open("rb") as file:
            while chunk := file.read(1 << 18):
                sha256.update(chunk)
                length += len(chunk)
                if length > most:
                    raise too_large(path, error, most)
    except OSError as cause:
        raise error(f"cannot read {path}: {reason(cause)}") from cause
    return sha256.hexdigest()


def read_packed(path: Path, error: type[GlyffError], most: int = LARGEST_TABLE) -> bytes:
    """All of a file, unpacked if it is packed with gzip or bzip2.

    Raises:
        error: see `read_bytes`; `most` holds before and after. Or a line has more than `LONGEST_LINE` bytes.
        OSError, EOFError, zlib.error: it is damaged.
    """
    data = read_bytes(path, error, most)
    if data.startswith(b"\x1f\x8b"):
        data = gzip.GzipFile(fileobj=io.BytesIO(data)).read(most + 1)
    elif data.startswith(b"BZh"):
        data = bz2.BZ2File(io.BytesIO(data)).read(most + 1)
    if len(data) > most:
        raise too_large(path, error, most)
    check_lines(data, path, error)
    return data


def check_lines(data: bytes, path: Path, error: type[GlyffError]) -> None:
    """See that no line, ended by LF or CR, has more than `LONGEST_LINE` bytes: what parses it takes many times as much.

    Raises:
        error: one has.
    """
    long = (line for line in io.BytesIO(data) if len(line) > LONGEST_LINE)
    if any(len(part[0]) > LONGEST_LINE for line in long for part in re.finditer(rb"[^\r]+", line)):
        raise error(f"cannot read {path}: it has a line of more than {LONGEST_LINE:,} bytes")


def read_text(path: Path, error: type[GlyffError], most: int = LARGEST_SETTINGS) -> str:
    """A file of UTF-8 text, without the byte order mark that some editors put in front.

    Raises:
        error: see `read_bytes`; or it is not UTF-8.
    """
    try:
        return read_bytes(path, error, most).decode("utf-8-sig")
    except UnicodeDecodeError as cause:
        raise error(f"{path} is not UTF-8 text: {cause.reason} at byte {cause.start}") from cause


def read_json(path: Path, error: type[GlyffError]) -> dict[str, Any]:
    """A file that is one JSON object.

    Raises:
        error: see `read_text`; or it is not that.
    """
    try:
        plain = parse_json(read_text(path, error))
    except ValueError as cause:
        raise error(f"cannot read {path}: it is not JSON ({cause})") from cause
    if not isinstance(plain, dict):
        raise error(f"cannot use {path}: it is not a JSON object")
    return plain


def read_toml(path: Path, error: type[GlyffError]) -> dict[str, Any]:
    """A TOML file.

    Raises:
        error: see `read_text`; or it is not that.
    """
    text = read_text(path, error, LARGEST_TOML)
    if _MANY_PARTS.search(text):
        raise error(f"cannot use {path}: it has a key of more than 30 parts")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as cause:
        raise error(f"{path} is not a TOML file: {cause}") from cause
    except ValueError as cause:  # Python's own limit
        raise error(f"{path} is not a TOML file: it holds a number of thousands of digits") from cause
    except RecursionError as cause:
        raise error(f"{path} is not a TOML file: it is nested too deep") from cause


def parse_json(text: str, *, unique: bool = False) -> Any:
    """Values from JSON, without what Python alone takes: whole numbers without end, text that UTF-8 cannot write.

    Args:
        unique: refuse an object that names a key twice, of which Python keeps the last.

    Raises:
        ValueError: it is not JSON, or not that; the message says what it is.
    """
    try:
        plain = json.loads(text, parse_int=_whole, object_pairs_hook=_unique if unique else None)
        if "\\u" in text:
            json.dumps(plain, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    except UnicodeEncodeError:
        raise ValueError("it holds half of a surrogate pair, which is no character") from None
    return plain


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen = set[str]()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"it names {short_repr(twice)} twice")
    return found


def _whole(digits: str) -> int:
    if len(digits) > _LONGEST_NUMBER:
        raise ValueError(f"it holds a whole number of {len(digits):,} digits")
    return int(digits)


def short_repr(value: object) -> str:
    """A value from a file, as a message shows it: cut where it is long."""
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…"
