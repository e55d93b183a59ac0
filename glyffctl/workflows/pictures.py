"""What is told of pictures before anything is learned from them."""

from __future__ import annotations

from collections.abc import Iterator

from glyffctl.core.data.dataset import GlyphSet
from glyffctl.workflows.events import Caution


def check_pictures(glyphs: GlyphSet) -> Iterator[Caution]:
    """Cautions about pictures that show nothing, or all the same. Those that `prepare` drew have been looked at.

    Raises:
        DataError: a picture file cannot be read.
    """
    if glyphs.moments is not None:
        return
    survey = glyphs.survey
    of = f"of {survey.looked_at:,} pictures" + (" looked at" if survey.looked_at < len(glyphs) else "")
    if survey.blank:
        why = "white ink on a transparent background turns white on white: use dark ink or add a background"
        white = f", {survey.white:,} of them white; {why}" if survey.white else ""
        yield Caution(f"{survey.blank:,} {of} are blank (one shade of grey all over){white}")
    seen = survey.looked_at - survey.blank
    if seen > 1 and survey.different < seen / 2:
        yield Caution(f"only {survey.different:,} {of} are distinct; the rest are copies")
