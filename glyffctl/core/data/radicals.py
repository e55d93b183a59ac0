"""The Kangxi radicals of glyphs, as classes."""

from __future__ import annotations

import torch
from torch import Tensor

from glyffctl.core.data.dataset import GlyphSet
from glyffctl.core.data.radical_names import RADICALS
from glyffctl.core.data.split import canonical


def labels(glyphs: GlyphSet) -> Tensor:
    """(N,) int64: the Kangxi radical of each glyph, 1…214; 0 where it is not known.

    Compatibility ideographs get 0 as well: they are copies of other characters, which may be held out.
    """
    radical = [
        c.radical if c.radical in range(1, RADICALS + 1) and canonical(c.character) == c.character else 0
        for c in glyphs.characters
    ]
    return torch.tensor([r or 0 for r in radical])[glyphs.character_of]
