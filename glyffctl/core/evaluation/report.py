"""The report of `glyffctl evaluate`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from glyffctl.core.estimates import Estimate
from glyffctl.core.io.names import utf8_name

PartName = Literal["left", "right", "upper", "lower"]


@dataclass(frozen=True)
class Row:
    """A metric, for the model and for real glyphs."""

    name: str
    model: Estimate
    real: Estimate | None
    unit: Literal["share", "number"]
    note: str
    """How it is measured, and on which real glyphs."""
    legend: str = ""
    """What a reader of the table must know, in a sentence; rows with the same legend share it."""


@dataclass(frozen=True)
class PromptRow:
    """The share of pictures of a prompt that have its radical, and the classifier's accuracy on real glyphs."""

    prompt: str
    radicals: list[int]
    found: Estimate
    real: Estimate | None
    also: list[int] = field(default_factory=list)
    """Other radicals of characters with the prompt's meaning."""
    taken: Estimate | None = None
    """The share of pictures that have one of `radicals` or `also`."""


@dataclass(frozen=True)
class PartRow:
    """The accuracy of predicting one part of real held-out glyphs."""

    part: PartName
    right: Estimate


@dataclass(frozen=True)
class StepsRow:
    """A sampler at a number of steps, on a picture of each prompt."""

    sampler: str
    steps: int
    passes: int
    """Evaluations of the network for one picture; guidance needs two per prediction."""
    adherence: Estimate
    kernel_distance: Estimate
    """From real held-out glyphs. Their radicals are not those of the prompts: compare within the table only."""
    seconds: float
    """For one picture."""


@dataclass(frozen=True)
class EvaluateReport:
    """All metrics, and what they were measured on."""

    out: Path
    plot: Path | None
    model: dict[str, Any]
    data: dict[str, Any]
    classifier: dict[str, Any]
    recipe: dict[str, Any]
    figures: list[Row]
    prompts: list[PromptRow]
    copy_threshold: float
    """Pictures closer than this to a real glyph count as copies of it."""
    steps: list[StepsRow]
    """Empty unless requested."""
    seconds: float
    parts: list[PartRow] = field(default_factory=list)
    """The accuracy behind the rows about parts; empty without a table of description sequences."""
    contrastive: dict[str, Any] = field(default_factory=dict)
    """Path and weights of the towers behind the rows about ranks; empty without them."""


def as_json(report: EvaluateReport) -> str:
    """The report as JSON text."""
    plain = asdict(report) | {"out": utf8_name(report.out), "plot": utf8_name(report.plot) if report.plot else None}
    return json.dumps(plain, indent=1, ensure_ascii=False) + "\n"
