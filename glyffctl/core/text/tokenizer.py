"""The tokenizer of the bundled text encoder, without transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer


class BundledTokenizer:
    """A tokenizer with the interface of those of transformers, as far as glyffctl uses it.

    Attributes:
        unk_token_id: the id of the unknown token.
        all_special_ids: the ids of the unknown token and of marks that stand for no text.
    """

    is_fast = True

    def __init__(self, file: Path) -> None:
        self._tokenizer = Tokenizer.from_file(str(file))
        self._tokenizer.no_padding()
        added = self._tokenizer.get_added_tokens_decoder().items()
        self.all_special_ids = [number for number, token in added if token.special]
        self.unk_token_id: int | None = self._tokenizer.token_to_id("<unk>")

    def __len__(self) -> int:
        return self._tokenizer.get_vocab_size()

    def __call__(
        self, texts: list[str], *, truncation: bool = False, max_length: int = 0, return_offsets_mapping: bool = False
    ) -> dict[str, Any]:
        """Tokenize texts.

        Args:
            texts: any number.
            truncation: whether to cut each to `max_length` tokens, its end mark included.
            max_length: see `truncation`.
            return_offsets_mapping: whether to add the start and end of each token in its text, in characters.

        Returns:
            "input_ids", end marks included, and "offset_mapping" if wanted: a list for each text.
        """
        if truncation:
            self._tokenizer.enable_truncation(max_length)
        else:
            self._tokenizer.no_truncation()
        encodings = self._tokenizer.encode_batch(texts)
        ids = {"input_ids": [each.ids for each in encodings]}
        return ids | {"offset_mapping": [each.offsets for each in encodings]} if return_offsets_mapping else ids

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        """The text of tokens, with ▁ where a word begins."""
        return [self._tokenizer.id_to_token(number) or "" for number in ids]
