"""Outlines of pictures: corners, straight lines, circles, orientation, the fewest points, and any noise."""

import io
from pathlib import Path

import numpy as np
import pytest
from fontTools.pens.recordingPen import DecomposingRecordingPen
from fontTools.ttLib import TTFont
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from glyffctl.core.data.fonts import GlyphRenderer, read_face
from glyffctl.core.outlines import contours
from glyffctl.core.outlines.contours import signed_area, trace_contours
from glyffctl.core.outlines.curves import SAMPLES, evaluate, fit_cubics
from glyffctl.core.outlines.outline import Outline
from glyffctl.core.outlines.trace import trace

FINE, COARSE = 32, 8  # sub-pixels by which test pictures, and outlines, are drawn


def drawn(size: int, *polygons: list[tuple[float, float]], fine: int = FINE) -> np.ndarray:
    """Polygons in pixels, the second and later ones holes, as a font renderer covers pixels."""
    large = Image.new("L", (size * fine, size * fine), 255)
    for k, polygon in enumerate(polygons):
        ImageDraw.Draw(large).polygon([(x * fine - 0.5, y * fine - 0.5) for x, y in polygon], fill=255 if k else 0)
    return np.asarray(large.reduce(fine))


def circle(x: float, y: float, radius: float) -> list[tuple[float, float]]:
    return [(x + radius * np.cos(t), y + radius * np.sin(t)) for t in np.linspace(0, 2 * np.pi, 400, endpoint=False)]


def along(contour: list[np.ndarray]) -> np.ndarray:
    """Points of a contour."""
    t = np.linspace(0, 1, 40, endpoint=False)
    return np.concatenate(
        [s[0] + (s[1] - s[0]) * t[:, None] if len(s) == 2 else evaluate(s[None], t[None])[0] for s in contour]
    )


def again(outline: Outline) -> np.ndarray:
    """The outline as a picture: holes are where contours turn the other way."""
    large = Image.new("L", (outline.size * COARSE, outline.size * COARSE), 255)
    for contour in sorted(outline.contours, key=lambda one: -abs(signed_area(along(one)))):
        points = along(contour)
        corners = [(x * COARSE - 0.5, y * COARSE - 0.5) for x, y in points]
        ImageDraw.Draw(large).polygon(corners, fill=0 if signed_area(points * (1, -1)) > 0 else 255)
    return np.asarray(large.reduce(COARSE))


@pytest.mark.parametrize("corner", [(10.0, 12.0), (10.375, 12.75), (10.5, 12.5)])
def test_a_rectangle_is_four_lines_with_its_corners(corner: tuple[float, float]) -> None:
    x, y = corner
    outline = trace(drawn(64, [(x, y), (x + 30, y), (x + 30, y + 8), (x, y + 8)]))
    assert [len(contour) for contour in outline.contours] == [4] and outline.points == 4
    ends = np.array([segment[0] for segment in outline.contours[0]])
    for expected in ((x, y), (x + 30, y), (x + 30, y + 8), (x, y + 8)):
        assert np.abs(ends - expected).max(1).min() < 0.1
    for a, b in outline.contours[0]:
        assert (a == b).any(), "sides are level to the last digit"


def test_a_tilted_triangle_keeps_its_corners() -> None:
    corners = [(10.0, 50.0), (30.2, 9.7), (55.4, 41.0)]
    outline = trace(drawn(64, corners))
    ends = np.array([segment[0] for segment in outline.contours[0]])
    assert len(ends) == 3 and all(np.hypot(*(ends - corner).T).min() < 0.5 for corner in corners)


def test_thin_strokes_end_square() -> None:
    outline = trace(drawn(64, [(10, 20), (50, 20), (50, 22.5), (10, 22.5)]))
    ends = np.array([segment[0] for segment in outline.contours[0]])
    assert len(ends) == 4 and all(np.hypot(*(ends - c).T).min() < 0.5 for c in ((10, 20), (50, 20), (50, 22.5)))


