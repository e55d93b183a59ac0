"""The radicals of the characters that share a meaning, counted in a dictionary.

One radical is too narrow an answer to some prompts: for "to speak" 口 is as good as 言. Which others are accepted
follows from Unihan's definitions by a rule that does not depend on drawn pictures:

1. A prompt is split at commas and "or" into phrases, a definition at semicolons and commas into senses, without
   brackets. Of both only content words are kept.
2. A character has the prompt's meaning if one of its senses contains all words of one of the phrases and at most one
   word more: "small boat" matches "a boat", "bamboo mat used as a sail on a boat" does not.
3. A radical is accepted beside the expected one if at least `SHARE` of the characters with the meaning are written
   with it, and at least `FEWEST` characters.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from glyffctl.core.data.cleaning import clean
from glyffctl.core.data.definitions import Entry
from glyffctl.core.evaluation.prompts import Prompt

SHARE = 1 / 8
FEWEST = 4
_MORE = 1  # words
_EMPTY = frozenset(["a", "an", "and", "by", "for", "in", "kind", "made", "of", "or", "the", "to", "with"])
_BRACKETS = re.compile(r"\s*\([^()]*\)")


class Meanings:
    """Finds the radicals of a meaning in a dictionary."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        """Index the definitions of `entries`."""
        self._characters = [
            (_senses(entry.definition), entry.radical) for entry in entries if entry.radical is not None
        ]

    def radicals(self, text: str) -> Counter[int]:
        """Count the characters of each radical that have the meaning of the prompt `text`."""
        phrases = [words for words in map(_words, re.split(r",|\bor\b", text)) if words]
        return Counter(
            radical
            for senses, radical in self._characters
            if any(phrase <= sense and len(sense) <= len(phrase) + _MORE for sense in senses for phrase in phrases)
        )

    def also_accepted(self, prompt: Prompt) -> tuple[int, ...]:
        """The radicals accepted for `prompt` besides its own, the most frequent first."""
        found = self.radicals(prompt.text)
        fewest = max(FEWEST, SHARE * found.total())
        return tuple(
            radical for radical, count in found.most_common() if count >= fewest and radical not in prompt.radicals
        )


def _senses(definition: str) -> list[frozenset[str]]:
    return [_words(sense) for sense in re.split("[;,]", _BRACKETS.sub("", clean(definition).text))]


def _words(text: str) -> frozenset[str]:
    return frozenset(re.findall("[a-z]+", text.lower())) - _EMPTY
