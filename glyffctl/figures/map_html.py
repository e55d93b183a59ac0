"""umap.html: the map as one page that opens from disk, without a network, and is drawn by the graphics card.

Dots become glyphs as one zooms in: the thumbnails are in the page, as sheets in WebP without loss, 16 greys.

Definitions, font names and prompts are anyone's. They come to the page as JSON in ASCII, with `<`, `>` and `&` escaped,
in a block that is no script, and the page writes them with `textContent` alone. Its policy allows the one script and
the one style sheet it came with, by their digests, nothing from anywhere else, and no text to become markup.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.resources import files
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.colors import to_hex
from PIL import Image
from torch import Tensor

from glyffctl.core.atlas.groups import Groups, radical_label
from glyffctl.core.data.dataset import GlyphSet
from glyffctl.core.io.atomic import write_text
from glyffctl.figures.map_scene import DRAWN, GROUP_COLOURS, OTHERS, PLAIN, Colouring, Scene
from glyffctl.figures.style import DENSITY

_PAGE = 2048  # pixels, each side of a sheet of thumbnails at most: every WebGL 2 can hold it
_GREYS = 16
_POLICY = (
    "default-src 'none'; script-src '{script}'; style-src '{style}'; base-uri 'none'; form-action 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)


@dataclass(frozen=True, eq=False)
class Subjects:
    """What the points of a scene are, and all the ways they can be coloured."""

    glyphs: GlyphSet
    colourings: Sequence[Colouring]
    """That of the scene among them, if it has one."""


def save_map_page(path: Path, scene: Scene, subjects: Subjects) -> None:
    """Write the page.

    Raises:
        OutputError: the path cannot be written.
    """
    template, style = _part("page.html"), _part("page.css")
    script = '"use strict";\n(() => {\n' + "\n".join(map(_part, _SCRIPTS)) + "})();\n"
    fields = {
        "policy": html.escape(_POLICY.format(script=_digest(script), style=_digest(style)), quote=True),
        "title": html.escape(_whole(scene.title)),
        "style": style,
        "script": script,
        "data": _inert(_content(scene, subjects)),
    }
    # One pass over the template: what is put in is not looked at again.
    pieces = template.split("{{")
    page = [pieces[0]]
    for piece in pieces[1:]:
        name, rest = piece.split("}}", 1)
        page += [fields[name], rest]
    write_text(path, "".join(page))


# One script of these parts in this order, in one scope: what the first declares, the others use.
_SCRIPTS = ("state.js", "drawing.js", "legend.js", "search.js", "moving.js", "pointing.js", "outside.js", "page.js")


def _part(name: str) -> str:
    return (files("glyffctl.figures") / "map_page" / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _inert(content: Any) -> str:
    """JSON that means the same inside an HTML element, and cannot end it: ASCII, without <, > and &."""
    text = json.dumps(content, ensure_ascii=True, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _whole(text: str) -> str:
    """`text` without halves of surrogate pairs, which UTF-8 cannot write and JSON files can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _content(scene: Scene, subjects: Subjects) -> dict[str, Any]:
    glyphs, field = subjects.glyphs, scene.density
    spare = [marked.picture[None] for marked in scene.drawn] + [trail.pictures for trail in scene.trails]
    across, down, pages = _sheets(torch.cat([scene.thumbnails, *spare]))
    starts = list(accumulate((len(part) for part in spare), initial=len(scene.points)))
    drawn, trails = starts[: len(scene.drawn)], starts[len(scene.drawn) :]
    return {
        "title": scene.title,
        "notes": list(scene.notes),
        "places": _base64(_places(scene.points, scene), "<u2"),
        "spacing": _spacing(scene),
        "characters": [
            [c.character, "" if c.codepoint is None else f"{c.codepoint:04X}", c.definition, radical_label(c.radical)]
            for c in glyphs.characters
        ],
        "characterOf": _base64(glyphs.character_of.numpy(), "<i4"),
        "fonts": [font.name for font in glyphs.fonts],
        "fontOf": _base64(glyphs.font_of.numpy(), "<i2"),
        "colourings": [_colouring(colouring) for colouring in subjects.colourings],
        "initial": next((k for k, c in enumerate(subjects.colourings) if c is scene.colouring), 0),
        "colours": list(GROUP_COLOURS),
        "others": OTHERS,
        "plain": PLAIN,
        "drawnColour": DRAWN,
        "ramp": [to_hex(DENSITY(value)) for value in np.linspace(0, 1, 5)],
        "cells": len(field.values),
        "density": _base64((field.values * 255).round().numpy(), "u1"),
        "cell": scene.thumbnails.shape[-1],
        "across": across,
        "down": down,
        "pages": pages,
        "drawn": [
            {**_place(marked.x, marked.y, scene), "picture": at, "label": marked.label}
            for marked, at in zip(scene.drawn, drawn, strict=True)
        ],
        "trails": [
            {
                "label": trail.label,
                "points": (_places(trail.points, scene) / 65535).tolist(),
                "pictures": list(range(at, at + len(trail.pictures))),
            }
            for trail, at in zip(scene.trails, trails[: len(scene.trails)], strict=True)
        ],
    }


def _places(points: Tensor, scene: Scene) -> np.ndarray[Any, Any]:
    """(N, 2) places over the square of the density, 0 to 65535."""
    field = scene.density
    unit = (points.double() - torch.tensor([field.left, field.bottom])) / field.side
    return (unit.clamp(0, 1) * 65535).round().numpy()


def _place(x: float, y: float, scene: Scene) -> dict[str, float]:
    u, v = (_places(torch.tensor([[x, y]]), scene)[0] / 65535).tolist()
    return {"x": u, "y": v}


def _spacing(scene: Scene) -> float:
    """How far apart points are where they are, in shares of the map: √(area that holds any / points)."""
    return float(((scene.density.values > 0.02).double().mean() / len(scene.points)).sqrt())


def _colouring(colouring: Colouring) -> dict[str, Any]:
    by = colouring.by
    if isinstance(by, Groups):
        rest = {"labels": by.labels, "counts": by.counts, "others": by.others, "of": _base64(by.of.numpy(), "i1")}
    else:
        rest = {"values": _base64((by * 255).round().clamp(0, 255).numpy(), "u1")}
    return {"heading": colouring.heading, **rest}


def _base64(values: np.ndarray[Any, Any], kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values.astype(kind)).tobytes()).decode()


def _sheets(thumbnails: Tensor) -> tuple[int, int, list[str]]:
    """Thumbnails (N, T, T) uint8 in rows on sheets of one size: how many in a row, rows of a sheet, the sheets."""
    count, side, _ = thumbnails.shape
    across = min(_PAGE // side, count)
    down = min(_PAGE // side, -(-count // across))
    greys = thumbnails.float().mul((_GREYS - 1) / 255).round().mul(255 / (_GREYS - 1)).to(torch.uint8)

    def sheet(part: Tensor) -> str:
        page = torch.full((across * down, side, side), 255, dtype=torch.uint8)
        page[: len(part)] = part
        image = Image.fromarray(page.view(down, across, side, side).transpose(1, 2).reshape(down * side, -1).numpy())
        file = io.BytesIO()
        image.save(file, "WEBP", lossless=True, method=2)
        return base64.b64encode(file.getvalue()).decode()

    with ThreadPoolExecutor(max_workers=torch.get_num_threads()) as pool:
        return across, down, list(pool.map(sheet, greys.split(across * down)))
