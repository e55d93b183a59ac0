"""What `evaluate` finds out."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from glyffctl.core.estimates import Estimate

PartName = Literal["left", "right", "upper", "lower"]


@dataclass(frozen=True)
class Row:
    """One figure, for the model and for real glyphs."""

    name: str
    model: Estimate
    real: Estimate | None
    unit: Literal["share", "number"]
    note: str
    """What is measured, and on which real glyphs."""


@dataclass(frozen=True)
class PromptRow:
    """How often pictures of a prompt have its radical, and how often the classifier is right about real ones."""

    prompt: str
    radicals: list[int]
    found: Estimate
    real: Estimate | None
    also: list[int] = field(default_factory=list)
    """Other radicals that the prompt's meaning takes."""
    taken: Estimate | None = None
    """How often pictures have one of `radicals` or `also`."""


@dataclass(frozen=True)
class PartRow:
    """How often one part of real held-out glyphs is named rightly."""

    part: PartName
    right: Estimate


@dataclass(frozen=True)
class StepsRow:
    """One sampler at one number of steps, on a picture of each prompt."""

    sampler: str
    steps: int
    passes: int
    """Pictures through the network, counted for one picture; guidance takes two."""
    adherence: Estimate
    kernel_distance: Estimate
    """From real held-out glyphs. They have other radicals than the prompts ask for: compare within the table only."""
    seconds: float
    """For one picture."""


@dataclass(frozen=True)
class EvaluateReport:
    """All figures, with what they were measured on."""

    out: Path
    plot: Path | None
    model: dict[str, Any]
    data: dict[str, Any]
    classifier: dict[str, Any]
    recipe: dict[str, Any]
    figures: list[Row]
    prompts: list[PromptRow]
    copy_threshold: float
    """Pictures nearer than this to a real glyph count as copies of it."""
    steps: list[StepsRow]
    """Empty unless it was asked for."""
    seconds: float
    parts: list[PartRow] = field(default_factory=list)
    """What the rows about composition rest on; empty without a table of description sequences."""


def as_json(report: EvaluateReport) -> str:
    """The report for a file."""
    plain = asdict(report) | {"out": str(report.out), "plot": str(report.plot) if report.plot else None}
    return json.dumps(plain, indent=1, ensure_ascii=False) + "\n"
