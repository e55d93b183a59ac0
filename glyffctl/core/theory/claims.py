"""What the guide to diffusion says, held to measurements: of diffusion itself, and of what a trained model draws.

Each function measures one claim and answers a `Claim`: what is said, what was found, and whether it holds. Everything
random comes from a seed and has a 95 % interval.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from glyffctl.core.diffusion.samplers import SAMPLERS
from glyffctl.core.diffusion.schedule import Schedule, make_schedule
from glyffctl.core.estimates import Estimate, mean, share
from glyffctl.core.models.config import Config, merge, parse, read_preset
from glyffctl.core.networks.network import build_network, parameter_count
from glyffctl.core.theory import forward
from glyffctl.core.theory.fit import ks_normal, normal_tail
from glyffctl.core.theory.information import Information, detail, gini, middle_share
from glyffctl.core.theory.oracle import FiniteData
from glyffctl.core.theory.solvers import PASSES, error

Verdict = Literal["holds", "holds with a correction", "does not hold", "not measured here"]

EPOCHS = 100
LEVEL = 0.05
"""Below this a probability is not put down to chance."""
COPY = 0.01
"""The share of real glyphs that are as near to another character as what is called a copy."""
ONE_STEP = "one step already leans toward the prompt"
GOLD = "every picture for “gold” has the metal radical"
NEW = "the generated glyphs are new"


@dataclass(frozen=True, slots=True)
class Claim:
    """`says` is the claim, `found` what was measured, `correction` what would be right where the claim is not."""

    name: str
    says: str
    found: str
    verdict: Verdict
    correction: str = ""


def _signed(value: float, digits: int = 1) -> str:
    """A number with a minus that is one."""
    return f"{value:,.{digits}f}".replace("-", "−")


def glyph_count(count: int, source: str) -> Claim:
    """About 21,000 glyphs have an English definition. `count` of them were found in `source`."""
    near = abs(count - 21_000) / 21_000 < 0.05
    return Claim(
        "glyphs",
        "about 21,000 glyphs with English definitions",
        f"{count:,} {source}",
        "holds" if near else "does not hold",
        "" if near else "the count depends on the fonts, and on the definitions that are left after cleaning",
    )


def samples_seen(count: int) -> Claim:
    """100 epochs are about 2 million pictures."""
    seen = EPOCHS * count
    near = abs(seen - 2e6) / 2e6 < 0.1
    return Claim(
        "pictures seen",
        f"{EPOCHS} epochs are about 2 million pictures",
        f"{EPOCHS} × {count:,} = {seen / 1e6:.2f} million",
        "holds" if near else "does not hold",
        "" if near else "with this data it is another number",
    )


def numbers_in_a_glyph(picture: Tensor) -> Claim:
    """A glyph of 128×128 is 16,384 numbers. `picture` (H, W) is one glyph of the data."""
    height, width = picture.shape
    right = picture.numel() == 16_384
    return Claim(
        "numbers",
        "a grey glyph of 128×128 is 16,384 numbers",
        f"{height} × {width} = {picture.numel():,}",
        "holds" if right else "does not hold",
        "" if right else "these glyphs have another size",
    )


def parameters() -> Claim:
    """The network has parameters of the order of 10⁶: the reference's own sizes, built and counted."""

    def count(preset: str) -> int:
        config: Config = parse(merge(read_preset(preset)))
        with torch.device("meta"):
            return parameter_count(build_network(config.network))

    reference, small = count("glyffuser"), count("cpu")
    order = math.floor(math.log10(reference))
    return Claim(
        "parameters",
        "the network has of the order of 10⁶ parameters",
        f"{reference:,} in the reference's sizes; {small:,} in our `cpu` preset",
        "holds" if order == 6 else "does not hold",
        "" if order == 6 else f"of the order of 10{str(order).translate(str.maketrans('0123456789', '⁰¹²³⁴⁵⁶⁷⁸⁹'))}",
    )


