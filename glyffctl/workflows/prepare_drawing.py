"""Drawing the characters of fonts into a data folder, without the placeholders that fonts have for missing ones."""

from __future__ import annotations

import os
import shutil
from array import array
from collections import Counter
from collections.abc import Collection, Generator, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from glyffctl.core.data.character import Character, Font
from glyffctl.core.data.dataset_writer import Format, GlyphWriter, PictureWriter, Writer
from glyffctl.core.data.font_workers import DrawnChunk, FontWorkers
from glyffctl.core.data.fonts import MOST_ALIKE, Face, Fit, choose_faces, count_unrelated
from glyffctl.core.errors import FontError
from glyffctl.core.io.names import LONGEST_NAME, utf8_name
from glyffctl.workflows.events import Caution, Event, Progress
from glyffctl.workflows.omissions import BLANK, NO_OUTLINE, NO_SUCH_GLYPH, NOT_DRAWABLE, PLACEHOLDER, Omission

PROGRESS_EVERY = 256  # glyphs


@dataclass(frozen=True)
class Look:
    """How glyphs are drawn and stored."""

    size: int
    fit: Fit
    format: Format


def read_fonts(
    read: Iterable[tuple[Path, list[Face] | FontError]],
    files: int,
    characters: Mapping[int, Character],
    which: Literal["best", "all"],
    weight: int | None = None,
) -> Generator[Event, None, tuple[list[tuple[Face, array[int]]], list[Omission]]]:
    """The faces to draw with the characters of each, and omissions where character maps name missing glyphs.

    A file that cannot be used is a Caution.

    Args:
        read: the faces of each file, or why it cannot be read; see `FontWorkers.read`.
        files: their number.
        characters: to draw.
        which: see `choose_faces`.
        weight: that was asked for.

    Raises:
        FontError: no file can be used.
    """
    jobs: list[tuple[Face, array[int]]] = []
    omissions: list[Omission] = []
    failures: list[tuple[Path, FontError]] = []
    remarks: list[tuple[Path, str]] = []
    names = Counter[str]()
    for number, (file, found) in enumerate(read, start=1):
        try:
            if isinstance(found, FontError):
                raise found
            for face in choose_faces(found, characters.keys(), which):
                # Sets would take twenty times the memory: a gigabyte for a hundred fonts.
                codepoints = array("I", (c for c in characters if c in face.codepoints))
                name = _unique_name(face.name, names)
                remarks += [(file, f"{file} ({name}): its character map {remark}") for remark in face.remarks]
                omissions += [Omission(c, NO_SUCH_GLYPH, name) for c in sorted(characters.keys() & face.without_glyph)]
                shared = tuple((glyph, some) for glyph, all_ in face.shared if (some := all_ & characters.keys()))
                empty = frozenset[int]()
                bare = replace(face, name=name, codepoints=empty, without_glyph=empty, remarks=(), shared=shared)
                jobs.append((bare, codepoints))
        except FontError as error:
            failures.append((file, error))
        yield Progress("Reading fonts", number, files, "files", file.name)
    if not jobs:
        more = f" (and {len(failures) - 1} more fonts fail too)" if len(failures) > 1 else ""
        raise FontError(f"{failures[0][1]}{more}")
    for file, failure in failures:
        yield Caution(f"left out a font: {failure}", "font-skipped", {"font": file})
    for file, remark in remarks:
        yield Caution(remark, "font-irregular", {"font": file})
    fixed = [face.name for face, _ in jobs if face.weight is None]
    if weight is not None and fixed:
        more = f" and {len(fixed) - 1} more" if len(fixed) > 1 else ""
        yield Caution(
            f"--weight {weight} changes nothing in {fixed[0]}{more}, which has no weight axis",
            "weight-ignored",
            {"weight": weight, "fonts": tuple(fixed)},
        )
    return jobs, omissions


def _unique_name(name: str, names: Counter[str]) -> str:
    """`name`, with a number behind it where another face already has that name."""
    names[name] += 1
    if names[name] == 1:
        return name
    suffix = f" ({names[name]})"
    return _unique_name(f"{name[: LONGEST_NAME - len(suffix)]}{suffix}", names)


def _labels(files: Iterable[Path]) -> dict[Path, str]:
    """A label for each file: its name, and its folders where several files have that name."""
    same: dict[str, list[Path]] = {}
    for file in files:
        same.setdefault(utf8_name(file.name), []).append(file)
    labels, taken = dict[Path, str](), Counter[str]()
    for name, group in same.items():
        above = Path(os.path.commonpath([file.absolute().parent for file in group]))
        for file in group:
            label = name if len(group) == 1 else utf8_name(file.absolute().relative_to(above).as_posix())
            labels[file] = _unique_name(label, taken)
    return labels


@dataclass
class Drawing:
    """The result of `draw`: a writer that holds what was drawn, and what is left out."""

    writer: Writer
    total: int
    glyphs_of: Counter[str] = field(default_factory=Counter)
    omissions: list[Omission] = field(default_factory=list)
    failures: dict[Path, FontError] = field(default_factory=dict)
    """The first failure of each file."""
    failed: Counter[Path] = field(default_factory=Counter)
    """Failed glyphs of each file."""


_Placeholders = dict[tuple[Path, int], set[int]]  # characters of each face, by file and index


