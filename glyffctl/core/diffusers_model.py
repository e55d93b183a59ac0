"""A `UNet2DConditionModel` of diffusers behind our `Network`: the author of the glyffuser published his model as one.

    D(x, σ) = c_skip·x + c_out·F(x/√(1+σ²), t, text)

with t, the place of σ in the model's own table, where ours reads ¼·ln σ; everything else of `denoiser` and `samplers`
stays as it is. diffusers is needed for the network alone.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from glyffctl.core.checkpoint import EncoderInfo
from glyffctl.core.denoiser import Prediction
from glyffctl.core.diffusers_settings import (
    GLYFFUSER,
    PipelineSettings,
    SpacedSchedule,
    building,
    diffusers_class,
    read_pipeline,
)
from glyffctl.core.diffusers_weights import NETWORK, read_weights
from glyffctl.core.errors import ModelError
from glyffctl.core.tensors import digest
from glyffctl.core.text import TextBatch

_SAME = 2e-5  # of ln σ: float32 labels miss a level by 1e-6 at most, and levels lie 1e-3 apart


class DiffusersNetwork(nn.Module):
    """F(z, t, text) of a UNet2DConditionModel, asked as a `denoiser.Network` is.

    Captions of the same length go through the network together and without padding, which this kind of network sees
    where it pools text (`addition_embed_type` "text"): so a picture does not depend on its neighbours in a batch.
    """

    def __init__(self, unet: nn.Module, sigmas: Tensor) -> None:
        """sigmas: (T,) float64, the table that t counts in. It stays on the CPU: not every device has float64."""
        super().__init__()
        self.unet = unet
        self.log_sigmas = sigmas.log()
        self.rising = self.log_sigmas.cummax(0).values  # rescaled tables fall at their very end

    def encode_text(self, text: TextBatch) -> TextBatch:
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

    def forward(self, z: Tensor, label: Tensor, context: TextBatch) -> Tensor:
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
    reads_empty: bool = True
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
    def prediction(self) -> Prediction:
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
    return diffusers_class(NETWORK)


def _build(settings: PipelineSettings, weights: dict[str, Tensor]) -> nn.Module:
    path = settings.weights
    config = path.with_name("config.json")
    # The meta device holds no numbers: only what is in the file takes memory.
    with building(config), torch.device("meta"), torch.no_grad():
        unet: nn.Module = unet_class()(**settings.network)
        # Asked as it will be: a network that needs more than z, t and text says so.
        z = torch.empty(1, settings.channels, settings.size, settings.size)
        time, text = torch.empty(1, dtype=torch.float64), torch.empty(1, 2, settings.text_width)
        answer = unet(z, time, encoder_hidden_states=text).sample
    if answer.shape != z.shape:
        went, came = ("×".join(map(str, picture.shape[1:])) for picture in (z, answer))
        raise ModelError(f"cannot use {config}: pictures of {went} go in and {came} come out")
    try:
        unet.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        lacking = sorted(set(unet.state_dict()) ^ set(weights))
        which = f"the first {lacking[0][:100]}" if lacking else "some of another shape"
        raise ModelError(f"cannot use {path}: its weights do not fit its config.json ({which})") from error
    if any(part.is_meta for part in (*unet.parameters(), *unet.buffers())):
        raise ModelError(f"cannot use {config}: its network has numbers that are not among its weights")
    return unet
