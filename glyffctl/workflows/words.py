"""What a text encoder does not know of prompts and captions, told before it surprises."""

from __future__ import annotations

import unicodedata
from collections.abc import Generator, Sequence

from glyffctl.core.data.cleaning import clean
from glyffctl.core.data.definitions import installed_definitions, read_definitions
from glyffctl.core.errors import DefinitionsError
from glyffctl.core.text.encoder import TextEncoder
from glyffctl.core.text.han import HAN
from glyffctl.workflows.events import Caution, Event

SHOWN = 5
"""Texts of a kind that are named."""
_LONGEST = 60
_FEW = 4
"""Han characters of one prompt for which a definition is looked up: more are a sentence."""


def warn_of_unknown_words(encoder: TextEncoder, prompts: Sequence[str]) -> Generator[Event, None, None]:
    """Caution about prompts that the encoder knows nothing of, and about single words that it does not know.

    For a few Han characters their definition in Unihan is offered, if Unihan is on this machine: reading it takes a
    second, so it is read only then.
    """
    found = {prompt: missing for prompt in dict.fromkeys(prompts) if (missing := encoder.find_unknown(prompt))}
    unknown = [prompt for prompt, missing in found.items() if missing.whole]
    parts = [
        _with_its_word(part, prompt) for prompt, missing in found.items() if not missing.whole for part in missing.parts
    ]
    if unknown:
        yield Caution(f"the text encoder knows none of the words of: {join_shortened(unknown)}")
    if parts:
        yield Caution(f"the text encoder does not know: {join_shortened(list(dict.fromkeys(parts)))}")
    characters: dict[str, None] = {}
    for missing in found.values():
        han = dict.fromkeys(HAN.findall(unicodedata.normalize("NFKC", "".join(missing.parts))))
        characters |= han if len(han) <= _FEW else {}
    offers = _definition_hints(encoder, list(characters)[:SHOWN]) if characters else []
    if offers:
        yield Caution(f"{', '.join(offers)} in Unihan; try {'that' if len(offers) == 1 else 'those'}")


def join_shortened(texts: Sequence[str]) -> str:
    """Some of `texts` on one line, and how many more there are."""
    more = f"; and {len(texts) - SHOWN:,} more" if len(texts) > SHOWN else ""
    return "; ".join(map(shorten, texts[:SHOWN])) + more


def shorten(text: str) -> str:
    """`text` on one line, cut where it is long."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"


def _with_its_word(part: str, prompt: str) -> str:
    """`part`, and the word that it is in where that has other letters: a Cyrillic о looks like a Latin one."""
    word = next((word for word in prompt.split() if part in word), part)
    return part if not any(letter.isalnum() for letter in word.replace(part, "")) else f"{part} (in {shorten(word)})"


def _definition_hints(encoder: TextEncoder, characters: Sequence[str]) -> list[str]:
    """`火 is "fire"` for the characters that have a definition which the encoder can read."""
    file = installed_definitions()
    if file is None:
        return []
    try:
        entries = read_definitions(file)
    except DefinitionsError:
        return []  # a hint is not worth an error
    offers = []
    for character in characters:
        entry = entries.get(ord(character))
        meaning = "" if entry is None else clean(entry.definition).text
        if meaning and not encoder.find_unknown(meaning).whole:
            offers.append(f'{character} is "{shorten(meaning)}"')
    return offers
