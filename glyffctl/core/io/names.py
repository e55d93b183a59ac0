"""Names of unknown origin: made safe for text files and terminals, kept inside a folder, and put in order."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from glyffctl.core.errors import GlyffError

LONGEST_NAME = 100
"""Characters of a font's name that are shown: OpenType recommends fewer than 64, and allows 65,535 bytes."""


def utf8_name(name: str | Path) -> str:
    """A name that UTF-8 can encode: bytes that were not UTF-8, which Python holds as surrogates, become '?'."""
    return str(name).encode("utf-8", "replace").decode("utf-8")


def printable(text: str) -> str:
    """`text` with control and bidi characters shown as escapes: a file name cannot steer a terminal."""
    return "".join(c if c.isprintable() or c == " " else c.encode("unicode_escape").decode() for c in text)


def check_name(path: Path, error: type[GlyffError]) -> None:
    """Check that the name of `path` is UTF-8, before safetensors refuses it after the work.

    Raises:
        error: it is not.
    """
    if utf8_name(path) != str(path):
        raise error(f"cannot use {path}: its name is not UTF-8; choose another")


def check_inside(name: str, where: Path, error: type[GlyffError]) -> None:
    """Check that the file `name`, which the file `where` refers to, is in the folder of `where`.

    Raises:
        error: it is absolute, or has "..".
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise error(f"{where} names {name!r}, which is outside its folder")


def by_number(name: str | Path) -> list[tuple[int, str]]:
    """A key for sorting by which fish-2 comes before fish-10; only the digits 0 to 9 count as such."""
    parts = re.split(r"([0-9]{1,18})", str(name))  # every second one is digits
    return [(int(part), "") if place % 2 else (-1, part) for place, part in enumerate(parts)]
