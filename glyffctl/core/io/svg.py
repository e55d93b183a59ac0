"""SVG files that hold the settings they were made with.

Text from strangers, such as a prompt, is in them as text alone: escaped, in `title`, `text` and `metadata`. Reading
takes the settings out of the file as characters; nothing parses XML, whose entities can grow without end.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glyffctl.core.errors import GlyffError
from glyffctl.core.io.atomic import write_text
from glyffctl.core.io.names import printable
from glyffctl.core.io.reading import LARGEST_PICTURE, parse_json, read_bytes

SUFFIX = ".svg"
_METADATA = re.compile(rb'<metadata id="glyffctl">([^<]*)</metadata>')
_LONGEST_TITLE = 300  # characters


@dataclass(frozen=True)
class Shape:
    """A filled shape.

    Attributes:
        path: in the language of SVG paths, in pixels.
        left: where its origin lies in the picture, in pixels.
        top: the same, from above.
    """

    path: str
    left: float = 0
    top: float = 0


@dataclass(frozen=True)
class Label:
    """A line of text that begins at the pixel (left, base)."""

    text: str
    left: float
    base: float


def save_svg(
    path: Path,
    size: tuple[int, int],
    shapes: Sequence[Shape],
    settings: dict[str, Any],
    title: str,
    labels: Sequence[Label] = (),
) -> None:
    """Write black shapes without a background.

    Args:
        path: the file.
        size: width and height in pixels.
        shapes: by the nonzero rule.
        settings: kept in the file, as JSON in ASCII.
        title: what the picture shows, for those who hear it.
        labels: text beside the shapes.

    Raises:
        OutputError: the path cannot be written.
    """
    width, height = size
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
        f"<title>{_escaped(title[:_LONGEST_TITLE])}</title>",
        f'<metadata id="glyffctl">{_escaped(json.dumps(settings))}</metadata>',
    ]
    for shape in shapes:
        place = f' transform="translate({shape.left:g} {shape.top:g})"' if shape.left or shape.top else ""
        lines.append(f'<path{place} d="{shape.path}"/>')
    for label in labels:
        style = 'font-family="sans-serif" font-size="15"'
        lines.append(f'<text x="{label.left:g}" y="{label.base:g}" {style}>{_escaped(label.text)}</text>')
    write_text(path, "\n".join([*lines, "</svg>", ""]))


def read_svg_settings(path: Path) -> dict[str, Any] | None:
    """The settings in a file that `save_svg` wrote; None if it has none.

    Raises:
        GlyffError: the file cannot be read, or is too large.
    """
    found = _METADATA.search(read_bytes(path, GlyffError, LARGEST_PICTURE))
    if found is None:
        return None
    text = found[1].decode("ascii", "replace")
    for character, name in _ENTITIES[::-1]:
        text = text.replace(name, character)
    try:
        settings = parse_json(text)
    except ValueError:
        return None
    return settings if isinstance(settings, dict) else None


_ENTITIES = (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"))


def _escaped(text: str) -> str:
    """`text` for XML, which has no control characters, in any form."""
    shown = printable(text)
    for character, name in _ENTITIES:
        shown = shown.replace(character, name)
    return shown
