"""Corners of contours, which a grey picture shows rounded: found, and put back where their sides meet."""

from __future__ import annotations

from typing import Any

import numpy as np

from glyffctl.core.outlines.contours import SPACING, Floats

LEAST_TURN = np.radians(24)
_NEAR, _SIDE = 1.0, 3.0  # pixels: what a picture rounds at a corner, and how much of a side is looked at
_WIDE, _NARROW, _BACK = (1.0, 4.0), (1.0, 2.5), (2.0, 3.5)  # pixels from a point to the ends of its sides
_SHARP = 0.83  # how much of the turn a corner takes within its narrow sides; an arc takes some 0.6
_BACK_TURN = np.radians(160)
_PARALLEL = 0.8  # least ratio of the widths of an end and of a little before it; spikes have less
_ACUTE = np.radians(100)  # corners that turn more are rounded farther
_NEAR_END = 6  # points: corners as near to an end are its own
_APART = 1.5  # pixels between corners
_FARTHEST = 2.5  # pixels from the contour to where its sides meet


def sharpen(points: Floats) -> tuple[Floats, list[int]]:
    """Find the corners of a contour and move them to where their sides meet.

    Args:
        points: (N, 2), closed, evenly spaced by about `SPACING` pixels.

    Returns:
        The contour with sharp corners, and the places of the corners in it, in order.
    """
    ends = _find_ends(points)
    found = [at for at in _find(points) if all(_between(at, end, len(points)) > _NEAR_END for end in ends)]
    count, reach = len(points), round(_NEAR / SPACING)
    turns = np.abs(_turn(points, *_WIDE))
    placed: dict[int, Floats] = {}
    for end in ends:
        placed |= _square(points, end)
    for k, at in enumerate(found):
        before = (at - found[k - 1]) % count or count
        after = (found[(k + 1) % len(found)] - at) % count or count
        placed[at] = _meeting(points, at, before, after, float(turns[at]))
    corners, sharp, keep = sorted(placed), points.copy(), np.ones(count, bool)
    for k, at in enumerate(corners):
        sharp[at] = placed[at]
        room = (corners[(k + 1) % len(corners)] - at) % count or count
        keep[np.arange(at + 1, at + 1 + min(reach, (room - 1) // 2)) % count] = False
        room = (at - corners[k - 1]) % count or count
        keep[np.arange(at - min(reach, (room - 1) // 2), at) % count] = False
    keep[corners] = True
    places = keep.cumsum() - 1
    return sharp[keep], [int(places[at]) for at in corners]


def _find(points: Floats) -> list[int]:
    """Where the contour turns by `LEAST_TURN` or more, sharply: the local maxima of the turn."""
    wide, narrow = np.abs(_turn(points, *_WIDE)), np.abs(_turn(points, *_NARROW))
    around = round(_APART / SPACING)
    return _apart((narrow >= _highest(narrow, around)) & (narrow > LEAST_TURN) & (narrow > _SHARP * wide), around)


def _find_ends(points: Floats) -> list[int]:
    """The middles of ends of thin strokes and gaps, where the contour turns back."""
    turn, around = np.abs(_turn(points, *_BACK)), round(2 * _APART / SPACING)
    if len(points) < 8 * around:
        return []
    # Of several places that turn back as far, the middle: there both sides are equally far away.
    back = turn > _BACK_TURN
    starts = np.flatnonzero(back & ~np.roll(back, 1))
    found = []
    for start in starts:
        length = int(np.argmin(np.roll(back, -start))) or 1
        middle = int(start + (length - 1) // 2) % len(points)
        near, far = (_width(points, middle, where) for where in _BACK)
        if near > _PARALLEL * far:  # no spike
            found.append(middle)
    return sorted(found)


def _width(points: Floats, end: int, where: float) -> float:
    """The distance between both sides of an end, `where` pixels along each."""
    steps = round(where / SPACING)
    return float(np.hypot(*(points[(end + steps) % len(points)] - points[end - steps])))


def _apart(wanted: np.ndarray[Any, np.dtype[np.bool_]], least: int) -> list[int]:
    """The places where `wanted` is true, the first of any that are fewer than `least` apart on a closed contour."""
    chosen: list[int] = []
    for at in np.flatnonzero(wanted):
        if not chosen or at - chosen[-1] >= least:
            chosen.append(int(at))
    if len(chosen) > 1 and chosen[0] + len(wanted) - chosen[-1] < least:
        chosen.pop()
    return chosen


def _between(one: int, other: int, count: int) -> int:
    """How many steps lie between two places on a closed contour of `count` points."""
    steps = abs(one - other) % count
    return min(steps, count - steps)


def _square(points: Floats, end: int) -> dict[int, Floats]:
    """The two corners of the end of a thin stroke: where its sides meet the line across."""
    near, far = (round(where / SPACING) for where in _BACK)
    sides = [fit_line(points[(end + side * np.arange(near, far + 1)) % len(points)]) for side in (-1, 1)]
    along = sides[0][1] + sides[1][1] * np.sign(sides[0][1] @ sides[1][1])
    across = (points[end], np.array([-along[1], along[0]]) / np.hypot(*along))
    placed = {}
    for side, line in zip((-1, 1), sides, strict=True):
        place = intersect(line, across)
        at = (end + side * round(1 / SPACING)) % len(points)
        placed[at] = points[at] if place is None else place
    return placed


def _highest(values: Floats, reach: int) -> Floats:
    """The highest of the values up to `reach` places away, on a closed contour."""
    found: Floats = np.max([np.roll(values, k) for k in range(-reach, reach + 1)], axis=0)
    return found


def _turn(points: Floats, near: float, far: float) -> Floats:
    """The angle in radians by which the contour turns at each point, by its sides from `near` to `far` pixels away."""
    near, far = round(near / SPACING), round(far / SPACING)
    ahead = np.roll(points, -far, axis=0) - np.roll(points, -near, axis=0)
    behind = np.roll(points, near, axis=0) - np.roll(points, far, axis=0)
    cross = behind[:, 0] * ahead[:, 1] - behind[:, 1] * ahead[:, 0]
    return np.arctan2(cross, (behind * ahead).sum(1))


def _meeting(points: Floats, at: int, before: int, after: int, turn: float) -> Floats:
    """Where the lines through both sides of a corner meet; the point itself where they hardly do."""
    lines = []
    rounded = _NEAR if turn < _ACUTE else 2 * _NEAR
    for side, room in ((-1, before), (1, after)):
        near = min(round(rounded / SPACING), max(1, room // 2 - 1))
        far = min(round((_NEAR + _SIDE) / SPACING), max(near + 1, room - near))
        lines.append(fit_line(points[(at + side * np.arange(near, far + 1)) % len(points)]))
    place = intersect(*lines)
    if place is None or np.hypot(*(place - points[at])) > _FARTHEST:
        return points[at]
    return place


def fit_line(points: Floats) -> tuple[Floats, Floats]:
    """The line with the least squared distance from `points` (N, 2): a point of it, and its direction."""
    middle = points.mean(0)
    x, y = (points - middle).T
    angle = 0.5 * np.arctan2(2 * (x * y).sum(), (x * x).sum() - (y * y).sum())
    return middle, np.array([np.cos(angle), np.sin(angle)])


def intersect(one: tuple[Floats, Floats], other: tuple[Floats, Floats]) -> Floats | None:
    """Where two lines meet; None if they are parallel within 6 degrees."""
    (p, u), (q, v) = one, other
    cross = u[0] * v[1] - u[1] * v[0]
    if abs(cross) < 0.1:
        return None
    along = ((q - p)[0] * v[1] - (q - p)[1] * v[0]) / cross
    place: Floats = p + along * u
    place = np.where(u == 0, p, np.where(v == 0, q, place))  # on level lines to the last digit
    return place
