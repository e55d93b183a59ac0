"""The figure of `glyffctl noise-demo` of the way from one picture to another: through pixels, and through noise."""

from __future__ import annotations

from collections.abc import Generator

import torch
from torch import Tensor

from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.evaluation.strokes import measure_strokes
from glyffctl.core.models.generate import generate
from glyffctl.core.networks.generator import VAE
from glyffctl.core.noise import Stream, normal
from glyffctl.figures.demo_scene import MeasuredFigure
from glyffctl.figures.model_figures import draw_picture_table
from glyffctl.workflows.events import Event, Progress
from glyffctl.workflows.noise_data import DemoGlyphs
from glyffctl.workflows.noise_model import ModelFigure, PromptedModel

PLACES = 9
"""Pictures from one end to the other."""


def draw_between(model: PromptedModel, glyphs: DemoGlyphs) -> Generator[Event, None, MeasuredFigure]:
    """Draw two pictures, and what lies between them: mixed, by mixed noise, and for a VAE by mixed latents."""
    drawer, recipe = model.drawer, model.model.full_recipe
    text = yield from model.text(model.prompt)
    seeds = torch.tensor([model.seed, model.seed + 1])
    ends = normal(0, seeds, drawer.codec.shape, Stream.EPS)
    drawn = list[Tensor]()
    for rows in torch.arange(PLACES).split(min(drawer.batch, PLACES)):
        noise = between(ends[0], ends[1])[rows].to(drawer.device)
        towards = text.rows(torch.zeros_like(rows)).to(drawer.device)
        away = drawer.nothing(len(rows)).to(drawer.device)
        x = noise
        for step in generate(
            drawer.denoiser, drawer.schedule, recipe, towards, away, rows.to(drawer.device), drawer.codec.shape,
            drawer.codec.limit, noise=noise,
        ):  # fmt: skip
            x = step.x
            yield Progress(
                "Drawing pictures between", int(rows[0]) + len(rows) * (step.i + 1) // recipe.steps, PLACES, "pictures"
            )
        drawn.append(drawer.pictures(x))
    found = {"through noise": torch.cat(drawn)}
    found = {"mixed": mixed(found["through noise"][0], found["through noise"][-1])} | found
    network = model.model.network
    lines = [
        f"Prompt “{model.prompt}”, {recipe.summary()}. In the second row the noise that both ends are drawn from is "
        "mixed so that its spread stays that of noise."
    ]
    if isinstance(network, VAE) and len(glyphs.pictures) > 1:
        found["two glyphs"] = _through_latents(network, model, glyphs.pictures[:2])
        lines[0] += " In the third the latents of two real glyphs are mixed."
    cells = [[(pictures, _remark(pictures))] for pictures in found.values()]
    lines += [f"{name.capitalize()}: {_remark(pictures)}." for name, pictures in found.items()]
    return MeasuredFigure(draw_picture_table(list(found), [""], cells), "\n".join(lines))


def between(first: Tensor, last: Tensor) -> Tensor:
    """(PLACES, *shape): noise from one to the other, of the same spread all the way where the two are independent."""
    share = torch.linspace(0, 1, PLACES).reshape(-1, *[1] * first.ndim)
    return (share * (torch.pi / 2)).cos() * first + (share * (torch.pi / 2)).sin() * last


def mixed(first: Tensor, last: Tensor) -> Tensor:
    """(PLACES, H, W) uint8: one picture fading into another."""
    share = torch.linspace(0, 1, PLACES)[:, None, None]
    return ((1 - share) * first + share * last).round().to(torch.uint8)


@torch.no_grad()
def _through_latents(network: VAE, model: PromptedModel, pictures: Tensor) -> Tensor:
    """(PLACES, H, W) uint8: decoded from latents between those of two pictures (2, H, W), without captions."""
    device, codec = model.drawer.device, model.drawer.codec
    nothing = Condition.none(PLACES, model.drawer.text_width).to(device)
    ends = network.posterior(codec.encode(pictures.to(device)), nothing.rows(torch.arange(2, device=device))).mean
    share = torch.linspace(0, 1, PLACES, device=device)[:, None]
    return codec.decode(network.pictures((1 - share) * ends[0] + share * ends[1], network.encode(nothing))).cpu()


def _remark(pictures: Tensor) -> str:
    grey = measure_strokes(pictures).grey
    ends, middle = float(grey[[0, -1]].mean()), float(grey[PLACES // 2])
    return f"halfway {middle:.1%} of the pixels are neither ink nor paper, at the ends {ends:.1%}"


BETWEEN_FIGURES: dict[str, ModelFigure] = {"between": draw_between}
"""By the names of `figures.registry`."""
