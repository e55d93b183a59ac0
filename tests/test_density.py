"""The density of points in a map, against its kernel."""

import math

import pytest
import torch

from glyffctl.core.atlas.density import CELLS, WIDTH, density


def test_density_of_one_point_is_the_kernel() -> None:
    points = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [0.0, 0.0]])
    field = density(points)
    assert field.values.max() == 1.0 and field.values.shape == (CELLS, CELLS)
    # Two points on one place, one on the others.
    at = field.at(torch.tensor([[0.0, 0.0], [10.0, 0.0], [5.0, 5.0]]))
    assert at[0] > 0.9 and at[1] == pytest.approx(float(at[0]) / 2, rel=0.1) and at[2] == 0
    # A Gaussian: one bandwidth away the density is e^−½ of its peak.
    assert float(field.at(torch.tensor([[10 - 10 * WIDTH, 0.0]]))[0] / at[1]) == pytest.approx(math.exp(-0.5), rel=0.08)
