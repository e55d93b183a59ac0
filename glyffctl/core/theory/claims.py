"""Claims of the guide to diffusion, measured: about diffusion itself, and about what a trained model draws.

Each function measures one claim and returns a `Claim`: numbers and a verdict. Everything random depends on a seed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from glyffctl.core.diffusion.samplers import SAMPLERS
from glyffctl.core.diffusion.schedule import make_schedule
from glyffctl.core.estimates import Estimate, mean, share
from glyffctl.core.models.config import Config, merge, parse, read_preset
from glyffctl.core.networks.network import build_network, parameter_count
from glyffctl.core.theory import forward
from glyffctl.core.theory.fit import ks_normal, normal_tail
from glyffctl.core.theory.information import Information, detail_lost, gini, middle_share
from glyffctl.core.theory.oracle import FiniteData
from glyffctl.core.theory.sampler_error import COMPARED, fewest_steps, wasserstein_error

Verdict = Literal["holds", "holds with a correction", "does not hold", "not measured here"]
Missing = Literal["data", "model", "characters", "map", "pixels", "training"]
"""What a claim needs to be measured: prepared data, a model, more characters, `glyffctl visualize-umap`, a model that
draws pixels, or models trained for the purpose."""

GLYPHS, EPOCHS, PICTURES = 21_000, 100, 2_000_000
"""The guide's numbers: glyphs with a definition, epochs of training, pictures seen in them."""
FEW, MANY = 5, 120
"""Steps that the guide calls too few, and enough."""
FAR = (5, 10, 20)
"""Distances from the middle of the data, in standard deviations."""
FACTOR_TIMES = (1, 10, 100, 500, 1000)
LEVEL = 0.05
"""Significance level: below it a probability is not put down to chance."""
COPY = 0.01
"""The share of real glyphs that are as close to another character as what counts as a copy."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The measurement of one claim.

    Attributes:
        name: which claim it is; `figures.claim_text` puts claims into words.
        verdict: whether the claim holds.
        estimates: measured values with their 95 % intervals, by name.
        numbers: other measured and expected values, by name.
        missing: what the measurement lacks, where there is none.
    """

    name: str
    verdict: Verdict
    estimates: dict[str, Estimate] = field(default_factory=dict)
    numbers: dict[str, float] = field(default_factory=dict)
    missing: Missing | None = None


def holds(condition: bool) -> Verdict:
    """The verdict on a claim that is right or wrong."""
    return "holds" if condition else "does not hold"


def corrected(condition: bool) -> Verdict:
    """The verdict on a claim that is right with a correction, or wrong."""
    return "holds with a correction" if condition else "does not hold"


def glyph_count(count: int) -> Claim:
    """About 21,000 glyphs have an English definition; `count` of them were found."""
    return Claim("glyphs", holds(abs(count - GLYPHS) / GLYPHS < 0.05), numbers={"glyphs": count})


def pictures_seen(count: int) -> Claim:
    """100 epochs of `count` glyphs are about 2 million pictures."""
    seen = EPOCHS * count
    verdict = holds(abs(seen - PICTURES) / PICTURES < 0.1)
    return Claim("pictures seen", verdict, numbers={"glyphs": count, "pictures": seen})


def parameters() -> Claim:
    """The network has parameters of the order of 10⁶: builds the reference's sizes and counts."""

    def count(preset: str) -> int:
        config: Config = parse(merge(read_preset(preset)))
        with torch.device("meta"):
            return parameter_count(build_network(config.network))

    reference, small = count("glyffuser"), count("cpu")
    order = math.floor(math.log10(reference))
    return Claim("parameters", holds(order == 6), numbers={"reference": reference, "cpu": small, "order": order})


def pure_noise(pictures: Tensor, schedule: str, draws: int = 1000, seed: int = 0) -> Claim:
    """x_T is pure noise: compares the mean brightness of x_T with that of noise, by z and Kolmogorov–Smirnov tests.

    Args:
        pictures: (N, 1, H, W) real glyphs in [−1, 1]; each draw takes the next.
        schedule: a name in `SCHEDULES`.
        draws: pictures x_T.
        seed: of the noise.
    """
    levels = make_schedule(schedule)
    generator = torch.Generator().manual_seed(seed)
    shifts = []
    for start in range(0, draws, len(pictures)):
        here = pictures[: min(len(pictures), draws - start)]
        shifts.append(forward.brightness(here, float(levels.alpha_bar()[-1]), generator))
    shift = torch.cat(shifts)
    z = float(shift.mean()) * math.sqrt(len(shift))
    distance, p = ks_normal(shift)
    differs = min(normal_tail(z), p) < LEVEL / 2  # two tests
    numbers = {"z": z, "draws": len(shift), "ks": distance, "p": p, "signal": float(levels.alpha_bar()[-1]) ** 0.5}
    return Claim(f"pure noise, {schedule}", holds(not differs), {"brightness": mean(shift)}, numbers)


