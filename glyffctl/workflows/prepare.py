"""`glyffctl prepare`: fonts and definitions in, a data folder of captioned glyphs out."""

from __future__ import annotations

import re
import shutil
import time
from array import array
from collections import Counter
from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from glyffctl.core import embeddings
from glyffctl.core.cleaning import Cleaned, clean
from glyffctl.core.dataset import GLYPHS_FORMAT, IMAGEFOLDER_FORMAT, MANIFEST, Character, Font
from glyffctl.core.dataset_writer import Format, GlyphWriter, PictureWriter, write_rows
from glyffctl.core.definitions import (
    Entry,
    cache_file,
    digest,
    download_unihan,
    installed_definitions,
    read_definitions,
)
from glyffctl.core.errors import FontError, OutputError, UsageError
from glyffctl.core.files import atomic_folder
from glyffctl.core.font_workers import FontWorkers, font_workers
from glyffctl.core.fonts import (
    Face,
    Fit,
    choose_faces,
    find_font_files,
    system_fonts,
)
from glyffctl.core.names import as_text, check_name
from glyffctl.core.reading import read_json
from glyffctl.core.wordings import radical_character, wordings
from glyffctl.workflows.events import Caution, Event, Note, Progress

SMALLEST, LARGEST = 8, 1024
CJK = range(0x3400, 0xA000)
"""Where the reference looked for characters: extension A and the unified ideographs."""
LONGEST_DEFINITION = 2000  # characters; Unihan's longest has under 400. Cleaning takes longer than linear time
PROGRESS_EVERY = 256  # glyphs

OUT_OF_RANGE = "outside --range"
TOO_LONG = "the definition is longer than 2,000 characters"
NOTHING_LEFT = "the definition only points at other characters"
NOT_COVERED = "in no font"
BLANK = "blank in the font"
BROKEN = "near a glyph that cannot be drawn"


@dataclass(frozen=True)
class PrepareOptions:
    """Without `fonts` the system's Chinese font, without `definitions` the installed or downloaded Unihan."""

    fonts: tuple[Path, ...] = ()
    definitions: Path | None = None
    size: int = 128
    ranges: str | None = None
    faces: Literal["best", "all"] = "best"
    fit: Fit = "ink"
    wordings: bool = True
    """Whether characters get other wordings beside their definition, see `core.wordings`."""
    format: Format = "glyphs"
    out: Path = Path("data")


@dataclass(frozen=True)
class PrepareReport:
    """What was made. `left_out` counts characters (blank ones: glyphs) by reason."""

    out: Path
    glyphs: int
    characters: int
    captions_sha256: str
    glyphs_of: dict[str, int]
    """Glyphs per face, by its full name."""
    left_out: dict[str, int]
    in_cjk: int
    """Characters in U+3400–U+9FFF."""
    embeddings_kept: bool
    seconds: float


@dataclass(frozen=True)
class _Omission:
    codepoint: int
    reason: str
    font: str = ""


