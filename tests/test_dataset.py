import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from glyffctl.core.codecs.pixels import to_pixels, to_unit
from glyffctl.core.data import dataset_writer
from glyffctl.core.data.caption_table import captions_digest
from glyffctl.core.data.character import Character, Font
from glyffctl.core.data.dataset_writer import GlyphWriter, PictureWriter, Writer
from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.data.manifest import add_digest
from glyffctl.core.data.moments import pixel_moments
from glyffctl.core.errors import DataError
from tests.conftest import least_seconds

SIZE, COUNT = 16, 23
FONTS = [Font("a.ttc", 2, "A SC"), Font("b.ttf", 0, "B")]
CHARACTERS = [
    Character(0x4E00 + i, chr(0x4E00 + i), f"meaning\u2028{i % 5}", i + 1 if i % 3 else None) for i in range(15)
]


def glyphs() -> list[tuple[int, int, Any]]:
    """COUNT glyphs with random pixels: (character row, font row, picture)."""
    random = np.random.default_rng(0)
    return [(i % 15, i // 15, random.integers(0, 256, (SIZE, SIZE), dtype=np.uint8)) for i in range(COUNT)]


def write(folder: Path, writer: type[Writer] = GlyphWriter) -> Path:
    folder.mkdir()
    drawer = writer(folder, SIZE)
    for character, font, picture in glyphs():
        drawer.add(CHARACTERS[character], FONTS[font], picture)
    drawer.finish({"left_out": {}})
    return folder


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(dataset_writer, "SHARD_ROWS", 10)
    return write(tmp_path / "data")


@pytest.mark.parametrize("writer", [GlyphWriter, PictureWriter])
def test_what_was_written_is_read(tmp_path, monkeypatch, writer):
    monkeypatch.setattr(dataset_writer, "SHARD_ROWS", 10)
    data = open_glyphs(write(tmp_path / "data", writer))
    assert len(data) == COUNT and data.size == SIZE
    assert data.characters == CHARACTERS and data.fonts == FONTS
    assert data.captions == [f"meaning\u2028{i}" for i in range(5)]
    index = torch.tensor([22, 0, 9, 10, 10, 19, 20])  # across the borders of the shards
    images = data.images(index)
    assert images.shape == (7, 1, SIZE, SIZE) and images.dtype == torch.uint8
    expected = glyphs()
    for image, i in zip(images, index.tolist(), strict=True):
        character, font, picture = expected[i]
        assert np.array_equal(image[0].numpy(), picture)
        assert data.character_of[i] == character and data.font_of[i] == font
        assert data.captions[int(data.caption_of[i])] == CHARACTERS[character].definition
    assert data.images(torch.tensor([], dtype=torch.long)).shape == (0, 1, SIZE, SIZE)
    values = to_unit(data.images(torch.arange(COUNT))).double()
    assert data.mean == pytest.approx(values.mean().item(), abs=1e-7)
    assert data.std == pytest.approx(values.std(unbiased=False).item(), abs=1e-7)


def test_indices_outside_are_refused(folder):
    data = open_glyphs(folder)
    for index in (COUNT, -1):
        with pytest.raises(IndexError):
            data.images(torch.tensor([0, index]))


def test_pixels_and_units_are_inverse():
    values = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_pixels(to_unit(values)), values)
    assert to_unit(values)[0] == -1 and to_unit(values)[-1] == 1
    assert to_pixels(torch.tensor([-7.0, 7.0, 0.002])).tolist() == [0, 255, 128]
    assert pixel_moments([1] + [0] * 254 + [1]) == (0.0, 1.0)


def test_the_fingerprint_names_the_data(tmp_path, folder):
    first = open_glyphs(folder).fingerprint()
    shutil.copytree(folder, tmp_path / "moved")
    assert open_glyphs(tmp_path / "moved").fingerprint() == first
    assert open_glyphs(folder, size=8).fingerprint() != first
    edit_manifest(folder, mean=0.0)
    assert open_glyphs(folder).fingerprint() != first


def test_another_size_is_resized_and_measured_again(tmp_path, folder):
    small = open_glyphs(folder, size=8)
    images = small.images(torch.arange(COUNT))
    assert images.shape == (COUNT, 1, 8, 8)
    assert images.float().mean() == pytest.approx(open_glyphs(folder).images(torch.arange(COUNT)).float().mean(), abs=1)
    assert small.std < 0.6 * open_glyphs(folder).std
    assert open_glyphs(folder, size=SIZE).std == open_glyphs(folder).std


@pytest.mark.thorough
def test_twenty_one_thousand_glyphs_open_at_once(tmp_path):
    (tmp_path / "data").mkdir()
    drawer = GlyphWriter(tmp_path / "data", 128)
    picture = np.full((128, 128), 255, dtype=np.uint8)
    for i in range(21_000):
        drawer.add(Character(0x3400 + i, chr(0x3400 + i), f"meaning\u2028{i}", 1), FONTS[0], picture)
    drawer.finish({})
    assert least_seconds(lambda: open_glyphs(tmp_path / "data").images(torch.tensor([0, 9000, 20_999]))) < 2
    assert len(list((tmp_path / "data").glob("*.safetensors"))) == 6


def test_captions_digest_is_a_plain_sha256():
    expected = "3554d2b8a1e34099053865de8576d1460b807430ec8c6b85315c9607ba93d308"  # printf '["a", "b"]' | sha256sum
    assert captions_digest(["a", "b"]) == expected
    others = (["b", "a"], ["a b"], ["a\nb"], ["a", "b", ""])
    assert len({captions_digest(captions) for captions in others} | {expected}) == 5


# --- folders that cannot be read ---


def test_folders_that_are_none_say_to_prepare(tmp_path):
    for folder in (tmp_path / "none", tmp_path):
        with pytest.raises(DataError, match=r"run `glyffctl prepare` first"):
            open_glyphs(folder)


def edit_manifest(folder: Path, **changes: Any) -> None:
    """Changes under a seal that fits, as someone with bad intent could make them."""
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["blake2b"]
    (folder / "manifest.json").write_bytes(add_digest(json.dumps({**manifest, **changes}, indent=2)[:-2].encode()))


def unseal(folder: Path, **changes: Any) -> Path:
    """A folder of version 1, as it was written before there were digests."""
    manifest = json.loads((folder / "manifest.json").read_text())
    for held in (manifest, *manifest.get("shards", [])):
        held.pop("blake2b", None)
    manifest.pop("characters_blake2b", None)
    (folder / "manifest.json").write_text(json.dumps({**manifest, "version": 1, **changes}))
    return folder


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def cut(path: Path, share: float = 0.5) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: edit_manifest(f, version=9), "has version 9, this program reads version 2"),
        (lambda f: edit_manifest(f, format="other"), "not a manifest of glyffctl"),
        (lambda f: (f / "manifest.json").write_text("[1]"), "not a JSON object; remove .* and run"),
        (lambda f: (f / "manifest.json").write_bytes(b"\xff\xfe{"), "manifest.json is not UTF-8 text"),
        (lambda f: cut(f / "manifest.json"), "cannot read .*manifest"),
        (lambda f: flip(f / "manifest.json", -20), r"manifest\.json was changed after"),
        (lambda f: flip(f / "manifest.json", -1), r"manifest\.json was changed after|not JSON"),
        (lambda f: (f / "manifest.json").write_text((f / "manifest.json").read_text() + " "), "was changed after"),
        (lambda f: folder_instead(f / "manifest.json"), "it is a folder"),
        (lambda f: edit_manifest(f, shards=[]), "holds no glyphs"),
        (lambda f: edit_manifest(f, shards=[{"file": "x"}]), "is incomplete"),
        (lambda f: edit_manifest(f, size=float("inf")), "is incomplete"),
        (lambda f: edit_manifest(f, characters_blake2b="0"), r"characters\.jsonl was changed after"),
        (lambda f: edit_manifest(f, fonts=[]), "names a character or font it does not hold"),
        (lambda f: edit_manifest(f, size=17), "glyphs-00000.safetensors was changed after"),
        (lambda f: unseal(f, size=17), "does not hold 10 glyphs of 17×17"),
        (lambda f: edit_manifest(f, captions_sha256="0"), "was changed after"),
        (lambda f: cut(f / "glyphs-00001.safetensors", 0.99), "glyphs-00001.safetensors was changed after"),
        (lambda f: cut(f / "glyphs-00001.safetensors", 0), "glyphs-00001.safetensors was changed after"),
        (lambda f: flip(f / "glyphs-00001.safetensors", 9), "glyphs-00001.safetensors was changed after"),
        (lambda f: (f / "glyphs-00002.safetensors").unlink(), "glyphs-00002"),
        (
            lambda f: shutil.copy(f / "glyphs-00002.safetensors", f / "glyphs-00000.safetensors"),
            "glyphs-00000.safetensors was changed after",
        ),
        (lambda f: (f / "characters.jsonl").unlink(), r"characters\.jsonl does not exist"),
        (lambda f: cut(f / "characters.jsonl"), r"characters\.jsonl was changed after"),
        (lambda f: cut(unseal(f) / "characters.jsonl"), r"cannot read .*characters\.jsonl"),
        (lambda f: (unseal(f) / "characters.jsonl").write_text(""), "names a character or font"),
    ],
)
def test_damaged_folders_are_named(folder, damage, message):
    open_glyphs(folder)
    damage(folder)
    with pytest.raises(DataError, match=message):
        open_glyphs(folder)


