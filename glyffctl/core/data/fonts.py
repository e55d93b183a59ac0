"""Font files, their faces, what they cover, and glyphs as pictures.

Coverage is what the character maps say, never a comparison of pictures: a character is covered when they send it to a
glyph of the font other than glyph 0 (.notdef). That same glyph is drawn: see `font_tables`. Variable fonts are drawn
at Regular, weight 400, unless another weight is asked for, and at the default of their other axes.
"""

from __future__ import annotations

import io
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
_SYSTEM_SUFFIXES = {".ttf", ".otf", ".ttc", ".otc"}  # what those who draw titles with it can read, too
REGULAR = 400
LIGHTEST, HEAVIEST = 100, 1000
"""Weights that can be asked for; 400 is Regular, 700 Bold."""
MOST_ALIKE = 5
"""Unrelated characters that a font may draw alike before that is taken for a box in place of what it lacks."""
_LONGEST_CANVAS, _LARGEST_CANVAS = 30_000, 1 << 26  # pixels; FreeType draws nothing longer than 32,767
Fit = Literal["ink", "metrics"]
Picture = np.ndarray[Any, np.dtype[np.uint8]]

# The em square fills 7/8 of the picture. Ideographs are made to fill their em nearly edge to edge (the longer
# side of the ink is 0.94 em at the median and 0.98 em at most in Noto Sans CJK), so 1/16 on each side is a
# margin that keeps strokes off the border without spending pixels on paper.
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
    """The characters that its character map sends to glyphs beyond the last."""
    shared: tuple[tuple[int, frozenset[int]], ...] = ()
    """Glyphs that stand for more than `MOST_ALIKE` unrelated characters, each with all its characters."""
    axes: tuple[float, ...] = ()
    """Where it is drawn on the axes of a variable font, in the font's order."""
    weight: float | None = None
    """Its place on the axis of weight, if it has one."""
    remarks: tuple[str, ...] = ()
    """What is out of the ordinary with it, after "its character map …"."""
    has_bitmaps: bool = False
    """Whether it has bitmaps or the like beside its outlines."""


def find_font_files(paths: Iterable[Path]) -> list[Path]:
    """Font files among `paths`: files as they are, folders searched to any depth by suffix.

    Raises:
        FontError: a path does not exist, or a folder holds no font.
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
    """The installed font that fontconfig takes for simplified Chinese sans-serif, and the other Chinese ones.

    One font, not all: a set with one style is what the reference trains on, and every further font multiplies
    the work. The others are there to be named.

    Raises:
        FontError: fontconfig is not installed or knows no Chinese font.
    """
    advice = "name font files or a folder of them: `glyffctl prepare fonts/`"
    known = sorted({Path(line) for line in _fontconfig("fc-list", "--format=%{file}\n", ":lang=zh") if line})
    listed = [path for path in known if path.suffix.lower() in _SYSTEM_SUFFIXES]
    if not listed:
        others = f" in a format that is read (there is {known[0]})" if known else ""
        raise FontError(f"fontconfig knows no Chinese font{others}; install one (Noto Sans CJK has most) or {advice}")
    matched = [Path(line) for line in _fontconfig("fc-match", "--format=%{file}\n", "sans:lang=zh-cn")]
    # fc-match always answers with something, Chinese or not.
    chosen = next((path for path in matched if path in listed), listed[0])
    return chosen, [path for path in listed if path != chosen]


def _fontconfig(*command: str) -> list[str]:
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        raise FontError(
            f"cannot ask fontconfig for fonts ({command[0]} does not run); install it or name font files: "
            "`glyffctl prepare fonts/`"
        ) from error
    return result.stdout.splitlines()


def read_faces(path: Path, weight: int | None = None) -> list[Face]:
    """All faces of a font file; those of a variable font at `weight`, or at Regular.

    Raises:
        FontError: it is no font that is read, it is cut short or damaged, it has no outlines or no character map, or
            its axis of weight does not reach to `weight`.
    """
    first, count = _read_face(path, 0, weight)
    faces, sets = [first], {first.codepoints: first.codepoints}
    for index in range(1, count):
        face, _ = _read_face(path, index, weight)
        # Faces of a collection mostly cover the same characters: held, and sent to another process, once.
        faces.append(replace(face, codepoints=sets.setdefault(face.codepoints, face.codepoints)))
    return faces


def _read_face(path: Path, index: int, weight: int | None) -> tuple[Face, int]:
    """One face, and how many faces its file has."""
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
    """Ascent and descent in em. OpenType: the typographic ones of an ideographic font bound its em box."""
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
    """The full name of a face, or of the family of a variable one; the file's where the font has none."""
    name = None
    if "name" in font:
        with suppress(FontError, UnicodeError):  # a font with damaged names draws as well
            table = font.parsed("name")
            name = (table.getDebugName(16) or table.getDebugName(1)) if "fvar" in font else None
            name = name or table.getDebugName(4)
    return utf8_name((name or "").strip() or font.path.stem)[:LONGEST_NAME]


