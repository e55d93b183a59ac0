"""Settings of a training run: presets, TOML files, and what a run folder remembers of them."""

from __future__ import annotations

import dataclasses
import difflib
import math
import tomllib
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from glyffctl.core.codecs.codec import CODECS, LEARNED, Codec
from glyffctl.core.codecs.latents import Latents
from glyffctl.core.diffusion.denoiser import PredictionType
from glyffctl.core.diffusion.schedule import SCHEDULES, Schedule, make_schedule
from glyffctl.core.diffusion.weighting import Weighting
from glyffctl.core.errors import TrainingError, UsageError
from glyffctl.core.io import reading
from glyffctl.core.io.reading import short_repr
from glyffctl.core.models.level_table import LevelTable
from glyffctl.core.models.recipe import ENTROPIC, PASSES
from glyffctl.core.models.upscale_recipe import LEAST_LEVEL, MOST_STEPS
from glyffctl.core.networks.network import NETWORKS, NetworkConfig, kind_of, network_kinds
from glyffctl.core.precision import Precision

Levels = Literal["table", "lognormal"]
OptimizerName = Literal["adamw", "muon"]
DECIDED = ("size", "in_channels", "text_width")
"""Settings of every network that the codec and the text encoder decide."""
DEFAULT_KIND = "unet"
"""The kind of network of settings that name none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DiffusionConfig:
    """What is learned.

    Attributes:
        prediction: what the network predicts: "eps", "v" or "x0".
        schedule: the table of noise levels, for samplers and for levels = "table": one of `SCHEDULES` or `ENTROPIC`.
        levels: how noise levels are drawn in training: "table", evenly from the schedule's table (DDPM), or
            "lognormal", ln σ ~ N(level_mean, level_std²) (Karras et al. 2022, table 1).
        weighting: "simple", "v", "min-snr", "x0" or "eps", see `weighting.loss_weight`.
        caption_dropout: share of pictures shown without their caption, for guidance.
        sigma, information: the table of a schedule of `ENTROPIC`, see `LevelTable`; where both are (), `train` takes
            that of the model that it starts from, or of the bundled model.
    """

    prediction: PredictionType = "x0"
    schedule: str = "karras"
    levels: Levels = "lognormal"
    level_mean: float = 0.8
    level_std: float = 1.4
    weighting: Weighting = "v"
    caption_dropout: float = 0.1
    sigma: tuple[float, ...] = ()
    information: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Raise UsageError for values out of range."""
        if self.schedule not in (*SCHEDULES, *ENTROPIC):
            known = ", ".join((*SCHEDULES, *ENTROPIC))
            raise UsageError(f"diffusion.schedule must be one of {known}, not {short_repr(self.schedule)}")
        if self.sigma or self.information:
            if self.schedule not in ENTROPIC:
                raise UsageError(
                    f"diffusion.sigma and diffusion.information are for diffusion.schedule {' or '.join(ENTROPIC)}"
                )
            LevelTable(self.sigma, self.information)
        if not 0 <= self.caption_dropout <= 1:
            raise UsageError(f"diffusion.caption_dropout must be in [0, 1], not {self.caption_dropout}")
        if not (math.isfinite(self.level_mean) and 0 < self.level_std < math.inf):
            raise UsageError("diffusion.level_mean must be finite and diffusion.level_std positive")

    def noise_levels(self) -> Schedule:
        """The schedule with its table.

        Raises:
            UsageError: it takes a table, which is missing.
        """
        if self.schedule in ENTROPIC:
            return ENTROPIC[self.schedule](LevelTable(self.sigma, self.information)).schedule()
        return make_schedule(self.schedule)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingConfig:
    """How it is learned. Everything is counted in pictures shown, so that a batch size can change alone.

    Attributes:
        objective: what is learned from a batch, see `training.objective`.
        batch: pictures of an optimizer step.
        optimizer: "adamw", or "muon" for matrices and kernels, see `optimizer`.
        learning_rate, weight_decay: of both. beta1, beta2: of AdamW.
        warmup: pictures over which the learning rate rises; half a cosine over the whole budget takes it to 0.
        clip: the largest norm a gradient may have.
        ema_decay: of the averaged weights, per step.
        freeze: so many of the coarsest levels of the network keep the weights of the model that the run starts from,
            and so does what embeds text and σ: strokes get another style, and what prompts mean is not forgotten.
        holdout: share of characters kept out of training, for the validation loss.
        precision: "bf16" computes inside the network in bfloat16; weights and averages stay float32. "auto" tries both
            when the run starts and keeps the faster: which one that is depends on the machine.
        compile: run the network through torch.compile.
        epochs, images, minutes: the budget; exactly one is not 0.
        checkpoint_every: pictures between checkpoints.
        evaluate: measure the model at every checkpoint, a little: see `workflows.checkpoint_metrics`.
        deterministic: on a GPU, take kernels that give the same bits every time: a run that was killed and resumed then
            ends with the very weights of one that was not, as it always does on a CPU. Slower.
        seed: of everything drawn.
    """

    objective: str = "denoising"
    batch: int = 64
    optimizer: OptimizerName = "adamw"
    learning_rate: float = 5e-4
    warmup: int = 20_000
    weight_decay: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.99
    clip: float = 1.0
    ema_decay: float = 0.999
    freeze: int = 0
    holdout: float = 0.05
    precision: Precision = "auto"
    compile: bool = False
    epochs: float = 0.0
    images: int = 0
    minutes: float = 0.0
    checkpoint_every: int = 25_000
    evaluate: bool = False
    deterministic: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise UsageError for values out of range."""
        budgets = {name: getattr(self, name) for name in BUDGETS}
        for name, budget in budgets.items():
            if not 0 <= budget < math.inf:
                raise UsageError(f"training.{name} must be a finite number above 0, not {budget}")
        given = [name for name, budget in budgets.items() if budget > 0]
        if len(given) != 1:
            raise UsageError(
                f"training needs exactly one budget, epochs, images or minutes, not {' and '.join(given) or 'none'}"
            )
        positive = ("batch", "learning_rate", "clip", "checkpoint_every")
        for name in positive:
            if not 0 < getattr(self, name) < math.inf:
                raise UsageError(f"training.{name} must be greater than 0, not {getattr(self, name)}")
        for name in ("beta1", "beta2", "ema_decay", "holdout"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"training.{name} must be in [0, 1), not {getattr(self, name)}")
        if min(self.warmup, self.freeze) < 0 or not 0 <= self.weight_decay < math.inf:
            raise UsageError("training.warmup, training.freeze and training.weight_decay must not be negative")
        if not 0 <= self.seed < 2**63:
            raise UsageError(f"the seed must be in 0…2⁶³−1, not {self.seed}")


@dataclass(frozen=True, kw_only=True, slots=True)
class CodecConfig:
    """What pictures become before they are diffused, see `codecs.codec`.

    Attributes:
        kind: a name in `CODECS`, or `LEARNED`.
        size: height and width of a picture, in pixels.
        weights: the identity of a codec that was learned, which the program sets.
    """

    kind: str = "pixels"
    size: int = 128
    weights: str = ""

    def __post_init__(self) -> None:
        """Raise UsageError for values out of range."""
        if self.kind not in (*CODECS, LEARNED):
            known = ", ".join((*CODECS, LEARNED))
            raise UsageError(f"codec.kind must be one of {known}, not {short_repr(self.kind)}")
        if not 1 <= self.size <= _LARGEST_SIZE:
            raise UsageError(f"codec.size must be in 1…{_LARGEST_SIZE:,}, not {self.size}")

    @property
    def learned(self) -> bool:
        """Whether the codec has weights of its own."""
        return self.kind == LEARNED

    def build(self, learned: Latents | None = None) -> Codec:
        """The codec: `learned` where it has weights.

        Raises:
            UsageError: it has weights, and `learned` is missing or cannot take pictures of this size.
        """
        if not self.learned:
            return CODECS[self.kind](self.size)
        if learned is None:
            raise UsageError("codec.kind autoencoder has weights: name a run or folder with `codec`")
        return learned.at(self.size)


@dataclass(frozen=True, kw_only=True, slots=True)
class FewStepConfig:
    """What a few-step student learns, where `training.objective` is "few-step"; see `training.distillation`.

    Attributes:
        rank: of the differences of matrices from the teacher's.
        passes: that it draws with unless asked otherwise, a power of two; 0 leaves all but `--passes` to its teacher.
        substeps: steps of the teacher's solver for each jump of the shortest kind.
        guidance_low, guidance_high: the least and the largest γ that it learns, both at least 1.
        guided_from: the least σ at which the teacher is guided.
        softness: c of the loss √(d² + c²) − c, in units of pictures in −1…1.
        teacher: the identity of the model that it learns from, which the program sets.
    """

    rank: int = 32
    passes: int = 8
    substeps: int = 2
    guidance_low: float = 1.0
    guidance_high: float = 8.0
    guided_from: float = 1.0
    softness: float = 0.1
    teacher: str = ""

    def __post_init__(self) -> None:
        """Raise UsageError for values out of range."""
        if not (1 <= self.rank <= _LARGEST_SIZE and 1 <= self.substeps <= _LARGEST_SIZE):
            raise UsageError("few_step.rank and few_step.substeps must be at least 1")
        if self.passes not in (0, *PASSES):
            raise UsageError(f"few_step.passes must be one of 0, {', '.join(map(str, PASSES))}, not {self.passes}")
        if not 1 <= self.guidance_low <= self.guidance_high <= _LARGEST_GUIDANCE:
            raise UsageError(
                f"few_step.guidance_low and few_step.guidance_high must ascend in 1…{_LARGEST_GUIDANCE:g}, not "
                f"{self.guidance_low} and {self.guidance_high}"
            )
        if not (0 <= self.guided_from < math.inf and 0 < self.softness < math.inf):
            raise UsageError("few_step.guided_from must not be negative, and few_step.softness positive")


@dataclass(frozen=True, kw_only=True, slots=True)
class UpscalingConfig:
    """What an upscaler learns, where `training.objective` is "upscaling"; see `training.upscaling`.

    Attributes:
        crop: height and width of what is learned from a large picture at a time, in its pixels.
        noise: the most noise that the small picture is shown with, as a standard deviation; every level from 0 is as
            likely.
        drawn: the level that it has in drawing.
        start: the noise level σ of the large picture that drawing starts from.
        steps: of the sampler in drawing.
    """

    crop: int = 128
    noise: float = 0.3
    drawn: float = 0.02
    start: float = 4.0
    steps: int = 3

    def __post_init__(self) -> None:
        """Raise UsageError for values out of range."""
        if not 1 <= self.crop <= _LARGEST_SIZE:
            raise UsageError(f"upscaling.crop must be in 1…{_LARGEST_SIZE:,}, not {self.crop}")
        if not 0 <= self.drawn <= self.noise < math.inf:
            raise UsageError(
                f"upscaling.drawn and upscaling.noise must ascend from 0, not {self.drawn} and {self.noise}"
            )
        if not LEAST_LEVEL < self.start < math.inf:
            raise UsageError(f"upscaling.start must be more than {LEAST_LEVEL}, not {self.start}")
        if not 1 <= self.steps <= MOST_STEPS:
            raise UsageError(f"upscaling.steps must be in 1…{MOST_STEPS:,}, not {self.steps}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """A whole training run."""

    network: NetworkConfig = field(default_factory=NETWORKS[DEFAULT_KIND].config)
    codec: CodecConfig = field(default_factory=CodecConfig)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(minutes=60))
    few_step: FewStepConfig = field(default_factory=FewStepConfig)
    upscaling: UpscalingConfig = field(default_factory=UpscalingConfig)

    def __post_init__(self) -> None:
        """Raise UsageError for settings that do not go together."""
        levels = self.training.freeze
        if levels and (self.training.objective != "denoising" or not self.network.inner(levels)):
            raise UsageError(
                f"`freeze` is for U-Nets that denoise, and leaves their finest level free; make {levels} smaller or 0"
            )


SECTIONS = ("network", "codec", "diffusion", "training", "few_step", "upscaling")
_KINDS = {
    "codec": CodecConfig,
    "diffusion": DiffusionConfig,
    "training": TrainingConfig,
    "few_step": FewStepConfig,
    "upscaling": UpscalingConfig,
}
BUDGETS = ("epochs", "images", "minutes")
_LARGEST_SIZE = 1 << 16
_LARGEST_GUIDANCE = 100.0
LARGEST = 2**63  # the first number that is none of 64 bits


def preset_names() -> list[str]:
    """The presets that come with the program."""
    files = resources.files("glyffctl").joinpath("presets").iterdir()
    return sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))


def read_preset(name: str) -> dict[str, dict[str, Any]]:
    """The sections of a preset.

    Raises:
        UsageError: there is no such preset.
    """
    if name not in preset_names():
        raise UsageError(f"there is no preset {name!r}; there are {', '.join(preset_names())}")
    text = resources.files("glyffctl").joinpath("presets", f"{name}.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def read_toml(path: Path) -> dict[str, dict[str, Any]]:
    """The sections of a user's file.

    Raises:
        UsageError: the file is missing or not TOML.
    """
    return reading.read_toml(path, UsageError)


def merge(*layers: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Sections laid over each other, the later winning.

    A budget in a later layer replaces any earlier budget, and another kind of network all settings of the earlier one.
    """
    merged: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
    for layer in layers:
        for section, values in layer.items():
            if section not in SECTIONS:
                raise UsageError(f"unknown section [{section[:60]}]{_guess(section, SECTIONS)}")
            if not isinstance(values, dict):
                raise UsageError(f"{section} must be a section: write [{section}] on a line of its own")
            if any(values.get(budget) for budget in BUDGETS):
                merged[section] = {k: v for k, v in merged[section].items() if k not in BUDGETS}
            if section == "network" and values.get("kind", (kind := merged[section].get("kind", DEFAULT_KIND))) != kind:
                merged[section] = {}
            merged[section] |= values
    return merged


