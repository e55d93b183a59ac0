"""The figures of `glyffctl noise-demo` that a trained model draws."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from glyffctl.core.codecs.latents import Latents
from glyffctl.core.data.captions import radical_character
from glyffctl.core.data.dataset import GlyphSet
from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.diffusion.denoiser import Denoise
from glyffctl.core.diffusion.samplers import Step
from glyffctl.core.diffusion.schedule import Schedule
from glyffctl.core.estimates import share
from glyffctl.core.evaluation.classifier import load_classifier, predict
from glyffctl.core.evaluation.novelty import characters_of, compare_candidates, find_candidates
from glyffctl.core.evaluation.prompts import radical_prompts
from glyffctl.core.io.bundled import model_name
from glyffctl.core.models.checkpoint import Model
from glyffctl.core.models.drawer import Drawer, encode_prompts
from glyffctl.core.models.recipe import Recipe
from glyffctl.core.models.upscaler import Upscaler
from glyffctl.core.models.word_maps import word_maps
from glyffctl.core.noise import permutation
from glyffctl.core.text.encoder import TextEncoder
from glyffctl.core.theory import claims
from glyffctl.core.theory.claims import Claim
from glyffctl.figures.attention import draw_attention
from glyffctl.figures.demo_scene import MeasuredAnimation, MeasuredFigure
from glyffctl.figures.model_figures import animation_frames, draw_pairs, draw_picture_table
from glyffctl.figures.style import drawable_text
from glyffctl.workflows.events import Event, Note, Progress, with_fraction, with_progress
from glyffctl.workflows.find_model import find_model
from glyffctl.workflows.models import load_any, load_text_encoder
from glyffctl.workflows.noise_data import DemoGlyphs
from glyffctl.workflows.words import warn_of_unknown_words

PROMPT = "gold"
GOLD = ("gold", 167)
"""The default prompt and its radical; other known prompts are in prompts.toml."""
COUNT = 16
ONE_STEP = 64
"""Pictures drawn in one step: they are cheap."""
SHOWN = 5
FRAMES = 40
HEADING = 30
"""The most characters of the prompt in a heading."""
MANY, SMOOTH = 120, 30
PER_PROMPT = 1
"""Pictures of each bundled prompt that are compared with real glyphs, besides those of gold."""
CALIBRATION = 500
"""Real glyphs that show how close different characters are to one another."""
FEWEST_CHARACTERS = 100
LOOKED_AT = (20.0, 4.0, 1.0, 0.3)
"""The noise levels of the figure of attention; a drawing passes near them."""
MOST_WORDS = 5
"""Tokens of the prompt that the figure of attention has room for."""
LONGEST_WORD = 12
"""The most characters of a token in a heading."""


@dataclass(frozen=True, eq=False)
class PromptedModel:
    """A model, ready to draw for a prompt."""

    model: Model
    drawer: Drawer
    path: Path
    prompt: str
    encoder: str | None
    seed: int
    text_encoders: list[TextEncoder] = field(default_factory=list)
    """The text encoder, once it is loaded."""
    upscaler: Upscaler | None = None
    """What enlarges its pictures, if there is one."""

    @property
    def size(self) -> int:
        """Height and width of its pictures, in pixels."""
        return self.drawer.codec.size

    def level(self, sigma: float) -> tuple[int, float]:
        """(t, σ): the step of the model's schedule that is nearest to a level; t = 0 at σ = 0."""
        return (int((self.drawer.schedule.sigmas - sigma).abs().argmin()) + 1 if sigma else 0), sigma

    def denoiser_without_prompt(self) -> Denoise | None:
        """The model as a denoiser of pictures without a prompt; None for one that denoises latents, or nothing."""
        device = self.drawer.device
        if isinstance(self.drawer.codec, Latents) or self.model.network.one_pass:
            return None

        @torch.no_grad()
        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            nothing = self.model.network.encode(self.drawer.nothing(len(x)).to(device))
            return self.drawer.denoiser(x.to(device), sigma, nothing).cpu()

        return denoise

    def text(self, *prompts: str) -> Generator[Event, None, Condition]:
        """Encode P prompts; "" is none."""
        if not self.model.encodes_empty and not any(prompt.strip() for prompt in prompts):
            return self.drawer.nothing(len(prompts))
        return encode_prompts((yield from self.text_encoder()), prompts)

    def text_encoder(self) -> Generator[Event, None, TextEncoder]:
        """The text encoder, loaded when it is first needed."""
        if not self.text_encoders:
            self.text_encoders.append((yield from load_text_encoder(self.model, self.encoder)))
            yield from warn_of_unknown_words(self.text_encoders[0], [self.prompt])
        return self.text_encoders[0]


