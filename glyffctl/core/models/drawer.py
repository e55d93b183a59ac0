"""From prompts to pictures: the one way in which pictures are made."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from glyffctl.core.codecs.codec import Codec
from glyffctl.core.device import memory_free
from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.diffusion.denoiser import Denoiser
from glyffctl.core.diffusion.flow_map import FlowMap
from glyffctl.core.diffusion.samplers import Step
from glyffctl.core.diffusion.schedule import Schedule
from glyffctl.core.errors import ModelError, UsageError
from glyffctl.core.models.checkpoint import Model
from glyffctl.core.models.few_step import FewStep
from glyffctl.core.models.generate import generate, generate_few_step
from glyffctl.core.models.guides import NO_GUIDES, Guides
from glyffctl.core.models.recipe import FEW_STEP, Recipe
from glyffctl.core.models.source import ANEW, Source
from glyffctl.core.networks.narrowed import NarrowedNetwork
from glyffctl.core.networks.network import Network
from glyffctl.core.precision import Precision, autocast_dtype
from glyffctl.core.text.encoder import TextEncoder

_ENCODED_AT_ONCE = 64  # texts
_SAMPLER_HOLDS = 40


@dataclass(frozen=True, eq=False)
class Drawer:
    """A denoiser with all that drawing needs besides a prompt; `of` makes one for a model.

    Attributes:
        text_width: D of the token vectors that the network takes.
        device: where to draw.
        batch: pictures drawn at once.
        encoder: of prompts; without it only conditions that are encoded already can be drawn.
        few_step: a student that draws recipes of few passes, if the model has one.
        guides: what leads besides prompts, where the whole model draws.
        source: a picture to begin with, where the whole model draws.
    """

    denoiser: Denoiser
    schedule: Schedule
    codec: Codec
    text_width: int
    device: torch.device
    batch: int = 16
    encoder: TextEncoder | None = None
    few_step: FewStep | None = None
    guides: Guides = NO_GUIDES
    source: Source = ANEW

    @staticmethod
    def of(
        model: Model,
        device: torch.device,
        batch: int = 16,
        precision: str = "auto",
    ) -> Drawer:
        """A drawer for a model as it is now, which is moved to `device`.

        Args:
            model: what to draw with.
            device: where to draw.
            batch: pictures to draw at once, or fewer: as many as half of the memory that is free now has room for.
            precision: as in `precision.autocast_dtype`.
        """
        network, dtype = model.network.to(device), autocast_dtype(precision, device)
        cheaper = network if dtype is None else NarrowedNetwork(network, dtype)
        denoiser = Denoiser(cheaper, model.prediction, dtype)
        batch = min(batch, most_at_once(network, model.codec, memory_free(device)))
        return Drawer(denoiser, model.schedule, model.codec, model.text_width, device, batch, few_step=model.few_step)

    @property
    def precision(self) -> Precision:
        """What the inside of the network is computed in."""
        return "fp32" if self.denoiser.autocast is None else "bf16"

    def with_encoder(self, encoder: TextEncoder) -> Drawer:
        """The same with a text encoder."""
        return replace(self, encoder=encoder)

    def encode(self, prompts: Sequence[str]) -> Condition:
        """(P, L, D) the prompts; all may be empty where there is no encoder."""
        if self.encoder is not None:
            return encode_prompts(self.encoder, prompts)
        if any(prompt.strip() for prompt in prompts):
            raise ValueError("prompts need a text encoder")
        return Condition.none(len(prompts), self.text_width)

    def nothing(self, count: int) -> Condition:
        """`count` rows of no prompt, as the model was trained with: no caption, or an empty text.

        With `encoder`, which says which of them it is: see `Model.encodes_empty`.
        """
        if self.encoder is not None and self.encoder.encodes_empty:
            return self.encoder.encode([""]).rows(torch.zeros(count, dtype=torch.int64))
        return Condition.none(count, self.text_width)

    def pictures(self, x: Tensor) -> Tensor:
        """(B, size, size) uint8 on the CPU: what is diffused (B, C, H, W), decoded."""
        return self.codec.decode(x).cpu()

    def steps(self, recipe: Recipe, condition: Condition, negative: Condition, seeds: Tensor) -> Iterator[Step]:
        """Draw B samples step by step; all arguments have B rows, on `device`, see `generate`.

        Raises:
            UsageError: the model cannot draw by this recipe.
        """
        shape, limit = self.codec.shape, self.codec.limit
        if recipe.sampler != FEW_STEP:
            return generate(
                *(self.denoiser, self.schedule, recipe, condition, negative, seeds, shape, limit, self.guides),
                source=self.source,
            )
        if self.few_step is None:
            raise UsageError("this model has no few-step student; make one with `glyffctl train --preset few-step`")
        levels = self.few_step.levels_of(recipe.steps)
        return generate_few_step(self._flow, levels, recipe.guidance, condition, seeds, shape, limit)

    @cached_property
    def _flow(self) -> FlowMap:
        """What the student draws with, made when it is first needed."""
        assert self.few_step is not None
        network, dtype = self.few_step.network.to(self.device), self.denoiser.autocast
        return FlowMap(network if dtype is None else NarrowedNetwork(network, dtype), self.denoiser.prediction, dtype)

    def draw(
        self,
        recipe: Recipe,
        condition: Condition,
        seeds: Tensor,
        *,
        negative: Condition | None = None,
        watch: Callable[[Step], None] | None = None,
    ) -> Generator[float, None, Tensor]:
        """One picture of each row of `condition` with the seed of the same place: (B, size, size) uint8 on the CPU.

        Yields how many pictures are done, in fractions as the sampler steps.

        Args:
            recipe: sampler, steps and guidance.
            condition: B prompts, encoded.
            seeds: (B,) int64.
            negative: one row to be guided away from; None is no prompt, see `nothing`.
            watch: is called with every step of every batch.

        Raises:
            ModelError: the network's output is not finite.
        """
        codec, away = self.codec, self.nothing(1) if negative is None else negative
        pictures = [torch.empty(0, codec.size, codec.size, dtype=torch.uint8)]
        done = 0
        for rows in torch.arange(len(seeds)).split(self.batch):
            towards = condition.rows(rows).to(self.device)
            each_away = away.rows(torch.zeros_like(rows)).to(self.device)
            steps = self.steps(recipe, towards, each_away, seeds[rows].to(self.device))
            x = torch.empty(0)
            for step in steps:
                x = step.x
                if watch is not None:
                    watch(step)
                yield done + len(rows) * (step.i + 1) / recipe.steps
            check_finite(x)
            pictures.append(self.pictures(x))
            done += len(rows)
        return torch.cat(pictures)


def check_finite(x: Tensor) -> None:
    """Raise ModelError for what is drawn if any of its numbers is not finite."""
    if not bool(x.isfinite().all()):
        raise ModelError("the network's output is not finite; try a smaller `guidance` or another model")


def most_at_once(network: Network, codec: Codec, memory: int) -> int:
    """Pictures, at least 1, that can be drawn at once in half of `memory` bytes.

    With guidance each is two rows of a pass. A sampler and its random numbers hold some 40 numbers for each of x.
    """
    row = network.numbers_a_row()
    if row is None:
        return sys.maxsize
    return max(1, memory // 2 // (4 * (2 * row + _SAMPLER_HOLDS * math.prod(codec.shape))))


def encode_prompts(encoder: TextEncoder, prompts: Sequence[str]) -> Condition:
    """(N, L, D) the prompts, encoded a few at a time."""
    parts = [list(prompts[i : i + _ENCODED_AT_ONCE]) for i in range(0, len(prompts), _ENCODED_AT_ONCE)]
    return Condition.cat([encoder.encode(part) for part in parts])
