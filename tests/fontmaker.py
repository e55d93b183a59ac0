"""Small fonts made to measure."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from fontTools.ttLib import TTCollection, TTFont
from fontTools.ttLib.tables._c_m_a_p import CmapSubtable
from fontTools.ttLib.tables.DefaultTable import DefaultTable
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


def make_variable(
    plain: Path,
    path: Path,
    codepoint: int,
    wider: int,
    axis: tuple[float, float, float] = (400, 400, 900),
    tag: str = "wght",
) -> Path:
    """`plain` with an axis (least, default, most) whose upper end makes the box of one glyph `wider` units wider."""
    font = TTFont(plain)
    builder = FontBuilder(font=font)
    builder.setupFvar([(tag, *axis, "Axis")], [])
    corners = len(font["glyf"][font.getBestCmap()[codepoint]].coordinates)
    moved = [(0, 0)] * (corners - 2) + [(wider, 0)] * 2 + [(0, 0)] * 4  # the last four are the phantom points
    builder.setupGvar({font.getBestCmap()[codepoint]: [TupleVariation({tag: (0, 1, 1)}, moved)]})
    builder.save(path)
    return path


def set_maps(path: Path, maps: Sequence[tuple[int, int, int, Mapping[int, int]]]) -> Path:
    """Give a font these character maps only: platform, encoding, format and code → glyph number, there or not."""
    font = TTFont(path)
    names = font.getGlyphOrder()
    font["cmap"].tables = []
    for platform, encoding, form, glyphs in maps:
        table = CmapSubtable.newSubtable(form)
        table.platformID, table.platEncID, table.language = platform, encoding, 0
        table.cmap = {
            code: names[number] if number < len(names) else f"glyph{number:05}" for code, number in glyphs.items()
        }
        font["cmap"].tables.append(table)
    font.save(path)
    return path


def set_raw(path: Path, **tables: bytes | None) -> Path:
    """Put these bytes in place of tables, or take tables away; an underscore stands for a space."""
    font = TTFont(path)
    for name, data in tables.items():
        tag = name.replace("_", " ")
        if data is None:
            del font[tag]
        else:
            font[tag] = DefaultTable(tag)
            font[tag].data = data
    font.save(path)
    return path


def bitmaps(*sizes: int) -> bytes:
    """A table EBLC with a record for each size, and no bitmap in any."""
    records = (bytes(44) + bytes((size, size, 1, 1)) for size in sizes)
    return b"\0\2\0\0" + len(sizes).to_bytes(4, "big") + b"".join(records)


def make_collection(paths: Sequence[Path], path: Path) -> Path:
    """A collection of these fonts."""
    collection = TTCollection()
    collection.fonts = [TTFont(each) for each in paths]
    collection.save(path)
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
