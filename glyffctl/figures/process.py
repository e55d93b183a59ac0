"""Figures of one glyph under noise: the forward and reverse process, and what denoisers predict."""

from __future__ import annotations

import math
from typing import Any

import torch
from matplotlib.patches import FancyArrowPatch
from torch import Tensor

from glyffctl.core.diffusion.denoiser import Denoise
from glyffctl.core.theory import forward
from glyffctl.figures.demo_scene import DemoScene, MeasuredFigure, show_picture
from glyffctl.figures.style import DIFFERENCE, GREY, INK, PALETTE, WIDTH, new_figure

MIDDLE = 300
"""The t of the pair of neighbours in `process`."""
TIMES = (100, 300, 500, 700, 900)


def noisy_chain(scene: DemoScene, times: tuple[int, ...]) -> list[Tensor]:
    """The glyph after each of `times` (ascending) steps of one random walk into noise: each (1, H, W)."""
    generator = scene.generator()
    betas = forward.betas(scene.schedule).tolist()
    z, seen = scene.glyph.double(), []
    for t, beta in enumerate(betas[: max(times)], 1):
        z = forward.step(z, beta, torch.randn(z.shape, generator=generator, dtype=z.dtype))
        if t in times:
            seen.append(z)
    return seen


def draw_process(scene: DemoScene) -> MeasuredFigure:
    """Draw the chain from noise (left) to the glyph (right), with p above and q below, after Ho et al. 2020."""
    last = len(scene.schedule.sigmas)
    before, middle, noise = noisy_chain(scene, (MIDDLE - 1, MIDDLE, last))
    pictures = (noise, middle, before, scene.glyph)
    names = ("$x_T$", "$x_t$", "$x_{t-1}$", "$x_0$")
    side, outer, inner = 1.2, 0.6, 1.38
    lefts = (0.0, side + outer, 2 * side + outer + inner, 3 * side + 2 * outer + inner)
    width = lefts[-1] + side
    figure = new_figure(WIDTH, 2.75)
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set_xlim(-0.02, width + 0.02)
    axes.set_ylim(-0.8, 1.85)
    axes.set_aspect("equal")
    for left, picture, name in zip(lefts, pictures, names, strict=True):
        show_picture(axes.inset_axes((left, 0, side, side), transform=axes.transData), picture.float())
        axes.text(left + side / 2, -0.08, name, ha="center", va="top", fontsize=14)
    level = side / 2

    def arrow(
        start: tuple[float, float], end: tuple[float, float], colour: str, bend: float = 0, dash: bool = False
    ) -> None:
        axes.add_patch(
            FancyArrowPatch(
                start, end, arrowstyle="-|>", mutation_scale=15, color=colour, linewidth=1.8, shrinkA=0, shrinkB=0,
                linestyle=(0, (4, 2)) if dash else "-", connectionstyle=f"arc3,rad={bend}",
            )
        )  # fmt: skip

    for left in (lefts[0] + side, lefts[2] + side):  # many steps in between
        arrow((left + 0.07, level), (left + outer - 0.07, level), GREY)
        axes.text(left + outer / 2, level + 0.08, "⋯", ha="center", va="bottom", fontsize=16, color=GREY)
    from_x, to_x = lefts[1] + side + 0.07, lefts[2] - 0.07
    arrow((from_x, level + 0.12), (to_x, level + 0.12), PALETTE[0], -0.25)
    arrow((to_x, level - 0.12), (from_x, level - 0.12), PALETTE[1], -0.25, dash=True)
    centre = (from_x + to_x) / 2
    for up, colour, formula, words in (
        (1, PALETTE[0], r"$p_\theta(x_{t-1}|x_t)$", "takes noise away: learned"),
        (-1, PALETTE[1], "$q(x_t|x_{t-1})$", "adds noise: known"),
    ):
        look: Any = {"ha": "center", "va": "bottom" if up > 0 else "top", "color": colour}
        axes.text(centre, level + up * 0.38, formula, fontsize=13.5, **look)
        axes.text(centre, level + up * (side / 2 + (0.27 if up > 0 else 0.45)), words, **look)
    for left, name in ((lefts[0], "noise"), (lefts[3], scene.name)):
        axes.text(left + side / 2, side + 0.08, name, ha="center", va="bottom", color=INK, fontsize=12)
    beta = float(forward.betas(scene.schedule)[MIDDLE - 1])
    alpha_bar = float(scene.schedule.alpha_bar()[MIDDLE - 1])
    return MeasuredFigure(
        figure,
        f"Shown is step t = {MIDDLE} of {last:,}, {scene.schedule_name} schedule. That step adds noise with a standard "
        "deviation "
        f"of {beta**0.5:.3f}; after it {alpha_bar:.0%} of the variance is still the glyph's. From one neighbour to the "
        f"other a pixel changes by {float((middle - before).square().mean().sqrt()):.3f} (root mean square).",
    )


