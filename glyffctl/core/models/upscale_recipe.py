"""How small pictures are enlarged, as an option and a PNG say it. Importing this does not import torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from glyffctl.core.errors import UsageError

UPSCALING = "upscaling"
"""The name of the objective that an upscaler is trained by."""
NETWORK = "upscaler"
"""The kind of network that it is."""
LEAST_LEVEL, MOST_STEPS = 0.02, 1000
"""The least noise level that drawing visits, and the number of levels to choose from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UpscaleRecipe:
    """How pictures are enlarged.

    Attributes:
        steps: of the sampler.
        start: the noise level σ of the large picture that it starts from.
        noise: the standard deviation of the noise that the small picture is shown with.
    """

    steps: int
    start: float
    noise: float

    def __post_init__(self) -> None:
        """Raise UsageError for values out of range."""
        if not 1 <= self.steps <= MOST_STEPS:
            raise UsageError(f"an upscaler takes 1 to {MOST_STEPS:,} steps, not {self.steps}")
        if not (LEAST_LEVEL < self.start < math.inf and 0 <= self.noise < math.inf):
            raise UsageError(
                f"an upscaler starts from a finite noise level above {LEAST_LEVEL}, not {self.start}, with small "
                f"pictures at one of at least 0, not {self.noise}"
            )

    def as_plain(self) -> dict[str, Any]:
        """Values for JSON."""
        return asdict(self)

    @staticmethod
    def from_plain(plain: Mapping[str, Any]) -> UpscaleRecipe:
        """The inverse of `as_plain`.

        Raises:
            UsageError: a value is out of range.
            KeyError, TypeError, ValueError, OverflowError: a value is missing or of another kind.
        """
        return UpscaleRecipe(steps=int(plain["steps"]), start=float(plain["start"]), noise=float(plain["noise"]))

    def summary(self) -> str:
        """The recipe in words."""
        return f"{self.steps:,} step{'s' * (self.steps > 1)} from σ = {self.start:g}"
