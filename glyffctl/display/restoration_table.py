"""The table of `glyffctl evaluate` of a codec, an upscaler or towers, for a terminal of 80 columns or more."""

from __future__ import annotations

from rich.console import Console

from glyffctl.core.evaluation.reconstruction import ReconstructionRow
from glyffctl.display.evaluation_table import as_text, new_table
from glyffctl.workflows.held_out import HeldOutReport

_MANY = 100  # of which no digit after the point matters


def show_restoration(report: HeldOutReport, console: Console | None = None) -> None:
    """Print all metrics on stdout."""
    console = console or Console(highlight=False)
    columns = list(dict.fromkeys(by for row in report.figures for by in row.of))
    count = report.data["held_out"]
    table = new_table(f"{count:,} glyphs of held-out characters, with 95 % intervals", "", *columns)
    table.columns[0].min_width = 8  # three figures with intervals leave no more
    for row in report.figures:
        table.add_row(row.name, *(_figure(row, by) for by in columns))
    console.print(table)
    console.print(" ".join(f"{row.name.capitalize()}: {row.note}." for row in report.figures), style="dim")


def _figure(row: ReconstructionRow, by: str) -> str:
    """As in the table of a model, but with one more digit where there is little: what comes back is nearly right."""
    figure = row.of.get(by)
    if figure is None:
        return ""
    if figure.value >= _MANY:
        return as_text(figure, row.unit, 0)
    little = figure.value < 0.01
    return as_text(figure, row.unit, (2 if row.unit == "share" else 4) if little else None)
