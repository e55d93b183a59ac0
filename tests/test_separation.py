"""How well a map separates two kinds of characters."""

import math

import pytest
import torch

from glyffctl.core.atlas.separation import left_right_labels, separation


def test_separation_in_closed_form() -> None:
    line = torch.arange(200.0)
    apart = torch.stack([torch.where(line < 50, line, line + 1e4), torch.zeros(200)], 1)
    labels = (line >= 50).long()
    assert separation(apart, labels) == 1.0  # unequal counts, and each among its own
    assert separation(apart, 1 - labels) == 1.0
    every_other = torch.arange(200) % 2
    # On a line of alternating kinds 15 neighbors, oneself left out, are 8 of the other and 7 of one's own.
    assert separation(torch.stack([line, line * 0], 1), every_other) < 0.1
    labels[100:] = -1  # left out of everything: as if they were not there
    assert separation(apart, labels) == separation(apart[:100], labels[:100]) == 1.0


def test_separation_of_nothing_is_chance() -> None:
    random = torch.Generator().manual_seed(0)
    points = torch.randn(6000, 2, generator=random)
    labels = (torch.rand(6000, generator=random) < 0.5).long()
    assert abs(separation(points, labels) - 0.5) < 4 * 0.5 / math.sqrt(6000)
    # A majority votes for itself everywhere: right for all of one kind, for none of the other.
    assert abs(separation(points, (torch.rand(6000, generator=random) < 0.02).long()) - 0.5) < 0.01


def test_a_glyph_does_not_vote_on_itself_among_doubles() -> None:
    points = torch.zeros(40, 2)
    points[20:] = 1
    labels = (torch.arange(40) >= 20).long()
    assert separation(points, labels) == 1.0
    labels[0] = 1  # one odd double
    assert separation(points, labels) == pytest.approx((1 + 20 / 21) / 2)


def test_labels_are_left_right_and_top_bottom() -> None:
    assert left_right_labels(["⿰", "⿱", "", "⿴"]).tolist() == [0, 1, -1, -1]
