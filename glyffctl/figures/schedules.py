"""Figures of the noise schedules: a glyph under noise, the signal that is left, and whether x_T is pure noise."""

from __future__ import annotations

import math
from typing import Any

import torch

from glyffctl.core.diffusion.schedule import make_schedule
from glyffctl.core.theory import forward
from glyffctl.core.theory.fit import ks_normal
from glyffctl.core.theory.information import MIDDLE
from glyffctl.core.theory.oracle import FiniteData
from glyffctl.figures.demo_scene import DemoScene, MeasuredFigure, show_picture
from glyffctl.figures.style import GREY, INK, PALETTE, WIDTH, new_figure, signed

NAMES = ("linear", "cosine", "karras")
COLOURS = dict(zip(NAMES, PALETTE, strict=False))
DASHES = dict(zip(NAMES, ("-", (0, (5, 2)), (0, (1.5, 1.5))), strict=True))
STRIP = 9
BRIGHTNESSES = 1000
TIMES, CAPTION_TIMES = (1, 2, 5, 10, 30, 100, 300, 1000), (1, 100, 1000)
"""Steps at which the factor is measured, and those that the caption gives."""
FACTOR_GLYPHS = 100
"""Glyphs of the exact denoiser that the factor is measured on: it is the same for any data."""


def draw_schedules(scene: DemoScene) -> MeasuredFigure:
    """Draw a glyph under the same noise in three schedules; below SNR, ᾱ and the information lost in each step."""
    figure = new_figure(WIDTH, 5.1)
    halves: Any = figure.subfigures(2, 1, height_ratios=(2.6, 2.5))
    grid = halves[0].subplots(len(NAMES), STRIP)
    panels = halves[1].subplots(1, 3)
    eps = scene.noise(scene.glyph)
    bits, sentences = scene.known, []
    for row, name in zip(grid, NAMES, strict=True):
        schedule = make_schedule(name)
        count = len(schedule.sigmas)
        alpha_bar = schedule.alpha_bar()
        for axes, t in zip(row, torch.linspace(0, count, STRIP).long().tolist(), strict=True):
            show_picture(axes, forward.jump(scene.glyph, float(alpha_bar[t - 1]) if t else 1.0, eps))
            if name == NAMES[0]:
                axes.set_title(f"t = {t}" if t == 0 else f"{t:,}", loc="center")
        row[0].set_ylabel(name, color=COLOURS[name], weight="bold")
        time = torch.arange(1, count + 1)
        look = {"color": COLOURS[name], "linestyle": DASHES[name], "label": name}
        panels[0].plot(time, schedule.sigmas**-2, **look)
        panels[1].plot(time, alpha_bar, **look)
        panels[2].plot(time, bits.lost(schedule), **look)
        share, gini = bits.evenness(schedule)
        left = bits.left_at_end(schedule)
        sentences.append(
            f"{name}: the middle {MIDDLE:.0%} of the information is lost in {share.value:.1%} of the steps "
            f"({share.low:.1%} to {share.high:.1%}), Gini {gini.value:.2f}, and {left.value:.2f} bits are "
            "left at the end."
        )
    panels[0].set_yscale("log")
    panels[0].set_ylim(1e-5, 1e5)
    panels[0].set_yticks([1e-4, 1e-2, 1, 1e2, 1e4])
    panels[0].yaxis.set_major_formatter("{x:g}")
    panels[0].set_title("signal over noise")
    panels[1].set_title("share of signal, ᾱ")
    panels[2].set_title("bits lost in a step")
    # The last steps of the cosine schedule are a narrow peak; the axis is scaled for the other two.
    tops = sorted(float(bits.lost(make_schedule(name)).max()) for name in NAMES)
    if tops[-1] > 3 * tops[-2]:
        panels[2].set_ylim(0, 1.9 * tops[-2])
        tallest = max(NAMES, key=lambda name: float(bits.lost(make_schedule(name)).max()))
        panels[2].text(
            0.9, 0.97, f"up to {tops[-1]:.2f}", transform=panels[2].transAxes, ha="right", va="top",
            color=COLOURS[tallest],
        )  # fmt: skip
    for axes in panels:
        axes.set_xlabel("step t")
        axes.set_xlim(0, None)
        axes.locator_params(axis="x", nbins=3)
        axes.grid()
    panels[1].legend(handlelength=2.6)
    return MeasuredFigure(
        figure,
        "\n".join(
            [
                f"“Which glyph is it?” has {2**bits.total:,.0f} answers here, which is {bits.total:.2f} bits of "
                f"information. How much of that a noisy glyph still holds is measured by the exact posterior of "
                f"{bits.bits.shape[1]} noisy glyphs. Gini's coefficient says how unevenly the steps share the loss: 0 "
                "if all destroy the same amount, 1 if one destroys everything. In brackets are 95 % intervals.",
                *sentences,
            ]
        ),
    )


