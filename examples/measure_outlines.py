"""Measure traced outlines beside those of the font that drew the pictures: measure_outlines.py DATA FONT FACE [COUNT].

DATA are pictures of one font by `glyffctl prepare`, FONT is its file, FACE the number of the face in it. Outlines are
rendered again by FreeType, without hinting, at the size of the pictures. Distances are in units of a picture of
128x128. Needs freetype-py. Values are means with 95 % intervals.
"""

import sys
import time
from io import BytesIO
from pathlib import Path
from typing import Any

import freetype
import numpy as np
import torch
from fontTools.pens.recordingPen import DecomposingRecordingPen
from fontTools.ttLib import TTFont
from scipy.spatial import cKDTree

from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.data.subset import evenly_spaced
from glyffctl.core.estimates import mean
from glyffctl.core.outlines.curves import evaluate
from glyffctl.core.outlines.font import ASCENT, DESCENT, EM_FRACTION, UNITS, FontGlyph, build_font
from glyffctl.core.outlines.outline import Outline, Segment
from glyffctl.core.outlines.trace import trace
from glyffctl.workflows.events import finish

Array = np.ndarray[Any, np.dtype[Any]]
FLAGS = freetype.FT_LOAD_NO_HINTING | freetype.FT_LOAD_RENDER


def base_line(size: int, middle: float) -> float:
    """Pixels from the top of a picture to the base line of a glyph whose em box has its middle at `middle` em."""
    return size * (0.5 + middle * EM_FRACTION)


def rendered(face: freetype.Face, glyph: int, size: int, middle: float) -> Array:
    """The glyph with its em box in the middle of the picture, drawn without hinting."""
    base = base_line(size, middle)
    face.set_char_size(round(size * EM_FRACTION * 64))
    face.set_transform(freetype.Matrix(0x10000, 0, 0, 0x10000), freetype.Vector(0, round((round(base) - base) * 64)))
    face.load_glyph(glyph, FLAGS)
    bitmap, slot, rim = face.glyph.bitmap, face.glyph, size
    canvas = np.zeros((size + 2 * rim, size + 2 * rim), np.uint8)
    if bitmap.rows:
        ink = np.array(bitmap.buffer, np.uint8).reshape(bitmap.rows, bitmap.pitch)[:, : bitmap.width]
        left, top = slot.bitmap_left + size // 16, round(base) - slot.bitmap_top
        canvas[rim + top : rim + top + bitmap.rows, rim + left : rim + left + bitmap.width] = ink
    return 255 - canvas[rim:-rim, rim:-rim]


def font_contours(glyphs: Any, name: str, size: int) -> list[list[Segment]]:
    """The font's own outline, in pixels of a picture."""
    pen = DecomposingRecordingPen(glyphs)
    glyphs[name].draw(pen)
    contours: list[list[Segment]] = []
    for what, points in pen.value:
        if what == "moveTo":
            first = here = np.array(points[0], float)
            contours.append([])
        elif what in ("lineTo", "curveTo"):
            contours[-1].append(np.array([here, *points], float))
            here = contours[-1][-1][-1]
        elif (here != first).any():
            contours[-1].append(np.array([here, first]))
    scale = size * EM_FRACTION / 1000
    return [[segment * (scale, -scale) for segment in contour] for contour in contours]


def along(contours: list[list[Segment]], steps: int = 24) -> Array:
    t = np.linspace(0, 1, steps, endpoint=False)
    lines = [s[0] + (s[1] - s[0]) * np.linspace(0, 1, 96)[:, None] for c in contours for s in c if len(s) == 2]
    return np.concatenate([*lines, *(evaluate(s[None], t[None])[0] for c in contours for s in c if len(s) == 4)])


def corners(contours: list[list[Segment]], degrees: float) -> Array:
    found = []
    for contour in contours:
        for k, after in enumerate(contour):
            u, v = contour[k - 1][-1] - contour[k - 1][-2], after[1] - after[0]
            if abs(np.degrees(np.arctan2(u[0] * v[1] - u[1] * v[0], u @ v))) > degrees:
                found.append(after[0])
    return np.array(found).reshape(-1, 2)


