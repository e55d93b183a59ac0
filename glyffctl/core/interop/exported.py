"""Reading back what `export --format diffusers` wrote: the same network under our names, from the files of diffusers.

The weights may have been trained further with diffusers; everything else has to be as it was written.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from glyffctl.core.errors import ModelError
from glyffctl.core.interop.diffusers_export import as_unet, check_config, check_scheduler, our_weights
from glyffctl.core.io.diffusers_files import find_weights, read_weights
from glyffctl.core.io.reading import read_json
from glyffctl.core.io.tensors import digest
from glyffctl.core.models.checkpoint import EXPORT_FILE, SIGMAS, Origin, TrainedModel, check_codec, trained_model
from glyffctl.core.models.files import EncoderInfo
from glyffctl.core.models.weights import build_without_init, load_weights

TEXT_FILE = "text.safetensors"
"""The layers before the network, see `diffusers_export.text_weights`."""


def is_export(folder: Path) -> bool:
    """Whether `folder` was written by `export`, in any format."""
    return (folder / EXPORT_FILE).exists()


def load_exported(folder: Path) -> TrainedModel:
    """Load an export for diffusers. The network is as from `checkpoint.load_model`.

    Raises:
        ModelError: it was exported in another format; a file is missing or broken, or is not what was exported.
    """
    path = folder / EXPORT_FILE
    about = read_json(path, ModelError)
    if about.get("format") != "diffusers":
        raise ModelError(f"{folder} was exported for other programs, as ONNX; name the model that it was made from")
    origin, images = _origin(about, folder), about.get("images")
    if type(images) is not int or images < 0:
        raise ModelError(f"cannot use {path}: it does not say how many pictures the model was trained on")
    check_codec(origin.config, None, str(path))
    network = as_unet(build_without_init(origin.config.network))
    schedule = origin.config.diffusion.noise_levels()
    unet, diffusion = folder / "unet", origin.config.diffusion
    check_config(read_json(unet / "config.json", ModelError), network, unet / "config.json")
    file = find_weights(unet, model=folder)
    weights = our_weights(network, read_weights(file), read_weights(folder / TEXT_FILE))
    network = load_weights(network, weights, file)
    scheduler = folder / "scheduler" / "scheduler_config.json"
    check_scheduler(read_json(scheduler, ModelError), schedule, diffusion.prediction, scheduler)
    identity = digest({SIGMAS: schedule.sigmas, **weights})
    return trained_model(network, schedule, origin, images=images, epochs=None, identity=identity)


def _origin(about: dict[str, Any], folder: Path) -> Origin:
    text = about.get("text")
    held = text if isinstance(text, dict) else {}
    encoder = EncoderInfo(
        str((folder / "text_encoder").absolute()),
        held.get("fingerprint", ""),  # exports of before did not say
        held.get("max_tokens", 0),
    )
    plain = {"config": about.get("config"), "encoder": asdict(encoder), "data": ""}
    return Origin.parse(plain, folder / EXPORT_FILE)
