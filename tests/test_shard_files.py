"""Pictures that several processes write into shards: the same bytes as from one, whatever turns out to be blank."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from glyffctl.core.data import dataset_writer
from glyffctl.core.data.character import Character, Font
from glyffctl.core.data.dataset_writer import GlyphWriter, PictureWriter, Writer
from glyffctl.core.data.shard_files import TABLES, ShardFiles

SIZE = 12
FONTS = [Font("a.ttc", 2, "A SC"), Font("b.ttf", 0, "B")]


def pictures(count: int) -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
    return np.random.default_rng(count).integers(0, 256, (count, SIZE, SIZE), dtype=np.uint8)


def character(number: int) -> Character:
    return Character(0x4E00 + number, chr(0x4E00 + number), f"meaning {number % 5}", None, ("other",))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("count", [1, 9, 10, 123])
def test_a_shard_is_what_safetensors_writes(tmp_path: Path, count: int) -> None:
    files = ShardFiles(tmp_path, SIZE, 200, count)
    images = pictures(count)
    for start in range(0, count, 4):
        files.write(start, images[start : start + 4])
    tables = {name: np.arange(count, dtype=kind) for name, kind in TABLES.items()}
    head = files.finish(0, tables, count)
    written = files.path(0).read_bytes()
    assert written == save({**tables, "images": images}) and written.startswith(head)
    assert len(written) == len(head) + images.nbytes


def one_by_one(folder: Path, kind: type[Writer], drawn: list[tuple[int, Font, int]], images: np.ndarray) -> None:
    folder.mkdir()
    writer = kind(folder, SIZE)
    for number, font, row in drawn:
        writer.add(character(number), font, images[row])
    writer.finish({"left_out": {}})


# 23 in all; blank ones: none, the first, some, whole batches, so many that shards are not needed.
BLANK = [set(), {0}, {5, 6, 22}, {*range(4, 8), 13}, {*range(9, 23)}, {*range(1, 23)}]


@pytest.mark.parametrize("kind", [GlyphWriter, PictureWriter])
@pytest.mark.parametrize("blank", BLANK)
def test_batches_written_ahead_give_the_bytes_of_glyphs_written_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Writer], blank: set[int]
) -> None:
    """All pictures are in their places before the first batch is added; then some turn out to be blank."""
    monkeypatch.setattr(dataset_writer, "SHARD_ROWS", 10)
    images = pictures(23)
    drawn = [(row % 15, FONTS[row // 15], row) for row in range(23) if row not in blank]
    one_by_one(tmp_path / "one", kind, drawn, images)

    (tmp_path / "batches").mkdir()
    writer = kind(tmp_path / "batches", SIZE, 23)
    batches = [
        [*range(start, min(start + 4, stop))] for first, stop in ((0, 15), (15, 23)) for start in range(first, stop, 4)
    ]
    left = [[row for row in batch if row not in blank] for batch in batches]
    kept = [writer.keep(batch[0], images[some]) for batch, some in zip(batches, left, strict=True)]
    for some, each in zip(left, kept, strict=True):
        sums = [zlib.crc32(images[row]) for row in some]
        writer.add_kept([character(row % 15) for row in some], FONTS[some[0] // 15] if some else FONTS[0], sums, each)
    writer.finish({"left_out": {}})
    assert contents(tmp_path / "batches") == contents(tmp_path / "one")
