"""Picture files of all kinds: turned, scaled and composited as they say, or told to be what they are."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from glyffctl.core.errors import DataError
from glyffctl.core.io.picture import read_picture

SIDE = 32
RAMP = np.tile(np.linspace(0, 1, SIDE), (SIDE, 1))  # black on the left to white on the right
GREYS = RAMP * 255


def close_to(picture: np.ndarray, expected: np.ndarray) -> bool:
    return bool(np.abs(picture.astype(int) - expected).max() <= 2)


def tiff(bits: int, samples: bytes, *, white_is_zero: bool = False, kind: int = 1) -> bytes:
    """A TIFF of one strip; kind 1: unsigned, 2: signed, 3: floating point."""
    values = [
        (256, SIDE), (257, SIDE), (258, bits), (259, 1), (262, 0 if white_is_zero else 1), (273, 0), (277, 1),
        (278, SIDE), (279, len(samples)), (339, kind),
    ]  # fmt: skip
    start = 8 + 2 + 12 * len(values) + 4
    entries = [struct.pack("<HHII", tag, 4, 1, start if tag == 273 else value) for tag, value in values]
    return b"II*\0" + struct.pack("<IH", 8, len(values)) + b"".join(entries) + bytes(4) + samples


def packed(values: np.ndarray) -> bytes:
    """12 bits each, two in three bytes."""
    a, b = values.ravel()[::2].astype(int), values.ravel()[1::2].astype(int)
    return np.stack([a >> 4, (a & 15) << 4 | b >> 8, b & 255], 1).astype(np.uint8).tobytes()


def scaled(white: float, dtype: str) -> bytes:
    return bytes((RAMP * white).astype(dtype).tobytes())


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("16.tif", tiff(16, scaled(65535, "<u2"))),
        ("16 inverted.tif", tiff(16, ((1 - RAMP) * 65535).astype("<u2").tobytes(), white_is_zero=True)),
        ("12.tif", tiff(12, packed(RAMP * 4095))),
        ("float.tif", tiff(32, scaled(1, "<f4"), kind=3)),
        ("float inverted.tif", tiff(32, (1 - RAMP).astype("<f4").tobytes(), white_is_zero=True, kind=3)),
        ("10 bits.pgm", b"P5\n32 32\n1023\n" + scaled(1023, ">u2")),
        ("16 bits.pgm", b"P5\n32 32\n65535\n" + scaled(65535, ">u2")),
        ("float.pfm", b"Pf\n32 32\n-1.0\n" + scaled(1, "<f4")),
    ],
)
def test_many_bits_are_scaled(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    assert close_to(read_picture(tmp_path / name, SIDE), GREYS)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("colour", [False, True])
def test_transparent_pixels_show_the_paper(tmp_path: Path, bits: int, colour: bool) -> None:
    import zlib

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    white = 2**bits - 1
    alpha = np.full(RAMP.shape, white)
    alpha[:, :16] = 0
    pixels = np.dstack([RAMP * white] * (3 if colour else 1) + [alpha]).astype(f">u{bits // 8}")
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", SIDE, SIDE, bits, 6 if colour else 4, 0, 0, 0)
    png = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in png))
    expected = GREYS.copy()
    expected[:, :16] = 255
    assert close_to(read_picture(tmp_path / "a.png", SIDE), expected)


def test_one_transparent_value_among_16_bits(tmp_path: Path) -> None:
    Image.fromarray((RAMP * 65535).astype(np.uint16)).save(tmp_path / "a.png", transparency=0)
    expected = GREYS.copy()
    expected[:, 0] = 255
    assert close_to(read_picture(tmp_path / "a.png", SIDE), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
def test_pictures_are_turned_as_datasets_turns_them(tmp_path: Path, ending: str, orientation: int) -> None:
    import datasets

    pixels = np.full((24, 32), 255, dtype=np.uint8)
    pixels[:8, :16], pixels[8:, :4] = 0, 90  # like no turned one of itself
    image, file = Image.fromarray(pixels), tmp_path / f"a.{ending}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(file, exif=exif)
    theirs = datasets.Image().decode_example({"path": None, "bytes": file.read_bytes()})
    side = Image.new("L", (32, 32), 255)
    side.paste(theirs.convert("L"), ((32 - theirs.width) // 2, (32 - theirs.height) // 2))
    assert theirs.size == ((32, 24) if orientation < 5 else (24, 32))
    assert np.abs(read_picture(file, 32).astype(int) - np.asarray(side)).max() <= 2


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a.tif", tiff(32, scaled(255, "<f4"), kind=3), "values from 0 to 255, where only 0 to 1 is accepted"),
        ("a.tif", tiff(32, np.full(1024, np.nan, "<f4").tobytes(), kind=3), "from nan to nan"),
        ("a.tif", tiff(32, scaled(1e9, "<i4"), kind=2), "integers of 32 bits"),
        ("a.tif", tiff(16, scaled(9999, "<i2"), kind=2), "integers of 16 bits"),
        ("a.avif", b"\0\0\0\x20ftypavif" + bytes(40), "AVIF is not supported; convert it to PNG"),
        ("a.png", b"\0\0\0\x20ftypheic" + bytes(40), "HEIC is not supported; convert it to PNG"),
        ("a.jp2", b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000 is not supported; convert it to PNG"),
        ("a.tga", bytes(60), "TGA is not supported; convert it to PNG"),
        ("a.svg", b"<?xml version='1.0'?>\n<svg xmlns='x'/>", "SVG is not supported; convert it to PNG"),
        ("a.png", b"<!DOCTYPE html><html>", "it is text, not a picture"),
        ("a.png", b"version https://git-lfs.github.com/spec/v1\n", "`git lfs pull`"),
        ("a.png", b"", "is empty"),
        ("a.png", b"no picture", "begins with b'no picture'; mend it or take out its row"),
        ("a.png", b"\x89PNG\r\n\x1a\n" + bytes(30), "mend it or take out its row"),
    ],
)
def test_what_is_not_read_is_told_by_what_it_is(tmp_path: Path, name: str, data: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError) as caught:
        read_picture(tmp_path / name, SIDE)
    assert says in str(caught.value) and str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of formats that Pillow will not write for ever
def test_every_format_that_pillow_writes_is_read_or_named(tmp_path: Path) -> None:
    """Sound files are never called broken."""
    Image.init()
    image, read = Image.fromarray(GREYS.astype(np.uint8)), []
    for ending, kind in sorted(Image.registered_extensions().items()):
        file = tmp_path / f"a{ending}"
        try:
            image.convert("RGB").save(file)
        except (KeyError, OSError, ValueError, NotImplementedError):
            continue  # not written here
        try:
            result: Any = read_picture(file, SIDE)
        except DataError as error:
            assert str(error).endswith("is not supported; convert it to PNG"), error
            assert kind in ("AVIF", *OTHERS) or kind in str(error)
        else:
            assert np.abs(result.astype(int) - GREYS).max() < 40, kind
            read.append(kind)
    assert {"PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM"} <= set(read)


OTHERS = ("JPEG2000", "MPO")
