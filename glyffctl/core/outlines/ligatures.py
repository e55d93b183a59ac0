"""Ligatures: what is typed becomes a glyph (the table GSUB of OpenType)."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

from fontTools.otlLib.builder import buildLigatureSubstSubtable, buildLookup
from fontTools.ttLib import TTFont, newTable
from fontTools.ttLib.tables import otTables

LONGEST = 64
"""Characters of a ligature: HarfBuzz, which shapes in browsers and most editors, looks at no more of them."""
# Characters that programs do not show, beside those of the categories C…, which are dropped as well.
_HIDDEN = {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFFA0, *range(0xFE00, 0xFE10), *range(0x180B, 0x1810)}
_HIDDEN |= set(range(0xE0100, 0xE01F0))


def typed(prompt: str) -> str:
    """What one types for a prompt: lower case, single spaces, no invisible characters; "" if it has none, or too many.

    A ligature has at most `LONGEST` characters and at least two: one alone is no ligature.
    """
    seen = "".join(
        character
        for character in unicodedata.normalize("NFC", " ".join(prompt.split())).lower()
        if not unicodedata.category(character).startswith("C") and ord(character) not in _HIDDEN
    )
    text = " ".join(seen.split())
    return text if 2 <= len(text) <= LONGEST else ""


def numbered(texts: list[str]) -> list[str]:
    """`texts`, each of them once: the second "fish" becomes "fish 2", the third "fish 3"; "" stays."""
    taken, counts, found = set(texts), dict[str, int](), []
    for text in texts:
        counts[text] = counts.get(text, 0) + 1
        name = text
        if text and counts[text] > 1:
            while (name := f"{text} {counts[text]}") in taken:
                counts[text] += 1
            taken.add(name)
        found.append(name if len(name) <= LONGEST else "")
    return found


def cases(character: str) -> set[str]:
    """The characters that stand for one in a ligature: its upper and lower case, if they are single characters."""
    return {character} | {other for other in (character.upper(),) if len(other) == 1 and other.lower() == character}


def add_ligatures(font: TTFont, ligatures: Mapping[tuple[str, ...], str]) -> None:
    """Add the table GSUB with the feature liga.

    Args:
        font: gets the table.
        ligatures: by the names of the glyphs that are typed, the name of the glyph that is shown.
    """
    table = otTables.GSUB()
    table.Version = 0x00010000
    table.LookupList = otTables.LookupList()
    table.LookupList.Lookup = [buildLookup([buildLigatureSubstSubtable(dict(ligatures))])]
    feature = otTables.FeatureRecord()
    feature.FeatureTag = "liga"
    feature.Feature = otTables.Feature()
    feature.Feature.FeatureParams = None
    feature.Feature.LookupListIndex = [0]
    table.FeatureList = otTables.FeatureList()
    table.FeatureList.FeatureRecord = [feature]
    scripts = []
    for tag in ("DFLT", "hani", "latn"):
        record = otTables.ScriptRecord()
        record.ScriptTag = tag
        record.Script = otTables.Script()
        record.Script.LangSysRecord = []
        record.Script.DefaultLangSys = system = otTables.DefaultLangSys()
        system.LookupOrder, system.ReqFeatureIndex, system.FeatureIndex = None, 0xFFFF, [0]
        scripts.append(record)
    table.ScriptList = otTables.ScriptList()
    table.ScriptList.ScriptRecord = scripts
    font["GSUB"] = newTable("GSUB")
    font["GSUB"].table = table
