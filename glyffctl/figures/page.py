"""The page of figures: one HTML file that contains its pictures and its script, and loads nothing.

A live figure (`figures/live.py`) is computed in the page, beside its still picture; without scripts, and on paper,
there is the still picture alone. On a screen too narrow for the lettering of a picture, it keeps the width at which it
is legible, scrolls sideways, and a line says so.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from html import escape as escape_markup
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from glyffctl.core.io.names import printable
from glyffctl.figures.chapters import LEADS, Chapter, chapters_of
from glyffctl.figures.demo_scene import Live
from glyffctl.figures.glossary import glossary, link_terms
from glyffctl.figures.inline import one_scope, part, policy, safe_json
from glyffctl.figures.workbench_html import Workbench

LEGIBLE = 9.0
"""The least height of a capital letter or digit in a figure on any screen, in CSS pixels."""
_CAPITAL = 0.729
"""The height of a capital in DejaVu Sans, as a share of the font size."""
_MARGINS = 64
"""The margins of the text and a scroll bar, in CSS pixels."""


class Section(NamedTuple):
    """A figure on the page.

    Attributes:
        alt: what the picture shows, for those who cannot see it.
        measured: sentences; each line becomes a paragraph.
        picture: the content of a PNG or GIF file.
        width: the width in CSS pixels where there is room.
        letters: the font size of the smallest lettering at that width, in CSS pixels; infinity without any.
        live: the figure that can be moved, if there is one.
        workbench: takes the place of the picture where scripts run; one section may have it.
    """

    name: str
    title: str
    see: str
    alt: str
    measured: str
    picture: bytes
    media_type: str
    width: int
    letters: float
    live: Live | None = None
    workbench: Workbench | None = None

    @property
    def narrowest(self) -> int:
        """The smallest width in CSS pixels at which the lettering is legible."""
        return math.ceil(self.width * LEGIBLE / (_CAPITAL * self.letters))


class Source(NamedTuple):
    """The article that the page follows, as a sentence with a link in it."""

    before: str
    link: str
    address: str
    after: str


_SO_FAR = '<p class="about so-far">'
_FOLDER = "demo_page"
# The parts of one script, in this order and in one scope.
_SCRIPTS = (
    "values.js", "pictures.js", "player.js", "noising.js", "curves.js", "mixture.js", "plane.js", "brightness.js",
    "guesses.js", "walking.js", "frames.js", "drawing.js", "terms.js", "start.js",
)  # fmt: skip


def escape(text: str) -> str:
    """Escape untrusted text for the page; invisible characters become visible."""
    return escape_markup(printable(text))


def page(
    title: str,
    about: Sequence[str],
    sections: Sequence[Section],
    source: Source | None = None,
    common: dict[str, Any] | None = None,
    total: int | None = None,
) -> str:
    """Build the page. All text is escaped, and may hold anything.

    Args:
        title: of the page.
        about: paragraphs at its top.
        sections: its figures.
        source: the article that it follows.
        common: data for all live figures, see `live.common_data`; needed if there is one.
        total: how many figures the page is going to have; the page says that more are coming.
    """
    numbered = list(enumerate(sections, 1))
    chapters = chapters_of([section.name for section in sections])
    starts = [k for k, chapter in enumerate(chapters) if k == 0 or chapter is not chapters[k - 1]]
    contents, body = "", ""
    for number, (start, end) in enumerate(pairwise([*starts, len(sections)]), 1):
        chapter, inside = chapters[start], numbered[start:end]
        links = "".join(f'<li><a href="#{escape(each.name)}">{escape(each.title)}</a></li>' for _, each in inside)
        contents += _contents(number, chapter, f'<ol start="{start + 1}">{links}</ol>')
        body += _opening(number, chapter) + "\n".join(_section(*each) for each in inside) + "\n"
    lines = "".join(f'<p class="about">{line}</p>' for line in [*_credit(source), *map(escape, about)])
    if total is not None and len(sections) < total:
        lines = f"{_SO_FAR}{_begun(len(sections), total)}</p>{lines}"
    narrow = "".join(_when_narrow(number, section) for number, section in numbered if math.isfinite(section.letters))
    data = _data("common", common or {})
    workbenches = [section.workbench for section in sections if section.workbench is not None]
    style = part(_FOLDER, "page.css") + narrow + "".join(each.style for each in workbenches)
    script = one_scope(_FOLDER, _SCRIPTS) + "".join(each.script for each in workbenches)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy(script, style)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{style}</style>
</head>
<body>
<header>
<h1>{escape(title)}</h1>
{lines}
<nav aria-label="Figures">{contents}</nav>
</header>
<main>
{body}{glossary()}
</main>
{data}
<script>{script}</script>
</body>
</html>
"""


def is_whole(path: Path) -> bool:
    """Whether there is a file, and it is not a page of `page` to which figures were still to come."""
    try:
        return _SO_FAR not in path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


def _begun(count: int, total: int) -> str:
    first = "This is the first figure" if count == 1 else f"These are the first {count} figures"
    return f"{first} of {total}. While the command draws the others, reload this page to see more."


def _contents(number: int, chapter: Chapter | None, links: str) -> str:
    title = "" if chapter is None else f'<p><a href="#chapter-{number}">{chapter.question}</a></p>'
    return f"<div>{title}{links}</div>"


def _opening(number: int, chapter: Chapter | None) -> str:
    if chapter is None:
        return ""
    return f'<div class="chapter" id="chapter-{number}"><h2>{chapter.question}</h2><p>{chapter.text}</p></div>\n'


def _credit(source: Source | None) -> list[str]:
    if source is None:
        return []
    link = f'<a href="{escape(source.address)}">{escape(source.link)}</a>'
    return [f"{escape(source.before)}{link}{escape(source.after)}"]


def _when_narrow(number: int, section: Section) -> str:
    """The style of a figure on a screen, not on paper, that is too narrow for it: a fixed width, and the hint."""
    own = f"#figure-{number}"
    return (
        f"@media screen and (max-width: {section.narrowest + _MARGINS - 1}px) "
        f"{{ {own} img {{ max-width: none; width: {section.narrowest}px; }} {own} .hint {{ display: block; }} }}\n"
    )


def _section(number: int, section: Section) -> str:
    data = base64.b64encode(section.picture).decode("ascii")
    source = f"data:{escape(section.media_type)};base64,{data}"
    known = set[str]()
    lead = LEADS.get(section.name, "")
    lead, see = (link_terms(escape(text), known) for text in (lead, section.see))
    measured = "".join(f"<p>{link_terms(escape(line), known)}</p>" for line in section.measured.split("\n"))
    opening = f'<p class="lead">{lead}</p>\n' if lead else ""
    live = ""
    if section.live is not None:
        name = f"content-{number}"
        shows = escape(section.live.shows)
        live = (
            f'<div class="live" role="group" aria-label="{shows}" data-content="{name}" hidden></div>\n'
            f"{_data(name, section.live._asdict())}\n"
        )
    return f"""<section id="{escape(section.name)}">
{opening}<h3>{number}. {escape(section.title)}</h3>
<p>{see}</p>
{section.workbench.markup if section.workbench is not None else ""}
<figure id="figure-{number}">
{live}<div class="still">
<p class="hint">Swipe or scroll sideways to see all of it.</p>
<div class="frame"><img width="{section.width}" alt="{escape(section.alt)}" src="{source}"></div>
</div>
</figure>
<div class="measured">{measured}</div>
</section>"""


def _data(name: str, content: dict[str, Any]) -> str:
    return f'<script type="application/json" id="{name}">{safe_json(content)}</script>'
