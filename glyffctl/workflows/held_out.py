"""What `glyffctl evaluate` has for all that is measured on held-out glyphs: options, a report, its file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from glyffctl.core.errors import UsageError
from glyffctl.core.evaluation.reconstruction import ReconstructionRow
from glyffctl.core.io.atomic import check_writable, write_text
from glyffctl.core.io.names import utf8_name

LARGEST_SEED = 2**62


@dataclass(frozen=True, kw_only=True)
class HeldOutOptions:
    """The options of every such measurement.

    Attributes:
        model: the run or the file of what is measured.
        data: a folder of real glyphs, in the fonts that it was trained on.
        seed: of all that is drawn at random.
        device: see `core.device.choose_device`.
        out: the JSON file.
    """

    model: Path
    data: Path = Path("data")
    seed: int = 0
    device: str = "auto"
    out: Path = Path("evaluation.json")

    def __post_init__(self) -> None:
        """Raise UsageError for values out of range."""
        check_seed(self.seed)


@dataclass(frozen=True)
class HeldOutReport:
    """What was measured, and on what.

    Attributes:
        out: the JSON file.
        model: path, weights, and what else tells it from others.
        data: path, fingerprint, and how many held-out glyphs were measured.
        figures: the metrics.
        seconds: all of it took.
    """

    out: Path
    model: dict[str, Any]
    data: dict[str, Any]
    figures: list[ReconstructionRow]
    seconds: float


def check_seed(seed: int) -> None:
    """Raise UsageError for a seed that is out of range."""
    if not 0 <= seed < LARGEST_SEED:
        raise UsageError(f"--seed must be in 0…2⁶²−1, not {seed}")


def check_out(out: Path) -> None:
    """Raise an error, before slow work, where the JSON file cannot be written."""
    if out.suffix.lower() != ".json":
        raise UsageError(f"--out takes a .json file, not {out}")
    check_writable(out)


def write_report(report: HeldOutReport) -> None:
    """Write the JSON file of a report.

    Raises:
        OutputError: it cannot be written.
    """
    plain = asdict(report) | {"out": utf8_name(report.out)}
    write_text(report.out, json.dumps(plain, indent=1, ensure_ascii=False) + "\n")
