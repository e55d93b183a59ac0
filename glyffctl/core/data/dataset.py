"""A set of captioned glyphs: what `prepare` writes and everything after it reads.

A data folder holds

    manifest.json               counts, fonts, options, what was left out, mean and deviation of the pixels, digests
    characters.jsonl            one row per character: codepoint, character, definition, radical, alternate_captions
    glyphs-00000.safetensors …  images (N, size, size) uint8, 255 paper and 0 ink; character (N,) int32, the
                                row in characters.jsonl; font (N,) int16, the row in the manifest's fonts; sums (N,)
                                int64, the CRC-32 of each picture

or pictures with a metadata file, see `imagefolder`. `open_glyphs` reads both.

What was changed after it was written is refused: the manifest ends with a digest of itself and holds those of
characters.jsonl and of each shard up to its pictures, which come last; a picture is held against its sum when it is
read, so that millions need not be read first.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import zlib
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.nn.functional import interpolate

from glyffctl.core.data.imagefolder import (
    Names,
    Pictures,
    metadata_file,
    missing_picture,
    parse_codepoint,
    parse_radical,
    read_metadata,
)
from glyffctl.core.data.places import check_alone, describe_non_data
from glyffctl.core.data.subset import evenly_spaced
from glyffctl.core.errors import DataError
from glyffctl.core.io.atomic import reason
from glyffctl.core.io.names import check_inside
from glyffctl.core.io.reading import LARGEST_RECORD, parse_json, preview, read_bytes, read_json
from glyffctl.core.io.tensors import check_tensors
from glyffctl.core.noise import permutation

MANIFEST = "manifest.json"
CHARACTERS = "characters.jsonl"
GLYPHS_FORMAT = "glyffctl-glyphs"
IMAGEFOLDER_FORMAT = "glyffctl-imagefolder"
VERSION = 2  # 1 had no digests, and is read without
DEFAULT_SIZE = 128


class Character(NamedTuple):
    """What is drawn and what it means. `codepoint` is None in image folders that do not name one."""

    codepoint: int | None
    character: str
    definition: str
    radical: int | None  # 1 to 214, the Kangxi radical
    alternate_captions: tuple[str, ...] = ()  # what else it is called in training, see `alternate_captions`


class Font(NamedTuple):
    """A face glyphs were drawn with: name of the file, index of the face in it, full name of the face."""

    file: str
    face: int
    name: str


class CaptionTable(NamedTuple):
    """Which captions each of C characters has: rows[starts[c]:starts[c + 1]], its definition first."""

    rows: Tensor  # (M,) int64
    starts: Tensor  # (C + 1,) int64

    def pick(self, character: Tensor, share: Tensor) -> Tensor:
        """(B,) one caption of each `character` (B,), all equally likely if `share` (B,) is uniform in [0, 1)."""
        start = self.starts[character]
        count = self.starts[character + 1] - start
        return self.rows[start + (share * count).long().clamp(max=count - 1)]


class Survey(NamedTuple):
    """What a look at pictures has shown."""

    mean: float
    """Of the pixels in [-1, 1]."""
    std: float
    looked_at: int
    """Pictures."""
    blank: int
    """Of one grey all over, as far as an eye can tell."""
    white: int
    """Those of the blank ones that are white."""
    different: int
    """Different ones among those that are not blank."""


_NOTHING = 8  # of 255 greys: less than that between the darkest and the lightest pixel is not seen


@dataclass(frozen=True, eq=False)
class GlyphSet:
    """N glyphs with captions. The pictures stay on disk (memory-mapped) until they are asked for."""

    size: int
    """Height and width of a picture, in pixels."""
    fonts: list[Font]
    characters: list[Character]
    captions: list[str]
    """The distinct captions, in order of first appearance: definitions and alternate captions."""
    caption_table: CaptionTable
    """The rows in `captions` of each character."""
    character_of: Tensor
    """(N,) int64: the row in `characters` of each glyph."""
    font_of: Tensor
    """(N,) int64: the row in `fonts` of each glyph; -1 where the font is not known."""
    pixels: Callable[[Tensor], Tensor]
    """Where the pictures come from: (B,) int64 on the CPU → (B, size, size) uint8."""
    identity: str
    """What `fingerprint` is taken from."""
    moments: tuple[float, float] | None = None
    """Mean and standard deviation of the pixels in [-1, 1], where they are on record."""

    def __len__(self) -> int:
        return len(self.character_of)

    def images(self, index: Tensor) -> Tensor:
        """Pictures (B, 1, size, size) uint8, 255 is paper, of the glyphs `index` (B,) in 0…N-1.

        Raises:
            IndexError: an index outside 0…N-1.
            DataError: a picture file of an image folder cannot be read.
        """
        index = index.cpu()
        if len(index) and not 0 <= int(index.min()) <= int(index.max()) < len(self):
            raise IndexError(f"glyph index outside 0…{len(self) - 1}")
        return self.pixels(index).unsqueeze(1)

    def sample(self, count: int) -> GlyphSet:
        """`count` of the glyphs in their order, drawn at random and always the same; all where there are no more."""
        if len(self) <= count:
            return self
        index = permutation(0, 0, len(self))[:count].sort().values
        return replace(
            self,
            character_of=self.character_of[index],
            font_of=self.font_of[index],
            pixels=lambda rows: self.pixels(index[rows]),
            identity=f"{count} of {self.identity}",
        )

    @property
    def caption_of(self) -> Tensor:
        """(N,) int64: the row in `captions` of the definition of each glyph."""
        return self.caption_table.rows[self.caption_table.starts[self.character_of]]

    def fingerprint(self) -> str:
        """A short name for this data at this size: equal data, equal name. Costs no look at the pictures."""
        return hashlib.sha256(f"{self.size}\n{self.identity}".encode()).hexdigest()[:16]

    @property
    def mean(self) -> float:
        """Mean of the pixels in [-1, 1]; of 16,384 pictures where there are more and it is not on record."""
        return self.moments[0] if self.moments is not None else self.survey.mean

    @property
    def std(self) -> float:
        """Standard deviation of the pixels in [-1, 1]; see `mean`."""
        return self.moments[1] if self.moments is not None else self.survey.std

    @cached_property
    def survey(self) -> Survey:
        """What the pictures look like, all of them or 16,384.

        Raises:
            DataError: a picture file of an image folder cannot be read.
        """
        counts = torch.zeros(256, dtype=torch.int64)
        white = blank = 0
        kinds = set()
        # Evenly spaced where there are more: a few numbers are not worth reading millions of pictures for.
        looked_at = evenly_spaced(torch.arange(len(self)), 1 << 14)
        for index in looked_at.split(256):
            images = self.images(index).flatten(1)
            counts += images.flatten().bincount(minlength=256)
            low, high = images.aminmax(dim=1)
            empty = high.int() - low.int() < _NOTHING
            blank += int(empty.sum())
            white += int((empty & (low > 255 - _NOTHING)).sum())
            kinds |= {hash(image.tobytes()) for image in images[~empty].numpy()}
        return Survey(*pixel_moments(counts.tolist()), len(looked_at), blank, white, len(kinds))


def to_unit(images: Tensor) -> Tensor:
    """uint8 pictures (0 ink, 255 paper) as float32 in [-1, 1]."""
    return images.to(torch.float32) / 127.5 - 1


def to_pixels(x: Tensor) -> Tensor:
    """The inverse of `to_unit`: values are clamped to [-1, 1] and rounded to uint8."""
    return ((x.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def pixel_moments(counts: Sequence[int]) -> tuple[float, float]:
    """Mean and standard deviation in [-1, 1] from how often each pixel value 0…255 occurs."""
    total = sum(counts)
    mean = sum(n * value for value, n in enumerate(counts)) / total
    variance = sum(n * (value - mean) ** 2 for value, n in enumerate(counts)) / total
    return mean / 127.5 - 1, variance**0.5 / 127.5


def captions_digest(captions: Sequence[str]) -> str:
    """sha256 of the distinct captions in their order, as a JSON array: what cached embeddings belong to."""
    return hashlib.sha256(json.dumps(list(captions)).encode()).hexdigest()


def distinct(texts: Sequence[str]) -> tuple[list[str], list[int]]:
    """The distinct texts in order of first appearance, and for each text its row among them."""
    rows: dict[str, int] = {}
    row_of = [rows.setdefault(text, len(rows)) for text in texts]
    return list(rows), row_of


def caption_table(characters: Iterable[Character]) -> tuple[list[str], CaptionTable]:
    """The distinct captions of `characters`, and which of them belong to which."""
    texts = [(character.definition, *character.alternate_captions) for character in characters]
    captions, rows = distinct([text for each in texts for text in each])
    counts = torch.tensor([0, *map(len, texts)])
    return captions, CaptionTable(torch.tensor(rows), counts.cumsum(0))


def open_glyphs(folder: Path, size: int | None = None) -> GlyphSet:
    """Open a data folder of `prepare`, or any image–caption folder.

    `size` asks for pictures of another size than the folder's own: prepared glyphs are resized as they are
    read, pictures of image folders from their originals. Without it, prepared folders keep their size and
    others get 128.

    Raises:
        DataError: no such folder, nothing in it that we know, or a part of it is cut short or inconsistent.
    """
    if not folder.is_dir():
        raise DataError(describe_non_data(folder))
    there = os.path.lexists(folder / MANIFEST)
    manifest = read_manifest(folder) if there else {}
    if manifest.get("format") == GLYPHS_FORMAT:
        return _open_shards(folder, manifest, size)
    metadata = metadata_file(folder)
    if metadata is None and not there:
        raise DataError(describe_non_data(folder))
    if metadata is None:
        raise DataError(f"{folder} has lost its metadata.jsonl; {_AGAIN}")
    return _open_imagefolder(folder, metadata, manifest, size)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a folder that `prepare` made.

    Raises:
        DataError: it is not ours, of another version, or broken.
    """
    path = folder / MANIFEST
    try:
        manifest = read_json(path, DataError)
    except DataError as error:
        raise DataError(f"{error}; remove {folder} and run `glyffctl prepare` again") from error
    if manifest.get("format") not in (GLYPHS_FORMAT, IMAGEFOLDER_FORMAT):
        raise DataError(f"{path} is not a manifest of glyffctl; name a folder that `glyffctl prepare` made")
    if manifest.get("version") not in (1, VERSION):
        raise DataError(
            f"{path} has version {preview(manifest.get('version'))}, this program reads version {VERSION}; {_AGAIN}"
        )
    text = path.read_bytes()
    if text != seal(text.partition(SEAL)[0]) and (manifest["version"] == VERSION or SEAL in text):
        raise DataError(f"{path} was changed after `prepare` wrote it; {_AGAIN}")
    return manifest


