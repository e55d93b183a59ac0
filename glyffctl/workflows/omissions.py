"""Why `prepare` leaves characters and glyphs out: the reasons in its report and in left_out.jsonl."""

from __future__ import annotations

from dataclasses import dataclass

OUT_OF_RANGE = "outside --range"
NO_DEFINITION = "no definition"
TOO_LONG = "the definition is longer than 2,000 characters"
NOTHING_LEFT = "the definition is Han text or only points at other characters"
NOT_COVERED = "in no font"
BLANK = "blank in the font"
NO_OUTLINE = "without an outline in the font, whose bitmaps are not drawn"
NOT_DRAWABLE = "the font library cannot draw it, or a glyph near it"
NO_SUCH_GLYPH = "the font's character map sends it to a glyph that the font does not have"
PLACEHOLDER = "the font draws it like many others, or like characters that it lacks"


@dataclass(frozen=True)
class Omission:
    """A character that is left out, of one font or (`font` is "") of all."""

    codepoint: int
    reason: str
    font: str = ""
