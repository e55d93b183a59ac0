"""A `UNet2DConditionModel` of diffusers as a `Network`: the author of the glyffuser published his model as one.

    D(x, σ) = c_skip·x + c_out·F(x/√(1+σ²), t, text)

with t the place of σ in the model's own table; everything else of `denoiser` and `samplers` stays as it is. diffusers
is needed for the network alone.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from glyffctl.core.codecs.pixels import Pixels
from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.errors import ModelError
from glyffctl.core.interop.diffusers_settings import (
    GLYFFUSER,
    PipelineSettings,
    building,
    diffusers_class,
    read_pipeline,
)
from glyffctl.core.io.diffusers_files import NETWORK, read_weights
from glyffctl.core.io.tensors import digest
from glyffctl.core.models.checkpoint import Model
from glyffctl.core.models.files import EncoderInfo
from glyffctl.core.networks.network import Network
from glyffctl.core.networks.pass_size import unet_numbers_a_row


class DiffusersNetwork(Network):
    """F(z, t, text) of a UNet2DConditionModel.

    Captions of the same length go through the network together and without padding, which this kind of network sees
    where it pools text (`addition_embed_type` "text"): so a picture does not depend on its neighbors in a batch.
    """

    def __init__(self, unet: nn.Module, sigmas: Tensor) -> None:
        """sigmas: (T,) float64, the table that t counts in. It stays on the CPU: not every device has float64."""
        super().__init__()
        self.unet = unet
        self.sigmas = sigmas
        self.log_sigmas = sigmas.log()
        self.rising = self.log_sigmas.cummax(0).values  # rescaled tables fall at their very end

    def numbers_a_row(self) -> int | None:
        """See `Network`; known where the settings say all that it depends on."""
        config: Any = self.unet.config
        side, blocks = config.sample_size, config.layers_per_block
        if type(side) is not int or type(blocks) is not int:
            return None
        attention = [level for level, kind in enumerate(config.down_block_types) if "CrossAttn" in kind]
        return unet_numbers_a_row(side, config.block_out_channels, blocks, attention)

    def timestep(self, sigma: Tensor) -> Tensor:
        """(B,) float64 on the CPU: the place of σ in the table; between two levels, linear in ln σ."""
        sigma = sigma.cpu().double()
        same, level = (self.sigmas == sigma[:, None]).max(1)
        log_sigma = sigma.log()
        above = torch.searchsorted(self.rising, log_sigma).clamp(1, len(self.rising) - 1)
        low, high = self.rising[above - 1], self.rising[above]
        between = above - 1 + ((log_sigma - low) / (high - low)).clamp(0, 1)
        return torch.where(same, level.double(), between)

    def forward(self, z: Tensor, sigma: Tensor, context: Condition) -> Tensor:
        """z and the result (B, C, H, W); sigma (B,) float64 on the CPU."""
        time = self.timestep(sigma)
        time = time.to(z.device, torch.float32 if z.device.type == "mps" else torch.float64)
        lengths = context.mask.sum(1)
        answer = torch.empty_like(z)
        for length in lengths.unique().tolist():
            rows = (lengths == length).nonzero().squeeze(1)
            tokens = context.tokens[rows, : max(1, length)].to(z.dtype)
            answer[rows] = self.unet(z[rows], time[rows], encoder_hidden_states=tokens).sample.to(z.dtype)
        return answer


def _history(settings: PipelineSettings) -> str:
    kind = f"{settings.pipeline}, a pipeline of diffusers" if settings.pipeline else "a model of diffusers"
    if not settings.sampler:
        return f"{kind} without a scheduler: taken to be DDPM's, with linear β and noise prediction"
    kind += f", whose own scheduler is like the sampler {settings.sampler}"
    return f"{kind}, without guidance (1)" if settings.pipeline == GLYFFUSER else kind


def load_diffusers(folder: Path) -> Model:
    """Read a model folder of diffusers. The network is in eval mode, float32, on the CPU.

    Nothing is known of its text encoder but its name and the width of its vectors; and the empty prompt is text like
    any other to it, as these networks have no token for "no caption".

    Raises:
        ModelError: a file is missing or broken, has settings that are not supported, or the weights do not fit.
        UsageError: diffusers is not installed.
    """
    settings = read_pipeline(folder)
    weights = read_weights(settings.weights)
    unet = _build(settings, weights)
    plain = json.dumps([settings.network, settings.prediction, settings.clip, settings.low])
    state = hashlib.blake2b(f"{digest(weights)} {digest({'sigmas': settings.schedule.sigmas})} {plain}".encode())
    return Model(
        network=DiffusersNetwork(unet, settings.schedule.sigmas).eval().requires_grad_(False),
        prediction=settings.prediction,
        schedule=settings.schedule,
        codec=Pixels(settings.size, settings.channels, settings.low, settings.clip),
        text_width=settings.text_width,
        encoder=EncoderInfo(settings.encoder, "", settings.max_tokens),
        encodes_empty=True,
        identity=state.hexdigest()[:32],
        history=_history(settings),
    )


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
        # A network that needs more than z, t and text raises an error now.
        z = torch.empty(1, settings.channels, settings.size, settings.size)
        time, text = torch.empty(1, dtype=torch.float64), torch.empty(1, 2, settings.text_width)
        output = unet(z, time, encoder_hidden_states=text).sample
    if output.shape != z.shape:
        went, came = ("×".join(map(str, picture.shape[1:])) for picture in (z, output))
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
