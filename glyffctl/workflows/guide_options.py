"""Options of what leads a model in `sample`, and how a PNG records them. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glyffctl.core.data.captions import radical_character, radical_name
from glyffctl.core.data.radical_names import RADICALS
from glyffctl.core.errors import UsageError
from glyffctl.core.io.bundled import BUNDLED, model_name, model_path
from glyffctl.core.io.names import utf8_name
from glyffctl.workflows.companions import CLASSIFIER

CLASSIFIER_SCALE = 10.0
MOST_SCALE = 100.0


@dataclass(frozen=True, kw_only=True)
class LeadOptions:
    """A classifier that leads to a radical.

    Attributes:
        radical: 1 to 214.
        scale: s of `classifier_guidance.lead`; 0 leaves the pictures as they are.
        classifier: its run folder or model file; None or "bundled" is the bundled one.
        weights: the identity that it must have; None allows any.
    """

    radical: int
    scale: float = CLASSIFIER_SCALE
    classifier: Path | None = None
    weights: str | None = None

    def __post_init__(self) -> None:
        """Raise UsageError for values out of range."""
        if not 1 <= self.radical <= RADICALS:
            raise UsageError(f"--radical must be in 1…{RADICALS}, not {self.radical}")
        if not (math.isfinite(self.scale) and abs(self.scale) <= MOST_SCALE):
            raise UsageError(f"--classifier-scale must be in −{MOST_SCALE:g}…{MOST_SCALE:g}, not {self.scale}")

    @property
    def title(self) -> str:
        """The radical in words: 金 gold."""
        return f"{radical_character(self.radical)} {radical_name(self.radical)}"

    def as_plain(self) -> dict[str, Any]:
        """What redrawing needs, as JSON for a PNG, where all is known."""
        return {
            "radical": self.radical,
            "scale": self.scale,
            "classifier": CLASSIFIER.name(self.classifier),
            "weights": self.weights,
        }

    @staticmethod
    def from_plain(plain: Mapping[str, Any], classifier: Path | None) -> LeadOptions:
        """The inverse of `as_plain`; `classifier` is where it is now, or None where it was.

        Raises:
            UsageError: a value is out of range.
            KeyError, TypeError, ValueError, OverflowError: a value is missing or of another kind.
        """
        return LeadOptions(
            radical=int(plain["radical"]),
            scale=float(plain["scale"]),
            classifier=classifier or Path(str(plain["classifier"])),
            weights=str(plain["weights"]),
        )


@dataclass(frozen=True, kw_only=True)
class AwayOptions:
    """A worse model that guidance leads away from.

    Attributes:
        model: its run folder, model file or diffusers folder, or "bundled".
        weights: the identity that it must have; None allows any.
    """

    model: Path
    weights: str | None = None

    def as_plain(self) -> dict[str, Any]:
        """What redrawing needs, as JSON for a PNG, where all is known."""
        name = model_name(model_path(self.model))
        return {"model": utf8_name(name if name == Path(BUNDLED) else name.absolute()), "weights": self.weights}

    @staticmethod
    def from_plain(plain: Mapping[str, Any], model: Path | None) -> AwayOptions:
        """The inverse of `as_plain`; `model` is where it is now, or None where it was."""
        return AwayOptions(model=model or Path(str(plain["model"])), weights=str(plain["weights"]))
