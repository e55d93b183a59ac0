"""The claims of the guide in words: what is claimed, what was measured, and what would be right instead.

Most of the words are templates in the register, `figures.claims`; those that take more than a template are here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from glyffctl.core.theory.claims import EPOCHS, FEW, MANY, Claim
from glyffctl.core.theory.information import MIDDLE
from glyffctl.core.theory.reverse_claims import SOLVERS
from glyffctl.core.theory.sampler_error import COMPARED
from glyffctl.figures.claims import REGISTER
from glyffctl.figures.claims.entry import fill, power_of_ten

_MISSING = {
    "data": "This needs prepared data, which `glyffctl prepare` makes.",
    "model": "This needs a model. `glyffctl noise-demo --check --model bundled` takes the one that ships, and you can "
    "name one of your own.",
    "characters": "This needs the glyphs of 100 characters or more, which `glyffctl prepare` makes.",
    "map": "This needs the map that `glyffctl visualize-umap` makes. The two clusters in it also need the option "
    "--ids.",
    "pixels": "This needs a model that draws pixels, such as that of `glyffctl noise-demo --check --model bundled`.",
    "training": "This needs models that are trained for the purpose. None has been measured yet.",
}


class ClaimText(NamedTuple):
    """A claim in words.

    Attributes:
        says: what is claimed: a sentence.
        found: what was measured: sentences; or what it needs, if it was not.
        correction: what is right where the claim is not, a clause that goes on after a colon; "" if the claim holds.
    """

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
    if claim.name == "glyphs":
        found, correction = _glyphs(claim, source)
    else:
        right = entry.correction if claim.verdict == "holds with a correction" else entry.instead
        templates = (entry.found, right) if entry.found else _TEXTS[claim.name](claim)
        found, correction = (fill(template, claim) for template in templates)
    return ClaimText(entry.says, found, "" if claim.verdict == "holds" else correction)


def _series(parts: list[str]) -> str:
    """Parts as in "a, b and c"."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _glyphs(claim: Claim, source: str) -> tuple[str, str]:
    return (
        f"There are {claim.numbers['glyphs']:,.0f} {source}.",  # no template: a folder may have any name
        "their number depends on the font, and on the definitions that are left after cleaning",
    )


# Each of the following gives two templates, as an entry of the register has them.


def _pictures_seen(claim: Claim) -> tuple[str, str]:
    millions = claim.numbers["pictures"] / 1e6
    return (
        f"{EPOCHS} epochs of {{n[glyphs]:,.0f}} glyphs are {millions:.2f} million pictures.",
        "with the glyphs here, it is another number of pictures",
    )


def _parameters(claim: Claim) -> tuple[str, str]:
    return (
        "The parameters were counted. The network of glyffuser, the program of the guide, has {n[reference]:,.0f}. "
        "That of our `cpu` preset has {n[cpu]:,.0f}.",
        f"it is of the order of {power_of_ten(round(claim.numbers['order']))}",
    )


def _evenness(claim: Claim) -> tuple[str, str]:
    n = claim.numbers
    if claim.verdict == "does not hold":
        right = "by both measures, the linear schedule is as even or more so"
    elif n["detail, cosine"] > n["detail, linear"] and n["detail gini, cosine"] < n["detail gini, linear"]:
        right = (
            "the cosine schedule is more even in fine detail, but the linear one in the identity of a glyph; a "
            "glyph of this size stays recognisable until σ is in the tens"
        )
    else:
        right = "the cosine schedule is more even in the identity of a glyph, but not in fine detail"
    return (
        f"If every step destroyed as much information, its middle {MIDDLE:.0%} would be lost in {MIDDLE:.0%} of the "
        "steps. For the information about which of {n[glyphs]:,.0f} glyphs it is, this is {e[identity, linear]:.1%} of "
        "the linear steps and {e[identity, cosine]:.1%} of the cosine steps. For that about every grey, of a Gaussian "
        "with the glyphs' covariance, it is {n[detail, linear]:.1%} and {n[detail, cosine]:.1%}. The Gini coefficient "
        "of the losses (0: every step destroys as much; 1: one step destroys everything) is "
        "{e[identity gini, linear]:.3f} and {e[identity gini, cosine]:.3f} for the glyph, and "
        "{n[detail gini, linear]:.3f} and {n[detail gini, cosine]:.3f} for the greys.",
        right,
    )


def _few_steps(claim: Claim) -> tuple[str, str]:
    best = min(COMPARED, key=lambda name: claim.numbers[f"passes, {name}"])
    few = _series([f"{{n[error, {name}]:.0%}} with {name}" for name in COMPARED])
    enough = _series([f"{{n[steps, {name}]:.0f}} with {name}" for name in COMPARED])
    return (
        f"The error of a perfect denoiser's drawings was computed, relative to the standard deviation of the data. In "
        f"{FEW} steps it is {few}. In {MANY} steps of ddpm it is {{n[ddpm with many steps]:.1%}}. The steps that are "
        f"needed for this are {enough}.",
        f"this is so of ddpm; {best} does as well as {MANY} steps of ddpm in {{n[steps, {best}]:.0f}} steps",
    )


def _evaluations(claim: Claim) -> tuple[str, str]:
    n = claim.numbers
    passes = _series([f"{{n[passes, {name}]:.0f}} with {name}" for name in SOLVERS])
    fewer = [name for name in SOLVERS if n[f"passes, {name}"] <= n["passes, ddpm"] / 2]
    return (
        "Passes through the network were counted until the error of a perfect denoiser's drawings is {n[error]:.0%} of "
        f"the standard deviation of the data. It takes {passes}.",
        f"half the passes of ddpm or fewer suffice with {_series(fewer)}, but not with the others"
        if fewer
        else "none of them gets by with half the passes of ddpm",
    )


_TEXTS: dict[str, Callable[[Claim], tuple[str, str]]] = {
    "pictures seen": _pictures_seen,
    "parameters": _parameters,
    "evenness": _evenness,
    "steps": _few_steps,
    "evaluations": _evaluations,
}
