"""From places in a map back to pictures."""

import torch

from glyffctl.core.atlas.inverse import NEAREST, invert


def test_a_glyph_is_drawn_at_its_place_and_a_blend_between() -> None:
    points = torch.cat([torch.tensor([[0.0, 0], [1, 0]]), torch.randn(NEAREST * 4, 2) * 0.01 + 50])
    pictures = torch.zeros(len(points), 1, 2, 2)
    pictures[0], pictures[1] = 1, -1
    drawn = invert(points, pictures, torch.tensor([[0.0, 0], [0.25, 0], [0.5, 0]]))
    assert drawn.shape == (3, 1, 2, 2)
    assert torch.allclose(drawn[0], pictures[0], atol=1e-6)
    assert 0.4 < float(drawn[1].mean()) < 0.5  # three times as near to 1 as to -1
    assert abs(float(drawn[2].mean())) < 1e-6


def test_without_its_own_picture_a_glyph_is_drawn_from_the_others() -> None:
    points, pictures = torch.randn(12, 2), torch.eye(12)
    again = invert(points, pictures, points, without_own=True)
    assert bool((again.diagonal() == 0).all()) and torch.allclose(again.sum(1), torch.ones(12))
    assert torch.allclose(invert(points, pictures, points), pictures, atol=1e-5)