def draw_pure_noise(scene: DemoScene) -> MeasuredFigure:
    """Draw the brightness of many x_T under each schedule, beside that of pure noise."""
    figure = new_figure(WIDTH, 3.0)
    panels = figure.subplots(1, len(NAMES), sharey=True)
    x = torch.linspace(-4, 4, 201)
    density = torch.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
    sentences = []
    for axes, name in zip(panels, NAMES, strict=True):
        alpha_bar, generator = float(make_schedule(name).alpha_bar()[-1]), scene.generator()
        rounds = -(-BRIGHTNESSES // len(scene.glyphs))
        shift = torch.cat([forward.brightness(scene.glyphs, alpha_bar, generator) for _ in range(rounds)])[
            :BRIGHTNESSES
        ]
        z = float(shift.mean()) * math.sqrt(len(shift))
        distance, chance = ks_normal(shift)
        axes.hist(shift.tolist(), bins=torch.linspace(-4, 4, 33).tolist(), density=True, color=COLOURS[name], alpha=0.4)
        axes.plot(x, density, color=INK)
        axes.axvline(0, color=GREY, linewidth=0.8)
        axes.axvline(float(shift.mean()), color=COLOURS[name], linestyle=(0, (3, 2)))
        axes.set_title(f"{name}: z = {signed(z)}", color=COLOURS[name], weight="bold")
        sentences.append(f"{name}: z = {signed(z)}, Kolmogorov's distance {distance:.3f}, p {_p_value(chance)}.")
    panels[0].set_ylabel("density")
    figure.supxlabel("brightness at the last step, in standard deviations of pure noise", fontsize=10)
    return MeasuredFigure(
        figure,
        "\n".join(
            [
                f"{BRIGHTNESSES:,} glyphs at the last step under each schedule. z is how many standard errors their "
                "mean brightness is off; Kolmogorov's distance is the widest gap between their cumulative distribution "
                "and that of pure noise, from 0 to 1; p is the probability of a gap as wide by chance.",
                *sentences,
            ]
        ),
    )


def draw_score_factor(scene: DemoScene) -> MeasuredFigure:
    """Draw the factor between noise and score over t, by formula and as measured on the exact denoiser."""
    figure = new_figure(WIDTH, 4)
    axes = figure.subplots()
    eps, sentences = scene.noise(scene.glyph.double())[None], []
    for name in NAMES:
        schedule = make_schedule(name)
        alpha_bar = schedule.alpha_bar()
        count = len(alpha_bar)
        axes.plot(
            torch.arange(1, count + 1), (1 - alpha_bar) ** -0.5, color=COLOURS[name], linestyle=DASHES[name], label=name
        )
        measured = [measured_factor(scene, schedule.sigmas[t - 1 : t], eps) for t in TIMES]
        axes.plot(TIMES, measured, linestyle="", marker="o", markersize=6, color=COLOURS[name], markerfacecolor="white")
        sentences.append(
            f"{name} "
            + ", ".join(
                f"{value:.4g} at t = {t:,}" for value, t in zip(measured, TIMES, strict=True) if t in CAPTION_TIMES
            )
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("step t")
    axes.set_title("1/√(1−ᾱ): how many times longer the score is than the noise")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.grid()
    axes.plot([], [], linestyle="", marker="o", color=GREY, markerfacecolor="white", label="measured")
    axes.legend(handlelength=2.6)
    return MeasuredFigure(
        figure, "Length of the score over length of the noise, measured: " + "; ".join(sentences) + "."
    )


def _p_value(p: float) -> str:
    return f"= {p:.2f}" if p >= 0.01 else f"= {p:.3f}" if p >= 0.001 else "< 0.001"


def measured_factor(scene: DemoScene, sigma: torch.Tensor, eps: torch.Tensor) -> float:
    """‖score‖/‖predicted noise‖ in DDPM's terms at one noisy glyph, the score by automatic differentiation.

    Args:
        scene: the glyph, and the data of the exact denoiser.
        sigma: (1,) the noise level.
        eps: (1, 1, H, W) the noise.
    """
    x0, scale = scene.glyph.double()[None], (1 + sigma**2).sqrt()
    z = ((x0 + sigma * eps) / scale).requires_grad_()
    data = FiniteData(scene.glyphs[:FACTOR_GLYPHS].double())
    (score,) = torch.autograd.grad(data.log_density(z * scale, sigma).sum(), z)
    with torch.no_grad():
        x = z * scale
        predicted = (x - data(x, sigma)) / sigma
    return float(score.norm() / predicted.norm())
