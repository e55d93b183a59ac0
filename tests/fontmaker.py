"""Small fonts made to measure."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from fontTools.ttLib import TTFont
from fontTools.ttLib.tables.TupleVariation import TupleVariation

Box = tuple[int, int, int, int]
EM = 1000


def make_font(path: Path, boxes: Mapping[int, Box | None], undrawn: tuple[int, ...] = (), name: str = "Boxes") -> Path:
    """A TrueType font whose glyphs are boxes (left, bottom, right, top) in a 1000-unit em; None is blank.

    The cmap sends `undrawn` code points to .notdef.
    """
    order = [".notdef", *(f"u{codepoint:05X}" for codepoint in boxes)]
    glyphs = {".notdef": _glyph((100, 0, 900, 800))} | {
        f"u{codepoint:05X}": _glyph(box) for codepoint, box in boxes.items()
    }
    builder = FontBuilder(EM, isTTF=True)
    builder.setupGlyphOrder(order)
    builder.setupCharacterMap(
        {codepoint: f"u{codepoint:05X}" for codepoint in boxes} | dict.fromkeys(undrawn, ".notdef")
    )
    builder.setupGlyf(glyphs)
    edges = {".notdef": 100} | {f"u{codepoint:05X}": box[0] if box else 0 for codepoint, box in boxes.items()}
    builder.setupHorizontalMetrics({glyph: (EM, left) for glyph, left in edges.items()})
    builder.setupHorizontalHeader(ascent=880, descent=-120)
    builder.setupNameTable({"familyName": name, "styleName": "Regular", "fullName": name})
    builder.setupOS2(sTypoAscender=880, sTypoDescender=-120)
    builder.setupPost()
    path.parent.mkdir(parents=True, exist_ok=True)
    builder.save(path)
    return path


def make_variable(plain: Path, path: Path, codepoint: int, wider: int) -> Path:
    """The font `plain` with an axis "wght" whose upper end makes the box of one glyph `wider` units wider."""
    font = TTFont(plain)
    builder = FontBuilder(font=font)
    builder.setupFvar([("wght", 400, 400, 900, "Weight")], [])
    corners = len(font["glyf"][font.getBestCmap()[codepoint]].coordinates)
    moved = [(0, 0)] * (corners - 2) + [(wider, 0)] * 2 + [(0, 0)] * 4  # the last four are the phantom points
    builder.setupGvar({font.getBestCmap()[codepoint]: [TupleVariation({"wght": (0, 1, 1)}, moved)]})
    builder.save(path)
    return path


def _glyph(box: Box | None) -> Any:
    pen = TTGlyphPen(None)
    if box is not None:
        left, bottom, right, top = box
        pen.moveTo((left, bottom))
        for point in ((left, top), (right, top), (right, bottom)):
            pen.lineTo(point)
        pen.closePath()
    return pen.glyph()
