"""The numbered page: one HTML file that holds its pictures, runs no script and refers to nothing outside."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape as escape_markup
from typing import NamedTuple

from glyffctl.core.names import printable


class Section(NamedTuple):
    """A figure on the page. `picture` is the content of a PNG or GIF file."""

    name: str
    title: str
    see: str
    measured: str
    picture: bytes
    media_type: str


_STYLE = """
:root { color-scheme: light; }
body { margin: 0 auto; max-width: 68rem; padding: 2.5rem 1.5rem 5rem; background: #fff; color: #1a1a1a;
  font: 1.05rem/1.6 "Noto Sans", "DejaVu Sans", system-ui, sans-serif; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 .6rem; }
h2 { font-size: 1.35rem; line-height: 1.3; margin: 0 0 .4rem; }
p { margin: .4rem 0; max-width: 46rem; }
nav ol { columns: 2; column-gap: 2.5rem; padding-left: 1.6rem; margin: 1.2rem 0 0; }
nav li { break-inside: avoid; padding: .1rem 0; }
a { color: #0072b2; text-decoration: none; }
a:hover, a:focus { text-decoration: underline; }
section { margin-top: 3.2rem; padding-top: 1.6rem; border-top: 1px solid #d9d9d9; }
figure { margin: 1.2rem 0 .8rem; text-align: center; }
img { max-width: 100%; height: auto; }
.measured { color: #444; font-size: .95rem; border-left: 3px solid #e69f00; padding-left: .9rem; max-width: 54rem; }
.about { color: #555; font-size: .95rem; }
@media (max-width: 40rem) { nav ol { columns: 1; } }
@media print { body { max-width: none; padding: 0; } nav { display: none; } section { break-inside: avoid; } }
"""


def escape(text: str) -> str:
    """Text of anyone's for the page, in characters that can be seen."""
    return escape_markup(printable(text))


def page(title: str, about: Sequence[str], sections: Sequence[Section]) -> str:
    """The whole page. Everything that is text is escaped; titles and texts may hold anything."""
    numbered = list(enumerate(sections, 1))
    contents = "".join(f'<li><a href="#{escape(s.name)}">{escape(s.title)}</a></li>' for s in sections)
    body = "\n".join(_section(number, section) for number, section in numbered)
    lines = "".join(f'<p class="about">{escape(line)}</p>' for line in about)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
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
</body>
</html>
"""


def _section(number: int, section: Section) -> str:
    data = base64.b64encode(section.picture).decode("ascii")
    return f"""<section id="{escape(section.name)}">
<h2>{number}. {escape(section.title)}</h2>
<p>{escape(section.see)}</p>
<figure><img src="data:{escape(section.media_type)};base64,{data}" alt="{escape(section.title)}"></figure>
<p class="measured">{escape(section.measured)}</p>
</section>"""
