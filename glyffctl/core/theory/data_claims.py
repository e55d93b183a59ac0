"""Claims about the data themselves, as points in a space of pixels: their dimension and shape, and noise beside them.

Each function measures one claim, as those of `claims` do.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from glyffctl.core.estimates import Estimate, mean, share
from glyffctl.core.theory.claims import LEVEL, Claim, Verdict, corrected, holds
from glyffctl.core.theory.fit import fit_normal, normal_tail

PIXELS = 16_384
"""The numbers of a glyph of the guide."""
SAMPLES, REPEATS = 200, 2000
"""Samples that a Gaussian is fitted to, and how often."""
NEARLY = 0.5
"""A pixel within ±0.5 is grey: neither ink nor paper."""
_TWICE = 0.02
"""The 95 % intervals should hold the truth in 95 % of the cases, give or take this."""


def gaussian_fit(seed: int = 0) -> Claim:
    """The parameters of a Gaussian can be estimated from samples: how often 95 % intervals hold the true ones.

    The control is data that are not Gaussian (Laplace), for which the same interval of the variance is too narrow.

    Args:
        seed: of the samples.
    """
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(REPEATS, SAMPLES, generator=generator, dtype=torch.float64)
    even = torch.rand(REPEATS, SAMPLES, generator=generator, dtype=torch.float64) - 0.5
    laplace = -even.sign() * torch.log1p(-2 * even.abs()) / math.sqrt(2)  # variance 1

    def held(samples: Tensor) -> tuple[Estimate, Estimate]:
        fits = [fit_normal(row) for row in samples]
        means, deviations = (torch.tensor([getattr(fit, name) for fit in fits]) for name in ("mean", "deviation"))
        near_mean = means.abs() <= 1.96 * deviations / math.sqrt(SAMPLES)
        near_variance = (deviations**2 - 1).abs() <= 1.96 * deviations**2 * math.sqrt(2 / SAMPLES)
        return share(int(near_mean.sum()), REPEATS), share(int(near_variance.sum()), REPEATS)

    (centre, spread), (_, control) = held(normal), held(laplace)
    right = all(abs(each.value - 0.95) < _TWICE for each in (centre, spread)) and control.high < 0.95 - _TWICE
    estimates = {"mean": centre, "variance": spread, "variance of others": control}
    return Claim("gaussian fit", holds(right), estimates, {"samples": SAMPLES})


def pixels(pictures: Tensor) -> Claim:
    """A glyph is a vector of 16,384 numbers: how many numbers, and how many of them ever change.

    Args:
        pictures: (N, H, W) uint8.
    """
    flat = pictures.flatten(1)
    numbers = {
        "numbers": flat.shape[1],
        "side": pictures.shape[-1],
        "always paper": float((flat == 255).all(0).double().mean()),
    }
    grey = mean(((flat > 0) & (flat < 255)).double().mean(1))
    return Claim("pixels", holds(flat.shape[1] == PIXELS), {"grey": grey}, numbers)


def not_gaussian(pictures: Tensor, seed: int = 0) -> Claim:
    """The distribution of glyphs is far from a Gaussian: grey pixels of glyphs, and of draws of the same covariance.

    The draws are combinations of the centred glyphs with weights of N(0, 1/(N−1)), which have exactly their covariance.

    Args:
        pictures: (N, …) in [−1, 1].
        seed: of the draws.
    """
    flat = pictures.flatten(1)
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(len(flat), len(flat), generator=generator) / math.sqrt(len(flat) - 1)
    drawn = flat.mean(0) + weights @ (flat - flat.mean(0))
    real, gaussian = (mean((each.abs() < NEARLY).double().mean(1)) for each in (flat, drawn))
    outside = mean((drawn.abs() > 1).double().mean(1))
    estimates = {"glyphs": real, "Gaussian": gaussian, "outside": outside}
    return Claim("not Gaussian", holds(gaussian.low > 2 * real.high), estimates)


def two_nearest(points: Tensor) -> Estimate:
    """The dimension of the set that points lie on, from the distances to their two nearest neighbours.

    With r₁ and r₂ these distances, ln(r₂/r₁) is exponential with rate d where the density hardly changes within r₂
    (Facco et al. 2017, "Estimating the intrinsic dimension of datasets by a minimal neighborhood information",
    equation 3), so d is one over its mean. Points that have a copy are left out.

    Args:
        points: (N, …).
    """
    flat = points.flatten(1).double()
    flat = flat - flat.mean(0)
    squares = flat.square().sum(1)
    apart = (squares[:, None] + squares - 2 * flat @ flat.T).clamp(min=0)
    apart.fill_diagonal_(torch.inf)
    near = apart.topk(2, largest=False, dim=1).values
    near = near[near[:, 0] > 1e-12 * float(squares.mean())]
    rate = mean((near[:, 1] / near[:, 0]).log() / 2)  # of squares
    return Estimate(1 / rate.value, 1 / rate.high, 1 / rate.low, rate.count)


def dimension(pictures: Tensor, seed: int = 0) -> Claim:
    """Glyphs lie on a set of far fewer dimensions than they have pixels.

    The control keeps what each pixel does and destroys what they do together: every pixel shuffled among the glyphs.

    Args:
        pictures: (N, …).
        seed: of the shuffling.
    """
    flat = pictures.flatten(1)
    generator = torch.Generator().manual_seed(seed)
    order = torch.rand(flat.shape, generator=generator).argsort(0)
    found, control = two_nearest(flat), two_nearest(flat.gather(0, order))
    few = found.high < 0.01 * flat.shape[1] and found.high < control.low
    return Claim("dimension", holds(few), {"glyphs": found, "shuffled": control}, {"pixels": flat.shape[1]})


def independent_noise(noise: Tensor, pictures: Tensor) -> Claim:
    """The noise of neighbouring pixels is independent: their correlation, beside that of the pixels of glyphs.

    Args:
        noise: (N, 1, H, W) as pictures are drawn from.
        pictures: (M, 1, H, W).
    """

    def correlation(some: Tensor) -> tuple[Estimate, float]:
        centred = some.double() - some.double().mean(0)
        products = (centred[..., 1:] * centred[..., :-1]).flatten(1).mean(1)
        scaled = products / centred.square().mean()
        return mean(scaled), float(scaled.mean() / scaled.std() * math.sqrt(len(scaled)))

    (found, z), (real, _) = correlation(noise), correlation(pictures)
    p = normal_tail(z)
    numbers = {"p": p, "mean": float(noise.double().mean()), "deviation": float(noise.double().std())}
    independent = p > LEVEL / 10 and real.low > found.high
    return Claim("independent noise", holds(independent), {"noise": found, "glyphs": real}, numbers)


def map_structure(in_map: float, in_plane: float, shuffled: float, count: int) -> Claim:
    """Two clusters in the map, left–right and top–bottom: balanced accuracy of the neighbours in it.

    Args:
        in_map: `atlas.separation` of the map.
        in_plane: of the plane of largest variance.
        shuffled: of the map with labels in another order.
        count: of glyphs of the two structures.
    """
    numbers = {"map": in_map, "plane": in_plane, "shuffled": shuffled, "glyphs": count}
    return Claim("clusters", holds(in_map > 0.95 and shuffled < 0.55), numbers=numbers)


def map_radicals(in_map: Estimate, in_plane: Estimate, shuffled: Estimate) -> Claim:
    """Neighbours in the map share structure: how often a glyph has the radical that most of its neighbours have.

    Args:
        in_map: the share in the map.
        in_plane: in the plane of largest variance.
        shuffled: in the map, with the radicals shuffled.
    """
    estimates = {"map": in_map, "plane": in_plane, "shuffled": shuffled}
    return Claim("map neighbours", holds(in_map.low > 2 * shuffled.high and in_map.low > in_plane.high), estimates)


def map_keeps(in_map: Estimate, in_plane: Estimate, chance: float) -> Claim:
    """The projection to the plane keeps much of the structure: neighbours in pixel space that are neighbours in it.

    Args:
        in_map: the share of the 15 nearest glyphs that are among the 15 nearest in the map.
        in_plane: the same in the plane of largest variance.
        chance: the same of a random map.
    """
    kept = in_map.low > 10 * chance and in_map.low > in_plane.high
    verdict: Verdict = "does not hold"
    if kept:
        verdict = "holds" if in_map.low > 0.5 else "holds with a correction"
    return Claim("map keeps", verdict, {"map": in_map, "plane": in_plane}, {"chance": chance})


def map_density(rank: Estimate, plane: Estimate, shuffled: Estimate) -> Claim:
    """Clusters in the map are regions of high probability: rank correlation of local densities there and in pixels.

    Args:
        rank: Spearman's, of the distances to the 15th neighbour in the map and in pixel space.
        plane: of those in the plane of largest variance and in pixel space.
        shuffled: with one side shuffled.
    """
    estimates = {"map": rank, "plane": plane, "shuffled": shuffled}
    apart = rank.low > shuffled.high
    strong = rank.low > 0.5
    return Claim("map density", holds(True) if strong else corrected(apart and rank.low > 0.1), estimates)
