"""Our U-Net as the `UNet2DConditionModel` of diffusers: the same weights under other names.

Three things have no place in that network and stay outside it: pixels are grouped into patches before and after, the
noise label is 250·ln σ where diffusers counts steps, and text is normalised and projected first (`text_weights`). The
pooled text is passed as `class_labels`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.diffusion.denoiser import PredictionType
from glyffctl.core.diffusion.schedule import Schedule
from glyffctl.core.errors import ModelError
from glyffctl.core.interop.diffusers_model import unet_class
from glyffctl.core.interop.diffusers_settings import PREDICTIONS
from glyffctl.core.io.diffusers_files import NETWORK
from glyffctl.core.io.reading import short_repr
from glyffctl.core.networks.network import Network
from glyffctl.core.networks.unet import UNet

# What each of our parts is called in diffusers; applied one after the other.
_NAMES = [
    (r"^embed_sigma\.0\.", "time_embedding.linear_1."),
    (r"^embed_sigma\.2\.", "time_embedding.linear_2."),
    (r"^embed_text\.1\.", "class_embedding.linear_1."),
    (r"^embed_text\.3\.", "class_embedding.linear_2."),
    (r"^norm_out\.", "conv_norm_out."),
    (r"^downsample\.(\d+)\.", r"down_blocks.\1.downsamplers.0.conv."),
    (r"^upsample\.(\d+)\.", r"up_blocks.\1.upsamplers.0.conv."),
    (r"^(down|up)\.(\d+)\.(\d+)\.res\.", r"\1_blocks.\2.resnets.\3."),
    (r"^(down|up)\.(\d+)\.(\d+)\.transformer\.", r"\1_blocks.\2.attentions.\3."),
    (r"^middle_in\.res\.", "mid_block.resnets.0."),
    (r"^middle_in\.transformer\.", "mid_block.attentions.0."),
    (r"^middle_out\.res\.", "mid_block.resnets.1."),
    (r"\.embed\.", ".time_emb_proj."),
    (r"\.skip\.", ".conv_shortcut."),
    (r"(attentions\.\d+)\.(norm\d|self_attn|cross_attn|ff)\.", r"\1.transformer_blocks.0.\2."),
    (r"\.self_attn\.", ".attn1."),
    (r"\.cross_attn\.", ".attn2."),
    (r"\.(attn\d)\.query\.", r".\1.to_q."),
    (r"\.(attn\d)\.key\.", r".\1.to_k."),
    (r"\.(attn\d)\.value\.", r".\1.to_v."),
    (r"\.(attn\d)\.out\.", r".\1.to_out.0."),
    (r"\.ff\.up\.", ".ff.net.0.proj."),
    (r"\.ff\.down\.", ".ff.net.2."),
]
_TEXT_NAMES = {
    "text_in.0.weight": "norm.weight",
    "text_in.0.bias": "norm.bias",
    "text_in.1.weight": "linear.weight",
    "text_in.1.bias": "linear.bias",
    "null_token": "null_token",
    "embed_text.0.weight": "pool_norm.weight",
    "embed_text.0.bias": "pool_norm.bias",
}

_TIMES = {"film": "scale_shift", "add": "default"}
"""What diffusers calls the ways in which the embedding of σ gets into a residual block; it has no more."""


def diffusers_name(name: str) -> str:
    """The name in diffusers of one of our weights."""
    for ours, theirs in _NAMES:
        name = re.sub(ours, theirs, name)
    return name


def as_unet(network: Network) -> UNet:
    """`network`, if it is one that diffusers has.

    Raises:
        ModelError: it is of another kind, has no cross-attention, or takes σ as further channels.
    """
    if not isinstance(network, UNet):
        raise ModelError("only a U-Net can be written for diffusers; use `format` onnx")
    if not network.config.cross_text:
        raise ModelError("diffusers has no such U-Net without cross-attention to the text; use `format` onnx")
    if network.config.time not in _TIMES:
        raise ModelError("diffusers has no U-Net that takes σ as further channels; use `format` onnx")
    return network


def unet_config(network: UNet) -> dict[str, Any]:
    """The arguments of UNet2DConditionModel for this network; what is not among them has its default there.

    Raises:
        ModelError: its norms have groups of which diffusers has no notion.
    """
    config = network.config
    groups = sorted({module.num_groups for module in network.modules() if isinstance(module, nn.GroupNorm)})
    if len(groups) > 1:
        raise ModelError(
            f"diffusers has one count of groups for all norms, this network has {' and '.join(map(str, groups))}: its "
            f"widths {list(config.channels)} are not all multiples of 32; export it with `format` onnx"
        )
    kinds = ["CrossAttn" if level in config.attention else "" for level in range(len(config.channels))]
    pooled = {"class_embed_type": "projection", "projection_class_embeddings_input_dim": config.context_width}
    return {
        "sample_size": config.size // config.patch,
        "in_channels": config.in_channels * config.patch**2,
        "out_channels": config.in_channels * config.patch**2,
        "block_out_channels": list(config.channels),
        "layers_per_block": config.blocks,
        "down_block_types": [f"{kind}DownBlock2D" for kind in kinds],
        "mid_block_type": "UNetMidBlock2DCrossAttn",
        "up_block_types": [f"{kind}UpBlock2D" for kind in reversed(kinds)],
        "cross_attention_dim": config.context_width,
        "attention_head_dim": [max(1, width // config.head_width) for width in config.channels],  # there, their count
        "use_linear_projection": True,
        "resnet_time_scale_shift": _TIMES[config.time],
        "norm_num_groups": groups[0],
        **(pooled if config.pooled_text else {}),
    }


# What diffusers takes where a config.json is silent, as our network is: files that it saves again say these, too.
_AS_OURS: dict[str, object] = {
    "center_input_sample": False,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "only_cross_attention": False,
    "downsample_padding": 1,
    "mid_block_scale_factor": 1,
    "dropout": 0.0,
    "act_fn": "silu",
    "norm_eps": 1e-5,
    "transformer_layers_per_block": 1,
    "dual_cross_attention": False,
    "resnet_skip_time_act": False,
    "resnet_out_scale_factor": 1.0,
    "time_embedding_type": "positional",
    "conv_in_kernel": 3,
    "conv_out_kernel": 3,
    "attention_type": "default",
    "class_embeddings_concat": False,
    "upcast_attention": False,
    "addition_embed_type_num_heads": 64,
}


def check_config(plain: dict[str, Any], network: UNet, path: Path) -> None:
    """Check that the config.json of a UNet2DConditionModel describes `network`.

    Raises:
        ModelError: it does not; `path` is named as where it came from.
    """
    expected = {"_class_name": NETWORK, **_AS_OURS, **unet_config(network)}
    for name, value in plain.items():
        if name.startswith("_") and name != "_class_name":
            continue
        if value != expected.get(name):
            raise ModelError(f"cannot use {path}: {short_repr(name)} is {short_repr(value)}, {_OTHERWISE}")
    for name in ("_class_name", *unet_config(network)):
        if name not in plain:
            raise ModelError(f"cannot use {path}: it does not say {name}; export the model again")


def check_scheduler(plain: dict[str, Any], schedule: Schedule, prediction: PredictionType, path: Path) -> None:
    """Check that a scheduler's JSON has the levels of `schedule` and the right prediction type.

    Raises:
        ModelError: it does not; `path` is named as where it came from.
    """
    for name, value in scheduler_config(schedule, prediction).items():
        if plain.get(name) != value:
            raise ModelError(f"cannot use {path}: {name} is {short_repr(plain.get(name))}, {_OTHERWISE}")


_OTHERWISE = "which is not what glyffctl wrote into this export; export the model again"


def our_weights(network: UNet, unet: dict[str, Tensor], text: dict[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `unet_weights` and `text_weights`; a name that is neither keeps it, and so fits nowhere."""
    ours = {_TEXT_NAMES.get(name) or diffusers_name(name): name for name in network.state_dict()}
    return {ours.get(name, name): tensor for name, tensor in (unet | text).items()}


