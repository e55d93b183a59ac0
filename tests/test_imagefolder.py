"""Image–caption folders that anyone made: read as `datasets` reads them, or told what is in their way."""

import gc
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.errors import DataError
from glyffctl.workflows.events import Caution
from glyffctl.workflows.pictures import check_pictures

ROW = '{"file_name": "1.png", "text": "a fish"}\n'


def picture(folder: Path, name: str = "1.png", grey: int = 0) -> Path:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 8), grey).save(folder / name)
    return folder


def text(name: str, content: str = ROW) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")

    return write


def pictures(*names: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        for name in names:
            picture(folder, name)

    return write


def both(*makers: Callable[[Path], None]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        for make in makers:
            make(folder)

    return write


def saved(folder: Path) -> None:
    import datasets

    datasets.Dataset.from_dict({"text": ["a fish"]}).save_to_disk(folder)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (both(text("metadata.jsonl"), text("metadata.csv")), "metadata.jsonl and metadata.csv"),
        (both(text("metadata.jsonl"), text("metadata.parquet")), "metadata.jsonl and metadata.parquet"),
        (both(text("metadata.jsonl"), text("old/metadata.jsonl")), "holds metadata.jsonl and old/metadata.jsonl"),
        (both(text("metadata.jsonl"), text("a/b/c/metadata.csv")), "holds metadata.jsonl and a/b/c/metadata.csv"),
        (text("train/metadata.jsonl"), "but train has a metadata.jsonl: name {folder}/train"),
        (text("data/train/metadata.csv"), "data/train has a metadata.csv"),
        (both(text("train/metadata.jsonl"), text("test/metadata.jsonl")), "in it do: test, train; name one of them"),
        (text("metadata.parquet"), "metadata.parquet, which is not supported; write it as metadata.jsonl"),
        (text("metadata.json", "[]"), "metadata.json; write it as metadata.jsonl, one object a line"),
        (text("Metadata.jsonl"), "Metadata.jsonl; rename it metadata.jsonl"),
        (lambda folder: (folder / "metadata.jsonl").mkdir(), "metadata.jsonl: it is not a file"),
        (text("METADATA.CSV"), "METADATA.CSV; rename it metadata.csv"),
        (pictures("class/a.png", "other/b.png"), "pictures in folders (class, other) and no captions"),
        (both(pictures("a.png"), text("a.txt", "a fish")), "captions in files beside them (a.png and a.txt)"),
        (both(pictures("a.png"), text("labels.csv", "a")), "if labels.csv has their captions"),
        (pictures("a.png"), "pictures and no captions; write a metadata.jsonl"),
        (saved, "save_to_disk"),
        (text("train-00000-of-00001.parquet"), "train-00000-of-00001.parquet, which is not supported"),
        (text("pictures.zip"), "pictures.zip; unpack it"),
        (text("A.ttf"), "holds fonts; run `glyffctl prepare"),
        (text("model.safetensors"), "is a model folder, not data"),
        (text("notes.md"), "holds no manifest.json, metadata.jsonl or metadata.csv"),
    ],
)
def test_other_layouts_are_named(tmp_path: Path, make: Callable[[Path], None], says: str) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    make(folder)
    with pytest.raises(DataError) as caught:
        open_glyphs(folder)
    message = str(caught.value)
    assert says.format(folder=folder) in message and str(folder) in message
    assert "\n" not in message and len(message) < 400
    assert ("run `glyffctl prepare" in message) == (says.startswith(("holds fonts", "holds no manifest")))


