"""Names stay inside: what strangers call things is shown as text, and no file outside the folder asked for is written.

Prompts, characters, definitions, faces of fonts, files on disk and members of archives come from anyone. Every command
that shows or writes them is run as if on a terminal, with all that is written anywhere on the machine recorded.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from fontTools.ttLib import TTFont
from fontTools.ttLib.tables._n_a_m_e import makeName
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from glyffctl.core.atlas.layout import Map, MapSettings, save_map
from glyffctl.core.atlas.neighbors import Subspace
from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.data.manifest import add_digest
from glyffctl.core.estimates import Estimate
from glyffctl.core.evaluation.prompts import read_prompts
from glyffctl.core.evaluation.report import EvaluateReport, PromptRow, Row
from glyffctl.core.io.images import SETTINGS_KEY, read_settings, save_png
from glyffctl.core.io.names import printable, utf8_name
from glyffctl.core.models.recipe import Recipe
from glyffctl.workflows import classifier as classifier_workflow
from glyffctl.workflows import evaluate as evaluate_workflow
from glyffctl.workflows import noise_check as noise_workflow
from glyffctl.workflows.classifier import ClassifierReport
from glyffctl.workflows.events import Event, Progress
from glyffctl.workflows.noise_check import CheckedClaim, CheckReport
from tests.conftest import Workshop
from tests.fontmaker import make_font
from tests.strangers import HALVES, MEANT, NAMES, STEERING, TERMINAL, on_disk, only_inside, run, whole

pytestmark = pytest.mark.hostile

# The commands ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class World:
    """Data that were made from strangers' names, and where."""

    folder: Path
    fonts: Path
    data: Path
    out: str
    err: str


CHARACTERS = range(0x4E00, 0x4E00 + 40)


def make_fonts(folder: Path, names: tuple[str, ...]) -> Path:
    """A font for each name: that is what its face is called, and its file, where a file can be called so."""
    boxes = {c: (100 + 5 * k, 0, 900 - 7 * k, 800 - 11 * (k % 9)) for k, c in enumerate(CHARACTERS)}
    plain = make_font(folder / "plain.ttf", boxes)
    files = iter(on_disk(names, ".ttf"))
    with TTFont(plain) as font:
        for number, name in enumerate(names):
            font["name"].names = [makeName(name.encode("utf-16-be", "surrogatepass"), 4, 3, 1, 0x409)]
            font.save(folder / next(files, f"{number}.ttf"))
    plain.unlink()
    return folder


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    fonts, data = make_fonts(folder / "fonts\x1b[2J\u202e", NAMES), folder / "[red]data"
    table = folder / "\x1b]0;definitions\x07.jsonl"
    rows = [{"character": chr(c), "definition": name} for c, name in zip(CHARACTERS, MEANT * 2, strict=False)]
    table.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with only_inside(data):
        shown = run("prepare", fonts, "--definitions", table, "--size", "32", "--out", data)
    return World(folder, fonts, data, shown.out, shown.err)


def test_data_from_strangers_fonts_and_tables(world: World) -> None:
    glyphs = open_glyphs(world.data)
    assert len(glyphs.fonts) == len(NAMES)
    told = [font.name for font in glyphs.fonts]
    assert max(map(len, told)) <= 100 and "[red]wolf[/red]" in told and ":bomb: :smile:" in told
    assert {path.name for path in world.data.iterdir()} == {
        "manifest.json", "characters.jsonl", "glyphs-00000.safetensors", "cleaning.jsonl", "left_out.jsonl",
    }  # fmt: skip
    assert "/[red]data: " in world.out
    print(f"{len(NAMES)} faces and {len(glyphs.characters)} definitions: written in {world.data.name} alone")


