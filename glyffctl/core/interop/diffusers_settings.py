"""The settings of a model folder of diffusers, checked before weights are read.

There are two layouts: a pipeline (`unet/`, optionally `scheduler/`, `text_encoder/`, `tokenizer/` and
`model_index.json`), or a bare network (`config.json` and its weights, optionally `scheduler_config.json`). diffusers'
own classes define which settings there are, their defaults, and which levels a scheduler has and visits. A setting that
would be ignored is an error: the pictures would not be those its author meant. Only unknown settings that are off (null
or false) are ignored, because every version of diffusers writes all of its settings.
"""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from glyffctl.core.diffusion.denoiser import PredictionType
from glyffctl.core.diffusion.schedule import Schedule, from_betas, linear
from glyffctl.core.errors import ModelError, UsageError, first_line
from glyffctl.core.io.diffusers_files import INDEX_FILE, NETWORK, PARTS, find_weights
from glyffctl.core.io.reading import check_file, read_json, short_repr
from glyffctl.core.text.hub import has_weights

_SCHEDULER_FILE = "scheduler_config.json"
GLYFFUSER = "GlyffuserPipeline"
"""The pipeline of yue-here/glyffuser. Black is 0 and white is 1 in its pictures, where diffusers' own have −1 and 1."""
GLYFFUSER_ENCODER = ("google-t5/t5-small", 512)
"""The encoder which that pipeline uses by default, and the width of its vectors."""
LONGEST_TEXT = 256  # tokens, as in the same pipeline
PREDICTIONS: dict[str, PredictionType] = {"epsilon": "eps", "v_prediction": "v", "sample": "x0"}


@dataclass(frozen=True, eq=False)
class SpacedSchedule(Schedule):
    """A table of noise levels with the spacing of a scheduler of diffusers.

    Attributes:
        scheduler: the object of diffusers; None for "trailing" spacing.
    """

    scheduler: Any = None

    @property
    def spacing(self) -> str:
        """The name in Lin et al. 2024 (arXiv 2305.08891), table 2."""
        return str(self.scheduler.config.timestep_spacing) if self.scheduler else "trailing"

    def steps(self, n: int) -> Tensor:
        """The levels that a sampler of `n` steps visits: (n+1,) float64, descending, the last one 0.

        Raises:
            ValueError: `n` is not in 1…T, or so many levels do not differ.
        """
        index = self.places(n)
        # Theirs of "trailing" turns on rounding where T/n is not whole, and may even have n + 1 levels.
        if self.spacing != "trailing":
            with quiet():
                self.scheduler.set_timesteps(n)
            index = self.scheduler.timesteps
        if bool((index < len(self.sigmas)).all()) and bool((self.sigmas[index].diff() < 0).all()):
            return torch.cat([self.sigmas[index], torch.zeros(1, dtype=torch.float64)])
        raise ValueError(f"`steps` {n} is more than this model's {len(self.sigmas)} levels can be spaced for")


@dataclass(frozen=True, kw_only=True)
class PipelineSettings:
    """The settings of a model folder.

    Attributes:
        network: the arguments of UNet2DConditionModel, which checks them when it is built.
        weights: the file with its weights, or the index of several.
        pipeline: the name of its pipeline, or "" where the folder names none.
        schedule: its noise levels and their spacing.
        prediction: what the network predicts.
        clip: guesses of x0 are held in ±clip; None leaves them as they are.
        low: the value of black; white is 1.
        sampler: ours that is like its own scheduler, or "" where it has none: then it is taken to be DDPM's.
        encoder: its text encoder: a folder, a name on the hub, or "" where it names none.
        max_tokens: longer captions are cut.
    """

    network: dict[str, Any]
    weights: Path
    pipeline: str = ""
    schedule: SpacedSchedule = field(default_factory=lambda: SpacedSchedule(linear().sigmas))
    prediction: PredictionType = "eps"
    clip: float | None = 1.0
    low: float = -1.0
    sampler: str = ""
    encoder: str = ""
    max_tokens: int = LONGEST_TEXT

    @property
    def size(self) -> int:
        """Height and width of a picture, in pixels."""
        size: int | list[int] = self.network["sample_size"]
        return size[0] if isinstance(size, list) else size

    @property
    def channels(self) -> int:
        """1 for grey pictures, 3 for coloured ones."""
        channels: int = self.network["in_channels"]
        return channels

    @property
    def text_width(self) -> int:
        """D of the token vectors that the network reads."""
        width: int = self.network["encoder_hid_dim"] or self.network["cross_attention_dim"]
        return width