_AGAIN = "run `glyffctl prepare --overwrite`"
SEAL = b',\n  "blake2b": "'


def seal(text: bytes) -> bytes:
    """A manifest, as indented JSON without its last bracket, with a digest of itself as last entry."""
    return text + SEAL + checksum(text).encode() + b'"\n}\n'


def checksum(raw: bytes) -> str:
    """A digest of bytes, for the manifest."""
    return hashlib.blake2b(raw, digest_size=16).hexdigest()


def _open_shards(folder: Path, manifest: dict[str, Any], size: int | None) -> GlyphSet:
    try:
        own_size = int(manifest["size"])
        fonts = [Font(font["file"], font["face"], font["name"]) for font in manifest["fonts"]]
        shards = [
            _open_shard(_inside(folder, shard["file"]), int(shard["count"]), own_size, shard.get("blake2b"))
            for shard in manifest["shards"]
        ]
        moments = float(manifest["mean"]), float(manifest["std"])
        digest = manifest["captions_sha256"]
    except _STRANGE as error:
        raise DataError(f"{folder / MANIFEST} is incomplete ({preview(error)}); {_AGAIN}") from error
    if not shards:
        raise DataError(f"{folder} holds no glyphs; {_AGAIN}")
    characters = _read_characters(folder / CHARACTERS, manifest.get("characters_blake2b"))
    character_of = torch.cat([shard.character for shard in shards])
    font_of = torch.cat([shard.font for shard in shards])
    if not _within(character_of, len(characters)) or not _within(font_of, len(fonts)):
        raise DataError(f"{folder} names a character or font it does not hold; {_AGAIN}")
    captions, table = caption_table(characters)
    if captions_digest(captions) != digest:
        raise DataError(f"{folder / CHARACTERS} {_CHANGED}")
    pixels: Callable[[Tensor], Tensor] = _Shards(shards)
    return GlyphSet(
        size=size or own_size,
        fonts=fonts,
        characters=characters,
        captions=captions,
        caption_table=table,
        character_of=character_of,
        font_of=font_of,
        pixels=pixels if size in (None, own_size) else _Resized(pixels, size),
        identity=json.dumps(manifest, sort_keys=True),
        moments=moments if size in (None, own_size) else None,
    )