def evenness(known: Information, variances: Tensor) -> Claim:
    """The cosine schedule destroys information more evenly than the linear one.

    Args:
        known: the information about which glyph it is.
        variances: (K,) of the glyphs along their principal axes, for the information about every detail.
    """
    linear, cosine = make_schedule("linear"), make_schedule("cosine")
    (line, line_gini), (cos, cos_gini) = known.evenness(linear), known.evenness(cosine)
    line_lost, cos_lost = detail_lost(variances, linear), detail_lost(variances, cosine)
    numbers = {
        "glyphs": 2**known.total,
        "detail, linear": float(middle_share(line_lost)),
        "detail, cosine": float(middle_share(cos_lost)),
        "detail gini, linear": float(gini(line_lost)),
        "detail gini, cosine": float(gini(cos_lost)),
    }
    by_identity = cos.low > line.high and cos_gini.high < line_gini.low
    by_detail = (
        numbers["detail, cosine"] > numbers["detail, linear"]
        and numbers["detail gini, cosine"] < numbers["detail gini, linear"]
    )
    estimates = {
        "identity, linear": line,
        "identity, cosine": cos,
        "identity gini, linear": line_gini,
        "identity gini, cosine": cos_gini,
    }
    verdict = corrected(True) if by_identity != by_detail else holds(by_identity)
    return Claim("evenness", verdict, estimates, numbers)


def score_factor(points: Tensor, seed: int = 0) -> Claim:
    """Noise prediction is the score up to a factor: the score by differentiation, the noise from the oracle.

    Args:
        points: (N, …) real glyphs in [−1, 1].
        seed: of the noise.
    """
    schedule = make_schedule("linear")
    data = FiniteData(points.double())
    generator = torch.Generator().manual_seed(seed)
    numbers, worst = {}, 0.0
    for t in FACTOR_TIMES:
        sigma, alpha_bar = float(schedule.sigmas[t - 1]), float(schedule.alpha_bar()[t - 1])
        x0 = data.points[:16]
        eps = torch.randn(x0.shape, generator=generator, dtype=torch.float64)
        z = forward.jump(x0, alpha_bar, eps).requires_grad_()
        level = torch.full((len(x0),), sigma, dtype=torch.float64)
        # log q(z_t) and log q(x; σ) differ by a constant, since x = z/√ᾱ.
        (score,) = torch.autograd.grad(data.log_density(z / alpha_bar**0.5, level).sum(), z)
        with torch.no_grad():
            predicted = (z / alpha_bar**0.5 - data(z / alpha_bar**0.5, level)) / sigma
            expected = -1 / (1 - alpha_bar) ** 0.5
            worst = max(worst, float((score - expected * predicted).norm() / score.norm()))
            numbers[f"factor, t = {t}"] = float((score * predicted).sum() / predicted.square().sum())
    return Claim("noise and score", corrected(worst < 1e-6), numbers={**numbers, "worst error": worst})


def one_jump(draws: int = 100_000, until: int = 250, seed: int = 0) -> Claim:
    """x_t drawn in one step has the distribution of t single steps: moments and a Kolmogorov–Smirnov test, x0 = 0.7.

    Args:
        draws: walks of single steps.
        until: t.
        seed: of the noise.
    """
    schedule, x0 = make_schedule("linear"), 0.7
    generator = torch.Generator().manual_seed(seed)
    alpha_bar = float(schedule.alpha_bar()[until - 1])
    walked = forward.walk(torch.full((draws,), x0, dtype=torch.float64), schedule, until, generator)
    distance, p = ks_normal((walked - x0 * alpha_bar**0.5) / (1 - alpha_bar) ** 0.5)
    centre, variance = float(walked.mean()), float(walked.var())
    estimates = {
        "mean": _normal_estimate(centre, math.sqrt(variance / draws), draws),
        "variance": _normal_estimate(variance, math.sqrt(2 / draws) * variance, draws),
    }
    numbers = {
        "steps": until,
        "expected mean": x0 * alpha_bar**0.5,
        "expected variance": 1 - alpha_bar,
        "ks": distance,
        "p": p,
    }
    # A true claim fails a test at LEVEL once in twenty runs; at a tenth of it once in two hundred.
    return Claim("one jump", holds(p > LEVEL / 10), estimates, numbers)


