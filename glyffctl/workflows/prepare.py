"""`glyffctl prepare`: fonts and definitions in, a data folder of captioned glyphs out."""

from __future__ import annotations

import os
import re
import shutil
import time
from array import array
from collections import Counter
from collections.abc import Collection, Generator, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from glyffctl import __version__
from glyffctl.core.data import embeddings
from glyffctl.core.data.captions import alternate_captions, radical_character
from glyffctl.core.data.character import Character, Font
from glyffctl.core.data.cleaning import Cleaned, clean
from glyffctl.core.data.dataset_writer import Format, GlyphWriter, PictureWriter, Writer, write_rows
from glyffctl.core.data.definitions import (
    Entry,
    cache_file,
    download_unihan,
    installed_definitions,
    radical_files,
    read_definitions,
)
from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.data.font_tables import LARGEST_FONT
from glyffctl.core.data.font_workers import FontWorkers, font_workers
from glyffctl.core.data.fonts import (
    HEAVIEST,
    LIGHTEST,
    MOST_ALIKE,
    Face,
    Fit,
    choose_faces,
    find_font_files,
    system_fonts,
    unrelated,
)
from glyffctl.core.data.manifest import GLYPHS_FORMAT, IMAGEFOLDER_FORMAT, MANIFEST
from glyffctl.core.errors import DataError, DefinitionsError, FontError, OutputError, UsageError
from glyffctl.core.io.atomic import atomic_folder, check_writable
from glyffctl.core.io.names import LONGEST_NAME, as_text, check_name
from glyffctl.core.io.reading import LARGEST_TABLE, digest, preview, read_json
from glyffctl.workflows.events import Caution, Event, Note, Progress

SMALLEST, LARGEST = 8, 1024
CJK = range(0x3400, 0xA000)
"""Where the reference looked for characters: extension A and the unified ideographs."""
LONGEST_DEFINITION = 2000  # characters; Unihan's longest has under 400. Cleaning takes longer than linear time
PROGRESS_EVERY = 256  # glyphs
_FEW = 0.1
"""The share of definitions without English up to which that is told in the counts alone."""

OUT_OF_RANGE = "outside --range"
NO_DEFINITION = "no definition"
TOO_LONG = "the definition is longer than 2,000 characters"
NOTHING_LEFT = "the definition is Han text or only points at other characters"
NOT_COVERED = "in no font"
BLANK = "blank in the font"
BLANK_OUTLINE = "without an outline in the font, whose bitmaps are not drawn"
BROKEN = "the font library fails at it, or at a glyph near it"
BEYOND = "the character map of the font sends it to a glyph beyond the last"
STAND_IN = "the font draws it like many others, or like what it lacks"


@dataclass(frozen=True)
class PrepareOptions:
    """Without `fonts` the system's Chinese font, without `definitions` the installed or downloaded Unihan."""

    fonts: tuple[Path, ...] = ()
    definitions: Path | None = None
    size: int = 128
    ranges: str | None = None
    faces: Literal["best", "all"] = "best"
    fit: Fit = "ink"
    weight: int | None = None
    """Of variable fonts, 100 to 1000; without it Regular, 400."""
    alternate_captions: bool = True
    """Whether characters get alternate captions beside their definition, see `core.data.captions`."""
    format: Format = "glyphs"
    out: Path = Path("data")
    overwrite: bool = False
    """Whether data in `out` is made anew, even if it is there as asked for."""


@dataclass(frozen=True)
class PrepareReport:
    """What is in the data folder. `left_out` counts characters (blank ones: glyphs) by reason."""

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
    up_to_date: bool
    """Whether all this was there before, made with the same settings, and nothing was done."""
    seconds: float


@dataclass(frozen=True)
class _Omission:
    codepoint: int
    reason: str
    font: str = ""


@dataclass(frozen=True)
class _Told:
    """What a table of definitions comes to: who can be drawn, and who is left out before any font is asked."""

    entries: dict[int, Entry]
    cleaned: dict[int, Cleaned]
    characters: dict[int, Character]
    omissions: list[_Omission]