def test_a_file_is_not_a_folder(tmp_path: Path) -> None:
    text("metadata.jsonl")(picture(tmp_path))
    with pytest.raises(DataError, match=rf"is a file; name the folder of the data, {tmp_path}$"):
        open_glyphs(tmp_path / "metadata.jsonl")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("metadata.jsonl", f'{ROW}{{"file_name": "1.png", "text": "x", "radical": "215"}}', "line 2: radical is '215'"),
        ("metadata.jsonl", '{"file_name": "1.png", "text": "x", "radical": 0}', "line 1: radical is 0"),
        ("metadata.jsonl", '{"file_name": "1.png", "text": "x", "radical": true}', "line 1: radical is True"),
        ("metadata.jsonl", '{"file_name": "1.png", "text": "x", "radical": 1e400}', "line 1: radical is inf"),
        ("metadata.jsonl", '{"file_name": "1.png", "text": "x", "codepoint": "U+锂"}', "line 1: codepoint is 'U+锂'"),
        ("metadata.jsonl", '{"file_name": "1.png", "text": "x", "codepoint": "U+ 9502"}', "codepoint is 'U+ 9502'"),
        ("metadata.jsonl", '{"file_name": "1.png", "text": "x", "codepoint": "U+110000"}', "'U+110000', which is not"),
        ("metadata.jsonl", f"[{ROW[:-1]}]", "line 1: it is a JSON array; write one object a line"),
        ("metadata.jsonl", f"[\n{ROW[:-1]}\n]", "line 1: a JSON array begins; write one object a line"),
        ("metadata.jsonl", '{\n "file_name": "1.png",\n "text": "x"\n}', "line 1, column 2"),
        ("metadata.jsonl", '{"image": "1.png", "prompt": "x"}', "it has image, prompt"),
        ("metadata.jsonl", '{"file_name": "1.png", "text": null}', "its text is None"),
        ("metadata.jsonl", '{"file_name": "", "text": "x"}', "its file_name is empty"),
        ("metadata.jsonl", "{}", "it has no columns"),
        ("metadata.csv", "file_name;text\n1.png;a fish\n", "one column, 'file_name;text': put commas"),
        ("metadata.csv", "file_name\ttext\n1.png\ta fish\n", "one column, 'file_name\\ttext': put commas"),
        ("metadata.csv", "file_name,label\n1.png,a fish\n", "line 2: a row needs file_name and text"),
        ("metadata.csv", "file_name,text\n1.png,a fish, or two\n", "line 2 has 3 fields"),
        ("metadata.csv", "file_name,text\n1.png\n", "line 2 has 1 field"),
        ("metadata.csv", "file_name,text,text\n1.png,a,b\n", "two columns are named 'text'"),
        ("metadata.csv", 'file_name,text\n1.png,"a fish\n2.png,a cat\n', "line 2: a quotation mark is opened"),
        ("metadata.csv", 'file_name,text\n1.png,"a fish\n2.png,"a cat"\n', "line 2: a quoted field"),
        ("metadata.jsonl", '{"file_name": "no.png", "text": "x"}', "which cannot be read; add it"),
        ("metadata.jsonl", '{"file_name": "1.PNG", "text": "x"}', "there is 1.png: write that"),
        ("metadata.jsonl", '{"file_name": "1", "text": "x"}', "there is 1.png: write that"),
        ("metadata.jsonl", '{"file_name": "sub\\\\2.png", "text": "x"}', "write sub/2.png"),
        ("metadata.jsonl", '{"file_name": "C:\\\\pictures\\\\1.png", "text": "x"}', "must be relative to the folder"),
        ("metadata.jsonl", '{"file_name": "FOLDER/1.png", "text": "x"}', "must be relative to the folder: 1.png"),
        ("metadata.jsonl", '{"file_name": "FOLDER/sub/2.png", "text": "x"}', "relative to the folder: sub/2.png"),
        ("metadata.jsonl", '{"file_name": "/else/1.png", "text": "x"}', "outside its folder"),
        ("metadata.jsonl", '{"file_name": "FOLDER/../1.png", "text": "x"}', "outside its folder"),
    ],
)
def test_rows_that_cannot_be_read_are_named(tmp_path: Path, name: str, content: str, says: str) -> None:
    picture(picture(tmp_path), "sub/2.png")
    (tmp_path / name).write_text(content.replace("FOLDER", str(tmp_path)), encoding="utf-8")
    with pytest.raises(DataError) as caught:
        open_glyphs(tmp_path)
    message = str(caught.value)
    assert says in message and str(tmp_path / name) in message
    assert "\n" not in message and "UTF-8" not in message