def test_a_circle_is_a_few_curves_with_joints_at_its_extrema() -> None:
    outline = trace(drawn(128, circle(64.3, 60.1, 30)))
    (contour,) = outline.contours
    assert 4 <= len(contour) <= 5 and {len(segment) for segment in contour} == {4}
    distances = np.hypot(*(along(contour) - (64.3, 60.1)).T)
    assert np.abs(distances - 30).max() < 0.15
    ends = np.array([segment[0] for segment in contour])
    for extremum in ((94.3, 60.1), (34.3, 60.1), (64.3, 90.1), (64.3, 30.1)):
        assert np.hypot(*(ends - extremum).T).min() < 1.5


def test_stems_of_large_pictures_that_waver_become_upright_and_slanted_ones_stay() -> None:
    x, y, t = 200.0, 100.0, np.linspace(0, 1, 60)
    waves = 0.5 * np.sin(9 * t)
    for lean, upright in ((1.5, True), (12.0, False)):  # pixels by which 300 lean
        right = [(x + 30 + lean * k + wave, y + 300 * k) for k, wave in zip(t, waves, strict=True)]
        left = [(x + lean * k, y + 300 * k) for k in t[::-1]]
        (contour,) = trace(drawn(512, [(x, y), *right, *left], fine=8)).contours
        ends = np.array([segment[[0, -1]] for segment in contour])
        long = ends[np.hypot(*(ends[:, 1] - ends[:, 0]).T) > 100]
        assert ((long[:, 0, 0] == long[:, 1, 0]).all()) == upright
        if upright:
            assert [len(segment) for segment in contour] == [2] * 4
        assert abs(ends[:, :, 0].min() - x) < 1 and abs(ends[:, :, 0].max() - (x + 30 + lean)) < 1.5


def test_outer_contours_turn_counter_clockwise_and_holes_clockwise_where_y_points_up() -> None:
    outline = trace(drawn(64, circle(32, 32, 24), circle(32, 32, 12)))
    areas = sorted(signed_area(along(contour) * (1, -1)) for contour in outline.contours)
    assert areas[0] == pytest.approx(-np.pi * 12**2, rel=0.02) and areas[1] == pytest.approx(np.pi * 24**2, rel=0.02)
    moved = outline.moved(10, 5, 640)
    assert max(signed_area(along(contour)) for contour in moved.contours) > 0


def test_blank_and_full_pictures_and_specks() -> None:
    assert trace(np.full((32, 32), 255, np.uint8)).contours == []
    speck = np.full((32, 32), 255, np.uint8)
    speck[5, 5] = 0
    assert trace(speck).contours == []
    for size, lost, kept in ((32, 1, 3), (128, 2, 3), (512, 8, 12)):  # sides of squares, in pixels
        for side, count in ((lost, 0), (kept, 1)):
            dot = np.full((size, size), 255, np.uint8)
            dot[10 : 10 + side, 10 : 10 + side] = 0
            assert len(trace(dot).contours) == count
    (frame,) = trace(np.zeros((32, 32), np.uint8)).contours
    assert abs(signed_area(along(frame))) == pytest.approx(32 * 32, rel=0.01)


def test_ink_that_leaves_the_picture_ends_at_its_edge() -> None:
    outline = trace(drawn(32, [(-5, 10), (20, 10), (20, 20), (-5, 20)]))
    assert min(along(outline.contours[0])[:, 0]) == pytest.approx(0, abs=0.1)


def test_edges_are_found_with_sub_pixel_precision() -> None:
    for shift in np.linspace(0, 1, 9):
        (contour,) = trace_contours(drawn(48, circle(24 + shift, 24, 15)))
        assert np.hypot(*(contour - (24 + shift, 24)).T).mean() == pytest.approx(15, abs=0.03)


def test_a_cubic_is_fitted_to_itself() -> None:
    control = np.array([[[0, 0], [10, 25], [40, 30], [60, 5]]], float)
    points = evaluate(control, np.linspace(0, 1, SAMPLES)[None])
    found, away = fit_cubics(points, np.zeros((1, 2)), np.zeros((1, 2)))
    assert away.max() < 0.3 and np.abs(found - control).max() < 5


