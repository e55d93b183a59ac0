"""The table of `glyffctl noise-demo --check`."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from glyffctl.display.console import plain
from glyffctl.workflows.noise_demo import CheckedClaim, CheckReport

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
    for claim in report.claims:
        table.add_row(plain(claim.says), plain(claim.found), _verdict(claim))
    console.print(table)


def _verdict(claim: CheckedClaim) -> Text:
    correction = f": {claim.correction}" if claim.correction else ""
    return Text.assemble((claim.verdict, _STYLES[claim.verdict]), plain(correction))
