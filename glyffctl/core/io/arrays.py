"""Files of `tensors`, read with NumPy: PyTorch takes a second to import."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from glyffctl.core.errors import GlyffError
from glyffctl.core.io.tensor_files import TensorFile, read_tensor_file

Array = np.ndarray[Any, np.dtype[Any]]


def digest(arrays: Mapping[str, Array]) -> str:
    """`tensors.digest` of arrays."""
    state = hashlib.blake2b(digest_size=16)
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        state.update(f"{name} torch.{array.dtype} {list(arrays[name].shape)}\n".encode())
        state.update(array.reshape(-1).view(np.uint8).data)
    return state.hexdigest()


def load_arrays(path: Path, kind: str, error: type[GlyffError]) -> TensorFile:
    """Load a file of `tensors.save_tensors` as arrays; its numbers must be of a type that NumPy has.

    Raises:
        error: there is no such file, it is of another kind or version, cut short, or damaged.
    """
    return read_tensor_file(path, kind, error, "numpy", digest)
