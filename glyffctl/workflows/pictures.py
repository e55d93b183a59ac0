"""What is told of pictures before anything is learned from them."""

from __future__ import annotations

from collections.abc import Iterator

from glyffctl.core.dataset import GlyphSet
from glyffctl.workflows.events import Caution


def look_over(glyphs: GlyphSet) -> Iterator[Caution]:
    """Cautions about pictures that show nothing, or all the same. Those that `prepare` drew have been looked at.

    Raises:
        DataError: a picture file cannot be read.
    """
    if glyphs.moments is not None:
        return
    survey = glyphs.survey
    of = f"of {survey.looked_at:,} pictures" + (" looked at" if survey.looked_at < len(glyphs) else "")
    if survey.blank:
        why = "white ink on a transparent ground is white on white here: give such pictures dark ink, or a ground"
        white = f", {survey.white:,} of them white; {why}" if survey.white else ""
        yield Caution(f"{survey.blank:,} {of} are blank, of one grey all over{white}")
    seen = survey.looked_at - survey.blank
    if seen > 1 and survey.different < seen / 2:
        yield Caution(f"only {survey.different:,} {of} differ from each other; the others are copies")