def prepare(options: PrepareOptions) -> Generator[Event, None, PrepareReport]:
    """Draw every character that has a definition in every font, and put captions and pictures into `out`.

    Data in `out` that `prepare` made from the same fonts and definitions with the same options stays as it is. Other
    data is replaced only with `overwrite`, as a whole and at the end; embeddings in it are kept when the captions are
    still the same.

    Raises:
        UsageError: a size, a weight or a range that makes no sense.
        FontError: no font can be drawn; one broken among good ones is a Caution.
        DefinitionsError: the definitions cannot be fetched or read, or none is in English.
        OutputError: `out` cannot be written, is not ours to replace, or holds other data and `overwrite` is False.
    """
    start = time.monotonic()
    if not SMALLEST <= options.size <= LARGEST:
        raise UsageError(f"--size is {options.size}; pictures can be {SMALLEST} to {LARGEST} pixels wide")
    if options.weight is not None and not LIGHTEST <= options.weight <= HEAVIEST:
        raise UsageError(f"--weight is {options.weight}; weights go from {LIGHTEST} to {HEAVIEST}, 400 is Regular")
    ranges = parse_ranges(options.ranges) if options.ranges is not None else None
    check_name(options.out, OutputError)
    previous = _replaceable(options.out)
    if previous is None or options.overwrite:
        check_writable(options.out)
    font_files = yield from _find_fonts(options.fonts)
    table = yield from _find_definitions(options.definitions)
    record = _record(options, font_files, table)
    if previous is not None and not options.overwrite:
        return _up_to_date(options, previous, record, start)
    with atomic_folder(options.out) as folder, font_workers() as workers:
        told = yield from _read_table(table, options, ranges)
        characters = told.characters
        jobs, unusable = yield from _read_fonts(workers, font_files, characters, options.faces, options.weight)
        omissions = [*told.omissions, *unusable]
        covered = set[int]().union(*(codepoints for _, codepoints in jobs), (each.codepoint for each in unusable))
        omissions += [_Omission(c, NOT_COVERED) for c in characters if c not in covered]

        drawing = yield from _draw(workers, jobs, characters, options, folder)
        writer = drawing.writer
        omissions += drawing.omissions
        if not writer.count:
            raise next(
                iter(drawing.failures.values()),
                FontError("these fonts draw all of these characters blank or alike; give other fonts"),
            )
        for file, failure in drawing.failures.items():
            count = drawing.failed[file]
            yield Caution(f"left out {count:,} glyph{'s' * (count > 1)}: {failure}")
        yield Progress("drawing", drawing.total, drawing.total, "glyphs")

        _write_reports(folder, told, omissions)
        left_out = Counter(omission.reason for omission in omissions)
        manifest = writer.finish(
            {
                **record,
                "left_out": dict(left_out),
                "cleaned": dict(Counter(rule for result in told.cleaned.values() for rule in result.rules)),
            }
        )
        kept = _keep_embeddings(options.out, previous, folder, manifest["captions_sha256"])
        yield Progress("saving", 1, 1)
    return PrepareReport(
        out=options.out,
        glyphs=writer.count,
        characters=len(writer.characters),
        captions_sha256=manifest["captions_sha256"],
        glyphs_of=dict(drawing.glyphs_of),
        left_out=dict(left_out),
        in_cjk=sum(character.codepoint in CJK for character in writer.characters),
        embeddings_kept=kept,
        up_to_date=False,
        seconds=time.monotonic() - start,
    )


