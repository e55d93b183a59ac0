"""Where the pictures of shards go: several processes write into the same files, each at its own place.

A shard is a safetensors file with four tensors; that of the pictures is the last, behind a head whose length depends
only on the number of pictures. So a picture's place follows from its row, and its bytes never pass through the process
that writes the heads.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

Picture = np.ndarray[Any, np.dtype[np.uint8]]

_DTYPES = {"int64": "I64", "int32": "I32", "int16": "I16"}


@dataclass(frozen=True)
class ShardFiles:
    """The files of the shards of one data folder; small, so that it can be sent to other processes.

    Attributes:
        folder: that holds them.
        size: of the pictures, in pixels.
        rows: pictures of a full shard.
        expected: pictures in all, from which the length of the last shard follows; None if it is not known. If there
            are fewer in the end, only the last shard's pictures have to be moved.
    """

    folder: Path
    size: int
    rows: int
    expected: int | None = None

    def path(self, shard: int) -> Path:
        """The file of a shard."""
        return self.folder / f"glyphs-{shard:05}.safetensors"

    def write(self, row: int, pictures: Picture) -> None:
        """Write pictures (B, size, size) uint8 from `row` on.

        Raises:
            OSError: the disk is full, or cannot be written.
        """
        for path, place, part in self._pieces(row, len(pictures)):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
            try:
                _write_at(descriptor, np.ascontiguousarray(pictures[part]).data.cast("B"), place)
            finally:
                os.close(descriptor)

    def read(self, row: int, count: int) -> Picture:
        """Pictures (count, size, size) uint8 that were written from `row` on."""
        pictures = np.empty((count, self.size, self.size), dtype=np.uint8)
        for path, place, part in self._pieces(row, count):
            with path.open("rb") as file:
                file.seek(place)
                file.readinto(pictures[part].data.cast("B"))
        return pictures

    def finish(self, shard: int, tables: Mapping[str, np.ndarray[Any, Any]], count: int) -> bytes:
        """Write the head of a shard, and cut off what lies behind its pictures.

        Args:
            shard: its number.
            tables: its other tensors by name, integers (count,), in the order of safetensors: largest type first.
            count: of its pictures.

        Returns:
            The head, which is all but the pictures.

        Raises:
            OSError: the disk is full, or cannot be written.
        """
        head = _head(tables, (count, self.size, self.size))
        pictures = self.read(shard * self.rows, count) if len(head) != self._place(shard) else None
        descriptor = os.open(self.path(shard), os.O_WRONLY)
        try:
            if pictures is not None:
                _write_at(descriptor, pictures.data.cast("B"), len(head))
            _write_at(descriptor, memoryview(head), 0)
            os.ftruncate(descriptor, len(head) + count * self.size**2)
        finally:
            os.close(descriptor)
        return head

    def remove_from(self, shard: int) -> None:
        """Remove the files of this shard and later ones, which fewer pictures than expected do not need."""
        while self.path(shard).exists():
            self.path(shard).unlink()
            shard += 1

    def _pieces(self, row: int, count: int) -> Iterator[tuple[Path, int, slice]]:
        """For each shard with some of `count` rows: its file, their offset in it, and which of the rows they are."""
        done = 0
        while done < count:
            shard, first = divmod(row + done, self.rows)
            here = min(count - done, self.rows - first)
            yield self.path(shard), self._place(shard) + first * self.size**2, slice(done, done + here)
            done += here

    def _place(self, shard: int) -> int:
        """The offset of a shard's pictures in its file."""
        left = self.rows if self.expected is None else self.expected - shard * self.rows
        count = min(left, self.rows) if left > 0 else self.rows
        return _head_length(count, self.size)


TABLES: dict[str, type[np.signedinteger[Any]]] = {"sums": np.int64, "character": np.int32, "font": np.int16}
"""The tensors of a shard beside its pictures."""


def _head(tables: Mapping[str, np.ndarray[Any, Any]], pictures: tuple[int, int, int]) -> bytes:
    """A safetensors file up to its last tensor, the pictures: the same bytes as safetensors writes."""
    fields: dict[str, Any] = {}
    place = 0
    for name, table in tables.items():
        fields[name] = _field(_DTYPES[table.dtype.name], table.shape, place, place + table.nbytes)
        place += table.nbytes
    fields["images"] = _field("U8", pictures, place, place + pictures[0] * pictures[1] * pictures[2])
    text = json.dumps(fields, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + b"".join(table.tobytes() for table in tables.values())


@lru_cache(maxsize=4)
def _head_length(count: int, size: int) -> int:
    return len(_head({name: np.zeros(count, kind) for name, kind in TABLES.items()}, (count, size, size)))


def _field(dtype: str, shape: tuple[int, ...], start: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


def _write_at(descriptor: int, data: memoryview, place: int) -> None:
    while data:  # the system may write less than all, as on a disk that is nearly full
        written = os.pwrite(descriptor, data, place)
        data, place = data[written:], place + written
