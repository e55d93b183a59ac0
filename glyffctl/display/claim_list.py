"""The claims of `glyffctl noise-demo --check` on a terminal: a block for each."""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

from glyffctl.core.io.names import printable
from glyffctl.core.theory.claims import Verdict
from glyffctl.workflows.noise_check import CheckedClaim, CheckReport

_STYLES: dict[Verdict, str] = {
    "holds": "green",
    "holds with a correction": "yellow",
    "does not hold": "red",
    "not measured here": "dim",
}
_OF_SEVERAL: dict[Verdict, str] = {
    "holds": "hold",
    "holds with a correction": "hold with a correction",
    "does not hold": "do not hold",
    "not measured here": "were not measured here",
}
_NOTE = (
    "Brackets hold 95 % intervals. σ is the standard deviation of the noise, where ink is −1 and paper is 1. t counts "
    "the steps of a schedule, up to T."
)
_WIDEST = 100
_TIED = re.compile(r" (?=[%=≥×])|(?<=[=≥×]) ")
"""Spaces that no line ends at: "σ = 4" and "5 %" stay together."""


def show_claims(report: CheckReport, console: Console | None = None) -> None:
    """Print the claims on stdout: what is claimed, whether it holds, what was measured, and where the claim stands."""
    console = console or Console(highlight=False)

    def show(text: str, style: str = "", indent: str = "  ", until: int | None = None) -> None:
        lines = [Text(indent + line) for line in wrapped(printable(text), min(console.width, _WIDEST) - len(indent))]
        for number, line in enumerate(lines):
            if until is None or number == 0:
                line.stylize(style, len(indent), None if until is None else len(indent) + until)
            console.print(line, soft_wrap=True)

    show(f"Claims about diffusion, measured on {report.source}", "bold", "")
    show(_NOTE, "dim", "")
    part = ""
    for claim in report.claims:
        if claim.part != part:
            part = claim.part
            console.print()
            show(part.upper(), "bold", "")
        console.print()
        show(claim.says, "bold", "")
        show(judged(claim), _STYLES[claim.verdict], until=len(claim.verdict))
        show(claim.found)
        show(whence(claim), "dim")
    console.print()
    show(f"{len(report.claims)} claims: {', '.join(counted(claim.verdict for claim in report.claims))}", "bold", "")


def wrapped(text: str, width: int) -> list[str]:
    """`text` in lines of at most `width` characters; numbers stay with their signs and units."""
    lines = textwrap.wrap(_TIED.sub("\u00a0", text), max(20, width), break_long_words=False, break_on_hyphens=False)
    return [line.replace("\u00a0", " ") for line in lines]


def judged(claim: CheckedClaim) -> str:
    """The verdict on a claim, with what is right instead, as a sentence."""
    said = claim.verdict[0].upper() + claim.verdict[1:]
    return f"{said}: {claim.correction}." if claim.correction else f"{said}."


def whence(claim: CheckedClaim) -> str:
    """Who says it, where in the argument, and when it was measured, if not now."""
    measured = f" Measured: {claim.measured}." if claim.measured else ""
    return f"From {claim.source}. {claim.place}{measured}"


def counted(verdicts: Iterable[Verdict]) -> list[str]:
    """How often each verdict was given, if it was: "34 hold", "1 does not hold"."""
    counts = Counter(verdicts)
    return [
        f"{counts[each]} {each if counts[each] == 1 else several}"
        for each, several in _OF_SEVERAL.items()
        if counts[each]
    ]
