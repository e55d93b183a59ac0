"""Figure of samplers at work on data in the plane: what the workbench of the page shows at first, as a still."""

from __future__ import annotations

import math

import torch
from matplotlib.axes import Axes
from torch import Tensor

from glyffctl.core.diffusion.samplers import SAMPLERS
from glyffctl.core.noise import Stream, normal, uniform
from glyffctl.core.theory.oracle import FiniteData
from glyffctl.core.theory.planar import energy_distance, grid_points, ink_points, mixture_score
from glyffctl.figures.demo_scene import DemoScene, MeasuredFigure
from glyffctl.figures.style import GREY, INK, PALETTE, SMALL, WIDTH, new_figure, signed, square_frame

POINTS, WALKS, SHOWN, MARKED = 500, 500, 100, 3
STEPS, TIME = 20, 80
FRESH = 20
"""How many fresh samples of the data are beside a sampler's."""
NAMES = {"ddim": "DDIM", "dpmpp-2m": "2M", "heun": "Heun", "ddpm": "DDPM", "langevin": "Langevin"}
REACH, ARROWS = 3.0, 15


def draw_workbench(scene: DemoScene) -> MeasuredFigure:
    """Draw the ink of the glyph under noise with the score, and paths of two samplers from the same noise."""
    points = ink(scene)
    ends = {name: walks(points, scene, name) for name in NAMES}
    figure = new_figure(WIDTH, 2.9)
    left, middle, right = figure.subplots(1, 3)
    _draw_noisy(left, points, scene)
    for axes, name, kind in ((middle, "ddim", "no noise on the way"), (right, "ddpm", "new noise at every step")):
        _draw_paths(axes, points, ends[name])
        axes.set_title(f"{NAMES[name]}: {kind}", loc="center", fontsize=SMALL)
    distances = ", ".join(
        f"{signed(energy_distance(points, paths[-1]), 4)} by {NAMES[name]}" for name, paths in ends.items()
    )
    fresh = [energy_distance(points, sample) for sample in fresh_samples(points, scene.seed)]
    return MeasuredFigure(
        figure,
        f"{POINTS} points of the ink of {scene.name}, {scene.schedule_name} schedule, {STEPS} steps, the exact score. "
        f"Energy distance between the data and the ends of {WALKS} walks: {distances}. For {FRESH} fresh samples "
        f"of the data it is {signed(min(fresh), 4)} to {signed(max(fresh), 4)}.",
    )


def ink(scene: DemoScene) -> Tensor:
    """(POINTS, 2): the data, in thousandths, as the page holds them."""
    return (ink_points(scene.glyph[0], POINTS, scene.seed) * 1000).round() / 1000


def walks(points: Tensor, scene: DemoScene, sampler: str, steps: int = STEPS) -> Tensor:
    """(steps + 1, WALKS, 2): walks of a sampler from noise to data `points` (N, 2), at its levels, as x/√(1+σ²)."""
    sigmas, index = scene.schedule.steps(steps), scene.seed + torch.arange(WALKS)

    def draw(stream: int) -> Tensor:
        return normal(0, index, (1, 1, 2), stream, torch.float64)

    x = draw(Stream.EPS) * sigmas[0]
    data = FiniteData(points[:, None, None])
    found = [x, *(s.x for s in SAMPLERS[sampler](data, x, sigmas, lambda i: draw(Stream.STEP + i)))]
    return torch.stack(found).flatten(2) / (1 + sigmas**2).sqrt()[:, None, None]


def fresh_samples(points: Tensor, seed: int) -> list[Tensor]:
    """FRESH samples (WALKS, 2) of the data `points` (N, 2), drawn evenly and with replacement."""
    index = seed + torch.arange(FRESH * WALKS)
    chosen = (uniform(0, index, Stream.ORDER) * len(points)).long()
    return list(points[chosen].split(WALKS))


def _draw_noisy(axes: Axes, points: Tensor, scene: DemoScene) -> None:
    alpha_bar = float(scene.schedule.alpha_bar()[TIME - 1])
    noise = normal(0, scene.seed + torch.arange(len(points)), (2,), Stream.JUMP, torch.float64)
    noisy = points * math.sqrt(alpha_bar) + noise * math.sqrt(1 - alpha_bar)
    axes.scatter(noisy[:, 0], noisy[:, 1], s=3, linewidths=0, color=PALETTE[0])
    cell = 2 * REACH / ARROWS
    places = grid_points((torch.arange(ARROWS, dtype=torch.float64) + 0.5) * cell - REACH)
    arrows = mixture_score(points, places, alpha_bar)
    arrows = arrows / arrows.norm(dim=1, keepdim=True) * 0.6 * cell
    axes.quiver(
        *places.T.numpy(), *arrows.T.numpy(), angles="xy", scale_units="xy", scale=1, pivot="mid", width=0.006,
        color=GREY,
    )  # fmt: skip
    axes.set_title(f"t = {TIME}, and the exact score", loc="center", fontsize=SMALL)
    square_frame(axes, REACH)


def _draw_paths(axes: Axes, points: Tensor, paths: Tensor) -> None:
    axes.scatter(points[:, 0], points[:, 1], s=3, linewidths=0, color=PALETTE[5])
    for number, path in enumerate(paths[:, :SHOWN].permute(1, 2, 0).numpy()):
        marked = number < MARKED
        axes.plot(*path, color=PALETTE[3] if marked else GREY, linewidth=1.2 if marked else 0.5,
                  alpha=1 if marked else 0.25, zorder=3 if marked else 2)  # fmt: skip
    axes.scatter(paths[-1, :, 0], paths[-1, :, 1], s=2, linewidths=0, color=INK, zorder=4)
    square_frame(axes, REACH)
