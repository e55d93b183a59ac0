"""Opening a data folder: what `prepare` wrote, or pictures with a metadata file.

A folder of `prepare` holds

    manifest.json               counts, fonts, options, what was left out, mean and deviation of the pixels, digests
    characters.jsonl            one row per character: codepoint, character, definition, radical, alternate_captions
    glyphs-00000.safetensors …  images (N, size, size) uint8, 255 paper and 0 ink; character (N,) int32, the
                                row in characters.jsonl; font (N,) int16, the row in the manifest's fonts; sums (N,)
                                int64, the CRC-32 of each picture

For folders of pictures see `imagefolder`.

Files that were changed after they were written are refused: the manifest ends with a digest of itself and has those of
characters.jsonl and of each shard up to its pictures, which come last. Pictures are checked one by one as they are
read, so that opening does not read millions.
"""

from __future__ import annotations

import hashlib
import json
import os
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from glyffctl.core.data.caption_table import caption_table, captions_digest
from glyffctl.core.data.character import Character, Font
from glyffctl.core.data.dataset import GlyphSet
from glyffctl.core.data.folder_diagnosis import check_one_metadata_file, diagnose_folder
from glyffctl.core.data.imagefolder import (
    PictureReader,
    StringList,
    metadata_file,
    parse_codepoint,
    parse_radical,
    read_metadata,
    unreadable_picture,
)
from glyffctl.core.data.manifest import (
    CHARACTERS,
    GLYPHS_FORMAT,
    MANIFEST,
    OLD_CAPTIONS_KEY,
    PREPARE_AGAIN,
    checksum,
    read_manifest,
)
from glyffctl.core.data.shards import ResizedReader, ShardReader, open_shard
from glyffctl.core.errors import DataError
from glyffctl.core.io.names import check_inside
from glyffctl.core.io.reading import LARGEST_RECORD, parse_json, read_bytes, short_repr

DEFAULT_SIZE = 128
_MALFORMED = (KeyError, TypeError, ValueError, OverflowError, AttributeError)
"""Raised by values of an unexpected type; only manifests of version 1, which have no digest, can hold some."""
_CHANGED = "was changed after `prepare`; give your definitions with `glyffctl prepare --definitions FILE` instead"


def open_glyphs(folder: Path, size: int | None = None) -> GlyphSet:
    """Open a data folder of `prepare`, or any image–caption folder.

    Args:
        folder: with a manifest, a metadata file, or both.
        size: of the pictures, in pixels: prepared glyphs are resized as they are read, pictures of image folders from
            their originals. None keeps the size of prepared folders and means 128 for others.

    Raises:
        DataError: no such folder, no data in it, or a part of it is cut short or inconsistent.
    """
    if not folder.is_dir():
        raise DataError(diagnose_folder(folder))
    there = os.path.lexists(folder / MANIFEST)
    manifest = read_manifest(folder) if there else {}
    if manifest.get("format") == GLYPHS_FORMAT:
        return _open_shards(folder, manifest, size)
    metadata = metadata_file(folder)
    if metadata is None and not there:
        raise DataError(diagnose_folder(folder))
    if metadata is None:
        raise DataError(f"{folder} has lost its metadata.jsonl; {PREPARE_AGAIN}")
    return _open_imagefolder(folder, metadata, manifest, size)