def load_prompted_model(
    path: Path | None, encoder: str | None, prompt: str, seed: int, device: torch.device
) -> Generator[Event, None, PromptedModel]:
    """Load a model for a prompt.

    Args:
        path: a run folder or model file; None is the default of `sample`.
        encoder: the model's text encoder, if it was moved.
        prompt: what to draw.
        seed: of the pictures.
        device: where to draw.

    Raises:
        ModelError: the model does not exist or cannot be used.
        EmbeddingError: it takes no prompt for an empty text, and its encoder cannot be loaded.
    """
    found, why = yield from find_model(path, hub=True)
    model = load_any(found)
    yield Note(
        f"model: {model_name(found)}{why}, {model.history}", "model-chosen", {"model": found, "history": model.history}
    )
    prompted = PromptedModel(model, Drawer.of(model, device, COUNT), found, prompt, encoder, seed)
    if not model.encodes_empty:
        return prompted
    return replace(prompted, drawer=prompted.drawer.with_encoder((yield from prompted.text_encoder())))


def expected_radicals(prompt: str) -> tuple[int, ...]:
    """The radicals that answer a prompt; () if unknown."""
    known = {GOLD[0]: (GOLD[1],), **{p.text.lower(): p.radicals for p in radical_prompts()}}
    return known.get(prompt.strip().lower(), ())


def radical_share(pictures: Tensor, radicals: tuple[int, ...]) -> str:
    """The share of pictures with one of `radicals`, according to the bundled classifier, as text."""
    if not radicals:
        return ""
    found = predict(load_classifier()[0], [pictures]).radical
    hits = int(torch.isin(found, torch.tensor(radicals)).sum())
    figure = share(hits, len(pictures))
    return f"{hits} of {len(pictures)} ({figure.low:.0%} to {figure.high:.0%})"


def _animate(
    model: PromptedModel, recipe: Recipe, name: str
) -> Generator[Event, None, tuple[MeasuredAnimation, Tensor]]:
    """Draw COUNT pictures: the frames on the way, nothing measured yet, and the pictures."""
    text = yield from model.text(model.prompt)
    kept = set(torch.linspace(0, recipe.steps - 1, min(recipe.steps, FRAMES)).round().int().tolist())
    frames: list[Tensor] = []
    levels: list[tuple[int, float]] = []

    def keep(step: Step) -> None:
        if step.i in kept:
            # z = x/√(1+σ²) has the scale of a picture at every noise level.
            frames.append(model.drawer.pictures(step.x / math.sqrt(1 + step.sigma**2)))
            levels.append(model.level(step.sigma))

    seeds = model.seed + torch.arange(COUNT)
    drawing = model.drawer.draw(recipe, text.rows(torch.zeros(COUNT, dtype=torch.int64)), seeds, watch=keep)
    pictures = yield from with_progress(drawing, Progress(f"Drawing {name}", 0, COUNT, "pictures"))
    return MeasuredAnimation(animation_frames(frames), "", levels), pictures


def draw_samples(model: PromptedModel, glyphs: DemoGlyphs) -> Generator[Event, None, MeasuredAnimation]:  # noqa: ARG001
    """Animate sixteen pictures in 120 steps of DDPM."""
    recipe = Recipe(sampler="ddpm", steps=MANY)
    found, pictures = yield from _animate(model, recipe, "samples")
    return replace(found, measured=_describe(model, pictures, f"{MANY} steps of ddpm, {_guided(recipe)}"))


def draw_smooth(model: PromptedModel, glyphs: DemoGlyphs) -> Generator[Event, None, MeasuredAnimation]:  # noqa: ARG001
    """Animate sixteen pictures by the stochastic DPM-Solver."""
    recipe = Recipe(sampler="dpmpp-sde", steps=SMOOTH)
    found, pictures = yield from _animate(model, recipe, "smoother samples")
    method = f"{SMOOTH} steps of dpmpp-sde with two passes each, {_guided(recipe)}"
    return replace(found, measured=_describe(model, pictures, method))


def _describe(model: PromptedModel, pictures: Tensor, method: str) -> str:
    radicals = expected_radicals(model.prompt)
    count = (
        f"\nThe bundled classifier, a network that recognises radicals, finds {radical_character(radicals[0])} in "
        f"{radical_share(pictures, radicals)} of the pictures; in brackets is the 95 % interval."
        if radicals
        else ""
    )
    return f"Prompt “{model.prompt}”, {method}.{count}"