def pure_noise(pictures: Tensor, schedule: str, draws: int = 1000, seed: int = 0) -> Claim:
    """x_T is pure noise: the mean brightness of x_T against that of noise, by z-score and Kolmogorov and Smirnov.

    Args:
        pictures: (N, 1, H, W) real glyphs in [−1, 1]; each draw takes the next.
    """
    levels = make_schedule(schedule)
    generator = torch.Generator().manual_seed(seed)
    shifts = []
    for start in range(0, draws, len(pictures)):
        here = pictures[: min(len(pictures), draws - start)]
        shifts.append(forward.brightness(here, float(levels.alpha_bar()[-1]), generator))
    shift = torch.cat(shifts)
    z = float(shift.mean()) * math.sqrt(len(shift))
    distance, chance = ks_normal(shift)
    trace = min(normal_tail(z), chance) < LEVEL / 2  # two tests
    figure = mean(shift)
    return Claim(
        f"pure noise, {schedule}",
        f"x_T of the {schedule} schedule is pure noise",
        f"the brightness of x_T is off by {_signed(figure.value, 3)} ({_signed(figure.low, 3)} to "
        f"{_signed(figure.high, 3)}) of its own scatter; z = {_signed(z)} in {len(shift):,} draws, KS distance "
        f"{distance:.3f}, p = {chance:.2g}",
        "does not hold" if trace else "holds",
        f"a trace of the brightness of the paper survives: √ᾱ_T is {float(levels.alpha_bar()[-1]) ** 0.5:.4f}"
        if trace
        else "",
    )


def evenness(known: Information, variances: Tensor) -> Claim:
    """The cosine schedule destroys information more evenly than the linear one."""
    linear, cosine = make_schedule("linear"), make_schedule("cosine")
    (line, line_gini), (cos, cos_gini) = known.evenness(linear), known.evenness(cosine)
    lost = detail(variances, linear), detail(variances, cosine)
    line_detail, cos_detail = (float(middle_share(each)) for each in lost)
    by_identity = cos.low > line.high and cos_gini.high < line_gini.low
    by_detail = cos_detail > line_detail and float(gini(lost[1])) < float(gini(lost[0]))
    identity = (
        f"which of {2**known.total:,.0f} glyphs it is: the middle 80 % is lost in {line.value:.1%} ({line.low:.1%} to "
        f"{line.high:.1%}) of the linear steps and {cos.value:.1%} ({cos.low:.1%} to {cos.high:.1%}) of the cosine "
        f"steps, Gini {line_gini.value:.3f} and {cos_gini.value:.3f}"
    )
    detailed = (
        f"every grey of a Gaussian of the same covariance: {line_detail:.1%} and {cos_detail:.1%}, Gini "
        f"{float(gini(lost[0])):.3f} and {float(gini(lost[1])):.3f}"
    )
    verdict: Verdict = "holds" if by_identity and by_detail else "does not hold"
    if by_identity != by_detail:
        verdict = "holds with a correction"
    return Claim(
        "evenness",
        "the cosine schedule destroys information more evenly than the linear one",
        f"{identity}; {detailed}",
        verdict,
        "it depends on what is asked: of fine detail the cosine schedule is the more even one, of the identity of a "
        "glyph the linear one, because at this size a glyph stays recognisable until σ is in the tens"
        if by_detail and not by_identity
        else "",
    )


def score_factor(points: Tensor, seed: int = 0) -> Claim:
    """Noise prediction is the score up to a factor: the score by differentiation, the noise from the oracle."""
    schedule = make_schedule("linear")
    data = FiniteData(points.double())
    generator = torch.Generator().manual_seed(seed)
    factors, worst = [], 0.0
    for t in (1, 10, 100, 500, 1000):
        sigma, alpha_bar = float(schedule.sigmas[t - 1]), float(schedule.alpha_bar()[t - 1])
        x0 = data.points[:16]
        eps = torch.randn(x0.shape, generator=generator, dtype=torch.float64)
        z = forward.jump(x0, alpha_bar, eps).requires_grad_()
        level = torch.full((len(x0),), sigma, dtype=torch.float64)
        # log q(z_t) and log q(x; σ) differ by a constant, since x = z/√ᾱ.
        (score,) = torch.autograd.grad(data.log_density(z / alpha_bar**0.5, level).sum(), z)
        with torch.no_grad():
            predicted = (z / alpha_bar**0.5 - data(z / alpha_bar**0.5, level)) / sigma
            ratio = float((score * predicted).sum() / predicted.square().sum())
            expected = -1 / (1 - alpha_bar) ** 0.5
            worst = max(worst, float((score - expected * predicted).norm() / score.norm()))
        factors.append(ratio)
    exact = worst < 1e-6
    return Claim(
        "noise and score",
        "predicting the noise is predicting the score, up to a constant factor",
        f"score = −ε/√(1−ᾱ_t) to {worst:.0e}; the factor is {_signed(factors[0])} at t = 1, {_signed(factors[2], 2)} "
        f"at t = 100 and {_signed(factors[-1], 2)} at T",
        "holds with a correction" if exact else "does not hold",
        "the factor, −1/√(1−ᾱ_t), is constant in x and not in t" if exact else "",
    )


