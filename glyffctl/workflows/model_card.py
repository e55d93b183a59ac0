"""The README.md of a run folder."""

from __future__ import annotations

from pathlib import Path

from glyffctl.core.models.checkpoint import Origin
from glyffctl.core.models.codec_file import TrainedCodec
from glyffctl.core.models.config import Config
from glyffctl.core.models.recipe import FEW_STEP
from glyffctl.core.networks.classifier import ClassifierConfig
from glyffctl.core.networks.contrastive import ContrastiveConfig
from glyffctl.core.networks.network import parameter_count
from glyffctl.core.networks.upscaler import UpscalerConfig
from glyffctl.core.training.trainer import Trainer
from glyffctl.workflows.next_step import next_step


def codec_card(
    folder: Path, model: TrainedCodec, trainer: Trainer, images: int, seconds: float, validation: dict[float, float]
) -> str:
    """A card in Markdown for the codec in `folder`; the arguments are as in `model_card`."""
    codec, then = model.codec, next_step(trainer.objective, folder)
    channels, side, _ = codec.shape
    shares = "\n".join(f"| {grey:g} | {share:.4%} |" for grey, share in validation.items())
    table = (
        f"\n| {trainer.objective.validated} | held-out pixels that come back on the wrong side of it |\n|---|---|\n"
        f"{shares}\n"
        if shares
        else ""
    )
    return f"""# {folder.name}

A codec of glyffctl: glyphs of {codec.size}×{codec.size} pixels ↔ latents of {channels} channels at {side}×{side}.

- {parameter_count(trainer.network):,} parameters
- trained on {images:,} pictures in {seconds / 60:.0f} minutes
- {trainer.epoch_size:,} glyphs, so {images / trainer.epoch_size:.1f} epochs
- fonts: {_fonts(trainer)}
- latents are (mean − {codec.shift:.4g}) · {codec.scale:.4g}, which gives those of training glyphs a variance of 1
{table}
{then.purpose.capitalize()}: `{then.command}`. All settings are in `config.json`.
"""


def _fonts(trainer: Trainer) -> str:
    return ", ".join(font.name for font in trainer.objective.data.glyphs.fonts) or "not recorded"


def _description(config: Config) -> str:
    size, network = f"{config.codec.size}×{config.codec.size} pixels", config.network
    if isinstance(network, UpscalerConfig):
        small = config.codec.size // network.scale
        return f"An upscaler of glyffctl: glyphs of {small}×{small} → {size}"
    if isinstance(network, ClassifierConfig):
        return f"A classifier of glyffctl: noisy glyph → radical, {size}"
    if isinstance(network, ContrastiveConfig):
        return f"Contrastive towers of glyffctl: English definition ↔ glyph, {size}"
    few, latent = config.training.objective == FEW_STEP, config.codec.learned
    kind = "A few-step student of a glyffctl model" if few else f"A {'latent ' * latent}glyffctl model"
    return f"{kind}: English definition → glyph, {size}"


def _levels(config: Config) -> str:
    schedule = f"{config.diffusion.schedule} schedule"
    if isinstance(config.network, ClassifierConfig):
        return f"- for the noise levels of the {schedule}"
    if isinstance(config.network, ContrastiveConfig):
        return f"- {config.network.loss} loss, {config.training.batch:,} glyphs at a time"
    return f"- {config.diffusion.prediction} prediction, {schedule}"


def model_card(
    folder: Path, origin: Origin, trainer: Trainer, images: int, seconds: float, validation: dict[float, float]
) -> str:
    """A model card in Markdown for the model in `folder`.

    Args:
        folder: of the run.
        origin: what the run is made of.
        trainer: of the run, which may be further on.
        images: pictures that the model was trained on in this run,
        seconds: in so much time.
        validation: its loss on held-out characters by σ.
    """
    config = origin.config
    losses = "\n".join(f"| {sigma:g} | {loss:.4f} |" for sigma, loss in validation.items())
    encoder = f"- text encoder: {origin.encoder.name}\n" if trainer.objective.captioned else ""
    then = next_step(trainer.objective, folder)
    before = f", starting from weights that had seen {trainer.images_before:,}" if trainer.images_before else ""
    table = (
        f"\n| {trainer.objective.validated} | {trainer.objective.measures} |\n|---|---|\n{losses}\n" if losses else ""
    )
    return f"""# {folder.name}

{_description(config)}.

- {parameter_count(trainer.network):,} parameters
{_levels(config)}
- trained on {images:,} pictures in {seconds / 60:.0f} minutes{before}
- {trainer.epoch_size:,} glyphs, so {images / trainer.epoch_size:.1f} epochs
- fonts: {_fonts(trainer)}
{encoder}{table}
{then.purpose.capitalize()}: `{then.command}`. All settings are in `config.json`.
"""
