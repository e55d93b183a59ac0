"""Which model a command works with, and its text encoder."""

from __future__ import annotations

import re
from collections.abc import Generator
from pathlib import Path

from glyffctl.core.errors import EmbeddingError, ModelError
from glyffctl.core.interop.diffusers_model import load_diffusers, unet_class
from glyffctl.core.interop.exported import is_export, load_exported
from glyffctl.core.io.bundled import BUNDLED, pretrained
from glyffctl.core.io.diffusers_files import is_pipeline
from glyffctl.core.models.checkpoint import MODEL_FILE, Model, epochs_seen, load_model
from glyffctl.core.text.encoder import TextEncoder
from glyffctl.core.text.hub import pipeline_folder
from glyffctl.core.text.loading import load_encoder
from glyffctl.workflows.events import Caution, Event, Progress

FEWEST_EPOCHS = 1.0
"""Below this a model draws smudges or noise: it has not seen every glyph of its data once."""


def find_model(given: Path | None, *, hub: bool = False) -> Generator[Event, None, tuple[Path, str]]:
    """The model to use, and in words why that one.

    It is the one given, else the newest run under runs/ that has seen its data once, else the one in the box. A run
    that is passed over, or taken though it has seen less, is named in a caution.

    Args:
        given: a path, "bundled", or None for the default.
        hub: also take a name on the Hugging Face hub, as it is.

    Raises:
        ModelError: there is none.
    """
    if given is not None and given != Path(BUNDLED):
        if not given.exists():
            # runs/typo is no name on the hub where there is a folder runs.
            if hub and re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", str(given), re.ASCII) and not given.parent.exists():
                return given, ""
            raise ModelError(f"there is no model at {given}; name a run folder, a model.safetensors, or {BUNDLED}")
        seen = epochs_seen(given)
        if seen is not None and seen < FEWEST_EPOCHS:
            yield Caution(f"{given} has seen {_of_an_epoch(seen)}: expect smudges or noise; train it longer")
        return given, ""
    boxed = pretrained(MODEL_FILE).is_file()
    files = sorted(Path("runs").glob(f"*/{MODEL_FILE}"), key=lambda file: file.stat().st_mtime, reverse=True)
    runs = [(file.parent, epochs_seen(file)) for file in files] if given is None else []
    ready = next((run for run, seen in runs if seen is None or seen >= FEWEST_EPOCHS), None)
    if runs:
        newest, seen = runs[0]
        if newest == ready:
            return newest, " (the newest under runs/)"
        assert seen is not None
        if ready is None and not boxed:
            yield Caution(f"{newest} has seen {_of_an_epoch(seen)}: expect smudges or noise; train it longer")
            return newest, " (the newest under runs/)"
        yield Caution(
            f"{newest} has seen {_of_an_epoch(seen)}, too little to draw with; --model {newest} takes it all the same"
        )
        if ready is not None:
            return ready, " (the newest under runs/ that has seen an epoch)"
    if not boxed:
        raise ModelError(
            "no model was found under runs/; train one with `glyffctl train`, or name one with --model FOLDER"
        )
    return pretrained(MODEL_FILE), " (it came with the program)"


def _of_an_epoch(seen: float) -> str:
    return f"{seen:.0%} of an epoch" if seen >= 0.01 else "less than 1 % of an epoch"


def load_any(path: Path) -> Model:
    """A model of ours, an export, or a model of diffusers; `path` is a file, a folder, or a name on the hub.

    Raises:
        ModelError: it is none, or broken.
        UsageError: a package that it needs is not installed.
    """
    if not path.exists():
        unet_class()  # complain before the download
        path = pipeline_folder(str(path))
    if is_export(path):
        return load_exported(path)
    return load_diffusers(path) if path.is_dir() and is_pipeline(path) else load_model(path)


def load_text_encoder(
    model: Model, encoder: str | None, *, with_transformers: bool = False
) -> Generator[Event, None, TextEncoder]:
    """The text encoder that `model` was trained with.

    Args:
        model: with what is known of its encoder.
        encoder: where it is, if it moved since.
        with_transformers: as in `load_encoder`.

    Raises:
        EmbeddingError: it cannot be loaded, or is another one.
    """
    trained = model.encoder
    name = encoder or trained.name
    if not name:
        raise EmbeddingError(
            f"this model does not say which text encoder it was trained with; it reads vectors of {model.text_width} "
            "numbers: name one with --encoder"
        )
    yield Progress("Loading the text encoder", 0, 1)
    loaded = load_encoder(
        name, max_tokens=trained.max_tokens, encodes_empty=model.encodes_empty, with_transformers=with_transformers
    )
    yield Progress("Loading the text encoder", 1, 1)
    if loaded.width != model.text_width:
        raise EmbeddingError(
            f"the text encoder {name} gives vectors of {loaded.width} numbers, this model reads {model.text_width}: "
            "it was trained with another one; name that with --encoder"
        )
    if trained.fingerprint not in ("", loaded.fingerprint):
        raise EmbeddingError(
            f"the text encoder {name} is not the one this model was trained with ({trained.name}): "
            "its weights or tokenizer differ; say with --encoder where that one is"
        )
    return loaded
