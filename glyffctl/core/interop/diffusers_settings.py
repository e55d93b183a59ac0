"""A model folder of diffusers as settings: what its JSON says, checked before anything is built or read.

Two layouts: a pipeline (`unet/`, and as far as there are such, `scheduler/`, `text_encoder/`, `tokenizer/` and
`model_index.json`), or a bare network (`config.json` and its weights, perhaps `scheduler_config.json`). What is not
known is refused by name: a setting that is passed over would draw something else than its author meant. Only one that
is off (null or false) may be unknown: every version of diffusers writes all settings that it has.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor

from glyffctl.core.diffusion.denoiser import PredictionType
from glyffctl.core.diffusion.schedule import Schedule, cosine, from_betas, linear
from glyffctl.core.errors import ModelError, UsageError
from glyffctl.core.io.diffusers_files import UNET_WEIGHTS, find_weights
from glyffctl.core.io.reading import check_file, read_json, short_repr
from glyffctl.core.text.hub import has_weights

INDEX_FILE = "model_index.json"
_SCHEDULER_FILE = "scheduler_config.json"
PARTS = ("unet", "scheduler", "text_encoder", "tokenizer")
NETWORK = "UNet2DConditionModel"
GLYFFUSER = "GlyffuserPipeline"
"""The pipeline of yue-here/glyffuser. Black is 0 and white is 1 in its pictures, where diffusers' own have −1 and 1."""
GLYFFUSER_ENCODER = ("google-t5/t5-small", 512)
"""The encoder which that pipeline takes when it is told nothing, and the width of its vectors."""
LONGEST_TEXT = 256  # tokens, as in the same pipeline
_LARGEST_TABLE = 10_000

Spacing = Literal["linspace", "leading", "trailing"]
PREDICTIONS: dict[str, PredictionType] = {"epsilon": "eps", "v_prediction": "v", "sample": "x0"}


