"""The pictures that `evaluate` measures, saved so that later runs need not draw them again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from glyffctl.core.errors import DataError
from glyffctl.core.io.tensors import load_tensors, save_tensors

DRAWINGS_KIND = "glyffctl-drawings/1"


def texts_digest(texts: Sequence[str]) -> str:
    """A hash of texts in their order, 16 hex digits."""
    return hashlib.sha256(json.dumps(list(texts)).encode()).hexdigest()[:16]


def save_drawings(path: Path, pictures: Mapping[str, Tensor], made: Mapping[str, Any]) -> None:
    """Save pictures.

    Args:
        path: the file.
        pictures: (N, H, W) uint8, by name.
        made: all settings that they depend on; JSON values.

    Raises:
        OutputError: the path cannot be written.
    """
    save_tensors(path, DRAWINGS_KIND, pictures, made)


def load_drawings(path: Path, made: Mapping[str, Any]) -> tuple[dict[str, Tensor] | None, list[str]]:
    """Load the pictures in `path` if they were made with the settings `made`.

    Returns:
        The pictures, or None; and the names of settings that differ. Without a file these are None and [].

    Raises:
        DataError: the file holds something else, and must not be overwritten.
    """
    if not path.exists():
        return None, []
    try:
        pictures, was = load_tensors(path, DRAWINGS_KIND, DataError)
    except DataError as error:
        raise DataError(f"{error}; name another file with --drawings") from error
    other = sorted(name for name in was.keys() | made.keys() if was.get(name) != made.get(name))
    return (None, other) if other else (pictures, [])
