"""Claims about a trained model; the measurements come from `workflows.claims_model`.

Each function decides on one claim, as those of `claims` do.
"""

from __future__ import annotations

from torch import Tensor

from glyffctl.core.estimates import Estimate, mean
from glyffctl.core.theory.claims import Claim, corrected, holds


def text_helps(given: Tensor, nothing: Tensor, wrong: Tensor, sigma: float) -> Claim:
    """A text makes the noise easier to predict: the squared error with the caption, without, and with a wrong one.

    Args:
        given: (N,) errors on held-out glyphs with their captions.
        nothing: (N,) without.
        wrong: (N,) with the caption of another.
        sigma: the noise level.
    """
    gains = mean(nothing - given), mean(wrong - given)
    estimates = {
        "given": mean(given), "nothing": mean(nothing), "wrong": mean(wrong),
        "nothing less given": gains[0], "wrong less given": gains[1],
    }  # fmt: skip
    return Claim("text helps", holds(min(gain.low for gain in gains) > 0), estimates, {"sigma": sigma})


def told_of_time(told: Tensor, half: Tensor, double: Tensor, sigma: float) -> Claim:
    """The network uses the noise level that it is given: its errors where that is half the true one, or twice.

    Args:
        told: (N,) errors at the true level.
        half: (N,) where σ/2 is given.
        double: (N,) where 2σ is given.
        sigma: the noise level.
    """
    losses = mean(half - told), mean(double - told)
    estimates = {
        "told": mean(told), "half": mean(half), "double": mean(double),
        "half less told": losses[0], "double less told": losses[1],
    }  # fmt: skip
    uses = min(loss.low for loss in losses) > 0
    needs = min(loss.low for loss in losses) > estimates["told"].value  # twice the error
    return Claim("told of time", holds(True) if needs else corrected(uses), estimates, {"sigma": sigma})


def generalises(
    network: Tensor, exact: Tensor, known_network: Tensor, known_exact: Tensor, sigma: float, remembered: int
) -> Claim:
    """A network that learned to predict noise generalises: its error on new glyphs, and that of a perfect memory.

    Args:
        network: (N,) errors on glyphs held out of training.
        exact: (N,) of the exact denoiser of glyphs that were not.
        known_network: (M,) errors of the network on glyphs that the exact denoiser has.
        known_exact: (M,) of the exact denoiser.
        sigma: the noise level.
        remembered: how many glyphs the exact denoiser has.
    """
    estimates = {
        "network, new": mean(network), "memory, new": mean(exact),
        "network, known": mean(known_network), "memory, known": mean(known_exact),
    }  # fmt: skip
    better = estimates["network, new"].high < estimates["memory, new"].low
    learns = estimates["memory, known"].high < estimates["network, known"].low
    return Claim("generalises", holds(better and learns), estimates, {"sigma": sigma, "remembered": remembered})


def prompts_followed(drawn: Tensor, unprompted: Tensor, shuffled: Tensor) -> Claim:
    """A text leads to the part of the distribution that it means: pictures with the radical of their prompt.

    Args:
        drawn: (P,) the share of each prompt.
        unprompted: (P,) of pictures drawn without one.
        shuffled: (P,) of pictures of other prompts.
    """
    found = {"drawn": mean(drawn), "unprompted": mean(unprompted), "shuffled": mean(shuffled)}
    led = found["drawn"].low > 5 * max(found["unprompted"].high, found["shuffled"].high)
    return Claim("prompts", holds(led), found)


def looks_real(precision: Estimate, control: Estimate, grey: Estimate, real_grey: Estimate) -> Claim:
    """What is drawn looks like the real: pictures among the real in the judge's features, and their grey pixels.

    Args:
        precision: the share of drawn pictures that are as near to a real glyph as that one to its third neighbour.
        control: of other real glyphs.
        grey: the share of grey pixels of drawn pictures.
        real_grey: of real glyphs.
    """
    near = precision.high >= control.low
    clean = grey.low < 1.25 * real_grey.high
    estimates = {"precision": precision, "control": control, "grey": grey, "grey, real": real_grey}
    return Claim("looks real", holds(True) if near and clean else corrected(near or clean), estimates)


def five_steps(few: Estimate, few_second: Estimate, many: Estimate, real: Estimate) -> Claim:
    """Five steps draw unconvincing characters: grey pixels of what a model draws in five steps of two samplers.

    Args:
        few: in five steps of ddpm.
        few_second: in five of dpmpp-2m.
        many: in twenty of that.
        real: of real glyphs.
    """
    bad, better = few.low > max(real.high, many.high), few_second.high < few.low
    estimates = {"ddpm": few, "dpmpp-2m": few_second, "twenty": many, "real": real}
    return Claim("five steps", corrected(bad) if better else holds(bad), estimates)


def guidance_obeys(shares: dict[float, Tensor]) -> Claim:
    """Guidance makes pictures follow the prompt more closely: the share with its radical, by the strength γ.

    Args:
        shares: (P,) of each prompt by γ, ascending, the first without guidance.
    """
    strengths = list(shares)
    estimates = {f"γ = {strength:g}": mean(each) for strength, each in shares.items()}
    gains = {strength: mean(shares[strength] - shares[strengths[0]]) for strength in strengths[1:]}
    best = max(gains, key=lambda strength: gains[strength].value)
    estimates["gain"] = gains[best]
    verdict = holds(True) if gains[best].low > 0 else corrected(gains[best].value > 0)
    return Claim("guidance obeys", verdict, estimates, {"best": best})


def guidance_narrows(recalls: dict[float, Estimate], varieties: dict[float, Tensor]) -> Claim:
    """Guidance costs variety: how unlike pictures of one prompt are, and recall, by the strength γ.

    Args:
        recalls: the share of real glyphs that are near something drawn, by γ, ascending, the first without guidance.
        varieties: (P,) mean distances between the pictures of each prompt, by γ.
    """
    strengths = list(recalls)
    first, last = strengths[0], strengths[-1]
    estimates = {f"recall, γ = {strength:g}": each for strength, each in recalls.items()}
    estimates |= {f"variety, γ = {strength:g}": mean(each) for strength, each in varieties.items()}
    estimates["loss"] = mean(1 - varieties[last] / varieties[first].clamp(min=1e-9))
    narrower, less = estimates["loss"].low > 0, recalls[last].high < recalls[first].low
    return Claim("guidance narrows", holds(True) if narrower and less else corrected(narrower or less), estimates)