def draw_steps(model: PromptedModel, glyphs: DemoGlyphs) -> Generator[Event, None, MeasuredFigure]:  # noqa: ARG001
    """Draw with and without the prompt: in one step from T, one from the lowest level, five, and twenty."""
    radicals = expected_radicals(model.prompt)
    lowest = replace(model.drawer, schedule=Schedule(model.drawer.schedule.sigmas[:1]))
    rows: list[tuple[str, Drawer, Recipe, int]] = [
        ("1 step, from t = 1", lowest, Recipe(sampler="ddpm", steps=1), ONE_STEP),
        ("1 step, from T", model.drawer, Recipe(sampler="ddpm", steps=1), ONE_STEP),
        ("5 steps, ddpm", model.drawer, Recipe(sampler="ddpm", steps=5), COUNT),
        ("5 steps, dpmpp-2m", model.drawer, Recipe(steps=5), COUNT),
        ("20 steps, dpmpp-2m", model.drawer, Recipe(steps=20), COUNT),
    ]
    both = yield from model.text(model.prompt, "")
    named, none = both.rows(torch.tensor([0])), model.drawer.nothing(1)
    prompts = ((f"“{short_prompt(model.prompt)}”", named), ("no prompt", none))
    total = len(prompts) * sum(recipe.steps * count for _, _, recipe, count in rows)
    done, cells, one_step_texts = 0, [], []
    for title, drawer, recipe, count in rows:
        line, found = [], []
        for name, text in prompts:
            batch = text.rows(torch.zeros(count, dtype=torch.int64))
            drawing = drawer.draw(recipe, batch, model.seed + torch.arange(count))
            bar = Progress("Drawing with few steps and many", done, total, "steps of a picture", f"{title}, {name}")
            pictures = yield from with_progress(drawing, bar, recipe.steps)
            done += count * recipe.steps
            figure_text = radical_share(pictures, radicals)
            line.append((pictures[:SHOWN], f"{_radical_label(radicals)} in {figure_text}" if radicals else ""))
            found.append(figure_text)
        cells.append(line)
        if recipe.steps == 1:
            one_step_texts.append(f"{found[0]} of the pictures of “{title}” with the prompt and in {found[1]} without")
    figure = draw_picture_table(
        [title.replace(", ", ",\n") for title, *_ in rows], [name for name, _ in prompts], cells
    )
    lines = [f"Prompt “{model.prompt}”, {_guided(Recipe())}. The first {SHOWN} pictures of each are shown."]
    if radicals:
        lines.append(
            f"{radical_character(radicals[0])} is the radical that answers this prompt. The bundled classifier, a "
            f"network that recognises radicals, finds it in {', and in '.join(one_step_texts)}. In brackets are 95 % "
            "intervals."
        )
    return MeasuredFigure(figure, "\n".join(lines))


def _guided(recipe: Recipe) -> str:
    return f"guidance γ = {recipe.guidance:g} (1 is none; more follows the prompt more closely)"


def _radical_label(radicals: tuple[int, ...]) -> str:
    """The radical as a label, or "the radical" if no font of the figure has it."""
    return drawable_text(radical_character(radicals[0])) or "the radical"


def short_prompt(prompt: str) -> str:
    """The prompt as a heading, shortened with "…"."""
    line = drawable_text(prompt)
    return (line if len(line) <= HEADING else line[: HEADING - 1].rstrip() + "…") or "the prompt"


def draw_real_and_generated(model: PromptedModel, glyphs: DemoGlyphs) -> Generator[Event, None, MeasuredFigure]:
    """Draw real glyphs, and what the model draws for their definitions."""
    defined = [row for row, character in enumerate(glyphs.characters) if character.definition.strip()]
    generator = torch.Generator().manual_seed(model.seed)
    rows = torch.tensor(defined)[torch.randperm(len(defined), generator=generator)[:COUNT]]
    real = glyphs.pictures[rows]
    definitions = [glyphs.characters[row].definition for row in rows.tolist()]
    text = yield from model.text(*definitions)
    recipe = model.model.full_recipe if model.model.network.one_pass else Recipe()
    drawing = model.drawer.draw(recipe, text, model.seed + torch.arange(len(rows)))
    pictures = yield from with_progress(drawing, Progress("Drawing for definitions", 0, len(rows), "pictures"))
    ink = [float((255 - each.double()).mean()) / 255 for each in (real, pictures)]
    return MeasuredFigure(
        draw_pairs(real, pictures, definitions),
        f"{len(rows)} definitions from the data at random, {recipe.steps} steps of {recipe.sampler}, "
        f"{_guided(recipe)}.\n"
        f"Ink covers {ink[0]:.1%} of the real pictures and {ink[1]:.1%} of the drawn.",
    )