def draw(
    workers: FontWorkers,
    jobs: list[tuple[Face, array[int]]],
    characters: Mapping[int, Character],
    folder: Path,
    look: Look,
) -> Generator[Event, None, Drawing]:
    """Draw into `folder` all but placeholders: glyphs for many unrelated characters, or for missing ones.

    Glyphs that several characters share are found before drawing. Equal pictures are found after drawing; then all
    others are drawn again.
    """
    placeholders = yield from _shared_glyphs(workers, jobs, look)
    while True:
        drawing, found = yield from _draw_once(workers, jobs, characters, folder, look, placeholders)
        if not found:
            return drawing
        for key, codepoints in found.items():
            placeholders.setdefault(key, set()).update(codepoints)
        for entry in folder.iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def _shared_glyphs(
    workers: FontWorkers, jobs: list[tuple[Face, array[int]]], look: Look
) -> Generator[Event, None, _Placeholders]:
    """Glyphs that stand for many unrelated characters; blank ones are left for the report of blank glyphs."""
    trials = [(face, [min(members)]) for face, _ in jobs for _, members in face.shared]
    placeholders: _Placeholders = {}
    for drawn in workers.draw(trials, look.size, look.fit):
        [codepoint], [outcome] = drawn.codepoints, drawn.outcomes
        if isinstance(outcome, int):
            for glyph, members in drawn.face.shared:
                if codepoint in members:
                    placeholders.setdefault((drawn.face.file, drawn.face.index), set()).update(members)
                    yield _placeholder_caution(drawn.face, members, f"has one glyph for, number {glyph}", glyph)
    return placeholders


def _placeholder_caution(face: Face, codepoints: Collection[int], how: str, glyph: int | None = None) -> Caution:
    some = ", ".join(map(chr, sorted(codepoints)[:3])) + (" …" if len(codepoints) > 3 else "")
    return Caution(
        f"left out {len(codepoints):,} characters ({some}) that {face.file} ({face.name}) {how}: it seems to be a "
        "placeholder for characters that the font lacks",
        "placeholder-skipped",
        {"font": face.file, "characters": len(codepoints), "glyph": glyph},
    )


def _draw_once(
    workers: FontWorkers,
    jobs: list[tuple[Face, array[int]]],
    characters: Mapping[int, Character],
    folder: Path,
    look: Look,
    placeholders: _Placeholders,
) -> Generator[Event, None, tuple[Drawing, _Placeholders]]:
    """Draw all but `placeholders`; returns what was drawn, and further placeholders among it."""
    labels = _labels({face.file: None for face, _ in jobs})
    omissions: list[Omission] = []
    remaining = []
    for face, codepoints in jobs:
        without = placeholders.get((face.file, face.index), set())
        omissions += [Omission(c, PLACEHOLDER, face.name) for c in codepoints if c in without]
        remaining.append((face, array("I", (c for c in codepoints if c not in without)) if without else codepoints))
    total = sum(len(codepoints) for _, codepoints in jobs)
    expected = sum(len(codepoints) for _, codepoints in remaining)
    writer = (GlyphWriter if look.format == "glyphs" else PictureWriter)(folder, look.size, expected)
    drawing = Drawing(writer, total, omissions=omissions)
    found: _Placeholders = {}
    alike: dict[int, list[int]] = {}
    done, last, lacking = total - expected, None, None
    for drawn in workers.draw(remaining, look.size, look.fit, writer.keep):
        face = drawn.face
        if last is not None and face is not last:
            yield from _find_placeholders(last, alike, lacking, found)
            alike, lacking = {}, None
        last = face
        sums = _sort_out(drawn, drawing, alike)
        lacking = drawn.notdef if drawn.notdef in sums.values() else lacking
        font = Font(labels[face.file], face.index, face.name)
        if sums:
            writer.add_kept([characters[c] for c in sums], font, list(sums.values()), drawn.kept)
            drawing.glyphs_of[face.name] += len(sums)
        before, done = done, done + len(drawn.codepoints)
        if done // PROGRESS_EVERY > before // PROGRESS_EVERY:
            yield Progress("Drawing", done, drawing.total, "glyphs", face.name)
    if last is not None:
        yield from _find_placeholders(last, alike, lacking, found)
    return drawing, found


def _sort_out(drawn: DrawnChunk, drawing: Drawing, alike: dict[int, list[int]]) -> dict[int, int]:
    """The checksum of each character that has a picture, added to `alike`; others go to the omissions of `drawing`."""
    face = drawn.face
    sums: dict[int, int] = {}
    for codepoint, outcome in zip(drawn.codepoints, drawn.outcomes, strict=True):
        if isinstance(outcome, int):
            sums[codepoint] = outcome
            alike.setdefault(outcome, []).append(codepoint)
        elif outcome is not None:
            drawing.omissions.append(Omission(codepoint, NOT_DRAWABLE, face.name))
            drawing.failures.setdefault(face.file, FontError(outcome))
            drawing.failed[face.file] += 1
        else:
            drawing.omissions.append(Omission(codepoint, NO_OUTLINE if face.has_bitmaps else BLANK, face.name))
    return sums


def _find_placeholders(
    face: Face, alike: Mapping[int, list[int]], lacking: int | None, found: _Placeholders
) -> Generator[Event, None, None]:
    """Add to `found` unrelated characters of a face that have the same picture (`alike`, by checksum)."""
    for checksum, codepoints in alike.items():
        most = 1 if checksum == lacking else MOST_ALIKE
        if len(codepoints) > most and count_unrelated(codepoints) > most:
            found.setdefault((face.file, face.index), set()).update(codepoints)
            yield _placeholder_caution(face, codepoints, "draws alike")