def _normal_estimate(value: float, deviation: float, count: int) -> Estimate:
    reach = 1.96 * deviation
    return Estimate(value, value - reach, value + reach, count)


def shrinking(draws: int = 20_000, seed: int = 0) -> Claim:
    """A noising step is a Gaussian around its starting point: measures the variance with and without √(1−β).

    Args:
        draws: walks of 1,000 steps, from data of variance 1.
        seed: of the noise.
    """
    schedule = make_schedule("linear")
    start = torch.randn(draws, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    start = (start - start.mean()) / start.std()
    kept, grown = (
        float(forward.walk(start, schedule, 1000, torch.Generator().manual_seed(seed + 1), shrink=shrink).var())
        for shrink in (True, False)
    )
    relative = math.sqrt(2 / draws)
    needed = abs(kept - 1) < 2 * 1.96 * relative and grown > 2
    estimates = {
        "with the factor": _normal_estimate(kept, relative * kept, draws),
        "without": _normal_estimate(grown, relative * grown, draws),
    }
    return Claim("shrinking", corrected(needed), estimates)


def few_steps(variances: Tensor) -> Claim:
    """5 steps are bad and 120 are good: the error of every sampler with a perfect denoiser.

    Args:
        variances: (K,) of the glyphs along their principal axes.
    """
    schedule = make_schedule("linear")
    threshold = wasserstein_error("ddpm", variances, schedule, MANY)
    numbers = {"ddpm with many steps": threshold}
    for name in COMPARED:
        steps = fewest_steps(name, variances, schedule, threshold, MANY)
        numbers[f"error, {name}"] = wasserstein_error(name, variances, schedule, FEW)
        numbers[f"steps, {name}"] = steps
        numbers[f"passes, {name}"] = SAMPLERS[name].passes(steps)
    best = min(COMPARED, key=lambda name: numbers[f"passes, {name}"])
    depends = numbers[f"steps, {best}"] < MANY / 2 and numbers["error, ddpm"] > 2 * threshold
    return Claim("steps", "holds with a correction" if depends else "holds", numbers=numbers)


def score_far_away(points: Tensor) -> Claim:
    """Where there is no data the score tends to zero: the exact score of planar data, at growing distances.

    Args:
        points: (N, 2) data of about unit variance.
    """
    data = FiniteData(points.double())
    sigma = torch.full((len(FAR),), 0.3, dtype=torch.float64)
    out = torch.tensor([[float(distance), 0.0] for distance in FAR], dtype=torch.float64)
    lengths = ((data(out, sigma) - out) / sigma[:, None] ** 2).norm(dim=1).tolist()
    grows = all(near < far for near, far in pairwise(lengths))
    densities = data.log_density(out, sigma).tolist()
    numbers = {f"score, {distance}": length for distance, length in zip(FAR, lengths, strict=True)}
    numbers |= {f"log density, {distance}": value for distance, value in zip(FAR, densities, strict=True)}
    return Claim("score far away", holds(not grows), numbers=numbers)


def one_step(noisiest: Estimate, cleanest: Estimate, unprompted: Estimate) -> Claim:
    """One step already leans toward the prompt: the share of its pictures with the radical of the prompt.

    Args:
        noisiest: of pictures drawn for the prompt, in one step from T.
        cleanest: of pictures drawn for the prompt, in one step from t = 1.
        unprompted: of pictures drawn without a prompt, in one step from T.
    """
    from_noise, from_below = noisiest.low > unprompted.high, cleanest.low > unprompted.high
    verdict: Verdict = "does not hold"
    if from_noise:
        verdict = "holds" if from_below else "holds with a correction"
    return Claim("one step", verdict, {"from T": noisiest, "from t = 1": cleanest, "without a prompt": unprompted})


def gold(followed: Estimate) -> Claim:
    """Every picture for “gold” has the metal radical: the share of those that have it."""
    return Claim("gold", holds(followed.value == 1), {"with the radical": followed})


def novelty(drawn: Tensor, real: Tensor) -> Claim:
    """The generated glyphs are new: how many are closer to a real glyph than 99 of 100 real ones are to another.

    Args:
        drawn: (N,) distances of drawn pictures to the nearest real glyph.
        real: (M,) distances of real glyphs to the nearest glyph of another character.
    """
    threshold = float(real.quantile(COPY))
    copies = share(int((drawn < threshold).sum()), len(drawn))
    numbers = {"threshold": threshold, "median, drawn": float(drawn.median()), "median, real": float(real.median())}
    return Claim("new", holds(copies.value <= COPY and copies.high < LEVEL), {"copies": copies}, numbers)