def test_a_picture_is_held_against_its_sum_when_it_is_read(folder):
    flip(folder / "glyphs-00001.safetensors", -3 * SIZE * SIZE + 5)  # in the third from the end of ten
    data = open_glyphs(folder)
    data.images(torch.tensor([0, 16, 18, 22]))
    with pytest.raises(DataError, match=r"glyphs-00001\.safetensors is damaged: picture 7"):
        data.images(torch.tensor([0, 17]))


def test_folders_from_before_there_were_digests_are_read(folder):
    sealed = open_glyphs(folder)
    images = sealed.images(torch.arange(COUNT))
    unseal(folder)
    assert open_glyphs(folder).characters == sealed.characters
    assert torch.equal(open_glyphs(folder).images(torch.arange(COUNT)), images)
    flip(folder / "glyphs-00001.safetensors", -1)
    assert not torch.equal(open_glyphs(folder).images(torch.arange(COUNT)), images)


# --- image folders ---


def picture_folder(folder: Path, rows: list[dict[str, str]]) -> Path:
    folder.mkdir()
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def test_anyones_pictures_are_read_as_grey_squares_on_white(tmp_path):
    rows = [{"file_name": f"{i}.png", "caption": f"thing {i % 2}"} for i in range(4)]
    folder = picture_folder(tmp_path / "mine", rows)
    Image.new("RGB", (64, 32), "black").save(folder / "0.png")
    Image.new("RGBA", (32, 32), (0, 0, 0, 0)).save(folder / "1.png")
    Image.fromarray(np.full((32, 32), 0x8000, dtype=np.uint16)).save(folder / "2.png")
    Image.new("1", (32, 32), 0).save(folder / "3.png")
    data = open_glyphs(folder, size=32)
    images = data.images(torch.arange(4))[:, 0]
    assert images[0, 16, 16] == 0 and (images[0, :6] == 255).all() and (images[0, -6:] == 255).all()
    assert (images[1] == 255).all() and (images[2] == 127).all() and (images[3] == 0).all()
    assert data.captions == ["thing 0", "thing 1"] and data.caption_of.tolist() == [0, 1, 0, 1]
    assert data.characters == [Character(None, "", "thing 0", None), Character(None, "", "thing 1", None)]
    assert data.fonts == [] and data.font_of.tolist() == [-1] * 4
    assert open_glyphs(folder).size == 128
    assert -1 < data.mean < 1
    before = data.fingerprint()
    Image.new("L", (300, 300), 7).save(folder / "3.png")
    assert open_glyphs(folder, size=32).fingerprint() != before


