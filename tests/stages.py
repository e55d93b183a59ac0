"""Small random models that draw in two parts: in the latents of a codec, and pictures for an upscaler and by one."""

from __future__ import annotations

from pathlib import Path

import torch

from glyffctl.core.codecs.latents import Latents
from glyffctl.core.diffusion.schedule import make_schedule
from glyffctl.core.models.checkpoint import MODEL_FILE, Origin, save_model, trained_model
from glyffctl.core.models.codec_file import load_codec, save_codec
from glyffctl.core.models.config import CodecConfig, Config, DiffusionConfig, TrainingConfig
from glyffctl.core.models.files import CODEC_FILE, EncoderInfo
from glyffctl.core.models.upscaler import upscaling_schedule
from glyffctl.core.networks.autoencoder import Autoencoder, AutoencoderConfig
from glyffctl.core.networks.network import NetworkConfig, build_network
from glyffctl.core.networks.unet import UNetConfig
from glyffctl.core.networks.upscaler import UpscalerConfig

BUNDLED_WIDTH = 256  # of the vectors of the bundled text encoder


def make_codec(folder: Path, size: int = 32, channels: int = 4) -> Latents:
    """A codec in `folder`: each channel has something to say."""
    torch.manual_seed(0)
    network = Autoencoder(AutoencoderConfig(size=size, channels=(16, 32), latent_channels=channels)).eval()
    save_codec(folder / CODEC_FILE, Latents(network, 1.5, 0.1, size))
    return load_codec(folder)


def make_latent(folder: Path, size: int = 32, channels: int = 4) -> Path:
    """A latent model in `folder`, with its codec."""
    codec = make_codec(folder, size, channels)
    sizes = UNetConfig(
        size=size // 2, in_channels=channels, patch=1, channels=(16,), head_width=16, attention=(),
        context_width=16, text_width=BUNDLED_WIDTH,
    )  # fmt: skip
    own = CodecConfig(kind="autoencoder", size=size, weights=codec.identity)
    return _save(folder, sizes, own, DiffusionConfig(schedule="karras"), codec)


def make_upscaler(folder: Path, small: int = 32) -> Path:
    """A model in `folder` that enlarges pictures of `small` pixels four times: as interpolation, nearly."""
    sizes = UpscalerConfig(size=4 * small, channels=(8, 16))
    return _save(folder, sizes, CodecConfig(size=4 * small), DiffusionConfig(prediction="x0"), None)


def _save(
    folder: Path, sizes: NetworkConfig, codec: CodecConfig, diffusion: DiffusionConfig, learned: Latents | None
) -> Path:
    torch.manual_seed(0)
    network = build_network(sizes)
    for parameter in network.parameters():
        parameter.data += torch.randn_like(parameter) * 0.01  # some are 0 at first, and would hide others
    config = Config(network=sizes, codec=codec, diffusion=diffusion, training=TrainingConfig(images=8, holdout=0.2))
    upscales = isinstance(sizes, UpscalerConfig)
    schedule = upscaling_schedule(config.upscaling.start) if upscales else make_schedule(diffusion.schedule)
    origin = Origin(config, EncoderInfo("bundled", "", 64), "")
    save_model(folder / MODEL_FILE, trained_model(network, schedule, origin, images=8, epochs=1.0, learned=learned))
    return folder
