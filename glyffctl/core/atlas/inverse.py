"""From places in a map back to pictures. UMAP has no exact inverse: this one is for drawing."""

from __future__ import annotations

import torch
from torch import Tensor

NEAREST = 5


def invert(points: Tensor, pictures: Tensor, places: Tensor, *, without_own: bool = False) -> Tensor:
    """Draw a picture for each place: the mean of those nearest in the map, weighted by 1/distance (Shepard 1968).

    Args:
        points: (N, 2) the map, N > `NEAREST`.
        pictures: (N, …) what lies at `points`.
        places: (Q, 2).
        without_own: the places are `points`, and each is drawn from the others.

    Returns:
        (Q, …): at a point of the map its own picture, unless `without_own`.
    """
    distance = torch.cdist(places.double(), points.double())
    if without_own:
        distance.fill_diagonal_(torch.inf)
    found = distance.topk(NEAREST, largest=False)
    weight = 1 / found.values.clamp(min=1e-9)
    weight = (weight / weight.sum(1, keepdim=True)).to(pictures.dtype)
    drawn = torch.zeros(len(places), *pictures.shape[1:], dtype=pictures.dtype)
    for k in range(NEAREST):  # one after another: all at once would be NEAREST copies of the pictures
        drawn += weight[:, k].reshape(-1, *[1] * (pictures.dim() - 1)) * pictures[found.indices[:, k]]
    return drawn
