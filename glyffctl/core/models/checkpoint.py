"""Models and training states on disk: safetensors and JSON, nothing that runs.

A run folder holds `config.json` (written first), `state.safetensors` (all that resuming needs, the one commit point),
`model.safetensors` (the averaged weights with all that sampling needs), `log.jsonl`, `samples/` and a model card,
`README.md`.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from glyffctl import __version__
from glyffctl.core.diffusion.denoiser import PredictionType
from glyffctl.core.diffusion.schedule import Schedule, make_schedule
from glyffctl.core.errors import GlyffError, ModelError
from glyffctl.core.io.atomic import write_text
from glyffctl.core.io.bundled import model_label
from glyffctl.core.io.reading import read_json
from glyffctl.core.io.tensors import check_tensors, digest, load_tensors, read_header, save_tensors
from glyffctl.core.models import places as model_places
from glyffctl.core.models.config import Config, as_dict, parse
from glyffctl.core.networks.unet import UNet, UNetConfig, channels_last

MODEL_FILE = model_places.MODEL_FILE
STATE_FILE = model_places.STATE_FILE
CONFIG_FILE = model_places.CONFIG_FILE
EXPORT_FILE = model_places.EXPORT_FILE
"""In a folder that `export` wrote: what the files beside it are."""
MODEL_KIND = model_places.MODEL_KIND
STATE_KIND = model_places.STATE_KIND


@dataclass(frozen=True, slots=True)
class EncoderInfo:
    """Which text encoder a model reads; the fields are those of `text.TextEncoder`."""

    name: str
    fingerprint: str
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Origin:
    """What a run is made of: compared when it is resumed, kept with the model."""

    config: Config
    encoder: EncoderInfo
    data: str
    """`GlyphSet.fingerprint` of the training data."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"config": as_dict(self.config), "encoder": asdict(self.encoder), "data": self.data}

    @staticmethod
    def parse(plain: dict[str, Any], path: Path) -> Origin:
        """Checked values from plain ones.

        Raises:
            ModelError: something is missing or makes no sense; `path` is named as where it came from.
        """
        try:
            encoder = EncoderInfo(**plain["encoder"])
            kinds = [type(value) for value in (encoder.name, encoder.fingerprint, encoder.max_tokens, plain["data"])]
            if kinds != [str, str, int, str]:
                raise TypeError("of another kind")
            return Origin(parse(plain["config"]), encoder, plain["data"])
        except (KeyError, TypeError, AttributeError, GlyffError) as error:
            raise ModelError(f"cannot use {path}: its settings are not those of this version ({error})") from error


@dataclass(frozen=True, eq=False, slots=True)
class Model:
    """A trained network and what it was trained as."""

    network: UNet
    origin: Origin
    images: int
    """Pictures shown in training."""
    epochs: float | None
    """How often it has seen its data; None where the file does not say."""
    identity: str
    """A digest of the weights."""
    encodes_empty: bool = False
    """The empty prompt is no caption, for which the network has learned a token."""
    channels: int = 1
    clip: float | None = 1.0
    """Guesses of x0 are held in ±clip."""
    low: float = -1.0
    """The value of black."""

    @property
    def size(self) -> int:
        """Height and width of a picture, in pixels."""
        return self.network.config.size

    @property
    def text_width(self) -> int:
        """D of the token vectors that the network reads."""
        return self.network.config.text_width

    @property
    def schedule(self) -> Schedule:
        """The levels that samplers visit."""
        return make_schedule(self.origin.config.diffusion.schedule)

    @property
    def prediction(self) -> PredictionType:
        """What the network predicts."""
        return self.origin.config.diffusion.prediction

    @property
    def encoder(self) -> EncoderInfo:
        """The text encoder that it was trained with."""
        return self.origin.encoder

    @property
    def history(self) -> str:
        """Where it comes from, in words."""
        epochs = "" if self.epochs is None else f" ({self.epochs:,.{self.epochs < 10:d}f} epochs)"
        return f"trained on {self.images:,} pictures{epochs}"