_STRANGE = (KeyError, TypeError, ValueError, OverflowError, AttributeError)
"""What values of another kind than expected raise; only manifests of version 1 can have some."""
_HELD = 256  # pictures read before their pages are given back: the system maps up to 2 MB with each
_LONGEST_HEAD = 1 << 24  # bytes; of 8192 pictures it has 115,000
_CHANGED = "was changed after `prepare`; give your definitions with `glyffctl prepare --definitions FILE` instead"


def _inside(folder: Path, name: str) -> Path:
    check_inside(name, folder / MANIFEST, DataError)
    return folder / name


class _Shard(NamedTuple):
    path: Path
    images: Tensor
    pages: mmap.mmap
    """What `images` lie in."""
    character: Tensor
    font: Tensor
    sums: Tensor | None


def _open_shard(path: Path, count: int, size: int, digest: str | None) -> _Shard:
    try:
        check_tensors(path, DataError)
    except DataError as error:
        raise DataError(f"{error}; {_AGAIN}") from error
    try:
        if digest is not None and head_digest(path, count * size**2) != digest:
            raise DataError(f"{path} was changed after `prepare` wrote it; {_AGAIN}")
        # safetensors checks the length of the file against its header.
        with safe_open(path, framework="pt") as file:
            images, character, font = (file.get_tensor(name) for name in ("images", "character", "font"))
            sums = file.get_tensor("sums") if digest is not None else None
        # Mapped once more, since only a mapping of our own can be told to forget.
        with path.open("rb") as opened:
            pages = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_COPY)
    except OSError as error:
        raise DataError(f"cannot read {path}: {reason(error)}; {_AGAIN}") from error
    except SafetensorError as error:
        raise DataError(f"cannot read {path}: {str(error)[:200]}; {_AGAIN}") from error
    shapes = [tuple(tensor.shape) for tensor in (images, character, font)]
    if images.dtype != torch.uint8 or shapes != [(count, size, size), (count,), (count,)]:
        raise DataError(f"{path} does not hold {count} glyphs of {size}×{size}; {_AGAIN}")
    images = torch.frombuffer(pages, dtype=torch.uint8, offset=len(pages) - images.numel()).view(images.shape)
    return _Shard(path, images, pages, character.long(), font.long(), None if sums is None else sums.clone())