def test_given_directions_are_kept() -> None:
    points = evaluate(np.array([[[0, 0], [10, 25], [40, 30], [60, 5]]], float), np.linspace(0, 1, SAMPLES)[None])
    found, _ = fit_cubics(points, np.array([[0.0, 1.0]]), np.array([[1.0, 0.0]]))
    first, last = found[0, 1] - found[0, 0], found[0, 3] - found[0, 2]
    assert abs(first[0]) < 0.05 * first[1] and abs(last[1]) < 0.05 * last[0]


@hypothesis_settings(max_examples=25)
@example(12059, 25, 0.0)  # a handle of 31 pixels across a chord of 2.4
@given(st.integers(0, 10**6), st.integers(8, 40), st.sampled_from([0.0, 1.0, 3.0]))
def test_any_noise_has_finite_closed_contours(seed: int, size: int, smooth: float) -> None:
    noise = np.random.default_rng(seed).integers(0, 256, (size, size)).astype(np.uint8)
    if smooth:
        from scipy.ndimage import gaussian_filter

        soft = gaussian_filter(noise.astype(float), smooth)
        noise = ((soft > soft.mean()) * 255).astype(np.uint8)
    for contour in trace(noise).contours:
        for segment, after in zip(contour, [*contour[1:], contour[0]], strict=True):
            assert np.isfinite(segment).all() and (segment[-1] == after[0]).all()
            assert segment.min() > -size / 2 and segment.max() < 1.5 * size


def test_a_speck_with_one_corner_in_a_large_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is so small that one straight line from its corner to its corner lies near all of it."""
    speck = [
        [56, 84, 149, 154, 151, 165, 203, 222, 229, 239],
        [38, 63, 106, 92, 97, 145, 208, 251, 242, 242],
        [9, 12, 7, 34, 87, 107, 158, 194, 240, 225],
        [0, 0, 26, 43, 75, 86, 128, 117, 144, 171],
        [59, 61, 109, 137, 167, 114, 103, 83, 95, 66],
        [105, 101, 104, 123, 150, 119, 109, 81, 79, 74],
        [123, 120, 107, 91, 86, 88, 101, 126, 80, 60],
        [193, 222, 213, 179, 170, 184, 195, 213, 173, 89],
        [0, 46, 170, 168, 173, 220, 193, 220, 244, 255],
        [109, 26, 40, 143, 157, 191, 198, 255, 248, 255],
    ]
    picture = np.full((512, 512), 255, np.uint8)
    picture[88:98, 133:143] = speck  # between whole pixels its place decides, too
    picture[88:98, 45:55] = speck
    monkeypatch.setattr(contours, "LEAST_AREA", 2 / 16)
    outline = trace(picture)
    assert outline.contours and all(np.isfinite(segment).all() for one in outline.contours for segment in one)
    assert outline.as_path().count("M") == len(outline.contours)


@pytest.mark.parametrize("size", [128, 256])
def test_real_glyphs_come_back_with_about_as_many_points(noto_sans: Path, size: int) -> None:
    codepoints = [ord(character) for character in "一永鳥心"]
    face, _ = read_face(noto_sans, 2)
    renderer = GlyphRenderer(face, size, "ink")
    font = TTFont(noto_sans, fontNumber=face.index)
    names, glyphs = font.getBestCmap(), font.getGlyphSet()
    ours = theirs = 0
    for codepoint in codepoints:
        picture = renderer.draw(codepoint)
        assert picture is not None
        outline = trace(picture)
        assert ((again(outline) > 127) != (picture > 127)).mean() < 0.01
        pen = DecomposingRecordingPen(glyphs)
        glyphs[names[codepoint]].draw(pen)
        ours += outline.points
        theirs += sum(len(points) for operation, points in pen.value if operation in ("moveTo", "lineTo", "curveTo"))
    assert ours <= 1.2 * theirs


def test_the_same_picture_gives_the_same_outline(noto_sans: Path) -> None:
    picture = drawn(64, circle(30, 30, 20), circle(30, 30, 9))
    first, second = (io.BytesIO(), io.BytesIO())
    for stream in (first, second):
        for contour in trace(picture).contours:
            for segment in contour:
                stream.write(segment.tobytes())
    assert first.getvalue() == second.getvalue()