def _with_alternate_captions(characters: Mapping[int, Character], entries: Mapping[int, Entry]) -> dict[int, Character]:
    """The characters with all they are called; radicals are explained by the entries of their own characters."""
    known = {character.radical for character in characters.values() if character.radical is not None}
    meaning = {
        radical: clean(entries[ord(character)].definition).text
        for radical in known
        if len(character := radical_character(radical)) == 1 and ord(character) in entries
    }
    return {
        codepoint: character._replace(
            alternate_captions=alternate_captions(
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
        told = f"--range {preview(text)}: {preview(part.strip())}"
        match = re.fullmatch(rf"\s*{point}(?:\s*-\s*{point})?\s*", part, re.IGNORECASE | re.ASCII)
        if match is None:
            raise UsageError(f"{told} is not a range of code points; write 4E00-9FFF, or U+3400-U+9FFF,U+9502")
        first, last = int(match[1], 16), int(match[2] or match[1], 16)
        if max(first, last) > 0x10FFFF:
            raise UsageError(f"{told} goes beyond U+10FFFF, the last code point; write 4E00-9FFF, for example")
        if last < first:
            raise UsageError(f"{told} ends before it begins; write {match[2]}-{match[1]}")
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


def _find_definitions(path: Path | None) -> Generator[Event, None, Path]:
    if path is None:
        path = installed_definitions()
        if path is None:
            path = cache_file()
            for done, total in download_unihan(path):
                yield Progress("fetching Unihan.zip", done, total, "bytes")
        yield Note(f"definitions from {path}")
    return path


def _read_table(table: Path, options: PrepareOptions, ranges: list[range] | None) -> Generator[Event, None, _Told]:
    entries = read_definitions(table)
    inside = {c: e for c, e in entries.items() if ranges is None or any(c in r for r in ranges)}
    defined = {c: e for c, e in inside.items() if e.definition}
    if not defined:
        raise UsageError(
            f"--range {preview(options.ranges)} holds no character that {table} defines; write code points such as "
            "4E00-9FFF, or U+3400-U+9FFF,U+9502"
        )
    readable = {c: e for c, e in defined.items() if len(e.definition) <= LONGEST_DEFINITION}
    cleaned = {codepoint: clean(entry.definition) for codepoint, entry in readable.items()}
    characters = {
        codepoint: Character(codepoint, chr(codepoint), text, inside[codepoint].radical)
        for codepoint, (text, _) in sorted(cleaned.items())
        if text
    }
    lost = len(readable) - len(characters)
    if not characters:
        raise DefinitionsError(_no_caption(table, len(defined), lost, options.ranges))
    if lost > _FEW * len(readable):
        yield Caution(
            f"left out {lost:,} of {len(readable):,} definitions: they are Han text or only point at other "
            "characters; captions are in English"
        )
    if options.alternate_captions:
        characters = _with_alternate_captions(characters, entries)
    omissions = [_Omission(c, OUT_OF_RANGE) for c in entries if c not in inside]
    omissions += [_Omission(c, NO_DEFINITION) for c in inside if c not in defined]
    omissions += [_Omission(c, TOO_LONG) for c in defined if c not in readable]
    omissions += [_Omission(c, NOTHING_LEFT) for c in readable if c not in characters]
    return _Told(entries, cleaned, characters, omissions)


def _record(options: PrepareOptions, fonts: list[Path], definitions: Path) -> dict[str, Any]:
    """All that decides what is made, for the manifest: files by name and digest, and every option."""
    chosen = asdict(options)
    for elsewhere in ("fonts", "definitions", "size", "out", "overwrite"):
        del chosen[elsewhere]
    return {
        "made_by": f"glyffctl {__version__}",
        "font_files": [_font_source(file) for file in fonts],
        "definitions": {
            **_table_source(definitions),
            "radicals": [_table_source(file) for file in radical_files(definitions)],
        },
        "options": {"range": chosen.pop("ranges"), **chosen},
    }


def _font_source(path: Path) -> dict[str, str]:
    try:
        return {"source": as_text(path.name), "sha256": digest(path, FontError, LARGEST_FONT)}
    except FontError:  # told when the font is read: others may be good
        return {"source": as_text(path.name), "sha256": ""}


def _table_source(path: Path) -> dict[str, str]:
    return {"source": as_text(path.name), "sha256": digest(path, DefinitionsError, LARGEST_TABLE)}


def _up_to_date(
    options: PrepareOptions, previous: Mapping[str, Any], record: Mapping[str, Any], start: float
) -> PrepareReport:
    """The report of data that is as asked for.

    Raises:
        OutputError: it was made with other settings, or is damaged.
    """
    count = previous.get("count")
    held = f"{options.out} holds {f'{count:,} ' if isinstance(count, int) else ''}glyphs"
    advice = "add --overwrite to replace them, or name another folder with --out"
    if "made_by" not in previous:
        raise OutputError(f"{held} made by an earlier version of glyffctl, with settings not on record; {advice}")
    others = _differences(previous, {**record, "size": options.size})
    if others:
        raise OutputError(f"{held} made with other settings ({', '.join(others)}); {advice}")
    try:
        glyphs = open_glyphs(options.out)
    except DataError as error:
        raise OutputError(f"{held} made with these settings, but cannot be used: {error}") from error
    of_font = glyphs.font_of.bincount(minlength=len(glyphs.fonts)).tolist()
    return PrepareReport(
        out=options.out,
        glyphs=len(glyphs),
        characters=len(glyphs.characters),
        captions_sha256=previous["captions_sha256"],
        glyphs_of={font.name: count for font, count in zip(glyphs.fonts, of_font, strict=True)},
        left_out=previous["left_out"],
        in_cjk=sum(character.codepoint in CJK for character in glyphs.characters),
        embeddings_kept=(options.out / embeddings.FILE_NAME).is_file(),
        up_to_date=True,
        seconds=time.monotonic() - start,
    )


def _differences(previous: Mapping[str, Any], record: Mapping[str, Any]) -> list[str]:
    """What was asked for otherwise, in the words of the command line."""
    names = {"made_by": "another version of glyffctl", "font_files": "fonts", "size": "--size"}
    others = [
        names.get(name, name) for name, value in record.items() if name != "options" and previous.get(name) != value
    ]
    before = previous.get("options")
    if not isinstance(before, dict):
        return [*others, "options"]
    for name, value in record["options"].items():
        there = before.get(name)
        if there != value and not (name == "range" and _same_ranges(there, value)):
            others.append("--alternate-captions" if name == "alternate_captions" else f"--{name.replace('_', '-')}")
    return others


def _same_ranges(there: object, asked: str | None) -> bool:
    """Whether two ways to write --range mean the same."""
    try:
        return isinstance(there, str) and asked is not None and parse_ranges(there) == parse_ranges(asked)
    except UsageError:
        return False


def _no_caption(table: Path, defined: int, lost: int, ranges: str | None) -> str:
    where = f"{table}, --range {preview(ranges)}" if ranges is not None else f"{table}"
    all_of = f"all {defined:,} definitions are" if defined > 1 else "the only definition is"
    if not lost:
        return f"{where}: {all_of} longer than {LONGEST_DEFINITION:,} characters; captions must be short"
    kinds = "Han text or only point at other characters" if defined > 1 else NOTHING_LEFT.partition(" is ")[2]
    longer = f", or longer than {LONGEST_DEFINITION:,} characters" if lost < defined else ""
    return f"{where}: {all_of} {kinds}{longer}; captions must be in English"


def _read_fonts(
    workers: FontWorkers,
    files: list[Path],
    characters: Mapping[int, Character],
    which: Literal["best", "all"],
    weight: int | None = None,
) -> Generator[Event, None, tuple[list[tuple[Face, array[int]]], list[_Omission]]]:
    """The faces to draw, and what with each; and what their character maps send to glyphs that are not there.

    A file that cannot be used is a Caution, unless none can.
    """
    jobs: list[tuple[Face, array[int]]] = []
    omissions: list[_Omission] = []
    failures: list[FontError] = []
    remarks: list[str] = []
    names = Counter[str]()
    for number, (file, read) in enumerate(workers.read(files, weight), start=1):
        try:
            if isinstance(read, FontError):
                raise read
            for face in choose_faces(read, characters.keys(), which):
                # A set of numbers takes twenty times as much, which a hundred fonts would make a gigabyte of.
                codepoints = array("I", (c for c in characters if c in face.codepoints))
                name = _apart(face.name, names)
                remarks += [f"{file} ({name}): its character map {remark}" for remark in face.remarks]
                omissions += [_Omission(c, BEYOND, name) for c in sorted(characters.keys() & face.beyond)]
                shared = tuple((glyph, some) for glyph, all_ in face.shared if (some := all_ & characters.keys()))
                bare = replace(face, name=name, codepoints=frozenset(), beyond=frozenset(), remarks=(), shared=shared)
                jobs.append((bare, codepoints))
        except FontError as error:
            failures.append(error)
        yield Progress("reading fonts", number, len(files), "files", file.name)
    if not jobs:
        more = f" (and {len(failures) - 1} more fonts fail too)" if len(failures) > 1 else ""
        raise FontError(f"{failures[0]}{more}")
    for failure in failures:
        yield Caution(f"left out a font: {failure}")
    for remark in remarks:
        yield Caution(remark)
    fixed = [face.name for face, _ in jobs if face.weight is None]
    if weight is not None and fixed:
        more = f" and {len(fixed) - 1} more" if len(fixed) > 1 else ""
        yield Caution(f"--weight {weight} changes nothing in {fixed[0]}{more}: no axis of weight, drawn as it is")
    return jobs, omissions


def _apart(name: str, names: Counter[str]) -> str:
    """`name`, or with a number behind it where another face of these fonts is called so."""
    names[name] += 1
    if names[name] == 1:
        return name
    suffix = f" ({names[name]})"
    return _apart(f"{name[: LONGEST_NAME - len(suffix)]}{suffix}", names)


def _labels(files: Iterable[Path]) -> dict[Path, str]:
    """What to call each file: its name, with the folders that tell it from another of that name."""
    same: dict[str, list[Path]] = {}
    for file in files:
        same.setdefault(as_text(file.name), []).append(file)
    labels, taken = dict[Path, str](), Counter[str]()
    for name, group in same.items():
        above = Path(os.path.commonpath([file.absolute().parent for file in group]))
        for file in group:
            label = name if len(group) == 1 else as_text(file.absolute().relative_to(above).as_posix())
            labels[file] = _apart(label, taken)
    return labels


@dataclass
class _Drawing:
    """What was drawn, and what was not."""

    writer: Writer
    total: int
    glyphs_of: Counter[str] = field(default_factory=Counter)
    omissions: list[_Omission] = field(default_factory=list)
    failures: dict[Path, FontError] = field(default_factory=dict)
    """The first of each file."""
    failed: Counter[Path] = field(default_factory=Counter)


_StandIns = dict[tuple[Path, int], set[int]]  # of a face, by file and index


def _draw(
    workers: FontWorkers,
    jobs: list[tuple[Face, array[int]]],
    characters: Mapping[int, Character],
    options: PrepareOptions,
    folder: Path,
) -> Generator[Event, None, _Drawing]:
    """Draw into `folder` all but stand-ins: glyphs that a font has for many unrelated characters, or for what it lacks.

    Those that are one glyph are known before; those that only look the same once all are drawn, and then the others
    are drawn once more.
    """
    stand_ins = yield from _shared_glyphs(workers, jobs, options)
    while True:
        drawing, found = yield from _draw_once(workers, jobs, characters, options, folder, stand_ins)
        if not found:
            return drawing
        for key, codepoints in found.items():
            stand_ins.setdefault(key, set()).update(codepoints)
        for entry in folder.iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def _shared_glyphs(
    workers: FontWorkers, jobs: list[tuple[Face, array[int]]], options: PrepareOptions
) -> Generator[Event, None, _StandIns]:
    """Stand-ins that are one glyph; one that is blank is none, and is told as blank."""
    trials = [(face, [min(members)]) for face, _ in jobs for _, members in face.shared]
    stand_ins: _StandIns = {}
    for drawn in workers.draw(trials, options.size, options.fit):
        if drawn.picture is not None:
            for glyph, members in drawn.face.shared:
                if drawn.codepoint in members:
                    stand_ins.setdefault((drawn.face.file, drawn.face.index), set()).update(members)
                    yield _stand_in(drawn.face, members, f"has one glyph for, number {glyph}")
    return stand_ins


def _stand_in(face: Face, codepoints: Collection[int], how: str) -> Caution:
    some = ", ".join(map(chr, sorted(codepoints)[:3])) + (" …" if len(codepoints) > 3 else "")
    return Caution(
        f"left out {len(codepoints):,} characters ({some}) that {face.file} ({face.name}) {how}: it seems to stand for "
        "what the font lacks"
    )


def _draw_once(
    workers: FontWorkers,
    jobs: list[tuple[Face, array[int]]],
    characters: Mapping[int, Character],
    options: PrepareOptions,
    folder: Path,
    stand_ins: _StandIns,
) -> Generator[Event, None, tuple[_Drawing, _StandIns]]:
    """Draw all but `stand_ins`; and what turned out to be such."""
    writer = (GlyphWriter if options.format == "glyphs" else PictureWriter)(folder, options.size)
    drawing = _Drawing(writer, sum(len(codepoints) for _, codepoints in jobs))
    labels = _labels({face.file: None for face, _ in jobs})
    found: _StandIns = {}
    alike: dict[int, list[int]] = {}
    done, last, lacking = 0, None, None
    remaining = []
    for face, codepoints in jobs:
        without = stand_ins.get((face.file, face.index), set())
        drawing.omissions += [_Omission(c, STAND_IN, face.name) for c in codepoints if c in without]
        done += sum(c in without for c in codepoints)
        remaining.append((face, array("I", (c for c in codepoints if c not in without)) if without else codepoints))
    for drawn in workers.draw(remaining, options.size, options.fit):
        face = drawn.face
        if last is not None and face is not last:
            yield from _look_alikes(last, alike, lacking, found)
            alike, lacking = {}, None
        last = face
        done += 1
        if drawn.picture is not None:
            writer.add(characters[drawn.codepoint], Font(labels[face.file], face.index, face.name), drawn.picture)
            drawing.glyphs_of[face.name] += 1
            alike.setdefault(drawn.checksum, []).append(drawn.codepoint)
            lacking = drawn.checksum if drawn.missing else lacking
        elif drawn.failure is not None:
            drawing.omissions.append(_Omission(drawn.codepoint, BROKEN, face.name))
            drawing.failures.setdefault(face.file, drawn.failure)
            drawing.failed[face.file] += 1
        else:
            blank = BLANK_OUTLINE if face.pictures else BLANK
            drawing.omissions.append(_Omission(drawn.codepoint, blank, face.name))
        if done % PROGRESS_EVERY == 0:
            yield Progress("drawing", done, drawing.total, "glyphs", face.name)
    if last is not None:
        yield from _look_alikes(last, alike, lacking, found)
    return drawing, found


def _look_alikes(
    face: Face, alike: Mapping[int, list[int]], lacking: int | None, found: _StandIns
) -> Generator[Event, None, None]:
    """Add to `found` what of a face has the same picture (`alike`, by checksum) without being the same character."""
    for checksum, codepoints in alike.items():
        most = 1 if checksum == lacking else MOST_ALIKE
        if len(codepoints) > most and unrelated(codepoints) > most:
            found.setdefault((face.file, face.index), set()).update(codepoints)
            yield _stand_in(face, codepoints, "draws alike")


def _write_reports(folder: Path, told: _Told, omissions: list[_Omission]) -> None:
    """What cleaning changed (cleaning.jsonl) and what the data lacks (left_out.jsonl), line by line."""
    write_rows(
        folder / "cleaning.jsonl",
        (
            {
                "codepoint": f"U+{codepoint:04X}",
                "before": told.entries[codepoint].definition,
                "after": result.text,
                "rules": list(result.rules),
            }
            for codepoint, result in sorted(told.cleaned.items())
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