def read_pipeline(folder: Path) -> PipelineSettings:
    """Read all settings of `folder`.

    Raises:
        ModelError: a file is missing or broken, or has a setting that is not supported.
        UsageError: diffusers is not installed.
    """
    index = folder / INDEX_FILE
    place = folder / "unet" if index.exists() or (folder / "unet").is_dir() else folder
    above = folder.absolute().parent
    if place == folder and folder.name == "unet" and any((above / name).exists() for name in ("scheduler", INDEX_FILE)):
        raise ModelError(f"{folder} is the network alone of a model of diffusers; name its folder, {above}")
    if place != folder and (folder / "text.safetensors").exists():
        raise ModelError(
            f"{folder} looks like what `glyffctl export --format diffusers` writes, but its glyffctl.json is missing; "
            "get that file too, or export the model again"
        )
    weights = find_weights(place, model=folder)
    check_file(weights, ModelError)
    network = _network(place / "config.json")
    if index.exists():
        pipeline, parts = _index(index)
    else:
        pipeline, parts = "", {name for name in PARTS if (folder / name).is_dir()}
    settings = PipelineSettings(network=network, weights=weights, pipeline=pipeline)
    scheduler = folder / "scheduler" / _SCHEDULER_FILE
    if "scheduler" in parts and not scheduler.exists():
        raise ModelError(
            f"{folder} has no {scheduler.relative_to(folder)}, without which its noise levels are not known; "
            "get the folder again, whole"
        )
    if place == folder and not scheduler.exists():
        scheduler = folder / _SCHEDULER_FILE
    if scheduler.exists():
        settings = _scheduler(scheduler, settings)
    if pipeline == GLYFFUSER:
        settings = replace(settings, low=0.0)
        name, width = GLYFFUSER_ENCODER
        if settings.text_width == width:
            settings = replace(settings, encoder=name)
    if "text_encoder" in parts:
        encoder = folder / "text_encoder"
        if not has_weights(encoder):
            raise ModelError(f"{folder} has no safetensors weights of its text encoder in {encoder.name}/")
        settings = replace(settings, encoder=str(encoder.absolute()), max_tokens=_longest(folder / "tokenizer"))
    return settings


def _index(path: Path) -> tuple[str, set[str]]:
    """The name of a pipeline, and which parts it has."""
    plain = read_json(path, ModelError)
    held = {name: value for name, value in plain.items() if not name.startswith("_") and value != [None, None]}
    for name, value in held.items():
        if name not in PARTS:
            raise ModelError(f"cannot use {path}: its pipeline has a part {short_repr(name)}, which is not known here")
        if not (isinstance(value, list) and len(value) == 2 and isinstance(value[1], str)):
            raise ModelError(f"cannot use {path}: {name} must be a library and a class, not {short_repr(value)}")
    if "unet" not in held or held["unet"][1] != NETWORK:
        raise ModelError(f"cannot use {path}: it has no {NETWORK} as its unet")
    pipeline = plain.get("_class_name")
    if not isinstance(pipeline, str) or not pipeline:
        raise ModelError(f"cannot use {path}: it does not say the _class_name of its pipeline")
    return pipeline, set(held)


def _longest(tokenizer: Path) -> int:
    """How many tokens a caption may have for this tokenizer."""
    path = tokenizer / "tokenizer_config.json"
    limit = read_json(path, ModelError).get("model_max_length") if path.is_file() else None
    return int(min(LONGEST_TEXT, limit)) if isinstance(limit, int | float) and limit >= 2 else LONGEST_TEXT


def diffusers_class(name: str) -> Any:
    """A class of diffusers.

    Raises:
        UsageError: diffusers is not installed.
    """
    try:
        with quiet():
            return getattr(importlib.import_module("diffusers"), name)
    except (ImportError, RuntimeError):  # RuntimeError: from its lazy imports
        raise UsageError('models of diffusers need the package diffusers: pip install "glyffctl[diffusers]"') from None


