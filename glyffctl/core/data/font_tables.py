"""The tables of a font file, and a minimal font for FreeType made from them.

Programs differ in which character map of a font they use. So that coverage and drawing agree, all maps are merged here,
and FreeType gets the merged one alone: see `character_map` and `drawing_font`.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import fontTools.encodings.codecs  # noqa: F401 (registers the codecs x_mac_…_ttx)
import numpy as np
from fontTools.ttLib import TTFont, woff2
from fontTools.ttLib.tables._c_m_a_p import CmapSubtable

from glyffctl.core.errors import FontError, first_line
from glyffctl.core.io.atomic import reason
from glyffctl.core.io.reading import check_file

LARGEST_FONT = 1 << 29
"""Bytes of a font file; the largest of Noto CJK has 27 million."""
GET_FONT_AGAIN = "get the font file again"

_SFNT = (b"\0\1\0\0", b"OTTO", b"true", b"ttcf", b"wOFF", b"wOF2")
_OTHER_KINDS = (
    (b"\x01fcp", "a bitmap font in the format PCF; give a font with outlines (.ttf, .otf)"),
    (b"STARTFONT", "a bitmap font in the format BDF; give a font with outlines (.ttf, .otf)"),
    (b"MZ", "a bitmap font for Windows, or a program; give a font with outlines (.ttf, .otf)"),
    (b"%!PS", "PostScript, perhaps a Type 1 font; convert it to .otf"),
    (b"\x80\x01", "a Type 1 font; convert it to .otf"),
    (b"SplineFontDB", "a source file of FontForge; generate a .ttf or .otf from it"),
    (b"\x1f\x8b", "packed with gzip; unpack it"),
    (b"PK\x03\x04", "a ZIP archive; unpack it and name the fonts in it"),
    (b"7z\xbc\xaf", "a 7z archive; unpack it and name the fonts in it"),
    (b"Rar!", "a RAR archive; unpack it and name the fonts in it"),
    (b"version https://git-lfs", "a Git LFS pointer and not the font; run `git lfs pull`"),
    (b"%PDF", "a PDF document; give a .ttf or .otf"),
    (b"<", "a web page or XML; download the font again"),
)
_BITMAP_TABLES = ("EBLC", "CBLC", "bloc", "sbix", "SVG ")
# No others: bitmaps would replace outlines at some sizes, and damage in other tables does not matter.
_TABLES_FOR_DRAWING = (
    *("head", "hhea", "hmtx", "maxp", "OS/2", "loca", "glyf", "cvt ", "fpgm", "prep", "CFF ", "CFF2"),
    *("fvar", "avar", "gvar", "cvar", "HVAR", "MVAR"),
)
# fontTools maps code points to glyph names; with these names no table of names is parsed.
_GLYPH_NAMES = [f"glyph{number:05}" for number in range(1 << 16)]
_CMAP_FORMATS = (0, 2, 4, 6, 12, 13)
# The order of FreeType and HarfBuzz: largest repertoire first, symbols last.
_UNICODE = ((3, 10), (0, 6), (0, 4), (3, 1), (0, 3), (0, 2), (0, 1), (0, 0), (2, 1), (3, 0))
_LEGACY = {
    (3, 2): ("Shift_JIS", "cp932"),
    (3, 3): ("GBK", "gb18030"),
    (3, 4): ("Big5", "cp950"),
    (3, 5): ("Wansung", "cp949"),
    (3, 6): ("Johab", "johab"),
    (1, 1): ("Shift_JIS", "x_mac_japanese_ttx"),
    (1, 2): ("Big5", "x_mac_trad_chinese_ttx"),
    (1, 3): ("EUC-KR", "x_mac_korean_ttx"),
    (1, 25): ("GB 2312", "x_mac_simp_chinese_ttx"),
}
_FIRST_HAN = 0x2E80
UNMAPPED_CODE_POINT = 0x10FFFF
"""A noncharacter, which no font may map: fonts of `drawing_font` draw .notdef for it."""


class CharacterMap(NamedTuple):
    """The merged character maps of a face."""

    glyphs: dict[int, int]
    """Code point → glyph, from 1 to the number of glyphs - 1."""
    without_glyph: frozenset[int]
    """Code points mapped to glyphs that the font does not have."""
    glyph_count: int
    """Glyphs of the font."""
    remarks: tuple[str, ...]
    """Irregularities, as they continue "its character map …"."""


class FontTables:
    """The tables of one face, loaded lazily; `open_face` makes one.

    Attributes:
        path: of the font file.
        version: of its format.
        faces: of the file.
    """

    def __init__(self, path: Path, font: TTFont) -> None:
        self.path, self._font = path, font
        self.version: str = font.reader.sfntVersion
        self.faces: int = getattr(font.reader, "numFonts", 1)

    def __contains__(self, tag: str) -> bool:
        return tag in self._font.reader.tables

    def raw(self, tag: str) -> bytes:
        """The bytes of a table, uncompressed.

        Raises:
            FontError: it is missing or damaged.
        """
        if tag not in self:
            raise FontError(f"cannot read {self.path}: the font has no table {tag!r}; {GET_FONT_AGAIN}")
        try:
            data: bytes = self._font.reader[tag]
        except MemoryError:
            raise
        except Exception as error:  # of zlib, brotli or fontTools
            raise self._damaged(tag, error) from error
        return data

    def parsed(self, tag: str) -> Any:
        """A table, parsed by fontTools.

        Raises:
            FontError: it is missing or damaged.
        """
        self.raw(tag)
        try:
            table = self._font[tag]
            if hasattr(table, "ERROR"):  # fontTools keeps the bytes of tables that it cannot parse
                raise ValueError("its content cannot be parsed")
            return table
        except MemoryError:
            raise
        except Exception as error:  # the parsers of fontTools raise anything
            raise self._damaged(tag, error) from error

    def parse_subtable(self, data: bytes) -> dict[int, int]:
        """Code → glyph of one subtable of the character map, without glyph 0, which stands for no glyph.

        Raises:
            Exception: any, from fontTools.
        """
        table = CmapSubtable.newSubtable(int.from_bytes(data[:2], "big"))
        table.platformID = table.platEncID = 0
        table.decompileHeader(data, self._font)
        names: dict[int, str] = table.cmap
        return {code: number for code, name in names.items() if (number := int(name[len("glyph") :]))}

    def _damaged(self, tag: str, error: Exception) -> FontError:
        return FontError(
            f"cannot read {self.path}: its table {tag!r} is damaged ({first_line(error, 100)}); {GET_FONT_AGAIN}"
        )


@contextmanager
def open_face(path: Path, index: int = 0) -> Iterator[FontTables]:
    """Open face `index` of a TrueType, OpenType, WOFF or WOFF2 file.

    Raises:
        FontError: the file cannot be read, or is in another format.
    """
    check_file(path, FontError, LARGEST_FONT)
    try:
        file = path.open("rb")
    except OSError as error:
        raise FontError(f"cannot read {path}: {reason(error)}") from error
    # Opened here because TTFont leaves the file open if it is no font.
    with file, _quiet():
        _check_kind(path, file.read(32))
        file.seek(0)
        try:
            font = TTFont(file, fontNumber=index, lazy=True)
        except MemoryError:
            raise
        except Exception as error:  # the parsers of fontTools raise anything
            raise FontError(f"cannot read {path} as a font: {first_line(error, 100)}; {GET_FONT_AGAIN}") from error
        with font:
            if font.flavor != "woff2":  # one compressed stream, already unpacked
                tables = font.reader.tables.values()
                if max((entry.offset + entry.length for entry in tables), default=0) > path.stat().st_size:
                    raise FontError(f"{path} is cut short; {GET_FONT_AGAIN}")
            font.setGlyphOrder(_GLYPH_NAMES)
            try:
                yield FontTables(path, font)
            finally:
                font.tables.clear()  # breaks a reference cycle that would keep 30 MB a face


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the log of fontTools off the terminal: our errors and remarks report what matters."""
    logger = logging.getLogger("fontTools")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)


