"""What strangers call things: made fit for a file of text, for a terminal and a page, and held inside a folder."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from glyffctl.core.errors import GlyffError

LONGEST_NAME = 100
"""Characters of a font's name that are told: OpenType asks for fewer than 64, and a file can hold 65,535 bytes."""


def utf8_name(name: str | Path) -> str:
    """A name as UTF-8 can write it: what Python holds as halves of surrogate pairs, bytes that are no UTF-8, as '?'."""
    return str(name).encode("utf-8", "replace").decode("utf-8")


def printable(text: str) -> str:
    """`text` with control and bidi characters shown as escapes: a file name cannot steer a terminal."""
    return "".join(c if c.isprintable() or c == " " else c.encode("unicode_escape").decode() for c in text)


def check_name(path: Path, error: type[GlyffError]) -> None:
    """See that the name of `path` is UTF-8: safetensors opens no other, and would say so after the work.

    Raises:
        error: it is not.
    """
    if utf8_name(path) != str(path):
        raise error(f"cannot use {path}: its name is not UTF-8; choose another")


def check_inside(name: str, where: Path, error: type[GlyffError]) -> None:
    """See that the file `name` of a list in `where` stays in the folder of the list.

    Raises:
        error: it is absolute, or goes up.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise error(f"{where} names {name!r}, which is outside its folder")
