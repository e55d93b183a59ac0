"""The figures of `glyffctl noise-demo` of the inside of a model: its text, its network, and a step of its training."""

from __future__ import annotations

import json
import math
from collections.abc import Generator
from typing import Any

import torch
from torch import Tensor

from glyffctl.core.codecs.latents import Latents
from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.diffusion.denoiser import coefficients
from glyffctl.core.io.bundled import pretrained
from glyffctl.core.networks.captioned import CaptionedNetwork
from glyffctl.core.networks.network import parameter_count
from glyffctl.core.networks.stages import narrows, stages
from glyffctl.core.noise import normal
from glyffctl.figures.demo_scene import MeasuredFigure
from glyffctl.figures.diagrams import SHOWN_NUMBERS, draw_network, draw_tokens, draw_training, draw_ways_in
from glyffctl.figures.style import drawable_text
from glyffctl.workflows.events import Event, Progress
from glyffctl.workflows.noise_data import DemoGlyphs
from glyffctl.workflows.noise_model import ModelFigure, PromptedModel

MOST_TOKENS, LONGEST_TOKEN = 12, 12
WAYS_SIGMA, WAYS_PICTURES = 20.0, 2
TRAINED_SIGMA = 2.0
CURVES_FILE = "learning_curves.json"
CURVES_AT = ("0.3", "1.0", "4.0", "10.0")


def draw_text(model: PromptedModel, glyphs: DemoGlyphs) -> Generator[Event, None, MeasuredFigure]:  # noqa: ARG001
    """Draw what becomes of the prompt: tokens, their numbers, and an (n, d) array of vectors."""
    condition = yield from model.text(model.prompt)
    tokens = condition.tokens[0][condition.mask[0]].float()
    encoder = model.text_encoders[0] if model.text_encoders else None
    pieces = [] if encoder is None else encoder.pieces(model.prompt)
    ids = [] if encoder is None else encoder.tokenize([model.prompt])[0]
    shown = min(len(tokens), MOST_TOKENS)
    names = [(drawable_text(piece) or "?")[:LONGEST_TOKEN] for piece in pieces[:shown]]
    n, d = tokens.shape
    figure = draw_tokens(
        names or ["(none)"],
        [f"{number:,}" for number in ids[:shown]] or [""],
        tokens[:shown] if n else torch.zeros(1, d),
        ("token", "number", f"vector, {min(d, SHOWN_NUMBERS)} of {d} numbers"),
    )
    letters = len(model.prompt.strip())
    lines = [
        f"“{model.prompt}”, {letters} letters, becomes {n} tokens and an array of {n} × {d} = {n * d:,} numbers."
        + (f" The first {shown} tokens are shown." if shown < n else ""),
    ]
    if encoder is not None and n > 1 and ids:
        alone = encoder.encode_ids([[number] for number in ids])
        moved = (tokens - alone.tokens[:, 0].float().cpu()).norm(dim=1) / tokens.norm(dim=1)
        lines.append(
            f"Encoded alone, the same tokens have other vectors: they differ by {float(moved.min()):.0%} to "
            f"{float(moved.max()):.0%} of their length. That is what the context adds."
        )
    return MeasuredFigure(figure, "\n".join(lines))


def two_ways_in(model: PromptedModel) -> bool:
    """Whether a model takes text in two ways, at any noise level: pooled beside σ, and through cross-attention."""
    network = model.model.network
    pooled = isinstance(network, CaptionedNetwork) and network.embed_text is not None
    return pooled and not network.one_pass and bool(getattr(network.config, "cross_text", False))


def draw_both_ways(model: PromptedModel, glyphs: DemoGlyphs) -> Generator[Event, None, MeasuredFigure]:  # noqa: ARG001
    """Draw what each way of a prompt into the network does alone: pooled, through cross-attention, both, neither."""
    drawer = model.drawer
    text = yield from model.text(model.prompt)
    given = drawer.denoiser.network.encode(text.to(drawer.device))
    nothing = drawer.denoiser.network.encode(Condition.none(1, drawer.text_width).to(drawer.device))
    ways = {
        "neither": nothing,
        "pooled": nothing._replace(pooled=given.pooled),
        "cross-attention": given._replace(pooled=nothing.pooled),
        "both": given,
    }
    seeds = model.seed + torch.arange(WAYS_PICTURES)
    x = WAYS_SIGMA * normal(0, seeds, drawer.codec.shape, 0).to(drawer.device)
    level = torch.full((WAYS_PICTURES,), WAYS_SIGMA, dtype=torch.float64)
    guesses = []
    for done, context in enumerate(ways.values()):
        yield Progress("Guessing with each way in", done, len(ways), "passes")
        every = type(context)(
            *(None if part is None else part.expand(WAYS_PICTURES, *part.shape[1:]) for part in context)
        )
        with torch.no_grad():
            guesses.append(drawer.denoiser(x, level, every).cpu())
    yield Progress("Guessing with each way in", len(ways), len(ways), "passes")
    moved = [float((guess - guesses[0]).square().mean().sqrt()) for guess in guesses]
    pictures = torch.stack([drawer.pictures(guess.to(drawer.device)) for guess in guesses])
    notes = [f"moved by {value:.3f}" if place else "" for place, value in enumerate(moved)]
    figure = draw_ways_in(list(ways), pictures, notes, [f"noise {k + 1}" for k in range(WAYS_PICTURES)])
    pooled_numbers = given.pooled.shape[-1]
    n, width = int(text.mask.sum()), given.tokens.shape[-1]
    lines = [
        f"Prompt “{model.prompt}”, one guess from noise of σ = {WAYS_SIGMA:g}. Pooled, the text is "
        f"{pooled_numbers:,} numbers, the "
        f"same at every place; through cross-attention it is {n} × {width} numbers, which every place weighs for "
        "itself.",
        f"Compared with no text, the guess moves by {moved[1]:.3f} with the pooled text alone, by {moved[2]:.3f} with "
        f"cross-attention alone and by {moved[3]:.3f} with both (root mean square; black is −1 and white 1). The "
        "network was trained with both at once.",
    ]
    return MeasuredFigure(figure, "\n".join(lines))


