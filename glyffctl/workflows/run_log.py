"""The log of a run: a row of JSON for every few steps and for every checkpoint, and the same for TensorBoard."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glyffctl.core.errors import ModelError, OutputError, UsageError
from glyffctl.core.io.atomic import reason, write_text
from glyffctl.core.io.reading import LARGEST_RECORD, parse_json, read_bytes

LOG_FILE = "log.jsonl"
TENSORBOARD = "tensorboard"


@dataclass(frozen=True, slots=True)
class LogRow:
    """A row for the log, on its way to whoever may write it."""

    values: dict[str, Any]


class RunLog:
    """Writes `log.jsonl` in a run folder and, on request, event files of TensorBoard."""

    def __init__(self, folder: Path, *, tensorboard: bool, validated: str = "σ") -> None:
        """Open the log of the run in `folder`; `validated` is that of its objective.

        Raises:
            UsageError: `tensorboard`, and it is not installed.
            OutputError: its event files cannot be written.
        """
        self._folder, self._path = folder, folder / LOG_FILE
        self._level = validated.replace("σ", "sigma")
        self._tensorboard = _tensorboard(folder) if tensorboard else None

    def start(self) -> None:
        """Empty the log."""
        write_text(self._path, "")

    def rewind(self, images: int) -> None:
        """Drop the rows after `images` pictures: a resumed run repeats those steps.

        What a checkpoint measures may come after rows of later steps, so all rows are looked at.
        """
        path = self._path
        text = read_bytes(path, ModelError, LARGEST_RECORD).decode("utf-8", "replace") if path.exists() else ""
        kept = []
        for line in text.split("\n"):
            try:
                if parse_json(line)["images"] <= images:
                    kept.append(line + "\n")
            except (ValueError, KeyError, TypeError):
                continue  # a row that a crash cut short; no row is needed to resume
        write_text(path, "".join(kept))

    def write(self, row: dict[str, Any]) -> None:
        """Append a row, with the number of pictures as "images".

        Raises:
            OutputError: the disk is full or the folder cannot be written; no partial row is left.
        """
        length = self._path.stat().st_size if self._path.exists() else 0
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            with suppress(OSError):
                os.truncate(self._path, length)
            raise OutputError(f"cannot write {self._path}: {reason(error)}") from error
        if self._tensorboard is not None:
            with _events_written(self._folder):
                for name, value in _flat(row, self._level).items():
                    self._tensorboard.add_scalar(name, value, row["images"])
                self._tensorboard.flush()


def _flat(row: dict[str, Any], level: str) -> dict[str, float]:
    """The numbers of a row by their names in TensorBoard; losses are those of levels of the name `level`."""
    flat = {name: value for name, value in row.items() if not isinstance(value, dict)}
    for kind in ("validation", "reference"):
        flat |= {f"{kind}/{level} {place:g}": loss for place, loss in row.get(kind, {}).items()}
    return flat | {f"evaluation/{name}": value for name, value in row.get("evaluation", {}).items()}


def _tensorboard(out: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415
    except ImportError:
        raise UsageError('--tensorboard needs the package tensorboard: pip install "glyffctl[tensorboard]"') from None
    before = threading.excepthook

    def hook(failure: threading.ExceptHookArgs) -> None:
        if not issubclass(failure.exc_type, OSError):
            before(failure)

    # TensorBoard writes in a thread. The next call raises the thread's error again, and that becomes one line.
    threading.excepthook = hook
    with _events_written(out):
        return SummaryWriter(out / TENSORBOARD)


@contextmanager
def _events_written(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot write {out / TENSORBOARD}: {reason(error)}") from error
