"""Which characters are held out of training, in every font."""

from __future__ import annotations

import unicodedata
from hashlib import blake2b

import torch
from torch import Tensor

from glyffctl.core.data.dataset import GlyphSet


def held_out(glyphs: GlyphSet, share: float) -> Tensor:
    """(N,) bool: the glyphs whose *character* is held out of training.

    A hash of the character decides, so that it is the same in every font, run and data set. `share` is in 0…1.
    """
    limit = share * 2**32

    def is_out(text: str) -> bool:
        return int.from_bytes(blake2b(text.encode(), digest_size=4).digest(), "big") < limit

    # Where image folders name no character, the caption decides.
    flags = torch.tensor([is_out(c.character or c.definition) for c in glyphs.characters], dtype=torch.bool)
    return flags[glyphs.character_of]


def canonical(character: str) -> str:
    """The character of which this one is a compatibility copy, else itself: U+F900 豈 → U+8C48 豈."""
    return unicodedata.normalize("NFKC", character)