def draw_word_maps(model: PromptedModel, glyphs: DemoGlyphs) -> Generator[Event, None, MeasuredFigure]:  # noqa: ARG001
    """Draw where a drawing looks at which word of its prompt."""
    text = yield from model.text(model.prompt)
    recipe = Recipe()
    looking = word_maps(model.drawer, model.model.network, recipe, text, model.seed, LOOKED_AT)
    found = yield from with_progress(looking, Progress("Drawing maps of attention", 0, 1, "pictures"))
    shares = torch.stack([found.mean_over_layers(level) for level in range(len(found.sigmas))])
    pieces = model.text_encoders[0].pieces(model.prompt) if model.text_encoders else []
    names = [drawable_text(piece) or f"token {k}" for k, piece in enumerate(pieces, 1)] or ["no prompt"]
    shown = [name if len(name) <= LONGEST_WORD else name[: LONGEST_WORD - 1] + "…" for name in names[:MOST_WORDS]]
    levels = [f"σ = {sigma:.3g}" for sigma in found.sigmas]
    figure = draw_attention(levels, shown, found.guesses, shares[:, : len(shown)])
    means = shares.mean(dim=(2, 3))
    lines = [
        f"Prompt “{model.prompt}”, {len(names)} tokens; one picture in {recipe.steps} steps of {recipe.sampler}, "
        f"{_guided(recipe)}. Shown is the mean over the heads of all {len(found.layers)} layers with cross-attention.",
        *(
            f"“{name}” gets {float(means[0, k]):.0%} at {levels[0]} and {float(means[-1, k]):.0%} at {levels[-1]}, "
            "averaged over the picture."
            for k, name in enumerate(shown)
        ),
    ]
    return MeasuredFigure(figure, "\n".join(lines))


def measure_model_claims(model: PromptedModel, glyphs: DemoGlyphs) -> Generator[Event, None, list[Claim]]:
    """Measure the claims about what a model draws; the one about novelty needs prepared data."""
    classifier = load_classifier()[0]
    both = yield from model.text(GOLD[0], "")
    lowest = replace(model.drawer, schedule=Schedule(model.drawer.schedule.sigmas[:1]))
    once = Recipe(sampler="ddpm", steps=1)
    others = radical_prompts()
    jobs: list[tuple[Drawer, Recipe, Condition]] = [
        (drawer, recipe, both.rows(torch.full((ONE_STEP,), row)))
        for drawer, recipe, row in ((model.drawer, once, 0), (lowest, once, 0), (model.drawer, once, 1))
    ]
    jobs.append((model.drawer, Recipe(), jobs[0][2]))
    if glyphs.folder is not None:
        text = yield from model.text(*(prompt.text for prompt in others))
        jobs.append((model.drawer, Recipe(), text.rows(torch.arange(len(others)).repeat_interleave(PER_PROMPT))))
    total, done, drawn_for = sum(recipe.steps * len(text.mask) for _, recipe, text in jobs), 0, []
    for drawer, recipe, text in jobs:
        bar = Progress("Drawing for the claims", done, total, "steps of a picture")
        drawing = drawer.draw(recipe, text, model.seed + torch.arange(len(text.mask)))
        drawn_for.append((yield from with_progress(drawing, bar, recipe.steps)))
        done += recipe.steps * len(text.mask)
    found = [predict(classifier, [pictures]).radical == GOLD[1] for pictures in drawn_for[:4]]
    noisiest, cleanest, unprompted, followed = (share(int(hits.sum()), len(hits)) for hits in found)
    measured = [claims.one_step(noisiest, cleanest, unprompted), claims.gold(followed)]
    if glyphs.folder is not None:
        distances = yield from _distances(open_glyphs(glyphs.folder), torch.cat(drawn_for[3:]), model.seed)
        if distances is not None:
            measured.append(claims.novelty(*distances))
    return measured


def _distances(glyphs: GlyphSet, drawn: Tensor, seed: int) -> Generator[Event, None, tuple[Tensor, Tensor] | None]:
    """Distances of drawn pictures to the nearest of `glyphs`, and of some of these to another character.

    None if there are too few characters for the second.
    """
    number = characters_of(glyphs)
    if len(number.unique()) < FEWEST_CHARACTERS:
        return None
    some = permutation(seed, 0, len(glyphs))[:CALIBRATION]
    pictures = torch.cat([drawn, glyphs.images(some)[:, 0]])
    own = torch.cat([torch.full((len(drawn),), -1), number[some]])
    search = find_candidates(pictures, glyphs, own)
    candidates = yield from with_fraction(search, "Looking for copies", len(glyphs), "glyphs")
    comparison = compare_candidates(pictures, glyphs, candidates)
    nearest = yield from with_fraction(comparison, "Comparing the nearest", len(pictures), "pictures")
    return nearest.distance[: len(drawn)], nearest.distance[len(drawn) :]


ModelFigure = Callable[[PromptedModel, DemoGlyphs], Generator[Event, None, MeasuredFigure | MeasuredAnimation]]
MODEL_FIGURES: dict[str, ModelFigure] = {
    "samples": draw_samples,
    "steps": draw_steps,
    "smooth": draw_smooth,
    "beside": draw_real_and_generated,
    "attention": draw_word_maps,
}
"""The functions of the figures that need a model, by the names of `figures.registry`."""
