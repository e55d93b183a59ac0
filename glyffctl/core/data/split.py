"""Which characters are kept out of training, in every font."""

from __future__ import annotations

import unicodedata
from hashlib import blake2b

import torch
from torch import Tensor

from glyffctl.core.data.dataset import GlyphSet


def held_out(glyphs: GlyphSet, share: float) -> Tensor:
    """(N,) bool: the glyphs whose *character* is kept out of training.

    Decided by a hash of the character alone: the same in every font, every run and every data set.
    """
    limit = share * 2**32

    def out(text: str) -> bool:
        return int.from_bytes(blake2b(text.encode(), digest_size=4).digest(), "big") < limit

    # Image folders may name no character; there the caption decides.
    flags = torch.tensor([out(c.character or c.definition) for c in glyphs.characters], dtype=torch.bool)
    return flags[glyphs.character_of]


def canonical(character: str) -> str:
    """The character that this one is a compatibility copy of, else itself: U+F900 豈 → U+8C48 豈."""
    return unicodedata.normalize("NFKC", character)