def save_model(
    path: Path,
    network: UNet,
    origin: Origin,
    images: int,
    epochs: float | None = None,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write the weights of `network`, in `dtype`, with all that sampling needs; the rest is as in `Model`."""
    header = {**origin.as_dict(), "images": images, "epochs": epochs, "glyffctl": __version__}
    weights = {name: tensor.to(dtype) for name, tensor in network.state_dict().items()}
    save_tensors(path, MODEL_KIND, weights, header)


def load_model(path: Path) -> Model:
    """Read a model; `path` is its file or its run folder. The network comes back in eval mode, float32, on the CPU.

    Raises:
        ModelError: there is none, it is cut short, damaged, or of another version.
    """
    if instead := model_places.describe_non_model(path):
        raise ModelError(instead)
    file = path / MODEL_FILE if path.is_dir() else path
    check_tensors(file, ModelError)
    try:
        weights, header = load_tensors(file, MODEL_KIND, ModelError)
    except ModelError as error:
        told = str(error).replace(str(file), model_label(file))
        if isinstance(error.__cause__, OSError):  # a file that the disk does not give may well be whole
            raise ModelError(told) from error
        what = "get the file again" if model_label(file) == str(file) else "install glyffctl again"
        raise ModelError(f"{told}; {what}, or name another model") from error
    origin = Origin.parse(header, Path(model_label(file)))
    network = load_weights(build_without_init(origin.config.network), weights, file)
    images = header.get("images", 0)
    if type(images) is not int or images < 0:
        raise ModelError(f"cannot use {model_label(file)}: it does not say how many pictures it was trained on")
    return Model(network, origin, images, _epochs(header), digest(weights))


def build_without_init(config: UNetConfig) -> UNet:
    """A network whose weights are yet to come, see `load_weights`."""
    with _Unfilled():
        return UNet(config)


def load_weights(network: UNet, weights: dict[str, Tensor], file: Path) -> UNet:
    """`network` with all its weights, float32, in eval mode and without gradients.

    Raises:
        ModelError: they do not fit, or are not finite numbers; `file` is named as where they came from.
    """
    try:
        network.load_state_dict({name: tensor.float() for name, tensor in weights.items()}, assign=True)
    except RuntimeError as error:
        raise ModelError(f"cannot use {model_label(file)}: its weights do not fit its own settings") from error
    if not all(bool(tensor.isfinite().all()) for tensor in network.state_dict().values()):
        raise ModelError(f"cannot use {model_label(file)}: it holds weights that are not finite numbers")
    return channels_last(network).eval().requires_grad_(False)


def epochs_seen(path: Path) -> float | None:
    """How often the model in a file or run folder has seen its data; None where that cannot be read.

    Reads the header alone. What is wrong with a file is for `load_model` to say.
    """
    file = path / MODEL_FILE if path.is_dir() else path
    try:
        return _epochs(read_header(file, MODEL_KIND, ModelError))
    except ModelError:
        return None


def _epochs(header: dict[str, Any]) -> float | None:
    epochs: Any = header.get("epochs")
    return float(epochs) if type(epochs) in (int, float) and 0 <= epochs < math.inf else None


class _Unfilled(TorchFunctionMode):
    """Networks built under this skip the random start, for weights that overwrite it.

    So they do on torch's meta device; but to draw at random there torch imports its compiler, for most of a second.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def save_origin(folder: Path, origin: Origin) -> None:
    """Write `config.json` into a run folder."""
    text = json.dumps({"glyffctl": __version__, **origin.as_dict()}, indent=2, ensure_ascii=False)
    write_text(folder / CONFIG_FILE, text + "\n")


def load_origin(folder: Path) -> Origin | None:
    """Read `config.json` of a run folder; None where there is none.

    Raises:
        ModelError: the file cannot be read or makes no sense.
    """
    path = folder / CONFIG_FILE
    return Origin.parse(read_json(path, ModelError), path) if path.exists() else None


def save_state(folder: Path, tensors: dict[str, Tensor], counters: dict[str, Any]) -> None:
    """Write all that resuming needs."""
    save_tensors(folder / STATE_FILE, STATE_KIND, tensors, counters)


def load_state(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Read what `save_state` wrote; None where there is none.

    Raises:
        ModelError: the file is cut short, damaged, or of another version.
    """
    path = folder / STATE_FILE
    return load_tensors(path, STATE_KIND, ModelError) if path.exists() else None