def draw_loop(scene: DemoScene, model: Denoise | None) -> MeasuredFigure:
    """Draw a noisy glyph, the predictions of the exact denoiser and of a model, and their errors, at several t.

    The error is in the noise: predicted minus true, in deviations of the noise. Each row has its own scale, the same
    for both denoisers, since the errors of different rows differ too much for one.

    Args:
        scene: the glyph, and the data of the exact denoiser.
        model: x (B, 1, H, W) float32 and σ (B,) → x0; None leaves the model out.
    """
    colours = {"exact denoiser": PALETTE[0]} | ({} if model is None else {"model": PALETTE[1]})
    shown = [(name, what) for name in colours for what in ("the glyph", "its error")]
    shown.insert(-2, (list(colours)[-1], "the noise"))  # of one only: all predictions of the noise look alike
    columns = 1 + len(shown)
    figure = new_figure((WIDTH - 1.3) / 6 * columns + 1.3, 1.24 * len(TIMES) + 0.7)
    grid = figure.subplots(len(TIMES), columns, squeeze=False)
    levels, alpha_bar = scene.schedule.sigmas, scene.schedule.alpha_bar()
    eps = scene.noise(scene.glyph.double())[None]
    errors: dict[str, list[float]] = {name: [] for name in colours}
    for row, t in zip(grid, TIMES, strict=True):
        sigma = levels[t - 1 : t]
        x = scene.glyph.double()[None] + sigma * eps
        glyphs = {"exact denoiser": scene.data(x, sigma)}
        if model is not None:
            glyphs["model"] = model(x.float(), sigma.float()).double()
        noises = {name: (x - x0) / sigma for name, x0 in glyphs.items()}
        for name, noise in noises.items():
            errors[name].append(float((noise - eps).square().mean().sqrt()))
        reach = _round_up(2.5 * max(values[-1] for values in errors.values()))
        show_picture(row[0], (x * float(alpha_bar[t - 1]) ** 0.5)[0].float())
        row[0].set_ylabel(f"t = {t}", rotation=0, ha="right", va="center")
        for axes, (name, what) in zip(row[1:], shown, strict=True):
            if what == "the glyph":
                show_picture(axes, glyphs[name][0].float())
            elif what == "the noise":
                show_picture(axes, noises[name][0].float(), reach=3)
            else:
                show_picture(axes, (noises[name] - eps)[0].float(), reach=reach, colours=DIFFERENCE)
                axes.set_xlabel(f"off by {_small(errors[name][-1])}", labelpad=2)
            axes.spines[:].set_color(colours[name])
            axes.spines[:].set_linewidth(1.2)
        bar = figure.colorbar(row[-1].images[0], ax=list(row), fraction=0.012, pad=0.012, aspect=9)
        bar.set_ticks([-reach, 0, reach], labels=[f"−{reach:g}", "0", f"{reach:g}"])
        bar.outline.set_linewidth(0.6)
    grid[0, 0].set_title("noisy\nglyph", loc="center")
    for axes, (name, what) in zip(grid[0, 1:], shown, strict=True):
        axes.set_title(f"{name.split()[0]}:\n{what}", loc="center", color=colours[name])
    times = ", ".join(map(str, TIMES))
    sentences = [
        "Error: predicted minus true noise, whose standard deviation is 1. The scale of each row is at its right.",
        *(
            f"At t = {times} the {name} is off by {', '.join(map(_small, values))} (root mean square)."
            for name, values in errors.items()
        ),
    ]
    sentences.append(
        f"The exact denoiser knows its {len(scene.glyphs):,} glyphs by heart"
        + ("; the model keeps no list, and gets no prompt." if model else ".")
    )
    return MeasuredFigure(figure, "\n".join(sentences))


def _round_up(value: float) -> float:
    """`value` rounded up to one digit, 0.0312 → 0.04; at least 10⁻⁶, so that nothing is divided by 0."""
    value = max(value, 1e-6)
    unit = 10.0 ** math.floor(math.log10(value))
    return float(f"{math.ceil(value / unit) * unit:.1g}")


def _small(error: float) -> str:
    return f"{error:.3f}" if error >= 0.0005 else "< 0.001"
