"""Plot of quality against cost for all samplers, as measured by `glyffctl evaluate --steps-table`."""

from __future__ import annotations

from pathlib import Path

from glyffctl.core.evaluation.report import StepsRow
from glyffctl.figures.style import new_figure, save_figure, style


def save_sampler_comparison(path: Path, rows: list[StepsRow]) -> None:
    """Plot adherence and kernel distance against passes through the network, a line for each sampler, as a PNG.

    Raises:
        OutputError: the path cannot be written.
    """
    with style():
        figure = new_figure(10, 4)
        panels = figure.subplots(1, 2)
        for sampler in dict.fromkeys(row.sampler for row in rows):
            own = [row for row in rows if row.sampler == sampler]
            passes = [row.passes for row in own]
            panels[0].plot(passes, [100 * row.adherence.value for row in own], marker="o", label=sampler)
            panels[1].plot(passes, [row.kernel_distance.value for row in own], marker="o", label=sampler)
        panels[0].set_ylabel("pictures with the radical asked for, %")
        panels[1].set_ylabel("kernel distance from real glyphs")
        for panel in panels:
            panel.set_xscale("log")
            panel.set_xlabel("passes through the network for one picture")
            panel.grid()
            ticks = sorted({row.passes for row in rows})
            panel.set_xticks(
                [tick for tick in ticks if not any(0.8 < other / tick < 1 for other in ticks)], minor=False
            )
            panel.xaxis.set_major_formatter("{x:g}")
            panel.minorticks_off()
        panels[0].set_ylim(0, 100)
        panels[0].legend()
        save_figure(path, figure)
