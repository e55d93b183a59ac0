"""What Han characters mean, for prompts of which the text encoder knows none."""

from __future__ import annotations

from collections.abc import Sequence

from glyffctl.core.data.cleaning import clean
from glyffctl.core.data.definitions import installed_definitions, read_definitions
from glyffctl.core.errors import DefinitionsError
from glyffctl.core.text.vocabulary import Vocabulary


def definition_hints(encoder: Vocabulary, characters: Sequence[str]) -> dict[str, str]:
    """The definitions of those of `characters` whose definition the encoder knows."""
    file = installed_definitions()
    if file is None:
        return {}
    try:
        entries = read_definitions(file)
    except DefinitionsError:
        return {}  # a hint is not worth an error
    hints = {}
    for character in characters:
        entry = entries.get(ord(character))
        meaning = "" if entry is None else clean(entry.definition).text
        if meaning and not encoder.find_unknown(meaning).whole:
            hints[character] = meaning
    return hints
