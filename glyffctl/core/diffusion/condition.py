"""What a network is conditioned on."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Condition(NamedTuple):
    """The captions of a batch as token vectors, and for networks that enlarge, the pictures to enlarge.

    A row whose mask is all False has no caption: the network puts its learned null token there. A condition of another
    kind (a label, say) is one more field here: a tensor whose first dimension is the batch, or None where a model has
    none.
    """

    tokens: Tensor  # (B, L, D) float; zeros where mask is False
    mask: Tensor  # (B, L) bool; L >= 1
    picture: Tensor | None = None  # (B, C, h, w) float: a small picture with noise, as a codec encodes it
    level: Tensor | None = None  # (B,) float64: the standard deviation of the noise in `picture`

    @staticmethod
    def none(count: int, width: int) -> Condition:
        """`count` rows without a caption, for token vectors of `width` numbers."""
        return Condition(torch.zeros(count, 1, width), torch.zeros(count, 1, dtype=torch.bool))

    @staticmethod
    def of_picture(picture: Tensor, level: Tensor) -> Condition:
        """Small pictures (B, C, h, w) with noise of `level` (B,), and no captions."""
        return Condition.none(len(picture), 1)._replace(picture=picture, level=level)

    @staticmethod
    def cat(conditions: list[Condition]) -> Condition:
        """All rows of `conditions`, captions padded to the longest."""
        length = max(condition.mask.shape[1] for condition in conditions)

        def pad(condition: Condition) -> Condition:
            missing = length - condition.mask.shape[1]
            return condition._replace(
                tokens=F.pad(condition.tokens, (0, 0, 0, missing)), mask=F.pad(condition.mask, (0, missing))
            )

        tokens, mask, picture, level = zip(*map(pad, conditions), strict=True)
        return Condition(torch.cat(tokens), torch.cat(mask), _cat(picture), _cat(level))

    def rows(self, index: Tensor) -> Condition:
        """The rows `index` (B,) int64."""
        return self._each(lambda field: field[index])

    def to(self, device: torch.device) -> Condition:
        """The same on another device."""
        return self._each(lambda field: field.to(device))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Condition:
        optional = (None if field is None else change(field) for field in (self.picture, self.level))
        return Condition(change(self.tokens), change(self.mask), *optional)


def _cat(column: tuple[Tensor | None, ...]) -> Tensor | None:
    """All rows of what all conditions have, or none of them."""
    there = [field for field in column if field is not None]
    if len(there) not in (0, len(column)):
        raise ValueError("some conditions have a picture, others have none")
    return torch.cat(there) if there else None
