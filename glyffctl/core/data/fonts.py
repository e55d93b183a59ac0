"""Font files, their faces and coverage, and glyphs drawn as pictures.

Character maps alone decide coverage: a face covers a character if its map has a glyph for it, other than glyph 0
(.notdef). The same glyph is drawn: see `font_tables`. Variable fonts are drawn at Regular (weight 400) or another given
weight, and at the default of their other axes.
"""

from __future__ import annotations

import io
import itertools
import math
import re
import subprocess
import unicodedata
import zlib
from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from glyffctl.core.data.font_tables import (
    GET_FONT_AGAIN,
    UNMAPPED_CODE_POINT,
    FontTables,
    character_map,
    check_outlines,
    drawing_font,
    has_bitmaps,
    open_face,
)
from glyffctl.core.errors import FontError
from glyffctl.core.io.names import LONGEST_NAME, utf8_name

FONT_SUFFIXES = {".ttf", ".otf", ".ttc", ".otc", ".woff", ".woff2"}
_SYSTEM_SUFFIXES = {".ttf", ".otf", ".ttc", ".otc"}  # formats that libraries which draw titles support, too
REGULAR = 400
LIGHTEST, HEAVIEST = 100, 1000
"""The range of weights; 400 is Regular, 700 Bold."""
MOST_ALIKE = 5
"""Unrelated characters that may share a picture; more, and it is a placeholder for missing characters."""
_LONGEST_CANVAS, _LARGEST_CANVAS = 30_000, 1 << 26  # pixels a side, and in all; FreeType draws at most 32,767 a side
Fit = Literal["ink", "metrics"]
Picture = np.ndarray[Any, np.dtype[np.uint8]]

# The em square fills 7/8 of the picture. Ideographs nearly fill their em (in Noto Sans CJK the longer side of the ink
# is 0.94 em at the median and at most 0.98 em), so that a margin of 1/16 keeps strokes off the border.
EM_FRACTION = 7 / 8


@dataclass(frozen=True)
class Face:
    """One face of a font file. `ascent` and `descent` (negative) bound its ideographic em box, in em."""

    file: Path
    index: int
    name: str
    codepoints: frozenset[int]
    """The characters it has a glyph for, other than .notdef."""
    ascent: float
    descent: float
    without_glyph: frozenset[int] = frozenset()
    """Characters that its character map sends to glyphs beyond the last."""
    shared: tuple[tuple[int, frozenset[int]], ...] = ()
    """Glyphs of more than `MOST_ALIKE` unrelated characters, each with its characters."""
    axes: tuple[float, ...] = ()
    """The coordinates of a variable font at which it is drawn, in the order of the font."""
    weight: float | None = None
    """The weight at which it is drawn, if it has an axis of weight."""
    remarks: tuple[str, ...] = ()
    """Irregularities, as they continue "its character map …"."""
    has_bitmaps: bool = False
    """Whether it has bitmaps or SVG pictures beside its outlines."""


