"""Models and training states on disk: safetensors and JSON, nothing that runs.

A run folder holds `config.json` (written first), `state.safetensors` (all that resuming needs, the one commit point),
`model.safetensors` (the averaged weights with all that sampling needs), `entropic.toml` (a table of noise levels, where
the error on held-out characters is known), for a latent model `codec.safetensors`, `log.jsonl`, `samples/` and a model
card, `README.md`. The run of a codec has that alone in place of a model.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from glyffctl.core.codecs.codec import Codec
from glyffctl.core.codecs.latents import Latents
from glyffctl.core.diffusion.denoiser import PredictionType
from glyffctl.core.diffusion.schedule import Schedule
from glyffctl.core.errors import GlyffError, ModelError, UsageError
from glyffctl.core.io.atomic import write_text
from glyffctl.core.io.bundled import model_label
from glyffctl.core.io.reading import read_json
from glyffctl.core.io.tensor_files import check_tensors
from glyffctl.core.io.tensors import load_digested, load_tensors, save_tensors
from glyffctl.core.models import files as model_files
from glyffctl.core.models.codec_file import codec_beside
from glyffctl.core.models.config import Config, as_dict, parse
from glyffctl.core.models.few_step import FewStep, load_few_step
from glyffctl.core.models.files import CODEC_FILE, FEW_STEP_FILE, TABLE_FILE, EncoderInfo
from glyffctl.core.models.level_table import LevelTable, read_table
from glyffctl.core.models.places import describe_non_model
from glyffctl.core.models.recipe import FEW_STEP, FEW_STEPS, ONE_PASS, Recipe
from glyffctl.core.models.weights import build_without_init, load_weights
from glyffctl.core.networks.network import AUTOENCODERS, Network, kind_of
from glyffctl.version import __version__

MODEL_FILE = model_files.MODEL_FILE
STATE_FILE = model_files.STATE_FILE
CONFIG_FILE = model_files.CONFIG_FILE
EXPORT_FILE = model_files.EXPORT_FILE
"""Describes a folder that `export` wrote."""
MODEL_KIND = model_files.MODEL_KIND
STATE_KIND = model_files.STATE_KIND
SIGMAS = "schedule.sigmas"
"""The tensor beside the weights that holds the noise levels."""


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


@dataclass(frozen=True, eq=False, kw_only=True)
class Model:
    """A network with all that drawing needs, trained here or by another program.

    Attributes:
        prediction: what the network predicts.
        schedule: the noise levels that samplers visit.
        codec: between pictures and what is diffused.
        text_width: D of the token vectors that the network takes.
        encoder: the text encoder that it was trained with.
        encodes_empty: the empty prompt is encoded like any other text; otherwise it is no caption, for which the
            network has a learned token.
        identity: a digest of the weights and the noise levels.
        history: where it comes from, in words.
        few_step: a student that draws in a few passes, if there is one.
        table: of the schedule entropic, if it was measured.
    """

    network: Network
    prediction: PredictionType
    schedule: Schedule
    codec: Codec
    text_width: int
    encoder: EncoderInfo
    encodes_empty: bool = False
    identity: str = ""
    history: str = ""
    few_step: FewStep | None = None
    table: LevelTable | None = None

    @property
    def recipe(self) -> Recipe:
        """How it draws unless asked otherwise."""
        if self.few_step is not None and self.few_step.passes:
            return Recipe(sampler=FEW_STEP, steps=self.few_step.passes)
        return self.full_recipe

    @property
    def full_recipe(self) -> Recipe:
        """How it draws without a student."""
        return Recipe()

    def levels(self, recipe: Recipe) -> Tensor:
        """The noise levels that `recipe` visits: (steps + 1,) float64, descending to 0.

        Raises:
            UsageError: the model cannot draw by it.
        """
        if self.network.one_pass and recipe != ONE_PASS:
            raise UsageError(
                "this model draws in one pass, and is not guided; leave options of steps, samplers and guidance out"
            )
        if recipe.sampler != FEW_STEP:
            return recipe.levels(self.schedule)
        if self.few_step is None:
            raise UsageError("this model has no few-step student; make one with `glyffctl train --preset few-step`")
        return self.few_step.levels_of(recipe.steps)

    def identity_of(self, recipe: Recipe) -> str:
        """A digest of all numbers that pictures by `recipe` depend on."""
        few = self.few_step if recipe.sampler == FEW_STEP else None
        codec = self.codec if isinstance(self.codec, Latents) else None
        return "+".join([self.identity, *(part.identity for part in (codec, few) if part is not None)])


@dataclass(frozen=True, eq=False, kw_only=True)
class TrainedModel(Model):
    """A model that was trained here.

    Attributes:
        origin: what it was trained with.
        images: pictures shown in training.
        epochs: how often it has seen its data; None where the file does not say.
        stored: the precision of the weights in the file that it was read from.
    """

    origin: Origin
    images: int
    epochs: float | None
    stored: torch.dtype = torch.float32

    @property
    def full_recipe(self) -> Recipe:
        """How it draws without a student."""
        if self.network.one_pass:
            return ONE_PASS
        return FEW_STEPS if self.origin.config.diffusion.schedule == "karras" else Recipe()


def trained_model(
    network: Network,
    schedule: Schedule,
    origin: Origin,
    *,
    images: int,
    epochs: float | None,
    identity: str = "",
    learned: Latents | None = None,
) -> TrainedModel:
    """A model of ours; the arguments are as in `TrainedModel`, and its codec if that has weights."""
    config = origin.config
    return TrainedModel(
        network=network,
        prediction=config.diffusion.prediction,
        schedule=schedule,
        codec=config.codec.build(learned),
        text_width=config.network.text_width,
        encoder=origin.encoder,
        identity=identity,
        history=model_files.history(images, epochs),
        images=images,
        epochs=epochs,
        origin=origin,
    )


def save_model(path: Path, model: TrainedModel, dtype: torch.dtype = torch.float32) -> None:
    """Write a model of ours, its weights in `dtype`, with all that drawing needs."""
    header = {**model.origin.as_dict(), "images": model.images, "epochs": model.epochs, "glyffctl": __version__}
    weights = {name: tensor.to(dtype) for name, tensor in model.network.state_dict().items()}
    save_tensors(path, MODEL_KIND, {SIGMAS: model.schedule.sigmas, **weights}, header)


def load_model(path: Path) -> TrainedModel:
    """Read a model; `path` is its file or its run folder. The network is in eval mode, float32, on the CPU.

    Raises:
        ModelError: there is none, it is cut short, damaged, or of another version.
    """
    if instead := describe_non_model(path):
        raise ModelError(instead)
    file = path / MODEL_FILE if path.is_dir() else path
    check_tensors(file, ModelError)
    try:
        weights, header, identity = load_digested(file, MODEL_KIND, ModelError)
    except ModelError as error:
        message = str(error).replace(str(file), model_label(file))
        if isinstance(error.__cause__, OSError):  # a file that the disk does not give may well be whole
            raise ModelError(message) from error
        what = "get the file again" if model_label(file) == str(file) else "install glyffctl again"
        raise ModelError(f"{message}; {what}, or name another model") from error
    origin = Origin.parse(header, Path(model_label(file)))
    config = origin.config
    if kind_of(config.network) in AUTOENCODERS:
        raise ModelError(f"cannot use {model_label(file)}: its network is no denoiser; name another model")
    learned = codec_beside(file, config.codec)
    schedule = _schedule(weights.pop(SIGMAS, None), file)
    stored = next((tensor.dtype for tensor in weights.values() if tensor.is_floating_point()), torch.float32)
    network = load_weights(build_without_init(config.network), weights, file)
    images = header.get("images", 0)
    if type(images) is not int or images < 0:
        raise ModelError(f"cannot use {model_label(file)}: it does not say how many pictures it was trained on")
    check_codec(config, learned, model_label(file))
    model = trained_model(
        network,
        schedule,
        origin,
        images=images,
        epochs=model_files.epochs_of(header),
        identity=identity,
        learned=learned,
    )
    if file.name != MODEL_FILE:
        return replace(model, stored=stored)
    student = load_few_step(file.with_name(FEW_STEP_FILE), network, identity)
    return replace(model, stored=stored, few_step=student, table=_table_beside(file))


def _table_beside(file: Path) -> LevelTable | None:
    table = file.with_name(TABLE_FILE)
    if not table.exists():
        return None
    try:
        return read_table(table, ModelError)
    except ModelError as error:
        raise ModelError(
            f"{error}; delete this file, which only the schedule entropic needs, or get it again"
        ) from error


def check_codec(config: Config, learned: Latents | None, where: str) -> None:
    """Raise ModelError unless the network of a model diffuses what its codec makes of pictures.

    Args:
        config: of the model.
        learned: its codec, if that has weights.
        where: the model is, for the message.
    """
    try:
        shape = config.codec.build(learned).shape
    except UsageError as error:  # it takes no pictures of such a size, or its weights are not there
        raise ModelError(f"cannot use {where}: {error}") from error
    if shape != (config.network.in_channels, *2 * (config.network.size,)):
        beside = f", {CODEC_FILE}; get both files again" if learned is not None else "; get it again"
        raise ModelError(f"cannot use {where}: its network does not fit its codec{beside}")


def _schedule(sigmas: Tensor | None, file: Path) -> Schedule:
    if (
        sigmas is None
        or sigmas.dtype != torch.float64
        or sigmas.ndim != 1
        or len(sigmas) == 0
        or not bool((sigmas > 0).all() and sigmas.isfinite().all() and (sigmas.diff() > 0).all())
    ):
        raise ModelError(f"cannot use {model_label(file)}: its noise levels are not positive and ascending")
    return Schedule(sigmas)


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
