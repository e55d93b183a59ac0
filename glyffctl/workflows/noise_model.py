"""The figures of `glyffctl noise-demo` that a trained model draws."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from glyffctl.core.data.captions import radical_character
from glyffctl.core.data.dataset import GlyphSet, to_pixels
from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.data.subset import evenly_spaced
from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.diffusion.samplers import Step
from glyffctl.core.diffusion.schedule import Schedule
from glyffctl.core.estimates import share
from glyffctl.core.evaluation.classifier import load_classifier, predict
from glyffctl.core.evaluation.novelty import characters_of, search
from glyffctl.core.evaluation.prompts import radical_prompts
from glyffctl.core.io.bundled import model_name
from glyffctl.core.models.checkpoint import Model
from glyffctl.core.models.drawer import Drawer, encode_prompts
from glyffctl.core.models.generate import Recipe
from glyffctl.core.noise import permutation
from glyffctl.core.text.encoder import TextEncoder
from glyffctl.core.theory import claims
from glyffctl.core.theory.claims import Claim
from glyffctl.figures import drawn
from glyffctl.figures.map_png import legible
from glyffctl.figures.process import Guess
from glyffctl.workflows.events import Event, Note, Progress, with_progress
from glyffctl.workflows.models import find_model, load_any, load_text_encoder
from glyffctl.workflows.noise_data import Material
from glyffctl.workflows.words import warn_of_unknown_words

PROMPT = "gold"
GOLD = ("gold", 167)
"""The usual prompt and the radical that answers it; other known prompts are in prompts.toml."""
COUNT = 16
ONE_STEP = 64
"""Pictures of one step: they cost next to nothing."""
SHOWN = 5
FRAMES = 40
HEADING = 30
"""Letters of the prompt in a heading."""
MANY, SMOOTH = 120, 30
OF_EACH = 1
"""Pictures of each known prompt that are compared with real glyphs, beside those of gold."""
CALIBRATION = 500
"""Real glyphs that show how near to one another different characters are."""
FEWEST_CHARACTERS = 100


class Made(NamedTuple):
    """A figure or an animation, and what was measured for it."""

    picture: Figure | list[Image.Image]
    measured: str


@dataclass(frozen=True, eq=False)
class Artist:
    """A model ready to draw for a prompt."""

    model: Model
    drawer: Drawer
    path: Path
    prompt: str
    encoder: str | None
    seed: int
    readers: list[TextEncoder] = field(default_factory=list)
    """The text encoder, once it was needed."""

    @property
    def size(self) -> int:
        """Height and width of what it draws."""
        return self.drawer.codec.size

    def guess(self) -> Guess:
        """The model as a denoiser without a prompt."""
        device = self.drawer.device

        @torch.no_grad()
        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            nothing = self.model.network.encode(Condition.none(len(x), self.drawer.text_width).to(device))
            return self.drawer.denoiser(x.to(device), sigma, nothing).cpu()

        return denoise

    def text(self, *prompts: str) -> Generator[Event, None, Condition]:
        """(P, L, D) prompts, encoded; "" is none."""
        if not any(prompt.strip() for prompt in prompts):
            return Condition.none(len(prompts), self.drawer.text_width)
        if not self.readers:
            self.readers.append((yield from load_text_encoder(self.model, self.encoder)))
            yield from warn_of_unknown_words(self.readers[0], [self.prompt])
        return encode_prompts(self.readers[0], prompts)


def artist(
    path: Path | None, encoder: str | None, prompt: str, seed: int, device: torch.device
) -> Generator[Event, None, Artist]:
    """Load a model; without `path` the one that `sample` would take.

    Raises:
        ModelError: there is none, or it cannot be used.
    """
    found, why = yield from find_model(path, hub=True)
    model = load_any(found)
    yield Note(f"model: {model_name(found)}{why}, {model.history}")
    return Artist(model, Drawer.of(model, device, COUNT), found, prompt, encoder, seed)


def answers(prompt: str) -> tuple[int, ...]:
    """The radicals that answer a prompt; () where nobody has said."""
    known = {GOLD[0]: (GOLD[1],), **{p.text.lower(): p.radicals for p in radical_prompts()}}
    return known.get(prompt.strip().lower(), ())


def _remark(pictures: Tensor, radicals: tuple[int, ...]) -> str:
    """How many of the pictures carry one of `radicals`, by the classifier in the box."""
    if not radicals:
        return ""
    found = predict(load_classifier()[0], [pictures]).radical
    hits = int(torch.isin(found, torch.tensor(radicals)).sum())
    figure = share(hits, len(pictures))
    return f"{hits} of {len(pictures)} ({figure.low:.0%} to {figure.high:.0%})"


def _animate(artist: Artist, recipe: Recipe, name: str) -> Generator[Event, None, tuple[list[Tensor], Tensor]]:
    """Frames of COUNT pictures in the making, and the pictures."""
    text = yield from artist.text(artist.prompt)
    kept = set(evenly_spaced(torch.arange(recipe.steps), FRAMES).tolist())
    frames: list[Tensor] = []

    def keep(step: Step) -> None:
        if step.i in kept:
            # The DDPM view of x has the scale of a picture at every noise level.
            frames.append(to_pixels(step.x / math.sqrt(1 + step.sigma**2))[:, 0].cpu())

    seeds = artist.seed + torch.arange(COUNT)
    drawing = artist.drawer.draw(recipe, text.rows(torch.zeros(COUNT, dtype=torch.int64)), seeds, watch=keep)
    pictures = yield from with_progress(drawing, Progress(f"drawing {name}", 0, COUNT, "pictures"))
    return frames, pictures


def samples(artist: Artist, material: Material) -> Generator[Event, None, Made]:  # noqa: ARG001
    """Sixteen pictures in 120 steps of DDPM."""
    recipe = Recipe(sampler="ddpm", steps=MANY)
    frames, pictures = yield from _animate(artist, recipe, "samples")
    return Made(drawn.frames(frames), _told(artist, pictures, f"{MANY} steps of ddpm, {_guided(recipe)}"))


def smooth(artist: Artist, material: Material) -> Generator[Event, None, Made]:  # noqa: ARG001
    """Sixteen pictures by the stochastic DPM-Solver."""
    recipe = Recipe(sampler="dpmpp-sde", steps=SMOOTH)
    frames, pictures = yield from _animate(artist, recipe, "smooth")
    said = f"{SMOOTH} steps of dpmpp-sde with two passes each, {_guided(recipe)}"
    return Made(drawn.frames(frames), _told(artist, pictures, said))


def _told(artist: Artist, pictures: Tensor, how: str) -> str:
    radicals = answers(artist.prompt)
    count = (
        f"\nThe classifier in the box, a network that reads radicals, finds {radical_character(radicals[0])} in "
        f"{_remark(pictures, radicals)} of the pictures; in brackets is the 95 % interval."
        if radicals
        else ""
    )
    return f"Prompt “{artist.prompt}”, {how}.{count}"


def steps(artist: Artist, material: Material) -> Generator[Event, None, Made]:  # noqa: ARG001
    """The prompt and no prompt, in one step from T, in one from the lowest level, in five, and in twenty."""
    radicals = answers(artist.prompt)
    lowest = replace(artist.drawer, schedule=Schedule(artist.drawer.schedule.sigmas[:1]))
    ways: list[tuple[str, Drawer, Recipe, int]] = [
        ("1 step, from t = 1", lowest, Recipe(sampler="ddpm", steps=1), ONE_STEP),
        ("1 step, from T", artist.drawer, Recipe(sampler="ddpm", steps=1), ONE_STEP),
        ("5 steps, ddpm", artist.drawer, Recipe(sampler="ddpm", steps=5), COUNT),
        ("5 steps, dpmpp-2m", artist.drawer, Recipe(steps=5), COUNT),
        ("20 steps, dpmpp-2m", artist.drawer, Recipe(steps=20), COUNT),
    ]
    both = yield from artist.text(artist.prompt, "")
    none = Condition.none(1, artist.drawer.text_width)
    prompts = ((f"“{_short(artist.prompt)}”", both.rows(torch.tensor([0]))), ("no prompt", none))
    total = len(prompts) * sum(recipe.steps * count for _, _, recipe, count in ways)
    done, cells, said = 0, [], []
    for title, drawer, recipe, count in ways:
        line, found = [], []
        for name, text in prompts:
            batch = text.rows(torch.zeros(count, dtype=torch.int64))
            drawing = drawer.draw(recipe, batch, artist.seed + torch.arange(count))
            bar = Progress("drawing steps", done, total, "steps of a picture", f"{title}, {name}")
            pictures = yield from with_progress(drawing, bar, recipe.steps)
            done += count * recipe.steps
            remark = _remark(pictures, radicals)
            line.append((pictures[:SHOWN], f"{_letter(radicals)} in {remark}" if radicals else ""))
            found.append(remark)
        cells.append(line)
        if recipe.steps == 1:
            said.append(f"{found[0]} of the pictures of “{title}” with the prompt and in {found[1]} without")
    figure = drawn.table([title.replace(", ", ",\n") for title, *_ in ways], [name for name, _ in prompts], cells)
    lines = [f"Prompt “{artist.prompt}”, {_guided(Recipe())}. The first {SHOWN} pictures of each are shown."]
    if radicals:
        lines.append(
            f"{radical_character(radicals[0])} is the radical that answers this prompt. The classifier in the box, a "
            f"network that reads radicals, finds it in {', and in '.join(said)}. In brackets are 95 % intervals."
        )
    return Made(figure, "\n".join(lines))


def _guided(recipe: Recipe) -> str:
    return f"guidance γ = {recipe.guidance:g} (1 is none; more follows the prompt more closely)"


def _letter(radicals: tuple[int, ...]) -> str:
    """The radical as a label, or a word for it where no font of the figure has the letter."""
    return legible(radical_character(radicals[0])) or "the radical"


def _short(prompt: str) -> str:
    """The prompt as a heading, with "…" where it is longer."""
    line = legible(prompt)
    return (line if len(line) <= HEADING else line[: HEADING - 1].rstrip() + "…") or "the prompt"


def beside(artist: Artist, material: Material) -> Generator[Event, None, Made]:
    """Real glyphs, and what the model draws for their definitions."""
    defined = [row for row, character in enumerate(material.characters) if character.definition.strip()]
    generator = torch.Generator().manual_seed(artist.seed)
    rows = torch.tensor(defined)[torch.randperm(len(defined), generator=generator)[:COUNT]]
    real = material.pictures[rows]
    definitions = [material.characters[row].definition for row in rows.tolist()]
    text = yield from artist.text(*definitions)
    recipe = Recipe()
    drawing = artist.drawer.draw(recipe, text, artist.seed + torch.arange(len(rows)))
    pictures = yield from with_progress(drawing, Progress("drawing beside", 0, len(rows), "pictures"))
    ink = [float((255 - each.double()).mean()) / 255 for each in (real, pictures)]
    return Made(
        drawn.beside(real, pictures, definitions),
        f"{len(rows)} definitions from the data at random, {recipe.steps} steps of {recipe.sampler}, "
        f"{_guided(recipe)}.\n"
        f"Ink covers {ink[0]:.1%} of the real pictures and {ink[1]:.1%} of the drawn.",
    )


def model_claims(artist: Artist, material: Material) -> Generator[Event, None, list[Claim]]:
    """The claims about what a model draws, measured on `artist`; about newness only beside data that are prepared."""
    classifier = load_classifier()[0]
    both = yield from artist.text(GOLD[0], "")
    lowest = replace(artist.drawer, schedule=Schedule(artist.drawer.schedule.sigmas[:1]))
    once = Recipe(sampler="ddpm", steps=1)
    others = radical_prompts()
    jobs: list[tuple[Drawer, Recipe, Condition]] = [
        (drawer, recipe, both.rows(torch.full((ONE_STEP,), row)))
        for drawer, recipe, row in ((artist.drawer, once, 0), (lowest, once, 0), (artist.drawer, once, 1))
    ]
    jobs.append((artist.drawer, Recipe(), jobs[0][2]))
    if material.folder is not None:
        text = yield from artist.text(*(prompt.text for prompt in others))
        jobs.append((artist.drawer, Recipe(), text.rows(torch.arange(len(others)).repeat_interleave(OF_EACH))))
    total, done, drawn_for = sum(recipe.steps * len(text.mask) for _, recipe, text in jobs), 0, []
    for drawer, recipe, text in jobs:
        bar = Progress("drawing for the claims", done, total, "steps of a picture")
        drawing = drawer.draw(recipe, text, artist.seed + torch.arange(len(text.mask)))
        drawn_for.append((yield from with_progress(drawing, bar, recipe.steps)))
        done += recipe.steps * len(text.mask)
    found = [predict(classifier, [pictures]).radical == GOLD[1] for pictures in drawn_for[:4]]
    noisiest, cleanest, unprompted, followed = (share(int(hits.sum()), len(hits)) for hits in found)
    measured = [claims.one_step(noisiest, cleanest, unprompted), claims.gold(followed)]
    if material.folder is not None:
        distances = yield from _distances(open_glyphs(material.folder), torch.cat(drawn_for[3:]), artist.seed)
        if distances is not None:
            measured.append(claims.newness(*distances))
    return measured


def _distances(glyphs: GlyphSet, drawn: Tensor, seed: int) -> Generator[Event, None, tuple[Tensor, Tensor] | None]:
    """How far drawn pictures are from the nearest of `glyphs`, and some of these from another character; None where
    they are too few to say how near to one another real characters come.
    """
    number = characters_of(glyphs)
    if len(number.unique()) < FEWEST_CHARACTERS:
        return None
    some = permutation(seed, 0, len(glyphs))[:CALIBRATION]
    pictures = torch.cat([drawn, glyphs.images(some)[:, 0]])
    own = torch.cat([torch.full((len(drawn),), -1), number[some]])
    nearest = None
    for searched in search(pictures, glyphs, own):
        yield Progress("looking for copies", searched.done, searched.total, "glyphs")
        nearest = searched.nearest
    assert nearest is not None
    return nearest.distance[: len(drawn)], nearest.distance[len(drawn) :]


MODEL_FIGURES = {"samples": samples, "steps": steps, "smooth": smooth, "beside": beside}
