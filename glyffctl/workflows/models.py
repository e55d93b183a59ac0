"""Load the model that a command uses, and its text encoder."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

from glyffctl.core.errors import EmbeddingError, ModelError, UsageError
from glyffctl.core.interop.diffusers_model import load_diffusers, unet_class
from glyffctl.core.interop.exported import is_export, load_exported
from glyffctl.core.io.diffusers_files import is_pipeline
from glyffctl.core.models.checkpoint import Model, TrainedModel, load_model
from glyffctl.core.models.recipe import ENTROPIC, FEW_STEP, MEASURED, Recipe
from glyffctl.core.models.text_tower import open_encoder
from glyffctl.core.text.encoder import TextEncoder
from glyffctl.core.text.hub import pipeline_folder
from glyffctl.workflows.events import Event, Progress


def load_any(path: Path) -> Model:
    """Load a model of glyffctl, an export, or a diffusers model.

    Args:
        path: a file, a folder, or a name on the Hugging Face hub.

    Raises:
        ModelError: it is not a model, or damaged.
        UsageError: a package that it needs is not installed.
    """
    if not path.exists():
        unet_class()  # raise errors before the download
        path = pipeline_folder(str(path))
    if is_export(path):
        return load_exported(path)
    return load_diffusers(path) if path.is_dir() and is_pipeline(path) else load_drawing_model(path)


def load_drawing_model(path: Path) -> TrainedModel:
    """Load a model of glyffctl that draws pictures of prompts; the arguments and errors are those of `load_model`."""
    model = load_model(path)
    if model.network.classifies:
        raise ModelError(
            f"{path} is a classifier and draws no pictures; name it with `glyffctl sample --radical 金 --classifier "
            f"{path}`"
        )
    if model.network.compares:
        raise ModelError(
            f"{path} compares glyphs with texts and draws none; measure it with `glyffctl evaluate --model {path}`, or "
            f"a model by it with `glyffctl evaluate --contrastive {path}`"
        )
    if model.network.enlarges:
        raise ModelError(
            f"{path} enlarges pictures and draws none of prompts; name it with `glyffctl sample --upscaler {path}`"
        )
    return model


def choose_recipe(
    model: Model, recipe: Recipe | None, guidance: float | None, *, negative: bool = False, led_by: str = ""
) -> Recipe:
    """The recipe to draw with: `recipe` if given, else the model's own; `guidance`, if given, replaces its γ.

    A few-step student has learned a range of γ, no negative prompts, and nothing else that leads. Where it is not
    asked for by name, the whole model draws what it cannot.

    Args:
        model: to draw with.
        recipe: what was asked for, or None.
        guidance: γ, or None.
        negative: there is a negative prompt.
        led_by: the option that names what leads besides prompts, or the picture to begin with, or "".

    Raises:
        UsageError: the model cannot draw by that recipe, or `guidance` is not finite.
    """
    chosen = recipe or model.recipe
    if model.table is not None and isinstance(chosen.schedule, str) and chosen.schedule in ENTROPIC:
        chosen = replace(chosen, schedule=ENTROPIC[chosen.schedule](model.table))
    if chosen.ddpm_variance == MEASURED:
        if model.table is None:
            raise UsageError(
                "this model has no table of what it knows at each noise level, which `ddpm_variance` measured takes; "
                "examples/measure_schedule.py makes one, to lie beside the model as entropic.toml"
            )
        chosen = replace(chosen, ddpm_variance=model.table)
    if guidance is not None:
        chosen = replace(chosen, guidance=guidance)
    if model.network.one_pass and (negative or led_by):
        raise UsageError(f"this model draws in one pass, and is not guided; leave {led_by or '--negative'} out")
    if chosen.sampler == FEW_STEP and model.few_step is not None:
        low, high = model.few_step.guidance
        learned = low <= chosen.guidance <= high
        if recipe is None and (negative or led_by or not learned):
            chosen = replace(model.full_recipe, guidance=chosen.guidance)
        elif led_by:
            raise UsageError(f"--passes draws with a student, but {led_by} takes the whole model; use --steps instead")
        elif negative:
            raise UsageError("--passes cannot follow a negative prompt; leave --negative out, or use --steps")
        elif not learned:
            raise UsageError(
                f"--passes learned guidance from {low:g} to {high:g}, not {chosen.guidance:g}; for other values use "
                "--steps"
            )
    model.levels(chosen)
    return chosen


def load_text_encoder(
    model: Model, encoder: str | None, *, with_transformers: bool = False
) -> Generator[Event, None, TextEncoder]:
    """Load the text encoder that `model` was trained with.

    Args:
        model: the model.
        encoder: where the encoder is now; None is where it was in training.
        with_transformers: as in `open_encoder`.

    Raises:
        EmbeddingError: it cannot be loaded, or is not the same encoder.
    """
    trained = model.encoder
    name = encoder or trained.name
    if not name:
        raise EmbeddingError(
            f"this model does not record its text encoder, whose vectors have {model.text_width} numbers; name it with "
            "--encoder"
        )
    yield Progress("Loading the text encoder", 0, 1)
    loaded = open_encoder(
        name, max_tokens=trained.max_tokens, encodes_empty=model.encodes_empty, with_transformers=with_transformers
    )
    yield Progress("Loading the text encoder", 1, 1)
    if loaded.width != model.text_width:
        raise EmbeddingError(
            f"the vectors of the text encoder {name} have {loaded.width} numbers, this model needs {model.text_width}: "
            "it was trained with another encoder; name that one with --encoder"
        )
    if trained.fingerprint not in ("", loaded.fingerprint):
        raise EmbeddingError(
            f"the text encoder {name} is not the one this model was trained with ({trained.name}): "
            "its weights or tokenizer differ; name that one with --encoder"
        )
    return loaded
