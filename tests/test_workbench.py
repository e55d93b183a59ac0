"""What the workbench of `noise-demo` is made of: ink as points, the energy distance, the still figure."""

from __future__ import annotations

import math
import re

import pytest
import torch
from torch import Tensor

from glyffctl.core.theory.planar import energy_distance, ink_points
from glyffctl.figures.demo_scene import DemoScene
from glyffctl.figures.workbench_html import workbench
from glyffctl.figures.workbench_still import FRESH, WALKS, draw_workbench, fresh_samples, ink, walks


def glyph() -> Tensor:
    """(1, 24, 24): a cross with a grey edge, and a box."""
    picture = torch.ones(1, 24, 24)
    picture[0, 4:20, 5:8] = -1
    picture[0, 10:13, 2:11] = -1
    picture[0, 4:12, 15:22] = -1
    picture[0, 6:10, 17:20] = 1
    picture[0, 4:20, 8] = 0.6
    return picture


def scene(schedule: str = "linear", seed: int = 0) -> DemoScene:
    points = torch.zeros(3, 2, dtype=torch.float64)
    return DemoScene(
        glyph()[None],
        0,
        "the glyph",
        points,
        glyph()[None].expand(3, -1, -1, -1),
        torch.zeros(3, dtype=torch.int64),
        ("",),
        schedule,
        seed,
    )


def test_points_lie_in_the_ink_as_the_picture_is_seen() -> None:
    picture = glyph()[0]
    points = ink_points(picture, 4000, 0)
    assert points.mean(0).abs().max() < 1e-12 and points.square().mean() == pytest.approx(1)
    dark = (picture < 0).nonzero()
    places = torch.stack([dark[:, 1], -dark[:, 0]], 1).double()
    places = places - places.mean(0)
    places = places / places.square().mean().sqrt()
    pixel = float((places[1:] - places[:-1]).norm(dim=1).min())
    near = torch.cdist(points, places).min(1)
    assert near.values.max() < 1.2 * pixel  # half a diagonal, and the scale of a sample
    each = near.indices.bincount(minlength=len(places))
    assert each.min() > 0 and each.max() < 4 * each.double().mean()
    # Without replacement no pixel has two of them.
    few = ink_points(picture, len(places), 1)
    assert torch.cdist(few, places).min(1).indices.unique().numel() > 0.8 * len(places)


def test_the_energy_distance_has_no_bias_and_sees_a_difference() -> None:
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(50, 2, generator=generator, dtype=torch.float64)
    fresh = [energy_distance(points, points[torch.randint(50, (40,), generator=generator)]) for _ in range(2000)]
    spread = torch.tensor(fresh).std() / math.sqrt(len(fresh))
    assert abs(sum(fresh) / len(fresh)) < 4 * spread
    assert min(fresh) < 0 < energy_distance(points, points * 2)
    # Of two points at distance 1 and as many at their middle: 2·½ − ½ − 0.
    pair = torch.tensor([[0.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    assert energy_distance(pair, pair.mean(0).expand(2, 2)) == pytest.approx(0.5)


def test_the_still_figure_measures_what_it_says() -> None:
    own = scene("karras", 3)
    figure = draw_workbench(own)
    numbers = [float(n.replace("−", "-")) for n in re.findall(r"(−?\d\.\d{4})", figure.measured)]
    points = ink(own)
    low, high = numbers[-2:]
    fresh = [energy_distance(points, sample) for sample in fresh_samples(points, 3)]
    assert len(fresh) == FRESH and all(sample.shape == (WALKS, 2) for sample in fresh_samples(points, 3))
    assert low == pytest.approx(min(fresh), abs=1e-4) and high == pytest.approx(max(fresh), abs=1e-4)
    assert numbers[0] == pytest.approx(energy_distance(points, walks(points, own, "ddim")[-1]), abs=1e-4)
    # Many steps with the exact score end in a sample of the data.
    assert energy_distance(points, walks(points, own, "dpmpp-2m", 100)[-1]) < 1.5 * high
    assert "nan" not in figure.measured and len(figure.figure.axes) == 3


def test_a_name_and_a_seed_of_any_kind_stand_in_the_page() -> None:
    evil = '"><script>alert(1)</script>{{ink}}\x1b'
    made = workbench(torch.zeros(2, 2), evil, "linear", 2**63 - 1)
    assert "<script" not in made.markup and "\x1b" not in made.markup and "{{ink}}" in made.markup
    assert f'data-seed="{2**63 - 1}"' in made.markup
    assert '<div id="bench" hidden' in made.markup  # until a script shows it, the still is there
