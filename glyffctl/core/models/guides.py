"""What leads a model besides its prompt: a classifier of noisy pictures, and a worse model to lead away from."""

from __future__ import annotations

import math
from dataclasses import dataclass

from glyffctl.core.diffusion.autoguidance import autoguide
from glyffctl.core.diffusion.classifier_guidance import Gradient, lead
from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.diffusion.denoiser import Denoise, Denoiser
from glyffctl.core.diffusion.guidance import guide
from glyffctl.core.models.recipe import Recipe


@dataclass(frozen=True, eq=False)
class Lead:
    """A classifier that leads to one of its classes.

    Attributes:
        gradient: ∇ₓ log p(class | x, σ).
        scale: s of `classifier_guidance.lead`.
        levels: the least and the largest σ that it knows; elsewhere it does not lead.
    """

    gradient: Gradient
    scale: float
    levels: tuple[float, float] = (0.0, math.inf)


@dataclass(frozen=True, eq=False)
class Guides:
    """What leads besides the prompt.

    Attributes:
        worse: another model, which takes the place of the pass without a prompt.
        lead: a classifier, on top of either guidance.
    """

    worse: Denoiser | None = None
    lead: Lead | None = None

    def around(self, denoiser: Denoiser, condition: Condition, negative: Condition, recipe: Recipe) -> Denoise:
        """The denoiser of `condition` (B rows), guided; all guides act in the interval of `recipe`.

        Args:
            denoiser: of the model.
            condition: B rows.
            negative: B rows to be guided away from, where there is no worse model.
            recipe: γ and the interval.
        """
        if self.worse is None:
            guided = guide(denoiser, condition, negative, recipe.guidance, recipe.interval)
        else:
            guided = autoguide(denoiser, self.worse, condition, recipe.guidance, recipe.interval)
        if self.lead is None:
            return guided
        (low, high), (least, most) = recipe.interval, self.lead.levels
        return lead(guided, self.lead.gradient, self.lead.scale, (max(low, least), min(high, most)))


NO_GUIDES = Guides()
