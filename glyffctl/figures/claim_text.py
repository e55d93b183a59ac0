"""The claims of the guide in words: what is claimed, what was measured, and what would be right instead.

Most of the words are templates in the register, `figures.claims`; those that take more than a template are here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from glyffctl.core.diffusion.schedule import SCHEDULES
from glyffctl.core.estimates import Estimate
from glyffctl.core.theory.claims import EPOCHS, FAR, FEW, MANY, Claim
from glyffctl.core.theory.reverse_claims import AT_ONCE, FROM_TIME, SOLVERS, VARIANCE_STEPS
from glyffctl.core.theory.sampler_error import COMPARED
from glyffctl.core.theory.walks import WALKS
from glyffctl.figures.claims import REGISTER
from glyffctl.figures.claims.entry import fill
from glyffctl.figures.style import signed

_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_MISSING = {
    "data": "needs data: `glyffctl prepare`",
    "model": "needs a model: `glyffctl noise-demo --check --model bundled`, or one of your own",
    "characters": "needs the glyphs of 100 characters or more: `glyffctl prepare`",
    "map": "needs the map of `glyffctl visualize-umap`, and for two clusters its option --ids",
    "pixels": "needs a model that draws pixels: `glyffctl noise-demo --check --model bundled`",
    "training": "needs models that were trained for it; none was measured yet",
}


class ClaimText(NamedTuple):
    """A claim in words: what is claimed, what was measured, and what is right where the claim is not ("" if it is)."""

    says: str
    found: str
    correction: str


def claim_text(claim: Claim, source: str = "") -> ClaimText:
    """Put a claim into words.

    Args:
        claim: of `core.theory.claims`.
        source: what the counted glyphs are, as in "characters with a definition in data"; for the claim "glyphs".
    """
    entry = REGISTER[claim.name]
    if claim.missing is not None:
        return ClaimText(entry.says, _MISSING[claim.missing], "")
    if entry.found:
        right = entry.correction if claim.verdict == "holds with a correction" else entry.instead
        found, correction = fill(entry.found, claim), fill(right, claim)
    elif claim.name == "glyphs":
        found, correction = _glyphs(claim, source)
    else:
        found, correction = _TEXTS[claim.name](claim)
    return ClaimText(entry.says, found, "" if claim.verdict == "holds" else correction)


def _share(figure: Estimate) -> str:
    return f"{round(figure.value * figure.count)} of {figure.count} ({figure.low:.0%} to {figure.high:.0%})"


def _percent(figure: Estimate) -> str:
    return f"{figure.value:.1%} ({figure.low:.1%} to {figure.high:.1%})"


def _reach(figure: Estimate) -> float:
    return figure.high - figure.value


def _glyphs(claim: Claim, source: str) -> tuple[str, str]:
    return (
        f"{claim.numbers['glyphs']:,.0f} {source}",
        "the count depends on the fonts, and on the definitions that are left after cleaning",
    )


def _pictures_seen(claim: Claim) -> tuple[str, str]:
    glyphs, pictures = claim.numbers["glyphs"], claim.numbers["pictures"]
    return f"{EPOCHS} × {glyphs:,.0f} = {pictures / 1e6:.2f} million", "with this data it is another number"


def _parameters(claim: Claim) -> tuple[str, str]:
    n = claim.numbers
    order = f"{n['order']:.0f}".translate(_SUPERSCRIPTS)
    return (
        f"{n['reference']:,.0f} in the reference's sizes; {n['cpu']:,.0f} in our `cpu` preset",
        f"of the order of 10{order}",
    )


def _pure_noise(claim: Claim) -> tuple[str, str]:
    n, shift = claim.numbers, claim.estimates["brightness"]
    return (
        f"the brightness of x_T is off by {signed(shift.value, 3)} ({signed(shift.low, 3)} to "
        f"{signed(shift.high, 3)}) standard deviations; z = {signed(n['z'])} in {n['draws']:,.0f} draws, KS distance "
        f"{n['ks']:.3f}, p = {n['p']:.2g}",
        f"a trace of the brightness of the paper survives: √ᾱ_T is {n['signal']:.4f}",
    )


def _evenness(claim: Claim) -> tuple[str, str]:
    n, e = claim.numbers, claim.estimates
    identity = (
        f"which of {n['glyphs']:,.0f} glyphs it is: the middle 80 % is lost in {_percent(e['identity, linear'])} of "
        f"the linear steps and {_percent(e['identity, cosine'])} of the cosine steps, Gini "
        f"{e['identity gini, linear'].value:.3f} and {e['identity gini, cosine'].value:.3f}"
    )
    detail = (
        f"every grey of a Gaussian of the same covariance: {n['detail, linear']:.1%} and {n['detail, cosine']:.1%}, "
        f"Gini {n['detail gini, linear']:.3f} and {n['detail gini, cosine']:.3f}"
    )
    detail_only = (
        claim.verdict == "holds with a correction"
        and n["detail, cosine"] > n["detail, linear"]
        and n["detail gini, cosine"] < n["detail gini, linear"]
    )
    return (
        f"{identity}; {detail}",
        "of fine detail the cosine schedule is the more even one, of the identity of a glyph the linear one: at this "
        "size a glyph stays recognisable until σ is in the tens"
        if detail_only
        else "",
    )


def _noise_and_score(claim: Claim) -> tuple[str, str]:
    n = claim.numbers
    return (
        f"score = −ε/√(1−ᾱ_t) to {n['worst error']:.0e}; the factor is {signed(n['factor, t = 1'])} at t = 1, "
        f"{signed(n['factor, t = 100'], 2)} at t = 100 and {signed(n['factor, t = 1000'], 2)} at T",
        "the factor, −1/√(1−ᾱ_t), is constant in x and not in t" if claim.verdict == "holds with a correction" else "",
    )


def _score_far_away(claim: Claim) -> tuple[str, str]:
    densities = ", ".join(signed(claim.numbers[f"log density, {distance}"], 0) for distance in FAR)
    lengths = ", ".join(f"{claim.numbers[f'score, {distance}']:,.0f}" for distance in FAR)
    return (
        f"at σ = 0.3, {', '.join(map(str, FAR))} deviations from the middle of the data: log density {densities}, "
        f"length of the score {lengths}",
        "the density tends to zero, but the score grows with the distance; a network has hardly ever trained on "
        "points that far out",
    )


def _one_jump(claim: Claim) -> tuple[str, str]:
    n, mean, variance = claim.numbers, claim.estimates["mean"], claim.estimates["variance"]
    return (
        f"after {n['steps']:.0f} steps mean {mean.value:.4f} ± {_reach(mean):.4f} (expected {n['expected mean']:.4f}), "
        f"variance {variance.value:.4f} ± {_reach(variance):.4f} (expected {n['expected variance']:.4f}); KS distance "
        f"{n['ks']:.4f}, p = {n['p']:.2f} in {mean.count:,} draws",
        "",
    )


def _shrinking(claim: Claim) -> tuple[str, str]:
    kept, grown = claim.estimates["with the factor"], claim.estimates["without"]
    return (
        f"data of variance 1 has after 1,000 linear steps the variance {kept.value:.3f} ± {_reach(kept):.3f} around "
        f"√(1−β)·x0, and {grown.value:.2f} ± {_reach(grown):.2f} around x0",
        "around √(1−β) times the point; without the factor the noise never settles at N(0, 1)"
        if claim.verdict == "holds with a correction"
        else "",
    )


def _few_steps(claim: Claim) -> tuple[str, str]:
    n = claim.numbers
    few = ", ".join(f"{name} {n[f'error, {name}']:.0%}" for name in COMPARED)
    enough = ", ".join(f"{name} {n[f'steps, {name}']:.0f}" for name in COMPARED)
    best = min(COMPARED, key=lambda name: n[f"passes, {name}"])
    return (
        f"error at {FEW} steps: {few}; steps until the error is that of {MANY} steps of ddpm, "
        f"{n['ddpm with many steps']:.1%}: {enough}",
        f"of ddpm; {best} is as good in {n[f'steps, {best}']:.0f} steps",
    )


def _evaluations(claim: Claim) -> tuple[str, str]:
    n = claim.numbers
    passes = ", ".join(f"{name} {n[f'passes, {name}']:.0f}" for name in SOLVERS)
    fewer = [name for name in SOLVERS if n[f"passes, {name}"] <= n["passes, ddpm"] / 2]
    return (
        f"passes until the error of a perfect denoiser's drawings is {n['error']:.0%}: {passes}",
        f"half as many or fewer: {', '.join(fewer) or 'none of them'}",
    )


def _fresh_noise(claim: Claim) -> tuple[str, str]:
    n, e = claim.numbers, claim.estimates
    return (
        f"{WALKS:,} walks under the exact score of one level: {_percent(e['on a mode, without noise'])} end on a mode "
        f"without noise, {_percent(e['on a mode, with noise'])} with it; the heaviest mode gets "
        f"{_percent(e['heaviest, without noise'])} without, {_percent(e['heaviest, with noise'])} with it, and should "
        f"get {n['heaviest, true']:.1%}; all shares: p = {n['p, without noise']:.1g} without, {n['p, with noise']:.2g} "
        f"with it; from pure noise down: ddim p = {n['p, ddim']:.2g}, ddpm p = {n['p, ddpm']:.2g}",
        "a walk at one level is stuck without noise; on the way down from pure noise ddim adds none and has the right "
        "shares, too"
        if claim.verdict == "holds with a correction"
        else "",
    )


def _small_steps(claim: Claim) -> tuple[str, str]:
    laws = ", ".join(
        f"{e.value:.1g} ({e.low:.1g} to {e.high:.1g}) for {count}"
        for count, e in zip(AT_ONCE, claim.estimates.values(), strict=True)
    )
    return (
        f"divergence of the exact law from a Gaussian of its mean and variance, glyphs on one axis, from t = "
        f"{FROM_TIME} of the linear schedule, in nats: {laws} steps at once",
        "not for these data",
    )


def _reverse_variance(claim: Claim) -> tuple[str, str]:
    n = claim.numbers
    errors = "; ".join(
        f"{steps:,} steps: {n[f'β̃, {steps} steps']:.1%} and {n[f'β, {steps} steps']:.1%}" for steps in VARIANCE_STEPS
    )
    ratios = ", ".join(
        f"of {data} {n[f'β̃, variance of {data}']:.2f} and {n[f'β, variance of {data}']:.2f}"
        for data in ("a point", "N(0, 1)")
    )
    return (
        f"error of ddpm on a Gaussian of the glyphs' covariance, with β̃ and with β: {errors}; variance drawn in "
        f"{VARIANCE_STEPS[0]} steps, relative to the true one: {ratios}",
        "with many steps; with few it matters: β̃ is exact for data that are one point, β for N(0, 1)"
        if claim.verdict == "holds with a correction"
        else "neither will do, or both do alike",
    )


def _one_step(claim: Claim) -> tuple[str, str]:
    e = claim.estimates
    return (
        f"“gold” has the metal radical in {_share(e['from T'])} of the pictures of one step from T, in "
        f"{_share(e['from t = 1'])} of one step from t = 1, and in {_share(e['without a prompt'])} of one step from T "
        "without a prompt",
        "one step from T, where there is only noise; one from t = 1 only cleans what it starts from"
        if claim.verdict == "holds with a correction"
        else "",
    )


def _gold(claim: Claim) -> tuple[str, str]:
    figure = claim.estimates["with the radical"]
    return (
        f"{_share(figure)} have it, according to the bundled classifier",
        "most of them" if figure.low > 0.5 else "few of them",
    )


def _new(claim: Claim) -> tuple[str, str]:
    n = claim.numbers
    return (
        f"{_share(claim.estimates['copies'])} are closer to a real glyph than 99 of 100 real glyphs are to another "
        f"character (distance {n['threshold']:.3f}); the median distance is {n['median, drawn']:.2f}, of real glyphs "
        f"{n['median, real']:.2f}",
        "too many are that close, or too few were drawn to decide",
    )


_TEXTS: dict[str, Callable[[Claim], tuple[str, str]]] = {
    "pictures seen": _pictures_seen,
    "parameters": _parameters,
    **{f"pure noise, {name}": _pure_noise for name in SCHEDULES},
    "evenness": _evenness,
    "noise and score": _noise_and_score,
    "score far away": _score_far_away,
    "one jump": _one_jump,
    "shrinking": _shrinking,
    "steps": _few_steps,
    "evaluations": _evaluations,
    "fresh noise": _fresh_noise,
    "small steps": _small_steps,
    "reverse variance": _reverse_variance,
    "one step": _one_step,
    "gold": _gold,
    "new": _new,
}
