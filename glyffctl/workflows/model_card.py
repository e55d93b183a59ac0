"""The README.md of a run folder."""

from __future__ import annotations

from pathlib import Path

from glyffctl.core.models.checkpoint import Origin
from glyffctl.core.models.codec_file import TrainedCodec
from glyffctl.core.models.recipe import FEW_STEP
from glyffctl.core.networks.network import parameter_count
from glyffctl.core.training.trainer import Trainer


def codec_card(
    folder: Path, model: TrainedCodec, trainer: Trainer, images: int, seconds: float, validation: dict[float, float]
) -> str:
    """A card in Markdown for the codec in `folder`; the arguments are as in `model_card`."""
    codec = model.codec
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
Train a model in its latents: `glyffctl train --preset latent --codec {folder}`. All settings are in `config.json`.
"""


def _fonts(trainer: Trainer) -> str:
    return ", ".join(font.name for font in trainer.objective.data.glyphs.fonts) or "not recorded"


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
    few = trainer.config.training.objective == FEW_STEP
    latent = "a latent glyffctl model" if config.codec.learned else "a glyffctl model"
    kind = "a few-step student of a glyffctl model" if few else latent
    before = f", starting from weights that had seen {trainer.images_before:,}" if trainer.images_before else ""
    table = (
        f"\n| {trainer.objective.validated} | loss on held-out characters |\n|---|---|\n{losses}\n" if losses else ""
    )
    return f"""# {folder.name}

{kind[0].upper()}{kind[1:]}: English definition → glyph, {config.codec.size}×{config.codec.size} pixels.

- {parameter_count(trainer.network):,} parameters
- {config.diffusion.prediction} prediction, {config.diffusion.schedule} schedule
- trained on {images:,} pictures in {seconds / 60:.0f} minutes{before}
- {trainer.epoch_size:,} glyphs, so {images / trainer.epoch_size:.1f} epochs
- fonts: {_fonts(trainer)}
- text encoder: {origin.encoder.name}
{table}
Draw with it: `glyffctl sample "lithium" --model {folder}`. All settings are in `config.json`.
"""
