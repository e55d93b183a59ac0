"""Least-squares fits of cubic Bézier curves, many at a time (after Schneider, Graphics Gems 1990)."""

from __future__ import annotations

import numpy as np

from glyffctl.core.outlines.contours import Floats

SAMPLES = 24
"""Points that a curve is fitted to."""
_ROUNDS = 6
_STIFF = 100.0  # weight of a given direction, next to that of a point
_SLACK = 1e-3  # weight of handles of a third of the chord: decides only where the points do not


def fit_cubics(points: Floats, start: Floats, end: Floats) -> tuple[Floats, Floats]:
    """Fit a cubic to each row of points, from its first to its last one.

    Args:
        points: (B, `SAMPLES`, 2), about evenly spaced along each curve.
        start: (B, 2) directions of travel at the first points; (0, 0) leaves them free.
        end: (B, 2) the same at the last points.

    Returns:
        The control points (B, 4, 2), and the distances (B, `SAMPLES`) of the points from the curves.
    """
    first, last = points[:, :1], points[:, -1:]
    length = np.hypot(*np.moveaxis(np.diff(points, axis=1), 2, 0)).cumsum(1)
    t = np.concatenate([np.zeros((len(points), 1)), length / np.maximum(length[:, -1:], 1e-9)], axis=1)
    third = (last - first)[:, 0] / 3
    handles = np.stack([first[:, 0] + third, last[:, 0] - third], axis=1)
    control = np.concatenate([first, handles, last], axis=1)
    for _ in range(_ROUNDS):
        control = _solve(points, t, start, end, control, third)
        _keep_short(control, length[:, -1:])
        t = _nearest(points, t, control)
    found = evaluate(control, t)
    return control, np.hypot(*np.moveaxis(points - found, 2, 0))


def evaluate(control: Floats, t: Floats) -> Floats:
    """Points (B, N, 2) of cubics (B, 4, 2) at parameters (B, N) from 0 to 1."""
    basis: Floats = _basis(t) @ control
    return basis


def _basis(t: Floats) -> Floats:
    s = 1 - t
    return np.stack([s**3, 3 * s * s * t, 3 * s * t * t, t**3], axis=-1)


def _solve(points: Floats, t: Floats, start: Floats, end: Floats, control: Floats, third: Floats) -> Floats:
    """The inner control points of least squares, x and y of both together; directions are weighed in."""
    basis = _basis(t)
    ends = basis[..., [0, 3]] @ control[:, [0, 3]]
    inner = basis[..., 1:3]
    normal = np.einsum("bni,bnj->bij", inner, inner)
    right = np.einsum("bni,bnd->bid", inner, points - ends)
    # Unknowns: x and y of the first handle, x and y of the second one.
    matrix = np.einsum("bij,de->bidje", normal, np.eye(2)).reshape(-1, 4, 4) + _SLACK * np.eye(4)
    vector = right.reshape(-1, 4) + _SLACK * control[:, 1:3].reshape(-1, 4)
    for k, (direction, base) in enumerate(((start, control[:, 0]), (end, control[:, 3]))):
        across = np.stack([-direction[:, 1], direction[:, 0]], axis=1)  # (0, 0) weighs nothing
        outer = _STIFF * across[:, :, None] * across[:, None, :]
        matrix[:, 2 * k : 2 * k + 2, 2 * k : 2 * k + 2] += outer
        vector[:, 2 * k : 2 * k + 2] += np.einsum("bij,bj->bi", outer, base)
    solved = control.copy()
    solved[:, 1:3] = np.linalg.solve(matrix, vector[..., None]).reshape(-1, 2, 2)
    _keep_ahead(solved, start, end, third)
    return solved


def _keep_ahead(control: Floats, start: Floats, end: Floats, third: Floats) -> None:
    """Where a direction is given, put a handle that fell behind its end back in front of it."""
    chord = np.hypot(*third.T)
    for inner, outer, direction in ((1, 0, start), (2, 3, -end)):
        ahead = ((control[:, inner] - control[:, outer]) * direction).sum(1)
        behind = (ahead < 0.1 * chord) & direction.any(1)
        control[behind, inner] = (control[:, outer] + 0.1 * chord[:, None] * direction)[behind]


def _keep_short(control: Floats, length: Floats) -> None:
    """Shorten handles that are longer than the way along the points, (B, 1): through few of them a loop would fit."""
    for inner, outer in ((1, 0), (2, 3)):
        handle = control[:, inner] - control[:, outer]
        longest = length / np.maximum(np.hypot(*handle.T)[:, None], 1e-9)
        control[:, inner] = control[:, outer] + handle * np.minimum(longest, 1)


def _nearest(points: Floats, t: Floats, control: Floats) -> Floats:
    """One step of Newton's towards the nearest point of the curve."""
    first = 3 * np.diff(control, axis=1)
    second = 2 * np.diff(first, axis=1)
    s = 1 - t
    away = evaluate(control, t) - points
    speed = np.stack([s * s, 2 * s * t, t * t], axis=-1) @ first
    change = np.stack([s, t], axis=-1) @ second
    slope = (speed * speed).sum(2) + (away * change).sum(2)
    step = (away * speed).sum(2) / np.where(slope > 1e-9, slope, np.inf)
    moved = (t - step).clip(0, 1)
    moved[:, 0], moved[:, -1] = 0.0, 1.0
    return moved
