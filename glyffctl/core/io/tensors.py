"""Files of named tensors and a JSON header: written atomically, and checked for any change when they are loaded.

See `tensor_files` for what is in them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from glyffctl.core.errors import GlyffError, OutputError
from glyffctl.core.io.atomic import atomic_file
from glyffctl.core.io.names import check_name
from glyffctl.core.io.tensor_files import file_digest, read_tensor_file


def digest(tensors: Mapping[str, Tensor]) -> str:
    """BLAKE2b of tensors on the CPU, 32 hex digits; about a gigabyte a second."""
    state = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        state.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        state.update(tensor.flatten().view(torch.uint8).numpy().data)
    return state.hexdigest()


def save_tensors(path: Path, kind: str, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write tensors and a header to a file.

    Args:
        path: the file.
        kind: the kind and version of the file, such as "glyffctl-model/1", which `load_tensors` checks.
        tensors: by name.
        header: values that JSON can hold.

    Raises:
        OutputError: the path cannot be written, or the disk is full.
    """
    check_name(path, OutputError)
    held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(header, ensure_ascii=False)
    metadata = {"kind": kind, "header": text, "blake2b": file_digest(text, digest(held))}
    with atomic_file(path) as temporary:
        try:
            save_file(held, temporary, metadata)
        except SafetensorError as error:  # raised for a full disk
            raise OutputError(f"cannot write {path}: {error}") from error


def load_tensors(path: Path, kind: str, error: type[GlyffError]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Load a file of `save_tensors`: the tensors, on the CPU, and the header.

    Raises:
        error: there is no such file, it is of another kind or version, cut short, or damaged.
    """
    return load_digested(path, kind, error)[:2]


def load_digested(path: Path, kind: str, error: type[GlyffError]) -> tuple[dict[str, Tensor], dict[str, Any], str]:
    """`load_tensors`, and the `digest` of the tensors, which checking the file takes anyway."""
    tensors, header, found = read_tensor_file(path, kind, error, "pt", digest)
    return tensors, header, found
