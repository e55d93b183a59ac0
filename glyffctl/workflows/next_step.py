"""What can be done with the result of a training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from glyffctl.core.models.files import CODEC_FILE
from glyffctl.core.training.objective import Objective


@dataclass(frozen=True, slots=True)
class NextStep:
    """A command that takes the result.

    Attributes:
        purpose: what for, in a few words.
        command: as it is typed.
    """

    purpose: str
    command: str


def next_step(objective: Objective, out: Path) -> NextStep:
    """What can be done with what `objective` has made in the run folder `out`."""
    if objective.file == CODEC_FILE:
        return NextStep("train a model in its latents", f"glyffctl train --preset latent --codec {out}")
    if objective.network.classifies:
        return NextStep("lead a model with it", f"glyffctl sample --radical 金 --classifier {out}")
    if objective.network.compares:
        return NextStep("measure it", f"glyffctl evaluate --model {out}")
    size = objective.config.codec.size
    options = f"--size {size} --upscaler {out}" if objective.network.enlarges else f"--model {out}"
    return NextStep("draw with it", f'glyffctl sample "lithium" {options}')
