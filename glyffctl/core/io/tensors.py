"""Files of named tensors and a JSON header: written atomically, and checked for any change when they are loaded.

safetensors only: loading runs no code. The metadata holds a digest of the header and of every tensor's name, type,
shape and bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from glyffctl.core.errors import GlyffError, OutputError
from glyffctl.core.io.atomic import atomic_file, reason
from glyffctl.core.io.names import check_name
from glyffctl.core.io.reading import check_file, parse_json, short_repr

LARGEST_HEADER = 1 << 22
"""Bytes of a safetensors header; that of the bundled model has 33,792."""


def check_tensors(path: Path, error: type[GlyffError]) -> None:
    """Check that `path` is a regular file with a header of sane length, before safetensors trusts it.

    Raises:
        error: it is not.
    """
    check_file(path, error)
    check_name(path, error)
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
    except OSError as cause:
        raise error(f"cannot read {path}: {reason(cause)}") from cause
    if length > LARGEST_HEADER:
        raise error(f"cannot read {path}: it is cut short or not a safetensors file (a header of {length:,} bytes)")


def digest(tensors: Mapping[str, Tensor]) -> str:
    """BLAKE2b of tensors on the CPU, 32 hex digits; about a gigabyte a second."""
    state = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        state.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        state.update(tensor.flatten().view(torch.uint8).numpy().data)
    return state.hexdigest()


def _file_digest(header: str, of_tensors: str) -> str:
    return hashlib.blake2b(f"{of_tensors} {header}".encode(), digest_size=16).hexdigest()


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
    metadata = {"kind": kind, "header": text, "blake2b": _file_digest(text, digest(held))}
    with atomic_file(path) as temporary:
        try:
            save_file(held, temporary, metadata)
        except SafetensorError as error:  # raised for a full disk
            raise OutputError(f"cannot write {path}: {error}") from error


def read_header(path: Path, kind: str, error: type[GlyffError]) -> dict[str, Any]:
    """Load only the header of a file of `save_tensors`; this does not check the digest.

    Raises:
        error: there is no such file, it is of another kind or version, or its header cannot be read.
    """
    check_tensors(path, error)
    try:
        with safe_open(path, framework="pt") as file:
            header = parse_json(_metadata(path, file, kind, error)["header"])
    except OSError as cause:
        raise error(f"cannot read {path}: {reason(cause)}") from cause
    except (SafetensorError, KeyError, ValueError) as cause:
        raise error(f"cannot read {path}: it is cut short or not a safetensors file ({str(cause)[:200]})") from cause
    if not isinstance(header, dict):
        raise error(f"cannot use {path}: its header is not from glyffctl")
    return header


def _metadata(path: Path, file: Any, kind: str, error: type[GlyffError]) -> dict[str, str]:
    metadata: dict[str, str] = file.metadata() or {}
    found = metadata.get("kind", "not a file of glyffctl")
    if found != kind:
        raise error(f"cannot use {path}: it is {short_repr(found)}, this version reads {kind!r}")
    return metadata


def load_tensors(path: Path, kind: str, error: type[GlyffError]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Load a file of `save_tensors`: the tensors, on the CPU, and the header.

    Raises:
        error: there is no such file, it is of another kind or version, cut short, or damaged.
    """
    return load_digested(path, kind, error)[:2]


def load_digested(path: Path, kind: str, error: type[GlyffError]) -> tuple[dict[str, Tensor], dict[str, Any], str]:
    """`load_tensors`, and the `digest` of the tensors, which checking the file takes anyway."""
    check_tensors(path, error)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = _metadata(path, file, kind, error)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        found = digest(tensors)
        intact = _file_digest(metadata["header"], found) == metadata["blake2b"]
        header = parse_json(metadata["header"]) if intact else None
    except OSError as cause:
        raise error(f"cannot read {path}: {reason(cause)}") from cause
    except (SafetensorError, KeyError, ValueError) as cause:
        raise error(f"cannot read {path}: it is cut short or not a safetensors file ({str(cause)[:200]})") from cause
    if not isinstance(header, dict):
        raise error(f"cannot use {path}: it was damaged after it was written")
    return tensors, header, found
