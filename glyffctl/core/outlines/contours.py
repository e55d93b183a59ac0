"""The edge of the ink in a grey picture, with sub-pixel precision."""

from __future__ import annotations

from typing import Any

import numpy as np
from contourpy import contour_generator

Floats = np.ndarray[Any, np.dtype[np.float64]]

SPACING = 0.5
"""Pixels between neighbouring points of a contour."""
LEAST_AREA, _LEAST_PIXELS = 6.0, 2.0
"""Square pixels of a picture of 128, and of any; smaller specks and holes are left out."""
_PAPER, _RIM = 255, 3
_REACH, _SAMPLES = 1.5, 13  # pixels to each side of an edge, and how often its grey is read there
_FULL, _BARE = 0.9, 0.1  # shares of ink beyond which a side counts as all ink or all paper


def trace_contours(picture: np.ndarray[Any, np.dtype[np.uint8]]) -> list[Floats]:
    """The closed curves along which the picture is half ink.

    A pixel's grey is taken for the share of it that ink covers, as FreeType draws. Linear interpolation between the
    centres of pixels finds an edge within 0.1 pixels; where one side is ink and the other is paper, the grey along the
    normal, summed up, then gives its exact place.

    Args:
        picture: (H, W) uint8, 255 is paper.

    Returns:
        Contours (N, 2) of points (x, y) in pixels, from the upper left corner of the picture, `SPACING` apart; the last
        point is not the first. Ink lies to the left of one who follows a contour, so that outer contours turn
        counter-clockwise as one sees them, and holes clockwise.
    """
    ink = np.pad(1 - picture.astype(np.float64) / _PAPER, _RIM)
    centres_x, centres_y = (np.arange(n) + 0.5 - _RIM for n in (ink.shape[1], ink.shape[0]))
    lines = contour_generator(centres_x, centres_y, ink).lines(0.5)
    least, found = max(_LEAST_PIXELS, LEAST_AREA * (picture.shape[0] / 128) ** 2), []
    for line in lines:
        points = resample(np.asarray(line)[:0:-1])
        if len(points) < 8 or abs(signed_area(points)) < least:
            continue
        found.append(_sharpened(points, ink))
    return found


def signed_area(points: Floats) -> float:
    """The area inside a closed polygon (N, 2): positive if it turns counter-clockwise with y upwards."""
    x, y = points.T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


def resample(points: Floats) -> Floats:
    """Points evenly spaced on a closed polygon (N, 2), about `SPACING` apart."""
    closed = np.concatenate([points, points[:1]])
    way = np.concatenate([[0.0], np.hypot(*np.diff(closed, axis=0).T).cumsum()])
    count = max(4, round(way[-1] / SPACING))
    at = np.arange(count) * (way[-1] / count)
    return np.stack([np.interp(at, way, closed[:, axis]) for axis in (0, 1)], axis=1)


def _sharpened(points: Floats, ink: Floats) -> Floats:
    """`points` moved along their normals to where as much paper is lacking on one side as there is ink on the other."""
    along = np.roll(points, -2, axis=0) - np.roll(points, 2, axis=0)
    normal = np.stack([along[:, 1], -along[:, 0]], axis=1)
    normal /= np.maximum(np.hypot(*normal.T), 1e-9)[:, None]
    steps = np.linspace(-_REACH, _REACH, _SAMPLES)
    read = _read(ink, points[:, None] + steps[:, None] * normal[:, None])
    if (read[:, 0].mean() - read[:, -1].mean()) < 0:  # the ink is on the other side
        normal, read = -normal, read[:, ::-1]
    weights = np.full(_SAMPLES, steps[1] - steps[0])
    weights[[0, -1]] /= 2
    offset = read @ weights - _REACH
    clear = (read[:, 0] > _FULL) & (read[:, -1] < _BARE)
    return points + np.where(clear, offset.clip(-0.2, 0.2), 0.0)[:, None] * normal


def _read(ink: Floats, places: Floats) -> Floats:
    """The ink at `places` (…, 2), interpolated between the centres of pixels."""
    x, y = places[..., 0] - 0.5 + _RIM, places[..., 1] - 0.5 + _RIM
    x, y = x.clip(0, ink.shape[1] - 1.001), y.clip(0, ink.shape[0] - 1.001)
    left, top = x.astype(int), y.astype(int)
    u, v = x - left, y - top
    above = ink[top, left] * (1 - u) + ink[top, left + 1] * u
    below = ink[top + 1, left] * (1 - u) + ink[top + 1, left + 1] * u
    found: Floats = above * (1 - v) + below * v
    return found