@pytest.mark.parametrize("form", ["glyphs", "imagefolder"])
def test_archives_and_fonts_that_cannot_be_read(tmp_path: Path, world: World, form: str) -> None:
    """A member's name is looked at and no more; each broken font is named as it is called."""
    members = [name for name in NAMES if name not in HALVES]
    archive = tmp_path / "Unihan.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for name in members:
            file.writestr(name or "empty", "x")
        told = [name for name in STEERING[2:] + MEANT if "\r" not in name]  # which would end the line
        lines = [f"U+{c:04X}\tkDefinition\t{name}\n" for c, name in zip(CHARACTERS, told, strict=False)]
        file.writestr("../../Unihan_Readings.txt", "".join(lines))
    fonts = tmp_path / "broken"
    fonts.mkdir()
    names = on_disk(NAMES, ".otf")
    for name in names:
        (fonts / name).write_bytes(b"no font")
    good = next(world.fonts.glob("*CON.ttf"))
    out = tmp_path / "data"
    with only_inside(out):
        shown = run(
            "prepare", fonts, good, "--definitions", archive, "--size", "16", "--format", form, "--out", out
        )  # fmt: skip
    for name in names:
        assert f"broken/{printable(name)} as a font" in shown.err
    open_glyphs(out)
    print(f"{len(members)} members and {len(names)} broken fonts: none has written or steered anything")


@pytest.fixture(scope="module")
def hostile_run(world: World, workshop: Workshop) -> Path:
    """A run whose data, folder and settings have strangers' names."""
    config, out = world.folder / "\x1b[6n[red].toml", world.folder / "runs" / "\x1b]0;run\x07\u202e:bomb:"
    config.write_text(workshop.config.read_text(encoding="utf-8"), encoding="utf-8")
    with only_inside(world.data):
        shown = run("embed", "--data", world.data, "--encoder", workshop.encoder)
    assert "[red]data/embeddings.safetensors: " in shown.out
    with only_inside(out.parent):
        shown = run(
            "train", "--data", world.data, "--config", config, "--images", "8", "--gpus", "0", "--out", out
        )  # fmt: skip
    assert printable(out.name) in shown.out and printable(out.name) in shown.err
    return out


def test_a_sheet_or_picture_for_each_prompt(tmp_path: Path, hostile_run: Path) -> None:
    prompts = whole(NAMES)
    command = ["sample", "--model", hostile_run, "--count", "1", "--steps", "1", "--batch", "64"]
    with only_inside(tmp_path / "all"):
        shown = run(*command, "--out", tmp_path / "all", "--", *prompts)
    files = sorted((tmp_path / "all").iterdir())
    assert len(files) == len(prompts) and shown.out == f"{tmp_path / 'all'}\n"
    assert all(re.fullmatch(r"[\w-]+-0\.png", file.name) and not file.name.startswith("-") for file in files)
    assert [read_settings(file)["prompts"][k] for k, file in enumerate(files)] == prompts
    listed = tmp_path / "\x1b[2J\u202e.txt"
    listed.write_text("\n".join(prompts), encoding="utf-8")
    sheet, film = tmp_path / "sheet", tmp_path / "\x1b]0;film\x07.gif"
    with only_inside(sheet.with_suffix(".png"), film):
        shown = run(*command, "--from-file", listed, "--out", f"{sheet}.png", "--gif", film)
    assert printable(film.name) in shown.out
    with Image.open(film) as image:
        assert image.info.get("comment", b"") == b""
    again = tmp_path / "\x1b[2Jagain[red].png"
    with only_inside(again):
        made = json.loads(run("sample", "--again", f"{sheet}.png", "--out", again, "--json").out)
    assert made["files"] == [str(again)] and again.read_bytes() == sheet.with_suffix(".png").read_bytes()
    print(f"{len(prompts)} prompts: {len(files)} files in the folder, none elsewhere")


