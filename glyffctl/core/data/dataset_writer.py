"""Writing a data folder while glyphs are drawn; see `folder` for its format.

A writer takes pictures in two steps. `keep` stores or encodes those of many glyphs, in any process; `add_kept` adds
them, in their order. Neither holds pictures: two million glyphs take hardly more memory than twenty thousand.
"""

from __future__ import annotations

import io
import json
import os
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from PIL import Image

from glyffctl.core.data.caption_table import captions_digest, captions_of, distinct
from glyffctl.core.data.character import Character, Font
from glyffctl.core.data.manifest import (
    CHARACTERS,
    GLYPHS_FORMAT,
    IMAGEFOLDER_FORMAT,
    MANIFEST,
    VERSION,
    add_digest,
    checksum,
)
from glyffctl.core.data.moments import pixel_moments
from glyffctl.core.data.shard_files import TABLES, Picture, ShardFiles

SHARD_ROWS = 8192
SHARD_BYTES = 1 << 26  # 4096 pictures of 128×128
Format = Literal["glyphs", "imagefolder"]


class Kept(NamedTuple):
    """What `keep` of a writer returns for a batch of pictures."""

    row: int
    """The row at which the first of them was expected."""
    histogram: list[int]
    """How often each grey 0…255 occurs in them."""
    files: tuple[bytes, ...] = ()
    """Each as a PNG file, where they become files."""


def keep_in_shards(files: ShardFiles, row: int, pictures: Picture) -> Kept:
    """Write pictures (B, size, size) uint8 into shards, from `row` on."""
    files.write(row, pictures)
    return Kept(row, _histogram(pictures))


def keep_as_files(row: int, pictures: Picture) -> Kept:
    """Encode pictures (B, size, size) uint8 as PNG files."""
    return Kept(row, _histogram(pictures), tuple(map(_png, pictures)))


def _histogram(pictures: Picture) -> list[int]:
    """How often each grey 0…255 occurs in pictures (B, size, size)."""
    if not len(pictures):
        return [0] * 256
    return Image.fromarray(pictures.reshape(-1, pictures.shape[-1])).histogram()


def _png(picture: Picture) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "png")
    return file.getvalue()


class Writer(ABC):
    """Writes glyphs into `folder`; `finish` writes the tables and, last, the manifest.

    Args:
        folder: to write into.
        size: of the pictures, in pixels.
        expected: glyphs in all, if that is known.

    Attributes:
        characters, fonts: those that were added, with their rows.
        count: of the glyphs that were added.
        keep: takes a row and pictures (B, size, size) uint8, in any process, for `add_kept`.
    """

    format: ClassVar[str]
    keep: Callable[[int, Picture], Kept]

    def __init__(self, folder: Path, size: int, expected: int | None = None) -> None:  # noqa: ARG002
        self.folder, self.size = folder, size
        self.characters: dict[Character, int] = {}
        self.fonts: dict[Font, int] = {}
        self.count = 0
        self.histogram = np.zeros(256, dtype=np.int64)

    def add(self, character: Character, font: Font, picture: Picture) -> None:
        """Add one glyph: `picture` is (size, size) uint8, 255 is paper."""
        kept = self.keep(self.count, picture[None])
        self.add_kept([character], font, [zlib.crc32(np.ascontiguousarray(picture).data)], kept)

    def add_kept(self, characters: Sequence[Character], font: Font, sums: Sequence[int], kept: Kept) -> None:
        """Add the glyphs of a font whose pictures `keep` took.

        Args:
            characters: of the glyphs, in the order of the pictures.
            font: of all.
            sums: the CRC-32 of each picture.
            kept: what `keep` returned. Batches are added in the order of their rows, and no row is given twice.
        """
        if not characters:
            return
        rows = [self.characters.setdefault(character, len(self.characters)) for character in characters]
        font_row = self.fonts.setdefault(font, len(self.fonts))
        self.histogram += kept.histogram
        self._store(characters, rows, font, font_row, sums, kept)
        self.count += len(characters)

    def finish(self, notes: Mapping[str, Any]) -> dict[str, Any]:
        """Write all that is pending and the manifest, with `notes` (options, omissions) in it; return the manifest."""
        tables = self._close()
        captions, _ = distinct([text for character in self.characters for text in captions_of(character)])
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
    def _store(
        self,
        characters: Sequence[Character],
        rows: list[int],
        font: Font,
        font_row: int,
        sums: Sequence[int],
        kept: Kept,
    ) -> None: ...

    @abstractmethod
    def _close(self) -> dict[str, Any]:
        """Write the tables; return their entries of the manifest."""