def parse(sections: dict[str, dict[str, Any]]) -> Config:
    """Checked settings from plain ones, as TOML or JSON gives them.

    Raises:
        UsageError: a name is unknown, a value of the wrong type or out of range.
    """
    built = network_config(sections.get("network", {}))
    parts = {section: _build(kind, sections.get(section, {}), section) for section, kind in _KINDS.items()}
    return Config(network=built, **parts)


def network_config(section: dict[str, Any]) -> NetworkConfig:
    """Checked sizes of a network from plain ones, as in `parse`."""
    sizes, kinds = dict(section), network_kinds()
    name = sizes.pop("kind", DEFAULT_KIND)
    if not isinstance(name, str) or name not in kinds:
        raise UsageError(f"network.kind must be one of {', '.join(kinds)}, not {short_repr(name)}")
    built: NetworkConfig = _build(kinds[name].config, sizes, "network")
    return built


def fit_to_data(sections: dict[str, dict[str, Any]], size: int, width: int, learned: Latents | None = None) -> Config:
    """Checked settings with the numbers that the data, the codec and the text encoder decide.

    Args:
        sections: as `merge` returns them.
        size: height and width of a picture, in pixels.
        width: numbers of a token vector.
        learned: the codec, if it has weights.

    Raises:
        TrainingError: the settings have another number.
        UsageError: as in `parse`.
    """
    codec = parse(merge(sections, {"codec": {"size": size}})).codec.build(learned)
    channels, side, _ = codec.shape
    network = sections["network"]
    decided = {
        "size": (side, "the pictures"),
        "in_channels": (channels, "the pictures"),
        "text_width": (width, "the text embeddings"),
    }
    for name, (found, what) in decided.items():
        if network.get(name, found) != found:
            raise TrainingError(
                f"network.{name} is {network[name]} in the settings, but {what} have {found}; "
                f"take network.{name} out of the settings (codec.size resizes pictures), or prepare and embed anew"
            )
    numbers = {name: found for name, (found, _) in decided.items()}
    try:
        return parse(merge(sections, {"codec": {"size": size}, "network": numbers}))
    except UsageError as error:
        if side == size:
            raise
        raise UsageError(f"{error} (pictures of {size}×{size} are {side}×{side} for the network)") from error