def _check_kind(path: Path, begin: bytes) -> None:
    if not begin:
        raise FontError(f"cannot read {path} as a font: the file is empty; {GET_FONT_AGAIN}")
    if begin.startswith(b"wOF2"):
        if not woff2.haveBrotli:
            raise FontError(
                f"cannot read {path}: WOFF2 needs the package brotli (pip install brotli), or convert it to .ttf"
            )
        if begin[4:8] == b"ttcf":
            raise FontError(f"cannot read {path}: a collection in WOFF2 is not supported; convert it to .ttc")
    if begin.startswith(_SFNT):
        return
    for magic, what in _OTHER_KINDS:
        if begin.lstrip().startswith(magic):
            raise FontError(f"cannot read {path} as a font: it is {what}")
    raise FontError(
        f"cannot read {path} as a font: it begins with {begin[:8]!r}, unlike any TrueType, OpenType or WOFF file; "
        "give another file"
    )


def check_outlines(font: FontTables, glyphs: Iterable[int]) -> None:
    """Check that at least one of `glyphs` has an outline.

    Raises:
        FontError: the font has no outlines, or only bitmaps.
    """
    if "CFF " in font or "CFF2" in font:
        return
    pictures = [tag for tag in _BITMAP_TABLES if tag in font]
    if "glyf" in font and (not pictures or _any_outline(font, glyphs)):
        return
    has = "and no bitmaps either"
    if pictures:
        sizes = ", ".join(map(str, _bitmap_sizes(font.raw(pictures[0]), pictures[0])))
        has = "only pictures in SVG" if pictures[0] == "SVG " else f"only bitmaps of {sizes or 'unknown'} pixels"
    raise FontError(f"cannot draw with {font.path}: it has no outlines, {has}; give a font with outlines")


