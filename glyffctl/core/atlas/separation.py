"""How well a map separates two kinds of characters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from glyffctl.core.data.structure import LEFT_RIGHT, TOP_BOTTOM

VOTES = 15
"""Neighbors in the map that vote on the kind of a glyph, itself not among them; an odd number."""


def separation(points: Tensor, labels: Tensor) -> float:
    """The balanced accuracy of predicting each point's kind by majority vote of its nearest labelled neighbors.

    It is the mean of the accuracies of the two kinds. 0.5 is chance, whatever the two counts are.

    Args:
        points: (N, 2) float32.
        labels: (N,) 0 and 1, both present, of more than `VOTES` points; points with −1 are ignored.
    """
    kept = labels >= 0
    points, labels = points[kept], labels[kept]
    assert len(labels) > VOTES
    places = points.numpy()
    # Among points at the same place, the order of the neighbors is arbitrary: the point itself can be any of them.
    _, index = cKDTree(places).query(places, k=VOTES + 1)
    neighbors = torch.from_numpy(np.asarray(index))
    itself = neighbors == torch.arange(len(labels))[:, None]
    itself[~itself.any(1), -1] = True  # more points at the same place than `VOTES`: leave out any of them
    others = labels[neighbors[~itself].view(len(labels), VOTES)]
    right = (2 * others.sum(1) > VOTES).long() == labels
    return float((right[labels == 0].double().mean() + right[labels == 1].double().mean()) / 2)


def left_right_labels(operators: Sequence[str]) -> Tensor:
    """(N,) int64 labels for `separation`: 0 for ⿰, 1 for ⿱, −1 for any other operator."""
    return torch.tensor([{LEFT_RIGHT: 0, TOP_BOTTOM: 1}.get(operator, -1) for operator in operators])