def head_digest(path: Path, pictures: int) -> str:
    """BLAKE2b of a shard up to its pictures, which take the last `pictures` bytes."""
    with path.open("rb") as file:
        head = file.read(min(max(0, path.stat().st_size - pictures), _LONGEST_HEAD))
    return checksum(head)


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
                tuple(map(str, row.get("alternate_captions", ()))),
            )
            for row in rows
        ]
    except _STRANGE as error:
        raise DataError(f"cannot read {path}: {preview(error)}; {_AGAIN}") from error


class _Shards:
    """Pictures of several memory-mapped shards (n_i, size, size) as if they were one, each held against its sum."""

    def __init__(self, shards: list[_Shard]) -> None:
        self.shards = shards
        self.read = 0
        self.ends = torch.tensor([len(shard.images) for shard in shards]).cumsum(0)

    def __call__(self, index: Tensor) -> Tensor:
        images = torch.empty((len(index), *self.shards[0].images.shape[1:]), dtype=torch.uint8)
        shard_of = torch.bucketize(index, self.ends, right=True)
        for i in sorted(set(shard_of.tolist())):
            here, shard = shard_of == i, self.shards[i]
            rows = index[here] - (self.ends[i] - len(shard.images))
            images[here] = shard.images[rows]
            _check_sums(shard, rows, images[here])
        self.read += len(index)
        if self.read >= _HELD:
            # With each picture the system maps what is around it, and holds all of it for as long as there is room.
            # Given back, it stays in the system's cache, but is no longer counted as memory of this process.
            for shard in self.shards:
                shard.pages.madvise(mmap.MADV_DONTNEED)
            self.read = 0
        return images


def _check_sums(shard: _Shard, rows: Tensor, images: Tensor) -> None:
    if shard.sums is None:
        return
    for row, written, image in zip(rows.tolist(), shard.sums[rows].tolist(), images.numpy(), strict=True):
        if zlib.crc32(image) != written:
            raise DataError(f"{shard.path} is damaged: picture {row} is not what `prepare` wrote; {_AGAIN}")


class _Resized:
    def __init__(self, pixels: Callable[[Tensor], Tensor], size: int) -> None:
        self.pixels, self.size = pixels, size

    def __call__(self, index: Tensor) -> Tensor:
        images = self.pixels(index).unsqueeze(1).float()
        images = interpolate(images, (self.size, self.size), mode="bilinear", antialias=True)
        return images.round().clamp(0, 255).to(torch.uint8).squeeze(1)


def _open_imagefolder(folder: Path, metadata: Path, manifest: dict[str, Any], size: int | None) -> GlyphSet:
    # No row is kept, and numbers in arrays: millions of Python's objects would take gigabytes.
    characters: dict[Character, int] = {}
    font_names: dict[str, int] = {}
    files, character_of, font_of = Names(), array("q"), array("q")
    identity = hashlib.sha256()
    check_alone(metadata)
    for row in read_metadata(metadata):
        try:
            length = (folder / row.file_name).stat().st_size
        except (OSError, ValueError) as error:
            raise missing_picture(metadata, row.file_name, error) from error
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
    except _STRANGE as error:
        raise DataError(f"{folder / MANIFEST} is incomplete ({preview(error)}); {_AGAIN}") from error
    fonts = [known.get(name, Font("", 0, name)) for name in font_names]
    pictures = Pictures(folder, files, size or own_size)
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
