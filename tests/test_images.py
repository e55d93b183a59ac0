"""Pictures on disk: sheets, PNGs that remember, animations."""

import json
import math
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageSequence

from glyffctl.core.errors import GlyffError, OutputError, UsageError
from glyffctl.core.io.images import near_square, read_settings, save_gif, save_png, sheet, split_sheet
from tests.conftest import least_seconds

SETTINGS = {"prompts": ["鋰 “naïve”\n🜍\u0000"], "seed": 2**60, "recipe": {"interval": [0.1, None]}, "guidance": 4.0}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@pytest.mark.parametrize(
    ("count", "columns"), [(1, 1), (2, 2), (3, 3), (4, 2), (6, 3), (7, 3), (12, 4), (16, 4), (20, 5), (32, 8), (64, 8)]
)
def test_near_square_of_known_counts(count: int, columns: int) -> None:
    assert near_square(count) == columns


@pytest.mark.parametrize("count", [*range(1, 101), 9_999, 10_000])
def test_near_square(count: int) -> None:
    columns = near_square(count)
    rows = -(-count // columns)
    assert 1 <= columns <= count
    assert rows <= columns <= 4 * rows  # never higher than wide, never a ribbon
    if rows * columns != count:  # a ragged row only where no whole number of rows comes near
        assert not [c for c in range(1, count + 1) if count % c == 0 and count // c <= c <= 4 * (count // c)]
        assert columns - 1 < math.sqrt(count) <= columns


def test_sheet_places_pictures_in_rows() -> None:
    pictures = torch.arange(1, 8, dtype=torch.uint8)[:, None, None].expand(7, 6, 5) * 10  # 6 high, 5 wide
    image = sheet(pictures, columns=3, gap=2)
    assert (image.mode, image.size) == ("L", (3 * (5 + 2) + 2, 3 * (6 + 2) + 2))
    pixels = np.asarray(image)
    paper = np.full_like(pixels, 255)
    for k in range(7):
        left, top = 2 + k % 3 * 7, 2 + k // 3 * 8
        paper[top : top + 6, left : left + 5] = 10 * (k + 1)
    assert np.array_equal(pixels, paper)


@pytest.mark.parametrize("columns", [1, 4, 9])
def test_sheet_keeps_pixels_and_order(columns: int) -> None:
    pictures = torch.randint(0, 256, (9, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    image = sheet(pictures, columns, gap=0)
    rows = -(-9 // columns)
    pixels = torch.from_numpy(np.array(image)).reshape(rows, 4, columns, 4).transpose(1, 2).flatten(0, 1)
    assert torch.equal(pixels[:9], pictures)
    assert bool((pixels[9:] == 255).all())


def test_titles_stand_above_their_rows() -> None:
    pictures = torch.full((4, 32, 60), 200, dtype=torch.uint8)
    long = "a very long definition, " * 40
    image = np.asarray(sheet(pictures, 2, gap=4, titles=["gold", long]))
    bare = np.asarray(sheet(pictures, 2, gap=4))
    assert image.shape == (bare.shape[0] + 2 * 22, bare.shape[1])
    ink = (image < 200).sum(axis=1)  # the titles alone are darker than the pictures
    for row in range(2):
        top = 4 + row * (32 + 4 + 22)
        assert ink[top : top + 22].any()
        assert (image[top + 22 : top + 22 + 32] == bare[4:36]).all()  # nothing is written over the pictures
    assert (image[:, -4:] == 255).all()  # the long one was cut to fit
    assert ink[4 + 58 :].sum() > ink[: 4 + 58].sum() > 0


@settings(max_examples=50)
@given(value=st.dictionaries(st.text(), JSON, max_size=4))
def test_png_remembers_its_settings(tmp_path_factory: pytest.TempPathFactory, value: dict[str, Any]) -> None:
    path = tmp_path_factory.getbasetemp() / "settings.png"
    save_png(path, Image.new("L", (3, 3)), value)
    assert read_settings(path) == value


def test_png_is_lossless_and_takes_long_settings(tmp_path: Path) -> None:
    path = tmp_path / "new" / "x.png"
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    value = {**SETTINGS, "prompts": ["鋰 " * 1_000_000]}
    save_png(path, Image.fromarray(pixels), value)
    assert np.array_equal(np.asarray(Image.open(path)), pixels)
    assert read_settings(path) == value
    assert [p.name for p in path.parent.iterdir()] == ["x.png"]


def test_settings_survive_another_program(tmp_path: Path) -> None:
    """Text chunks may stand behind the pixels, where optimisers move them."""
    save_png(tmp_path / "x.png", Image.new("L", (3, 3)), SETTINGS)
    head, *chunks, end = chunks_of((tmp_path / "x.png").read_bytes())
    chunks.sort(key=lambda chunk: chunk[4:8] == b"iTXt")
    assert chunks[-1][4:8] == b"iTXt"
    (tmp_path / "x.png").write_bytes(PNG + b"".join([head, *chunks, end]))
    assert read_settings(tmp_path / "x.png") == SETTINGS


PNG = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def chunks_of(png: bytes) -> list[bytes]:
    place, found = len(PNG), []
    while place < len(png):
        size = struct.unpack_from(">I", png, place)[0] + 12
        found.append(png[place : place + size])
        place += size
    return found


def grey_png(width: int, height: int, data: bytes, settings: str = "{}") -> bytes:
    """A PNG that says it is `width` × `height`, whatever `data` holds."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    text = chunk(b"tEXt", b"glyffctl\0" + settings.encode("latin-1"))
    return PNG + head + text + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def test_files_that_are_no_png_are_refused(tmp_path: Path) -> None:
    with pytest.raises(GlyffError, match=r"nothing\.png does not exist"):
        read_settings(tmp_path / "nothing.png")
    with pytest.raises(GlyffError, match="it is a folder"):
        read_settings(tmp_path)
    path = tmp_path / "x.png"
    Image.new("L", (3, 3)).save(path, "JPEG")
    for content in (b"", b"not a picture", path.read_bytes(), PNG, PNG + b"\0\0"):
        path.write_bytes(content)
        with pytest.raises(GlyffError, match=r"cannot read .*x\.png as a PNG picture") as caught:
            read_settings(path)
        assert "\n" not in str(caught.value)


def test_pictures_of_others_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    save_png(path, Image.new("L", (3, 3)))
    with pytest.raises(UsageError, match="has no settings"):
        read_settings(path)
    for text in ("", "{", "[1]", "3", "null", "é"):
        path.write_bytes(grey_png(1, 1, b"\0\0", text))
        with pytest.raises(UsageError, match="has no settings"):
            read_settings(path)
    path.write_bytes(grey_png(1, 1, b"\0\0", '{"seed": 1}'))
    assert read_settings(path) == {"seed": 1}


def test_a_cut_png_is_refused_or_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    noise = np.random.default_rng(0).integers(0, 256, (16, 16), dtype=np.uint8)
    save_png(path, Image.fromarray(noise), SETTINGS)
    raw = path.read_bytes()
    pixels = raw.index(b"IDAT")
    for end in range(0, len(raw), 3):
        path.write_bytes(raw[:end])
        try:
            assert read_settings(path) == SETTINGS
        except GlyffError:
            assert end < len(raw) - 12
        else:
            assert end > pixels + 16 * 16  # all pixels are there


@pytest.mark.hostile
@settings(max_examples=300)
@given(data=st.data())
def test_a_damaged_png_never_ends_in_a_traceback(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.png"
    save_png(path, Image.new("L", (5, 5)), SETTINGS)
    chunks = chunks_of(path.read_bytes())
    number = data.draw(st.integers(0, len(chunks) - 1))
    damaged = bytearray(chunks[number])
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
    if data.draw(st.booleans()):  # with a check sum that fits
        damaged[-4:] = struct.pack(">I", zlib.crc32(damaged[4:-4]))
    chunks[number] = bytes(damaged)
    path.write_bytes(PNG + b"".join(chunks))
    try:
        assert isinstance(read_settings(path), dict)
    except GlyffError as error:
        assert "\n" not in str(error)


@pytest.mark.hostile
@pytest.mark.parametrize("side", [60_000, 2**31 - 1, 2**32 - 1])
def test_a_decompression_bomb_is_refused_at_once(tmp_path: Path, side: int) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(grey_png(side, side, bytes(100)))

    def refused() -> None:  # a warning would be an error of another type here
        with pytest.raises(GlyffError, match=r"cannot read .*bomb\.png as a PNG picture"):
            read_settings(path)

    assert least_seconds(refused) < 0.5


@pytest.mark.hostile
def test_a_text_bomb_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    save_png(path, Image.new("L", (3, 3)))
    head, *rest = chunks_of(path.read_bytes())
    text = chunk(b"zTXt", b"glyffctl\0\0" + zlib.compress(bytes(100_000_000)))
    path.write_bytes(PNG + head + text + b"".join(rest))
    with pytest.raises(GlyffError):
        read_settings(path)


def test_a_very_large_sheet_of_ours_is_read_without_a_warning(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    path = tmp_path / "x.png"
    save_png(path, Image.new("1", (10_000, 10_000)), SETTINGS)  # past the size at which Pillow warns
    assert read_settings(path) == SETTINGS
    assert not recwarn.list


def greys(image: Image.Image) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.asarray(image.convert("L")).astype(np.int64)


def test_gif_keeps_frames_times_and_greys(tmp_path: Path) -> None:
    path = tmp_path / "x.gif"
    rng = np.random.default_rng(0)
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    frames = [Image.fromarray(rng.permuted(ramp)) for _ in range(5)]
    save_gif(path, frames, fps=12.5)
    with Image.open(path) as image:
        assert image.info["loop"] == 0  # for ever
        assert image.size == (16, 16)
        seen = [(frame.info["duration"], greys(frame)) for frame in ImageSequence.Iterator(image)]
    assert [duration for duration, _ in seen] == [80, 80, 80, 80, 1500]
    for (_, shown), frame in zip(seen, frames, strict=True):
        assert np.abs(shown - greys(frame)).max() <= 255 / 16
    assert {*np.unique(seen[0][1])} == {17 * level for level in range(16)}  # ink is black and paper is white


@pytest.mark.parametrize(("fps", "duration"), [(50, 20), (1000, 20), (25, 40), (0.5, 2000)])
def test_gif_speed(tmp_path: Path, fps: float, duration: int) -> None:
    frames = [Image.new("L", (4, 4), level) for level in (0, 255)]
    save_gif(tmp_path / "x.gif", frames, fps)
    with Image.open(tmp_path / "x.gif") as image:
        assert [frame.info["duration"] for frame in ImageSequence.Iterator(image)] == [duration, 1500]


def test_gif_of_one_frame(tmp_path: Path) -> None:
    save_gif(tmp_path / "x.gif", [Image.new("L", (4, 6), 255)], 12)
    with Image.open(tmp_path / "x.gif") as image:
        assert image.size == (4, 6)
        assert (greys(image) == 255).all()


def test_gif_of_frames_that_stand_still_takes_its_time(tmp_path: Path) -> None:
    save_gif(tmp_path / "x.gif", [Image.new("L", (4, 4), 255)] * 5 + [Image.new("L", (4, 4), 0)], 10)
    with Image.open(tmp_path / "x.gif") as image:
        assert sum(frame.info["duration"] for frame in ImageSequence.Iterator(image)) == 5 * 100 + 1500


@pytest.mark.parametrize("name", ["folder", "file/x"])
def test_places_that_cannot_be_written(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("old")
    image = Image.new("L", (4, 4))
    with pytest.raises(OutputError, match="cannot write"):
        save_png(tmp_path / name, image, {})
    with pytest.raises(OutputError, match="cannot write"):
        save_gif(tmp_path / name, [image], 12)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["file", "folder"]


@pytest.mark.hostile
def test_a_full_disk_leaves_the_old_picture(tmp_path: Path) -> None:
    """In a process of its own: there a file cannot grow past 1000 bytes."""
    path = tmp_path / "x.png"
    save_png(path, Image.new("L", (3, 3)), SETTINGS)
    program = """if True:
        import os, pathlib, resource, sys
        from PIL import Image
        from glyffctl.core.errors import OutputError
        from glyffctl.core.io.images import save_gif, save_png
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        path = pathlib.Path(sys.argv[1])
        noise = Image.frombytes("L", (300, 300), os.urandom(90_000))
        for write in (lambda: save_png(path, noise, {}), lambda: save_gif(path.with_suffix(".gif"), [noise], 12)):
            try:
                write()
            except OutputError as error:
                print(error)
    """
    result = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True, timeout=60
    )
    assert [line.split(": ")[1] for line in result.stdout.splitlines()] == ["File too large"] * 2
    assert result.stderr == ""
    assert read_settings(path) == SETTINGS
    assert [p.name for p in tmp_path.iterdir()] == ["x.png"]


def test_settings_are_readable_json(tmp_path: Path) -> None:
    save_png(tmp_path / "x.png", Image.new("L", (3, 3)), SETTINGS)
    with Image.open(tmp_path / "x.png") as image:
        image.load()
        text = image.text["glyffctl"]  # type: ignore[attr-defined]
    assert "鋰" in text
    assert json.loads(text) == SETTINGS


def test_a_sheet_is_cut_as_it_was_laid_out() -> None:
    pictures = torch.randint(0, 256, (12, 32, 32), dtype=torch.uint8)
    assert np.array_equal(split_sheet(sheet(pictures, near_square(12)), 12, near_square(12), titled=False), pictures)
    assert np.array_equal(split_sheet(sheet(pictures, 3, titles=["a", "b", "c", "d"]), 12, 3, titled=True), pictures)
    with pytest.raises(UsageError, match="does not hold"):
        split_sheet(Image.new("L", (100, 50)), 12, 4, titled=False)