def find_font_files(paths: Iterable[Path]) -> list[Path]:
    """Find font files: `paths` that are files, and those in folders, at any depth, by suffix.

    Raises:
        FontError: a path does not exist, or a folder has no font.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        if path.is_dir():
            files = sorted(f for f in path.rglob("*") if f.suffix.lower() in FONT_SUFFIXES and f.is_file())
            if not files:
                raise FontError(f"{path} holds no font; put .ttf, .otf, .ttc, .otc, .woff or .woff2 files there")
        elif path.is_file():
            files = [path]
        else:
            raise FontError(f"there is no font file or folder {path}; check the name")
        for file in files:
            found.setdefault(file.resolve(), file)
    return list(found.values())


def system_fonts() -> tuple[Path, list[Path]]:
    """Find installed Chinese fonts with fontconfig: its choice for simplified Chinese sans-serif, and the others.

    One font is the default: the reference trains on a single style, and every further font multiplies the work.

    Raises:
        FontError: fontconfig is not installed or knows no Chinese font.
    """
    advice = "name font files or a folder of them: `glyffctl prepare fonts/`"
    known = sorted({Path(line) for line in _fontconfig("fc-list", "--format=%{file}\n", ":lang=zh") if line})
    listed = [path for path in known if path.suffix.lower() in _SYSTEM_SUFFIXES]
    if not listed:
        others = f" in a supported format (there is {known[0]})" if known else ""
        raise FontError(f"fontconfig knows no Chinese font{others}; install one (Noto Sans CJK has most) or {advice}")
    matched = [Path(line) for line in _fontconfig("fc-match", "--format=%{file}\n", "sans:lang=zh-cn")]
    # fc-match always returns a font, Chinese or not.
    chosen = next((path for path in matched if path in listed), listed[0])
    return chosen, [path for path in listed if path != chosen]


def _fontconfig(*command: str) -> list[str]:
    try:
        # Names of files need not be UTF-8; Path takes them as they are.
        result = subprocess.run(command, capture_output=True, errors="surrogateescape", check=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        raise FontError(
            f"cannot list fonts: {command[0]} of fontconfig does not run; install it or name font files: "
            "`glyffctl prepare fonts/`"
        ) from error
    return result.stdout.splitlines()


def read_faces(path: Path, weight: int | None = None) -> list[Face]:
    """Parse all faces of a font file.

    Args:
        path: of the file.
        weight: of variable fonts; None is Regular.

    Raises:
        FontError: the format is not supported, the file is damaged, has no outlines or no character map, or its axis
            of weight does not include `weight`.
    """
    first, count = read_face(path, 0, weight)
    others = (read_face(path, index, weight)[0] for index in range(1, count))
    return share_sets(itertools.chain([first], others))


def share_sets(faces: Iterable[Face]) -> list[Face]:
    """The same faces with one set where they cover the same characters, as most of a collection do; also pickled."""
    shared: list[Face] = []
    sets: dict[frozenset[int], frozenset[int]] = {}
    for face in faces:
        shared.append(replace(face, codepoints=sets.setdefault(face.codepoints, face.codepoints)))
    return shared


def read_face(path: Path, index: int, weight: int | None = None) -> tuple[Face, int]:
    """Parse one face, and count the faces in its file; see `read_faces`."""
    with open_face(path, index) as font:
        found = character_map(font)
        check_outlines(font, found.glyphs.values())
        ascent, descent = _em_box(font)
        name, (axes, drawn) = _name(font), _axes(font, weight)
        remarks = list(found.remarks)
        if found.without_glyph:
            remarks.append(f"sends {len(found.without_glyph)} characters to glyphs beyond its {found.glyph_count}")
        face = Face(
            path,
            index,
            name if drawn is None else f"{name[: LONGEST_NAME - 20]}, weight {drawn:g}",
            frozenset(found.glyphs),
            ascent,
            descent,
            without_glyph=found.without_glyph,
            shared=_shared_glyphs(found.glyphs),
            axes=axes,
            weight=drawn,
            remarks=tuple(remarks),
            has_bitmaps=has_bitmaps(font),
        )
        return face, font.faces


def _em_box(font: FontTables) -> tuple[float, float]:
    """Ascent and descent in em: the typographic ones, which in OpenType bound the em box of ideographic fonts."""
    em = font.parsed("head").unitsPerEm
    if not em:
        raise FontError(f"cannot read {font.path}: its em is 0 units, see table 'head'; {GET_FONT_AGAIN}")
    ascent = descent = 0
    if "OS/2" in font:
        table = font.parsed("OS/2")
        ascent, descent = table.sTypoAscender, table.sTypoDescender
    if ascent == descent == 0:
        table = font.parsed("hhea")
        ascent, descent = table.ascent, table.descent
    return ascent / em, descent / em


def _name(font: FontTables) -> str:
    """The full name of a face, or of a variable font's family; without one, the name of the file."""
    name = None
    if "name" in font:
        with suppress(FontError, UnicodeError):  # damaged names do not affect drawing
            table = font.parsed("name")
            name = (table.getDebugName(16) or table.getDebugName(1)) if "fvar" in font else None
            name = name or table.getDebugName(4)
    return utf8_name((name or "").strip() or font.path.stem)[:LONGEST_NAME]


