"""From a picture to its outline: the fewest lines and cubics that follow the edge of the ink."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from glyffctl.core.outlines.contours import SPACING, Floats, trace_contours
from glyffctl.core.outlines.corners import fit_line, intersect, sharpen
from glyffctl.core.outlines.curves import SAMPLES, fit_cubics
from glyffctl.core.outlines.outline import Outline, Segment

_LINE, _CURVE = 1.0, 3.0  # what a segment costs: its points
_KINK = 0.75  # and what an end of a line costs that is no corner
_LOOSE = 0.3  # and what an end of a curve costs that is neither a corner nor an extremum
_TYPICAL, _MOST = 0.065, 0.3  # pixels at 128: a root mean square error that costs as much as a point; the largest error
_STRAIGHT = 0.18  # pixels at 128: the farthest that points lie from a line
_FINE = 0.1  # pixels at 128: how close the polygon of possible joints keeps to the contour
_OVERSHOOT = 0.4  # pixels: how far a curve may bulge beyond its ends in x or y; farther, and it gets a joint there
_FLAT = 0.1  # pixels by which the top of a curve is flat
_CROWD = 3  # points that lie at least between two joints
_LEAST_HEIGHT = 128
_WINDOW = 40  # joints that a segment may pass over
# Lines nearer to an axis, whose ends differ by fewer pixels at 128, are put on it.
_LEVEL, _TILT = np.radians(1.5), 0.5


@dataclass
class _Span:
    """A part of a contour between corners, or a whole contour without any."""

    points: Floats
    joints: list[int]
    smooth: bool  # a whole contour, whose end goes on at its start
    directions: Floats  # at the joints; (0, 0) at corners


def trace(picture: np.ndarray[Any, np.dtype[np.uint8]]) -> Outline:
    """Trace the ink of a picture.

    Contours are cut at corners. Between them, joints are chosen by dynamic programming, so that the number of points
    plus the squared error, in units of what a point is worth, is least: straight lines where the contour is straight,
    else cubics with joints at their extrema. Lines that are nearly level become so; corners move to where
    fitted lines meet.

    Args:
        picture: (H, W) uint8, 255 is paper.

    Returns:
        Its outline; without contours if it has no ink.
    """
    scale = max(picture.shape[0] / _LEAST_HEIGHT, 1.0) ** 0.5
    contours = []
    for points in trace_contours(picture):
        spans = _spans(*sharpen(points), scale)
        segments = _fit(spans, scale)
        if len(segments) > 1:
            contours.append(_joined(segments))
    return Outline(max(picture.shape), contours)


def _spans(points: Floats, corners: list[int], scale: float) -> list[_Span]:
    if not corners:  # begin at an extremum, where any curve may have a joint
        half = len(points) // 2
        points = np.roll(points, half - int(points[:, 0].argmin()), axis=0)
        points = np.roll(points, -_middle(points[:, 0], half), axis=0)
        closed = np.concatenate([points, points[:1]])
        joints, level = _joints(closed, scale)
        level |= {0: 1, len(points): 1}
        directions = _directions(points, [at % len(points) for at in joints], around=True)
        _put_level(directions, joints, level)
        return [_Span(closed, joints, True, directions)]
    spans = []
    for at, after in zip(corners, [*corners[1:], corners[0] + len(points)], strict=True):
        part = points[np.arange(at, after + 1) % len(points)]
        joints, level = _joints(part, scale)
        directions = _directions(part, joints, around=False)
        _put_level(directions, joints, level)
        directions[[0, -1]] = 0
        spans.append(_Span(part, joints, False, directions))
    return spans


def _joints(points: Floats, scale: float) -> tuple[list[int], dict[int, int]]:
    """Where segments may meet: the corners of a polygon that keeps close to the points, and their extrema.

    Returns:
        All such places in order; and of the extrema the axis along which the contour runs there, 0 for x.
    """
    chosen = {0, len(points) - 1}
    stack = [(0, len(points) - 1)]
    if np.allclose(points[0], points[-1]):  # a closed contour has no chord
        middle = int(np.hypot(*(points - points[0]).T).argmax())
        chosen.add(middle)
        stack = [(0, middle), (middle, len(points) - 1)]
    while stack:
        low, high = stack.pop()
        if high - low < 4:
            continue
        away = _from_chord(points[low : high + 1])
        at = int(away.argmax())
        if away[at] > _FINE * scale:
            chosen.add(low + at)
            stack += [(low, low + at), (low + at, high)]
    level = {at: 1 - axis for axis in (0, 1) for at in _extrema(points[:, axis])}
    firm = {0, len(points) - 1, *level}
    loose = {at for at in chosen - firm if min(abs(at - other) for other in firm) >= 2 * _CROWD}
    kept: list[int] = []
    for at in sorted(firm | loose):
        if not kept or at in firm or at - kept[-1] >= _CROWD:
            kept.append(at)
    return kept, level


def _put_level(directions: Floats, joints: list[int], level: dict[int, int]) -> None:
    """Let the contour run along an axis at its extrema."""
    for k, at in enumerate(joints):
        if at in level:
            along = np.zeros(2)
            along[level[at]] = 1.0
            directions[k] = along if along @ directions[k] >= 0 else -along


def _extrema(values: np.ndarray[Any, np.dtype[np.float64]]) -> list[int]:
    """Where values turn round by more than `_OVERSHOOT`: the middle of the top or bottom."""
    found: list[int] = []
    low, high, rising = 0, 0, 0
    for k, value in enumerate(values):
        if value > values[high]:
            high = k
        if value < values[low]:
            low = k
        if rising >= 0 and values[high] - value > _OVERSHOOT:
            if rising > 0:
                found.append(high)
            rising, low = -1, k
            high = k
        elif rising <= 0 and value - values[low] > _OVERSHOOT:
            if rising < 0:
                found.append(low)
            rising, high = 1, k
            low = k
    return sorted({_middle(values, at) for at in found} - {0, len(values) - 1})


def _middle(values: Floats, at: int) -> int:
    """The middle of the places around `at` where values hardly differ."""
    flat = np.abs(values - values[at]) < _FLAT
    before, after = flat[:at][::-1], flat[at:]
    first = at - (len(before) if before.all() else int(before.argmin()))
    last = at - 1 + (len(after) if after.all() else int(after.argmin()))
    return (first + last) // 2


def _from_chord(points: Floats) -> Floats:
    chord = points[-1] - points[0]
    away = points - points[0]
    found: Floats = np.abs(chord[0] * away[:, 1] - chord[1] * away[:, 0]) / max(float(np.hypot(*chord)), 1e-9)
    return found


def _directions(points: Floats, joints: list[int], *, around: bool) -> Floats:
    """Unit vectors along the contour at its joints, from points within two pixels."""
    reach = round(2 / SPACING)
    found = []
    for at in joints:
        if around:
            some = points[np.arange(at - reach, at + reach + 1) % len(points)]
        else:
            near = min(reach, at, len(points) - 1 - at)
            some = points[at - near : at + near + 1] if near else points[:2]
        _, direction = fit_line(some)
        found.append(direction if direction @ (some[-1] - some[0]) >= 0 else -direction)
    return np.array(found)


def _fit(spans: list[_Span], scale: float) -> list[Segment]:
    """The cheapest segments of all spans of a contour, in order."""
    pairs = [
        (span, low, high)
        for span in spans
        for low in range(len(span.joints) - 1)
        for high in range(low + 1, min(low + _WINDOW, len(span.joints)))
        if not (span.smooth and low == 0 and high == len(span.joints) - 1)
    ]
    parts = [span.points[span.joints[low] : span.joints[high] + 1] for span, low, high in pairs]
    corners = [
        (low == 0 and not span.smooth, high == len(span.joints) - 1 and not span.smooth) for span, low, high in pairs
    ]
    lines = np.array([_line_cost(part, ends, scale) for part, ends in zip(parts, corners, strict=True)])
    sampled = np.stack([_sampled(part) for part in parts])
    starts = np.stack([span.directions[low] for span, low, _ in pairs])
    ends = np.stack([span.directions[high] for span, _, high in pairs])
    control, away = fit_cubics(sampled, starts, ends)
    loose = (starts != 0).all(1).astype(float) + (ends != 0).all(1)
    curves = _CURVE + _LOOSE * loose + (away**2).mean(1) / (_TYPICAL * scale) ** 2
    curves[(away.max(1) > _MOST * scale) | _bulges(sampled)] = np.inf
    # Neighbouring joints always have a segment, however bad.
    curves = np.minimum(curves, np.array([1e3 if high == low + 1 else np.inf for _, low, high in pairs]))
    segments: list[Segment] = []
    begin = 0
    for span in spans:
        count = sum(one is span for one, _, _ in pairs[begin:]) if len(spans) > 1 else len(pairs)
        chosen = _cheapest(pairs[begin : begin + count], lines[begin:], curves[begin:], len(span.joints))
        for k, straight in chosen:
            segments.append(_line(parts[begin + k], corners[begin + k], scale) if straight else control[begin + k])
        begin += count
    return segments


def _line_cost(part: Floats, corners: tuple[bool, bool], scale: float) -> float:
    """What a straight line costs; `corners` says of which of its ends are corners. A kink elsewhere costs more."""
    middle, direction = _straight(part, corners)
    if _axis(part, direction, scale) is not None:  # in fonts such edges are straight; in large pictures they waver
        scale **= 2
    x, y = (_inner(part, corners) - middle).T
    away = np.abs(direction[0] * y - direction[1] * x)
    if away.max() > _STRAIGHT * scale:
        return np.inf
    return float(_LINE + _KINK * (2 - sum(corners)) + (away**2).mean() / (_TYPICAL * scale) ** 2)


def _axis(part: Floats, direction: Floats, scale: float) -> int | None:
    """The axis, 0 for x, along which a line through the points nearly runs; None for none."""
    length = max(float(np.hypot(*(part[-1] - part[0]))), 1e-9)  # a part may end where it began
    for axis in (0, 1):
        if abs(direction[1 - axis]) < min(np.sin(_LEVEL), _TILT * scale**2 / length):
            return axis
    return None


def _inner(part: Floats, corners: tuple[bool, bool]) -> Floats:
    """The points of a line without those next to corners, which a picture rounds."""
    return part[2 * corners[0] : len(part) - 2 * corners[1]] if len(part) > 8 else part


def _straight(part: Floats, corners: tuple[bool, bool]) -> tuple[Floats, Floats]:
    """A point and the direction of the line nearest to the points, or through the ends that are no corners."""
    if not any(corners):
        chord = part[-1] - part[0]
        return part[0], chord / max(float(np.hypot(*chord)), 1e-9)
    middle, direction = fit_line(_inner(part, corners))
    return middle, direction if direction @ (part[-1] - part[0]) >= 0 else -direction


def _sampled(part: Floats) -> Floats:
    at = np.linspace(0, len(part) - 1, SAMPLES)
    return np.stack([np.interp(at, np.arange(len(part)), part[:, axis]) for axis in (0, 1)], axis=1)


def _bulges(sampled: Floats) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which rows reach beyond both of their ends in x or y."""
    ends = sampled[:, [0, -1]]
    beyond = np.maximum(sampled.max(1) - ends.max(1), ends.min(1) - sampled.min(1))
    found: np.ndarray[Any, np.dtype[np.bool_]] = (beyond > _OVERSHOOT).any(1)
    return found


