"""A font of outlines: a glyph for each, shown by its code point, and by its prompt where ligatures are shown."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from fontTools.fontBuilder import FontBuilder
from fontTools.misc.timeTools import timestampNow
from fontTools.pens.cu2quPen import Cu2QuPen
from fontTools.pens.t2CharStringPen import T2CharStringPen
from fontTools.pens.ttGlyphPen import TTGlyphPen
from fontTools.ttLib import TTFont, newTable
from fontTools.ttLib.tables.ttProgram import Program

from glyffctl.core.errors import UsageError
from glyffctl.core.outlines.ligatures import add_ligatures, cases, numbered, typed
from glyffctl.core.outlines.outline import Outline

FontFormat = Literal["ttf", "otf", "woff2"]
UNITS = 2048
"""Units per em."""
EM_FRACTION = 7 / 8
"""The share of a picture that the em square fills, as `prepare` draws."""
MOST_GLYPHS = 60_000
"""A font holds 65,535, and letters and digits are glyphs, too."""
_MOST_OF_ALL = 0xFFFF
RECORD_TAG = "GLFC"
"""In the table meta: the record of the glyphs, as JSON."""
ASCENT, DESCENT = 1802, -246
"""Of the ideographic em box: 0.88 and -0.12 em, as in most CJK fonts."""
_LETTER = 1024  # how wide letters are
_ASCII = string.ascii_lowercase + string.digits + string.punctuation
_PREP = bytes.fromhex("B801FF85B0048D")  # PUSHW 511 SCANCTRL PUSHB 4 SCANTYPE: thin strokes leave no gaps
_ROUNDING = 0.5  # units by which quadratic curves may differ from cubic ones


@dataclass(frozen=True)
class FontGlyph:
    """A glyph of a font.

    Attributes:
        codepoint: that shows it.
        prompt: that it was drawn of; "" gives no ligature.
        outline: of its picture. The em square fills 7/8 of the picture, and is centred.
    """

    codepoint: int
    prompt: str
    outline: Outline


def build_font(
    glyphs: Iterable[FontGlyph], family: str, format: FontFormat, record: Callable[[], str]
) -> Generator[float, None, TTFont]:
    """Build a font.

    Letters of prompts are in it as short dashes: shapers replace only what a font has.

    Args:
        glyphs: at least one; each outline is let go of once it is in the font. Code points are distinct.
        family: its name.
        format: "otf" has cubic outlines (CFF), whose outer contours turn counter-clockwise; "ttf" and "woff2" quadratic
            ones (glyf), which turn clockwise.
        record: the text to keep in the font; asked for once all glyphs are there.

    Yields:
        The number of glyphs done.

    Returns:
        The font, ready to be saved.

    Raises:
        UsageError: with the letters of the prompts there are more glyphs than a font holds.
    """
    truetype = format != "otf"
    shapes = {".notdef": _shape(_frame(), UNITS, truetype), "space": _shape([], _LETTER, truetype)}
    tops: dict[str, int] = {}
    cmap, prompts = dict[int, str](), list[str]()
    for done, glyph in enumerate(glyphs, 1):
        name = f"uni{glyph.codepoint:04X}" if glyph.codepoint < 0x10000 else f"u{glyph.codepoint:X}"
        contours = _placed(glyph.outline)
        shapes[name] = _shape(contours, UNITS, truetype)
        tops[name] = max((int(segment[:, 1].max()) for contour in contours for segment in contour), default=0)
        cmap[glyph.codepoint] = name
        prompts.append(glyph.prompt)
        yield float(done)
    pictures = list(shapes)[2:]
    ligatures = numbered([typed(prompt) for prompt in prompts])
    letters = {" ": "space"}
    if any(ligatures):
        letters |= dict.fromkeys(_ASCII, "")  # all of them, lest half of a word be shown in another font
    for character in sorted({*letters, *"".join(ligatures)} - {" "}):
        shown = next((cmap[ord(case)] for case in sorted(cases(character)) if ord(case) in cmap), None)
        if shown is None:
            shown = f"typed.{ord(character):04X}"
            shapes[shown] = _shape(_dash(), _LETTER, truetype)
        letters[character] = shown
        for case in cases(character):
            cmap.setdefault(ord(case), shown)
    if len(shapes) > _MOST_OF_ALL:
        raise UsageError(
            f"a font holds at most {_MOST_OF_ALL:,} glyphs, and the prompts alone have {len(letters):,} different "
            "letters; make several fonts"
        )
    cmap.setdefault(0x20, "space")
    cmap.setdefault(0xA0, "space")
    font = _assemble(shapes, cmap, tops, family, truetype)
    named = {
        tuple(letters[character] for character in text): name
        for text, name in zip(ligatures, pictures, strict=True)
        if text
    }
    if named:
        add_ligatures(font, named)
    font["meta"] = newTable("meta")
    font["meta"].data = {RECORD_TAG: record().encode("utf-8")}
    if format == "woff2":
        font.flavor = "woff2"
    return font


def _placed(outline: Outline) -> list[list[Any]]:
    """The contours in units of the font, with whole coordinates; contours that vanish are left out."""
    scale = UNITS / (outline.size * EM_FRACTION)
    middle = (ASCENT + DESCENT) / 2
    half = outline.size / 2 * scale
    moved = outline.moved(scale, UNITS / 2 - half, middle + half)
    placed = []
    for contour in moved.contours:
        whole = [np.round(segment).astype(int) for segment in contour]
        whole = [segment for segment in whole if (segment[-1] != segment[0]).any() or len(segment) > 2]
        if len(whole) > 1:
            placed.append(whole)
    return placed


def _frame() -> list[list[Any]]:
    """A hollow box: what is shown for characters that the font does not have."""
    left, right, low, high, line = 205, 1843, DESCENT + 205, ASCENT - 205, 82
    outer = [(left, low), (right, low), (right, high), (left, high)]
    inner = [
        (left + line, low + line),
        (left + line, high - line),
        (right - line, high - line),
        (right - line, low + line),
    ]
    return [_polygon(outer), _polygon(inner)]


def _dash() -> list[list[Any]]:
    return [_polygon([(102, 0), (922, 0), (922, 82), (102, 82)])]


def _polygon(corners: list[tuple[int, int]]) -> list[Any]:
    return [np.array([a, b]) for a, b in zip(corners, [*corners[1:], corners[0]], strict=True)]


def _shape(contours: list[list[Any]], width: int, truetype: bool) -> Any:
    """A glyph of the table glyf, or a charstring of CFF, in the few bytes that a file has."""
    pen: Any = TTGlyphPen(None) if truetype else T2CharStringPen(width, None)
    draw = Cu2QuPen(pen, _ROUNDING, reverse_direction=True) if truetype else pen
    for contour in contours:
        draw.moveTo(_plain(contour[0][0]))
        for k, segment in enumerate(contour):
            if len(segment) > 2:
                draw.curveTo(*map(_plain, segment[1:]))
            elif k < len(contour) - 1:  # closing draws the last line
                draw.lineTo(_plain(segment[1]))
        draw.closePath()
    if truetype:
        return pen.glyph(dropImpliedOnCurves=True)
    shape = pen.getCharString()
    shape.compile()
    return shape


def _plain(point: Any) -> tuple[int, int]:
    return int(point[0]), int(point[1])


def _assemble(
    shapes: dict[str, Any], cmap: dict[int, str], tops: dict[str, int], family: str, truetype: bool
) -> TTFont:
    """The font with all tables but those of ligatures and the record."""
    builder = FontBuilder(UNITS, isTTF=truetype)
    builder.setupGlyphOrder(list(shapes))
    builder.setupCharacterMap(cmap)
    postscript = re.sub(r"[^A-Za-z0-9]", "", family)[:50] or "Glyphs"
    names = {
        "familyName": family,
        "styleName": "Regular",
        "uniqueFontIdentifier": f"1.000;{postscript}-Regular",
        "fullName": f"{family} Regular",
        "psName": f"{postscript}-Regular",
        "version": "Version 1.000",
        "description": "Glyphs drawn by a diffusion model of glyffctl; the table meta records their prompts and seeds.",
    }
    if truetype:
        builder.setupGlyf(shapes, calcGlyphBounds=True)
    else:
        builder.setupCFF(names["psName"], {"FullName": names["fullName"], "FamilyName": family}, shapes, {})
    widths = {name: _LETTER if name == "space" or name.startswith("typed.") else UNITS for name in shapes}
    font: TTFont = builder.font
    lefts = _lefts(font, truetype)
    builder.setupHorizontalMetrics({name: (widths[name], lefts.get(name, 0)) for name in shapes})
    builder.setupHorizontalHeader(ascent=ASCENT, descent=DESCENT)
    builder.setupVerticalMetrics({name: (UNITS, ASCENT - tops.get(name, ASCENT)) for name in shapes})
    builder.setupVerticalHeader(ascent=UNITS // 2, descent=-UNITS // 2)
    bottom, top = _bounds(font, truetype)
    builder.setupNameTable(names, mac=False)
    builder.setupOS2(
        version=4,
        sTypoAscender=ASCENT,
        sTypoDescender=DESCENT,
        sTypoLineGap=0,
        usWinAscent=max(0, top),  # beyond these, programs may clip
        usWinDescent=max(0, -bottom),
        sxHeight=UNITS // 2,
        sCapHeight=UNITS * 7 // 10,
        fsSelection=(1 << 6) | (1 << 7),  # regular; line heights by the typographic metrics
        fsType=0,
        achVendID="NONE",
        ulCodePageRange1=1,  # Latin 1
    )
    builder.setupPost(underlinePosition=-205, underlineThickness=102, isFixedPitch=1, keepGlyphNames=True)
    font["OS/2"].recalcUnicodeRanges(font)
    # Letters are half as wide as glyphs, so that editors may take it for a font of fixed pitch.
    font["OS/2"].panose.bFamilyType, font["OS/2"].panose.bProportion = 2, 9
    if truetype:
        font["gasp"] = newTable("gasp")
        font["gasp"].version, font["gasp"].gaspRange = 1, {0xFFFF: 0x0F}  # smooth at all sizes
        font["prep"] = newTable("prep")
        font["prep"].program = Program()
        font["prep"].program.fromBytecode(_PREP)
    font["head"].created = font["head"].modified = timestampNow()
    font["head"].fontRevision = 1.0
    return font


def _lefts(font: TTFont, truetype: bool) -> dict[str, int]:
    """How far each glyph begins to the right of its origin, in units."""
    return {name: box[0] for name, box in _boxes(font, truetype).items()}


def _bounds(font: TTFont, truetype: bool) -> tuple[int, int]:
    """How far any glyph reaches below and above the base line, in units upwards."""
    boxes = _boxes(font, truetype).values()
    return min(box[1] for box in boxes), max(box[3] for box in boxes)


def _boxes(font: TTFont, truetype: bool) -> dict[str, tuple[int, ...]]:
    """The box of the ink of each glyph: left, bottom, right, top; of blank ones 0."""
    if truetype:
        glyphs = font["glyf"].glyphs.items()
        return {
            name: tuple(getattr(glyph, side, 0) for side in ("xMin", "yMin", "xMax", "yMax")) for name, glyph in glyphs
        }
    strings = font["CFF "].cff.topDictIndex[0].CharStrings
    found = {name: strings[name].calcBounds(None) or (0, 0, 0, 0) for name in strings.keys()}  # noqa: SIM118 - no mapping
    return {name: tuple(map(round, box)) for name, box in found.items()}