def unet_weights(network: UNet) -> dict[str, Tensor]:
    """The weights of UNet2DConditionModel."""
    return {diffusers_name(name): tensor for name, tensor in network.state_dict().items() if name not in _TEXT_NAMES}


def text_weights(network: UNet) -> dict[str, Tensor]:
    """The layers before it: norm and projection of the text, the null token, the norm of the pooled text."""
    return {_TEXT_NAMES[name]: tensor for name, tensor in network.state_dict().items() if name in _TEXT_NAMES}


def scheduler_config(schedule: Schedule, prediction: PredictionType) -> dict[str, Any]:
    """The settings of a DPMSolverMultistepScheduler that has our levels, our spacing, and our guesses held in ±1."""
    alpha_bar = schedule.alpha_bar()
    betas = 1 - alpha_bar / torch.cat([torch.ones(1, dtype=torch.float64), alpha_bar[:-1]])
    return {
        "num_train_timesteps": len(betas),
        "trained_betas": betas.tolist(),
        "prediction_type": next(theirs for theirs, ours in PREDICTIONS.items() if ours == prediction),
        "timestep_spacing": "trailing",
        # With a largest value of 1, "dynamic" thresholding is a clamp to ±1.
        "thresholding": True,
        "sample_max_value": 1.0,
    }


@torch.no_grad()
def compare(network: UNet, config: dict[str, Any], weights: Path) -> float:
    """The largest difference between the outputs of our network and diffusers', relative to the largest output.

    Args:
        network: ours.
        config: of `unet_config`.
        weights: the file that was written.

    Raises:
        UsageError: diffusers is not installed.
    """
    with torch.device("meta"):
        unet = unet_class()(**config)
    unet.load_state_dict(load_file(weights), assign=True)
    unet.eval()
    generator = torch.Generator().manual_seed(0)
    size, width, patch = network.config.size, network.config.text_width, network.config.patch
    z, sigma = (
        torch.randn(3, network.config.in_channels, size, size, generator=generator),
        torch.tensor([0.03, 1.0, 120.0], dtype=torch.float64),
    )
    mask = torch.arange(4) < torch.tensor([[0], [2], [4]])
    context = network.encode(Condition(torch.randn(3, 4, width, generator=generator), mask))
    ours = network(z, sigma, context)
    seen = context.mask[:, 0, 0]
    pooled = None
    if network.embed_text is not None:
        weight = seen.to(z.dtype)
        mean = (context.tokens * weight[:, :, None]).sum(1) / weight.sum(1, keepdim=True)
        pooled = network.embed_text[0](mean)
    theirs = unet(
        F.pixel_unshuffle(z, patch),
        250 * sigma.log(),
        encoder_hidden_states=context.tokens,
        encoder_attention_mask=seen,
        class_labels=pooled,
    ).sample
    return float((F.pixel_shuffle(theirs, patch) - ours).abs().max() / ours.abs().max())