def prepare(options: PrepareOptions) -> Generator[Event, None, PrepareReport]:
    """Draw every character that has a definition in every font, and put captions and pictures into `out`.

    An existing `out` is replaced, as a whole and at the end, if `prepare` made it. Embeddings in it are kept
    when the captions are still the same.

    Raises:
        UsageError: a size or a range that makes no sense.
        FontError: no font can be drawn; one broken among good ones is a Caution.
        DefinitionsError: the definitions cannot be had or read.
        OutputError: `out` cannot be written or is not ours to replace.
    """
    start = time.monotonic()
    if not SMALLEST <= options.size <= LARGEST:
        raise UsageError(f"--size is {options.size}; pictures can be {SMALLEST} to {LARGEST} pixels wide")
    ranges = parse_ranges(options.ranges) if options.ranges else None
    check_name(options.out, OutputError)
    previous = _replaceable(options.out)
    with atomic_folder(options.out) as folder, font_workers() as workers:
        font_files = yield from _find_fonts(options.fonts)
        source, entries = yield from _find_definitions(options.definitions)
        inside = {c: e for c, e in entries.items() if ranges is None or any(c in r for r in ranges)}
        if not inside:
            raise UsageError(f"--range {options.ranges} holds no character with a definition in {source}")
        readable = {c: e for c, e in inside.items() if len(e.definition) <= LONGEST_DEFINITION}
        cleaned = {codepoint: clean(entry.definition) for codepoint, entry in readable.items()}
        characters = {
            codepoint: Character(codepoint, chr(codepoint), text, inside[codepoint].radical)
            for codepoint, (text, _) in sorted(cleaned.items())
            if text
        }
        if options.wordings:
            characters = _with_wordings(characters, entries)
        jobs = yield from _read_fonts(workers, font_files, characters, options.faces)
        omissions = [_Omission(c, OUT_OF_RANGE) for c in entries if c not in inside]
        omissions += [_Omission(c, TOO_LONG) for c in inside if c not in readable]
        omissions += [_Omission(c, NOTHING_LEFT) for c in readable if c not in characters]
        covered = set[int]().union(*(codepoints for _, codepoints in jobs))
        omissions += [_Omission(c, NOT_COVERED) for c in characters if c not in covered]

        writer = (GlyphWriter if options.format == "glyphs" else PictureWriter)(folder, options.size)
        glyphs_of = Counter[str]()
        total = sum(len(codepoints) for _, codepoints in jobs)
        failures: dict[Path, FontError] = {}
        for done, drawn in enumerate(workers.draw(jobs, options.size, options.fit), start=1):
            name = drawn.face.name
            if drawn.picture is not None:
                font = Font(as_text(drawn.face.file.name), drawn.face.index, name)
                writer.add(characters[drawn.codepoint], font, drawn.picture)
                glyphs_of[name] += 1
            else:
                omissions.append(_Omission(drawn.codepoint, BROKEN if drawn.failure else BLANK, name))
            if drawn.failure is not None and drawn.face.file not in failures:
                failures[drawn.face.file] = drawn.failure
                yield Caution(f"left out glyphs: {drawn.failure}")
            if done % PROGRESS_EVERY == 0:
                yield Progress("drawing", done, total, "glyphs", name)
        if not writer.count:
            raise next(
                iter(failures.values()),
                FontError("every glyph of these characters is blank in these fonts; give other fonts"),
            )
        yield Progress("drawing", total, total, "glyphs")

        _write_reports(folder, inside, cleaned, omissions)
        left_out = Counter(omission.reason for omission in omissions)
        manifest = writer.finish(
            {
                "definitions": source,
                "options": {
                    "range": options.ranges,
                    "faces": options.faces,
                    "fit": options.fit,
                    "wordings": options.wordings,
                    "format": options.format,
                },
                "left_out": dict(left_out),
                "cleaned": dict(Counter(rule for result in cleaned.values() for rule in result.rules)),
            }
        )
        kept = _keep_embeddings(options.out, previous, folder, manifest["captions_sha256"])
        yield Progress("saving", 1, 1)
    return PrepareReport(
        out=options.out,
        glyphs=writer.count,
        characters=len(writer.characters),
        captions_sha256=manifest["captions_sha256"],
        glyphs_of=dict(glyphs_of),
        left_out=dict(left_out),
        in_cjk=sum(character.codepoint in CJK for character in writer.characters),
        embeddings_kept=kept,
        seconds=time.monotonic() - start,
    )


def _with_wordings(characters: Mapping[int, Character], entries: Mapping[int, Entry]) -> dict[int, Character]:
    """The characters with all they are called; radicals are explained by the entries of their own characters."""
    known = {character.radical for character in characters.values() if character.radical is not None}
    meaning = {
        radical: clean(entries[ord(character)].definition).text
        for radical in known
        if len(character := radical_character(radical)) == 1 and ord(character) in entries
    }
    return {
        codepoint: character._replace(
            wordings=wordings(
                character.definition,
                codepoint,
                character.radical,
                meaning.get(character.radical, "") if character.radical is not None else "",
            )
        )
        for codepoint, character in characters.items()
    }


def parse_ranges(text: str) -> list[range]:
    """Code point ranges such as `4E00-9FFF` or `U+3400-U+9FFF,U+9502`, ends included.

    Raises:
        UsageError: it is not that.
    """
    point = r"(?:U\+)?([0-9A-F]{1,6})"
    ranges = []
    for part in text.split(","):
        match = re.fullmatch(rf"\s*{point}(?:\s*-\s*{point})?\s*", part, re.IGNORECASE)
        if match is None:
            raise UsageError(f"--range {text!r}: {part.strip()!r} is no range; write 4E00-9FFF or U+3400-U+9FFF,U+9502")
        first, last = int(match[1], 16), int(match[2] or match[1], 16)
        if not first <= last <= 0x10FFFF:
            raise UsageError(f"--range {text!r}: {part.strip()!r} ends before it begins, or beyond U+10FFFF")
        ranges.append(range(first, last + 1))
    return ranges