def _any_outline(font: FontTables, glyphs: Iterable[int]) -> bool:
    lengths = np.diff(_outline_offsets(font).astype(np.int64))
    return bool((lengths[[glyph for glyph in glyphs if glyph < len(lengths)]] > 0).any())


def has_bitmaps(font: FontTables) -> bool:
    """Whether the font also has bitmaps or SVG pictures, which are not drawn."""
    return any(tag in font for tag in _BITMAP_TABLES)


def _bitmap_sizes(data: bytes, tag: str) -> list[int]:
    """Pixels per em of each set of bitmaps."""
    count = min(int.from_bytes(data[4:8], "big"), 64)
    if tag == "sbix":
        places = [int.from_bytes(data[8 + 4 * k : 12 + 4 * k], "big") for k in range(count)]
        sizes = {int.from_bytes(data[place : place + 2], "big") for place in places}
    else:  # records of 48 bytes, with ppemY in the 46th
        sizes = {data[place] for k in range(count) if (place := 8 + 48 * k + 45) < len(data)}
    return sorted(sizes - {0})


def character_map(font: FontTables) -> CharacterMap:
    """Merge all character maps of a face.

    Where Unicode maps differ, the one that FreeType and HarfBuzz prefer wins. Maps in Big5, GBK, Shift_JIS and the like
    are used if no Unicode map has an East Asian character.

    Raises:
        FontError: no map can be parsed.
    """
    count = _glyph_count(font)
    found, unread = _load_maps(font)
    remarks: list[str] = []
    merged: dict[int, int] = {}
    for kind in reversed(_UNICODE):
        merged |= found.get(kind, {})
    if all(code < _FIRST_HAN for code in merged):
        for kind, (name, codec) in _LEGACY.items():
            if kind in found:
                merged = _to_unicode(found[kind], codec) | merged
                remarks.append(f"is in {name}, not in Unicode, and was converted")
                break
    if not merged and unread:
        raise FontError(f"cannot read {font.path}: its character map {unread[0]}; {GET_FONT_AGAIN}")
    if not found:
        kinds = ", ".join(f"platform {p}, encoding {e}" for p, e, _ in _subtables(font.raw("cmap"))) or "nothing"
        raise FontError(
            f"cannot read {font.path}: its character map is for {kinds}, and not for Unicode, Big5, GBK, Shift_JIS or "
            "another supported encoding; convert it"
        )
    merged.pop(UNMAPPED_CODE_POINT, None)
    without_glyph = frozenset(code for code, glyph in merged.items() if glyph >= count)
    glyphs = {code: glyph for code, glyph in merged.items() if glyph < count}
    return CharacterMap(glyphs, without_glyph, count, (*remarks, *unread))