@dataclass(frozen=True, eq=False)
class SpacedSchedule(Schedule):
    """A table of noise levels with the spacing of a scheduler of diffusers.

    Attributes:
        spacing: the name in Lin et al. 2024 (arXiv 2305.08891), table 2.
        offset: is added to the levels of "leading".
        multistep: DPM-Solver's way, which spaces n + 1 levels and leaves out the lowest.
    """

    spacing: Spacing = "trailing"
    offset: int = 0
    multistep: bool = False

    def steps(self, n: int) -> Tensor:
        """The levels that a sampler of `n` steps visits: (n+1,) float64, descending, the last one 0.

        Raises:
            UsageError: `n` is not in 1…T, or so many levels do not differ.
        """
        trailing = self.places(n)
        count, more = len(self.sigmas), n + self.multistep
        if self.spacing == "trailing":
            index = trailing
        elif self.spacing == "linspace":
            index = torch.linspace(0, count - 1, more, dtype=torch.float64).round().long().flip(0)[:n]
        else:
            index = (torch.arange(more) * (count // more) + self.offset).flip(0)[:n]
        if bool((index < count).all()) and bool((self.sigmas[index].diff() < 0).all()):
            return torch.cat([self.sigmas[index], torch.zeros(1, dtype=torch.float64)])
        raise UsageError(f"--steps {n} is more than this model's {count} levels can be spaced for")


@dataclass(frozen=True, kw_only=True)
class PipelineSettings:
    """What a folder says.

    Attributes:
        network: the arguments of UNet2DConditionModel.
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
        size = self.network["sample_size"]
        return int(size[0] if isinstance(size, list) else size)

    @property
    def channels(self) -> int:
        """1 for grey pictures, 3 for coloured ones."""
        return int(self.network["in_channels"])

    @property
    def text_width(self) -> int:
        """D of the token vectors that the network reads."""
        return int(self.network["encoder_hid_dim"] or self.network["cross_attention_dim"])


def is_pipeline(folder: Path) -> bool:
    """Whether `folder` is laid out as diffusers does, whatever is in its files."""
    named = any((folder / name).exists() for name in (INDEX_FILE, "unet"))
    return named or any(folder.glob(f"{Path(UNET_WEIGHTS).stem}*"))


def read_pipeline(folder: Path) -> PipelineSettings:
    """All that `folder` says.

    Raises:
        ModelError: a file is missing or broken, or says something that is not known here.
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


@dataclass(frozen=True)
class _Rule:
    """What a setting may be: one of `values`, or a number in low…high, or (with `many`) a list of such numbers."""

    values: tuple[object, ...] = ()
    low: float | None = None
    high: float = math.inf
    whole: bool = True
    many: bool = False

    def allows(self, value: object) -> bool:
        if any(type(value) is type(known) and value == known for known in self.values):
            return True
        if isinstance(value, list):
            return self.many and 1 <= len(value) <= _MOST_LEVELS and all(self._number(item) for item in value)
        return self._number(value)

    def _number(self, value: object) -> bool:
        kinds = (int,) if self.whole else (int, float)
        return self.low is not None and type(value) in kinds and self.low <= cast("float", value) <= self.high

    def __str__(self) -> str:
        known = [short_repr(value) for value in self.values]
        if self.low is not None:
            known.append(f"{'a whole number' if self.whole else 'a number'} in {self.low:g}…{self.high:g}")
        return ", ".join(known)


_MOST_LEVELS = 8
_SWITCH = _Rule((False, True))
_OFF = _Rule((False,))
_NONE = _Rule((None,))
_WIDTH = _Rule(low=1, high=8192)
_BLOCKS = {
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
}
_NETWORK_RULES: dict[str, _Rule] = {
    "sample_size": _Rule(low=1, high=1024, many=True),
    "in_channels": _Rule((1, 3)),
    "out_channels": _Rule((1, 3)),
    "center_input_sample": _SWITCH,
    "flip_sin_to_cos": _SWITCH,
    "freq_shift": _Rule(low=0, high=1),
    "mid_block_type": _Rule(("UNetMidBlock2DCrossAttn", "UNetMidBlock2D", None)),
    "only_cross_attention": _SWITCH,
    "block_out_channels": _Rule(low=1, high=8192, many=True),
    "layers_per_block": _Rule(low=1, high=16, many=True),
    "downsample_padding": _Rule(low=0, high=1),
    "mid_block_scale_factor": _Rule(low=1e-6, high=1e6, whole=False),
    "dropout": _Rule(low=0, high=1, whole=False),
    "act_fn": _Rule(("silu", "swish", "mish", "gelu", "relu")),
    "norm_num_groups": _WIDTH,
    "norm_eps": _Rule(low=0, high=1, whole=False),
    "cross_attention_dim": _WIDTH,
    "transformer_layers_per_block": _Rule(low=1, high=16, many=True),
    "reverse_transformer_layers_per_block": _NONE,
    "encoder_hid_dim": _Rule((None,), low=1, high=8192),
    "encoder_hid_dim_type": _Rule((None, "text_proj")),
    "attention_head_dim": _Rule(low=1, high=8192, many=True),
    "num_attention_heads": _NONE,
    "dual_cross_attention": _OFF,
    "use_linear_projection": _SWITCH,
    "class_embed_type": _NONE,
    "addition_embed_type": _Rule((None, "text")),
    "addition_time_embed_dim": _NONE,
    "num_class_embeds": _NONE,
    "upcast_attention": _Rule((False, True, None)),
    "resnet_time_scale_shift": _Rule(("default", "scale_shift")),
    "resnet_skip_time_act": _SWITCH,
    "resnet_out_scale_factor": _Rule(low=1e-6, high=1e6, whole=False),
    "time_embedding_type": _Rule(("positional",)),
    "time_embedding_dim": _Rule((None,), low=2, high=65536),
    "time_embedding_act_fn": _Rule((None, "silu", "swish", "mish", "gelu")),
    "timestep_post_act": _Rule((None, "silu", "swish", "mish", "gelu")),
    "time_cond_proj_dim": _NONE,
    "conv_in_kernel": _Rule((1, 3, 5, 7)),
    "conv_out_kernel": _Rule((1, 3, 5, 7)),
    "projection_class_embeddings_input_dim": _NONE,
    "attention_type": _Rule(("default",)),
    "class_embeddings_concat": _OFF,
    "mid_block_only_cross_attention": _Rule((None, False, True)),
    "cross_attention_norm": _NONE,
    "addition_embed_type_num_heads": _Rule(low=1, high=8192),
}
_NETWORK_NEEDED = ("sample_size", "in_channels", "out_channels", "block_out_channels", "cross_attention_dim", *_BLOCKS)


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
    config = _settings(plain, {*_NETWORK_RULES, *_BLOCKS})
    for name in _NETWORK_NEEDED:
        if name not in config:
            raise ModelError(f"cannot use {path}: it does not say {name}")
    for name, known in _BLOCKS.items():
        kinds = config[name]
        if not isinstance(kinds, list) or not 1 <= len(kinds) <= _MOST_LEVELS:
            raise ModelError(f"cannot use {path}: {name} must be a list of 1 to {_MOST_LEVELS} blocks")
        for kind in kinds:
            if kind not in known:
                raise ModelError(
                    f"cannot use {path}: unknown block {short_repr(kind)} in {name}; known are {', '.join(known)}"
                )
    _check({name: value for name, value in config.items() if name not in _BLOCKS}, _NETWORK_RULES, path)
    size = config["sample_size"]
    if isinstance(size, list) and (len(size) != 2 or size[0] != size[1]):
        raise ModelError(f"cannot use {path}: pictures must be square, not {short_repr(size)}")
    if config["in_channels"] != config["out_channels"]:
        raise ModelError(
            f"cannot use {path}: {config['in_channels']} channels go in and {config['out_channels']} come out; "
            "both must be the picture's"
        )
    return {"encoder_hid_dim": None} | config


def _settings(plain: dict[str, Any], known: set[str]) -> dict[str, Any]:
    """What a JSON file sets: without remarks, and without what is not known and is off."""
    return {
        name: value
        for name, value in plain.items()
        if not name.startswith("_") and (name in known or (value is not None and value is not False))
    }


def _check(config: dict[str, Any], rules: dict[str, _Rule], path: Path) -> None:
    for name, value in config.items():
        if name not in rules:
            raise ModelError(f"cannot use {path}: unknown setting {short_repr(name)}")
        if not rules[name].allows(value):
            raise ModelError(f"cannot use {path}: {name} is {short_repr(value)}; known is {rules[name]}")


@dataclass(frozen=True)
class _Scheduler:
    """A scheduler of diffusers: what it takes where its JSON is silent, the settings it alone has, and ours like it."""

    sampler: str
    spacing: Spacing
    clips: bool
    rules: dict[str, _Rule]
    multistep: bool = False


_SCHEDULE_RULES: dict[str, _Rule] = {
    "num_train_timesteps": _Rule(low=2, high=_LARGEST_TABLE),
    "beta_start": _Rule(low=1e-12, high=0.9999, whole=False),
    "beta_end": _Rule(low=1e-12, high=0.9999, whole=False),
    "beta_schedule": _Rule(("linear", "scaled_linear", "squaredcos_cap_v2")),
    "prediction_type": _Rule(tuple(PREDICTIONS)),
    "thresholding": _SWITCH,
    # With a largest value of 1 or less, "dynamic" thresholding is a clamp to ±1, whatever the ratio.
    "dynamic_thresholding_ratio": _Rule(low=0, high=1, whole=False),
    "sample_max_value": _Rule(low=0, high=1e9, whole=False),
    "timestep_spacing": _Rule(("linspace", "leading", "trailing")),
    "steps_offset": _Rule(low=0, high=_LARGEST_TABLE),
    "rescale_betas_zero_snr": _SWITCH,
}
_CLIP_RULES = {"clip_sample": _SWITCH, "clip_sample_range": _Rule(low=1e-6, high=1e9, whole=False)}
_ANY = _Rule(low=-1e9, high=1e9, whole=False)
# How a step is taken is --sampler's business; which levels there are and what an answer means is not. So DDIM is ours:
# where a guess of x0 is clipped the noise follows, as in diffusers with use_clipped_model_output, which is off there.
_SCHEDULERS: dict[str, _Scheduler] = {
    "DDPMScheduler": _Scheduler(
        "ddpm",
        "leading",
        True,
        {
            **_CLIP_RULES,
            "variance_type": _Rule(("fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log")),
        },
    ),
    "DDIMScheduler": _Scheduler("ddim", "leading", True, {**_CLIP_RULES, "set_alpha_to_one": _Rule((True,))}),
    "DPMSolverMultistepScheduler": _Scheduler(
        "dpmpp-2m",
        "linspace",
        False,
        {
            "solver_order": _Rule((1, 2, 3)),
            "algorithm_type": _Rule(("dpmsolver", "dpmsolver++", "sde-dpmsolver", "sde-dpmsolver++")),
            "solver_type": _Rule(("midpoint", "heun")),
            "lower_order_final": _SWITCH,
            "euler_at_final": _SWITCH,
            "use_karras_sigmas": _Rule((False, None)),
            "use_exponential_sigmas": _Rule((False, None)),
            "use_beta_sigmas": _Rule((False, None)),
            "use_lu_lambdas": _Rule((False, None)),
            "use_flow_sigmas": _Rule((False, None)),
            "flow_shift": _Rule((None,), low=-1e9, high=1e9, whole=False),
            "final_sigmas_type": _Rule(("zero",)),
            "lambda_min_clipped": _Rule((-math.inf,)),
            "variance_type": _NONE,
            "use_dynamic_shifting": _OFF,
            "time_shift_type": _Rule(("exponential",)),
        },
        multistep=True,
    ),
}


def _scheduler(path: Path, settings: PipelineSettings) -> PipelineSettings:
    """`settings` with what a scheduler's JSON adds to them."""
    plain = read_json(path, ModelError)
    name = plain.get("_class_name")
    if name not in _SCHEDULERS:
        raise ModelError(f"cannot use {path}: unknown scheduler {short_repr(name)}; known are {', '.join(_SCHEDULERS)}")
    known = _SCHEDULERS[name]
    rules = _SCHEDULE_RULES | known.rules
    trained = plain.pop("trained_betas", None)
    config = _settings(plain, set(rules))
    _check(config, rules, path)
    thresholds = config.get("thresholding", False)
    if thresholds and config.get("sample_max_value", 1.0) > 1:
        raise ModelError(f"cannot use {path}: thresholding beyond ±1 (sample_max_value) is not known here")
    clips = config.get("clip_sample", known.clips)
    clip = 1.0 if thresholds else float(config.get("clip_sample_range", 1.0)) if clips else None
    sampler = known.sampler
    if config.get("algorithm_type", "").startswith("sde-"):
        sampler = "dpmpp-2m-sde"
    return replace(
        settings,
        schedule=SpacedSchedule(
            _sigmas(config, trained, path),
            config.get("timestep_spacing", known.spacing),
            # DDPM and DDIM of diffusers add it to "leading" alone, and so does DPM-Solver.
            config.get("steps_offset", 0),
            known.multistep,
        ),
        prediction=PREDICTIONS[config.get("prediction_type", "epsilon")],
        clip=clip,
        sampler=sampler,
    )


def _sigmas(config: dict[str, Any], trained: object, path: Path) -> Tensor:
    """The table of noise levels, (T,) float64 ascending."""
    count = config.get("num_train_timesteps", 1000)
    low, high = config.get("beta_start", 1e-4), config.get("beta_end", 0.02)
    if trained is not None:
        if not (
            isinstance(trained, list)
            and len(trained) == count
            and all(type(beta) is float and 0 < beta < 1 for beta in trained)
        ):
            raise ModelError(f"cannot use {path}: trained_betas must be {count} numbers between 0 and 1")
        table = from_betas(torch.tensor(trained, dtype=torch.float64))
    elif config.get("beta_schedule", "linear") == "linear":
        table = linear(count, low, high)
    elif config["beta_schedule"] == "scaled_linear":
        table = from_betas(torch.linspace(math.sqrt(low), math.sqrt(high), count, dtype=torch.float64) ** 2)
    else:
        table = cosine(count)
    if not bool(table.sigmas.isfinite().all()) or bool((table.sigmas.diff() <= 0).any()):
        raise ModelError(f"cannot use {path}: its noise levels do not rise, or rise beyond all numbers")
    return _zero_snr(table.alpha_bar()) if config.get("rescale_betas_zero_snr", False) else table.sigmas


def _zero_snr(alpha_bar: Tensor) -> Tensor:
    """σ of a table whose √ᾱ is shifted and scaled to end at 0 (arXiv 2305.08891, algorithm 1).

    There σ would be infinite; it ends at ᾱ = 2⁻²⁴, σ = 4096, as DPM-Solver's of diffusers does. The level or two before
    it may be higher.
    """
    root = alpha_bar.sqrt()
    root = (root - root[-1]) * root[0] / (root[0] - root[-1])
    alpha_bar = root**2
    alpha_bar[-1] = 2.0**-24
    return ((1 - alpha_bar) / alpha_bar).sqrt()