class GlyphWriter(Writer):
    """Writes safetensors shards and characters.jsonl."""

    format = GLYPHS_FORMAT

    def __init__(self, folder: Path, size: int, expected: int | None = None) -> None:
        super().__init__(folder, size)
        self._files = ShardFiles(folder, size, max(1, min(SHARD_ROWS, SHARD_BYTES // size**2)), expected)
        self.keep = partial(keep_in_shards, self._files)
        self._tables: dict[str, list[int]] = {name: [] for name in TABLES}
        self._shards: list[dict[str, Any]] = []
        self._lines: list[str] = []
        self._syncing: list[Future[None]] = []
        self._syncer = ThreadPoolExecutor(1)  # the disk works while further glyphs are drawn

    def _store(
        self,
        characters: Sequence[Character],
        rows: list[int],
        font: Font,  # noqa: ARG002
        font_row: int,
        sums: Sequence[int],
        kept: Kept,
    ) -> None:
        if kept.row != self.count:  # glyphs before these turned out to be blank
            self._files.write(self.count, self._files.read(kept.row, len(rows)))
        for character, row in zip(characters, rows, strict=True):
            if row == len(self._lines):
                self._lines.append(_json_line(_character_fields(character)))
        added = {"sums": sums, "character": rows, "font": [font_row] * len(rows)}
        for name, values in added.items():
            self._tables[name].extend(values)
        while len(self._tables["font"]) >= self._files.rows:
            self._finish_shard()

    def _finish_shard(self) -> None:
        number, count = len(self._shards), min(self._files.rows, len(self._tables["font"]))
        tables = {name: np.array(self._tables[name][:count], dtype=kind) for name, kind in TABLES.items()}
        for table in self._tables.values():
            del table[:count]
        digest = checksum(self._files.finish(number, tables, count))
        self._syncing.append(self._syncer.submit(_sync, self._files.path(number)))
        self._shards.append({"file": self._files.path(number).name, "count": count, "blake2b": digest})

    def _close(self) -> dict[str, Any]:
        if self._tables["font"]:
            self._finish_shard()
        self._files.remove_from(len(self._shards))
        text = "".join(self._lines).encode()
        write(self.folder / CHARACTERS, text)
        for syncing in self._syncing:
            syncing.result()
        self._syncer.shutdown()
        return {"characters_blake2b": checksum(text), "shards": self._shards}


class PictureWriter(Writer):
    """Writes PNG files and metadata.jsonl, for `datasets.load_dataset("imagefolder", …)`."""

    format = IMAGEFOLDER_FORMAT
    keep = staticmethod(keep_as_files)

    def __init__(self, folder: Path, size: int, expected: int | None = None) -> None:
        super().__init__(folder, size, expected)
        self._rows: list[dict[str, Any]] = []
        (folder / "images").mkdir()

    def _store(
        self,
        characters: Sequence[Character],
        rows: list[int],  # noqa: ARG002
        font: Font,
        font_row: int,
        sums: Sequence[int],  # noqa: ARG002
        kept: Kept,
    ) -> None:
        for character, file in zip(characters, kept.files, strict=True):
            fields = _character_fields(character)
            file_name = f"images/{fields['codepoint'][2:]}-{font_row}.png"
            (self.folder / file_name).write_bytes(file)
            text = fields.pop("definition")
            self._rows.append({"file_name": file_name, "text": text, "font": font.name, **fields})
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


def _json_line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]], mode: Literal["w", "a"] = "w") -> None:
    """Write or append JSON lines, and sync the file."""
    with path.open(mode, encoding="utf-8") as file:
        file.writelines(map(_json_line, rows))
        file.flush()
        os.fsync(file.fileno())


def write(path: Path, data: bytes) -> None:
    """Write and sync a file."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
