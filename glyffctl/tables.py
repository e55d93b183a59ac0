"""The tables of `glyffctl evaluate`, for a terminal of 80 columns or more."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table

from glyffctl.console import plain
from glyffctl.core.metrics import Figure
from glyffctl.core.wordings import radical_character
from glyffctl.workflows.evaluation import EvaluateReport

_REAL = (
    "Real glyphs: for the radical, the judge on held-out characters; from kernel distance to coverage, glyphs from "
    "training beside held-out ones; for copies, held-out characters beside all other characters."
)


def show_evaluation(report: EvaluateReport, console: Console | None = None) -> None:
    """Print all figures on stdout."""
    console = console or Console(highlight=False)
    console.print(_figures(report))
    console.print(_prompts(report))
    if report.steps:
        console.print(_steps(report))


def _table(title: str, first: str, *others: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1))
    table.add_column(first, min_width=12)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _figures(report: EvaluateReport) -> Table:
    table = _table("Figures, with 95 % intervals", "", "this model", "real glyphs")
    table.caption = _REAL
    table.caption_justify = "left"
    for row in report.figures:
        table.add_row(plain(row.name), _figure(row.model, row.unit), _figure(row.real, row.unit))
    return table


def _prompts(report: EvaluateReport) -> Table:
    table = _table("Pictures with the radical asked for", "prompt", "", "this model", "real glyphs")
    for row in report.prompts:
        radicals = "".join(radical_character(number) for number in row.radicals)
        table.add_row(plain(row.prompt), radicals, _figure(row.found, "share"), _figure(row.real, "share"))
    return table


def _steps(report: EvaluateReport) -> Table:
    table = _table("Samplers and steps", "sampler", "steps", "passes", "radical", "distance", "seconds")
    for row in report.steps:
        table.add_row(
            row.sampler,
            str(row.steps),
            str(row.passes),
            _figure(row.adherence, "share"),
            _figure(row.kernel_distance, "number"),
            f"{row.seconds:.2g}",
            end_section=row.steps == max(other.steps for other in report.steps),
        )
    return table


def _figure(figure: Figure | None, unit: str) -> str:
    if figure is None:
        return ""
    if unit == "share":
        digits = 0 if 0.05 < figure.value < 0.95 else 1
        value, low, high = (f"{100 * x:.{digits}f}" for x in (figure.value, figure.low, figure.high))
        return f"{value} % ({low}…{high})"
    digits = 2 if abs(figure.value) >= 1 else 3
    return f"{figure.value:.{digits}f} ({figure.low:.{digits}f}…{figure.high:.{digits}f})"
