"""Strokes of bars whose width is known."""

import math

import pytest
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from glyffctl.core.evaluation.strokes import measure_strokes


def _paper(size: int = 96) -> Tensor:
    return torch.full((size, size), 255, dtype=torch.uint8)


@pytest.mark.parametrize("width", [1, 3, 8])
def test_a_bar_across_and_one_down(width: int):
    across, down, cross = _paper(), _paper(), _paper()
    across[20 : 20 + width, 8:88] = 0
    down[8:88, 30 : 30 + width] = 0
    cross[20 : 20 + width, 8:88] = 0
    cross[8:88, 30 : 30 + width] = 0
    strokes = measure_strokes(torch.stack([across, down, cross]))
    # Less only where the corners are cut: twice a triangle of diagonal runs in a bar of 80 pixels.
    assert strokes.width.tolist() == pytest.approx([width] * 3, rel=0.05)
    assert strokes.width.max() <= width * 1.02
    assert strokes.ink[0] == pytest.approx(width * 80 / 96**2)
    assert strokes.grey.tolist() == [0, 0, 0]


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("width", [4, 9])
def test_a_slanted_bar(width: int, turned: bool):
    """Drawn at 45°, with its ends cut off by the picture."""
    y, x = torch.meshgrid(torch.arange(96.0), torch.arange(96.0), indexing="ij")
    off = (x + y - 95) if turned else (x - y)
    picture = torch.where(off.abs() / math.sqrt(2) <= width / 2, 0, 255).to(torch.uint8)
    assert float(measure_strokes(picture[None]).width) == pytest.approx(width, abs=0.75)


def test_a_bar_at_any_angle_is_at_most_8_percent_off():
    """Runs at multiples of 45° cross a bar at up to 22.5°: the run is 1/cos 22.5° = 1.082 times its width."""
    for angle in range(0, 180, 15):
        image = Image.new("L", (512, 512), 255)
        way = (200 * math.cos(math.radians(angle)), 200 * math.sin(math.radians(angle)))
        ImageDraw.Draw(image).line((256 - way[0], 256 - way[1], 256 + way[0], 256 + way[1]), 0, 20)
        picture = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).reshape(1, 512, 512)
        assert 0.9 * 20 < float(measure_strokes(picture).width) < 1.1 * 20, angle


def test_grey_is_what_is_neither_ink_nor_paper():
    picture = _paper(10)
    picture[0, :5] = torch.tensor([0, 20, 127, 200, 240], dtype=torch.uint8)
    strokes = measure_strokes(picture[None])
    assert float(strokes.grey) == pytest.approx(0.02)
    assert float(strokes.ink) == pytest.approx((255 * 5 - 587) / 25500)


def test_a_blank_page_and_a_black_one():
    strokes = measure_strokes(torch.stack([_paper(16), torch.zeros(16, 16, dtype=torch.uint8)]))
    assert strokes.width[0] == 0
    assert 8 < strokes.width[1] <= 16
    assert strokes.ink.tolist() == [0, 1]


def test_no_pictures():
    assert measure_strokes(torch.empty(0, 8, 8, dtype=torch.uint8)).ink.shape == (0,)


def test_every_picture_is_measured_alone():
    bars = torch.stack([_paper() for _ in range(70)])
    for i, bar in enumerate(bars):
        bar[10 : 11 + i % 9, 8:88] = 0
    alone = torch.cat([measure_strokes(bar[None]).width for bar in bars])
    assert torch.equal(measure_strokes(bars).width, alone)
    assert alone.unique().numel() == 9


def test_strokes_that_a_line_crosses_and_how_uneven_they_are():
    bars, one, none = _paper(64), _paper(64), _paper(64)
    for x in (8, 24, 40):
        bars[:, x : x + 4] = 0
    one[10:14, :] = 0
    one[30:42, :] = 0
    strokes = measure_strokes(torch.stack([bars, one, none]))
    # Three bars down: every row crosses three, and 12 of 64 columns lie in one. And so on.
    assert strokes.crossed.tolist() == pytest.approx([(3 * 64 + 12) / 128, (2 * 64 + 16) / 128, 0])
    # A quarter of the black is 4 wide and three quarters 12: mean 10, deviation √12. The corners scatter a little more.
    assert 0 < strokes.unevenness[0] < 0.12
    assert float(strokes.unevenness[1]) == pytest.approx(math.sqrt(12) / 10, rel=0.15)
    assert strokes.unevenness[2] == 0
