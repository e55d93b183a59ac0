"""A `UNet2DConditionModel` of diffusers behind our `Network`: the author of the glyffuser published his model as one.

    D(x, σ) = c_skip·x + c_out·F(x/√(1+σ²), t, text)

with t, the place of σ in the model's own table, where ours reads ¼·ln σ; everything else of `denoiser` and `samplers`
stays as it is. diffusers is needed for the network alone.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.diffusion.denoiser import PredictionType
from glyffctl.core.errors import ModelError, UsageError
from glyffctl.core.interop.diffusers_settings import GLYFFUSER, PipelineSettings, SpacedSchedule, read_pipeline
from glyffctl.core.io.diffusers_files import read_weights
from glyffctl.core.io.tensors import digest
from glyffctl.core.models.checkpoint import EncoderInfo

_SAME = 2e-5  # of ln σ: float32 labels miss a level by 1e-6 at most, and levels lie 1e-3 apart


class DiffusersNetwork(nn.Module):
    """F(z, t, text) of a UNet2DConditionModel, asked as a `denoiser.Network` is.

    Captions of the same length go through the network together and without padding, which this kind of network sees
    where it pools text (`addition_embed_type` "text"): so a picture does not depend on its neighbors in a batch.
    """

    def __init__(self, unet: nn.Module, sigmas: Tensor) -> None:
        """sigmas: (T,) float64, the table that t counts in. It stays on the CPU: not every device has float64."""
        super().__init__()
        self.unet = unet
        self.log_sigmas = sigmas.log()
        self.rising = self.log_sigmas.cummax(0).values  # rescaled tables fall at their very end

    def encode_text(self, text: Condition) -> Condition:
        """Nothing to prepare."""
        return text

    def timestep(self, label: Tensor) -> Tensor:
        """(B,) float64 on the CPU: the place of ¼·ln σ in the table; between two levels, linear in ln σ."""
        log_sigma = 4 * label.cpu().double()
        distance, level = (self.log_sigmas - log_sigma[:, None]).abs().min(1)
        above = torch.searchsorted(self.rising, log_sigma).clamp(1, len(self.rising) - 1)
        low, high = self.rising[above - 1], self.rising[above]
        between = above - 1 + ((log_sigma - low) / (high - low)).clamp(0, 1)
        return torch.where(distance < _SAME, level.double(), between)

    def forward(self, z: Tensor, label: Tensor, context: Condition) -> Tensor:
        """z and the result (B, C, H, W); label (B,) is ¼·ln σ."""
        time = self.timestep(label)
        time = time.to(z.device, torch.float32 if z.device.type == "mps" else torch.float64)
        lengths = context.mask.sum(1)
        answer = torch.empty_like(z)
        for length in lengths.unique().tolist():
            rows = (lengths == length).nonzero().squeeze(1)
            tokens = context.tokens[rows, : max(1, length)].to(z.dtype)
            answer[rows] = self.unet(z[rows], time[rows], encoder_hidden_states=tokens).sample.to(z.dtype)
        return answer


@dataclass(frozen=True, eq=False, slots=True)
class DiffusersModel:
    """A network of diffusers with all that drawing needs; the counterpart of `checkpoint.Model`."""

    network: DiffusersNetwork
    settings: PipelineSettings
    identity: str
    """A digest of weights and settings."""
    encodes_empty: bool = True
    """The empty prompt is text like any other: these networks have no token for "no caption"."""

    @property
    def size(self) -> int:
        """Height and width of a picture, in pixels."""
        return self.settings.size

    @property
    def channels(self) -> int:
        """1 for grey pictures, 3 for coloured ones."""
        return self.settings.channels

    @property
    def text_width(self) -> int:
        """D of the token vectors that the network reads."""
        return self.settings.text_width

    @property
    def schedule(self) -> SpacedSchedule:
        """Its noise levels and their spacing."""
        return self.settings.schedule

    @property
    def prediction(self) -> PredictionType:
        """What the network predicts."""
        return self.settings.prediction

    @property
    def clip(self) -> float | None:
        """Guesses of x0 are held in ±clip."""
        return self.settings.clip

    @property
    def low(self) -> float:
        """The value of black."""
        return self.settings.low

    @property
    def encoder(self) -> EncoderInfo:
        """Its text encoder; nothing is known of it but its name and the width of its vectors."""
        return EncoderInfo(self.settings.encoder, "", self.settings.max_tokens)

    @property
    def history(self) -> str:
        """Where it comes from, in words."""
        settings = self.settings
        told = f"{settings.pipeline}, a pipeline of diffusers" if settings.pipeline else "a model of diffusers"
        if not settings.sampler:
            return f"{told} without a scheduler: taken to be DDPM's, with linear β and noise prediction"
        told += f", whose own scheduler is like --sampler {settings.sampler}"
        return f"{told}, without guidance (--guidance 1)" if settings.pipeline == GLYFFUSER else told


def load_diffusers(folder: Path) -> DiffusersModel:
    """Read a model folder of diffusers. The network comes back in eval mode, float32, on the CPU.

    Raises:
        ModelError: a file is missing or broken, says what is not known here, or the weights do not fit.
        UsageError: diffusers is not installed.
    """
    settings = read_pipeline(folder)
    unet_class()  # complain before anything slow
    weights = read_weights(settings.weights)
    unet = _build(settings, weights)
    network = DiffusersNetwork(unet, settings.schedule.sigmas).eval().requires_grad_(False)
    told = json.dumps([settings.network, settings.prediction, settings.clip, settings.low])
    state = hashlib.blake2b(f"{digest(weights)} {digest({'sigmas': settings.schedule.sigmas})} {told}".encode())
    return DiffusersModel(network, settings, state.hexdigest()[:32])


def unet_class() -> Any:
    """diffusers' UNet2DConditionModel.

    Raises:
        UsageError: diffusers is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its own, about packages that it looks for
            from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel  # noqa: PLC0415
    except ImportError:
        raise UsageError('models of diffusers need the package diffusers: pip install "glyffctl[diffusers]"') from None
    return UNet2DConditionModel


# What the classes of diffusers raise for settings that do not go together.
_DO_NOT_FIT = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError, AssertionError)


def _build(settings: PipelineSettings, weights: dict[str, Tensor]) -> nn.Module:
    kind, path = unet_class(), settings.weights
    try:
        # The meta device holds no numbers: only what is in the file takes memory.
        with torch.device("meta"):
            unet: nn.Module = kind(**settings.network)
    except _DO_NOT_FIT as error:
        cause = str(error).strip().partition("\n")[0][:200]
        raise ModelError(
            f"cannot use {path.with_name('config.json')}: no network is built like that ({cause})"
        ) from error
    try:
        unet.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        lacking = sorted(set(unet.state_dict()) ^ set(weights))
        which = f"the first {lacking[0][:100]}" if lacking else "some of another shape"
        raise ModelError(f"cannot use {path}: its weights do not fit its config.json ({which})") from error
    return unet