def _cheapest(pairs: list[Any], lines: Floats, curves: Floats, joints: int) -> list[tuple[int, bool]]:
    """The segments (their places in `pairs`, and whether they are straight) of the cheapest way from end to end."""
    best, came = np.full(joints, np.inf), [(-1, -1, False)] * joints
    best[0] = 0
    for k in sorted(range(len(pairs)), key=lambda k: pairs[k][1]):
        _, low, high = pairs[k]
        straight = bool(lines[k] <= curves[k])
        cost = best[low] + (lines[k] if straight else curves[k])
        if cost < best[high]:
            best[high], came[high] = cost, (k, low, straight)
    chosen, at = [], joints - 1
    while at > 0:
        k, low, straight = came[at]
        chosen.append((k, straight))
        at = low
    return chosen[::-1]


def _line(part: Floats, corners: tuple[bool, bool], scale: float) -> Segment:
    """The straight segment nearest to the points, level or upright where it nearly is."""
    middle, direction = _straight(part, corners)
    if (axis := _axis(part, direction, scale)) is not None:
        middle = _inner(part, corners).mean(0)
        direction = np.sign(direction) * (axis == 0, axis == 1)
    return np.stack([middle + direction * ((point - middle) @ direction) for point in (part[0], part[-1])])


def _joined(segments: list[Segment]) -> list[Segment]:
    """`segments` with each end where the next one starts."""
    joined = [segment.copy() for segment in segments]
    for k, after in enumerate(joined):
        before = joined[k - 1]
        place = (before[-1] + after[0]) / 2
        if len(before) == len(after) == 2:
            met = intersect((before[0], _unit(before)), (after[0], _unit(after)))
            if met is not None and np.hypot(*(met - place)) < 2:
                place = met
        elif len(before) == 2:
            place = before[-1]
        elif len(after) == 2:
            place = after[0]
        if len(before) == 4:
            before[2] += place - before[-1]
        if len(after) == 4:
            after[1] += place - after[0]
        before[-1] = after[0] = place
    return joined


def _unit(line: Segment) -> Floats:
    found: Floats = (line[1] - line[0]) / max(float(np.hypot(*(line[1] - line[0]))), 1e-9)
    return found