def one_jump(draws: int = 100_000, until: int = 250, seed: int = 0) -> Claim:
    """x_t drawn in one step has the same law as t single steps, from x0 = 0.7: moments, and Kolmogorov and Smirnov."""
    schedule, x0 = make_schedule("linear"), 0.7
    generator = torch.Generator().manual_seed(seed)
    alpha_bar = float(schedule.alpha_bar()[until - 1])
    walked = forward.walk(torch.full((draws,), x0, dtype=torch.float64), schedule, until, generator)
    distance, chance = ks_normal((walked - x0 * alpha_bar**0.5) / (1 - alpha_bar) ** 0.5)
    scale = 1.96 / math.sqrt(draws)
    centre, variance = float(walked.mean()), float(walked.var())
    reach = scale * math.sqrt(variance), scale * math.sqrt(2) * variance
    same = chance > LEVEL / 10  # asked once in twenty runs, a true law would fail at LEVEL
    return Claim(
        "one jump",
        "x_t drawn in one step has the law of t single steps",
        f"after {until} steps mean {centre:.4f} ± {reach[0]:.4f} for {x0 * alpha_bar**0.5:.4f}, variance "
        f"{variance:.4f} ± {reach[1]:.4f} for {1 - alpha_bar:.4f}; KS distance {distance:.4f}, p = {chance:.2f} in "
        f"{draws:,} draws",
        "holds" if same else "does not hold",
    )


