"""umap.html: the map as one page that opens from disk without a network, and is drawn with WebGL.

Dots become glyphs as the user zooms in: the page holds the thumbnails, as sheets in lossless WebP with 16 greys.

Definitions, font names and prompts are untrusted. The page gets them as ASCII JSON, with `<`, `>` and `&` escaped, in a
block that is not a script, and writes them with `textContent` only. Its content security policy allows its own script
and style sheet, by their digests, nothing else, and no conversion of text to markup.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.colors import to_hex
from PIL import Image
from torch import Tensor

from glyffctl.core.atlas.groups import MOST_GROUPS, Groups, radical_label
from glyffctl.core.data.dataset import GlyphSet
from glyffctl.core.io.atomic import write_text
from glyffctl.figures.inline import one_scope, part, policy, safe_json
from glyffctl.figures.map_scene import GENERATED, GROUP_COLOURS, OTHERS, PLAIN, Colouring, MapScene
from glyffctl.figures.style import DENSITY

_SHEET = 2048  # pixels, the longest side of a sheet: every WebGL 2 implementation supports it
_GREYS = 16
_SHORT = 1 << 16  # points whose rows fit into two bytes
_NO_NUMBER = 255  # in the bytes of a scale; numbers are 0 to 254


@dataclass(frozen=True, eq=False)
class MapLabels:
    """The glyphs behind the points of a map, and all ways to colour them."""

    glyphs: GlyphSet
    colourings: Sequence[Colouring]
    """They include that of the scene, if it has one."""


def save_map_page(path: Path, scene: MapScene, labels: MapLabels) -> None:
    """Write the page.

    Args:
        path: the file to write.
        scene: what the map shows.
        labels: what the points are.

    Raises:
        OutputError: the path cannot be written.
    """
    template, style, script = part(_FOLDER, "page.html"), part(_FOLDER, "page.css"), one_scope(_FOLDER, _SCRIPTS)
    fields = {
        "policy": policy(script, style),
        "title": html.escape(_without_surrogates(scene.title)),
        "style": style,
        "script": script,
        "data": safe_json(_content(scene, labels)),
    }
    # One pass over the template: what is inserted is not searched for fields again.
    pieces = template.split("{{")
    page = [pieces[0]]
    for piece in pieces[1:]:
        name, rest = piece.split("}}", 1)
        page += [fields[name], rest]
    write_text(path, "".join(page))


_FOLDER = "map_page"
# The parts of one script, in this order and in one scope.
_SCRIPTS = (
    "state.js", "theme.js", "drawing.js", "overlay.js", "regions.js", "legend.js", "search.js", "moving.js",
    "pointing.js", "nearby.js", "lasso.js", "saving.js", "trails.js", "outside.js", "page.js", "link.js",
)  # fmt: skip


def _without_surrogates(text: str) -> str:
    """`text` without lone surrogates, which JSON files can hold but UTF-8 cannot encode."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _content(scene: MapScene, labels: MapLabels) -> dict[str, Any]:
    glyphs, field = labels.glyphs, scene.density
    extra = [marked.picture[None] for marked in scene.generated] + [trail.pictures for trail in scene.trails]
    across, down, pages = _thumbnail_sheets(torch.cat([scene.thumbnails, *extra]))
    starts = list(accumulate((len(part) for part in extra), initial=len(scene.points)))
    drawn, trails = starts[: len(scene.generated)], starts[len(scene.generated) :]
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
        "colourings": [_colouring(colouring) for colouring in labels.colourings],
        "named": MOST_GROUPS,
        "near": _base64(scene.near.numpy(), "<u2" if len(scene.points) <= _SHORT else "<i4"),
        "compared": scene.compared,
        "nearCount": scene.near.shape[1],
        "regions": [[region.name, region.x, region.y, region.glyphs] for region in scene.regions],
        "initial": next((k for k, c in enumerate(labels.colourings) if c is scene.colouring), 0),
        "colours": list(GROUP_COLOURS),
        "others": OTHERS,
        "plain": PLAIN,
        "drawnColour": GENERATED,
        "ramp": [to_hex(DENSITY(value)) for value in np.linspace(0, 1, 5)],
        "cells": len(field.values),
        "density": _base64((field.values * 255).round().numpy(), "u1"),
        "cell": scene.thumbnails.shape[-1],
        "across": across,
        "down": down,
        "pages": pages,
        "drawn": [
            {**_place(marked.x, marked.y, scene), "picture": at, "label": marked.label, "near": marked.near.tolist()}
            for marked, at in zip(scene.generated, drawn, strict=True)
        ],
        "trails": [
            {
                "label": trail.label,
                "points": (_places(trail.points, scene) / 65535).tolist(),
                "pictures": list(range(at, at + len(trail.pictures))),
                "near": trail.near.tolist(),
            }
            for trail, at in zip(scene.trails, trails[: len(scene.trails)], strict=True)
        ],
    }


def _places(points: Tensor, scene: MapScene) -> np.ndarray[Any, Any]:
    """(N, 2): coordinates in the square of the density, scaled to 0…65535."""
    field = scene.density
    unit = (points.double() - torch.tensor([field.left, field.bottom])) / field.side
    return (unit.clamp(0, 1) * 65535).round().numpy()


def _place(x: float, y: float, scene: MapScene) -> dict[str, float]:
    u, v = (_places(torch.tensor([[x, y]]), scene)[0] / 65535).tolist()
    return {"x": u, "y": v}


def _spacing(scene: MapScene) -> float:
    """The typical distance between points, as a share of the map's side: √(occupied area / points)."""
    return float(((scene.density.values > 0.02).double().mean() / len(scene.points)).sqrt())


def _colouring(colouring: Colouring) -> dict[str, Any]:
    by = colouring.by
    if isinstance(by, Groups):
        rest = {"labels": by.labels, "counts": by.counts, "others": by.others, "of": _base64(by.of.numpy(), "<i2")}
    else:
        levels = (by.values * (_NO_NUMBER - 1)).round().nan_to_num(_NO_NUMBER)
        rest = {"ends": by.ends, "missing": by.missing, "values": _base64(levels.numpy(), "u1")}
    return {"heading": colouring.heading, **rest}


def _base64(values: np.ndarray[Any, Any], kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values.astype(kind)).tobytes()).decode()


def _thumbnail_sheets(thumbnails: Tensor) -> tuple[int, int, list[str]]:
    """Pack thumbnails (N, T, T) uint8 into sheets of one size: thumbnails in a row, rows of a sheet, the sheets."""
    count, side, _ = thumbnails.shape
    across = min(_SHEET // side, count)
    down = min(_SHEET // side, -(-count // across))
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
