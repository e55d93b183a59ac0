"""What a network is conditioned on."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Condition(NamedTuple):
    """The captions of a batch as token vectors.

    A row whose mask is all False has no caption: the network puts its learned null token there. A condition of another
    kind (a label, a low-resolution picture and its noise level) is one more field here: a tensor whose first dimension
    is the batch, or None where a model has none.
    """

    tokens: Tensor  # (B, L, D) float; zeros where mask is False
    mask: Tensor  # (B, L) bool; L >= 1

    @staticmethod
    def none(count: int, width: int) -> Condition:
        """`count` rows without a caption, for token vectors of `width` numbers."""
        return Condition(torch.zeros(count, 1, width), torch.zeros(count, 1, dtype=torch.bool))

    @staticmethod
    def cat(conditions: list[Condition]) -> Condition:
        """All rows of `conditions`, captions padded to the longest."""
        length = max(condition.mask.shape[1] for condition in conditions)

        def pad(condition: Condition) -> Condition:
            missing = length - condition.mask.shape[1]
            return Condition(F.pad(condition.tokens, (0, 0, 0, missing)), F.pad(condition.mask, (0, missing)))

        columns = zip(*map(pad, conditions), strict=True)
        return Condition(*(torch.cat(column) for column in columns))

    def rows(self, index: Tensor) -> Condition:
        """The rows `index` (B,) int64."""
        return Condition(*(field[index] for field in self))

    def to(self, device: torch.device) -> Condition:
        """The same on another device."""
        return Condition(*(field.to(device) for field in self))
