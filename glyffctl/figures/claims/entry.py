"""An entry of the register of claims, and the templates that put its numbers into words."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from glyffctl.core.estimates import Estimate
from glyffctl.core.theory.claims import Claim

Source = Literal["guide", "companion", "lesson"]
SOURCES: dict[Source, str] = {
    "guide": "the guide",
    "companion": "the companion “Intuition of Diffusion Models”",
    "lesson": "the lesson “Diffusion Models” of a curriculum",
}
"""Who says it: the guide, or one of the two texts that it is read with."""
_MINUS = re.compile(r"(?<!\w)-(?=\d)")


class Entry(NamedTuple):
    """A statement, where it stands, and what is said of its measurement.

    Attributes:
        name: of the `Claim`.
        says: the statement, in our own words.
        place: where in the argument it stands, and what hangs on it.
        source: who says it.
        found: a template of what was measured, see `fill`; "" if `claim_text` has a function for it.
        correction: a template of what is right where the statement is right with a correction.
        instead: a template of what is right where the statement is wrong.
    """

    name: str
    says: str
    place: str
    source: Source = "guide"
    found: str = ""
    correction: str = ""
    instead: str = ""


class _Interval:
    """An estimate in a template: {e[name]:.1%} is 12.3% (11.0% to 13.6%), {e[name]:share} 12 of 98 (7% to 20%)."""

    def __init__(self, estimate: Estimate) -> None:
        self.estimate = estimate

    def __format__(self, spec: str) -> str:
        value, low, high, count = (getattr(self.estimate, name) for name in ("value", "low", "high", "count"))
        if spec == "share":
            return f"{round(value * count)} of {count} ({low:.0%} to {high:.0%})"
        if spec == "count":
            return f"{count:,}"
        return f"{value:{spec}} ({low:{spec}} to {high:{spec}})"


def fill(template: str, claim: Claim) -> str:
    """`template` with the numbers of a claim: n[name] is a number, e[name] an estimate with its interval."""
    estimates = {name: _Interval(estimate) for name, estimate in claim.estimates.items()}
    return _MINUS.sub("−", template.format(n=claim.numbers, e=estimates))
