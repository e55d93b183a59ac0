"""Metrics of `evaluate` that need pictures alone, and the list of them.

A metric in a file of its own appends itself to `METRICS`, and `evaluation/__init__.py` imports that file. It returns
`report.Row`s of `estimates.Estimate`s; `estimates.mean`, `share` and `quantile` make those with their intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import Tensor

from glyffctl.core.evaluation.prompts import Prompt
from glyffctl.core.evaluation.report import Row


@dataclass(frozen=True, eq=False, slots=True)
class Pictures:
    """Pictures of a model and real ones: uint8, 255 is paper, on the CPU. Some may be blank.

    Attributes:
        prompts: P prompts.
        prompted: (P, C, H, W) C pictures of each prompt.
        defined: (N, H, W) one picture of each of N definitions of characters held out of training.
        real: (N, H, W) real glyphs of those characters, in the same order as `defined`.
    """

    prompts: list[Prompt]
    prompted: Tensor
    defined: Tensor
    real: Tensor


Metric = Callable[[Pictures], Iterable[Row]]

METRICS: list[Metric] = []
"""Their rows follow each other in the report in the order of the imports."""
