"""Where a drawn glyph lies among real ones: the most similar of them, and its place in the map."""

from __future__ import annotations

import base64
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from glyffctl.core.atlas.groups import radical_label
from glyffctl.core.atlas.layout import PLACING_NEIGHBORS, load_map, place
from glyffctl.core.atlas.neighbors import Subspace, nearest, project, project_into
from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.errors import DataError
from glyffctl.core.io.images import Array
from glyffctl.core.io.names import utf8_name
from glyffctl.studio.gallery import as_png
from glyffctl.studio.options import DATA
from glyffctl.workflows.events import finish
from glyffctl.workflows.umap import MOST

SHOWN = 8
"""Neighbours of a glyph that the page shows."""


class Surroundings:
    """The glyphs of a data folder, and their map if one was laid out."""

    def __init__(self, folder: Path) -> None:
        """Open a data folder.

        Raises:
            DataError: it is none, or has too few glyphs.
        """
        self.folder = folder
        self.glyphs = open_glyphs(folder).sample(MOST)
        if len(self.glyphs) < SHOWN:
            raise DataError(
                f"{folder} has {len(self.glyphs)} glyphs; to compare drawings with, {SHOWN} are needed: prepare more"
            )
        drawn = load_map(folder, self.glyphs.fingerprint(), None)
        self._map = drawn if drawn is not None and len(drawn.points) == len(self.glyphs) else None
        self._projected: tuple[Subspace, Tensor] | None = None

    @property
    def about(self) -> dict[str, Any]:
        """What the page must know."""
        missing = None
        if self._map is None:
            missing = f"there is no map yet; make one with glyffctl visualize-umap --data {utf8_name(self.folder)}"
        return {"glyphs": len(self.glyphs), "folder": utf8_name(self.folder), "map": missing}

    @property
    def map(self) -> dict[str, Any]:
        """The places of all glyphs, for a picture of the map.

        Raises:
            DataError: there is none.
        """
        if self._map is None:
            raise DataError(self.about["map"])
        return {"places": base64.b64encode(self._unit(self._map.points).astype("<u2").tobytes()).decode()}

    def get_ready(self) -> Generator[float, None, None]:
        """Read all glyphs, once. Yields the share that is done, 0 to 1."""
        if self._projected is not None:
            return
        if self._map is not None:
            self._projected = self._map.subspace, (yield from project_into(self.glyphs, self._map.subspace))
        else:
            self._projected = yield from project(self.glyphs)

    def around(self, picture: Array) -> dict[str, Any]:
        """The neighbours of a picture (H, W) uint8, the most similar first, and its place; after `get_ready`."""
        assert self._projected is not None
        subspace, points = self._projected
        size = self.glyphs.size
        same = Image.fromarray(picture).resize((size, size), Image.Resampling.BOX if size < len(picture) else None)
        query = subspace.project(torch.from_numpy(np.array(same))[None, None])
        found = finish(nearest(points, max(SHOWN, min(PLACING_NEIGHBORS, len(points))), query))
        rows = found.rows[0][:SHOWN]
        here = None if self._map is None else self._unit(place(self._map.points, found))[0].tolist()
        return {
            "neighbours": [self._described(int(row)) for row in rows],
            "rows": rows.tolist(),
            "place": here,
        }

    def _described(self, row: int) -> dict[str, Any]:
        character = self.glyphs.characters[int(self.glyphs.character_of[row])]
        picture = Image.fromarray(self.glyphs.images(torch.tensor([row]))[0, 0].numpy())
        return {
            "character": utf8_name(character.character),
            "codepoint": "" if character.codepoint is None else f"U+{character.codepoint:04X}",
            "definition": utf8_name(character.definition),
            "radical": radical_label(character.radical),
            "picture": base64.b64encode(as_png(picture)).decode(),
        }

    def _unit(self, points: Tensor) -> np.ndarray[Any, Any]:
        """(N, 2) places in the map's square, scaled to 0…65535; y points up."""
        assert self._map is not None
        low, high = self._map.points.amin(0), self._map.points.amax(0)
        side = float((high - low).max()) or 1.0
        centred = (points - (low + high) / 2) / side + 0.5
        return (centred.clamp(0, 1) * 65535).round().numpy().astype(np.int64)


def find_surroundings(named: Path | None) -> Surroundings | None:
    """The glyphs of the folder that the user names, or of `DATA` if that exists; None without either.

    Raises:
        DataError: the folder cannot be used.
    """
    if named is None and not DATA.is_dir():
        return None
    return Surroundings(named or DATA)
