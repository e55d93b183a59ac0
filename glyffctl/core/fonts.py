"""Font files, their faces, what they cover, and glyphs as pictures.

Coverage is what the cmap says, never a comparison of pictures: a character is covered when the cmap of the
face sends it to a glyph other than glyph 0 (.notdef). Variable fonts are drawn at their default instance.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from fontTools.ttLib import TTFont
from PIL import Image, ImageDraw, ImageFont

from glyffctl.core.errors import FontError
from glyffctl.core.names import LONGEST_NAME, as_text
from glyffctl.core.reading import check_file

FONT_SUFFIXES = {".ttf", ".otf", ".ttc", ".otc"}
LARGEST_FONT = 1 << 29
"""Bytes of a font file; the largest of Noto CJK has 27 million."""
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
                raise FontError(f"{path} holds no font; put .ttf, .otf, .ttc or .otc files there")
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
    listed = sorted({Path(line) for line in _fontconfig("fc-list", "--format=%{file}\n", ":lang=zh") if line})
    if not listed:
        raise FontError(f"fontconfig knows no Chinese font; install one (Noto Sans CJK has most) or {advice}")
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


def read_faces(path: Path) -> list[Face]:
    """All faces of a font file.

    Raises:
        FontError: it is not a font, or it is cut short or broken.
    """
    check_file(path, FontError, LARGEST_FONT)
    try:
        first, count = _read_face(path, 0)
        faces, sets = [first], {first.codepoints: first.codepoints}
        for index in range(1, count):
            face, _ = _read_face(path, index)
            # Faces of a collection mostly cover the same characters: held, and sent to another process, once.
            faces.append(replace(face, codepoints=sets.setdefault(face.codepoints, face.codepoints)))
        return faces
    except FontError:
        raise
    except Exception as error:  # fontTools raises whatever its parsers stumble over
        raise FontError(f"cannot read {path} as a font: it is broken or no font at all; replace it") from error


def _read_face(path: Path, index: int) -> tuple[Face, int]:
    """One face, and how many faces its file has."""
    # Opened here because TTFont leaves the file open when it turns out to be no font.
    with path.open("rb") as file, TTFont(file, fontNumber=index, lazy=True) as font:
        end = max(entry.offset + entry.length for entry in font.reader.tables.values())
        if end > path.stat().st_size:
            raise FontError(f"{path} is cut short; get the font file again")
        missing = font.getGlyphName(0)
        codepoints = {
            codepoint
            for table in font["cmap"].tables
            if table.isUnicode() and table.format != 14  # 14 holds variation sequences
            for codepoint, glyph in table.cmap.items()
            if glyph != missing
        }
        em = font["head"].unitsPerEm
        # OpenType: the typographic ascender and descender of an ideographic font bound its em box.
        if "OS/2" in font:
            ascent, descent = font["OS/2"].sTypoAscender, font["OS/2"].sTypoDescender
        else:
            ascent, descent = font["hhea"].ascent, font["hhea"].descent
        name = as_text(font["name"].getDebugName(4) or path.stem)[:LONGEST_NAME]
        font.tables.clear()  # they hold the font, which holds them: 30 MB a face that would be freed late
        face = Face(path, index, name, frozenset(codepoints), ascent / em, descent / em)
        return face, getattr(font.reader, "numFonts", 1)


_SIMPLIFIED = re.compile(r"\b(SC|CN|GB|Simplified)\b|简", re.IGNORECASE)


def choose_faces(faces: list[Face], wanted: Set[int], which: Literal["best", "all"]) -> list[Face]:
    """The faces of one file to draw: all that cover anything `wanted`, or the one that covers most of it.

    On a tie the face for simplified Chinese wins, then the first.

    Raises:
        FontError: no face covers any wanted character.
    """
    covering = [face for face in faces if face.codepoints & wanted]
    if not covering:
        raise FontError(
            f"{faces[0].file} has none of the {len(wanted)} characters that have a definition; it is not a Chinese font"
        )
    if which == "all":
        return covering
    return [max(covering, key=lambda f: (len(f.codepoints & wanted), bool(_SIMPLIFIED.search(f.name))))]


def draw_glyphs(
    face: Face, codepoints: Iterable[int], size: int, fit: Fit = "ink"
) -> Iterator[tuple[int, Picture | None]]:
    """Draw characters of a face: each as (size, size) uint8, 255 paper and 0 ink, or None if it is blank.

    One scale for all glyphs of a face, so that stroke widths agree: its em square fills 7/8 of the picture. A
    glyph whose ink would leave the picture is drawn smaller, alone. `fit="ink"` centres the box of the ink;
    `fit="metrics"` centres the em box of the face and leaves the glyph where it sits in it.

    Raises:
        FontError: FreeType cannot open the face or draw a glyph of it.
    """
    try:
        brush = _Brush(face, size, fit)
        for codepoint in codepoints:
            yield codepoint, brush.draw(chr(codepoint))
    except (OSError, ValueError) as error:
        raise FontError(f"cannot draw with {face.file} ({face.name}): {error}; replace the file") from error


class _Brush:
    def __init__(self, face: Face, size: int, fit: Fit) -> None:
        self.face, self.size, self.fit = face, size, fit
        self.font = ImageFont.truetype(
            str(face.file), size * EM_FRACTION, face.index, layout_engine=ImageFont.Layout.BASIC
        )

    def draw(self, character: str) -> Picture | None:
        size, font = self.size, self.font
        while True:
            canvas, window = self._place(character, font)
            ink = canvas.getbbox()
            if ink is None:
                return None
            reach = max(window[0] - ink[0], window[1] - ink[1], ink[2] - window[2], ink[3] - window[3])
            if reach <= 0:
                return 255 - np.asarray(canvas.crop(window))
            # What reaches r beyond the edge lies size/2 + r from the centre; hinting may need a second try.
            font = font.font_variant(size=font.size * (size / 2 - 1) / (size / 2 + reach))

    def _place(self, character: str, font: ImageFont.FreeTypeFont) -> tuple[Image.Image, tuple[int, int, int, int]]:
        """The glyph on a canvas of three times the size, and the window of it that is the picture."""
        size = self.size
        left, top = size, size
        x, baseline = left, top + size
        if self.fit == "metrics":
            x = left + round((size - font.getlength(character)) / 2)
            baseline = top + round((size + (self.face.ascent + self.face.descent) * font.size) / 2)
        canvas = Image.new("L", (3 * size, 3 * size))
        ImageDraw.Draw(canvas).text((x, baseline), character, fill=255, font=font, anchor="ls")
        ink = canvas.getbbox()
        if self.fit == "ink" and ink is not None:
            left, top = (ink[0] + ink[2] - size) // 2, (ink[1] + ink[3] - size) // 2
        return canvas, (left, top, left + size, top + size)
