"""A picture to begin with: a part of it stays, or it is noised and drawn to its end."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from glyffctl.core.diffusion.denoiser import Denoise
from glyffctl.core.diffusion.inpainting import inpaint, lead
from glyffctl.core.diffusion.samplers import Draw, Sampler, Step
from glyffctl.core.diffusion.schedule import Schedule
from glyffctl.core.models.recipe import Recipe


@dataclass(frozen=True, eq=False)
class Source:
    """A picture to begin with.

    Attributes:
        x0: (C, H, W), the picture as the codec encodes it; None is no picture.
        kept: (H, W) bool, the part of it that stays, see `inpainting`; None keeps none.
        resample: of `inpainting.inpaint`.
        led: whether what is drawn beside the kept part is led by it, see `inpainting.lead`.
        strength: how much of it changes, from 0, nothing, to 1, all: drawing starts from x0 with noise of the level at
            this share of the levels that a sampler may visit (SDEdit, Meng et al. 2021, arXiv 2108.01073, algorithm 1).
    """

    x0: Tensor | None
    kept: Tensor | None = None
    resample: int = 1
    strength: float = 1.0
    led: bool = False

    def levels(self, recipe: Recipe, schedule: Schedule) -> Tensor:
        """The noise levels to visit: as many as `recipe` has steps, or all where there are fewer.

        Args:
            recipe: how pictures are drawn.
            schedule: the model's own.

        Returns:
            (n+1,) float64, descending to 0; n = 0 for a strength that is below all levels.

        Raises:
            UsageError: as `Recipe.levels`.
        """
        if self.strength >= 1:
            return recipe.levels(schedule)
        table = recipe.table(schedule).sigmas
        least = Schedule(table[: round(self.strength * len(table))])
        count = min(recipe.steps, len(least.sigmas))
        return least.steps(count) if count else torch.zeros(1, dtype=torch.float64)

    def start(self, eps: Tensor, sigma: float) -> Tensor:
        """(B, C, H, W), what drawing starts from at level σ, of noise `eps` (B, C, H, W)."""
        anew = eps * math.sqrt(1 + sigma**2)  # DDPM's start, z ~ N(0, 1) at the noisiest
        if self.x0 is None:
            return anew
        noised = self.x0.to(eps) + eps * sigma
        if self.strength < 1:
            return noised
        return anew if self.kept is None else torch.where(self.kept.to(eps.device), noised, anew)

    def lead(self, denoise: Denoise) -> Denoise:
        """D, led by the part that stays."""
        if self.x0 is None or self.kept is None or not self.led:
            return denoise
        return lead(denoise, self.x0, self.kept)

    def draw(self, sampler: Sampler, denoise: Denoise, x: Tensor, sigmas: Tensor, draw: Draw) -> Iterator[Step]:
        """Sample from x (B, C, H, W) of `start` as `sampler` does, with the part that stays."""
        if len(sigmas) == 1:  # there is nothing to draw
            return iter([Step(0, 0.0, x, x)])
        if self.x0 is None or self.kept is None:
            return sampler(denoise, x, sigmas, draw)
        known, kept = self.x0.to(x), self.kept.to(x.device)
        return inpaint(sampler, denoise, x, sigmas, draw, known=known, kept=kept, resample=self.resample)


ANEW = Source(None)
"""No picture."""
