"""Figure of the error of the samplers themselves: the steps that each needs with a perfect denoiser."""

from __future__ import annotations

from glyffctl.core.diffusion.samplers import SAMPLERS
from glyffctl.core.theory.sampler_error import COMPARED, fewest_steps, spectrum, thin_spectrum, wasserstein_error
from glyffctl.figures.demo_scene import DemoScene, MeasuredFigure
from glyffctl.figures.style import GREY, PALETTE, SMALL, WIDTH, new_figure

STEPS = (1, 2, 3, 5, 8, 12, 20, 35, 60, 120)
SIDE = 32
MARKERS = ("o", "s", "^", "D", "v", "P")
MANY = 120


def draw_sampler_error(scene: DemoScene) -> MeasuredFigure:
    """Draw error against steps, and against passes through the denoiser, for all samplers."""
    variances = thin_spectrum(spectrum(scene.of_size(SIDE)))
    figure = new_figure(WIDTH, 4.6)
    by_steps, by_passes = figure.subplots(1, 2, sharey=True)
    threshold = wasserstein_error("ddpm", variances, scene.schedule, MANY)
    needed = []
    for name, colour, shape in zip(COMPARED, PALETTE, MARKERS, strict=False):
        errors = [100 * wasserstein_error(name, variances, scene.schedule, steps) for steps in STEPS]
        look = {"color": colour, "marker": shape, "markersize": 5, "label": name}
        by_steps.plot(STEPS, errors, **look)
        by_passes.plot([SAMPLERS[name].passes(steps) for steps in STEPS], errors, **look)
        few = fewest_steps(name, variances, scene.schedule, threshold, MANY)
        needed.append(f"{name} {few}")
    for axes, label in ((by_steps, "steps"), (by_passes, "passes through the denoiser")):
        axes.axhline(100 * threshold, color=GREY, linestyle=(0, (3, 2)), linewidth=1)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel(label)
        axes.set_xticks([1, 2, 5, 10, 20, 50, 100, 200], minor=False)
        axes.minorticks_off()
        axes.xaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_major_formatter("{x:g} %")
        axes.grid()
    by_steps.text(1, 90 * threshold, f"ddpm, {MANY} steps", color=GREY, fontsize=SMALL, ha="left", va="top")
    by_steps.set_ylabel("error of the drawings")
    handles, labels = by_passes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return MeasuredFigure(
        figure,
        f"The denoiser is the perfect one for a Gaussian of the glyphs' covariance, {scene.schedule_name} schedule. "
        f"After {MANY} steps ddpm is off by {threshold:.1%} of the data's standard deviation.\n"
        f"Steps that each needs to be as good: {', '.join(needed)}.",
    )
