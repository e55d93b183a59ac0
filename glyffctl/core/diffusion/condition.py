"""What a network is conditioned on."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Condition(NamedTuple):
    """Captions as the network sees them.

    A row whose mask is all False is "no caption": the network puts its learned null token there.
    """

    tokens: Tensor  # (B, L, D) float; zeros where mask is False
    mask: Tensor  # (B, L) bool; L >= 1

    @staticmethod
    def none(count: int, width: int) -> Condition:
        """`count` rows without a caption, for vectors `width` wide."""
        return Condition(torch.zeros(count, 1, width), torch.zeros(count, 1, dtype=torch.bool))

    @staticmethod
    def cat(batches: list[Condition]) -> Condition:
        """All rows of `batches`, padded to the longest."""
        length = max(batch.mask.shape[1] for batch in batches)

        def pad(batch: Condition) -> Condition:
            missing = length - batch.mask.shape[1]
            return Condition(F.pad(batch.tokens, (0, 0, 0, missing)), F.pad(batch.mask, (0, missing)))

        padded = [pad(batch) for batch in batches]
        return Condition(torch.cat([b.tokens for b in padded]), torch.cat([b.mask for b in padded]))

    def rows(self, index: Tensor) -> Condition:
        """The rows `index` (B,) int64."""
        return Condition(self.tokens[index], self.mask[index])

    def to(self, device: torch.device) -> Condition:
        """The same on another device."""
        return Condition(self.tokens.to(device), self.mask.to(device))
