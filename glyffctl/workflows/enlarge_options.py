"""Options of the upscaler in `sample`, and how a PNG records them. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glyffctl.core.errors import UsageError
from glyffctl.core.models.upscale_recipe import UpscaleRecipe
from glyffctl.core.precision import check_precision
from glyffctl.workflows.companions import UPSCALER

SOURCE = "upscaled"
"""In the settings of a PNG: the picture that it was made of. Others were drawn of prompts."""
DRAWN = "drawn"
"""Beside it: what that picture recorded of how it was drawn, if it did."""
MOST_SIZE = 4096
_MOST_BATCH = 1024


@dataclass(frozen=True, kw_only=True)
class EnlargeOptions:
    """How pictures are enlarged.

    Attributes:
        size: height and width of the large pictures; None is what the upscaler has learned.
        upscaler: its run folder or model file; None or "bundled" is the bundled one.
        recipe: how it draws; None is the upscaler's own.
        weights: the identity that it must have; None allows any.
        batch: most pictures of the size that it has learned that are drawn at once.
        precision: as in `SampleOptions`.
        threads: CPU threads, if the machine has as many; None leaves them as they are.
        drawn_on: the kind of device that first drew the pictures, when they are redrawn.
    """

    size: int | None = None
    upscaler: Path | None = None
    recipe: UpscaleRecipe | None = None
    weights: str | None = None
    batch: int = 4
    precision: str = "auto"
    threads: int | None = None
    drawn_on: str | None = None

    def __post_init__(self) -> None:
        """Raise UsageError for values out of range."""
        if self.size is not None and not 2 <= self.size <= MOST_SIZE:
            raise UsageError(f"--size must be in 2…{MOST_SIZE:,}, not {self.size}")
        if not 1 <= self.batch <= _MOST_BATCH:
            raise UsageError(f"an upscaler draws 1 to {_MOST_BATCH:,} pictures at once, not {self.batch}")
        if self.threads is not None and self.threads < 1:
            raise UsageError(f"a picture is drawn with at least 1 thread, not {self.threads}")
        check_precision(self.precision)

    def as_plain(self) -> dict[str, Any]:
        """What redrawing needs, as JSON for a PNG, where all is known."""
        assert self.recipe is not None
        return {
            "size": self.size,
            "upscaler": UPSCALER.name(self.upscaler),
            "weights": self.weights,
            "recipe": self.recipe.as_plain(),
            "batch": self.batch,
            "precision": self.precision,
            "threads": self.threads,
            "device": self.drawn_on,
        }

    @staticmethod
    def from_plain(plain: Mapping[str, Any], upscaler: Path | None) -> EnlargeOptions:
        """The inverse of `as_plain`; `upscaler` is where it is now, or None where it was.

        Raises:
            UsageError: a value is out of range.
            KeyError, TypeError, ValueError, OverflowError: a value is missing or of another kind.
        """
        return EnlargeOptions(
            size=int(plain["size"]),
            upscaler=upscaler or Path(str(plain["upscaler"])),
            recipe=UpscaleRecipe.from_plain(plain["recipe"]),
            weights=str(plain["weights"]),
            batch=int(plain["batch"]),
            precision=str(plain["precision"]),
            threads=int(plain["threads"]),
            drawn_on=None if plain.get("device") is None else str(plain["device"])[:40],
        )
