"""Paths and names of the bundled model, text encoder and classifier, in `glyffctl/pretrained`.

Pictures and models refer to the bundled model and encoder as "bundled", so that they stay valid on other machines.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

BUNDLED = "bundled"
"""The name of the bundled model and text encoder, in place of a path or a name on the hub."""

UPSCALER_FILE = "upscaler.safetensors"
"""The bundled upscaler."""
GUIDE_FILE = "guide.safetensors"
"""The bundled classifier of noisy pictures."""
_MODEL = "model.safetensors"


def model_label(path: Path) -> str:
    """The name of a model in messages: the path of the bundled model would only confuse."""
    bundled = {
        pretrained(_MODEL): "the bundled model",
        pretrained(UPSCALER_FILE): "the bundled upscaler",
        pretrained(GUIDE_FILE): "the bundled classifier of noisy pictures",
    }
    return bundled.get(path, str(path))


def pretrained(name: str) -> Path:
    """The path of a bundled file or folder, which may be missing."""
    return Path(str(resources.files("glyffctl"))) / "pretrained" / name


def model_path(named: Path) -> Path:
    """The path of the model that a user names: the bundled one for "bundled", else `named`."""
    return pretrained(_MODEL) if named == Path(BUNDLED) else named


def model_name(path: Path) -> Path:
    """The inverse of `model_path`: "bundled" for the bundled model, else `path`."""
    return Path(BUNDLED) if path == pretrained(_MODEL) else path