def _axes(font: FontTables, weight: int | None) -> tuple[tuple[float, ...], float | None]:
    """The coordinates at which a variable font is drawn, and its weight there; () and None for other fonts."""
    if "fvar" not in font:
        return (), None
    axes = font.parsed("fvar").axes
    place, drawn = [axis.defaultValue for axis in axes], None
    for number, axis in enumerate(axes):
        if axis.axisTag == "wght":
            inside = axis.minValue <= (weight or REGULAR) <= axis.maxValue
            if weight is not None and not inside:
                raise FontError(
                    f"cannot draw with {font.path} at weight {weight}: its weights are {axis.minValue:g} to "
                    f"{axis.maxValue:g}"
                )
            # An axis without 400 may have its own scale, with Regular as its default.
            drawn = place[number] = float(weight or REGULAR) if inside else axis.defaultValue
    return tuple(place), drawn


def _shared_glyphs(glyphs: Mapping[int, int]) -> tuple[tuple[int, frozenset[int]], ...]:
    """Glyphs of many unrelated characters, each with its characters."""
    codepoints: dict[int, list[int]] = {}
    for codepoint, glyph in glyphs.items():
        codepoints.setdefault(glyph, []).append(codepoint)
    return tuple(
        (glyph, frozenset(members))
        for glyph, members in codepoints.items()
        if len(members) > MOST_ALIKE and count_unrelated(members) > MOST_ALIKE
    )


def count_unrelated(codepoints: Iterable[int]) -> int:
    """Count characters; compatibility characters count as the ones they are compatible with."""
    return len({unicodedata.normalize("NFKC", chr(codepoint)) for codepoint in codepoints})


_SIMPLIFIED = re.compile(r"\b(SC|CN|GB|Simplified)\b|简", re.IGNORECASE)


def choose_faces(faces: list[Face], wanted: Set[int], which: Literal["best", "all"]) -> list[Face]:
    """Choose the faces of one file to draw.

    Args:
        faces: of the file.
        wanted: code points.
        which: "all" that cover any of `wanted`, or the "best", which covers most; on a tie the face for simplified
            Chinese, then the first.

    Raises:
        FontError: no face covers any of `wanted`.
    """
    covering = [face for face in faces if face.codepoints & wanted]
    if not covering:
        raise FontError(_no_wanted_character(faces, wanted))
    if which == "all":
        return covering
    return [max(covering, key=lambda f: (len(f.codepoints & wanted), bool(_SIMPLIFIED.search(f.name))))]


def _no_wanted_character(faces: list[Face], wanted: Set[int]) -> str:
    covered, file = set[int]().union(*(face.codepoints for face in faces)), faces[0].file
    has = f"its {len(covered)} run from U+{min(covered):04X} to U+{max(covered):04X}" if covered else "it covers none"
    lost = len(set[int]().union(*(face.without_glyph for face in faces)) & wanted)
    if lost:
        has += f", and its character map sends {lost} of the wanted ones to glyphs that it does not have"
    return f"{file} has none of the {len(wanted)} characters that have a definition: {has}; give a font that has them"


def draw_glyphs(
    face: Face, codepoints: Iterable[int], size: int, fit: Fit = "ink"
) -> Iterator[tuple[int, Picture | None]]:
    """Draw characters of a face.

    All glyphs have one scale, so that stroke widths agree: the em square fills 7/8 of the picture. Only glyphs whose
    ink would leave the picture are drawn smaller.

    Args:
        face: to draw with.
        codepoints: the characters.
        size: of the pictures, in pixels.
        fit: "ink" centres the bounding box of the ink; "metrics" centres the em box, and keeps the place of the glyph
            in it.

    Yields:
        Each code point with its picture, (size, size) uint8, 255 paper and 0 ink; None if it is blank.

    Raises:
        FontError: the face cannot be read, or FreeType cannot draw a glyph of it.
    """
    renderer = GlyphRenderer(face, size, fit)
    for codepoint in codepoints:
        yield codepoint, renderer.draw(codepoint)


