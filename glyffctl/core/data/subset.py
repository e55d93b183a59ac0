"""A few of many, evenly spaced."""

from __future__ import annotations

import torch
from torch import Tensor


def evenly_spaced(index: Tensor, count: int) -> Tensor:
    """At most `count` of `index` (N,), evenly spaced, the first and the last among them; (min(N, count),).

    Every font and every part of the code chart has its share, where glyphs come in that order.
    """
    last = len(index) - 1
    # In float32: figures on record were measured on what its rounding chooses. Beyond 2²⁴ it may round past the end.
    return index[torch.linspace(0, last, min(count, len(index))).long().clamp(max=last)]
