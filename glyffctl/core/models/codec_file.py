"""The file of a codec that was learned: `codec.safetensors`.

A run of `train --preset autoencoder` writes it; a latent model has a copy of it beside its `model.safetensors`, whose
settings hold its identity, so that the folder of a model is complete.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from glyffctl.core.codecs.latents import Latents
from glyffctl.core.errors import GlyffError, ModelError
from glyffctl.core.io.tensors import digest, load_digested, save_tensors
from glyffctl.core.models.config import CodecConfig, network_config
from glyffctl.core.models.files import CODEC_FILE, CODEC_KIND, MODEL_FILE
from glyffctl.core.models.weights import build_without_init, load_weights
from glyffctl.core.networks.autoencoder import Autoencoder, AutoencoderConfig
from glyffctl.version import __version__

if TYPE_CHECKING:
    from glyffctl.core.models.checkpoint import Origin

SCALE = "latents"
"""The tensor beside the weights: scale and shift, (2,) float64."""
_LARGEST = 1 << 16  # pixels
_NAME_ONE = "name a run of the preset autoencoder, a latent model, or an AutoencoderKL of diffusers"


@dataclass(frozen=True, eq=False)
class TrainedCodec:
    """A codec that was trained here.

    Attributes:
        measure: makes it, which takes some passes of its network.
        origin: what it was trained with.
        images: pictures shown in training.
    """

    measure: Callable[[], Latents]
    origin: Origin
    images: int

    @cached_property
    def codec(self) -> Latents:
        """What is saved, made when it is first needed."""
        return self.measure()


def pack(codec: Latents) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A codec as tensors, and values that JSON can hold."""
    numbers = torch.tensor([codec.scale, codec.shift], dtype=torch.float64)
    weights = {name: tensor.detach().float().cpu() for name, tensor in codec.network.state_dict().items()}
    return {SCALE: numbers, **weights}, {"network": dataclasses.asdict(codec.network.config), "size": codec.size}


def unpack(tensors: dict[str, Tensor], header: dict[str, Any], where: Path, identity: str = "") -> Latents:
    """The inverse of `pack`; the network is in eval mode, float32, on the CPU.

    Args:
        tensors: of `pack`.
        header: of `pack`.
        where: they came from, for messages.
        identity: the digest of the tensors, if it is known.

    Raises:
        ModelError: they make no codec.
    """
    identity = identity or digest(tensors)
    weights = dict(tensors)
    numbers = weights.pop(SCALE, None)
    try:
        config, size = network_config({**header["network"], "kind": "autoencoder"}), header["size"]
        if not (type(size) is int and isinstance(config, AutoencoderConfig) and 0 < size <= _LARGEST):
            raise TypeError("a size that makes no sense")
        if size % config.factor:
            raise TypeError(f"a size that is no multiple of {config.factor}")
    except (KeyError, TypeError, GlyffError) as error:
        raise ModelError(f"cannot use {where}: its settings are not those of this version ({error})") from error
    network = load_weights(build_without_init(config), weights, where)  # which are float32 then
    assert isinstance(network, Autoencoder)
    known = numbers is not None and numbers.dtype == torch.float64 and numbers.shape == (2,)
    scale, shift = numbers.tolist() if numbers is not None and known else (0.0, 0.0)
    if not (0 < scale < math.inf and math.isfinite(shift)):
        raise ModelError(f"cannot use {where}: the scale of its latents makes no sense")
    return Latents(network, scale, shift, size, identity)


def save_codec(path: Path, codec: Latents, facts: dict[str, Any] | None = None) -> None:
    """Write a codec; `facts` are noted in its header.

    Raises:
        OutputError: the path cannot be written, or the disk is full.
    """
    tensors, header = pack(codec)
    save_tensors(path, CODEC_KIND, tensors, {"glyffctl": __version__, **header, **(facts or {})})


def is_codec(path: Path) -> bool:
    """Whether `path` is the file of a codec, or the folder of one without a model."""
    return path.name == CODEC_FILE or ((path / CODEC_FILE).is_file() and not (path / MODEL_FILE).exists())


def load_codec(path: Path) -> Latents:
    """Read a codec; `path` is its file, or a folder that has one.

    Raises:
        ModelError: there is none, it is cut short, damaged, or of another version.
    """
    file = path / CODEC_FILE if path.is_dir() else path
    if path.is_dir() and not file.exists():
        raise ModelError(f"{path} holds no codec: there is no {CODEC_FILE} in it; {_NAME_ONE}")
    tensors, header, identity = load_digested(file, CODEC_KIND, ModelError)
    return unpack(tensors, header, file, identity)


def codec_beside(model: Path, config: CodecConfig) -> Latents | None:
    """The codec that the model in the file `model` was trained with; None where it has no weights.

    Raises:
        ModelError: its file is missing, damaged, or another one.
    """
    if not config.learned:
        return None
    file = model.with_name(CODEC_FILE)
    what = "get the folder of the model again, whole"
    try:
        codec = load_codec(file)
    except ModelError as error:
        raise ModelError(f"{error}; {model} cannot draw without its codec: {what}") from error
    if codec.identity != config.weights:
        raise ModelError(f"{file} is another codec than the one that {model} was trained with; {what}")
    if codec.size != config.size:
        raise ModelError(f"{file} is for pictures of {codec.size} pixels, {model} for {config.size}; {what}")
    return codec