def as_dict(config: Config) -> dict[str, dict[str, Any]]:
    """Plain settings, for JSON; `parse` reads them back."""
    plain = dataclasses.asdict(config)
    return plain | {"network": {"kind": kind_of(config.network), **plain["network"]}}


def _guess(name: str, known: Any) -> str:
    close = difflib.get_close_matches(name, list(known), 1)
    return f"; did you mean {close[0]}?" if close else f"; known are {', '.join(known)}"


def _build(kind: type[Any], values: dict[str, Any], section: str) -> Any:
    hints = get_type_hints(kind)
    for name in values:
        if name not in hints:
            own = [hint for hint in hints if hint not in DECIDED] if section == "network" else hints
            raise UsageError(f"unknown setting {section}.{name[:60]}{_guess(name, own)}")
    return kind(**{name: _convert(value, hints[name], f"{section}.{name}") for name, value in values.items()})


def _convert(value: Any, hint: Any, name: str) -> Any:
    """`value` as the type `hint`: bool, int, float, str, a Literal of strings, or a tuple of ints or floats."""
    if get_origin(hint) is Literal:
        if value in get_args(hint):
            return value
        raise UsageError(f"{name} must be one of {', '.join(get_args(hint))}, not {short_repr(value)}")
    if hint == tuple[float, ...]:
        if isinstance(value, list | tuple):
            return tuple(_convert(item, float, f"a value of {name}") for item in value)
        raise UsageError(f"{name} must be a list of numbers, not {short_repr(value)}")
    if get_origin(hint) is tuple:
        if isinstance(value, list | tuple) and all(type(item) is int and -LARGEST <= item < LARGEST for item in value):
            return tuple(value)
        raise UsageError(f"{name} must be a list of whole numbers, not {short_repr(value)}")
    whole = type(value) is int and -LARGEST <= value < LARGEST
    if hint is float and (whole or type(value) is float):
        return float(value)
    if type(value) is hint and (whole or hint is not int):
        return value
    kind = {bool: "true or false", int: "a whole number", float: "a number", str: "a string"}[hint]
    raise UsageError(f"{name} must be {kind}, not {short_repr(value)}")
