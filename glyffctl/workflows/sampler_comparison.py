"""Quality against steps: every sampler draws the same prompts from the same noise."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.diffusion.denoiser import Network
from glyffctl.core.diffusion.samplers import SAMPLERS
from glyffctl.core.estimates import share
from glyffctl.core.evaluation.classifier import RadicalClassifier, predict
from glyffctl.core.evaluation.metrics import kernel_distance
from glyffctl.core.evaluation.prompts import Prompt, followed
from glyffctl.core.evaluation.report import StepsRow
from glyffctl.core.models.drawer import Drawer
from glyffctl.core.models.recipe import Recipe
from glyffctl.workflows.events import Event, Progress, with_progress

STEPS = (5, 10, 20, 40)


class _CountingNetwork:
    """A network that counts the pictures it evaluates."""

    def __init__(self, network: Network) -> None:
        self.network, self.pictures = network, 0

    def encode(self, condition: Condition) -> Any:
        return self.network.encode(condition)

    def __call__(self, z: Tensor, sigma: Tensor, context: Any) -> Tensor:
        self.pictures += len(z)
        return self.network(z, sigma, context)


def compare_samplers(
    drawer: Drawer,
    guidance: float,
    text: Condition,
    prompts: list[Prompt],
    classifier: RadicalClassifier,
    truth: Tensor,
    seed: int,
) -> Generator[Event, None, list[StepsRow]]:
    """Draw one picture of each prompt with every sampler at each of `STEPS`.

    Args:
        drawer: draws with the model.
        guidance: γ, at every step.
        text: (P, L, D) the prompts, encoded.
        prompts: P prompts with their radicals.
        classifier: measures whether they were followed.
        truth: (N, 128) features of real held-out glyphs.
        seed: of the first picture; picture k has seed + k.
    """
    rows = []
    seeds = seed + torch.arange(len(prompts))
    total = len(SAMPLERS) * sum(STEPS)
    done = 0
    for sampler in SAMPLERS:
        for steps in STEPS:
            network = _CountingNetwork(drawer.denoiser.network)
            counting = replace(drawer, denoiser=replace(drawer.denoiser, network=network))
            drawing = counting.draw(Recipe(sampler=sampler, steps=steps, guidance=guidance), text, seeds)
            started = time.perf_counter()
            bar = Progress("Comparing samplers", done, total, "steps", sampler)
            pictures = yield from with_progress(drawing, bar, steps / len(prompts))
            seconds = (time.perf_counter() - started) / len(prompts)
            done += steps
            prediction = predict(classifier, [pictures])
            hits = followed(prompts, prediction.radical[:, None])
            rows.append(
                StepsRow(
                    sampler,
                    steps,
                    round(network.pictures / len(prompts)),
                    share(int(hits.sum()), len(hits)),
                    kernel_distance(prediction.features, truth),
                    seconds,
                )
            )
    return rows
