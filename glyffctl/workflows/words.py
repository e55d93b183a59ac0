"""Warnings about words of prompts that the text encoder does not know."""

from __future__ import annotations

import unicodedata
from collections.abc import Generator, Sequence

from glyffctl.core.text.han import HAN
from glyffctl.core.text.vocabulary import Vocabulary
from glyffctl.workflows.events import Caution, Event

SHOWN = 5
"""Texts that a warning names."""
_LONGEST = 60
_FEW = 4
"""Definitions are looked up for prompts with at most this many Han characters: more are a sentence."""


def warn_of_unknown_words(encoder: Vocabulary, prompts: Sequence[str]) -> Generator[Event, None, None]:
    """Warn about prompts of which the encoder knows no word, and about single unknown words.

    For a few Han characters the warning quotes their definitions from Unihan, if it is on this machine. Loading it
    takes a second, and happens only then.
    """
    found = {prompt: missing for prompt in dict.fromkeys(prompts) if (missing := encoder.find_unknown(prompt))}
    unknown = [prompt for prompt, missing in found.items() if missing.whole]
    parts = [
        _with_its_word(part, prompt) for prompt, missing in found.items() if not missing.whole for part in missing.parts
    ]
    if unknown:
        yield Caution(
            f"the text encoder knows none of the words of: {join_shortened(unknown)}",
            "prompts-unknown",
            {"prompts": tuple(unknown)},
        )
    if parts := list(dict.fromkeys(parts)):
        yield Caution(
            f"the text encoder does not know: {join_shortened(parts)}", "words-unknown", {"words": tuple(parts)}
        )
    characters: dict[str, None] = {}
    for missing in found.values():
        han = dict.fromkeys(HAN.findall(unicodedata.normalize("NFKC", "".join(missing.parts))))
        characters |= han if len(han) <= _FEW else {}
    if not characters:
        return
    from glyffctl.workflows.definition_hints import definition_hints  # noqa: PLC0415 - slow to import, hardly ever needed

    hints = definition_hints(encoder, list(characters)[:SHOWN])
    if hints:
        known = ", ".join(f'{character} is "{shorten(meaning)}"' for character, meaning in hints.items())
        yield Caution(
            f"{known} in Unihan; try {'that' if len(hints) == 1 else 'those'}",
            "definitions-suggested",
            {"definitions": hints},
        )


def join_shortened(texts: Sequence[str]) -> str:
    """The first of `texts` on one line, and the number of others."""
    more = f"; and {len(texts) - SHOWN:,} more" if len(texts) > SHOWN else ""
    return "; ".join(map(shorten, texts[:SHOWN])) + more


def shorten(text: str) -> str:
    """`text` on one line, at most 60 characters and an ellipsis."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"


def _with_its_word(part: str, prompt: str) -> str:
    """`part`, with the word around it where that has other letters: a Cyrillic о looks like a Latin one."""
    word = next((word for word in prompt.split() if part in word), part)
    return part if not any(letter.isalnum() for letter in word.replace(part, "")) else f"{part} (in {shorten(word)})"
