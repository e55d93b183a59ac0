"""Figures of one glyph on its way into noise and back: the process, and what a denoiser says on the way."""

from __future__ import annotations

from collections.abc import Callable

import torch
from matplotlib.patches import FancyArrowPatch
from torch import Tensor

from glyffctl.core import forward
from glyffctl.figures.scene import Drawn, Scene, show
from glyffctl.figures.style import GREY, INK, PALETTE, new_figure

MIDDLE = 300
"""The t of the pair of neighbours in `process`."""
TIMES = (100, 300, 500, 700, 900)

Guess = Callable[[Tensor, Tensor], Tensor]
"""x (B, 1, H, W) float32 and σ (B,) → x0."""


def chain(scene: Scene, times: tuple[int, ...]) -> list[Tensor]:
    """One walk of the glyph into noise, looked at after each of `times` steps (ascending): each (1, H, W)."""
    generator = scene.generator()
    betas = forward.betas(scene.schedule).tolist()
    z, seen = scene.glyph.double(), []
    for t, beta in enumerate(betas[: max(times)], 1):
        z = forward.step(z, beta, torch.randn(z.shape, generator=generator, dtype=z.dtype))
        if t in times:
            seen.append(z)
    return seen


def process(scene: Scene) -> Drawn:
    """Noise to the left, the glyph to the right; p above takes noise away, q below adds it. After Ho et al. 2020."""
    last = len(scene.schedule.sigmas)
    before, middle, noise = chain(scene, (MIDDLE - 1, MIDDLE, last))
    pictures = (noise, middle, before, scene.glyph)
    names = ("$x_T$", "$x_t$", "$x_{t-1}$", "$x_0$")
    figure = new_figure(11, 2.95)
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set_xlim(0, 11)
    axes.set_ylim(0.2, 3.1)
    axes.set_aspect("equal")
    side, bottom = 1.5, 0.95
    lefts = (0.1, 3.2, 6.3, 9.4)
    for left, picture, name in zip(lefts, pictures, names, strict=True):
        show(axes.inset_axes((left, bottom, side, side), transform=axes.transData), picture.float())
        axes.text(left + side / 2, bottom - 0.12, name, ha="center", va="top", fontsize=15)
    level = bottom + side / 2

    def arrow(
        start: tuple[float, float], end: tuple[float, float], colour: str, bend: float = 0, dash: bool = False
    ) -> None:
        axes.add_patch(
            FancyArrowPatch(
                start, end, arrowstyle="-|>", mutation_scale=18, color=colour, linewidth=1.8, shrinkA=0, shrinkB=0,
                linestyle=(0, (4, 2)) if dash else "-", connectionstyle=f"arc3,rad={bend}",
            )
        )  # fmt: skip

    for left in (lefts[0] + side, lefts[2] + side):  # many steps in between
        gap = lefts[1] - lefts[0] - side
        arrow((left + 0.08, level), (left + gap / 2 - 0.25, level), GREY)
        axes.text(left + gap / 2, level, "⋯", ha="center", va="center", fontsize=20, color=GREY)
        arrow((left + gap / 2 + 0.25, level), (left + gap - 0.08, level), GREY)
    from_x, to_x = lefts[1] + side + 0.08, lefts[2] - 0.08
    arrow((from_x, level + 0.28), (to_x, level + 0.28), PALETTE[0], -0.25)
    arrow((to_x, level - 0.28), (from_x, level - 0.28), PALETTE[1], -0.25, dash=True)
    centre = (from_x + to_x) / 2
    axes.text(centre, level + 0.62, r"$p_\theta(x_{t-1}|x_t)$", ha="center", va="bottom", fontsize=14, color=PALETTE[0])
    axes.text(centre, level - 0.66, "$q(x_t|x_{t-1})$", ha="center", va="top", fontsize=14, color=PALETTE[1])
    axes.text(centre, level + 1.0, "takes noise away: learned", ha="center", va="bottom", color=PALETTE[0])
    axes.text(centre, level - 1.02, "adds noise: known", ha="center", va="top", color=PALETTE[1])
    for left, name in ((lefts[0], "noise"), (lefts[3], scene.name)):
        axes.text(left + side / 2, bottom + side + 0.1, name, ha="center", va="bottom", color=INK, fontsize=13)
    beta = float(forward.betas(scene.schedule)[MIDDLE - 1])
    alpha_bar = float(scene.schedule.alpha_bar()[MIDDLE - 1])
    return Drawn(
        figure,
        f"Shown is t = {MIDDLE} of {last} ({scene.schedule_name} schedule). One step adds noise of deviation "
        f"{beta**0.5:.3f}; all steps up to it have left {alpha_bar:.0%} of the variance to the glyph. Between "
        f"neighbours a pixel moves by {float((middle - before).square().mean().sqrt()):.3f} (root mean square).",
    )


def loop(scene: Scene, model: Guess | None) -> Drawn:
    """A noisy glyph, the noise in it, and the guesses of the exact denoiser and of a model, at several t."""
    columns = [(INK, "noisy glyph\n$x_t$"), (INK, "the noise\nin it")]
    for colour, name in zip(PALETTE, ("exact", "model")[: 1 if model is None else 2], strict=False):
        columns += [(colour, f"{name}:\nthe noise"), (colour, f"{name}:\nthe glyph")]
    figure = new_figure(1.5 * len(columns) + 0.8, 1.72 * len(TIMES) + 0.5)
    grid = figure.subplots(len(TIMES), len(columns), squeeze=False)
    levels, alpha_bar = scene.schedule.sigmas, scene.schedule.alpha_bar()
    eps = scene.noise(scene.glyph.double())[None]
    errors: dict[str, list[float]] = {"the exact denoiser": [], "the model": []}
    for row, t in zip(grid, TIMES, strict=True):
        sigma = levels[t - 1 : t]
        x = scene.glyph.double()[None] + sigma * eps
        guesses = [("the exact denoiser", scene.data(x, sigma))]
        if model is not None:
            guesses.append(("the model", model(x.float(), sigma.float()).double()))
        show(row[0], (x * float(alpha_bar[t - 1]) ** 0.5)[0].float())
        show(row[1], eps[0].float(), reach=3)
        for place, (name, x0) in enumerate(guesses):
            predicted = (x - x0) / sigma
            show(row[2 + 2 * place], predicted[0].float(), reach=3)
            show(row[3 + 2 * place], x0[0].float())
            errors[name].append(float((predicted - eps).square().mean().sqrt()))
            row[2 + 2 * place].set_xlabel(f"off by {_small(errors[name][-1])}", fontsize=9, labelpad=2)
            for axes in row[2 + 2 * place : 4 + 2 * place]:
                axes.spines[:].set_color(PALETTE[place])
                axes.spines[:].set_linewidth(1.2)
        row[0].set_ylabel(f"t = {t}", rotation=0, ha="right", va="center", fontsize=10.5)
    for axes, (colour, title) in zip(grid[0], columns, strict=True):
        axes.set_title(title, loc="center", fontsize=10.5, color=colour)
    said = [f"{name} is off by {', '.join(map(_small, values))}" for name, values in errors.items() if values]
    times = ", ".join(map(str, TIMES))
    return Drawn(
        figure,
        f"The noise has deviation 1; at t = {times} " + "; ".join(said) + " (root mean square). The exact denoiser "
        f"knows its {len(scene.glyphs):,} glyphs by heart"
        + ("; the model keeps no list, and nobody told it what the glyph means." if model else "."),
    )


def _small(error: float) -> str:
    return f"{error:.3f}" if error >= 0.0005 else "< 0.001"
