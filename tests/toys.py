"""Small exact things to measure the diffusion core with: toy networks, exact flows, diffusers in double precision."""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Iterable
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.diffusion.denoiser import Denoise
from glyffctl.core.diffusion.samplers import Draw, Step
from glyffctl.core.noise import normal


class ToyNetwork:
    """A smooth nonlinear function of z, σ and the text that mixes the pixels of a picture, with random weights.

    `calls` keeps the (z, sigma) of every call.
    """

    def __init__(self, pixels: int, width: int = 8) -> None:
        generator = torch.Generator().manual_seed(0)
        self.inside = torch.randn(pixels, 32, dtype=torch.float64, generator=generator) / math.sqrt(pixels)
        self.time = torch.randn(32, dtype=torch.float64, generator=generator)
        self.text = torch.randn(width, 32, dtype=torch.float64, generator=generator)
        self.outside = torch.randn(32, pixels, dtype=torch.float64, generator=generator) / math.sqrt(32)
        self.calls: list[tuple[Tensor, Tensor]] = []

    def encode(self, condition: Condition) -> Tensor:
        text = condition
        count = text.mask.sum(1, keepdim=True).clamp(min=1)
        return (text.tokens.double() * text.mask[:, :, None]).sum(1) / count @ self.text

    def __call__(self, z: Tensor, sigma: Tensor, context: object) -> Tensor:
        self.calls.append((z, sigma))
        assert isinstance(context, Tensor)
        label = sigma.double().log() / 4
        hidden = z.double().flatten(1) @ self.inside + label[:, None] * self.time + context
        return (hidden.tanh() @ self.outside).reshape(z.shape).to(z.dtype)


class Textless:
    """The half of a network that reads text, for those that do not."""

    def encode(self, condition: Condition) -> None:
        assert isinstance(condition, Condition)


class OracleNetwork(Textless):
    """The eps that belongs to an exact denoiser: F = (x − D(x, σ))/σ."""

    def __init__(self, oracle: Denoise) -> None:
        self.oracle = oracle

    def __call__(self, z: Tensor, sigma: Tensor, context: object) -> Tensor:
        assert context is None
        sigma = sigma.to(z.dtype)
        column = sigma.reshape(-1, 1, 1, 1)
        x = z * (1 + column**2).sqrt()
        return (x - self.oracle(x, sigma)) / column


def captions(count: int, width: int = 8) -> Condition:
    """`count` different captions of up to three tokens."""
    mask = torch.arange(3)[None, :] <= (torch.arange(count) % 3)[:, None]
    tokens = normal(5, torch.arange(count), (3, width), stream=0, dtype=torch.float64)
    return Condition(tokens * mask[:, :, None], mask)


def eps(count: int, *shape: int, seed: int = 0) -> Tensor:
    """(count, *shape) float64 standard normal numbers."""
    return normal(seed, torch.arange(count), shape, stream=0, dtype=torch.float64)


def draws(like: Tensor, seed: int = 1) -> Draw:
    """A sampler's noise for a batch shaped like `like`."""
    index = torch.arange(len(like))
    return lambda i: normal(seed, index, tuple(like.shape[1:]), stream=16 + i, dtype=like.dtype)


def last(steps: Iterable[Step]) -> Tensor:
    """The picture a sampler ends with."""
    *_, step = steps
    return step.x


def ks_statistic(values: Tensor, cdf: Tensor | None = None) -> float:
    """√n times Kolmogorov and Smirnov's distance of `values` (n,) from N(0, 1), or `cdf` of the sorted values.

    Above 1.95 once in a thousand draws of the right law, above 2.23 once in ten thousand.
    """
    count = len(values)
    expected = torch.special.ndtr(values.double().sort().values) if cdf is None else cdf
    steps = torch.arange(count + 1, dtype=torch.float64) / count
    distance = max(float((steps[1:] - expected).max()), float((expected - steps[:-1]).max()))
    return distance * math.sqrt(count)


def order_of(counts: list[int], errors: list[float]) -> float:
    """The p of error ∝ n^−p, fitted to all points."""
    slope, _ = np.polyfit(np.log(counts), np.log(errors), 1)
    return -float(slope)


class LineFlow:
    """The exact probability-flow ODE of a finite data set on a line.

    The flow moves mass without tearing, so on a line it keeps the share of mass to the left of x:
    the distribution function of level σ at x is that of level σ' at flow(x).
    """

    def __init__(self, points: Tensor) -> None:
        self.points = points.flatten()

    def cdf(self, x: Tensor, sigma: float) -> Tensor:
        """The share of mass to the left of each x."""
        return torch.special.ndtr((x.reshape(-1, 1) - self.points) / sigma).mean(1)

    def __call__(self, x: Tensor, sigma: float, target: float) -> Tensor:
        """Where the flow takes x from level `sigma` to level `target`, by bisection."""
        mass = self.cdf(x, sigma)
        low = torch.full_like(mass, float(self.points.min()) - 10 * target)
        high = torch.full_like(mass, float(self.points.max()) + 10 * target)
        for _ in range(60):
            middle = (low + high) / 2
            left = self.cdf(middle, target) < mass
            low, high = torch.where(left, middle, low), torch.where(left, high, middle)
        return low.reshape(x.shape)


def in_double(monkeypatch: pytest.MonkeyPatch, name: str) -> Any:
    """diffusers' module `scheduling_<name>`, with float64 wherever it says float32: its tables and its arithmetic."""
    importlib.import_module("diffusers.schedulers")
    # dpmsolver_sde imports torchsde for its Brownian path only; its test brings a path of its own.
    monkeypatch.setitem(sys.modules, "torchsde", ModuleType("torchsde"))
    module = importlib.import_module(f"diffusers.schedulers.scheduling_{name}")
    monkeypatch.setattr(module, "torch", SimpleNamespace(**{**vars(torch), "float32": torch.float64}))
    monkeypatch.setattr(module, "np", SimpleNamespace(**{**vars(np), "float32": np.float64}))
    return module
