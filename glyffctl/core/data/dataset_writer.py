"""Writing a data folder while glyphs are drawn; see `folder` for its format.

Both writers hold at most one shard of pictures: two million glyphs take hardly more memory than twenty thousand.
"""

from __future__ import annotations

import json
import os
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from PIL import Image
from safetensors.numpy import save

from glyffctl.core.data.caption_table import caption_table, captions_digest
from glyffctl.core.data.character import Character, Font
from glyffctl.core.data.dataset import pixel_moments
from glyffctl.core.data.manifest import (
    CHARACTERS,
    GLYPHS_FORMAT,
    IMAGEFOLDER_FORMAT,
    MANIFEST,
    VERSION,
    add_digest,
    checksum,
)
from glyffctl.core.data.shards import head_digest

SHARD_ROWS = 8192
SHARD_BYTES = 1 << 26  # 4096 pictures of 128×128; writing copies a shard twice
Format = Literal["glyphs", "imagefolder"]
Picture = np.ndarray[Any, np.dtype[np.uint8]]


class _Glyph(NamedTuple):
    character: Character
    character_row: int
    font: Font
    font_row: int
    picture: Picture


class Writer(ABC):
    """Writes glyphs one by one into `folder`; `finish` writes the tables and, last, the manifest.

    Attributes:
        characters, fonts: those that were added, with their rows.
        count: of the glyphs that were added.
    """

    format: ClassVar[str]

    def __init__(self, folder: Path, size: int) -> None:
        self.folder, self.size = folder, size
        self.characters: dict[Character, int] = {}
        self.fonts: dict[Font, int] = {}
        self.count = 0
        self.histogram = np.zeros(256, dtype=np.int64)

    def add(self, character: Character, font: Font, picture: Picture) -> None:
        """Add one glyph: `picture` is (size, size) uint8, 255 is paper."""
        character_row = self.characters.setdefault(character, len(self.characters))
        font_row = self.fonts.setdefault(font, len(self.fonts))
        self.histogram += np.bincount(picture.ravel(), minlength=256)
        self.count += 1
        self._store(_Glyph(character, character_row, font, font_row, picture))

    def finish(self, notes: Mapping[str, Any]) -> dict[str, Any]:
        """Write all that is pending and the manifest, with `notes` (options, omissions) in it; return the manifest."""
        tables = self._close()
        captions, _ = caption_table(self.characters)
        mean, std = pixel_moments(self.histogram.tolist())
        manifest: dict[str, Any] = {
            "format": self.format,
            "version": VERSION,
            "size": self.size,
            "count": self.count,
            "fonts": [font._asdict() for font in self.fonts],
            "captions_sha256": captions_digest(captions),
            "mean": mean,
            "std": std,
            **notes,
            **tables,
        }
        text = json.dumps(manifest, ensure_ascii=False, indent=2).removesuffix("\n}")
        write(self.folder / MANIFEST, add_digest(text.encode()))
        return manifest

    @abstractmethod
    def _store(self, glyph: _Glyph) -> None: ...

    @abstractmethod
    def _close(self) -> dict[str, Any]:
        """Write the tables; return their entries of the manifest."""


class GlyphWriter(Writer):
    """Writes safetensors shards and characters.jsonl."""

    format = GLYPHS_FORMAT

    def __init__(self, folder: Path, size: int) -> None:
        super().__init__(folder, size)
        rows = max(1, min(SHARD_ROWS, SHARD_BYTES // size**2))
        self._images = np.empty((rows, size, size), dtype=np.uint8)
        self._character: list[int] = []
        self._font: list[int] = []
        self._shards: list[dict[str, Any]] = []

    def _store(self, glyph: _Glyph) -> None:
        self._images[len(self._character)] = glyph.picture
        self._character.append(glyph.character_row)
        self._font.append(glyph.font_row)
        if len(self._character) == len(self._images):
            self._flush()

    def _flush(self) -> None:
        count = len(self._character)
        images = self._images[:count]
        name = f"glyphs-{len(self._shards):05}.safetensors"
        tensors = {
            "images": images,
            "character": np.array(self._character, dtype=np.int32),
            "font": np.array(self._font, dtype=np.int16),
            "sums": np.array([zlib.crc32(image) for image in images], dtype=np.int64),
        }
        write(self.folder / name, save(tensors))  # puts the pictures last: the tensor of the smallest type
        digest = head_digest(self.folder / name, images.nbytes)
        self._shards.append({"file": name, "count": count, "blake2b": digest})
        self._character.clear()
        self._font.clear()

    def _close(self) -> dict[str, Any]:
        if self._character:
            self._flush()
        write_rows(self.folder / CHARACTERS, (_character_fields(character) for character in self.characters))
        digest = checksum((self.folder / CHARACTERS).read_bytes())
        return {"characters_blake2b": digest, "shards": self._shards}


class PictureWriter(Writer):
    """Writes PNG files and metadata.jsonl, for `datasets.load_dataset("imagefolder", …)`."""

    format = IMAGEFOLDER_FORMAT

    def __init__(self, folder: Path, size: int) -> None:
        super().__init__(folder, size)
        self._rows: list[dict[str, Any]] = []
        (folder / "images").mkdir()

    def _store(self, glyph: _Glyph) -> None:
        fields = _character_fields(glyph.character)
        file_name = f"images/{fields['codepoint'][2:]}-{glyph.font_row}.png"
        Image.fromarray(glyph.picture).save(self.folder / file_name)
        text = fields.pop("definition")
        self._rows.append({"file_name": file_name, "text": text, "font": glyph.font.name, **fields})
        if len(self._rows) == SHARD_ROWS:
            self._flush()

    def _flush(self) -> None:
        write_rows(self.folder / "metadata.jsonl", self._rows, "a")
        self._rows.clear()

    def _close(self) -> dict[str, Any]:
        self._flush()
        return {}


def _character_fields(character: Character) -> dict[str, Any]:
    return {**character._asdict(), "codepoint": f"U+{character.codepoint:04X}"}


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]], mode: Literal["w", "a"] = "w") -> None:
    """Write or append JSON lines, and sync the file."""
    with path.open(mode, encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        file.flush()
        os.fsync(file.fileno())


def write(path: Path, data: bytes) -> None:
    """Write and sync a file."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
