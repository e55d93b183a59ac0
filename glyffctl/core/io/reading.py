"""Reading untrusted files: anything wrong with one becomes an error of one plain line.

Only regular files are opened: a pipe would block, and /dev/zero has no end. Every read has a limit: a few bytes can
claim, or unpack to, gigabytes.
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
"""Bytes of a file of settings; the manifest of a data folder of 10,000 fonts has 1.5 million."""
LARGEST_TOML = 1 << 20
"""Bytes; ten thousand prompts have 500,000."""
LARGEST_TABLE = 1 << 25
"""Bytes of a table of characters, unpacked; the largest of Unihan's has 12 million."""
LARGEST_RECORD = 1 << 28
"""Bytes of a table of characters or a log that glyffctl writes; for 21,000 glyphs 4.5 million."""
LARGEST_PICTURE = 1 << 28
"""Bytes of a picture file; a sheet of 10,000 glyphs takes a tenth."""
LONGEST_LINE = 1 << 20
"""Characters of a line."""
_LONGEST_NUMBER = 300  # digits; larger numbers do not fit a float either
_LONGEST_SHOWN = 60
# Dotted keys of more than 30 parts: tomllib's memory and time grow with the square of the parts, to 1 TB for 1 MB.
_MANY_PARTS = re.compile(r"""(?<![\w\\-])(?:(?:[\w-]++|"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){30}""")


def check_file(path: Path, error: type[GlyffError], most: int | None = None) -> None:
    """Check that `path` is a regular file, or a link to one.

    Raises:
        error: it is not, or does not exist, or has more than `most` bytes.
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
    """The error for a file of more than `most` bytes."""
    return error(f"cannot read {path}: it is larger than {most >> 20} MiB, and so not the expected kind of file")


def read_bytes(path: Path, error: type[GlyffError], most: int) -> bytes:
    """Read a file.

    Raises:
        error: it is no regular file, cannot be read, or has more than `most` bytes.
    """
    check_file(path, error, most)
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)  # files in /proc are larger than they claim
    except OSError as cause:
        raise error(f"cannot read {path}: {reason(cause)}") from cause
    if len(data) > most:
        raise too_large(path, error, most)
    return data


def file_digest(path: Path, error: type[GlyffError], most: int) -> str:
    """The sha256 of a file, in hex.

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
    """Read a file, and unpack gzip or bzip2.

    Raises:
        error: see `read_bytes`, where `most` limits packed and unpacked bytes; or a line has more than `LONGEST_LINE`.
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
    """Check that no line, ended by LF or CR, has more than `LONGEST_LINE` bytes: parsing takes a multiple of that.

    Raises:
        error: a line is longer.
    """
    if _has_short_lines(data):
        return
    long = (line for line in io.BytesIO(data) if len(line) > LONGEST_LINE)
    if any(len(part[0]) > LONGEST_LINE for line in long for part in re.finditer(rb"[^\r]+", line)):
        raise error(f"cannot read {path}: it has a line of more than {LONGEST_LINE:,} bytes")


def _has_short_lines(data: bytes) -> bool:
    """Whether every `LONGEST_LINE` bytes have the end of a line among them; seen without looking at each line."""
    start = 0
    while len(data) - start > LONGEST_LINE:
        end = data.rfind(b"\n", start, start + LONGEST_LINE)
        if end < 0:
            return False
        start = end + 1
    return True


def read_text(path: Path, error: type[GlyffError], most: int = LARGEST_SETTINGS) -> str:
    """Read a file of UTF-8 text, without its byte order mark.

    Raises:
        error: see `read_bytes`; or it is not UTF-8.
    """
    try:
        return read_bytes(path, error, most).decode("utf-8-sig")
    except UnicodeDecodeError as cause:
        raise error(f"{path} is not UTF-8 text: {cause.reason} at byte {cause.start}") from cause


def read_json(path: Path, error: type[GlyffError]) -> dict[str, Any]:
    """Load a file that is one JSON object.

    Raises:
        error: see `read_text`; or it is not a JSON object.
    """
    try:
        plain = parse_json(read_text(path, error))
    except ValueError as cause:
        raise error(f"cannot read {path}: it is not JSON ({cause})") from cause
    if not isinstance(plain, dict):
        raise error(f"cannot use {path}: it is not a JSON object")
    return plain


def read_toml(path: Path, error: type[GlyffError]) -> dict[str, Any]:
    """Load a TOML file.

    Raises:
        error: see `read_text`; or it is not TOML.
    """
    text = read_text(path, error, LARGEST_TOML)
    if _MANY_PARTS.search(text):
        raise error(f"cannot use {path}: it has a key of more than 30 parts")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as cause:
        raise error(f"{path} is not a TOML file: {cause}") from cause
    except ValueError as cause:  # Python limits the digits of an integer
        raise error(f"{path} is not a TOML file: it holds a number of thousands of digits") from cause
    except RecursionError as cause:
        raise error(f"{path} is not a TOML file: it is nested too deeply") from cause


def parse_json(text: str, *, unique: bool = False) -> Any:
    """Parse JSON; refuse integers of unlimited length and text that UTF-8 cannot encode, which Python accepts.

    Args:
        text: the JSON.
        unique: refuse objects that name a key twice, of which Python keeps the last.

    Raises:
        ValueError: it is not JSON, or refused; the message says why.
    """
    try:
        plain = json.loads(text, parse_int=_whole, object_pairs_hook=_unique if unique else None)
        if "\\u" in text:
            json.dumps(plain, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except UnicodeEncodeError:
        raise ValueError("it has half of a surrogate pair, which is no character") from None
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
    """The repr of a value from a file, for messages; at most 60 characters and an ellipsis."""
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…"