def share_near(places: Array, others: Array, unit: float) -> float:
    near = cKDTree(others).query(places)[0] <= unit if len(others) else np.zeros(len(places))
    return float(near.mean()) if len(places) else 1.0


def compare(outline: Outline, truth: list[list[Segment]], columns: dict[str, list[float]], shift: Array | None) -> None:
    unit = outline.size / 128
    ours, theirs = along(outline.contours), along(truth)
    if shift is None:  # pictures are centred by whole pixels
        shift = (((ours.max(0) + ours.min(0)) - (theirs.max(0) + theirs.min(0))) / 2).round()
    truth = [[segment + shift for segment in contour] for contour in truth]
    theirs = theirs + shift
    there, back = cKDTree(theirs).query(ours)[0] / unit, cKDTree(ours).query(theirs)[0] / unit
    columns["distance"].append((there.mean() + back.mean()) / 2)
    columns["largest distance"].append(max(there.max(), back.max()))
    columns["points, of the font's"].append(outline.points / sum(len(s) - 1 for c in truth for s in c))
    columns["corners found"].append(share_near(corners(truth, 30), corners(outline.contours, 15), unit))
    columns["corners right"].append(share_near(corners(outline.contours, 30), corners(truth, 5), unit))


def measure(pictures: Array, truths: list[list[list[Segment]]], name: str, shift: Array | None = None) -> None:
    started = time.process_time()
    outlines = [trace(picture) for picture in pictures]
    seconds = (time.process_time() - started) / len(pictures)
    made = (FontGlyph(0xF0000 + k, "", outline) for k, outline in enumerate(outlines))
    font, data = finish(build_font(made, "Measured", "otf", str)), BytesIO()
    font.save(data)
    data.seek(0)
    face, size = freetype.Face(data), pictures.shape[1]
    columns: dict[str, list[float]] = {
        key: []
        for key in (
            "wrong pixels", "points, of the font's", "distance", "largest distance", "corners found", "corners right"
        )
    }  # fmt: skip
    for k, (outline, truth) in enumerate(zip(outlines, truths, strict=True)):
        again = rendered(face, font.getGlyphID(f"u{0xF0000 + k:X}"), size, (ASCENT + DESCENT) / 2 / UNITS)
        columns["wrong pixels"].append(float(((again > 127) != (pictures[k] > 127)).mean()))
        compare(outline, truth, columns, shift)
    cells = [f"{e.value:.4f} ({e.low:.4f}-{e.high:.4f})" for e in (mean(torch.tensor(c)) for c in columns.values())]
    worst = np.array(columns["wrong pixels"])
    print(f"| {name} | {' | '.join(cells)} | {worst.max():.4f} | {(worst > 0.01).sum()} | {seconds * 1000:.0f} ms |")


glyphs = open_glyphs(Path(sys.argv[1]))
index = evenly_spaced(torch.arange(len(glyphs)), int(sys.argv[4]) if len(sys.argv) > 4 else 500)
codepoints = [glyphs.characters[int(row)].codepoint or 0 for row in glyphs.character_of[index]]
source, size = TTFont(sys.argv[2], fontNumber=int(sys.argv[3])), glyphs.size
names, drawn = source.getBestCmap(), source.getGlyphSet()
truths = [font_contours(drawn, names[codepoint], size) for codepoint in codepoints]
print(f"{len(index)} glyphs of {size}x{size}; {UNITS} units per em")
print("| pictures | wrong pixels | points, of the font's | distance | largest distance | corners found | corners right "
      "| worst, wrong pixels | glyphs above 1 % | time |")  # fmt: skip
print("|---|---|---|---|---|---|---|---|---|---|")
measure(glyphs.images(index)[:, 0].numpy(), truths, "as prepared, hinted")
face = freetype.Face(sys.argv[2], int(sys.argv[3]))
plain = np.stack([rendered(face, source.getGlyphID(names[codepoint]), size, 0.38) for codepoint in codepoints])
measure(plain, truths, "without hinting", np.array([size / 16, base_line(size, 0.38)]))
