"""What comes with the program, in `glyffctl/pretrained`: a model, the text encoder it reads through, a classifier.

Model and encoder go by the name "bundled", wherever the program is installed, so that pictures and models can move.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

BUNDLED = "bundled"
"""The name of our own model and text encoder, where others have folders, or names on the hub."""

_MODEL = "model.safetensors"


def model_label(path: Path) -> str:
    """What a message calls a model: where this machine keeps the program tells nobody anything."""
    return "the model in the box" if path == pretrained("model.safetensors") else str(path)


def pretrained(name: str) -> Path:
    """The path of something that comes with the program; nothing says that it is there."""
    return Path(str(resources.files("glyffctl"))) / "pretrained" / name


def model_path(named: Path) -> Path:
    """Where the model is that a user calls `named`: a path as it is, or our own."""
    return pretrained(_MODEL) if named == Path(BUNDLED) else named


def model_name(path: Path) -> Path:
    """What a user calls the model at `path`. Where this machine keeps the program concerns nobody."""
    return Path(BUNDLED) if path == pretrained(_MODEL) else path
