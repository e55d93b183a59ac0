"""Principal components, against the singular value decomposition."""

import pytest
import torch

from glyffctl.core.linalg import principal_components
from tests.toys import eps


@pytest.mark.parametrize("shape", [(40, 7), (6, 30), (8, 8)])
def test_components_are_those_of_the_svd(shape: tuple[int, int]) -> None:
    points = eps(*shape, seed=1) * torch.linspace(1, 3, shape[1], dtype=torch.float64)
    centred = points - points.mean(0)
    _, singular, axes = torch.linalg.svd(centred, full_matrices=False)
    found = principal_components(centred, 3)
    torch.testing.assert_close(found.variances, singular**2 / (shape[0] - 1), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close((found.axes.T @ axes[:3].T).abs(), torch.eye(3, dtype=torch.float64))
    only = principal_components(centred, 0)
    torch.testing.assert_close(only.variances, found.variances)
    assert only.axes.shape == (shape[1], 0)


def test_axes_without_variance_are_orthonormal_too() -> None:
    """As the subspace of copies of one picture needs."""
    found = principal_components(torch.zeros(5, 4), 4)
    assert float(found.variances.sum()) == 0
    torch.testing.assert_close(found.axes.T @ found.axes, torch.eye(4, dtype=torch.float64))
