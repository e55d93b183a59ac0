"""From a file of definitions to the characters that `prepare` draws, with their captions."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from glyffctl.core.data.captions import alternate_captions, radical_character
from glyffctl.core.data.character import Character
from glyffctl.core.data.cleaning import Cleaned, clean
from glyffctl.core.data.definitions import Entry, read_definitions
from glyffctl.core.errors import DefinitionsError, UsageError
from glyffctl.core.io.reading import short_repr
from glyffctl.workflows.events import Caution, Event
from glyffctl.workflows.omissions import NO_DEFINITION, NOTHING_LEFT, OUT_OF_RANGE, TOO_LONG, Omission

LONGEST_DEFINITION = 2000  # characters; Unihan's longest has under 400. Cleaning takes longer than linear time
_PART = 512  # definitions that are cleaned at once, in some 20 ms
_Row = tuple[int, str, int | None, str]
"""Code point, definition and radical of a character, and what its radical means."""
_CleanRow = tuple[str, tuple[str, ...], tuple[str, ...]]
"""Text, rules and alternate captions, see `Cleaned` and `alternate_captions`."""
Spread = Callable[[Callable[[list[_Row]], list[_CleanRow]], Iterable[list[_Row]]], Iterable[list[_CleanRow]]]
_FEW = 0.1
"""Up to this share, definitions without English are only counted in the report."""


@dataclass(frozen=True)
class CaptionedCharacters:
    """The characters of a file of definitions, and why others are left out."""

    entries: dict[int, Entry]
    cleaned: dict[int, Cleaned]
    characters: dict[int, Character]
    omissions: list[Omission]


def parse_ranges(text: str) -> list[range]:
    """Code point ranges such as `4E00-9FFF` or `U+3400-U+9FFF,U+9502`, ends included.

    Raises:
        UsageError: `text` is anything else.
    """
    point = r"(?:U\+)?([0-9A-F]{1,6})"
    ranges = []
    for part in text.split(","):
        shown = f"`ranges` {short_repr(text)}: {short_repr(part.strip())}"
        match = re.fullmatch(rf"\s*{point}(?:\s*-\s*{point})?\s*", part, re.IGNORECASE | re.ASCII)
        if match is None:
            raise UsageError(f"{shown} is not a range of code points; write 4E00-9FFF, or U+3400-U+9FFF,U+9502")
        first, last = int(match[1], 16), int(match[2] or match[1], 16)
        if max(first, last) > 0x10FFFF:
            raise UsageError(f"{shown} is beyond U+10FFFF, the last code point; write 4E00-9FFF, for example")
        if last < first:
            raise UsageError(f"{shown} ends before it begins; write {match[2]}-{match[1]}")
        ranges.append(range(first, last + 1))
    return ranges


def load_captions(
    table: Path, ranges: str | None, *, alternates: bool, spread: Spread = map
) -> Generator[Event, None, CaptionedCharacters]:
    """Load definitions and clean them into captions.

    Args:
        table: the file of definitions.
        ranges: see `parse_ranges`; None takes all characters.
        alternates: whether to add alternate captions.
        spread: applies a function to parts of the definitions, as `map` does, such as in other processes; a few
            definitions are not worth it.

    Raises:
        UsageError: no character in `ranges` has a definition.
        DefinitionsError: the file cannot be read, or none of its definitions is in English.
    """
    within = parse_ranges(ranges) if ranges is not None else None
    entries = read_definitions(table)
    inside = {c: e for c, e in entries.items() if within is None or any(c in r for r in within)}
    defined = {c: e for c, e in inside.items() if e.definition}
    if not defined:
        raise UsageError(
            f"`ranges` {short_repr(ranges)} holds no character that {table} defines; write code points such as "
            "4E00-9FFF, or U+3400-U+9FFF,U+9502"
        )
    readable = {c: e for c, e in defined.items() if len(e.definition) <= LONGEST_DEFINITION}
    cleaned, others = _clean_all(readable, entries if alternates else {}, spread if len(readable) > _PART else map)
    characters = {
        codepoint: Character(codepoint, chr(codepoint), text, inside[codepoint].radical, others[codepoint])
        for codepoint, (text, _) in sorted(cleaned.items())
        if text
    }
    lost = len(readable) - len(characters)
    if not characters:
        raise DefinitionsError(_no_caption(table, len(defined), lost, ranges))
    if lost > _FEW * len(readable):
        yield Caution(
            f"left out {lost:,} of {len(readable):,} definitions: they are Han text or only point at other "
            "characters; captions must be in English",
            "definitions-skipped",
            {"skipped": lost, "total": len(readable)},
        )
    omissions = [Omission(c, OUT_OF_RANGE) for c in entries if c not in inside]
    omissions += [Omission(c, NO_DEFINITION) for c in inside if c not in defined]
    omissions += [Omission(c, TOO_LONG) for c in defined if c not in readable]
    omissions += [Omission(c, NOTHING_LEFT) for c in readable if c not in characters]
    return CaptionedCharacters(entries, cleaned, characters, omissions)


def _clean_all(
    readable: Mapping[int, Entry], entries: Mapping[int, Entry], spread: Spread
) -> tuple[dict[int, Cleaned], dict[int, tuple[str, ...]]]:
    """Every definition cleaned, and its alternate captions, if there are `entries` to take the radicals' meaning from.

    The meaning of a radical is the definition of its own character.
    """
    known = {entry.radical for entry in readable.values() if entry.radical is not None}
    meaning = {
        radical: clean(entries[ord(character)].definition).text
        for radical in known
        if len(character := radical_character(radical)) == 1 and ord(character) in entries
    }
    rows = [
        (codepoint, entry.definition, entry.radical, meaning.get(entry.radical, "") if entry.radical else "")
        for codepoint, entry in readable.items()
    ]
    parts = [rows[start : start + _PART] for start in range(0, len(rows), _PART)]
    cleaned: dict[int, Cleaned] = {}
    others: dict[int, tuple[str, ...]] = {}
    function = _clean_with_alternates if entries else _clean_alone
    for part, results in zip(parts, spread(function, parts), strict=True):
        for (codepoint, *_), (text, rules, alternates) in zip(part, results, strict=True):
            cleaned[codepoint], others[codepoint] = Cleaned(text, rules), alternates
    return cleaned, others


def _clean_alone(rows: list[_Row]) -> list[_CleanRow]:
    return [(*clean(definition), ()) for _, definition, _, _ in rows]


def _clean_with_alternates(rows: list[_Row]) -> list[_CleanRow]:
    results: list[_CleanRow] = []
    for codepoint, definition, radical, meaning in rows:
        text, rules = clean(definition)
        results.append((text, rules, alternate_captions(text, codepoint, radical, meaning) if text else ()))
    return results


def _no_caption(table: Path, defined: int, lost: int, ranges: str | None) -> str:
    where = f"{table}, `ranges` {short_repr(ranges)}" if ranges is not None else f"{table}"
    all_of = f"all {defined:,} definitions are" if defined > 1 else "the only definition is"
    if not lost:
        return f"{where}: {all_of} longer than {LONGEST_DEFINITION:,} characters; captions must be short"
    kinds = "Han text or only point at other characters" if defined > 1 else NOTHING_LEFT.partition(" is ")[2]
    longer = f", or longer than {LONGEST_DEFINITION:,} characters" if lost < defined else ""
    return f"{where}: {all_of} {kinds}{longer}; captions must be in English"
