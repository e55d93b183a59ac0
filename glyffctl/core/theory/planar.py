"""Data in the plane under noise: density and score, exact since the data are finite (a mixture of Gaussians)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from glyffctl.core.linalg import principal_components
from glyffctl.core.theory.oracle import FiniteData


def principal_plane(vectors: Tensor) -> Tensor:
    """Project vectors on their two principal axes, and scale the result to unit variance over both.

    Args:
        vectors: (M, …), not all the same, of two numbers or more.

    Returns:
        (M, 2) float64. The second column is 0 where the vectors differ in one direction only.
    """
    centred = vectors.double().flatten(1)
    centred = centred - centred.mean(0)
    axes = principal_components(centred, 2).axes
    # The sign of an eigenvector is arbitrary: make its largest number positive.
    axes = axes * axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()
    points = centred @ axes
    return points / points.square().mean().sqrt()


def mixture_density(points: Tensor, line: Tensor, alpha_bar: float) -> Tensor:
    """Evaluate the density q(z_t) on a grid.

    q(z_t) has a Gaussian of variance 1 − ᾱ around each √ᾱ·x_n. Each is a product of one Gaussian along each axis, so
    the sum over the data is a product of two matrices.

    Args:
        points: (N, 2) the data.
        line: (L,) coordinates of the grid along both axes.
        alpha_bar: ᾱ in (0, 1).

    Returns:
        (L, L): the density at (line[j], line[i]), with i down and j across.
    """
    variance = 1 - alpha_bar
    along = [torch.exp(-((line[:, None] - alpha_bar**0.5 * axis) ** 2) / (2 * variance)) for axis in points.T]
    return along[1] @ along[0].T / (len(points) * 2 * math.pi * variance)


def mixture_score(points: Tensor, places: Tensor, alpha_bar: float) -> Tensor:
    """(B, 2): ∇ log q(z_t) of data `points` (N, 2) at `places` (B, 2): (√ᾱ·E[x0 | z] − z)/(1−ᾱ)."""
    sigma = torch.full((len(places),), ((1 - alpha_bar) / alpha_bar) ** 0.5, dtype=torch.float64)
    x0 = FiniteData(points)(places / alpha_bar**0.5, sigma)
    return (x0 * alpha_bar**0.5 - places) / (1 - alpha_bar)


def grid_points(line: Tensor) -> Tensor:
    """(L², 2): the points of a grid with coordinates `line` (L,) along both axes, row by row."""
    return torch.stack(torch.meshgrid(line, line, indexing="xy"), -1).reshape(-1, 2)


def distance_from_normal(points: Tensor, alpha_bar: float, count: int = 401, reach: float = 6.0) -> float:
    """Total variation distance of q(z_t) from N(0, I), from 0 (equal) to 1 (disjoint), by the midpoint rule.

    Args:
        points: (N, 2) the data.
        alpha_bar: ᾱ in (0, 1).
        count: grid points along each axis.
        reach: the grid covers [−reach, reach]².
    """
    line = torch.linspace(-reach, reach, count, dtype=torch.float64)
    normal = torch.exp(-(line[:, None] ** 2 + line**2) / 2) / (2 * math.pi)
    cell = float(line[1] - line[0]) ** 2
    return float((mixture_density(points, line, alpha_bar) - normal).abs().sum()) / 2 * cell
