"""A font as a UFO, the folder of text files that font editors work on (unifiedfontobject.org, version 3)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fontTools.pens.pointPen import SegmentToPointPen
from fontTools.ttLib import TTFont
from fontTools.ufoLib import UFOWriter

from glyffctl.core.outlines.font import ASCENT, DESCENT, RECORD_TAG, UNITS

RECORD = "glyffctl.record"
"""In lib.plist: what the table meta of a font has."""


class _Glyph:
    """What a .glif file says besides the outline, under the names that fontTools reads."""

    def __init__(self, width: int, codepoints: list[int]) -> None:
        self.width, self.height, self.unicodes = width, UNITS, codepoints


def write_ufo(font: TTFont, folder: Path) -> None:
    """Write a font of `build_font` into a new folder: outlines, code points, ligatures, names, and the record.

    Args:
        font: with the cubic outlines of the format "otf", which a UFO has as they are.
        folder: that is not there yet.

    Raises:
        OSError: it cannot be written.
    """
    writer = UFOWriter(folder, fileCreator="glyffctl")
    shapes, codepoints = font.getGlyphSet(), dict[str, list[int]]()
    for codepoint, name in sorted(font.getBestCmap().items()):
        codepoints.setdefault(name, []).append(codepoint)
    glyphs = writer.getGlyphSet()
    for name in font.getGlyphOrder():

        def draw(pen: Any, name: str = name) -> None:
            shapes[name].draw(SegmentToPointPen(pen))

        glyphs.writeGlyph(name, _Glyph(shapes[name].width, codepoints.get(name, [])), draw)
    glyphs.writeContents()
    writer.writeLayerContents(["public.default"])
    writer.writeInfo(_Info(font))
    writer.writeLib({"public.glyphOrder": font.getGlyphOrder(), RECORD: font["meta"].data[RECORD_TAG].decode("utf-8")})
    if "GSUB" in font:
        writer.writeFeatures("\n".join(_features(font)) + "\n")
    writer.close()


class _Info:
    """fontinfo.plist, under the names that it has there."""

    def __init__(self, font: TTFont) -> None:
        names, os2 = font["name"], font["OS/2"]
        self.familyName, self.styleName = names.getDebugName(1), names.getDebugName(2)
        self.postscriptFontName = names.getDebugName(6)
        self.versionMajor, self.versionMinor, self.unitsPerEm = 1, 0, UNITS
        self.ascender, self.descender = ASCENT, DESCENT
        self.xHeight, self.capHeight = os2.sxHeight, os2.sCapHeight
        self.openTypeNameDescription = names.getDebugName(10)
        self.openTypeOS2TypoAscender, self.openTypeOS2TypoDescender = os2.sTypoAscender, os2.sTypoDescender
        self.openTypeOS2TypoLineGap, self.openTypeOS2Type = 0, list[int]()
        self.openTypeOS2WinAscent, self.openTypeOS2WinDescent = os2.usWinAscent, os2.usWinDescent
        self.openTypeOS2Selection = [7]  # line heights by the typographic metrics
        self.openTypeHheaAscender, self.openTypeHheaDescender, self.openTypeHheaLineGap = ASCENT, DESCENT, 0


def _features(font: TTFont) -> Iterable[str]:
    """The ligatures in the language of feature files."""
    yield "languagesystem DFLT dflt;\nlanguagesystem hani dflt;\nlanguagesystem latn dflt;\n\nfeature liga {"
    for lookup in font["GSUB"].table.LookupList.Lookup:
        for table in lookup.SubTable:
            for first, ligatures in table.ligatures.items():
                for ligature in ligatures:
                    yield f"    sub {' '.join([first, *ligature.Component])} by {ligature.LigGlyph};"
    yield "} liga;"
