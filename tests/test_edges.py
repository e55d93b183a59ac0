"""The statistics of edges."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from glyffctl.core.evaluation.edges import measure_edges


def square(grey: int = 0) -> Tensor:
    """A black square of 32×32 on 64×64, in a frame of one pixel of this grey; 255 is none."""
    picture = torch.full((1, 64, 64), 255, dtype=torch.uint8)
    picture[:, 15:49, 15:49] = grey
    picture[:, 16:48, 16:48] = 0
    return picture


def test_a_sharp_square_is_itself() -> None:
    sharp = square(255)
    edges = measure_edges(sharp, sharp)
    assert (float(edges.grey), float(edges.breadth), float(edges.corners)) == (0, 0, 0)


def test_a_grey_frame_is_one_pixel_broad() -> None:
    edges = measure_edges(square(200), square(255))
    assert float(edges.breadth) * 4 * 32 == 4 * 33
    assert float(edges.grey) * 64**2 == 4 * 33


def test_rounded_corners_are_wrong_at_corners_alone() -> None:
    sharp = square(255)
    rounded = sharp.clone()
    for row in (16, 17, 46, 47):
        for column in (16, 17, 46, 47):
            rounded[:, row, column] = 255
    assert float(measure_edges(rounded, sharp).corners) > 0.05
    hole = sharp.clone()
    hole[:, 30:34, 30:34] = 255  # far from corners
    assert float(measure_edges(hole, sharp).corners) == 0
    soft = F.avg_pool2d(sharp.float(), 5, stride=1, padding=2, count_include_pad=False).round().to(torch.uint8)
    assert float(measure_edges(soft, sharp).breadth) > 2


def test_blank_pictures_have_no_corners() -> None:
    blank = torch.full((2, 64, 64), 255, dtype=torch.uint8)
    edges = measure_edges(blank, blank)
    assert bool(edges.corners.isnan().all()) and edges.breadth.tolist() == [0, 0]
