"""Claims about what a denoiser answers and how samplers follow it, measured with exact denoisers.

Each function measures one claim, as those of `claims` do.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

from glyffctl.core.diffusion.langevin import walk
from glyffctl.core.diffusion.samplers import SAMPLERS
from glyffctl.core.diffusion.schedule import make_schedule
from glyffctl.core.estimates import Estimate, mean, share
from glyffctl.core.theory import forward
from glyffctl.core.theory.claims import LEVEL, Claim, Verdict, corrected, holds
from glyffctl.core.theory.information import Information
from glyffctl.core.theory.oracle import FiniteData
from glyffctl.core.theory.planar import grid_points, mixture_density, mixture_score
from glyffctl.core.theory.sampler_error import COMPARED, wasserstein_error
from glyffctl.core.theory.walks import PLACES, WEIGHTS, drawn_from_noise, ends, planar_data

GUESSES = 200
STEP_COUNTS = (5, 10, 20, 40, 80, 160)
PATHS, PATH_STEPS = 64, 60
READ_AT = (0.02, 0.1, 0.5, 2.0, 10.0, 80.0)
SCORE_TIMES = (100, 300, 600, 1000)
FAR_START, LOW_LEVEL, LONE_STEPS = 10.0, 0.1, 400
"""Walks at one level start at 10·N(0, I), far from data of unit size, at a level of little noise."""
_COVERED = 1e-3
_SMALL = 1e-3
_UNLIKELY = LEVEL / 10


def best_guess(points: Tensor, known: Information, seed: int = 0) -> Claim:
    """The best guess of the noise is its mean given the picture: its error beside that of two other exact guesses.

    Where half of the bits about which glyph it is are left, so that several are possible. The others are the likeliest
    glyph, and one drawn by its probability, whose squared error is twice that of the mean on average.

    Args:
        points: (N, …) real glyphs in [−1, 1].
        known: the information about which of them it is.
        seed: of the noise.
    """
    data = FiniteData(points.double())
    sigma = float(known.sigmas[int((known.bits.mean(1) - known.total / 2).abs().argmin())])
    generator = torch.Generator().manual_seed(seed)
    own = torch.randint(len(points), (GUESSES,), generator=generator)
    x0 = data.points[own]
    x = x0 + sigma * torch.randn(x0.shape, generator=generator, dtype=torch.float64)
    weights = data.posterior(x, torch.full((GUESSES,), sigma, dtype=torch.float64))
    drawn = torch.multinomial(weights, 1, generator=generator)[:, 0]
    guesses = {
        "mean": (weights @ data.points.flatten(1)).reshape(x.shape),
        "likeliest": data.points[weights.argmax(1)],
        "drawn": data.points[drawn],
    }
    errors = {name: (guess - x0).flatten(1).square().mean(1) for name, guess in guesses.items()}
    gains = {f"{name} less mean": mean(errors[name] - errors["mean"]) for name in ("likeliest", "drawn")}
    best = all(gain.low > 0 for gain in gains.values())
    grey = mean((guesses["mean"].abs() < 0.5).double().flatten(1).mean(1))
    estimates = {name: mean(error) for name, error in errors.items()} | gains | {"grey": grey}
    numbers = {"sigma": sigma, "ratio": float(errors["drawn"].mean() / errors["mean"].mean())}
    return Claim("best guess", holds(best), estimates, numbers)


def noise_or_picture(points: Tensor, seed: int = 0) -> Claim:
    """Predicting the noise is predicting the picture: there and back, and what becomes of an error on the way.

    Args:
        points: (N, …) real glyphs in [−1, 1].
        seed: of the noise.
    """
    schedule = make_schedule("linear")
    x0 = points[:16].double()
    eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    worst, numbers = 0.0, {}
    for t in (1, 500, 1000):
        alpha_bar = float(schedule.alpha_bar()[t - 1])
        z = forward.jump(x0, alpha_bar, eps)
        worst = max(worst, float((forward.x0_from_eps(z, alpha_bar, eps) - x0).abs().max()))
        off = forward.x0_from_eps(z, alpha_bar, eps * 1.01) - x0
        numbers[f"error, t = {t}"] = float(off.square().mean().sqrt() / (0.01 * eps.square().mean().sqrt()))
    same = worst < 1e-9
    apart = numbers["error, t = 1000"] > 10 * numbers["error, t = 1"]
    verdict = corrected(same) if apart else holds(same)
    return Claim("noise or picture", verdict, numbers={"worst": worst, **numbers})


def readable_level(pictures: Tensor, seed: int = 0) -> Claim:
    """A network has to be told how noisy a picture is: how well one picture alone tells it.

    The level is read off differences d = (a − b − c + d')/2 of each 2×2 block, which the strokes hardly touch: σ is the
    median of |d| over 0.6745, the robust estimate of Donoho and Johnstone (1994, "Ideal spatial adaptation by wavelet
    shrinkage", section 3).

    Args:
        pictures: (N, 1, H, W) in [−1, 1].
        seed: of the noise.
    """
    generator = torch.Generator().manual_seed(seed)
    some = pictures[:100]
    estimates = {}
    for sigma in READ_AT:
        x = (some + sigma * torch.randn(some.shape, generator=generator))[:, 0]
        a, b, c, d = x[:, ::2, ::2], x[:, ::2, 1::2], x[:, 1::2, ::2], x[:, 1::2, 1::2]
        read = ((a - b - c + d) / 2).abs().flatten(1).median(1).values / 0.6745
        estimates[f"σ = {sigma:g}"] = mean((read.double() / sigma - 1).abs())
    read_off = all(each.high < 0.1 for each in estimates.values())
    return Claim("readable level", holds(not read_off), estimates)


def closer_steps(variances: Tensor) -> Claim:
    """The closer the steps, the better the approximation: the error of every sampler as the steps double.

    Args:
        variances: (K,) of the glyphs along their principal axes.
    """
    schedule = make_schedule("linear")
    numbers: dict[str, float] = {}
    falls: dict[str, bool] = {}
    for name in COMPARED:
        errors = [wasserstein_error(name, variances, schedule, steps) for steps in STEP_COUNTS]
        falls[name] = all(few > many for few, many in pairwise(errors))
        numbers |= {f"{name}, {steps}": error for steps, error in zip(STEP_COUNTS, errors, strict=True)}
    numbers["falling"] = sum(falls.values())
    verdict: Verdict = "holds" if all(falls.values()) else corrected(any(falls.values()))
    return Claim("closer steps", verdict, numbers=numbers)


def landing(points: Tensor, seed: int = 0) -> Claim:
    """Without fresh noise the way is fixed by its start, and still ends on data: where exact denoisers lead.

    Args:
        points: (N, 1, H, W) glyphs, small enough for many passes.
        seed: of the starts.
    """
    data = FiniteData(points.double())
    sigmas = make_schedule("karras").steps(PATH_STEPS)
    generator = torch.Generator().manual_seed(seed)
    start = float(sigmas[0]) * torch.randn(PATHS, *points.shape[1:], generator=generator, dtype=torch.float64)

    def end(sampler: str, noise: int) -> Tensor:
        fresh = torch.Generator().manual_seed(noise)
        *_, last = SAMPLERS[sampler](
            data, start, sigmas, lambda _: torch.randn(start.shape, generator=fresh, dtype=start.dtype)
        )
        return last.x

    flat = data.points.flatten(1)

    def near(x: Tensor) -> tuple[Tensor, Tensor]:
        apart = torch.cdist(x.flatten(1), flat)
        return apart.min(1).values / flat.norm(dim=1).mean(), apart.argmin(1)

    (off, first), (_, again) = near(end("ddim", seed + 1)), near(end("ddim", seed + 2))
    (_, one), (_, other) = near(end("ddpm", seed + 1)), near(end("ddpm", seed + 2))
    landed = share(int((off < 0.01).sum()), PATHS)
    half = sigmas[: len(sigmas) // 2]
    *_, early = SAMPLERS["ddim"](data, start, half, lambda _: torch.zeros_like(start))
    stopped = share(int((near(early.x)[0] < 0.01).sum()), PATHS)
    same, noisy = share(int((first == again).sum()), PATHS), share(int((one == other).sum()), PATHS)
    right = landed.low > 0.9 and stopped.high < 0.5 and same.value == 1 and noisy.high < 1
    estimates = {"on data": landed, "half way": stopped, "ddim again": same, "ddpm again": noisy}
    return Claim("landing", holds(right), estimates)


def uphill(plane: Tensor, seed: int = 0) -> Claim:
    """The score points to the regions of highest density: where it leads, and in which direction the densest place is.

    Args:
        plane: (N, 2) glyphs on their principal axes.
        seed: of the places.
    """
    alpha_bar = make_schedule("linear").alpha_bar()
    generator = torch.Generator().manual_seed(seed)
    line = torch.linspace(-3, 3, 201, dtype=torch.float64)
    estimates = {}
    for t in (SCORE_TIMES[0], SCORE_TIMES[-1]):
        level = float(alpha_bar[t - 1])
        places = 2 * torch.randn(500, 2, generator=generator, dtype=torch.float64)
        arrows = mixture_score(plane, places, level)
        unit = arrows / arrows.norm(dim=1, keepdim=True)
        around = torch.randn(unit.shape, generator=generator, dtype=torch.float64)
        around = around / around.norm(dim=1, keepdim=True)
        sigma = torch.full((len(places),), ((1 - level) / level) ** 0.5, dtype=torch.float64)

        def density(z: Tensor, scale: float = level**0.5, sigma: Tensor = sigma) -> Tensor:
            return FiniteData(plane).log_density(z / scale, sigma)

        here = density(places)
        peak = grid_points(line)[int(mixture_density(plane, line, level).flatten().argmax())]
        towards = peak - places
        towards = towards / towards.norm(dim=1, keepdim=True).clamp(min=1e-9)
        for name, hits in (
            ("rises", density(places + _SMALL * unit) > here),
            ("rises, any way", density(places + _SMALL * around) > here),
            ("to the densest", (unit * towards).sum(1) > math.cos(math.pi / 6)),
        ):
            estimates[f"{name}, t = {t}"] = share(int(hits.sum()), len(places))
    early, late = SCORE_TIMES[0], SCORE_TIMES[-1]
    rises = all(estimates[f"rises, t = {t}"].low > estimates[f"rises, any way, t = {t}"].high for t in (early, late))
    straight = estimates[f"to the densest, t = {early}"].low > 0.9
    return Claim("uphill", holds(rises) if straight else corrected(rises), estimates)


def coverage(plane: Tensor) -> Claim:
    """The noisier, the more of the space has density, and a score to follow: the covered share of a square.

    Args:
        plane: (N, 2) glyphs on their principal axes.
    """
    alpha_bar = make_schedule("linear").alpha_bar()
    line = torch.linspace(-3, 3, 201, dtype=torch.float64)
    covered = []
    for t in SCORE_TIMES:
        density = mixture_density(plane, line, float(alpha_bar[t - 1]))
        covered.append(float((density > _COVERED * density.max()).double().mean()))
    grows = all(less < more for less, more in pairwise(covered)) and covered[-1] > 1.2 * covered[0]
    numbers = {f"t = {t}": part for t, part in zip(SCORE_TIMES, covered, strict=True)}
    return Claim("coverage", holds(grows), numbers=numbers)


def many_levels(seed: int = 0) -> Claim:
    """Many noise levels lead from anywhere to data: Langevin dynamics at one low level, and down through all.

    Args:
        seed: of the starts and the noise.
    """
    generator = torch.Generator().manual_seed(seed)
    places = torch.tensor(PLACES, dtype=torch.float64)
    expected = torch.tensor(WEIGHTS, dtype=torch.float64) / sum(WEIGHTS)
    x = FAR_START * torch.randn(1000, 1, 1, 2, generator=generator, dtype=torch.float64)

    def draw(_: int) -> Tensor:
        return torch.randn(x.shape, generator=generator, dtype=x.dtype)

    lone, _ = walk(planar_data(), x, LOW_LEVEL, draw, 0, snr=0.2, count=LONE_STEPS)
    alone, through = (
        ends(lone.reshape(-1, 2), places, expected),
        ends(drawn_from_noise(seed, "langevin"), places, expected),
    )
    estimates: dict[str, Estimate] = {"heaviest, one level": alone.shares[0], "heaviest, all levels": through.shares[0]}
    numbers = {"heaviest, true": float(expected[0]), "p, one level": alone.p, "p, all levels": through.p}
    needed = alone.p < _UNLIKELY < through.p
    return Claim("many levels", holds(needed), estimates, numbers)
