"""Find the model that a command uses. Importing this does not import torch."""

from __future__ import annotations

import re
from collections.abc import Generator
from pathlib import Path

from glyffctl.core.errors import ModelError
from glyffctl.core.io.bundled import BUNDLED, pretrained
from glyffctl.core.models.files import MODEL_FILE, draws, epochs_seen
from glyffctl.workflows.events import Caution, Event

FEWEST_EPOCHS = 1.0
"""Below this a model draws smudges or noise: it was not trained on every glyph once."""


def find_model(given: Path | None, *, hub: bool = False) -> Generator[Event, None, tuple[Path, str]]:
    """Find the model to use.

    It is `given`, else the newest run under runs/ that has trained for an epoch, else the bundled model. A newer run
    that was not chosen, or a chosen one that has trained for less than an epoch, is named in a caution.

    Args:
        given: a path, "bundled", or None for the default.
        hub: allow a name on the Hugging Face hub, which is returned as it is.

    Returns:
        Its path, and in words why it was chosen.

    Raises:
        ModelError: there is none.
    """
    if given is not None and given != Path(BUNDLED):
        if not given.exists():
            # runs/typo is not a name on the hub if there is a folder runs.
            if hub and re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", str(given), re.ASCII) and not given.parent.exists():
                return given, ""
            raise ModelError(f"there is no model at {given}; name a run folder, a model.safetensors, or {BUNDLED}")
        seen = epochs_seen(given)
        if seen is not None and seen < FEWEST_EPOCHS:
            yield _few_epochs(given, seen)
        return given, ""
    bundled = pretrained(MODEL_FILE).is_file()
    files = sorted(Path("runs").glob(f"*/{MODEL_FILE}"), key=lambda file: file.stat().st_mtime, reverse=True)
    runs = [(file.parent, epochs_seen(file)) for file in files if draws(file)] if given is None else []
    ready = next((run for run, seen in runs if seen is None or seen >= FEWEST_EPOCHS), None)
    if runs:
        newest, seen = runs[0]
        if newest == ready:
            return newest, " (the newest under runs/)"
        assert seen is not None
        if ready is None and not bundled:
            yield _few_epochs(newest, seen)
            return newest, " (the newest under runs/)"
        yield Caution(
            f"{newest} has trained for {_of_an_epoch(seen)}, too little to draw with; --model {newest} uses it anyway",
            "few-epochs",
            {"model": newest, "epochs": seen},
        )
        if ready is not None:
            return ready, " (the newest under runs/ that has trained for an epoch)"
    if not bundled:
        raise ModelError(
            "no model was found under runs/; train one with `glyffctl train`, or name one with --model FOLDER"
        )
    return pretrained(MODEL_FILE), " (it came with the program)"


def _few_epochs(model: Path, seen: float) -> Caution:
    return Caution(
        f"{model} has trained for {_of_an_epoch(seen)}: expect smudges or noise; train it longer",
        "few-epochs",
        {"model": model, "epochs": seen},
    )


def _of_an_epoch(seen: float) -> str:
    return f"{seen:.0%} of an epoch" if seen >= 0.01 else "less than 1 % of an epoch"