def _load_maps(font: FontTables) -> tuple[dict[tuple[int, int], dict[int, int]], list[str]]:
    """Code → glyph of each map by platform and encoding, and what is wrong with maps that cannot be parsed."""
    data = font.raw("cmap")
    found: dict[tuple[int, int], dict[int, int]] = {}
    read: dict[int, dict[int, int]] = {}
    unread: list[str] = []
    for platform, encoding, offset in _subtables(data):
        kind = (platform, encoding)
        form = int.from_bytes(data[offset : offset + 2], "big")
        if kind in found or (kind not in _UNICODE and kind not in _LEGACY) or form == 14:  # variation sequences
            continue
        where = f"for platform {platform}, encoding {encoding}"
        if form not in _CMAP_FORMATS:
            unread.append(f"{where} is in format {form}, which is not supported")
            continue
        try:
            if offset not in read:
                read[offset] = font.parse_subtable(_subtable(data, offset, form))
            found[kind] = read[offset]
        except MemoryError:
            raise
        except Exception as error:  # the parsers of fontTools raise anything
            unread.append(f"{where} is damaged ({first_line(error, 100)})")
    return found, unread


def _glyph_count(font: FontTables) -> int:
    count: int = font.parsed("maxp").numGlyphs
    if "glyf" in font:
        count = min(count, len(_outline_offsets(font)) - 1)
    return count


def _outline_offsets(font: FontTables) -> np.ndarray[Any, Any]:
    """The offsets of outlines in the table glyf, and the end of the last one, in units of one or two bytes."""
    data, width = font.raw("loca"), 4 if font.parsed("head").indexToLocFormat else 2
    return np.frombuffer(data[: len(data) // width * width], f">u{width}")


def _subtables(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Platform, encoding and offset of each subtable."""
    for place in range(4, 4 + 8 * int.from_bytes(data[2:4], "big"), 8):
        if place + 8 <= len(data):
            yield struct.unpack(">HHL", data[place : place + 8])


def _subtable(data: bytes, offset: int, form: int) -> bytes:
    wide = form in (12, 13)
    length = int.from_bytes(data[offset + 4 : offset + 8] if wide else data[offset + 2 : offset + 4], "big")
    if not length or offset + length > len(data):
        raise ValueError("it is cut short")
    return data[offset : offset + length]


def _to_unicode(codes: Mapping[int, int], codec: str) -> dict[int, int]:
    """Convert a map of codes of one or two bytes to code points, without codes that are no characters."""
    glyphs = {}
    for code, glyph in codes.items():
        character = code.to_bytes(1 if code < 256 else 2, "big").decode(codec, "ignore")
        if len(character) == 1:
            glyphs[ord(character)] = glyph
    return glyphs


def drawing_font(path: Path, index: int) -> bytes:
    """Make a font file of one face, with the tables for drawing and `character_map` as its only map.

    Raises:
        FontError: see `open_face` and `character_map`.
    """
    with open_face(path, index) as font:
        tables = {tag: font.raw(tag) for tag in _TABLES_FOR_DRAWING if tag in font}
        tables["cmap"] = _cmap_table(character_map(font).glyphs)
        version = font.version
    directory, place = [], 12 + 16 * len(tables)
    for tag, data in sorted(tables.items()):
        directory.append(struct.pack(">4s3L", tag.encode("latin-1"), 0, place, len(data)))  # FreeType ignores checksums
        place += len(data) + -len(data) % 4
    body = [data + bytes(-len(data) % 4) for _, data in sorted(tables.items())]
    return b"".join((version.encode("latin-1"), struct.pack(">4H", len(tables), 0, 0, 0), *directory, *body))


def _cmap_table(glyphs: Mapping[int, int]) -> bytes:
    """A cmap with one subtable of format 12: runs of consecutive code points with consecutive glyphs."""
    pairs = np.array(sorted(glyphs.items()), dtype=np.int64).reshape(-1, 2)
    codes, numbers = pairs.T
    starts = np.flatnonzero(np.diff(codes, prepend=-2) * (1 << 20) + np.diff(numbers, prepend=-2) != (1 << 20) + 1)
    ends = np.append(starts[1:], len(codes)) - 1 if len(starts) else starts
    groups = np.stack((codes[starts], codes[ends], numbers[starts]), 1).astype(">u4").tobytes()
    head = struct.pack(">HHHHL", 0, 1, 3, 10, 12)
    return head + struct.pack(">HHLLL", 12, 0, 16 + len(groups), 0, len(groups) // 12) + groups
