"""Walks in the plane under the exact score, with and without noise: where they end, and how often.

The data are three points of unequal weight, so that q(x; σ) is a mixture of three Gaussians with as many modes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from glyffctl.core.diffusion.langevin import walk
from glyffctl.core.diffusion.samplers import SAMPLERS, Draw
from glyffctl.core.diffusion.schedule import karras
from glyffctl.core.estimates import Estimate, share
from glyffctl.core.theory.oracle import FiniteData

PLACES = ((-1.0, -0.5), (1.0, -0.6), (0.1, 1.0))
WEIGHTS = (5, 3, 2)
"""How often each of the places is in the data, in tenths."""
WALKS = 1000
SIGMA, SNR, STEPS = 0.5, 0.2, 400
"""How many walks; their level, the size of their steps, see `diffusion.langevin`, and how many each takes."""
START = 2.0
"""Walks at one level start at 2·N(0, I), away from any mode."""
NEAR = 0.1
"""How near to a mode a walk ends on it."""
ANNEALED = 120
"""Steps of samplers from much noise to none."""


def planar_data() -> FiniteData:
    """The data, (10, 1, 1, 2)."""
    places = torch.tensor(PLACES, dtype=torch.float64)
    return FiniteData(places.repeat_interleave(torch.tensor(WEIGHTS), 0)[:, None, None])


def modes() -> Tensor:
    """(3, 2): where the density of level `SIGMA` is highest near each place: the score alone leads there."""
    x = torch.tensor(PLACES, dtype=torch.float64)[:, None, None]
    x, _ = walk(planar_data(), x, SIGMA, _no_noise(x), 0, snr=0.7, count=200, noise=0.0)
    return x.reshape(-1, 2)


def true_shares() -> Tensor:
    """(3,): the share of q(x; `SIGMA`) that is nearer to each mode than to the others, by the midpoint rule."""
    line = torch.linspace(-4.0, 4.0, 601, dtype=torch.float64)
    grid = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1).reshape(-1, 1, 1, 2)
    density = planar_data().log_density(grid, torch.full((len(grid),), SIGMA, dtype=torch.float64)).exp()
    nearest = torch.cdist(grid.reshape(-1, 2), modes()).argmin(1)
    return torch.zeros(3, dtype=torch.float64).index_add(0, nearest, density) / density.sum()


@dataclass(frozen=True, slots=True)
class Ends:
    """Where walks ended.

    Attributes:
        on_mode: the share that ended within `NEAR` of a mode.
        shares: of the walks that ended nearest to each mode.
        p: the probability of shares as far from the expected ones, or farther, by chance (Pearson's χ²).
    """

    on_mode: Estimate
    shares: tuple[Estimate, ...]
    p: float


def ends(points: Tensor, targets: Tensor, expected: Tensor) -> Ends:
    """Count where walks ended.

    Args:
        points: (N, 2) the ends.
        targets: (3, 2) modes.
        expected: (3,) shares that should be nearest to each.
    """
    nearest = torch.cdist(points, targets).min(1)
    counts = nearest.indices.bincount(minlength=len(targets))
    due = expected * len(points)
    chi_square = float(((counts - due).square() / due).sum())
    return Ends(
        share(int((nearest.values < NEAR).sum()), len(points)),
        tuple(share(count, len(points)) for count in counts.tolist()),
        float(torch.tensor(-chi_square / 2, dtype=torch.float64).exp()),  # with three shares: 2 degrees of freedom
    )


def paths_at_one_level(seed: int, noise: float) -> Tensor:
    """(STEPS + 1, WALKS, 2): walks at `SIGMA`, with the noise of Langevin dynamics (1) or without any (0)."""
    generator = torch.Generator().manual_seed(seed)
    x = START * torch.randn(WALKS, 1, 1, 2, generator=generator, dtype=torch.float64)
    draw, data, path = _fresh(x, generator), planar_data(), [x]
    for k in range(STEPS):
        x, _ = walk(data, x, SIGMA, draw, k, snr=SNR, count=1, noise=noise)
        path.append(x)
    return torch.stack(path).reshape(STEPS + 1, WALKS, 2)


def drawn_from_noise(seed: int, sampler: str) -> Tensor:
    """(WALKS, 2): what a sampler of the table makes of pure noise of σ = 80, in `ANNEALED` steps down to 0."""
    generator = torch.Generator().manual_seed(seed)
    sigmas = karras(1000, 0.02, 80.0).steps(ANNEALED)
    x = torch.randn(WALKS, 1, 1, 2, generator=generator, dtype=torch.float64) * sigmas[0]
    *_, end = SAMPLERS[sampler](planar_data(), x, sigmas, _fresh(x, generator))
    return end.x.reshape(-1, 2)


@dataclass(frozen=True, eq=False)
class Comparison:
    """Walks with and without noise, from the same starts.

    Attributes:
        climbing, walking: paths at one level without noise and with it, see `paths_at_one_level`.
        expected: (3,) the shares of the law of that level.
        one_level: where these ended, by "without noise" and "with noise".
        from_noise: where samplers ended that go from much noise to none, by the same names: ddim and ddpm.
    """

    climbing: Tensor
    walking: Tensor
    expected: Tensor
    one_level: dict[str, Ends]
    from_noise: dict[str, Ends]


def compare_walks(seed: int) -> Comparison:
    """Walk with noise and without, at one level and down from pure noise."""
    targets, expected = modes(), true_shares()
    climbing, walking = (paths_at_one_level(seed, noise) for noise in (0.0, 1.0))
    places, weights = torch.tensor(PLACES, dtype=torch.float64), torch.tensor(WEIGHTS, dtype=torch.float64)
    return Comparison(
        climbing,
        walking,
        expected,
        {
            name: ends(path[-1], targets, expected)
            for name, path in (("without noise", climbing), ("with noise", walking))
        },
        {
            name: ends(drawn_from_noise(seed + 1, sampler), places, weights / weights.sum())
            for name, sampler in (("without noise", "ddim"), ("with noise", "ddpm"))
        },
    )


def _fresh(like: Tensor, generator: torch.Generator) -> Draw:
    return lambda _: torch.randn(like.shape, generator=generator, dtype=like.dtype)


def _no_noise(like: Tensor) -> Draw:
    return lambda _: torch.zeros_like(like)
