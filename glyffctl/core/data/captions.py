"""Other ways to say what a character means, so that single words are seen in training and not whole entries alone.

A dictionary's entry such as "lithium (element 3, Li)" or "to paint, to draw; a picture" is not what people type. And
the part of a character that carries meaning is its radical, of which the entry rarely speaks: few of the characters
written with 金 have "metal" in their definition. Both are in Unihan; `alternate_captions` puts them into words.
"""

from __future__ import annotations

import re
import unicodedata

MOST_SENSES = 5
"""Parts of a definition that are told alone, at most: long entries would drown the rest of what is told."""

_LONGEST_SYNONYM = 3  # words; commas between shorter phrases part synonyms, between longer ones a sentence
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
    """The senses of a definition, and synonyms one by one, without brackets; at most `MOST_SENSES`.

    "to paint, to draw; a picture" → "to paint", "to draw", "a picture"; "lithium (element 3, Li)" → "lithium". None if
    that is the definition itself. Numbers of radicals are no meaning.
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
    """What a character can be called besides its definition, each wording once.

    The parts of the definition; and with its radical known, the definition with the radical's name behind it, the name
    alone, and one of the meanings of the radical's own character, another one from character to character.

    Args:
        codepoint: of the character; which of the radical's meanings it gets depends on it alone.
        radical: 1 to 214, None where it is not known.
        radical_definition: of the radical's own character, "" where there is none.
    """
    others = split_senses(definition)
    if radical is not None and 1 <= radical <= 214:
        name = radical_name(radical)
        meanings = split_senses(radical_definition) or [radical_definition]
        others += [f"{definition}; {name}", name, meanings[codepoint % len(meanings)]]
    return tuple(text for text in dict.fromkeys(others) if text and text != definition)