def _open_shards(folder: Path, manifest: dict[str, Any], size: int | None) -> GlyphSet:
    try:
        own_size = int(manifest["size"])
        fonts = [Font(font["file"], font["face"], font["name"]) for font in manifest["fonts"]]
        shards = [
            open_shard(_inside(folder, shard["file"]), int(shard["count"]), own_size, shard.get("blake2b"))
            for shard in manifest["shards"]
        ]
        moments = float(manifest["mean"]), float(manifest["std"])
        digest = manifest["captions_sha256"]
    except _MALFORMED as error:
        raise DataError(f"{folder / MANIFEST} is incomplete ({short_repr(error)}); {PREPARE_AGAIN}") from error
    if not shards:
        raise DataError(f"{folder} holds no glyphs; {PREPARE_AGAIN}")
    characters = _read_characters(folder / CHARACTERS, manifest.get("characters_blake2b"))
    character_of = torch.cat([shard.character for shard in shards])
    font_of = torch.cat([shard.font for shard in shards])
    if not _within(character_of, len(characters)) or not _within(font_of, len(fonts)):
        raise DataError(f"{folder} names a character or font it does not hold; {PREPARE_AGAIN}")
    captions, table = caption_table(characters)
    if captions_digest(captions) != digest:
        raise DataError(f"{folder / CHARACTERS} {_CHANGED}")
    pixels: Callable[[Tensor], Tensor] = ShardReader(shards)
    return GlyphSet(
        size=size or own_size,
        fonts=fonts,
        characters=characters,
        captions=captions,
        caption_table=table,
        character_of=character_of,
        font_of=font_of,
        pixels=pixels if size in (None, own_size) else ResizedReader(pixels, size),
        identity=json.dumps(manifest, sort_keys=True),
        moments=moments if size in (None, own_size) else None,
    )


def _inside(folder: Path, name: str) -> Path:
    check_inside(name, folder / MANIFEST, DataError)
    return folder / name


def _within(index: Tensor, count: int) -> bool:
    return bool(((index >= 0) & (index < count)).all())


def _read_characters(path: Path, digest: str | None) -> list[Character]:
    raw = read_bytes(path, DataError, LARGEST_RECORD)
    if digest is not None and checksum(raw) != digest:
        raise DataError(f"{path} {_CHANGED}")
    try:
        rows = [parse_json(line) for line in raw.decode("utf-8").split("\n") if line]
        return [
            Character(
                parse_codepoint(row["codepoint"]),
                str(row["character"]),
                str(row["definition"]),
                parse_radical(row["radical"]),
                tuple(map(str, row.get("alternate_captions", row.get(OLD_CAPTIONS_KEY, ())))),
            )
            for row in rows
        ]
    except _MALFORMED as error:
        raise DataError(f"cannot read {path}: {short_repr(error)}; {PREPARE_AGAIN}") from error


def _open_imagefolder(folder: Path, metadata: Path, manifest: dict[str, Any], size: int | None) -> GlyphSet:
    # No row is kept, and numbers are in arrays: millions of Python objects would take gigabytes.
    characters: dict[Character, int] = {}
    font_names: dict[str, int] = {}
    files, character_of, font_of = StringList(), array("q"), array("q")
    identity = hashlib.sha256()
    check_one_metadata_file(metadata)
    for row in read_metadata(metadata):
        try:
            length = (folder / row.file_name).stat().st_size
        except (OSError, ValueError) as error:
            raise unreadable_picture(metadata, row.file_name, error) from error
        identity.update(json.dumps([*row, length]).encode())
        files.append(row.file_name)
        character = Character(row.codepoint, row.character, row.text, row.radical, row.alternate_captions)
        character_of.append(characters.setdefault(character, len(characters)))
        font_of.append(font_names.setdefault(row.font, len(font_names)))
    captions, table = caption_table(characters)
    try:
        known = {font["name"]: Font(font["file"], font["face"], font["name"]) for font in manifest.get("fonts", [])}
        own_size = int(manifest.get("size", DEFAULT_SIZE))
        moments = (float(manifest["mean"]), float(manifest["std"])) if manifest else None
    except _MALFORMED as error:
        raise DataError(f"{folder / MANIFEST} is incomplete ({short_repr(error)}); {PREPARE_AGAIN}") from error
    fonts = [known.get(name, Font("", 0, name)) for name in font_names]
    pictures = PictureReader(folder, files, size or own_size)
    same = size in (None, manifest.get("size"))
    no_fonts = [*font_names] == [""]
    return GlyphSet(
        size=size or own_size,
        fonts=[] if no_fonts else fonts,
        characters=list(characters),
        captions=captions,
        caption_table=table,
        character_of=torch.frombuffer(character_of, dtype=torch.int64),
        font_of=torch.full((len(font_of),), -1) if no_fonts else torch.frombuffer(font_of, dtype=torch.int64),
        pixels=pictures,
        identity=identity.hexdigest(),
        moments=moments if same else None,
    )