def _replaceable(out: Path) -> dict[str, Any] | None:
    """The manifest of the data folder at `out`, None if nothing is there; what is not ours stays."""
    if not out.exists():
        return None
    if not out.is_dir():
        raise OutputError(f"cannot write {out}: it is a file; name a folder with --out")
    if not any(out.iterdir()):
        return None
    try:
        manifest = read_json(out / MANIFEST, OutputError)
    except OutputError:
        manifest = {}
    if manifest.get("format") not in (GLYPHS_FORMAT, IMAGEFOLDER_FORMAT):
        raise OutputError(f"{out} holds something that `prepare` did not make; name another folder with --out")
    ours = re.compile(
        r"(manifest\.json|.+\.jsonl|glyphs-\d+\.safetensors|(embeddings|umap)\..*|images|\.DS_Store|Thumbs\.db)"
    )
    foreign = sorted(entry.name for entry in out.iterdir() if not ours.fullmatch(entry.name))
    if foreign:
        raise OutputError(
            f"{out} would be replaced, but holds {foreign[0]}, which `prepare` did not make; "
            "move it away or name another folder with --out"
        )
    return manifest


def _find_fonts(paths: tuple[Path, ...]) -> Generator[Event, None, list[Path]]:
    if paths:
        return find_font_files(paths)
    chosen, others = system_fonts()
    yield Note(f"drawing with the system's Chinese font {chosen}")
    if others:
        yield Note(f"other Chinese fonts to name: {', '.join(map(str, others))}")
    return [chosen]


def _find_definitions(
    path: Path | None,
) -> Generator[Event, None, tuple[dict[str, str], dict[int, Entry]]]:
    if path is None:
        path = installed_definitions()
        if path is None:
            path = cache_file()
            for done, total in download_unihan(path):
                yield Progress("fetching Unihan.zip", done, total, "bytes")
        yield Note(f"definitions from {path}")
    entries = read_definitions(path)
    return {"source": as_text(path.name), "sha256": digest(path)}, entries


def _read_fonts(
    workers: FontWorkers, files: list[Path], characters: Mapping[int, Character], which: Literal["best", "all"]
) -> Generator[Event, None, list[tuple[Face, array[int]]]]:
    """The faces to draw, and what with each. A file that cannot be used is a Caution, unless none can."""
    jobs: list[tuple[Face, array[int]]] = []
    failures: list[FontError] = []
    for number, (file, read) in enumerate(workers.read(files), start=1):
        try:
            if isinstance(read, FontError):
                raise read
            for face in choose_faces(read, characters.keys(), which):
                # A set of numbers takes twenty times as much, which a hundred fonts would make a gigabyte of.
                codepoints = array("I", (c for c in characters if c in face.codepoints))
                jobs.append((replace(face, codepoints=frozenset()), codepoints))
        except FontError as error:
            failures.append(error)
        yield Progress("reading fonts", number, len(files), "files", file.name)
    if not jobs:
        more = f" (and {len(failures) - 1} more fonts fail too)" if len(failures) > 1 else ""
        raise FontError(f"{failures[0]}{more}")
    for failure in failures:
        yield Caution(f"left out a font: {failure}")
    return jobs


def _write_reports(
    folder: Path, entries: Mapping[int, Entry], cleaned: Mapping[int, Cleaned], omissions: list[_Omission]
) -> None:
    """What cleaning changed (cleaning.jsonl) and what the data lacks (left_out.jsonl), line by line."""
    write_rows(
        folder / "cleaning.jsonl",
        (
            {
                "codepoint": f"U+{codepoint:04X}",
                "before": entries[codepoint].definition,
                "after": result.text,
                "rules": list(result.rules),
            }
            for codepoint, result in sorted(cleaned.items())
            if result.rules
        ),
    )
    write_rows(
        folder / "left_out.jsonl",
        (
            {
                "codepoint": f"U+{o.codepoint:04X}",
                "character": chr(o.codepoint),
                "reason": o.reason,
                "font": o.font,
            }
            for o in omissions
        ),
    )


def _keep_embeddings(out: Path, previous: dict[str, Any] | None, folder: Path, digest: str) -> bool:
    """Carry cached embeddings over from the folder being replaced, if they belong to the same captions."""
    if previous is None or previous.get("captions_sha256") != digest or not (out / embeddings.FILE_NAME).is_file():
        return False
    shutil.copy2(out / embeddings.FILE_NAME, folder / embeddings.FILE_NAME)
    return True