def _axes(font: FontTables, weight: int | None) -> tuple[tuple[float, ...], float | None]:
    """Where on its axes a variable font is drawn, and its weight there; nothing for other fonts."""
    if "fvar" not in font:
        return (), None
    axes = font.parsed("fvar").axes
    place, drawn = [axis.defaultValue for axis in axes], None
    for number, axis in enumerate(axes):
        if axis.axisTag == "wght":
            inside = axis.minValue <= (weight or REGULAR) <= axis.maxValue
            if weight is not None and not inside:
                raise FontError(
                    f"cannot draw with {font.path} at weight {weight}: its weights go from {axis.minValue:g} to "
                    f"{axis.maxValue:g}; choose one of those"
                )
            # An axis without 400 may have a scale of its own, on which the default is Regular.
            drawn = place[number] = float(weight or REGULAR) if inside else axis.defaultValue
    return tuple(place), drawn


def _shared_glyphs(glyphs: Mapping[int, int]) -> tuple[tuple[int, frozenset[int]], ...]:
    """Glyphs that stand for many unrelated characters: the glyph, and the characters."""
    codepoints: dict[int, list[int]] = {}
    for codepoint, glyph in glyphs.items():
        codepoints.setdefault(glyph, []).append(codepoint)
    return tuple(
        (glyph, frozenset(members))
        for glyph, members in codepoints.items()
        if len(members) > MOST_ALIKE and count_unrelated(members) > MOST_ALIKE
    )


def count_unrelated(codepoints: Iterable[int]) -> int:
    """How many different characters these are, where compatibility characters count as what they are compatible to."""
    return len({unicodedata.normalize("NFKC", chr(codepoint)) for codepoint in codepoints})


_SIMPLIFIED = re.compile(r"\b(SC|CN|GB|Simplified)\b|简", re.IGNORECASE)


def choose_faces(faces: list[Face], wanted: Set[int], which: Literal["best", "all"]) -> list[Face]:
    """The faces of one file to draw: all that cover anything `wanted`, or the one that covers most of it.

    On a tie the face for simplified Chinese wins, then the first.

    Raises:
        FontError: no face covers any wanted character.
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
    """Draw characters of a face: each as (size, size) uint8, 255 paper and 0 ink, or None if it is blank.

    One scale for all glyphs of a face, so that stroke widths agree: its em square fills 7/8 of the picture. A
    glyph whose ink would leave the picture is drawn smaller, alone. `fit="ink"` centres the box of the ink;
    `fit="metrics"` centres the em box of the face and leaves the glyph where it sits in it.

    Raises:
        FontError: the face cannot be read, or FreeType cannot draw a glyph of it.
    """
    renderer = GlyphRenderer(face, size, fit)
    for codepoint in codepoints:
        yield codepoint, renderer.draw(codepoint)


class GlyphRenderer:
    """Draws with one face, see `draw_glyphs`. Making one reads the font; drawing does not.

    Raises:
        FontError: FreeType cannot open the face.
    """

    def __init__(self, face: Face, size: int, fit: Fit) -> None:
        self.face, self.size, self.fit = face, size, fit
        self._data = drawing_font(face.file, face.index)
        self._at_size = lru_cache(maxsize=4)(self._open_at)  # glyphs that are too large want a few other sizes, often
        try:
            self._font = self._at_size(size * EM_FRACTION)
        except OSError as error:
            raise FontError(f"cannot draw with {face.file} ({face.name}): FreeType says {str(error)!r}") from error

    @cached_property
    def missing(self) -> int | None:
        """The checksum of what the face shows for a character that it lacks; None if that is blank or broken."""
        with suppress(FontError):
            picture = self.draw(UNMAPPED_CODE_POINT)
            return None if picture is None else zlib.crc32(picture.data)
        return None

    def draw(self, codepoint: int) -> Picture | None:
        """One glyph.

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
            reach = max(x - ink[0], y - ink[1], ink[2] - x - size, ink[3] - y - size)
            if reach <= 0:
                return 255 - np.asarray(canvas.crop((x - left, y - top, x - left + size, y - top + size)))
            # What reaches r beyond the edge lies size/2 + r from the centre; hinting may need a second try.
            smaller = font.size * (size / 2 - 1) / (size / 2 + reach)
            if smaller < 1:  # FreeType's smallest
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
        """What is too large in the smallest size of the font, made smaller as a picture and centred."""
        share = (self.size - 2) / max(ink.size)
        width, height = (max(1, round(side * share)) for side in ink.size)
        picture = Image.new("L", (self.size, self.size))
        small = ink.resize((width, height), Image.Resampling.BOX)
        picture.paste(small, ((self.size - width) // 2, (self.size - height) // 2))
        return 255 - np.asarray(picture)