@pytest.mark.parametrize("every", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_a_sheet_named_after_its_prompt(
    tmp_path: Path, hostile_run: Path, monkeypatch: pytest.MonkeyPatch, every: int
) -> None:
    monkeypatch.chdir(tmp_path)
    names = [name for k, name in enumerate(NAMES) if k % every == 0 or name in HALVES]
    made = set()
    for name in names:
        command = ["sample", "--model", hostile_run, "--count", "1", "--steps", "1", "--json", "--", name]
        if name in HALVES:
            assert run(*command, code=2).err == "error: a prompt is not UTF-8 text\n"
            continue
        with only_inside(tmp_path):
            (file,) = json.loads(run(*command).out)["files"]
        assert re.fullmatch(r"[\w-]+\.png", file) and file not in made and len(os.fsencode(file)) < 200
        assert read_settings(tmp_path / file)["prompts"] == [name]
        made.add(file)
    assert {path.name for path in tmp_path.iterdir()} == made
    print(f"{len(names)} prompts without --out: {len(made)} sheets here, none elsewhere")


FIELDS = ("prompts", "negative", "seed", "count", "recipe", "batch", "precision", "only", "model", "weights", "encoder")


@pytest.mark.parametrize("every", [17, pytest.param(1, marks=pytest.mark.slow)])
def test_a_picture_to_make_again_names_no_place_to_write_to(tmp_path: Path, hostile_run: Path, every: int) -> None:
    """Each of what a picture says replaced by a stranger's name, and the whole of it."""
    picture = tmp_path / "picture.png"
    run("sample", "", "--model", hostile_run, "--count", "1", "--steps", "1", "--out", picture)
    settings = read_settings(picture)
    blank = Image.new("L", (40, 40), 255)
    codes = Counter[int]()
    for k, (name, place) in enumerate(itertools.product(whole(NAMES), (*FIELDS, ""))):
        if k % every:
            continue
        if place:
            save_png(picture, blank, settings | {place: [name] if place == "prompts" else name})
        else:
            chunks = PngInfo()
            chunks.add_itxt(SETTINGS_KEY, name)
            blank.save(picture, pnginfo=chunks)
        before = {path.name for path in tmp_path.iterdir()}
        with only_inside(tmp_path, nothing=True):
            screen = run("sample", "--again", picture, "--encoder", tmp_path / "none", code=None)
        codes[screen.code] += 1
        assert {path.name for path in tmp_path.iterdir()} - before <= {"picture-again.png"}
        if screen.code:
            assert re.search(r"(^|\n[^\n]*)error: [^\n]+\n$", screen.err), screen.err
    assert codes[0] + codes[1] + codes[2] == sum(codes.values()) and min(codes[0], codes[1], codes[2]) > 0
    print(f"{sum(codes.values())} hostile pictures: {codes[0]} made again beside themselves, the others told in a line")


class Page(HTMLParser):
    """The elements and the attributes of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: Counter[str] = Counter()
        self.attributes: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements[tag] += 1
        self.attributes |= {name for name, _ in attrs}


def test_a_map_of_strangers_fonts_and_pictures(tmp_path: Path, world: World, hostile_run: Path) -> None:
    prompts = whole(NAMES)
    pictures, out = tmp_path / "\x1b[2Jpictures", tmp_path / "\x1b]0;map\x07[red]"
    draw = ["sample", "--model", hostile_run, "--count", "1", "--steps", "1", "--batch", "64", "--out"]
    run(*draw, pictures, "--", *prompts)
    (pictures / "\u202e[link=x].png").write_bytes(next(pictures.iterdir()).read_bytes())
    glyphs = open_glyphs(world.data)
    points = torch.rand(len(glyphs), 2)  # laying them out takes longer than all the rest, and no names
    basis = torch.linalg.qr(torch.randn(32**2, 8))[0]
    near = torch.arange(len(glyphs))[:, None].flip(0).int()
    drawn = Map(points, points.flip(1), Subspace(torch.full((32**2,), 200.0), basis), near)
    save_map(world.data, drawn, glyphs.fingerprint(), MapSettings())
    traced = [word for name in (STEERING[1], STEERING[8], MEANT[10], MEANT[18]) for word in ("--trace", name)]
    command = ["visualize-umap", "--data", world.data, "--with", pictures, "--model", hostile_run, *traced]
    with only_inside(out):
        shown = run(*command, "--out", out)
    assert shown.out.splitlines() == [printable(str(out / name)) for name in ("umap.png", "umap.html")]
    page, text = Page(out / "umap.html"), (out / "umap.html").read_text(encoding="utf-8")
    assert page.elements["script"] == 2 and page.elements["img"] == 0 and "onerror" not in page.attributes
    assert all(c.isprintable() or c == "\n" for c in text)
    with Image.open(out / "umap.png") as image:
        assert all(c.isprintable() for value in image.info.values() if isinstance(value, str) for c in value)
    for name in HALVES:
        assert run(*command, "--out", tmp_path / "none", "--trace", name, code=2).err.endswith("is not UTF-8 text\n")
    print(f"{len(prompts) + 1} pictures and {len(glyphs.fonts)} fonts in a map: all elements and files are ours")


def strangers_pictures(folder: Path) -> Path:
    """An image–caption folder in which every field of a row is a stranger's name."""
    folder.mkdir()
    rows = []
    for k, name in enumerate(whole(NAMES)):
        file = next((file for file in on_disk((name,), ".png") if file == utf8_name(file)), f"{k}.png")
        Image.new("L", (32, 32), 40 + 3 * k).save(folder / file)
        rows.append({"file_name": file, "text": name, "character": name, "font": name, "radical": 1 + k % 3})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def test_figures_for_strangers_prompts_and_characters(
    tmp_path: Path, world: World, hostile_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    pictures = strangers_pictures(tmp_path / "\x1b[2Jpictures\u202e[red]")
    of_model = ("--model", hostile_run, "--figure", "beside")
    for data, prompt, figures in ((world.data, STEERING[8], of_model), (pictures, MEANT[19], ("--figure", "pixels"))):
        out = tmp_path / f"\x1b]0;{figures[-1]}\x07[red]"
        with only_inside(out, temporary):
            shown = run("noise-demo", "--data", data, "--prompt", prompt, "--out", out, *figures)
        assert printable(str(out / "index.html")) in shown.out
        page, text = Page(out / "index.html"), (out / "index.html").read_text(encoding="utf-8")
        assert page.elements["script"] == 2 and page.elements["img"] == 1 and "onerror" not in page.attributes
        assert all(c.isprintable() or c == "\n" for c in text)
    for name in (*(name for name in NAMES if len(name) != 1), "\0", "\x1b", "\x9b", "\u202e", "\u200b", "\ud800"):
        done = run("noise-demo", "--data", pictures, "--char", name, "--out", tmp_path / "none", code=2)
        assert re.fullmatch(r"error: --char takes one character, not [^\n]+\n", done.err)
    assert not (tmp_path / "none").exists()


def hostile_prompts(path: Path) -> Path:
    """A file for --prompts: strangers' prompts and a radical for each."""
    lines = [f"{json.dumps(name, ensure_ascii=False)} = {1 + k % 214}" for k, name in enumerate(whole(NAMES))]
    path.write_text("\n".join(["[prompts]", *lines]).replace("\x7f", "\\u007f"), encoding="utf-8")
    assert [prompt.text for prompt in read_prompts(path)] == whole(NAMES)
    return path


def returns(report: Any) -> Callable[[Any], Iterator[Any]]:
    def workflow(options: Any) -> Generator[Event, None, Any]:
        yield Progress(NAMES[22], 1, 2, "glyphs", NAMES[23])
        return report

    return workflow


def test_names_in_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tables of reports that hold strangers' names, in a terminal and as JSON."""
    figure = Estimate(0.5, 0.25, 0.75, 16)
    rows = [PromptRow(prompt.text, list(prompt.radicals), figure, None)
            for prompt in read_prompts(hostile_prompts(tmp_path / "prompts.toml"))]  # fmt: skip
    out = tmp_path / "\x1b[2J[red].json"
    how, figures = Recipe().as_plain(), [Row("ink", figure, figure, "share", "")]
    evaluation = EvaluateReport(out, out, {}, {}, {}, how, figures, rows, 1.0, [], 1.0)
    judged = ClassifierReport(out, 100, figure, dict.fromkeys(NAMES, figure), 1.0)
    claims = CheckReport(
        [CheckedClaim(name, name, name, "does not hold", name, {}, {}, *[name] * 4) for name in NAMES], NAMES[22], 1.0
    )
    monkeypatch.setattr(evaluate_workflow, "evaluate", returns(evaluation))
    monkeypatch.setattr(classifier_workflow, "make_classifier", returns(judged))
    monkeypatch.setattr(noise_workflow, "check", returns(claims))
    monkeypatch.setitem(TERMINAL, "COLUMNS", "2000")
    for command in (["evaluate"], ["evaluate", "--train-classifier"], ["noise-demo", "--check"]):
        told, plain = run(*command).out, run(*command, "--json").out
        assert json.loads(plain) and plain.isascii() and plain.count("\n") == 1
        for name in whole(NAMES):
            assert printable(name).strip() in told
    print(f"{len(NAMES)} names in 3 tables and 3 lines of JSON")


@pytest.mark.slow
def test_strangers_prompts_are_evaluated(tmp_path: Path, noto_sans: Path, unihan: Path, tiny_run: Path) -> None:
    data, out = tmp_path / "data", tmp_path / f"\x1b[2J\u202e[red]{os.fsdecode(bytes([255]))}.json"
    run("prepare", noto_sans, "--definitions", unihan, "--range", "4EBA-51FF", "--size", "32", "--out", data)
    command = ["evaluate", "--data", data, "--model", tiny_run, "--prompts", hostile_prompts(tmp_path / "x.toml")]
    with only_inside(tmp_path):
        shown = run(*command, "--count", "1", "--pictures", "24", "--steps", "1", "--batch", "64", "--out", out)
    assert printable(out.name) in shown.out.replace("\n", "")
    assert [row["prompt"] for row in json.loads(out.read_text(encoding="utf-8"))["prompts"]] == whole(NAMES)


def test_pictures_and_shards_outside_their_folder_are_not_read(tmp_path: Path, workshop: Workshop) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.new("L", (32, 32)).save(tmp_path / "secret.png")
    for name in ("../secret.png", str(tmp_path / "secret.png"), "a/../../secret.png", "..", "\x1b[2J/../x.png"):
        (folder / "metadata.jsonl").write_text(json.dumps({"file_name": name, "text": "x"}) + "\n", encoding="utf-8")
        shown = run("embed", "--data", folder, code=1)
        assert shown.err.endswith("which is outside its folder\n")
    data = tmp_path / "data"
    shutil.copytree(workshop.data, data)
    (data / "glyphs-00000.safetensors").rename(tmp_path / "secret.safetensors")
    manifest = json.loads((data / "manifest.json").read_text(encoding="utf-8"))
    manifest["shards"][0]["file"] = "../secret.safetensors"
    del manifest["blake2b"]
    text = json.dumps(manifest, indent=2).removesuffix("\n}")
    (data / "manifest.json").write_bytes(add_digest(text.encode()))
    assert run("embed", "--data", data, code=1).err.endswith("which is outside its folder\n")


def test_names_that_are_no_utf8(tmp_path: Path, workshop: Workshop, tiny_run: Path, noto_sans: Path) -> None:
    """Fonts and pictures may have them; what safetensors could not open again is refused before the work."""
    odd = os.fsdecode(b"\xff\xfe")
    (tmp_path / f"{odd}.ttc").symlink_to(noto_sans)
    table = tmp_path / f"{odd}.tsv"
    table.write_text("一\tone\n丁\tnail\n", encoding="utf-8")
    prepare = ["prepare", tmp_path / f"{odd}.ttc", "--definitions", table, "--size", "32", "--out"]
    run(*prepare, tmp_path / "data")
    assert open_glyphs(tmp_path / "data").fonts[0].file == "??.ttc"
    draw = ["sample", "", "--model", tiny_run, "--count", "1", "--steps", "1", "--out"]
    assert run(*draw, tmp_path / f"{odd}.png").out == f"{tmp_path}/\\udcff\\udcfe.png\n"
    (made,) = json.loads(run(*draw, tmp_path / f"{odd}.png", "--json").out)["files"]
    assert Path(made).is_file()
    before = sorted(tmp_path.iterdir())
    for command in (
        prepare,
        ["train", "--data", workshop.data, "--config", workshop.config, "--gpus", "0", "--out"],
        ["export", tiny_run, "--encoder", workshop.encoder, "--format", "diffusers", "--out"],
        ["evaluate", "--train-classifier", "--data", workshop.data, "--classifier"],
        ["sample", "x", "--model"],
        ["embed", "--data", workshop.data, "--encoder"],
    ):
        refused = run(*command, tmp_path / odd, code=1)
        assert re.search(r"error: [^\n]*\\udcff\\udcfe[^\n]*\n$", refused.err)
    assert sorted(tmp_path.iterdir()) == before
    assert "\\u202e" in run("sample", "x", "--\u202e", code=2).err


def test_an_export_of_a_strangers_run(tmp_path: Path, hostile_run: Path) -> None:
    out = tmp_path / "\x1b]0;export\x07[red]\u202e"
    with only_inside(out):
        shown = run("export", hostile_run, "--format", "diffusers", "--out", out)
    assert shown.out.startswith(f"{printable(str(out))}: ")
    for file in out.rglob("*"):
        assert file.suffix not in (".md", ".json") or all(
            c.isprintable() or c in "\n\t" for c in file.read_text("utf-8")
        )
