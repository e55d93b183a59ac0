"""The manifest of a data folder: what `prepare` made, from what, and digests of it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from glyffctl.core.errors import DataError
from glyffctl.core.io.reading import read_json, short_repr

MANIFEST = "manifest.json"
CHARACTERS = "characters.jsonl"
EMBEDDINGS = "embeddings.safetensors"
GLYPHS_FORMAT = "glyffctl-glyphs"
IMAGEFOLDER_FORMAT = "glyffctl-imagefolder"
OLD_CAPTIONS_KEY = "wordings"
"""The name of `alternate_captions` in data folders of glyffctl 0.1."""
VERSION = 2  # version 1 has no digests; it is read without checking them
PREPARE_AGAIN = "run `glyffctl prepare --overwrite`"
DIGEST_ENTRY = b',\n  "blake2b": "'


def add_digest(text: bytes) -> bytes:
    """The bytes of a manifest: `text`, indented JSON without its last bracket, and a digest of it as last entry."""
    return text + DIGEST_ENTRY + checksum(text).encode() + b'"\n}\n'


def checksum(raw: bytes) -> str:
    """BLAKE2b of bytes, 32 hex digits."""
    return hashlib.blake2b(raw, digest_size=16).hexdigest()


def read_manifest(folder: Path) -> dict[str, Any]:
    """Load the manifest of a folder that `prepare` made.

    Raises:
        DataError: it is not a manifest of glyffctl, of another version, or damaged.
    """
    path = folder / MANIFEST
    try:
        manifest = read_json(path, DataError)
    except DataError as error:
        raise DataError(f"{error}; remove {folder} and run `glyffctl prepare` again") from error
    if manifest.get("format") not in (GLYPHS_FORMAT, IMAGEFOLDER_FORMAT):
        raise DataError(f"{path} is not a manifest of glyffctl; name a folder that `glyffctl prepare` made")
    if manifest.get("version") not in (1, VERSION):
        found = short_repr(manifest.get("version"))
        raise DataError(f"{path} has version {found}, this program reads version {VERSION}; {PREPARE_AGAIN}")
    text = path.read_bytes()
    if text != add_digest(text.partition(DIGEST_ENTRY)[0]) and (manifest["version"] == VERSION or DIGEST_ENTRY in text):
        raise DataError(f"{path} was changed after `prepare` wrote it; {PREPARE_AGAIN}")
    return manifest
