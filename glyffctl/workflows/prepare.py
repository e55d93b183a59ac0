"""`glyffctl prepare`: make a data folder of captioned glyphs from fonts and definitions."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Generator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from glyffctl.core.data.dataset_writer import Format, write_rows
from glyffctl.core.data.definitions import cache_file, download_unihan, installed_definitions, radical_files
from glyffctl.core.data.font_tables import LARGEST_FONT
from glyffctl.core.data.font_workers import font_workers
from glyffctl.core.data.fonts import HEAVIEST, LIGHTEST, Fit, find_font_files, system_fonts
from glyffctl.core.data.manifest import EMBEDDINGS
from glyffctl.core.errors import DefinitionsError, FontError, OutputError, UsageError
from glyffctl.core.io.atomic import atomic_folder, check_writable
from glyffctl.core.io.names import check_name, utf8_name
from glyffctl.core.io.reading import LARGEST_TABLE, file_digest
from glyffctl.version import __version__
from glyffctl.workflows.events import Caution, Event, Note, Progress
from glyffctl.workflows.omissions import NOT_COVERED, Omission
from glyffctl.workflows.prepare_captions import CaptionedCharacters, load_captions, parse_ranges
from glyffctl.workflows.prepare_drawing import Look, draw, read_fonts
from glyffctl.workflows.prepare_existing import keep_embeddings, open_existing, replaceable_manifest

SMALLEST, LARGEST = 8, 1024
CJK = range(0x3400, 0xA000)
"""The characters of the reference: extension A and the unified ideographs."""


@dataclass(frozen=True)
class PrepareOptions:
    """Options of `prepare`."""

    fonts: tuple[Path, ...] = ()
    """Files, or folders of them; () is the system's Chinese font."""
    definitions: Path | None = None
    """A file of definitions; None is the installed Unihan, or else a download."""
    size: int = 128
    """Width and height of the pictures, 8 to 1024 pixels."""
    ranges: str | None = None
    """Code points to draw, see `parse_ranges`; None is all."""
    faces: Literal["best", "all"] = "best"
    """The faces of each file to draw, see `core.data.fonts.choose_faces`."""
    fit: Fit = "ink"
    """What to centre in the picture, see `core.data.fonts.draw_glyphs`."""
    weight: int | None = None
    """Of variable fonts, 100 to 1000; None is Regular, 400."""
    alternate_captions: bool = True
    """Whether characters get captions beside their definition, see `core.data.captions`."""
    format: Format = "glyphs"
    out: Path = Path("data")
    overwrite: bool = False
    """Whether to replace data in `out`, even if it is up to date."""


@dataclass(frozen=True)
class PrepareReport:
    """What the data folder holds."""

    out: Path
    glyphs: int
    characters: int
    captions_sha256: str
    glyphs_of: dict[str, int]
    """Glyphs per face, by its full name."""
    left_out: dict[str, int]
    """Characters, or glyphs where the reason is in one font, by reason; see `omissions`."""
    in_cjk: int
    """Characters in U+3400–U+9FFF."""
    embeddings_kept: bool
    up_to_date: bool
    """Whether data made with the same settings was there before, and nothing was done."""
    seconds: float


