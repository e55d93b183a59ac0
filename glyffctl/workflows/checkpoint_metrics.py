"""The cheap part of `evaluate`, for a look at a model while it trains."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass

import torch
from torch import Tensor

from glyffctl.core.data.dataset import GlyphSet
from glyffctl.core.data.subset import evenly_spaced
from glyffctl.core.estimates import Estimate, mean, share
from glyffctl.core.evaluation.classifier import load_classifier, predict
from glyffctl.core.evaluation.metrics import kernel_distance
from glyffctl.core.evaluation.prompts import followed, radical_prompts
from glyffctl.core.evaluation.strokes import measure
from glyffctl.core.models.drawer import Drawer
from glyffctl.core.models.generate import Recipe
from glyffctl.core.text.encoder import TextEncoder
from glyffctl.workflows.events import Event, Progress, with_progress

PROMPTS = 32
RECIPE = Recipe(steps=10, guidance=4.0)
FEWEST_REAL = 4  # glyphs without which there is no distance
_REAL = 256


@dataclass(frozen=True)
class CheckpointMetrics:
    """A few figures about a model, on one picture of each of 32 prompts in 10 steps: rough, and always the same noise.

    `kernel_distance` is from real glyphs of all radicals, so not 0 even for a perfect model; it is for comparing
    checkpoints.
    """

    adherence: Estimate
    kernel_distance: Estimate
    grey: Estimate
    ink: Estimate
    width: Estimate
    seconds: float

    def summary(self) -> str:
        """One line for a person."""
        found = self.adherence
        return (
            f"{found.value:.0%} of {found.count} prompts have their radical ({found.low:.0%} to {found.high:.0%}), "
            f"kernel distance {self.kernel_distance.value:.2f}, {self.grey.value:.0%} grey pixels"
        )

    def as_dict(self) -> dict[str, float]:
        """The bare values, for a log."""
        names = ("adherence", "kernel_distance", "grey", "ink", "width")
        return {name: getattr(self, name).value for name in names}


class CheckpointEvaluator:
    """Draws and measures; made once, used at every checkpoint. No state changes in between."""

    def __init__(self, encoder: TextEncoder, glyphs: GlyphSet, index: Tensor) -> None:
        """Encode the prompts and look at real glyphs.

        Args:
            encoder: the one whose embeddings the model is trained with. It is not kept.
            glyphs, index: real glyphs to compare with, the held-out ones at best; at least `FEWEST_REAL`.

        Raises:
            ModelError: the classifier that comes with the program is damaged.
        """
        prompts = radical_prompts()
        self.prompts = [prompts[i] for i in evenly_spaced(torch.arange(len(prompts)), PROMPTS).tolist()]
        self.text = encoder.encode([prompt.text for prompt in self.prompts])
        self.classifier, _ = load_classifier()
        real = glyphs.images(evenly_spaced(index, _REAL))
        self.truth = predict(self.classifier, [real]).features
        strokes = measure(real[:, 0])
        self.real = {"grey": mean(strokes.grey), "ink": mean(strokes.ink), "width": mean(strokes.width)}
        """What grey, ink and width are of real glyphs."""

    def __call__(self, drawer: Drawer) -> Generator[Event, None, CheckpointMetrics]:
        """Measure the model that `drawer` draws with."""
        started = time.perf_counter()
        drawing = drawer.draw(RECIPE, self.text, torch.arange(len(self.prompts)))
        drawn = yield from with_progress(drawing, Progress("Drawing for figures", 0, len(self.prompts), "pictures"))
        verdict, strokes = predict(self.classifier, [drawn]), measure(drawn)
        hits = followed(self.prompts, verdict.radical[:, None])
        return CheckpointMetrics(
            adherence=share(int(hits.sum()), len(hits)),
            kernel_distance=kernel_distance(verdict.features, self.truth),
            grey=mean(strokes.grey),
            ink=mean(strokes.ink),
            width=mean(strokes.width),
            seconds=time.perf_counter() - started,
        )
