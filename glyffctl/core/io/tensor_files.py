"""Reading files of named tensors and a JSON header, for any library of arrays; `tensors` and `arrays` do it for two.

safetensors only: loading runs no code. The metadata holds a digest of the header and of every tensor's name, type,
shape and bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open

from glyffctl.core.errors import GlyffError
from glyffctl.core.io.atomic import reason
from glyffctl.core.io.names import check_name
from glyffctl.core.io.reading import check_file, parse_json, short_repr

LARGEST_HEADER = 1 << 22
"""Bytes of a safetensors header; that of the bundled model has 33,792."""


class TensorFile(NamedTuple):
    """What a file holds; `digest` is that of its tensors."""

    tensors: dict[str, Any]
    header: dict[str, Any]
    digest: str


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


def file_digest(header: str, digest: str) -> str:
    """What a file records: of the text of its header and the digest of its tensors."""
    return hashlib.blake2b(f"{digest} {header}".encode(), digest_size=16).hexdigest()


def read_header(path: Path, kind: str, error: type[GlyffError]) -> dict[str, Any]:
    """Load only the header of a file of `save_tensors`; this does not check the digest.

    Raises:
        error: there is no such file, it is of another kind or version, or its header cannot be read.
    """
    check_tensors(path, error)
    try:
        with safe_open(path, framework="numpy") as file:
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


def read_tensor_file(
    path: Path, kind: str, error: type[GlyffError], framework: str, digest: Callable[[Mapping[str, Any]], str]
) -> TensorFile:
    """Load a file of `save_tensors`.

    Args:
        path: the file.
        kind: as in `save_tensors`.
        error: what is raised.
        framework: "pt" for tensors of PyTorch, "numpy" for arrays.
        digest: of tensors of that kind.

    Raises:
        error: there is no such file, it is of another kind or version, cut short, or damaged.
    """
    check_tensors(path, error)
    try:
        with safe_open(path, framework=framework) as file:
            metadata = _metadata(path, file, kind, error)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        found = digest(tensors)
        intact = file_digest(metadata["header"], found) == metadata["blake2b"]
        header = parse_json(metadata["header"]) if intact else None
    except OSError as cause:
        raise error(f"cannot read {path}: {reason(cause)}") from cause
    except (SafetensorError, KeyError, ValueError) as cause:
        raise error(f"cannot read {path}: it is cut short or not a safetensors file ({str(cause)[:200]})") from cause
    if not isinstance(header, dict):
        raise error(f"cannot use {path}: it was damaged after it was written")
    return TensorFile(tensors, header, found)
