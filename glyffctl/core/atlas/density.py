"""The density of the points of a map, on a grid."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from scipy.ndimage import gaussian_filter, map_coordinates
from torch import Tensor

CELLS = 256
WIDTH = 0.012
"""Bandwidth, as a share of the map's longer side. (Scott's rule assumes one Gaussian, and blurs islands away.)"""
_MARGIN = 0.05


class Density(NamedTuple):
    """A kernel density estimate (Parzen 1962) with a Gaussian kernel, on a square grid of CELLS × CELLS."""

    values: Tensor  # (CELLS, CELLS) float32, rows from the lowest y up; 1 is the densest cell
    left: float
    bottom: float
    side: float
    """The square [left, left + side] × [bottom, bottom + side] that the grid covers."""

    def at(self, points: Tensor) -> Tensor:
        """(N,): the density at `points` (N, 2), 0 to 1, interpolated linearly between the centres of cells."""
        where = (points - torch.tensor([self.left, self.bottom])) / self.side * CELLS - 0.5
        return torch.from_numpy(map_coordinates(self.values.numpy(), where.flip(1).T.numpy(), order=1, mode="nearest"))


def density(points: Tensor) -> Density:
    """Estimate the density of `points` (N, 2), N ≥ 1."""
    low, high = points.amin(0), points.amax(0)
    longer = max(float((high - low).max()), 1e-6)
    side = longer * (1 + 2 * _MARGIN)
    left, bottom = ((low + high) / 2 - side / 2).tolist()
    x, y = ((points.double() - torch.tensor([left, bottom])) / side).numpy().T
    counts, _, _ = np.histogram2d(y, x, bins=CELLS, range=((0, 1), (0, 1)))
    smooth = gaussian_filter(counts, WIDTH * longer / side * CELLS, mode="constant", truncate=4)
    return Density(torch.from_numpy((smooth / smooth.max()).astype(np.float32)), left, bottom, side)
