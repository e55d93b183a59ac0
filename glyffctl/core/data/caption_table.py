"""The distinct captions of a data set, and which characters they belong to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from glyffctl.core.data.character import Character

if TYPE_CHECKING:
    from torch import Tensor


class CaptionTable(NamedTuple):
    """The captions of each of C characters: rows[starts[c]:starts[c + 1]], its definition first."""

    rows: Tensor  # (M,) int64
    starts: Tensor  # (C + 1,) int64

    def pick(self, character: Tensor, share: Tensor) -> Tensor:
        """(B,) one caption of each `character` (B,), all equally likely if `share` (B,) is uniform in [0, 1)."""
        start = self.starts[character]
        count = self.starts[character + 1] - start
        return self.rows[start + (share * count).long().clamp(max=count - 1)]

    def padded(self) -> Tensor:
        """(C, K) int64: the captions of each character in a row, filled up with −1."""
        from torch.nn.utils.rnn import pad_sequence  # noqa: PLC0415 - as below

        rows = self.rows.split(self.starts.diff().tolist())
        return pad_sequence(list(rows), batch_first=True, padding_value=-1)


def fit(own: Tensor, caption: Tensor) -> Tensor:
    """(B, T) bool: whether each caption (T,) is one of `own` (B, K), rows of `CaptionTable.padded`."""
    return (own[:, None] == caption[:, None]).any(2)


def captions_digest(captions: Sequence[str]) -> str:
    """sha256 of the distinct captions in their order, as a JSON array; cached embeddings name it."""
    return hashlib.sha256(json.dumps(list(captions)).encode()).hexdigest()


def distinct(texts: Sequence[str]) -> tuple[list[str], list[int]]:
    """The distinct texts in order of first appearance, and for each text its row among them."""
    rows: dict[str, int] = {}
    row_of = [rows.setdefault(text, len(rows)) for text in texts]
    return list(rows), row_of


def captions_of(character: Character) -> tuple[str, ...]:
    """The captions of a character, its definition first."""
    return character.definition, *character.alternate_captions


def caption_table(characters: Iterable[Character]) -> tuple[list[str], CaptionTable]:
    """The distinct captions of `characters`, and which of them belong to which character."""
    import torch  # noqa: PLC0415 (`prepare` needs captions and no tensors, and torch takes a second)

    texts = list(map(captions_of, characters))
    captions, rows = distinct([text for each in texts for text in each])
    counts = torch.tensor([0, *map(len, texts)])
    return captions, CaptionTable(torch.tensor(rows), counts.cumsum(0))
