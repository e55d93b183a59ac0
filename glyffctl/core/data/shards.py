"""Shards of glyphs: safetensors files whose pictures are memory-mapped and checked when they are read."""

from __future__ import annotations

import mmap
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.nn.functional import interpolate

from glyffctl.core.data.manifest import PREPARE_AGAIN, checksum
from glyffctl.core.errors import DataError
from glyffctl.core.io.atomic import reason
from glyffctl.core.io.tensor_files import check_tensors

_RELEASE_EVERY = 256  # pictures read before their pages are released: the system maps up to 2 MB with each
_LONGEST_HEAD = 1 << 24  # bytes before the pictures; of 8192 pictures it has 115,000


class Shard(NamedTuple):
    """One shard, memory-mapped."""

    path: Path
    images: Tensor
    pages: mmap.mmap
    """The mapping that holds `images`."""
    character: Tensor
    font: Tensor
    sums: Tensor | None


def open_shard(path: Path, count: int, size: int, digest: str | None) -> Shard:
    """Map a shard of `count` pictures of `size`×`size`, and check all but the pictures against `digest`.

    Raises:
        DataError: it is missing, cut short, changed, or of another shape.
    """
    try:
        check_tensors(path, DataError)
    except DataError as error:
        raise DataError(f"{error}; {PREPARE_AGAIN}") from error
    try:
        if digest is not None and head_digest(path, count * size**2) != digest:
            raise DataError(f"{path} was changed after `prepare` wrote it; {PREPARE_AGAIN}")
        # safetensors checks the length of the file against its header.
        with safe_open(path, framework="pt") as file:
            images, character, font = (file.get_tensor(name) for name in ("images", "character", "font"))
            sums = file.get_tensor("sums") if digest is not None else None
        # Mapped once more, since madvise needs a mapping of our own.
        with path.open("rb") as opened:
            pages = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_COPY)
    except OSError as error:
        raise DataError(f"cannot read {path}: {reason(error)}; {PREPARE_AGAIN}") from error
    except SafetensorError as error:
        raise DataError(f"cannot read {path}: {str(error)[:200]}; {PREPARE_AGAIN}") from error
    shapes = [tuple(tensor.shape) for tensor in (images, character, font)]
    if images.dtype != torch.uint8 or shapes != [(count, size, size), (count,), (count,)]:
        raise DataError(f"{path} does not hold {count} glyphs of {size}×{size}; {PREPARE_AGAIN}")
    images = torch.frombuffer(pages, dtype=torch.uint8, offset=len(pages) - images.numel()).view(images.shape)
    return Shard(path, images, pages, character.long(), font.long(), None if sums is None else sums.clone())


def head_digest(path: Path, pictures: int) -> str:
    """BLAKE2b of a shard up to its pictures, which are its last `pictures` bytes."""
    with path.open("rb") as file:
        head = file.read(min(max(0, path.stat().st_size - pictures), _LONGEST_HEAD))
    return checksum(head)


class ShardReader:
    """Reads pictures of several shards (n_i, size, size) by one index, and checks each against its CRC-32."""

    def __init__(self, shards: list[Shard]) -> None:
        self.shards = shards
        self._read = 0
        self.ends = torch.tensor([len(shard.images) for shard in shards]).cumsum(0)

    def __call__(self, index: Tensor) -> Tensor:
        """Pictures (B, size, size) uint8 of the rows `index` (B,)."""
        images = torch.empty((len(index), *self.shards[0].images.shape[1:]), dtype=torch.uint8)
        shard_of = torch.bucketize(index, self.ends, right=True)
        for i in sorted(set(shard_of.tolist())):
            here, shard = shard_of == i, self.shards[i]
            rows = index[here] - (self.ends[i] - len(shard.images))
            images[here] = shard.images[rows]
            _check_sums(shard, rows, images[here])
        self._read += len(index)
        if self._read >= _RELEASE_EVERY:
            # With each picture the system maps its surroundings, and keeps them mapped while there is room. Released
            # pages stay in the system's cache, but no longer count as memory of this process.
            for shard in self.shards:
                shard.pages.madvise(mmap.MADV_DONTNEED)
            self._read = 0
        return images


def _check_sums(shard: Shard, rows: Tensor, images: Tensor) -> None:
    if shard.sums is None:
        return
    for row, written, image in zip(rows.tolist(), shard.sums[rows].tolist(), images.numpy(), strict=True):
        if zlib.crc32(image) != written:
            raise DataError(f"{shard.path} is damaged: picture {row} is not what `prepare` wrote; {PREPARE_AGAIN}")


class ResizedReader:
    """Reads pictures and resizes them to `size`×`size`, bilinear with antialiasing."""

    def __init__(self, pixels: Callable[[Tensor], Tensor], size: int) -> None:
        self.pixels, self.size = pixels, size

    def __call__(self, index: Tensor) -> Tensor:
        """Pictures (B, size, size) uint8 of the rows `index` (B,)."""
        images = self.pixels(index).unsqueeze(1).float()
        images = interpolate(images, (self.size, self.size), mode="bilinear", antialias=True)
        return images.round().clamp(0, 255).to(torch.uint8).squeeze(1)
