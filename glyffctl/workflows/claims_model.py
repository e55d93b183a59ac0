"""What `glyffctl noise-demo --check --model` measures of a model besides the figures' claims: it denoises and draws."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

import torch
from torch import Tensor

from glyffctl.core.codecs.latents import Latents
from glyffctl.core.data.dataset import GlyphSet
from glyffctl.core.data.radicals import labels
from glyffctl.core.data.split import held_out
from glyffctl.core.data.subset import evenly_spaced
from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.estimates import Estimate, mean
from glyffctl.core.evaluation.classifier import Prediction, load_classifier, predict
from glyffctl.core.evaluation.metrics import COVERAGE_NEIGHBORS, manifold
from glyffctl.core.evaluation.prompts import Prompt, followed, radical_prompts, shuffled
from glyffctl.core.models.recipe import Recipe
from glyffctl.core.noise import normal
from glyffctl.core.theory import model_claims
from glyffctl.core.theory.claims import Claim
from glyffctl.core.theory.oracle import FiniteData
from glyffctl.workflows.events import Event, Progress, with_progress
from glyffctl.workflows.noise_model import PromptedModel

HELD_OUT, REMEMBERED = 96, 2000
"""Glyphs that are denoised, and the most that the exact denoiser knows by heart."""
FEWEST, HOLDOUT = 8, 0.05
"""Glyphs that are enough, and the share of characters that models have not seen, as `evaluate` has it."""
TEXT_SIGMA, TIME_SIGMA, MEMORY_SIGMA = 10.0, 1.0, 4.0
"""Where it is open which parts a glyph has; where its strokes are; between the two."""
STRENGTHS = (1.0, 2.0, 4.0, 8.0)
PER_PROMPT, PER_STEPS = 3, 32
DRAWN_STEPS = 12


def measure_trained(model: PromptedModel, glyphs: GlyphSet | None) -> Generator[Event, None, list[Claim]]:
    """All claims of this file that can be measured; those about denoising and real glyphs need prepared data.

    Args:
        model: a model that draws step by step.
        glyphs: prepared glyphs; None where there are none. Those of another size are not used.
    """
    fitting = glyphs if glyphs is not None and glyphs.size == model.size else None
    claims = [] if fitting is None else (yield from _denoising(model, fitting))
    return [*claims, *(yield from _drawing(model, fitting))]


def _errors(model: PromptedModel, x0: Tensor, seeds: Tensor, sigma: float, context: Condition, told: float) -> Tensor:
    """(N,): the mean squared error of the guess of each x0 from noise of level `sigma`, told `told`."""
    drawer, found = model.drawer, []
    with torch.no_grad():
        for rows in torch.arange(len(x0)).split(drawer.batch):
            eps = normal(0, seeds[rows], tuple(x0.shape[1:]), model.seed)
            text = drawer.denoiser.network.encode(context.rows(rows).to(drawer.device))
            # The scale of what the network sees is the true one: only the level it is given is wrong.
            x = (x0[rows] + sigma * eps) * ((1 + told**2) / (1 + sigma**2)) ** 0.5
            level = torch.full((len(rows),), told, dtype=torch.float64)
            guess = drawer.denoiser(x.to(drawer.device), level, text).cpu()
            found.append((guess - x0[rows]).double().square().flatten(1).mean(1))
    return torch.cat(found)


def _denoising(model: PromptedModel, glyphs: GlyphSet) -> Generator[Event, None, list[Claim]]:
    out = held_out(glyphs, HOLDOUT)
    described = torch.tensor([bool(c.definition.strip()) for c in glyphs.characters])[glyphs.character_of]
    index = evenly_spaced((out & described).nonzero().flatten(), HELD_OUT)
    known = evenly_spaced((~out).nonzero().flatten(), REMEMBERED)
    if len(index) < FEWEST or len(known) < FEWEST:
        return []
    texts = [glyphs.characters[c].definition for c in glyphs.character_of[index].tolist()]
    caption = yield from model.text(*texts)
    nothing = model.drawer.nothing(len(index))
    order = torch.arange(len(index)).roll(1)

    def encoded(rows: Tensor) -> Tensor:
        pictures = glyphs.images(rows)[:, 0].to(model.drawer.device)
        return model.drawer.codec.encode(pictures).cpu()

    x0 = encoded(index)
    asked = [
        (TEXT_SIGMA, caption, TEXT_SIGMA),
        (TEXT_SIGMA, nothing, TEXT_SIGMA),
        (TEXT_SIGMA, caption.rows(order), TEXT_SIGMA),
        (TIME_SIGMA, caption, TIME_SIGMA),
        (TIME_SIGMA, caption, TIME_SIGMA / 2),
        (TIME_SIGMA, caption, 2 * TIME_SIGMA),
        (MEMORY_SIGMA, nothing, MEMORY_SIGMA),
    ]
    errors: list[Tensor] = []
    for sigma, text, told in asked:
        yield Progress("Denoising for the claims", len(errors), len(asked), "passes over the glyphs")
        errors.append(_errors(model, x0, index, sigma, text, told))
    yield Progress("Denoising for the claims", len(asked), len(asked), "passes over the glyphs")
    claims = [
        model_claims.text_helps(errors[0], errors[1], errors[2], TEXT_SIGMA),
        model_claims.told_of_time(errors[3], errors[4], errors[5], TIME_SIGMA),
    ]
    if isinstance(model.drawer.codec, Latents):
        return claims
    memory = FiniteData(encoded(known).double())
    again = evenly_spaced(torch.arange(len(known)), len(index))
    level = torch.full((len(index),), MEMORY_SIGMA, dtype=torch.float64)

    def remembered(clean: Tensor, seeds: Tensor) -> Tensor:
        x = clean.double() + MEMORY_SIGMA * normal(0, seeds, tuple(clean.shape[1:]), model.seed).double()
        return (memory(x, level[: len(x)]) - clean).square().flatten(1).mean(1)

    seen = memory.points[again].float()
    own = _errors(model, seen, known[again], MEMORY_SIGMA, nothing.rows(torch.arange(len(seen))), MEMORY_SIGMA)
    exact = remembered(x0, index), remembered(seen, known[again])
    return [*claims, model_claims.generalises(errors[6], exact[0], own, exact[1], MEMORY_SIGMA, len(known))]


def _grey(pictures: Tensor) -> Estimate:
    return mean(((pictures > 63) & (pictures < 192)).flatten(1).double().mean(1))


def _apart(features: Tensor) -> Tensor:
    """(P,): the mean distance between the pictures of a prompt, which follow each other in features (P·C, D)."""
    sets = features.double().unflatten(0, (-1, PER_PROMPT))
    apart = torch.cdist(sets, sets, compute_mode="donot_use_mm_for_euclid_dist")
    return apart.sum((1, 2)) / (PER_PROMPT * (PER_PROMPT - 1))


def _real(glyphs: GlyphSet, prompts: list[Prompt], count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Two samples of real glyphs, `count` of each and as many of each prompt's radicals as possible: their rows."""
    radical = labels(glyphs)
    order = torch.randperm(len(glyphs), generator=torch.Generator().manual_seed(seed))
    wanted = torch.tensor(sorted({r for prompt in prompts for r in prompt.radicals}))
    rows = order[torch.isin(radical[order], wanted)]
    each = max(1, count // len(prompts))
    kept: list[int] = []
    spare: list[int] = []
    taken: dict[int, int] = {}
    for row in rows.tolist():
        number = int(radical[row])
        taken[number] = taken.get(number, 0) + 1
        (kept if taken[number] <= each else spare).append(row)
    kept = (kept + spare)[:count]
    left = [row for row in rows.tolist() if row not in set(kept)][:count]
    return torch.tensor(kept, dtype=torch.int64), torch.tensor(left, dtype=torch.int64)


def _drawing(model: PromptedModel, glyphs: GlyphSet | None) -> Generator[Event, None, list[Claim]]:
    classifier = load_classifier()[0]
    prompts = radical_prompts()
    text = yield from model.text(*(prompt.text for prompt in prompts))
    per_prompt = torch.arange(len(prompts)).repeat_interleave(PER_PROMPT)
    every = text.rows(per_prompt)
    usual = Recipe(steps=DRAWN_STEPS)
    some = text.rows(torch.arange(PER_STEPS) % len(prompts))
    jobs = [(replace(usual, guidance=strength), every) for strength in STRENGTHS]
    jobs.append((usual, model.drawer.nothing(len(prompts))))
    jobs += [(Recipe(sampler="ddpm", steps=5), some), (Recipe(steps=5), some), (Recipe(steps=20), some)]
    total, done, drawn = sum(recipe.steps * len(rows.mask) for recipe, rows in jobs), 0, []
    for recipe, rows in jobs:
        bar = Progress("Drawing for the claims about guidance", done, total, "steps of a picture")
        drawing = model.drawer.draw(recipe, rows, model.seed + torch.arange(len(rows.mask)))
        drawn.append((yield from with_progress(drawing, bar, recipe.steps)))
        done += recipe.steps * len(rows.mask)
    found = [predict(classifier, [pictures]) for pictures in drawn[: len(STRENGTHS) + 1]]

    def shares(prediction: Prediction) -> Tensor:
        return followed(prompts, prediction.radical.view(len(prompts), -1)).double().mean(1)

    guided = dict(zip(STRENGTHS, found, strict=False))
    best = guided[usual.guidance]
    by_prompt = best.radical.view(len(prompts), -1)
    alone = followed(prompts, found[-1].radical.expand(len(prompts), -1)).double().mean(1)
    claims = [
        model_claims.prompts_followed(shares(best), alone, shuffled(prompts, by_prompt)),
        model_claims.guidance_obeys({strength: shares(each) for strength, each in guided.items()}),
    ]
    if glyphs is None:
        return claims
    real, other = _real(glyphs, prompts, len(per_prompt), model.seed)
    if min(len(real), len(other)) < len(per_prompt) or len(per_prompt) <= COVERAGE_NEIGHBORS:
        return claims
    pictures = glyphs.images(real)[:, 0]
    features = [predict(classifier, [each]).features for each in (pictures, glyphs.images(other)[:, 0])]
    recalls = {strength: manifold(features[0], each.features).recall for strength, each in guided.items()}
    precision, control = (manifold(features[0], each).precision for each in (best.features, features[1]))
    few, few_second, many = (_grey(each) for each in drawn[len(STRENGTHS) + 1 :])
    return [
        *claims,
        model_claims.guidance_narrows(recalls, {strength: _apart(each.features) for strength, each in guided.items()}),
        model_claims.looks_real(precision, control, _grey(drawn[STRENGTHS.index(usual.guidance)]), _grey(pictures)),
        model_claims.five_steps(few, few_second, many, _grey(pictures)),
    ]
