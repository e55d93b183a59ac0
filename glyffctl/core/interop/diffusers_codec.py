"""A codec as the `AutoencoderKL` of diffusers, and back: its weights have the same names there, its settings others.

A setting that would be ignored is an error: pictures would come back otherwise than its author meant. Only settings
that are off (null or false) and those that change no number are ignored, for every version of diffusers writes all of
its own.
"""

from __future__ import annotations

import importlib
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from glyffctl.core.codecs.latents import Latents
from glyffctl.core.errors import GlyffError, ModelError
from glyffctl.core.io.diffusers_files import UNET_WEIGHTS, find_weights, read_weights
from glyffctl.core.io.reading import read_json, short_repr
from glyffctl.core.models.codec_file import SCALE, unpack
from glyffctl.core.models.config import network_config
from glyffctl.core.networks.autoencoder import Autoencoder, AutoencoderConfig

CLASS = "AutoencoderKL"
_CONFIG = "config.json"
_WITHOUT_EFFECT = {"sample_size", "force_upcast"}  # of numbers in float32, by a network of convolutions
# Where a config.json is silent, what diffusers takes.
_DEFAULTS: dict[str, Any] = {
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ["DownEncoderBlock2D"],
    "up_block_types": ["UpDecoderBlock2D"],
    "block_out_channels": [64],
    "layers_per_block": 1,
    "act_fn": "silu",
    "latent_channels": 4,
    "norm_num_groups": 32,
    "scaling_factor": 0.18215,
    "shift_factor": None,
    "use_quant_conv": True,
    "use_post_quant_conv": True,
    "mid_block_add_attention": True,
}
_BY_LEVEL = ("block_out_channels", "down_block_types", "up_block_types")
_FREE = {
    *("in_channels", "out_channels", "block_out_channels", "layers_per_block", "latent_channels", "norm_num_groups"),
    *("scaling_factor", "shift_factor", "use_quant_conv", "use_post_quant_conv", "mid_block_add_attention"),
}


def find_autoencoder(folder: Path) -> Path | None:
    """The folder with an AutoencoderKL: `folder` itself, or the part `vae` of a pipeline; None where there is none."""
    for place in (folder, folder / "vae"):
        try:
            found = read_json(place / _CONFIG, ModelError) if (place / _CONFIG).is_file() else {}
        except GlyffError:
            continue
        if found.get("_class_name") == CLASS:
            return place
    return None


def load_autoencoder(folder: Path, size: int) -> Latents:
    """Read the AutoencoderKL in `folder`, which `find_autoencoder` found, for pictures of `size` pixels.

    Raises:
        ModelError: a file is missing or broken, or has a setting that is not supported.
        UsageError: it takes no pictures of that size.
    """
    path = folder / _CONFIG
    plain = _DEFAULTS | read_json(path, ModelError)
    for name, value in plain.items():
        if name.startswith("_") or name in _FREE or name in _WITHOUT_EFFECT or not value:
            continue
        levels = len(value) if isinstance(value, list) else 0
        expected = _DEFAULTS.get(name)
        if value != (expected * levels if isinstance(expected, list) else expected):
            raise ModelError(f"cannot use {path}: {short_repr(name)} is {short_repr(value)}, which is not known here")
    if len({len(plain[name]) for name in _BY_LEVEL if isinstance(plain[name], list)}) != 1:
        raise ModelError(f"cannot use {path}: {', '.join(_BY_LEVEL)} are not lists of the same length")
    for one, other in (("in_channels", "out_channels"), ("use_quant_conv", "use_post_quant_conv")):
        if plain[one] != plain[other]:
            raise ModelError(f"cannot use {path}: {one} and {other} differ")
    if plain["in_channels"] not in (1, 3):
        raise ModelError(f"cannot use {path}: pictures have 1 or 3 channels, not {short_repr(plain['in_channels'])}")
    try:
        config = network_config(
            {
                "kind": "autoencoder",
                "in_channels": plain["in_channels"],
                "latent_channels": plain["latent_channels"],
                "channels": plain["block_out_channels"],
                "blocks": plain["layers_per_block"],
                "groups": plain["norm_num_groups"],
                "attention": bool(plain["mid_block_add_attention"]),
                "quant_conv": bool(plain["use_quant_conv"]),
            }
        )
    except GlyffError as error:
        raise ModelError(f"cannot use {path}: {error}") from error
    assert isinstance(config, AutoencoderConfig)
    numbers = [plain["scaling_factor"], plain["shift_factor"] or 0.0]
    if not all(type(number) in (int, float) and math.isfinite(number) for number in numbers) or numbers[0] <= 0:
        raise ModelError(f"cannot use {path}: scaling_factor or shift_factor makes no sense")
    file = find_weights(folder, model=folder)
    tensors = {SCALE: torch.tensor(numbers, dtype=torch.float64), **read_weights(file)}
    codec = unpack(tensors, {"network": {**asdict(config), "size": 0}, "size": config.factor}, file)
    return codec.at(size)


def autoencoder_config(codec: Latents) -> dict[str, Any]:
    """The settings of the AutoencoderKL that computes the same as `codec`."""
    config = codec.network.config
    levels = len(config.channels)
    return {
        "in_channels": config.in_channels,
        "out_channels": config.in_channels,
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "block_out_channels": list(config.channels),
        "layers_per_block": config.blocks,
        "act_fn": "silu",
        "latent_channels": config.latent_channels,
        "norm_num_groups": config.groups,
        "sample_size": codec.size,
        "scaling_factor": codec.scale,
        "shift_factor": codec.shift,
        "force_upcast": False,
        "use_quant_conv": config.quant_conv,
        "use_post_quant_conv": config.quant_conv,
        "mid_block_add_attention": config.attention,
    }


def write_autoencoder(folder: Path, codec: Latents) -> None:
    """Write `codec` into an empty folder as `save_pretrained` of an AutoencoderKL does."""
    settings = json.dumps({"_class_name": CLASS, **autoencoder_config(codec)}, indent=2)
    (folder / _CONFIG).write_text(settings + "\n", encoding="utf-8")
    weights = {name: tensor.cpu().contiguous() for name, tensor in codec.network.state_dict().items()}
    save_file(weights, folder / UNET_WEIGHTS, {"format": "pt"})


@torch.no_grad()
def difference(codec: Latents, folder: Path) -> float | None:
    """The largest difference between latents and pictures of `codec` and of diffusers with the files in `folder`.

    Relative to the largest of each; None where diffusers is not installed.
    """
    try:
        kind: Any = getattr(importlib.import_module("diffusers"), CLASS)
    except ImportError:
        return None
    with torch.device("meta"):
        theirs = kind(**autoencoder_config(codec))
    theirs.load_state_dict(load_file(folder / UNET_WEIGHTS), assign=True)
    theirs.eval()
    network: Autoencoder = codec.network.cpu()
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(2, network.config.in_channels, codec.size, codec.size, generator=generator) * 2 - 1
    posterior, other = network.posterior(x), theirs.encode(x).latent_dist
    pairs = [(posterior.mean, other.mean), (posterior.logvar, other.logvar)]
    pairs.append((network.decode(posterior.mean), theirs.decode(posterior.mean).sample))
    return max(float((mine - its).abs().max() / mine.abs().max()) for mine, its in pairs)