class GlyphRenderer:
    """Draws glyphs of one face, see `draw_glyphs`; the constructor loads the font.

    Raises:
        FontError: FreeType cannot open the face.
    """

    def __init__(self, face: Face, size: int, fit: Fit) -> None:
        self.face, self.size, self.fit = face, size, fit
        self._data = drawing_font(face.file, face.index)
        self._at_size = lru_cache(maxsize=4)(self._open_at)  # large glyphs often need the same few other sizes
        try:
            self._font = self._at_size(size * EM_FRACTION)
        except OSError as error:
            raise FontError(f"cannot draw with {face.file} ({face.name}): FreeType says {str(error)!r}") from error

    @cached_property
    def notdef_checksum(self) -> int | None:
        """The CRC-32 of the picture of .notdef; None if it is blank or cannot be drawn."""
        with suppress(FontError):
            picture = self.draw(UNMAPPED_CODE_POINT)
            return None if picture is None else zlib.crc32(picture.data)
        return None

    def draw(self, codepoint: int) -> Picture | None:
        """Draw one glyph; None if it is blank.

        Raises:
            FontError: FreeType cannot draw it.
        """
        try:
            return self._draw(chr(codepoint))
        except OSError as error:
            raise FontError(
                f"cannot draw U+{codepoint:04X} with {self.face.file} ({self.face.name}): FreeType says {str(error)!r}"
            ) from error

    def _open_at(self, size: float) -> ImageFont.FreeTypeFont:
        font = ImageFont.truetype(io.BytesIO(self._data), size, layout_engine=ImageFont.Layout.BASIC)
        if self.face.axes:
            font.set_variation_by_axes(list(self.face.axes))
        return font

    def _draw(self, character: str) -> Picture | None:
        size, font = self.size, self._font
        while True:
            left, top, right, bottom = map(round, font.getbbox(character, anchor="ls"))
            width, height = max(1, right - left), max(1, bottom - top)
            share = min(_LONGEST_CANVAS / max(width, height), math.sqrt(_LARGEST_CANVAS / (width * height)))
            if share < 1 < font.size:
                font = self._at_size(max(1, font.size * share))
                continue
            canvas = Image.new("L", (width, height))
            ImageDraw.Draw(canvas).text((-left, -top), character, fill=255, font=font, anchor="ls")
            box = canvas.getbbox()
            if box is None:
                return None
            ink = (box[0] + left, box[1] + top, box[2] + left, box[3] + top)  # from the origin of the glyph
            x, y = self._window(character, font, ink)
            excess = max(x - ink[0], y - ink[1], ink[2] - x - size, ink[3] - y - size)
            if excess <= 0:
                return 255 - np.asarray(canvas.crop((x - left, y - top, x - left + size, y - top + size)))
            # Ink that exceeds the edge by r is size/2 + r from the centre; hinting may need another try.
            smaller = font.size * (size / 2 - 1) / (size / 2 + excess)
            if smaller < 1:  # the smallest size of FreeType
                return self._draw_reduced(canvas.crop(box))
            font = self._at_size(smaller)

    def _window(self, character: str, font: ImageFont.FreeTypeFont, ink: tuple[int, int, int, int]) -> tuple[int, int]:
        """The left and upper edge of the picture, in pixels from the origin of the glyph."""
        size = self.size
        if self.fit == "metrics":
            height = (self.face.ascent + self.face.descent) * font.size
            return -round((size - font.getlength(character)) / 2), -round((size + height) / 2)
        return (ink[0] + ink[2] - size) // 2, (ink[1] + ink[3] - size) // 2

    def _draw_reduced(self, ink: Image.Image) -> Picture:
        """Scale down the picture of a glyph that is too large even at the smallest size, and centre it."""
        share = (self.size - 2) / max(ink.size)
        width, height = (max(1, round(side * share)) for side in ink.size)
        picture = Image.new("L", (self.size, self.size))
        small = ink.resize((width, height), Image.Resampling.BOX)
        picture.paste(small, ((self.size - width) // 2, (self.size - height) // 2))
        return 255 - np.asarray(picture)
