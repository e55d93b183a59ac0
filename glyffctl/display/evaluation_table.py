"""The tables of `glyffctl evaluate`, for a terminal of 80 columns or more."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table

from glyffctl.core.data.captions import radical_character
from glyffctl.core.estimates import Estimate
from glyffctl.core.evaluation.report import EvaluateReport
from glyffctl.core.models.recipe import Recipe
from glyffctl.display.console import plain

_NOTES = (
    ("the radical asked for", "Real glyphs: for radicals, how often the classifier is right on held-out characters;"),
    ("kernel distance", "from kernel distance to told apart, glyphs from training compared with held-out ones;"),
    ("copies", "for copies, held-out characters compared with all others."),
    (
        "… or one its meaning takes",
        "One its meaning takes: a radical of at least one in eight of the characters with the prompt's meaning.",
    ),
    (
        "told apart from real ones",
        "Told apart: how often a classifier trained for it tells drawn from real glyphs, on characters that it did not "
        "learn from; 50 % is guessing. By shapes: at 64×64 pixels, where edges do not count.",
    ),
    (
        "uneven strokes",
        "Uneven: how much the stroke width varies within a glyph. Sparse, dense: the thirds of the glyphs with the "
        "fewest and the most strokes.",
    ),
    (
        "a part is a known one",
        "Parts: left and right, or upper and lower, where they can be told for sure; the real glyphs show how often "
        "that is.",
    ),
)


def show_evaluation(report: EvaluateReport, console: Console | None = None) -> None:
    """Print all metrics on stdout."""
    console = console or Console(highlight=False)
    console.print(_figures(report))
    console.print(_prompts(report))
    if report.steps:
        console.print(_steps(report))


def new_table(title: str, first: str, *others: str) -> Table:
    """An empty table of figures."""
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1))
    table.add_column(first, min_width=12)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _figures(report: EvaluateReport) -> Table:
    how = Recipe.from_plain(report.recipe).summary()
    table = new_table(f"Figures, with 95 % intervals ({how})", "", "this model", "real glyphs")
    names = {row.name for row in report.figures}
    legends = dict.fromkeys(row.legend for row in report.figures if row.legend)
    table.caption = " ".join([*(note for name, note in _NOTES if name in names), *legends])
    table.caption_justify = "left"
    for row in report.figures:
        table.add_row(plain(row.name), as_text(row.model, row.unit), as_text(row.real, row.unit))
    return table


def _prompts(report: EvaluateReport) -> Table:
    sets = any(row.also for row in report.prompts)
    title = "Pictures with the radical asked for"
    if sets:
        table = new_table(f"{title}, or with the one below “or”", "prompt", "", "this model", "or", "", "real glyphs")
    else:
        table = new_table(title, "prompt", "", "this model", "real glyphs")
    for row in report.prompts:
        more = [_radicals(row.also), f"{100 * row.taken.value:.0f} %" if row.also and row.taken else ""] if sets else []
        found, real = as_text(row.found, "share", digits=0), as_text(row.real, "share", digits=0)
        table.add_row(plain(row.prompt), _radicals(row.radicals), found, *more, real)
    return table


def _radicals(numbers: list[int]) -> str:
    return "".join(map(radical_character, numbers))


def _steps(report: EvaluateReport) -> Table:
    table = new_table("Samplers and steps", "sampler", "steps", "passes", "radical", "distance", "seconds")
    for row in report.steps:
        table.add_row(
            row.sampler,
            str(row.steps),
            str(row.passes),
            as_text(row.adherence, "share"),
            as_text(row.kernel_distance, "number"),
            f"{row.seconds:.2g}",
            end_section=row.steps == max(other.steps for other in report.steps),
        )
    return table


def as_text(figure: Estimate | None, unit: str, digits: int | None = None) -> str:
    """A figure with its interval; `unit` is that of a `Row`."""
    if figure is None:
        return ""
    if unit == "share":
        if digits is None:
            digits = 0 if 0.1 < figure.value < 0.95 else 1
        value, low, high = (f"{100 * x:.{digits}f}" for x in (figure.value, figure.low, figure.high))
        return f"{value} % ({low}…{high})"
    if digits is None:
        digits = 2 if abs(figure.value) >= 1 else 3
    return f"{figure.value:.{digits}f} ({figure.low:.{digits}f}…{figure.high:.{digits}f})"
