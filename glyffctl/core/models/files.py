"""Names and kinds of the files of a model, and what their headers say. Importing this does not import torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glyffctl.core.errors import ModelError
from glyffctl.core.io.tensor_files import read_header
from glyffctl.core.models.upscale_recipe import NETWORK as UPSCALER

CLASSIFIER = "classifier"
"""The kind of network that a classifier of noisy pictures is."""
COMPARER = "contrastive"
"""The kind of network that compares pictures with texts."""
MODEL_FILE = "model.safetensors"
STATE_FILE = "state.safetensors"
CONFIG_FILE = "config.json"
EXPORT_FILE = "glyffctl.json"
MODEL_KIND = "glyffctl-model/2"
TOWERS_FILE = "contrastive.safetensors"
"""Contrastive towers that come with the program."""
STATE_KIND = "glyffctl-training-state/2"
FEW_STEP_FILE = "few-step.safetensors"
FEW_STEP_KIND = "glyffctl-few-step/1"
TABLE_FILE = "entropic.toml"
"""Beside a model: its table of noise levels for the schedules entropic and rescaled-entropic."""
CODEC_FILE = "codec.safetensors"
CODEC_KIND = "glyffctl-codec/1"


@dataclass(frozen=True, slots=True)
class EncoderInfo:
    """Which text encoder a model was trained with; the fields are those of `TextEncoder`."""

    name: str
    fingerprint: str
    max_tokens: int


def history(images: int, epochs: float | None) -> str:
    """Where a model of ours comes from, in words."""
    seen = "" if epochs is None else f" ({epochs:,.{epochs < 10:d}f} epochs)"
    return f"trained on {images:,} pictures{seen}"


def epochs_seen(path: Path) -> float | None:
    """How often the model in a file or run folder has seen its data; None where that cannot be read.

    Reads the header alone. What is wrong with a file is for `load_model` to say.
    """
    file = path / MODEL_FILE if path.is_dir() else path
    try:
        return epochs_of(read_header(file, MODEL_KIND, ModelError))
    except ModelError:
        return None


def network_kind(path: Path) -> str | None:
    """The kind of network in a model file, by its header alone; None where that cannot be read."""
    try:
        return str(read_header(path, MODEL_KIND, ModelError)["config"]["network"]["kind"])
    except (ModelError, KeyError, TypeError):
        return None


def draws(path: Path) -> bool:
    """Whether the model in a file draws pictures of prompts; True where its header cannot be read."""
    return network_kind(path) not in (UPSCALER, CLASSIFIER, COMPARER)


def enlarges(path: Path) -> bool:
    """Whether the model in a file is an upscaler; False where its header cannot be read."""
    return network_kind(path) == UPSCALER


def compares(path: Path) -> bool:
    """Whether the model in a file or run folder has contrastive towers; False where its header cannot be read."""
    return network_kind(path / MODEL_FILE if path.is_dir() else path) == COMPARER


def epochs_of(header: dict[str, Any]) -> float | None:
    """The epochs in the header of a model file; None where it does not say."""
    epochs: Any = header.get("epochs")
    return float(epochs) if type(epochs) in (int, float) and 0 <= epochs < math.inf else None