def test_csv_metadata_is_read(tmp_path):
    folder = tmp_path / "mine"
    (folder / "train").mkdir(parents=True)
    Image.new("L", (8, 8), 9).save(folder / "train" / "a.png")
    with (folder / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["file_name", "text"], ["train/a.png", 'a "thing",\nin two lines']])
    assert open_glyphs(folder, 8).captions == ['a "thing",\nin two lines']


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ("", "has no rows"),
        ('{"file_name": "gone.png", "text": "x"}', "gone.png, which cannot be read"),
        ('{"file_name": "a.png"}', "line 1: a row needs file_name and text"),
        ('{"file_name": "a.png", "text": "x"}\n[]', r"line 2: .* JSON array"),
        ('{"file_name": "a.png", "te', "line 1, column 24: not a whole JSON object"),
        ('{"file_name": "a.png", "text": "x", "radical": "many"}', "line 1: radical is 'many'"),
        ('{"file_name": "a.png", "text": "x", "codepoint": "U+zz"}', r"line 1: codepoint is .U\+zz."),
    ],
)
def test_metadata_that_lies_is_refused(tmp_path, metadata, message):
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "metadata.jsonl").write_text(metadata)
    with pytest.raises(DataError, match=message):
        open_glyphs(tmp_path)


def test_pictures_that_are_none_are_named_when_they_are_needed(tmp_path):
    folder = picture_folder(tmp_path / "mine", [{"file_name": "a.png", "text": "x"}])
    (folder / "a.png").write_text("no picture")
    with pytest.raises(DataError, match=r"cannot read the picture .*a\.png"):
        open_glyphs(folder).images(torch.tensor([0]))
