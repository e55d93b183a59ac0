"""The README.md of a run folder."""

from __future__ import annotations

from pathlib import Path

from glyffctl.core.models.checkpoint import Origin
from glyffctl.core.models.recipe import FEW_STEP
from glyffctl.core.models.upscale_recipe import UPSCALING
from glyffctl.core.networks.network import parameter_count
from glyffctl.core.networks.upscaler import UpscalerConfig
from glyffctl.core.training.trainer import Trainer


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
    objective, size = trainer.config.training.objective, f"{config.codec.size}×{config.codec.size}"
    kind = "a few-step student of a glyffctl model" if objective == FEW_STEP else "a glyffctl model"
    what, encoder, options = (
        f"English definition → glyph, {size}",
        f"- text encoder: {origin.encoder.name}\n",
        f"--model {folder}",
    )
    if objective == UPSCALING:
        assert isinstance(config.network, UpscalerConfig)
        small = config.codec.size // config.network.scale
        kind, what, encoder = "an upscaler of glyffctl", f"glyphs of {small}×{small} → {size}", ""
        options = f"--size {config.codec.size} --upscaler {folder}"
    before = f", starting from weights that had seen {trainer.images_before:,}" if trainer.images_before else ""
    table = (
        f"\n| {trainer.objective.validated} | loss on held-out characters |\n|---|---|\n{losses}\n" if losses else ""
    )
    fonts = ", ".join(font.name for font in trainer.objective.data.glyphs.fonts) or "not recorded"
    return f"""# {folder.name}

{kind[0].upper()}{kind[1:]}: {what} pixels.

- {parameter_count(trainer.network):,} parameters
- {config.diffusion.prediction} prediction, {config.diffusion.schedule} schedule
- trained on {images:,} pictures in {seconds / 60:.0f} minutes{before}
- {trainer.epoch_size:,} glyphs, so {images / trainer.epoch_size:.1f} epochs
- fonts: {fonts}
{encoder}{table}
Draw with it: `glyffctl sample "lithium" {options}`. All settings are in `config.json`.
"""