def is_a_u(model: PromptedModel) -> bool:
    """Whether the network of a model narrows and widens again."""
    return not model.model.network.one_pass and narrows(stages(model.model.network))


def draw_u(model: PromptedModel, glyphs: DemoGlyphs) -> Generator[Event, None, MeasuredFigure]:  # noqa: ARG001
    """Draw the network as it is, from its modules, with the shapes that pass between them."""
    yield Progress("Drawing the network", 0, 1, "passes")
    network = model.model.network
    found = stages(network)
    yield Progress("Drawing the network", 1, 1, "passes")
    config = network.config
    lowest = min(stage.side for stage in found)
    at_lowest = sum(stage.parameters for stage in found if stage.side == lowest)
    total = parameter_count(network)
    lines = [
        f"{config.in_channels} × {config.size} × {config.size} = {config.in_channels * config.size**2:,} numbers go "
        f"in and as many come "
        f"out; on the way they are {', '.join(_shapes(found))} (channels × grid).",
        f"Of {total:,} parameters {at_lowest / total:.0%} are at {lowest}×{lowest}, where a place sees most of the "
        f"glyph; "
        f"{sum(stage.attends for stage in found)} of {len(found)} parts have attention, "
        f"{sum(stage.reads for stage in found)} "
        "of these to the text.",
    ]
    return MeasuredFigure(draw_network(found, config.size, config.in_channels), "\n".join(lines))


def _shapes(found: list[Any]) -> list[str]:
    """The shapes that pass through a network, each once in a row."""
    shapes = [f"{stage.channels} × {stage.side}²" for stage in found]
    return [shape for shape, before in zip(shapes, ["", *shapes], strict=False) if shape != before]


def draw_a_step(model: PromptedModel, glyphs: DemoGlyphs) -> Generator[Event, None, MeasuredFigure]:
    """Draw a step of training: a glyph, noise, both, what the network predicts, and the error that it learns from."""
    drawer = model.drawer
    definition = glyphs.characters[0].definition.strip()
    text = yield from model.text(definition)
    x0 = drawer.codec.encode(glyphs.pictures[:1].to(drawer.device))
    eps = normal(0, torch.tensor([model.seed]), tuple(x0.shape[1:]), 0).to(drawer.device)
    sigma = torch.tensor([TRAINED_SIGMA], dtype=torch.float64)
    with torch.no_grad():
        context = drawer.denoiser.network.encode(text.to(drawer.device))
        guess = drawer.denoiser(x0 + TRAINED_SIGMA * eps, sigma, context)
        loss = float(drawer.denoiser.loss(x0, eps, sigma, context))
    noise = (x0 + TRAINED_SIGMA * eps - guess) / TRAINED_SIGMA
    scale = math.sqrt(1 + TRAINED_SIGMA**2)
    shown: list[tuple[str, Tensor, float]] = [
        ("glyph x0", x0[0].cpu(), 1.0),
        ("noise ε", eps[0].cpu(), 3.0),
        (f"x0 + {TRAINED_SIGMA:g}·ε", (x0 + TRAINED_SIGMA * eps)[0].cpu() / scale, 3.0),
        ("predicted noise ε̂", noise[0].cpu(), 3.0),
        ("predicted glyph x̂0", guess[0].cpu(), 1.0),
    ]
    errors = [float((noise - eps).square().mean()), float((guess - x0).square().mean())]
    curves = next(each for each in json.loads(pretrained(CURVES_FILE).read_text(encoding="utf-8")) if each["points"])
    points = curves["points"]
    figure = draw_training(
        shown,
        ["drawn at random", "drawn at random", "the input", f"squared error\n{errors[0]:.4f}"],
        [point["images"] for point in points],
        {f"σ = {float(level):g}": [point["error"][level] for point in points] for level in CURVES_AT},
    )
    c_skip, c_out = (float(value) for value in coefficients(drawer.denoiser.prediction, sigma))
    lines = [
        f"σ = {TRAINED_SIGMA:g}, caption “{definition}”. This network predicts {drawer.denoiser.prediction}; the "
        f"loss of this step is "
        f"{loss:.4f}, the squared error of the glyph {errors[1]:.4f} and of the noise {errors[0]:.4f}: the first is "
        f"the second times σ² "
        f"(x̂0 = {c_skip:.2f}·x {'+' if c_out >= 0 else '−'} {abs(c_out):.2f}·F).",
        f"The curves show the error on glyphs of characters held out of training, as such steps are repeated with "
        f"{curves['batch']} pictures each. They were measured when a model was trained by the recipe "
        f"“{curves['recipe']}”, not on this page.",
    ]
    return MeasuredFigure(figure, "\n".join(lines))


def denoises_pixels(model: PromptedModel) -> bool:
    """Whether what a model denoises are pictures, and not latents, at any noise level."""
    return not isinstance(model.drawer.codec, Latents) and not model.model.network.one_pass


INSIDE_FIGURES: dict[str, ModelFigure] = {
    "training": draw_a_step,
    "network": draw_u,
    "text": draw_text,
    "ways-in": draw_both_ways,
}
"""As `noise_model.MODEL_FIGURES`."""
