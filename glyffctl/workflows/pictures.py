"""Checks of pictures before training."""

from __future__ import annotations

from collections.abc import Iterator

from glyffctl.core.data.dataset import GlyphSet
from glyffctl.workflows.events import Caution


def check_pictures(glyphs: GlyphSet) -> Iterator[Caution]:
    """Warn of blank and repeated pictures. `prepare` has checked those that it drew.

    Raises:
        DataError: a picture file cannot be read.
    """
    if glyphs.moments is not None:
        return
    found = glyphs.statistics
    of = f"of {found.sampled:,} pictures" + (" looked at" if found.sampled < len(glyphs) else "")
    if found.blank:
        why = "white ink on a transparent background turns white on white: use dark ink or add a background"
        white = f", {found.white:,} of them white; {why}" if found.white else ""
        yield Caution(
            f"{found.blank:,} {of} are blank (one shade of grey all over){white}",
            "pictures-blank",
            {"blank": found.blank, "white": found.white, "sampled": found.sampled},
        )
    drawn = found.sampled - found.blank
    if drawn > 1 and found.distinct < drawn / 2:
        yield Caution(
            f"only {found.distinct:,} {of} are distinct; the rest are copies",
            "pictures-repeated",
            {"distinct": found.distinct, "sampled": found.sampled},
        )
