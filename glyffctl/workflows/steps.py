"""Quality against steps: every sampler, drawing the same prompts with the same noise."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
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
from glyffctl.core.models.generate import Recipe
from glyffctl.figures.style import new_figure, save_figure, style
from glyffctl.workflows.events import Event, Progress, with_progress

STEPS = (5, 10, 20, 40)


class _Counted:
    """A network that counts the pictures that go through it."""

    def __init__(self, network: Network) -> None:
        self.network, self.pictures = network, 0

    def encode(self, condition: Condition) -> Any:
        return self.network.encode(condition)

    def __call__(self, z: Tensor, sigma: Tensor, context: Any) -> Tensor:
        self.pictures += len(z)
        return self.network(z, sigma, context)


def steps_table(
    drawer: Drawer,
    recipe: Recipe,
    text: Condition,
    prompts: list[Prompt],
    classifier: RadicalClassifier,
    truth: Tensor,
    seed: int,
) -> Generator[Event, None, list[StepsRow]]:
    """Draw one picture of each prompt with every sampler at each of `STEPS`.

    Args:
        text: (P, L, D) the prompts, encoded.
        truth: (N, 128) features of real held-out glyphs.
    """
    rows = []
    seeds = seed + torch.arange(len(prompts))
    total = len(SAMPLERS) * sum(STEPS)
    done = 0
    for sampler in SAMPLERS:
        for steps in STEPS:
            counted = _Counted(drawer.denoiser.network)
            counting = replace(drawer, denoiser=replace(drawer.denoiser, network=counted))
            drawing = counting.draw(replace(recipe, sampler=sampler, steps=steps), text, seeds)
            started = time.perf_counter()
            bar = Progress("Comparing samplers", done, total, "steps", sampler)
            pictures = yield from with_progress(drawing, bar, steps / len(prompts))
            seconds = (time.perf_counter() - started) / len(prompts)
            done += steps
            verdict = predict(classifier, [pictures])
            hits = followed(prompts, verdict.radical[:, None])
            rows.append(
                StepsRow(
                    sampler,
                    steps,
                    round(counted.pictures / len(prompts)),
                    share(int(hits.sum()), len(hits)),
                    kernel_distance(verdict.features, truth),
                    seconds,
                )
            )
    return rows


def save_plot(path: Path, rows: list[StepsRow]) -> None:
    """Adherence and kernel distance against passes through the network, a line for each sampler, as a PNG.

    Raises:
        OutputError: the path cannot be written.
    """
    with style():
        figure = new_figure(10, 4)
        panels = figure.subplots(1, 2)
        for sampler in dict.fromkeys(row.sampler for row in rows):
            own = [row for row in rows if row.sampler == sampler]
            passes = [row.passes for row in own]
            panels[0].plot(passes, [100 * row.adherence.value for row in own], marker="o", label=sampler)
            panels[1].plot(passes, [row.kernel_distance.value for row in own], marker="o", label=sampler)
        panels[0].set_ylabel("pictures with the radical asked for, %")
        panels[1].set_ylabel("kernel distance from real glyphs")
        for panel in panels:
            panel.set_xscale("log")
            panel.set_xlabel("passes through the network for one picture")
            panel.grid()
            ticks = sorted({row.passes for row in rows})
            panel.set_xticks(
                [tick for tick in ticks if not any(0.8 < other / tick < 1 for other in ticks)], minor=False
            )
            panel.xaxis.set_major_formatter("{x:g}")
            panel.minorticks_off()
        panels[0].set_ylim(0, 100)
        panels[0].legend()
        save_figure(path, figure)
