"""A flat data set, and its density and score under noise: exact, since the data are finite."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from glyffctl.core.theory.oracle import FiniteData


def principal_plane(vectors: Tensor) -> Tensor:
    """(M, 2) float64: vectors (M, …) in the two directions in which they differ most, with unit variance all in all.

    All must not be the same. Where they differ in one direction only, the second number is 0.
    """
    centred = vectors.double().flatten(1)
    centred = centred - centred.mean(0)
    if len(centred) <= centred.shape[1]:  # the smaller Gram matrix is enough
        left = torch.linalg.eigh(centred @ centred.T).eigenvectors[:, -2:]
        axes = torch.nn.functional.normalize(centred.T @ left, dim=0).flip(1)
    else:
        axes = torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -2:].flip(1)
    # An eigenvector has no sign of its own: its largest number shall be positive.
    axes = axes * axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()
    points = centred @ axes
    return points / points.square().mean().sqrt()


def density(points: Tensor, line: Tensor, alpha_bar: float) -> Tensor:
    """q(z_t) of flat data `points` (N, 2) at the places (line[j], line[i]): (L, L), with i down and j across.

    A Gaussian around each √ᾱ·x_n with the variance 1 − ᾱ. It is a product of one along each axis, so the sum over the
    data is a product of two matrices.
    """
    variance = 1 - alpha_bar
    along = [torch.exp(-((line[:, None] - alpha_bar**0.5 * axis) ** 2) / (2 * variance)) for axis in points.T]
    return along[1] @ along[0].T / (len(points) * 2 * math.pi * variance)


def score(points: Tensor, places: Tensor, alpha_bar: float) -> Tensor:
    """∇ log q(z_t) at places (B, 2): (√ᾱ·E[x0 | z] − z)/(1−ᾱ)."""
    sigma = torch.full((len(places),), ((1 - alpha_bar) / alpha_bar) ** 0.5, dtype=torch.float64)
    x0 = FiniteData(points)(places / alpha_bar**0.5, sigma)
    return (x0 * alpha_bar**0.5 - places) / (1 - alpha_bar)


def grid(line: Tensor) -> Tensor:
    """(L², 2): the places of a grid, row by row."""
    return torch.stack(torch.meshgrid(line, line, indexing="xy"), -1).reshape(-1, 2)


def normal_gap(points: Tensor, alpha_bar: float, count: int = 401, reach: float = 6.0) -> float:
    """The total variation distance of q(z_t) from N(0, I), by the midpoint rule: 0 alike, 1 apart."""
    line = torch.linspace(-reach, reach, count, dtype=torch.float64)
    normal = torch.exp(-(line[:, None] ** 2 + line**2) / 2) / (2 * math.pi)
    cell = float(line[1] - line[0]) ** 2
    return float((density(points, line, alpha_bar) - normal).abs().sum()) / 2 * cell
