"""Alternate captions of a character, so that training shows single words and not only whole dictionary entries.

People do not type an entry such as "lithium (element 3, Li)" or "to paint, to draw; a picture". And the part of a
character that carries meaning is its radical, which entries rarely mention: few characters written with 金 have "metal"
in their definition. Unihan has both; `alternate_captions` makes captions of them.
"""

from __future__ import annotations

import re
import unicodedata

MOST_SENSES = 5
"""Senses of a definition that become captions: those of long entries would crowd out other captions."""

_LONGEST_SYNONYM = 3  # words; commas between short phrases separate synonyms, between longer ones clauses
_BRACKETS = re.compile(r"\s*\([^()]*\)")
_LETTERS = re.compile(r"[A-Za-z]{2}")
_RADICAL = re.compile(r"\bradical\b", re.IGNORECASE)


def radical_character(radical: int) -> str:
    """The ideograph of a Kangxi radical: 金 for 167.

    Raises:
        ValueError: there is no such radical; they are 1 to 214.
    """
    return unicodedata.normalize("NFKC", _kangxi(radical))


def radical_name(radical: int) -> str:
    """Unicode's name of a Kangxi radical, in lower case: "gold" for 167.

    Raises:
        ValueError: there is no such radical; they are 1 to 214.
    """
    return unicodedata.name(_kangxi(radical)).removeprefix("KANGXI RADICAL ").lower()


def _kangxi(radical: int) -> str:
    if not 1 <= radical <= 214:
        raise ValueError(f"there is no Kangxi radical {radical}")
    return chr(0x2F00 + radical - 1)


def split_senses(definition: str) -> list[str]:
    """Split a definition into senses and synonyms, without brackets; at most `MOST_SENSES`.

    "to paint, to draw; a picture" → "to paint", "to draw", "a picture"; "lithium (element 3, Li)" → "lithium". Empty if
    the only sense is the definition itself. Mentions of radicals are no senses.
    """
    found: dict[str, None] = {}
    for sense in _BRACKETS.sub("", definition).split(";"):
        synonyms = sense.split(",")
        short = all(len(synonym.split()) <= _LONGEST_SYNONYM for synonym in synonyms)
        for part in synonyms if short else [sense]:
            text = part.strip(" .")
            if _LETTERS.search(text) and not _RADICAL.search(text):
                found[text] = None
    return [] if list(found) == [definition] else list(found)[:MOST_SENSES]


def alternate_captions(
    definition: str, codepoint: int, radical: int | None, radical_definition: str = ""
) -> tuple[str, ...]:
    """Captions of a character besides its definition, each once.

    These are the senses of the definition; where the radical is known, also the definition with the radical's name
    behind it, that name, and one of the senses of the radical's own character, which vary from character to character.

    Args:
        definition: of the character.
        codepoint: of the character; it selects the sense of the radical.
        radical: 1 to 214; None where it is unknown.
        radical_definition: the definition of the radical's own character; "" where there is none.
    """
    others = split_senses(definition)
    if radical is not None and 1 <= radical <= 214:
        name = radical_name(radical)
        meanings = split_senses(radical_definition) or [radical_definition]
        others += [f"{definition}; {name}", name, meanings[codepoint % len(meanings)]]
    return tuple(text for text in dict.fromkeys(others) if text and text != definition)