@contextmanager
def quiet() -> Iterator[None]:
    """Hide the warnings of diffusers: about packages that it looks for, its own old names, numpy."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# What classes of diffusers raise for settings that do not go together.
_DO_NOT_FIT = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError, AssertionError)


@contextmanager
def building(path: Path) -> Iterator[None]:
    """Around calls of diffusers with the settings in `path`.

    Raises:
        ModelError: diffusers builds nothing like that.
    """
    try:
        with quiet():
            yield
    except _DO_NOT_FIT as error:
        cause = "".join(filter(str.isprintable, first_line(error)))
        raise ModelError(f"cannot use {path}: diffusers builds nothing like that ({cause})") from error


_MOST_LEVELS = 8
_RANGE = (0, 65_536)
# Bounds on numbers that cost time or memory or are divisors; diffusers has none.
_RANGES: dict[str, tuple[float, float]] = {
    "sample_size": (1, 1024),
    "layers_per_block": (1, 16),
    "transformer_layers_per_block": (1, 16),
    "freq_shift": (0, 1),
    "mid_block_scale_factor": (1e-6, 1e6),
    "resnet_out_scale_factor": (1e-6, 1e6),
    "num_train_timesteps": (2, 10_000),
    "clip_sample_range": (0, 1e9),
    "sample_max_value": (0, 1e9),
}
_VALUES: dict[str, tuple[object, ...]] = {
    "in_channels": (1, 3),
    "prediction_type": tuple(PREDICTIONS),
    "algorithm_type": ("dpmsolver", "dpmsolver++", "sde-dpmsolver", "sde-dpmsolver++"),
    "variance_type": (None, "fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log"),
}


def _arguments(kind: Any, plain: dict[str, Any], fixed: set[str], path: Path) -> dict[str, Any]:
    """What a JSON file sets of a class of diffusers: without remarks, and without what is not known and is off.

    Args:
        kind: the class.
        plain: the parsed file.
        path: of the file.
        fixed: settings that may only be as they are where a file is silent, or null.
    """
    known, held = inspect.signature(kind).parameters, {}
    for name, value in plain.items():
        if name.startswith("_") or (name not in known and (value is None or value is False)):
            continue
        if name not in known:
            raise ModelError(f"cannot use {path}: unknown setting {short_repr(name)}")
        default, values = known[name].default, _VALUES.get(name)
        problem = f"cannot use {path}: {name} is {short_repr(value)}; known"
        if name in fixed:
            if value is not None and (type(value) is not type(default) or value != default):
                raise ModelError(f"{problem} is {default!r}")
        elif not _fits(value, known[name]):
            low, high = _RANGES.get(name, _RANGE)
            numbers = "" if isinstance(default, bool | str) else f", with numbers in {low:g}…{high:g}"
            raise ModelError(f"{problem} are values like {default!r}{numbers}")
        elif values and value not in values:
            raise ModelError(f"{problem} are {', '.join(map(str, values))}")
        held[name] = value
    return held


def _fits(value: object, known: inspect.Parameter) -> bool:
    """Whether `value` is like the default of an argument, or a short list where it takes one, with numbers in range."""
    default, (low, high) = known.default, _RANGES.get(known.name, _RANGE)
    if isinstance(default, bool | str):
        return value is None or type(value) is type(default)
    many = isinstance(value, list) and "tuple" in str(known.annotation).lower()
    items = cast("list[Any]", value if many else [value])
    words = (str, bool, type(None)) if default is None or isinstance(default, tuple) else ()
    return 1 <= len(items) <= _MOST_LEVELS and all(
        low <= item <= high if type(item) in (int, float) else isinstance(item, words) for item in items
    )


# With these a network is to be asked with more than z, t and text, and need not complain where that is missing.
_NETWORK_FIXED = {
    *("class_embed_type", "num_class_embeds", "projection_class_embeddings_input_dim", "class_embeddings_concat"),
    *("addition_time_embed_dim", "time_cond_proj_dim", "attention_type", "dual_cross_attention"),
}


def _network(path: Path) -> dict[str, Any]:
    """The arguments of the network."""
    plain = read_json(path, ModelError)
    if plain.get("_class_name") != NETWORK:
        raise ModelError(
            f"cannot use {path}: it is a {short_repr(plain.get('_class_name'))}, not a {NETWORK}; no other network of "
            "diffusers is known here"
        )
    if plain.get("quantization_config"):
        raise ModelError(
            f"cannot use {path}: its weights are quantised (quantization_config), which is not read here; name the "
            "model in float32, float16, bfloat16 or float8"
        )
    config = {"encoder_hid_dim": None} | _arguments(diffusers_class(NETWORK), plain, _NETWORK_FIXED, path)
    for name in ("sample_size", "in_channels", "cross_attention_dim"):
        if config.get(name) is None:
            raise ModelError(f"cannot use {path}: it does not say {name}")
    size = config["sample_size"]
    if isinstance(size, list) and len(set(size)) != 1:
        raise ModelError(f"cannot use {path}: pictures must be square, not {short_repr(size)}")
    return config


# Schedulers of diffusers, and our samplers that are like them. How a step is taken is the sampler's business; which
# levels there are and what an answer means is not. So DDIM is ours: where a guess of x0 is clipped the noise follows,
# as in diffusers with use_clipped_model_output, which is off there.
_SAMPLERS = {"DDPMScheduler": "ddpm", "DDIMScheduler": "ddim", "DPMSolverMultistepScheduler": "dpmpp-2m"}
# Settings that may differ from diffusers' defaults: those that are read, or that define how a step is taken.
_SCHEDULER_FREE = {
    *("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "rescale_betas_zero_snr"),
    *("timestep_spacing", "steps_offset", "prediction_type", "variance_type", "clip_sample", "clip_sample_range"),
    *("thresholding", "dynamic_thresholding_ratio", "sample_max_value"),
    *("algorithm_type", "solver_order", "solver_type", "lower_order_final", "euler_at_final"),
}


def _scheduler(path: Path, settings: PipelineSettings) -> PipelineSettings:
    """`settings` with what a scheduler's JSON adds to them."""
    plain = read_json(path, ModelError)
    name = plain.get("_class_name")
    if not isinstance(name, str) or name not in _SAMPLERS:
        raise ModelError(f"cannot use {path}: unknown scheduler {short_repr(name)}; known are {', '.join(_SAMPLERS)}")
    kind = diffusers_class(name)
    trained = plain.pop("trained_betas", None)
    plain.pop("flow_shift", None)  # has no effect without use_flow_sigmas
    config = _arguments(kind, plain, {*inspect.signature(kind).parameters} - _SCHEDULER_FREE, path)
    stochastic = config.pop("algorithm_type", "").startswith("sde-")  # popped: diffusers warns of some, or refuses them
    with building(path):
        scheduler = kind(**config, trained_betas=trained)
        scheduler.set_timesteps(1)  # complain now of a spacing that is not known
        full = scheduler.config
        clip = 1.0 if full.thresholding else float(full.clip_sample_range) if full.get("clip_sample") else None
    if full.thresholding and full.sample_max_value != 1:  # with 1, "dynamic" thresholding is a clamp to ±1
        raise ModelError(f"cannot use {path}: thresholding to other than ±1 (sample_max_value) is not known here")
    # From β, in float64: the scheduler's own ᾱ, in float32, has lost the digits of 1 − ᾱ at small t.
    sigmas = from_betas(scheduler.betas).sigmas
    rising = sigmas
    if full.rescale_betas_zero_snr:
        # √ᾱ ends at 0 (arXiv 2305.08891, algorithm 1), where σ is infinite; ours ends at ᾱ = 2⁻²⁴, σ = 4096, as
        # DPM-Solver's of diffusers does. The level or two before it may be higher.
        sigmas[-1], rising = (2.0**24 - 1) ** 0.5, sigmas[:-1]
    count, zero = full.num_train_timesteps, torch.zeros(1, dtype=torch.float64)
    if sigmas.shape != (count,) or not bool(sigmas.isfinite().all()) or bool((rising.diff(prepend=zero) <= 0).any()):
        raise ModelError(f"cannot use {path}: its β do not give {count:,} noise levels that rise from above 0")
    return replace(
        settings,
        schedule=SpacedSchedule(sigmas, scheduler),
        prediction=PREDICTIONS[full.prediction_type],
        clip=clip,
        sampler="dpmpp-2m-sde" if stochastic else _SAMPLERS[name],
    )