def prepare(options: PrepareOptions) -> Generator[Event, None, PrepareReport]:
    """Draw every character that has a definition in every font, and write captions and pictures to `out`.

    Data in `out` is kept if it was made from the same fonts and definitions with the same options. Other data is
    replaced only with `overwrite`, as a whole and at the end; its embeddings are kept where the captions are the same.

    Raises:
        UsageError: a size, weight or range is not valid.
        FontError: no font can be drawn; if only some cannot, each is a Caution.
        DefinitionsError: the definitions cannot be downloaded or loaded, or none is in English.
        OutputError: `out` cannot be written, holds other data (without `overwrite`), or files of other programs.
    """
    start = time.monotonic()
    if not SMALLEST <= options.size <= LARGEST:
        raise UsageError(f"`size` must be in {SMALLEST}…{LARGEST} pixels, not {options.size}")
    if options.weight is not None and not LIGHTEST <= options.weight <= HEAVIEST:
        raise UsageError(f"`weight` must be in {LIGHTEST}…{HEAVIEST}, not {options.weight}; 400 is Regular")
    if options.ranges is not None:
        parse_ranges(options.ranges)
    check_name(options.out, OutputError)
    previous = replaceable_manifest(options.out)
    if previous is None or options.overwrite:
        check_writable(options.out)
    font_files = yield from _find_fonts(options.fonts)
    table = yield from _find_definitions(options.definitions)
    record = _record(options, font_files, table)
    if previous is not None and not options.overwrite:
        return _up_to_date(options, previous, record, start)
    with atomic_folder(options.out) as folder, font_workers() as workers:
        reading = workers.read(font_files, options.weight)  # which begins now: definitions take as long
        captions = yield from load_captions(
            table, options.ranges, alternates=options.alternate_captions, spread=workers.map
        )
        characters = captions.characters
        jobs, unusable = yield from read_fonts(reading, len(font_files), characters, options.faces, options.weight)
        omissions = [*captions.omissions, *unusable]
        covered = set[int]().union(*(codepoints for _, codepoints in jobs), (each.codepoint for each in unusable))
        omissions += [Omission(c, NOT_COVERED) for c in characters if c not in covered]

        drawing = yield from draw(workers, jobs, characters, folder, Look(options.size, options.fit, options.format))
        writer = drawing.writer
        omissions += drawing.omissions
        if not writer.count:
            raise next(
                iter(drawing.failures.values()),
                FontError("these fonts draw all of these characters blank or alike; give other fonts"),
            )
        for file, failure in drawing.failures.items():
            count = drawing.failed[file]
            yield Caution(
                f"left out {count:,} glyph{'s' * (count > 1)}: {failure}",
                "glyphs-failed",
                {"font": file, "glyphs": count},
            )
        yield Progress("Drawing", drawing.total, drawing.total, "glyphs")

        _write_reports(folder, captions, omissions)
        left_out = Counter(omission.reason for omission in omissions)
        manifest = writer.finish(
            {
                **record,
                "left_out": dict(left_out),
                "cleaned": dict(Counter(rule for result in captions.cleaned.values() for rule in result.rules)),
            }
        )
        kept = keep_embeddings(options.out, previous, folder, manifest["captions_sha256"])
        yield Progress("Saving", 1, 1)
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


def _find_fonts(paths: tuple[Path, ...]) -> Generator[Event, None, list[Path]]:
    if paths:
        return find_font_files(paths)
    chosen, others = system_fonts()
    yield Note(f"drawing with the system's Chinese font {chosen}", "font-chosen", {"font": chosen})
    if others:
        yield Note(
            f"other Chinese fonts to name: {', '.join(map(str, others))}", "other-fonts-found", {"fonts": tuple(others)}
        )
    return [chosen]


def _find_definitions(path: Path | None) -> Generator[Event, None, Path]:
    if path is None:
        path = installed_definitions()
        if path is None:
            path = cache_file()
            for done, total in download_unihan(path):
                yield Progress("Downloading Unihan.zip", done, total, "bytes")
        yield Note(f"definitions from {path}", "definitions-chosen", {"definitions": path})
    return path


def _record(options: PrepareOptions, fonts: list[Path], definitions: Path) -> dict[str, Any]:
    """All that determines the data, for the manifest: names and digests of files, and every option."""
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
        return {"source": utf8_name(path.name), "sha256": file_digest(path, FontError, LARGEST_FONT)}
    except FontError:  # reported when the font is read: others may be good
        return {"source": utf8_name(path.name), "sha256": ""}


def _table_source(path: Path) -> dict[str, str]:
    return {"source": utf8_name(path.name), "sha256": file_digest(path, DefinitionsError, LARGEST_TABLE)}


def _up_to_date(
    options: PrepareOptions, previous: Mapping[str, Any], record: Mapping[str, Any], start: float
) -> PrepareReport:
    """The report of existing data that was made with the same settings."""
    glyphs = open_existing(options.out, previous, {**record, "size": options.size})
    of_font = glyphs.font_of.bincount(minlength=len(glyphs.fonts)).tolist()
    return PrepareReport(
        out=options.out,
        glyphs=len(glyphs),
        characters=len(glyphs.characters),
        captions_sha256=previous["captions_sha256"],
        glyphs_of={font.name: count for font, count in zip(glyphs.fonts, of_font, strict=True)},
        left_out=previous["left_out"],
        in_cjk=sum(character.codepoint in CJK for character in glyphs.characters),
        embeddings_kept=(options.out / EMBEDDINGS).is_file(),
        up_to_date=True,
        seconds=time.monotonic() - start,
    )


def _write_reports(folder: Path, captions: CaptionedCharacters, omissions: list[Omission]) -> None:
    """Write cleaning.jsonl, what cleaning changed, and left_out.jsonl, what is left out and why."""
    write_rows(
        folder / "cleaning.jsonl",
        (
            {
                "codepoint": f"U+{codepoint:04X}",
                "before": captions.entries[codepoint].definition,
                "after": result.text,
                "rules": list(result.rules),
            }
            for codepoint, result in sorted(captions.cleaned.items())
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
