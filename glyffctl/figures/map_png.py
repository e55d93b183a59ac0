"""umap.png: the map of all glyphs with thumbnails, and beside it their density."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from glyffctl.core.atlas.density import Density
from glyffctl.core.atlas.groups import Groups, Scale
from glyffctl.figures.map_scene import GENERATED, GROUP_COLOURS, OTHERS, PLAIN, MapScene
from glyffctl.figures.style import DENSITY, FAINT, GREY, INK, drawable_text, save_figure, style

_WIDE, _HIGH = 12.75, 8.0  # inches
_MAP = 7.0  # inches, each side of the map
_THUMB = 0.04  # of the map's side, as all lengths below
_SPACING = 0.072  # between glyphs that get a thumbnail, at least
_NEARBY = 0.02  # a glyph this close to another can get the thumbnail instead
_FARTHEST = 0.11  # from a glyph to its thumbnail, at most
_CELLS = 512  # along each side of the grid in which points are counted

Numbers = np.ndarray[Any, Any]


def save_map_png(path: Path, scene: MapScene, settings: dict[str, Any]) -> None:
    """Draw the map as a PNG.

    Args:
        path: the file to write.
        scene: what the map shows.
        settings: are written into a text chunk.

    Raises:
        OutputError: the path cannot be written.
    """
    with style():
        figure = Figure(figsize=(_WIDE, _HIGH))
        _map(_axes(figure, 0.15, 0.42, _MAP), scene)
        right = _MAP + 0.5
        density_axes = _axes(figure, right, 2.19, 4.9)
        field = scene.density.values.numpy()
        density_axes.imshow(field, cmap=DENSITY, origin="lower", extent=(0, 1, 0, 1), interpolation="bilinear")
        middles = (np.arange(len(field)) + 0.5) / len(field)
        density_axes.contour(middles, middles, field, levels=[0.05, 0.2, 0.4, 0.6, 0.8], colors="white", linewidths=0.5)
        _write(figure, 0.22, _HIGH - 0.36, scene.title, fontsize=15, fontweight="bold")
        _write(figure, right, 7.2, "Where glyphs lie densest", fontsize=11)
        _legend(figure, right, 1.86, scene)
        for line, text in enumerate(textwrap.wrap(" · ".join(scene.notes), 165)[:2]):
            _write(figure, 0.22, 0.24 - 0.17 * line, text, fontsize=9, color=GREY)
        save_figure(path, figure, settings)


def _axes(figure: Figure, left: float, bottom: float, side: float) -> Axes:
    """Square axes that show the unit square, without ticks; lengths in inches."""
    axes = figure.add_axes((left / _WIDE, bottom / _HIGH, side / _WIDE, side / _HIGH))
    axes.set(xlim=(0, 1), ylim=(0, 1), xticks=[], yticks=[], aspect="equal")
    axes.spines[:].set_visible(True)
    axes.spines[:].set_color(FAINT)
    return axes


def _write(figure: Figure, x: float, y: float, text: str, **look: Any) -> None:
    """Write untrusted text at (`x`, `y`) in inches; nothing in it is parsed as mathematics."""
    figure.text(x / _WIDE, y / _HIGH, drawable_text(text), parse_math=False, va="baseline", **look)


def _unit(points: Tensor, density: Density) -> Numbers:
    """(N, 2): the points scaled to the unit square that the density covers."""
    return ((points.double().numpy() - [density.left, density.bottom]) / density.side).clip(0, 1)


def _map(axes: Axes, scene: MapScene) -> None:
    places = _unit(scene.points, scene.density)
    colours = _colours(scene)
    size = min(12.0, 1.5e5 / (len(places) + 1500))
    # A random order, not that of the code chart, so that no group covers another.
    order = np.random.RandomState(0).permutation(len(places))
    by = _drawn(scene)
    if isinstance(by, Groups):  # but those without a group lie below
        order = order[np.argsort(by.of.numpy()[order] >= 0, kind="stable")]
    x, y = places[order].T
    axes.scatter(x, y, s=size, c=colours[order], alpha=0.75, linewidths=0)
    placer = _ThumbnailPlacer(places)
    for trail in scene.trails:
        path = _unit(trail.points, scene.density)
        axes.plot(*path.T, color="white", linewidth=3.6, zorder=4, solid_joinstyle="round")
        axes.plot(*path.T, color=GENERATED, linewidth=1.6, zorder=5, marker="o", markersize=3, solid_joinstyle="round")
        axes.plot(*path[-1], color=GENERATED, zorder=5, marker="o", markersize=7, markeredgecolor="white")
        for step in dict.fromkeys((len(path) - 1, 0, len(path) // 2)):
            _thumbnail(axes, placer, path[step], trail.pictures[step].numpy(), GENERATED, 1.25, 9)
    for marked in scene.generated:
        place = _unit(torch.tensor([[marked.x, marked.y]]), scene.density)[0]
        axes.plot(*place, marker="o", markersize=4, color=GENERATED, markeredgecolor="white", zorder=6)
        _thumbnail(axes, placer, place, marked.picture.numpy(), GENERATED, 1.25, 8)
    high = scene.density.at(scene.points).numpy()
    for row in _spaced_rows(places, high):
        _thumbnail(axes, placer, places[row], scene.thumbnails[row].numpy(), tuple(colours[row]), 1.0, 7)


def _colours(scene: MapScene) -> Numbers:
    """(N, 3) the colour of each point."""
    by = _drawn(scene)
    if by is None:
        return np.tile(to_rgb(PLAIN), (len(scene.points), 1))
    if isinstance(by, Groups):
        table = np.array([to_rgb(c) for c in (*GROUP_COLOURS[: len(by.labels)], OTHERS)])
        return np.asarray(table[by.of.numpy()])  # −1 is the last: others
    colours = np.asarray(DENSITY(0.25 + 0.75 * by.values.nan_to_num(0).numpy()))[:, :3]
    return np.where(by.values.isnan().numpy()[:, None], to_rgb(OTHERS), colours)


def _drawn(scene: MapScene) -> Groups | Scale | None:
    """What colours the points; of groups the largest, for which there are colours."""
    if scene.colouring is None:
        return None
    by = scene.colouring.by
    return by.largest() if isinstance(by, Groups) else by


def _spaced_rows(places: Numbers, high: Numbers) -> Iterator[int]:
    """Rows of points (N, 2) far from each other: farthest-point sampling (Gonzalez 1985) until none is far.

    Of the farthest point and those nearby, the one with the highest density `high` (N,) is taken, to avoid outliers.
    """
    row = int(high.argmax())
    distance = np.full(len(places), np.inf)
    while distance[row] > _SPACING:
        about = np.hypot(*(places - places[row]).T) < _NEARBY
        row = int(np.where(about, high, -1).argmax())
        yield row
        distance = np.minimum(distance, np.hypot(*(places - places[row]).T))
        distance[about] = 0
        row = int(distance.argmax())


class _ThumbnailPlacer:
    """Finds places for thumbnails that cover few points and no other thumbnail."""

    def __init__(self, places: Numbers) -> None:
        x, y = places.T
        counts, _, _ = np.histogram2d(x, y, bins=_CELLS, range=((0, 1), (0, 1)))
        self.below = np.pad(counts, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
        self.typical = max(1.0, len(places) * _THUMB**2 * 4)
        self.taken: list[tuple[float, float, float]] = []

    def find(self, place: Numbers, side: float) -> tuple[float, float] | None:
        """The centre of a thumbnail of `side` near `place`, or None where there is no room.

        An island smaller than the thumbnail is not covered by it if there is room beside it.
        """
        best, found = math.inf, None
        about = (*(place - side), *(place + side))
        near = self._count(*about)
        for reach, angle in itertools.product(np.arange(0, _FARTHEST, 0.02), np.arange(0, 2 * math.pi, math.pi / 12)):
            x, y = place[0] + reach * math.cos(angle), place[1] + reach * math.sin(angle)
            half = side / 2 + 0.004
            if not (half < x < 1 - half and half < y < 1 - half):
                continue
            if any(max(abs(x - u), abs(y - v)) < half + w / 2 for u, v, w in self.taken):
                continue
            box = (x - side / 2, y - side / 2, x + side / 2, y + side / 2)
            hidden = self._count(*np.maximum(box, about)[:2], *np.minimum(box, about)[2:])
            cost = min(self._count(*box) / self.typical, 1) + hidden / max(near, 1) + 8 * reach
            if cost < best:
                best, found = cost, (x, y)
        if found is not None:
            self.taken.append((*found, side))
        return found

    def _count(self, left: float, bottom: float, right: float, top: float) -> float:
        """The number of points in a box, rounded out to cells."""
        i, j = (int(min(max(low, 0), 1) * _CELLS) for low in (left, bottom))
        m, n = (max(k, math.ceil(min(max(high, 0), 1) * _CELLS)) for k, high in ((i, right), (j, top)))
        return float(self.below[m, n] - self.below[i, n] - self.below[m, j] + self.below[i, j])


def _thumbnail(
    axes: Axes, placer: _ThumbnailPlacer, place: Numbers, picture: Numbers, colour: Any, scale: float, layer: int
) -> None:
    """Draw a framed picture near `place`, with a line to it if it was moved; nothing where there is no room."""
    side = _THUMB * scale
    room = placer.find(place, side)
    if room is None:
        return
    x, y = room
    if max(abs(x - place[0]), abs(y - place[1])) > side / 2:
        axes.plot([place[0], x], [place[1], y], color="white", linewidth=2.0, zorder=layer - 0.6)
        axes.plot([place[0], x], [place[1], y], color=INK, linewidth=0.7, zorder=layer - 0.5)
    box = (x - side / 2, y - side / 2)
    extent = (box[0], box[0] + side, box[1], box[1] + side)
    axes.imshow(picture, cmap="gray", vmin=0, vmax=255, extent=extent, zorder=layer, interpolation="antialiased")
    axes.add_patch(Rectangle(box, side, side, fill=False, edgecolor=colour, linewidth=1.4, zorder=layer + 0.1))
    axes.set(xlim=(0, 1), ylim=(0, 1))  # imshow changes the limits


def _legend(figure: Figure, x: float, y: float, scene: MapScene) -> None:
    """Draw rows of swatch, name and count from (`x`, `y`) down, in inches; in two columns if there are many."""
    by = _drawn(scene)
    if scene.colouring is None or by is None:
        return
    _write(figure, x, y, scene.colouring.heading, fontsize=11)
    if not isinstance(by, Groups):
        axes = figure.add_axes((x / _WIDE, (y - 0.36) / _HIGH, 2.2 / _WIDE, 0.14 / _HIGH))
        axes.imshow(np.linspace(0.25, 1, 256)[None], cmap=DENSITY, vmin=0, vmax=1, aspect="auto")
        axes.set(xticks=[], yticks=[])
        _write(figure, x, y - 0.58, by.ends[0], fontsize=9, color=GREY)
        _write(figure, x + 2.2, y - 0.58, by.ends[1], fontsize=9, color=GREY, ha="right")
        return
    rows = list(zip(GROUP_COLOURS, by.labels, by.counts, strict=False))
    if by.others:
        rows.append((OTHERS, "all others", by.others))
    high, wide, longest = (5, 2.3, 23) if len(rows) > 5 else (len(rows), 4.8, 52)
    for k, (colour, label, count) in enumerate(rows):
        column, row = divmod(k, high)
        left, base = x + 2.5 * column, y - 0.29 - 0.27 * row
        figure.patches.append(
            Rectangle(
                (left / _WIDE, (base - 0.02) / _HIGH),
                0.15 / _WIDE,
                0.15 / _HIGH,
                color=colour,
                transform=figure.transFigure,
            )
        )
        name = drawable_text(label)
        _write(figure, left + 0.24, base, name if len(name) <= longest else f"{name[: longest - 1]}…", fontsize=10)
        _write(figure, left + wide, base, f"{count:,}", fontsize=10, color=GREY, ha="right")
