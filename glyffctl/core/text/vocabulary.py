"""Which parts of a text are missing from a tokenizer's vocabulary."""

from __future__ import annotations

import re
from typing import Any, NamedTuple, Protocol

from glyffctl.core.text.han import HAN

_WORD = re.compile(rf"{HAN.pattern}|(?:(?!{HAN.pattern})[^\W_])+")  # Han has no spaces: each character is a word


class UnknownText(NamedTuple):
    """The parts of a text that are not in the vocabulary. False where everything is."""

    parts: tuple[str, ...]  # in their order, each once
    whole: bool  # no letter or digit of the text reaches the encoder

    def __bool__(self) -> bool:
        """Whether any part is unknown."""
        return self.whole or bool(self.parts)


class Vocabulary(Protocol):
    """What knows words: a text encoder."""

    def find_unknown(self, text: str) -> UnknownText:
        """Return the parts of `text` that it does not know."""
        ...


def unknown_id(tokenizer: Any) -> int | None:
    """The id of the unknown token; None for tokenizers without one.

    CLIP's tokenizer, which falls back to bytes, calls its end mark the unknown token: that counts as None.
    """
    names = ("bos_token_id", "eos_token_id", "sep_token_id", "cls_token_id", "pad_token_id")
    unknown: int | None = tokenizer.unk_token_id
    return None if unknown in [getattr(tokenizer, name, None) for name in names] else unknown


def all_known(tokenizer: Any, ids: list[int]) -> bool:
    """Whether none of the token ids of a text is the unknown one, and some are no special tokens."""
    return unknown_id(tokenizer) not in ids and not set(ids) <= set(tokenizer.all_special_ids)


def find_unknown(tokenizer: Any, text: str, max_tokens: int) -> UnknownText:
    """The parts of `text`, up to `max_tokens`, that become the unknown token or no token at all.

    Tokenizers that fall back to bytes know everything.
    """
    if not text.strip():
        return UnknownText((), whole=False)
    unknown, special = unknown_id(tokenizer), set(tokenizer.all_special_ids)
    if not getattr(tokenizer, "is_fast", False):
        return _find_by_words(tokenizer, text, unknown, special)
    encoded = tokenizer([text], return_offsets_mapping=True, truncation=True, max_length=max_tokens)
    ids, spans = encoded["input_ids"][0], encoded["offset_mapping"][0]
    tokens = list(zip(ids, tokenizer.convert_ids_to_tokens(ids), spans, strict=True))
    lost = {place for number, _, span in tokens if number == unknown for place in range(*span)}
    for word in _WORD.finditer(text):  # of огонь only the soft sign may be known: the word is not
        places = range(*word.span())
        if 2 * len(lost.intersection(places)) > len(places):
            lost.update(places)
    known = [(token, span) for number, token, span in tokens if number not in special]
    encoded_letters = {place for token, span in known if _has_letters(token) for place in range(*span)} - lost
    runs = "".join(letter if place in lost else "\0" for place, letter in enumerate(text)).split("\0")
    parts = tuple(dict.fromkeys(run.strip() for run in runs if run.strip()))
    return UnknownText(parts, whole=not encoded_letters and (bool(parts) or not known))


def _find_by_words(tokenizer: Any, text: str, unknown: int | None, special: set[int]) -> UnknownText:
    """`find_unknown` for tokenizers that give no offsets: each word is known or unknown as a whole."""
    words = list(dict.fromkeys(text.split()))
    rows = [set(row) for row in tokenizer(words)["input_ids"]]
    parts = tuple(word for word, row in zip(words, rows, strict=True) if unknown in row)
    known = tokenizer.convert_ids_to_tokens(sorted(set().union(*rows) - special))
    return UnknownText(parts, whole=not any(map(_has_letters, known)) and (bool(parts) or not known))


def _has_letters(token: str) -> bool:
    return any(letter.isalnum() for letter in token)
