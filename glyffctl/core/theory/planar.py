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


def ink_points(picture: Tensor, count: int, seed: int) -> Tensor:
    """Points drawn from the ink of a picture, dark pixels more often than grey ones; (count, 2) float64.

    They are centred and have unit variance over both axes; x is to the right and y up.

    Args:
        picture: (H, W) in [−1, 1], −1 is ink, with ink in two places or more.
        count: how many, none at a place of another: within its pixel a point lies at random.
        seed: of the choice.
    """
    generator = torch.Generator().manual_seed(seed)
    ink = (1 - picture.double()).clamp(min=0).flatten()
    some = ink > 0.5 * ink.max()  # grey edges of strokes would blur them
    chosen = (ink * some).multinomial(count, replacement=int(some.sum()) < count, generator=generator)
    width = picture.shape[-1]
    pixels = torch.stack([chosen % width, -(chosen // width)], 1)
    points = pixels + torch.rand(count, 2, generator=generator, dtype=torch.float64)
    points = points - points.mean(0)
    return points / points.square().mean().sqrt()


def energy_distance(points: Tensor, drawn: Tensor) -> float:
    """2·E|X−Y| − E|X−X'| − E|Y−Y'|, X spread evenly over `points` (N, D) and Y known by a sample `drawn` (M, D).

    It is 0 where both have the same law, and positive otherwise (Székely and Rizzo 2013, "Energy statistics"). The
    estimate has no bias, so that it may be below 0.
    """
    count = len(drawn)
    within = _mean_distance(points, points) + _mean_distance(drawn, drawn) * count / (count - 1)
    return 2 * _mean_distance(points, drawn) - within


def _mean_distance(x: Tensor, y: Tensor) -> float:
    # Without a product of matrices, in which the distance of a point from itself is not quite 0.
    return float(torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist").mean())
