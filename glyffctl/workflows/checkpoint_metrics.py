"""A quick version of `evaluate`, for checkpoints during training."""

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
from glyffctl.core.evaluation.strokes import measure_strokes
from glyffctl.core.models.drawer import Drawer
from glyffctl.core.models.recipe import Recipe
from glyffctl.core.text.encoder import TextEncoder
from glyffctl.workflows.events import Event, Progress, with_progress

PROMPTS = 32
RECIPE = Recipe(steps=10, guidance=4.0)
FEWEST_REAL = 4  # glyphs that a kernel distance needs
_REAL = 256


@dataclass(frozen=True)
class CheckpointMetrics:
    """Rough metrics of a model, on one picture of each of 32 prompts in 10 steps, always from the same noise.

    `kernel_distance` is from real glyphs of all radicals, so it is not 0 even for a perfect model; use it to compare
    checkpoints.
    """

    adherence: Estimate
    kernel_distance: Estimate
    grey: Estimate
    ink: Estimate
    width: Estimate
    seconds: float

    def summary(self) -> str:
        """The metrics in one line of text."""
        found = self.adherence
        return (
            f"{found.value:.0%} of {found.count} prompts have their radical ({found.low:.0%} to {found.high:.0%}), "
            f"kernel distance {self.kernel_distance.value:.2f}, {self.grey.value:.0%} grey pixels"
        )

    def as_dict(self) -> dict[str, float]:
        """The values without intervals, for a log."""
        names = ("adherence", "kernel_distance", "grey", "ink", "width")
        return {name: getattr(self, name).value for name in names}


class CheckpointEvaluator:
    """Draws and measures pictures at every checkpoint. It is stateless after construction."""

    def __init__(self, encoder: TextEncoder, glyphs: GlyphSet, index: Tensor) -> None:
        """Encode the prompts and measure real glyphs.

        Args:
            encoder: the text encoder that the model is trained with. It is not kept.
            glyphs: the data.
            index: glyphs to compare with, preferably held-out ones; at least `FEWEST_REAL`.

        Raises:
            ModelError: the bundled classifier is damaged.
        """
        prompts = radical_prompts()
        self.prompts = [prompts[i] for i in evenly_spaced(torch.arange(len(prompts)), PROMPTS).tolist()]
        self.text = encoder.encode([prompt.text for prompt in self.prompts])
        self.classifier, _ = load_classifier()
        real = glyphs.images(evenly_spaced(index, _REAL))
        self.truth = predict(self.classifier, [real]).features
        strokes = measure_strokes(real[:, 0])
        self.real = {"grey": mean(strokes.grey), "ink": mean(strokes.ink), "width": mean(strokes.width)}
        """Grey, ink and width of real glyphs."""

    def __call__(self, drawer: Drawer, recipe: Recipe | None = None) -> Generator[Event, None, CheckpointMetrics]:
        """Measure the model that `drawer` draws with, by `recipe` or else `RECIPE`."""
        started = time.perf_counter()
        drawing = drawer.draw(recipe or RECIPE, self.text, torch.arange(len(self.prompts)))
        drawn = yield from with_progress(drawing, Progress("Drawing for figures", 0, len(self.prompts), "pictures"))
        prediction, strokes = predict(self.classifier, [drawn]), measure_strokes(drawn)
        hits = followed(self.prompts, prediction.radical[:, None])
        return CheckpointMetrics(
            adherence=share(int(hits.sum()), len(hits)),
            kernel_distance=kernel_distance(prediction.features, self.truth),
            grey=mean(strokes.grey),
            ink=mean(strokes.ink),
            width=mean(strokes.width),
            seconds=time.perf_counter() - started,
        )
