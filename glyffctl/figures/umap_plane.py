"""A figure of noise, density and score over a UMAP, as the guide draws them, above the same in principal components."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from glyffctl.core.atlas.inverse import NEAREST, invert
from glyffctl.core.atlas.layout import MapSettings, lay_out
from glyffctl.core.atlas.neighbors import nearest
from glyffctl.core.linalg import principal_components
from glyffctl.core.theory.oracle import FiniteData
from glyffctl.core.theory.planar import distance_from_normal
from glyffctl.figures.demo_scene import DemoScene, MeasuredFigure, show_picture
from glyffctl.figures.density_score import TIMES, alpha_bar_at, draw_arrows, draw_cloud, draw_hills
from glyffctl.figures.style import INK, WIDTH, new_figure

FEWEST = 20
"""Glyphs that a map needs."""
_NEIGHBORS, _COMPONENTS, _ARROWS = 15, 50, 8
_LEVELS = 200  # on the way back
Result = TypeVar("Result")


def umap_plane(pictures: Tensor, seed: int) -> Tensor:
    """Lay pictures (M, …), M ≥ `FEWEST`, out in the plane by UMAP: (M, 2) float64, centred, of unit variance."""
    centred = pictures.double().flatten(1)
    centred = centred - centred.mean(0)
    axes = principal_components(centred, min(_COMPONENTS, *centred.shape)).axes
    vectors = (centred @ axes).float()
    near = _end(nearest(vectors, _NEIGHBORS))
    points = _end(lay_out(vectors, near, MapSettings(neighbors=_NEIGHBORS, seed=seed % 2**32))).double()
    points = points - points.mean(0)
    return points / points.square().mean().sqrt()


def _end(work: Generator[float, None, Result]) -> Result:
    """What work returns that tells how far it is."""
    while True:
        try:
            next(work)
        except StopIteration as stop:
            result: Result = stop.value
            return result


def way_back(scene: DemoScene, points: Tensor) -> tuple[Tensor, Tensor]:
    """One path of the probability-flow ODE of data `points` (M, 2), from pure noise, by DDIM with the exact denoiser.

    Returns:
        (len(TIMES), 2) each: z at the steps of `TIMES`, and the guess of x0 there.
    """
    exact = FiniteData(points)
    last = TIMES[-1]
    steps = sorted({1, 2, 3, *TIMES[1:], *(round(last * k / _LEVELS) for k in range(1, _LEVELS + 1))}, reverse=True)
    sigma = {t: ((1 - alpha_bar_at(scene, t)) / alpha_bar_at(scene, t)) ** 0.5 for t in steps} | {0: 0.0}
    x = scene.noise(points[:1]) * sigma[last]
    places, guesses = {}, {}
    for t, following in zip(steps, [*steps[1:], 0], strict=True):
        guess = exact(x, torch.tensor([sigma[t]], dtype=x.dtype))
        places[t], guesses[t] = x[0] * alpha_bar_at(scene, t) ** 0.5, guess[0]
        x = guess + (x - guess) * (sigma[following] / sigma[t])
    places[0] = guesses[0] = x[0]
    return torch.stack([places[t] for t in TIMES]), torch.stack([guesses[t] for t in TIMES])


def draw_umap(scene: DemoScene) -> MeasuredFigure:
    """Draw noise, density and score over a UMAP, the density and score in principal components, and a way back."""
    pictures = scene.plane_glyphs
    mapped = replace(scene, plane=umap_plane(pictures, scene.seed))
    figure = new_figure(WIDTH, 6.7)
    rows = figure.subplots(4, len(TIMES))
    draw_cloud(mapped, figure, rows[0])
    for row, of in ((rows[1], mapped), (rows[2], scene)):
        draw_hills(of, row, TIMES, 0.4)
        draw_arrows(of, row[1:], TIMES[1:], _ARROWS)
    places, guesses = way_back(mapped, mapped.plane)
    drawn = invert(mapped.plane, pictures, guesses)
    for axes, below, place, picture in zip(rows[1], rows[3], places, drawn, strict=True):
        axes.plot(*place.tolist(), "o", markersize=6, markerfacecolor="white", markeredgecolor=INK, markeredgewidth=1.4)
        show_picture(below, picture)
    for row, name in zip(rows, ("noisy UMAP", "density, score", "principal axes", "guess at ○"), strict=True):
        row[0].set_ylabel(name)
    again = invert(mapped.plane, pictures, mapped.plane, without_own=True)
    alike = _correlation(again, pictures)
    other = _correlation(again, pictures.roll(len(pictures) // 2, 0))
    gaps = [
        ", ".join(f"{distance_from_normal(plane, alpha_bar_at(scene, t)):.3f}" for t in TIMES[1:])
        for plane in (mapped.plane, scene.plane)
    ]
    return MeasuredFigure(
        figure,
        f"{len(pictures):,} real glyphs, {_NEIGHBORS} neighbours, {scene.schedule_name} schedule. Distance from pure "
        f"noise at t = {', '.join(f'{t:,}' for t in TIMES[1:])}: {gaps[0]} over the UMAP, {gaps[1]} in principal "
        "components.\n"
        f"A test of the guesses: blended from its {NEAREST} nearest neighbours without its own picture, a glyph "
        "correlates "
        f"with that picture by {alike:.2f} on average, and with another glyph's by {other:.2f}.",
    )


def _correlation(one: Tensor, other: Tensor) -> float:
    """The mean over pictures (M, …) of the correlation of their pixels."""
    centred = [each.double().flatten(1) for each in (one, other)]
    first, second = (each - each.mean(1, keepdim=True) for each in centred)
    return float(cosine_similarity(first, second, dim=1).mean())
