"""The pictures that figures are about, kept in a file so that the next look at them need not draw them again."""

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
    """A short name for texts in their order."""
    return hashlib.sha256(json.dumps(list(texts)).encode()).hexdigest()[:16]


def save_drawings(path: Path, pictures: Mapping[str, Tensor], made: Mapping[str, Any]) -> None:
    """Write pictures (N, H, W) uint8 by name, with all that they depend on.

    Raises:
        OutputError: the path cannot be written.
    """
    save_tensors(path, DRAWINGS_KIND, pictures, made)


def load_drawings(path: Path, made: Mapping[str, Any]) -> tuple[dict[str, Tensor] | None, list[str]]:
    """The pictures in `path` if they were made as `made` says; else None, and what was different.

    None and nothing where there is no such file.

    Raises:
        DataError: the file holds something else; it is not written over then.
    """
    if not path.exists():
        return None, []
    try:
        pictures, was = load_tensors(path, DRAWINGS_KIND, DataError)
    except DataError as error:
        raise DataError(f"{error}; name another file with --drawings") from error
    other = sorted(name for name in was.keys() | made.keys() if was.get(name) != made.get(name))
    return (None, other) if other else (pictures, [])
