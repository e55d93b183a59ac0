"""The page of figures: one HTML file that contains its pictures and loads nothing; its only script is the workbench's.

On a screen too narrow for the lettering of a figure, the figure keeps the width at which it is legible, scrolls
sideways, and a caption says so.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from html import escape as escape_markup
from typing import NamedTuple

from glyffctl.core.io.names import printable
from glyffctl.figures.inline import policy
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


_STYLE = """
:root { color-scheme: light; }
body { margin: 0 auto; max-width: 60rem; padding: 2.5rem 24px 5rem; background: #fff; color: #1a1a1a;
  font: 1.05rem/1.6 "Noto Sans", "DejaVu Sans", system-ui, sans-serif; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 .6rem; }
h2 { font-size: 1.35rem; line-height: 1.3; margin: 0 0 .4rem; }
p { margin: .4rem 0; max-width: 46rem; }
nav ol { columns: 2; column-gap: 2.5rem; padding-left: 1.6rem; margin: 1.2rem 0 0; }
nav li { break-inside: avoid; padding: .1rem 0; }
a { color: #0072b2; text-decoration: none; }
a:hover, a:focus { text-decoration: underline; }
section { margin-top: 3.2rem; padding-top: 1.6rem; border-top: 1px solid #d9d9d9; }
figure { margin: 1.2rem 0 .8rem; }
figure div { overflow-x: auto; }
figcaption { display: none; color: #555; font-size: .9rem; padding-bottom: .3rem; }
img { display: block; max-width: 100%; height: auto; }
.measured { color: #444; font-size: .95rem; border-left: 3px solid #e69f00; padding-left: .9rem; max-width: 46rem; }
.about { color: #555; font-size: .95rem; }
@media (max-width: 40rem) { nav ol { columns: 1; } body { padding: 1.5rem 16px 3rem; } h1 { font-size: 1.7rem; } }
@media print { body { max-width: none; padding: 0; } nav { display: none; } section { break-inside: avoid; } }
"""


def escape(text: str) -> str:
    """Escape untrusted text for the page; invisible characters become visible."""
    return escape_markup(printable(text))


def page(title: str, about: Sequence[str], sections: Sequence[Section], source: Source | None = None) -> str:
    """Build the page. All text is escaped, and may hold anything."""
    numbered = list(enumerate(sections, 1))
    contents = "".join(f'<li><a href="#{escape(s.name)}">{escape(s.title)}</a></li>' for s in sections)
    body = "\n".join(_section(number, section) for number, section in numbered)
    lines = "".join(f'<p class="about">{line}</p>' for line in [*_credit(source), *map(escape, about)])
    narrow = "".join(_when_narrow(number, section) for number, section in numbered if math.isfinite(section.letters))
    workbenches = [section.workbench for section in sections if section.workbench is not None]
    style = _STYLE + narrow + "".join(each.style for each in workbenches)
    script = "".join(each.script for each in workbenches)
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
<nav aria-label="Figures"><ol>{contents}</ol></nav>
</header>
<main>
{body}
</main>
{f"<script>{script}</script>" if script else ""}
</body>
</html>
"""


def _credit(source: Source | None) -> list[str]:
    if source is None:
        return []
    link = f'<a href="{escape(source.address)}">{escape(source.link)}</a>'
    return [f"{escape(source.before)}{link}{escape(source.after)}"]


def _when_narrow(number: int, section: Section) -> str:
    """The style of a figure on a screen, not on paper, that is too narrow for it: a fixed width, and the caption."""
    own = f"#figure-{number}"
    return (
        f"@media screen and (max-width: {section.narrowest + _MARGINS - 1}px) "
        f"{{ {own} img {{ max-width: none; width: {section.narrowest}px; }} {own} figcaption {{ display: block; }} }}\n"
    )


def _section(number: int, section: Section) -> str:
    data = base64.b64encode(section.picture).decode("ascii")
    source = f"data:{escape(section.media_type)};base64,{data}"
    measured = "".join(f"<p>{escape(line)}</p>" for line in section.measured.split("\n"))
    return f"""<section id="{escape(section.name)}">
<h2>{number}. {escape(section.title)}</h2>
<p>{escape(section.see)}</p>
{section.workbench.markup if section.workbench is not None else ""}
<figure id="figure-{number}">
<figcaption>Swipe or scroll sideways to see all of it.</figcaption>
<div><img width="{section.width}" alt="{escape(section.alt)}" src="{source}"></div>
</figure>
<div class="measured">{measured}</div>
</section>"""
