"""The table of `glyffctl noise-demo --check`."""

from __future__ import annotations

from collections import Counter

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from glyffctl.core.io.names import printable
from glyffctl.display.console import plain
from glyffctl.workflows.noise_check import CheckedClaim, CheckReport

_STYLES = {
    "holds": "green",
    "holds with a correction": "yellow",
    "does not hold": "red",
    "not measured here": "dim",
}


def show_claims(report: CheckReport, console: Console | None = None) -> None:
    """Print a table of the claims on stdout: what is claimed, what was measured, and whether it holds."""
    console = console or Console(highlight=False)
    table = Table(
        title=plain(f"Claims about diffusion, measured on {report.source}"),
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 1),
        show_lines=True,
    )
    table.add_column("claim", ratio=3)
    table.add_column("measured", ratio=6)
    table.add_column("verdict", ratio=3)
    part = ""
    for claim in report.claims:
        if claim.part != part:
            part = claim.part
            table.add_row(Text(printable(part.upper()), "bold"), "", "")
        says = Text.assemble(plain(claim.says), "\n", Text(printable(f"{claim.place} ({claim.source})"), "dim"))
        found = Text.assemble(plain(claim.found), *_aside(claim.measured))
        table.add_row(says, found, _verdict(claim))
    console.print(table)
    counts = Counter(claim.verdict for claim in report.claims)
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
    console.print(plain(f"{len(report.claims)} claims: {told}"))


def _aside(text: str) -> tuple[str, Text] | tuple[()]:
    return ("\n", Text(printable(text), "dim")) if text else ()


def _verdict(claim: CheckedClaim) -> Text:
    correction = f": {claim.correction}" if claim.correction else ""
    return Text.assemble((claim.verdict, _STYLES[claim.verdict]), plain(correction))
