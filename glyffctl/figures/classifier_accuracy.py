"""Figure of two classifiers under noise: one that knows it, and one that judges clean pictures."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from glyffctl.core.estimates import Estimate, share
from glyffctl.core.io.bundled import pretrained
from glyffctl.figures.demo_scene import DemoScene, MeasuredFigure
from glyffctl.figures.style import GREY, PALETTE, SMALL, WIDTH, new_figure

FILE_NAME = "noisy_accuracy.json"


@dataclass(frozen=True)
class NoisyAccuracy:
    """How many held-out glyphs two classifiers name rightly, by σ; `examples/measure_classifiers.py` measures it anew.

    Attributes:
        sigma: the noise levels.
        noisy: of the classifier that knows noise, at each.
        clean: of the one that judges clean pictures.
        commonest: of whoever always says the commonest radical.
    """

    sigma: list[float]
    noisy: list[Estimate]
    clean: list[Estimate]
    commonest: Estimate

    @staticmethod
    def read() -> NoisyAccuracy:
        """What ships with the program, measured with both classifiers that ship."""
        plain: dict[str, Any] = json.loads(pretrained(FILE_NAME).read_text(encoding="utf-8"))
        count = plain["glyphs"]
        noisy, clean = ([share(hits, count) for hits in plain[name]] for name in ("noisy", "clean"))
        return NoisyAccuracy(plain["sigma"], noisy, clean, share(plain["commonest"], count))


def draw_classifiers(scene: DemoScene) -> MeasuredFigure:  # noqa: ARG001 (all figures have this signature)
    """Draw the accuracy of both classifiers against σ, with 95 % intervals."""
    known = NoisyAccuracy.read()
    figure = new_figure(WIDTH, 4.2)
    axes = figure.subplots()
    for name, found, colour, marker in (
        ("trained on noisy glyphs", known.noisy, PALETTE[0], "o"),
        ("trained on clean glyphs", known.clean, PALETTE[1], "s"),
    ):
        low, high = [100 * each.low for each in found], [100 * each.high for each in found]
        axes.fill_between(known.sigma, low, high, color=colour, alpha=0.18, linewidth=0)
        axes.plot(
            known.sigma, [100 * each.value for each in found], color=colour, marker=marker, markersize=5, label=name
        )
    axes.axhline(100 * known.commonest.value, color=GREY, linestyle=(0, (3, 2)), linewidth=1)
    axes.text(
        known.sigma[0], 100 * known.commonest.value + 1.5, "always the commonest radical", color=GREY, fontsize=SMALL
    )
    axes.set_xscale("log")
    axes.set_xticks([0.1, 0.3, 1, 3, 10, 30], minor=False)
    axes.minorticks_off()
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_formatter("{x:g} %")
    axes.set_ylim(0, 100)
    axes.set_xlabel("noise level σ")
    axes.set_ylabel("radicals named correctly")
    axes.grid()
    axes.legend(loc="lower left", bbox_to_anchor=(0, 0.12))
    half = [_last_above(known.sigma, found) for found in (known.noisy, known.clean)]
    return MeasuredFigure(
        figure,
        f"{known.noisy[0].count:,} glyphs of characters that neither was trained on, with 95 % intervals. At σ = "
        f"{known.sigma[0]:g} the one trained on noisy glyphs names {known.noisy[0].value:.0%} correctly, the other "
        f"{known.clean[0].value:.0%}.\n"
        f"Of these levels, σ = {half[0]} is the highest at which the first still names half of them, and σ = {half[1]} "
        "the highest for the second. Measured once, with the classifiers that come with the program, not on the glyphs "
        "of this page.",
    )


def _last_above(sigma: list[float], found: list[Estimate]) -> str:
    """The highest of the levels at which at least half are named."""
    above = [level for level, each in zip(sigma, found, strict=True) if each.value >= 0.5]
    return f"{max(above):g}" if above else "none"
