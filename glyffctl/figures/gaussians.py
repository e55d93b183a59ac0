"""Figures of Gaussians in closed form: a fit, one noising step, a joint distribution."""

from __future__ import annotations

import math

import torch
from matplotlib.patches import Circle
from torch import Tensor

from glyffctl.core.theory import forward
from glyffctl.core.theory.fit import fit_normal
from glyffctl.figures.demo_scene import DemoScene, MeasuredFigure
from glyffctl.figures.style import DENSITY, FAINT, GREY, INK, PALETTE, WIDTH, new_figure, signed

BLUE, ORANGE, GREEN = PALETTE[:3]
SAMPLES = (40, 1000)
EXAMPLES = (25, 110, 185, 300, 390)
STEPS = (0.02, 0.2)


def draw_gaussian_fit(scene: DemoScene) -> MeasuredFigure:
    """Draw a density, samples of it, and the density fitted to them, for few and for many samples."""
    figure = new_figure(WIDTH, 3.7)
    panels = figure.subplots(1, 2, sharey=True)
    x = torch.linspace(-4, 4, 401, dtype=torch.float64)
    truth = torch.exp(-x.square() / 2) / math.sqrt(2 * math.pi)
    samples = torch.randn(max(SAMPLES), generator=scene.generator(), dtype=torch.float64)
    sentences = []
    for axes, count in zip(panels, SAMPLES, strict=True):
        fit = fit_normal(samples[:count])
        low, high = fit.band(x)
        bins = torch.linspace(-4, 4, 17 if count < 100 else 33).tolist()
        axes.hist(
            samples[:count].tolist(), bins=bins, density=True, color="#f5d6bd", edgecolor="white", label="samples"
        )
        axes.fill_between(x, low, high, color=BLUE, alpha=0.22, linewidth=0, label="95 % interval of the fit")
        axes.plot(x, truth, color=INK, label="the density, N(0, 1)")
        axes.plot(x, fit.density(x), color=BLUE, linestyle=(0, (4, 2)), label="fitted to the samples")
        (mean_low, mean_high), (low_s, high_s) = fit.mean_interval(), fit.deviation_interval()
        axes.set_title(f"{count:,} samples")
        axes.set_xlim(-4, 4)
        axes.set_xlabel("x")
        sentences.append(
            f"From {count:,} samples the mean comes out as {signed(fit.mean, 2)} ({signed(mean_low, 2)} to "
            f"{signed(mean_high, 2)}) and the standard deviation as {fit.deviation:.2f} ({low_s:.2f} to "
            f"{high_s:.2f})."
        )
    panels[0].set_ylabel("density")
    handles, labels = panels[1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return MeasuredFigure(
        figure,
        "\n".join(
            [
                "The true mean is 0 and the true standard deviation 1; in brackets are 95 % intervals of the fit.",
                *sentences,
            ]
        ),
    )


def spiral(count: int) -> Tensor:
    """(count, 2) float64 points on two arms of a spiral, of unit variance around 0."""
    turn = torch.linspace(0.6, 2.6, count // 2, dtype=torch.float64) * math.pi
    arm = torch.stack([turn.cos(), turn.sin()], 1) * turn[:, None]
    points = torch.cat([arm, -arm])
    return points / points.square().mean().sqrt()


def draw_first_step(scene: DemoScene) -> MeasuredFigure:
    """Draw q(x_1 | x_0) around points of a spiral, for a small and a large β."""
    points = spiral(400)
    chosen = points[list(EXAMPLES)]
    figure = new_figure(WIDTH, 4.5)
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    sentences = []
    for axes, beta in zip(panels, STEPS, strict=True):
        axes.scatter(*points.T, s=5, color=BLUE, linewidths=0, label="the data")
        for x0 in chosen:
            centre = forward.step(x0, beta, torch.zeros(2))
            for reach, alpha in ((2, 0.22), (1, 0.4)):
                axes.add_patch(
                    Circle(
                        (float(centre[0]), float(centre[1])),
                        reach * beta**0.5,
                        facecolor=ORANGE,
                        alpha=alpha,
                        linewidth=0,
                        zorder=2,
                    )
                )
            axes.annotate(
                "", centre.tolist(), x0.tolist(), arrowprops={"arrowstyle": "-", "color": INK, "linewidth": 1.2}
            )
        centres = forward.step(chosen, beta, torch.zeros_like(chosen))
        axes.scatter(
            *chosen.T,
            s=46,
            facecolors="white",
            edgecolors=INK,
            zorder=4,
            label="some of them",
        )
        axes.scatter(*centres.T, s=34, color=ORANGE, edgecolors=INK, zorder=5, label="where their noise is centred")
        noisy = points.repeat(500, 1)
        noisy = forward.step(noisy, beta, scene.noise(noisy))
        axes.set_aspect("equal")
        axes.set_title(f"β = {beta:g},  √(1−β) = {math.sqrt(1 - beta):.2f}")
        axes.set_xlim(-2.8, 2.8)
        axes.set_ylim(-2.8, 2.8)
        axes.set_xticks(range(-2, 3))
        axes.set_yticks(range(-2, 3))
        axes.grid()
        axes.set_axisbelow(True)
        sentences.append(
            f"With β = {beta:g} the variance after one step is {float(noisy.square().mean()):.3f}, and without the "
            f"factor it would be {1 + beta:.2f}."
        )
    handles, labels = panels[0].get_legend_handles_labels()
    handles.append(Circle((0, 0), facecolor=ORANGE, alpha=0.5))
    figure.legend(handles, [*labels, "the noise: one and two standard deviations"], loc="outside lower center", ncols=2)
    variance = float(points.square().mean())
    return MeasuredFigure(
        figure, "\n".join([f"The data have a variance of {variance:.3f}, the mean of both axes.", *sentences])
    )


PEAKS = ((-1.4, -1.0), (1.4, 1.0))
_NOISE = (0.6, 0.72)
"""Standard deviations of each peak along x and y."""


def _normal(x: Tensor, mean: float, deviation: float) -> Tensor:
    return torch.exp(-(((x - mean) / deviation) ** 2) / 2) / (deviation * math.sqrt(2 * math.pi))


def joint_density(x: Tensor, y: Tensor) -> Tensor:
    """p(x, y): two Gaussian peaks of equal weight."""
    return sum(((_normal(x, a, _NOISE[0]) * _normal(y, b, _NOISE[1])) / 2 for a, b in PEAKS), torch.zeros(()))


def conditional(x: Tensor, y: float) -> Tensor:
    """p(x | y): the slice of the joint density at y, normalised."""
    weights = [float(_normal(torch.tensor(y), b, _NOISE[1])) for _, b in PEAKS]
    slices = (w * _normal(x, a, _NOISE[0]) for w, (a, _) in zip(weights, PEAKS, strict=True))
    return sum(slices, torch.zeros(())) / sum(weights)


def share_at(peak: int, y: float | None) -> float:
    """The probability that x lies on the side of a peak, given y; None is no condition."""
    x = torch.linspace(-8, 8, 16_001, dtype=torch.float64)
    density = sum((_normal(x, a, _NOISE[0]) / 2 for a, _ in PEAKS), torch.zeros(())) if y is None else conditional(x, y)
    side = (x < 0) if PEAKS[peak][0] < 0 else (x > 0)
    return float((density * side).sum() / density.sum())


def draw_joint(scene: DemoScene) -> MeasuredFigure:  # noqa: ARG001 (all figures have this signature)
    """Draw p(x, y) as contours with its marginals, and p(x | y) at two values of y."""
    figure = new_figure(WIDTH, 6.4)
    grid = figure.add_gridspec(2, 2, width_ratios=(4, 1), height_ratios=(1, 4), wspace=0.02, hspace=0.02)
    main = figure.add_subplot(grid[1, 0])
    above, right = figure.add_subplot(grid[0, 0], sharex=main), figure.add_subplot(grid[1, 1], sharey=main)
    x, y = torch.linspace(-3.5, 3.5, 351), torch.linspace(-3.4, 3.4, 341)
    heights = joint_density(x[None], y[:, None])
    levels = torch.linspace(0.06, 0.96, 7) * float(heights.max())
    main.contourf(x, y, heights, levels=[*levels.tolist(), 2.2 * float(heights.max())], cmap=DENSITY, extend="neither")
    main.contour(x, y, heights, levels=levels.tolist(), colors="#6aaed6", linewidths=0.8)
    for name, (at_x, at_y), colour in zip("12", PEAKS, (ORANGE, GREEN), strict=True):
        curve = conditional(x, at_y)
        main.axhline(at_y, color=colour, linewidth=0.8)
        main.fill_between(x, at_y, at_y + 1.8 * curve, color=colour, alpha=0.18, linewidth=0)
        main.plot(x, at_y + 1.8 * curve, color=colour)
        main.axvline(at_x, color=GREY, linewidth=0.8, linestyle=(0, (2, 3)))
        main.text(
            -3.3 if at_x > 0 else 3.3, at_y + (0.22 if at_x > 0 else -0.22), f"$p(x\\,|\\,y=y_{name})$", color=colour,
            ha="left" if at_x > 0 else "right", fontsize=13.5, va="bottom" if at_x > 0 else "top",
        )  # fmt: skip
    marginal_x = sum((_normal(x, a, _NOISE[0]) / 2 for a, _ in PEAKS), torch.zeros(()))
    marginal_y = sum((_normal(y, b, _NOISE[1]) / 2 for _, b in PEAKS), torch.zeros(()))
    above.fill_between(x, marginal_x, color=FAINT)
    above.plot(x, marginal_x, color=INK)
    right.fill_betweenx(y, marginal_y, color=FAINT)
    right.plot(marginal_y, y, color=INK)
    for axes in (above, right):
        axes.set_axis_off()
    above.text(PEAKS[0][0], 0.4 * float(marginal_x.max()), "$p(x)$", ha="center", va="center", fontsize=13.5)
    right.text(0.45 * float(marginal_y.max()), PEAKS[1][1], "$p(y)$", ha="center", va="center", fontsize=13.5)
    above.set_ylim(0, None)
    right.set_xlim(0, None)
    main.set_xticks([a for a, _ in PEAKS], ["$x_1$", "$x_2$"], fontsize=13.5)
    main.set_yticks([b for _, b in PEAKS], ["$y_1$", "$y_2$"], fontsize=13.5)
    main.set_xlim(-3.5, 3.5)
    main.set_ylim(-3.2, 3.2)
    return MeasuredFigure(
        figure,
        f"x is near x₁ with probability {share_at(0, None):.0%} when nothing is known, {share_at(0, PEAKS[0][1]):.1%} "
        f"given y₁, and {share_at(0, PEAKS[1][1]):.1%} given y₂.",
    )
