"""What a glyph shows: a character with its captions, in a font."""

from __future__ import annotations

from typing import NamedTuple


class Character(NamedTuple):
    """What a glyph shows and what it means. `codepoint` is None in image folders that do not name one."""

    codepoint: int | None
    character: str
    definition: str
    radical: int | None  # 1 to 214, the Kangxi radical
    alternate_captions: tuple[str, ...] = ()  # used in training beside the definition


class Font(NamedTuple):
    """A face that glyphs are drawn with: name of the file, index of the face in it, full name of the face."""

    file: str
    face: int
    name: str
