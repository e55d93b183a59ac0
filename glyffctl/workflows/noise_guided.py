"""The figures of `glyffctl noise-demo` of one drawing: step by step, by strength of guidance, and by prompt."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from glyffctl.core.codecs.latents import Latents
from glyffctl.core.codecs.pixels import Pixels, to_pixels
from glyffctl.core.data.captions import radical_character
from glyffctl.core.diffusion.samplers import Step
from glyffctl.core.estimates import mean
from glyffctl.core.models.drawer import Drawer
from glyffctl.core.models.recipe import Recipe
from glyffctl.core.noise import Stream, normal
from glyffctl.figures.demo_scene import Live, MeasuredFigure
from glyffctl.figures.live import decoded_drawings, recorded_drawings
from glyffctl.figures.model_figures import draw_picture_table
from glyffctl.workflows.events import Event, Progress, with_progress
from glyffctl.workflows.noise_data import DemoGlyphs
from glyffctl.workflows.noise_model import ModelFigure, PromptedModel, expected_radicals, radical_share, short_prompt

STRENGTHS = tuple(range(1, 9))
"""γ of the figures."""
STEPS = 24
"""Of DDIM, whose steps the page computes from what is recorded."""
SHOWN_STEPS = 7
SHEET_STEPS = 12
"""Of the default sampler, for sheets of many pictures."""
PICTURES = 9
NOISES = 6
OTHERS = ("water", "tree", "fish", "bird", "to speak", "fire", "a mountain", "silk")
"""Prompts beside that of the user: seven of these."""


@dataclass(frozen=True, eq=False)
class Recorded:
    """Drawings by DDIM, step by step.

    Attributes:
        noise: (B, C, H, W) what they start from, N(0, 1).
        levels: (t, σ) of each step and of the end, (0, 0).
        x: (STEPS + 1, B, C, H, W) before each step, and at the end.
        guesses: (STEPS, B, C, H, W) of x0.
    """

    noise: Tensor
    levels: list[tuple[int, float]]
    x: Tensor
    guesses: Tensor


def record(
    model: PromptedModel, guidance: float, prompts: tuple[str, ...], seeds: Tensor, bar: Progress
) -> Generator[Event, None, Recorded]:
    """Draw a picture for each prompt and seed, and keep what each step begins with and guesses."""
    drawer, recipe = model.drawer, Recipe(sampler="ddim", steps=STEPS, guidance=guidance)
    text = yield from model.text(*prompts)
    parts = list[Recorded]()
    sigmas = recipe.levels(drawer.schedule).tolist()
    for rows in torch.arange(len(seeds)).split(drawer.batch):
        noise = normal(0, seeds[rows].to(drawer.device), drawer.codec.shape, Stream.EPS)
        steps = list[Step]()
        drawing = drawer.draw(recipe, text.rows(rows), seeds[rows], watch=steps.append)
        yield from with_progress(drawing, bar, STEPS)
        start = noise * math.sqrt(1 + sigmas[0] ** 2)
        parts.append(
            Recorded(
                noise.cpu(),
                [model.level(sigma) for sigma in sigmas],
                torch.stack([start, *(step.x for step in steps)]).cpu(),
                torch.stack([step.x0 for step in steps]).cpu(),
            )
        )
    return Recorded(
        torch.cat([part.noise for part in parts]),
        parts[0].levels,
        torch.cat([part.x for part in parts], 1),
        torch.cat([part.guesses for part in parts], 1),
    )


def draws_grey_pixels(drawer: Drawer) -> bool:
    """Whether what is diffused is a grey picture in [−1, 1], which the page can show as it is."""
    codec = drawer.codec
    return isinstance(codec, Pixels) and codec.channels == 1 and codec.low == -1


def seen(drawer: Drawer, drawing: Recorded, row: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """x, the guess and the predicted noise of a drawing as pictures, (STEPS + 1, H, W) uint8 each.

    The noise is that of what is diffused, averaged over its channels; of latents each number is a square of pixels.
    """
    sigma = torch.tensor([sigma for _, sigma in drawing.levels])[:, None, None, None]
    x, guess = drawing.x[:, row], torch.cat([drawing.guesses[:, row], drawing.x[-1:, row]])
    noise = to_pixels((x - guess).mean(1) / (3 * sigma[:, 0]).clamp(min=1e-12))
    z, guess = (
        torch.cat([drawer.pictures(part) for part in each.split(drawer.batch)])
        for each in (x / (1 + sigma**2).sqrt(), guess)
    )
    wide = guess.shape[-1] // noise.shape[-1]
    return z, guess, noise.repeat_interleave(wide, 1).repeat_interleave(wide, 2)


def draw_drawing(model: PromptedModel, glyphs: DemoGlyphs) -> Generator[Event, None, MeasuredFigure]:  # noqa: ARG001
    """Draw what a drawing sees, guesses and predicts; live, all its steps at eight strengths of guidance."""
    drawer, seed = model.drawer, torch.tensor([model.seed])
    usual = int(Recipe().guidance)
    found = list[Recorded]()
    for k, strength in enumerate(STRENGTHS):
        bar = Progress("Drawing step by step", k * STEPS, len(STRENGTHS) * STEPS, "steps of a picture")
        found.append((yield from record(model, strength, (model.prompt,), seed, bar)))
    shown = found[STRENGTHS.index(usual)]
    steps = torch.linspace(0, STEPS - 1, SHOWN_STEPS).round().int().tolist()
    names = ["x at this step", "the glyph\nit guesses", "the noise\nit predicts"]
    rows = [[(row[i : i + 1], "") for i in steps] for row in seen(drawer, shown)]
    moved = [float((b - a).abs().mean()) / 2 for a, b in zip(shown.guesses[:-1], shown.guesses[1:], strict=True)]
    half = next(i for i in range(len(moved)) if sum(moved[: i + 1]) >= sum(moved) / 2) + 1
    lines = [
        f"Prompt “{model.prompt}”, seed {model.seed}, {STEPS} steps of ddim, guidance γ = {usual}.",
        f"Half of the total change of the guess is made by step {half} of {STEPS}, at σ = {shown.levels[half][1]:.3g}.",
    ]
    if draws_grey_pixels(drawer):
        content = recorded_drawings(shown.noise[0], shown.levels, [each.guesses[:, 0] for each in found])
    else:
        content = decoded_drawings(shown.levels, [seen(drawer, each) for each in found])
        if isinstance(drawer.codec, Latents):
            lines.append(
                "The model draws in latents: x and the guess are decoded, the noise is the mean over its channels."
            )
    figure = draw_picture_table(names, [f"σ = {shown.levels[i][1]:.3g}" for i in steps], rows)
    live = Live(
        "drawing",
        content | {"guidance": list(STRENGTHS), "first": STRENGTHS.index(usual)},
        "Three pictures: the noisy glyph at this step, the glyph that the model guesses from it, and the noise that it "
        "predicts.",
    )
    return MeasuredFigure(figure, "\n".join(lines), live)


def draw_guidance(model: PromptedModel, glyphs: DemoGlyphs) -> Generator[Event, None, MeasuredFigure]:  # noqa: ARG001
    """Draw the same noise at eight strengths of guidance, and measure what they cost and what they bring."""
    text = yield from model.text(model.prompt)
    batch, seeds = text.rows(torch.zeros(PICTURES, dtype=torch.int64)), model.seed + torch.arange(PICTURES)
    radicals, recipe = expected_radicals(model.prompt), Recipe(steps=SHEET_STEPS)
    cells, lines, total = [], [], len(STRENGTHS) * PICTURES * recipe.steps
    for k, strength in enumerate(STRENGTHS):
        bar = Progress("Drawing at each guidance", k * PICTURES * recipe.steps, total, "steps of a picture")
        drawing = model.drawer.draw(replace(recipe, guidance=strength), batch, seeds)
        pictures = yield from with_progress(drawing, bar, recipe.steps)
        found = mean_difference(differences(pictures), ~torch.eye(PICTURES, dtype=torch.bool))
        hits = f", {radical_character(radicals[0])} in {radical_share(pictures, radicals)}" if radicals else ""
        cells.append([(pictures, "")])
        lines.append(f"γ = {strength}: two pictures differ by {found}{hits}.")
    figure = draw_picture_table([f"γ = {strength}" for strength in STRENGTHS], [""], cells)
    about = (
        f"Prompt “{model.prompt}”, {recipe.steps} steps of {recipe.sampler}; each column has the same noise. How far "
        "two pictures of the same γ differ is the mean difference of their pixels, where ink and paper differ by 1; in "
        "brackets are 95 % intervals."
    )
    return MeasuredFigure(figure, "\n".join([about, *lines]))


def draw_same_noise(model: PromptedModel, glyphs: DemoGlyphs) -> Generator[Event, None, MeasuredFigure]:  # noqa: ARG001
    """Draw the same noise under eight prompts; live, all steps of one of them."""
    prompts = (model.prompt, *(each for each in OTHERS if each != model.prompt.strip().lower()))[:8]
    text = yield from model.text(*prompts)
    recipe, count = Recipe(steps=SHEET_STEPS), len(prompts)
    of_prompt = torch.arange(count).repeat_interleave(NOISES)
    seeds = model.seed + torch.arange(NOISES).repeat(count)
    drawing = model.drawer.draw(recipe, text.rows(of_prompt), seeds)
    bar = Progress("Drawing each prompt", 0, len(seeds), "pictures")
    pictures = (yield from with_progress(drawing, bar)).unflatten(0, (count, NOISES))
    names = [short_prompt(prompt) for prompt in prompts]
    figure = draw_picture_table(names, [""], [[(row, "")] for row in pictures])
    word, noise = torch.meshgrid(torch.arange(count), torch.arange(NOISES), indexing="ij")
    same_word, same_noise = (of.flatten()[:, None] == of.flatten() for of in (word, noise))
    apart = differences(pictures.flatten(0, 1))
    found = [
        mean_difference(apart, pairs)
        for pairs in (same_noise & ~same_word, same_word & ~same_noise, ~same_word & ~same_noise)
    ]
    lines = [
        f"{recipe.steps} steps of {recipe.sampler}, guidance γ = {recipe.guidance:g}; each column has the same noise.",
        f"Two pictures differ by {found[0]} with the same noise and other words, by {found[1]} with the same words and "
        f"other noise, by {found[2]} with neither the same. That is the mean difference of their pixels, where ink and "
        "paper differ by 1; in brackets are 95 % intervals.",
    ]
    bar = Progress("Drawing each prompt step by step", 0, count * STEPS, "steps of a picture")
    steps = yield from record(model, recipe.guidance, prompts, torch.full((count,), model.seed), bar)
    if draws_grey_pixels(model.drawer):
        content = recorded_drawings(steps.noise[0], steps.levels, list(steps.guesses.unbind(1)))
    else:
        content = decoded_drawings(steps.levels, [seen(model.drawer, steps, k) for k in range(count)])
    live = Live("prompts", content | {"prompts": list(prompts)}, "A picture for each of eight prompts, at this step.")
    return MeasuredFigure(figure, "\n".join(lines), live)


def differences(pictures: Tensor) -> Tensor:
    """(N, N): the mean difference of pixels, 0…1, of each two of `pictures` (N, H, W) uint8."""
    flat = pictures.flatten(1).double() / 255
    return torch.stack([(flat - each).abs().mean(1) for each in flat])


def mean_difference(apart: Tensor, pairs: Tensor) -> str:
    """How far a picture is from others, the mean over pictures with its interval, as text.

    Args:
        apart: (N, N) see `differences`.
        pairs: (N, N) bool, which others count for each; at least one.
    """
    found = mean((apart * pairs).sum(1) / pairs.sum(1))
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"


GUIDED_FIGURES: dict[str, ModelFigure] = {
    "drawing": draw_drawing,
    "guidance": draw_guidance,
    "same-noise": draw_same_noise,
}
"""As `noise_model.MODEL_FIGURES`."""