def shrinking(draws: int = 20_000, seed: int = 0) -> Claim:
    """A step is a Gaussian around the point it starts from: what becomes of the variance with and without √(1−β)."""
    schedule = make_schedule("linear")
    start = torch.randn(draws, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    start = (start - start.mean()) / start.std()
    kept, grown = (
        float(forward.walk(start, schedule, 1000, torch.Generator().manual_seed(seed + 1), shrink=shrink).var())
        for shrink in (True, False)
    )
    reach = 1.96 * math.sqrt(2 / draws)
    needed = abs(kept - 1) < 2 * reach and grown > 2
    return Claim(
        "shrinking",
        "a noising step is a Gaussian around the point it starts from",
        f"data of variance 1 has after 1,000 linear steps the variance {kept:.3f} ± {reach * kept:.3f} around "
        f"√(1−β)·x0, and {grown:.2f} ± {reach * grown:.2f} around x0",
        "holds with a correction" if needed else "does not hold",
        "around √(1−β) times the point; without the factor the noise never settles at N(0, 1)" if needed else "",
    )


def solvers(variances: Tensor) -> Claim:
    """5 steps are bad and 120 are good: the error of every sampler with a perfect denoiser."""
    schedule = make_schedule("linear")
    few = {name: error(name, variances, schedule, 5) for name in SAMPLERS}
    mark = error("ddpm", variances, schedule, 120)
    enough = {name: fewest_steps(name, variances, schedule, mark) for name in SAMPLERS}
    soonest = min(enough, key=lambda name: enough[name] * PASSES.get(name, 1))
    at_five = ", ".join(f"{name} {value:.0%}" for name, value in few.items())
    needed = ", ".join(f"{name} {steps}" for name, steps in enough.items())
    depends = enough[soonest] < 60 and few["ddpm"] > 2 * mark
    return Claim(
        "steps",
        "5 steps are bad, 120 are good",
        f"error at 5 steps: {at_five}; steps until the error is that of 120 steps of ddpm, {mark:.1%}: {needed}",
        "holds with a correction" if depends else "holds",
        f"of ddpm; {soonest} is as good in {enough[soonest]} steps" if depends else "",
    )


def fewest_steps(sampler: str, variances: Tensor, schedule: Schedule, mark: float, most: int = 120) -> int:
    """The fewest steps, up to `most`, from which on the error of `sampler` is at `mark` or below, by bisection."""
    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        if error(sampler, variances, schedule, middle) <= mark * (1 + 1e-12):
            high = middle
        else:
            low = middle + 1
    return low


def score_far_away(points: Tensor) -> Claim:
    """Where there is no data the score tends to zero: the exact score of flat data, ever farther out.

    Args:
        points: (N, 2) data of about unit variance.
    """
    data = FiniteData(points.double())
    sigma = torch.ones(3, dtype=torch.float64) * 0.3
    out = torch.tensor([[5.0, 0.0], [10.0, 0.0], [20.0, 0.0]], dtype=torch.float64)
    score = (data(out, sigma) - out) / sigma[:, None] ** 2
    lengths = score.norm(dim=1).tolist()
    density = data.log_density(out, sigma).tolist()
    grows = lengths[0] < lengths[1] < lengths[2]
    return Claim(
        "score far away",
        "in regions of low probability the score tends to zero",
        "at σ = 0.3, 5, 10 and 20 deviations from the middle of the data: log density "
        f"{', '.join(_signed(value, 0) for value in density)}, length of the score {lengths[0]:,.0f}, "
        f"{lengths[1]:,.0f} and {lengths[2]:,.0f}",
        "does not hold" if grows else "holds",
        "the density tends to zero, the score grows with the distance; what is small there is the chance that a "
        "network ever learned it"
        if grows
        else "",
    )


def worked_examples() -> Claim:
    """Four worked examples of the formulas, to the digits they are given with."""

    def numbers(*values: float) -> Tensor:
        return torch.tensor(values, dtype=torch.float64)

    cases = [
        (forward.jump(numbers(2.0), 0.81, numbers(-0.5)), numbers(1.582055), 6),
        (forward.guess(numbers(1.2, -0.3), 0.36, numbers(0.5, -1.0)), numbers(1.3333, 0.8333), 4),
        (forward.reverse_mean(numbers(0.7), 0.9, 0.5, numbers(0.2)), numbers(0.7081), 4),
        (forward.jump(numbers(3.0, 0.0), 0.64, numbers(-1.0, 2.0)), numbers(1.8, 1.2), 6),
    ]
    right = sum(torch.equal(got.round(decimals=digits), told) for got, told, digits in cases)
    values = ", ".join("(" + ", ".join(f"{v:.{d}f}" for v in got.tolist()) + ")" for got, _, d in cases)
    return Claim(
        "worked examples",
        "four worked examples of x_t, x̂0 and μ",
        f"{right} of {len(cases)} agree: {values}",
        "holds" if right == len(cases) else "does not hold",
    )


def one_step(noisiest: Estimate, cleanest: Estimate, unprompted: Estimate) -> Claim:
    """One step already leans toward the prompt: how often its picture has the radical that was asked for.

    Args:
        noisiest, cleanest: of pictures drawn for the prompt, in one step from T, and in one from t = 1.
        unprompted: of pictures drawn for no prompt, in one step from T.
    """
    from_noise, from_below = noisiest.low > unprompted.high, cleanest.low > unprompted.high
    verdict: Verdict = "does not hold"
    if from_noise:
        verdict = "holds" if from_below else "holds with a correction"
    return Claim(
        "one step",
        ONE_STEP,
        f"“gold” has the metal radical in {_share(noisiest)} of the pictures of one step from T, in {_share(cleanest)} "
        f"of one step from t = 1, and in {_share(unprompted)} of one step from T without a prompt",
        verdict,
        "one step from T, where the noise is all there is to see; one from t = 1 only cleans what it starts from"
        if from_noise and not from_below
        else "",
    )


def gold(followed: Estimate) -> Claim:
    """Every picture for “gold” has the metal radical: the share of those that have it."""
    every = followed.value == 1
    return Claim(
        "gold",
        GOLD,
        f"{_share(followed)} have it, by the classifier in the box",
        "holds" if every else "does not hold",
        "" if every else "most of them" if followed.low > 0.5 else "few of them",
    )


def newness(drawn: Tensor, real: Tensor) -> Claim:
    """The generated glyphs are new: how many are nearer to a real glyph than 99 of 100 real ones are to another.

    Args:
        drawn: (N,) distances of drawn pictures to the nearest real glyph.
        real: (M,) distances of real glyphs to the nearest glyph of another character.
    """
    threshold = float(real.quantile(COPY))
    copies = share(int((drawn < threshold).sum()), len(drawn))
    new = copies.value <= COPY and copies.high < LEVEL
    return Claim(
        "new",
        NEW,
        f"{_share(copies)} are nearer to a real glyph than 99 of 100 real glyphs are to another character (distance "
        f"{threshold:.3f}); the median distance is {float(drawn.median()):.2f}, of real glyphs "
        f"{float(real.median()):.2f}",
        "holds" if new else "does not hold",
        "" if new else "too many are as near as that, or too few were drawn to tell",
    )


def _share(figure: Estimate) -> str:
    return f"{round(figure.value * figure.count)} of {figure.count} ({figure.low:.0%} to {figure.high:.0%})"


def elsewhere(measured: Collection[str] = ()) -> Iterator[Claim]:
    """The claims that need a trained model, or another command, and where they are measured; but those `measured`."""
    with_model = "needs a model: `glyffctl noise-demo --check --model bundled`, or one of your own"
    with_data = "needs the glyphs of 100 characters or more: `glyffctl prepare`" if "gold" in measured else with_model
    for name, says, where in (
        ("clusters", "two clusters in the UMAP, left–right and top–bottom", "see `glyffctl visualize-umap`"),
        ("one step", ONE_STEP, with_model),
        ("gold", GOLD, with_model),
        ("new", NEW, with_data),
    ):
        if name not in measured:
            yield Claim(name, says, where, "not measured here")