@pytest.mark.parametrize(
    ("radical", "number"),
    [("167.5", 167), ("120'.3", 120), ("5'''.10", 5), ("167.5 120.3", 167), (167, 167), (167.0, 167), ("", None),
     (None, None), ("9", 9), ("1.-1", 1)],
)  # fmt: skip
def test_radicals_as_unihan_writes_them(tmp_path: Path, radical: object, number: int | None) -> None:
    row = {"file_name": "1.png", "text": "x", "radical": radical, "codepoint": "u+9502"}
    text("metadata.jsonl", json.dumps(row))(picture(tmp_path))
    [character] = open_glyphs(tmp_path).characters
    assert (character.radical, character.codepoint) == (number, 0x9502)


# datasets leaves the table open until the garbage is collected.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_tables_are_read_as_datasets_reads_them(tmp_path: Path, end: str) -> None:
    import datasets

    rows = ["file_name,text", '1.png,"a ""fish"", or two"', "2.png,gold"]
    picture(picture(tmp_path / "mine"), "2.png", 90)
    (tmp_path / "mine/metadata.csv").write_text(end.join(rows) + end, encoding="utf-8", newline="")
    ours = open_glyphs(tmp_path / "mine", 8)
    theirs = datasets.load_dataset(
        "imagefolder", data_dir=str(tmp_path / "mine"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert ours.captions == theirs["text"][:] == ['a "fish", or two', "gold"]
    for row in range(2):
        assert np.array_equal(ours.pixels(torch.tensor([row]))[0], np.asarray(theirs[row]["image"].convert("L")))
    gc.collect()


def warned(folder: Path, greys: list[Image.Image]) -> list[Caution]:
    folder.mkdir()
    rows = []
    for k, image in enumerate(greys):
        image.save(folder / f"{k}.png")
        rows.append(json.dumps({"file_name": f"{k}.png", "text": f"thing {k}"}))
    (folder / "metadata.jsonl").write_text("\n".join(rows))
    return list(check_pictures(open_glyphs(folder, 16)))


def test_blank_and_repeated_pictures_are_warned_of(tmp_path: Path) -> None:
    def ink(k: int, alpha: int = 255, colour: int = 0) -> Image.Image:
        image = Image.new("RGBA", (16, 16), (255, 255, 255, alpha))
        image.paste((colour, colour, colour, 255), (2, 2, 6 + k, 9))
        return image

    assert warned(tmp_path / "sound", [ink(k) for k in range(4)]) == []
    [white] = warned(tmp_path / "white", [ink(k, 0, 255) for k in range(4)])
    assert (white.kind, white.facts) == ("pictures-blank", {"blank": 4, "white": 4, "sampled": 4})
    [black] = warned(tmp_path / "black", [Image.new("L", (16, 16)), ink(1), ink(2)])
    assert (black.kind, black.facts) == ("pictures-blank", {"blank": 1, "white": 0, "sampled": 3})
    [equal] = warned(tmp_path / "equal", [ink(3)] * 5)
    assert (equal.kind, equal.facts) == ("pictures-repeated", {"distinct": 1, "sampled": 5})


@pytest.mark.parametrize("key", ["alternate_captions", "wordings"])
def test_alternate_captions_have_had_another_name(tmp_path: Path, key: str) -> None:
    Image.new("L", (16, 16), 255).save(tmp_path / "a.png")
    row = {"file_name": "a.png", "text": "gold; metal", key: ["gold", "metal"]}
    (tmp_path / "metadata.jsonl").write_text(json.dumps(row) + "\n")
    glyphs = open_glyphs(tmp_path)
    assert glyphs.characters[0].alternate_captions == ("gold", "metal")
    assert glyphs.captions == ["gold; metal", "gold", "metal"]
