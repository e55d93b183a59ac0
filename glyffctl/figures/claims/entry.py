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
_POWER = re.compile(r"(\d)e([+-]\d+)")
_MINUS = re.compile(r"(?<!\w)-(?=\d)")
_PERCENT = re.compile(r"(?<=\d)%")
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


class Entry(NamedTuple):
    """A statement, where it stands, and what is said of its measurement.

    Attributes:
        name: of the `Claim`.
        says: the statement, in our own words: a sentence.
        place: where in the argument it stands, and what hangs on it: sentences that need no other entry.
        source: who says it.
        found: a template of what was measured, see `fill`: sentences, the work before the number, and a control; "" if
            `claim_text` has a function for it.
        correction: a template of what is right where the statement is right with a correction: a clause that goes on
            after a colon.
        instead: the same where the statement is wrong.
    """

    name: str
    says: str
    place: str
    source: Source = "guide"
    found: str = ""
    correction: str = ""
    instead: str = ""


class _Interval:
    """An estimate in a template.

    {e[name]:.1%} is 12.3 % (11.0–13.6), {e[name]:share} is 12 of 98 (7–20 %), and {e[name]:count} is 98. Where a number
    is negative, or has a power of ten, the ends stand with "to" between them: −1.0 (−2.0 to 0.5).
    """

    def __init__(self, estimate: Estimate) -> None:
        self.estimate = estimate

    def __format__(self, spec: str) -> str:
        value, low, high, count = (getattr(self.estimate, name) for name in ("value", "low", "high", "count"))
        if spec == "count":
            return f"{count:,}"
        if spec == "share":
            return f"{round(value * count):,} of {count:,} ({100 * low:.0f}–{100 * high:.0f}%)"
        ends = [format(end, spec) for end in (low, high)]
        plain = all(end[0] != "-" and "e" not in end for end in ends)
        return f"{value:{spec}} ({('–' if plain else ' to ').join(end.removesuffix('%') for end in ends)})"


def fill(template: str, claim: Claim) -> str:
    """`template` with the numbers of a claim: n[name] is a number, e[name] an estimate with its interval."""
    estimates = {name: _Interval(estimate) for name, estimate in claim.estimates.items()}
    return tidy(template.format(n=claim.numbers, e=estimates))


def tidy(text: str) -> str:
    """Numbers as Python writes them, as they are read: 3e-14 becomes 3 × 10⁻¹⁴, 5% becomes 5 %, -1 becomes −1."""
    text = _POWER.sub(lambda found: f"{found[1]} × {power_of_ten(int(found[2]))}" if int(found[2]) else found[1], text)
    return _PERCENT.sub(" %", _MINUS.sub("−", text))


def power_of_ten(exponent: int) -> str:
    """10⁻³, in one line."""
    return "10" + str(exponent).translate(_SUPERSCRIPTS)
