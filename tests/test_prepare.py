import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from glyffctl.core.data.caption_table import captions_digest
from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.errors import DefinitionsError, FontError, OutputError, UsageError
from glyffctl.workflows import omissions
from glyffctl.workflows import prepare as workflow
from glyffctl.workflows.events import Event, Progress, finish
from glyffctl.workflows.prepare import PrepareOptions, PrepareReport, prepare
from glyffctl.workflows.prepare_captions import parse_ranges
from tests.command_line import app
from tests.conftest import cautions, follow, of_kind
from tests.fontmaker import make_font, make_variable

pytestmark = pytest.mark.usefixtures("font_workers_once")

FULL = (0, -120, 1000, 880)


@pytest.fixture
def font(tmp_path):
    """一丁 drawn, 丂 blank, 七 sent to .notdef, 𠀀 drawn."""
    return make_font(
        tmp_path / "fonts" / "good.ttf",
        {0x4E00: FULL, 0x4E01: (0, 0, 400, 400), 0x4E02: None, 0x20000: FULL},
        undrawn=(0x4E03,),
        name="Good",
    )


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "table.tsv"
    path.write_text(
        "一\tone; (same as U+58F9 壹) 1\n丁\tnail\n丂\tbreath\n七\tseven\n𠀀\tone; 1\n万\tvariant of 萬\n",
        "utf-8",
    )
    return path


@pytest.fixture
def options(tmp_path, font, table):
    return PrepareOptions(fonts=(font.parent,), definitions=table, size=32, out=tmp_path / "data")


def changed(options: PrepareOptions, **changes: Any) -> PrepareOptions:
    return replace(options, **changes)


def run(options: PrepareOptions) -> tuple[list[Event], PrepareReport]:
    return follow(prepare(options))


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_what_is_drawn_and_what_is_left_out_is_listed(options):
    events, report = run(options)
    assert (report.glyphs, report.characters, report.in_cjk) == (3, 3, 2)
    assert report.glyphs_of == {"Good": 3}
    assert report.left_out == {omissions.NOTHING_LEFT: 1, omissions.NOT_COVERED: 1, omissions.BLANK: 1}
    assert any(isinstance(event, Progress) for event in events)
    data = open_glyphs(options.out)
    assert data.size == 32 and [c.character for c in data.characters] == ["一", "丁", "𠀀"]
    assert data.captions == ["one; 1", "one", "nail"] and data.caption_of.tolist() == [0, 2, 0]
    assert report.captions_sha256 == captions_digest(data.captions)
    assert data.images(torch.arange(3)).float().mean((1, 2, 3)).lt(255).all()
    manifest = json.loads((options.out / "manifest.json").read_text())
    assert manifest["left_out"] == report.left_out
    assert manifest["options"] == {
        "range": None,
        "faces": "best",
        "fit": "ink",
        "weight": None,
        "alternate_captions": True,
        "format": "glyphs",
    }
    assert manifest["definitions"]["source"] == "table.tsv" and manifest["font_files"][0]["source"] == "good.ttf"
    assert manifest["cleaned"]["cross-reference"] == 1
    left_out = {row["character"]: row["reason"] for row in rows(options.out / "left_out.jsonl")}
    assert left_out == {"万": omissions.NOTHING_LEFT, "七": omissions.NOT_COVERED, "丂": omissions.BLANK}
    cleaning = {row["codepoint"]: row for row in rows(options.out / "cleaning.jsonl")}
    assert cleaning["U+4E00"]["before"] == "one; (same as U+58F9 壹) 1" and cleaning["U+4E00"]["after"] == "one; 1"
    assert cleaning["U+4E07"]["after"] == "" and all(row["rules"] for row in cleaning.values())
    assert list(options.out.parent.glob(".data*")) == []


def test_every_font_draws_every_character_it_has(options, tmp_path):
    make_font(tmp_path / "fonts" / "more.ttf", {0x4E01: FULL, 0x4E03: FULL}, name="More")
    _, report = run(options)
    assert report.glyphs_of == {"Good": 3, "More": 2} and report.characters == 4
    data = open_glyphs(options.out)
    assert [font.name for font in data.fonts] == ["Good", "More"]
    assert data.font_of.tolist() == [0, 0, 0, 1, 1]
    assert "".join(data.characters[i].character for i in data.character_of.tolist()) == "一丁𠀀丁七"


def test_one_bad_font_among_good_ones_is_named_and_skipped(options, tmp_path):
    (tmp_path / "fonts" / "bad.ttf").write_text("no font")
    make_font(tmp_path / "fonts" / "latin.ttf", {0x41: FULL})
    events, report = run(options)
    skipped = [Path(str(event.facts["font"])).name for event in of_kind(events, "font-skipped")]
    assert skipped[-2:] == ["bad.ttf", "latin.ttf"] and cautions(events)[1:] == ["font-skipped"] * 2
    assert report.glyphs == 3


def test_ranges_choose_and_the_rest_is_counted(options):
    _, report = run(changed(options, ranges="4E00,U+20000-U+2FFFF"))
    assert report.characters == 2 and report.left_out == {omissions.OUT_OF_RANGE: 4}
    for nobody in ("3400-3500", "ABC", "D800-DFFF"):
        with pytest.raises(UsageError, match=rf"`ranges` '{nobody}' holds no character that .*table\.tsv.*4E00-9FFF"):
            finish(prepare(changed(options, ranges=nobody, overwrite=True)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        *((text, "is not a range.*write 4E00-9FFF") for text in ("", " ", "4E00-", "-", "x", "一-龥", "4E00..9FFF")),
        *(
            (text, "is not a range.*write 4E00-9FFF")
            for text in ("4E00-9FFF-A", "0x4E00", "4E00,,5", "U+", "4E00–9FFF")
        ),
        *((text, "is not a range.*write 4E00-9FFF") for text in ("4E00 9FFF", "4E00-9FFF;5000", "1234567", "٤٤٤٤")),
        ("9FFF-4E00", "ends before it begins; write 4E00-9FFF"),
        ("4E00,U+9FFF-U+4E00", "ends before it begins; write 4E00-9FFF"),
        *((text, r"beyond U\+10FFFF.*4E00-9FFF") for text in ("4E00-110000", "110000", "FFFFFF-4E00")),
    ],
)
def test_ranges_that_are_none_are_refused_with_an_example(options, text, message):
    with pytest.raises(UsageError, match=rf"`ranges` .*{message}"):
        parse_ranges(text)
    with pytest.raises(UsageError, match="`ranges`"):
        finish(prepare(changed(options, ranges=text)))


def test_ranges_are_read():
    assert parse_ranges("u+3400-4dbf, U+9502") == [range(0x3400, 0x4DC0), range(0x9502, 0x9503)]


@pytest.mark.parametrize("size", [0, 7, 1025, -1])
def test_sizes_that_make_no_sense_are_refused(options, size):
    with pytest.raises(UsageError, match="8…1024"):
        finish(prepare(changed(options, size=size)))


@pytest.mark.parametrize("size", [8, 1024])
def test_the_smallest_and_the_largest_size_work(options, size):
    finish(prepare(changed(options, size=size)))
    assert open_glyphs(options.out).images(torch.tensor([0])).shape == (1, 1, size, size)


# --- what is already there ---


def test_overwriting_replaces_all_and_keeps_fitting_embeddings(options):
    finish(prepare(options))
    (options.out / "embeddings.safetensors").write_bytes(b"cached")
    report = finish(prepare(changed(options, size=16, format="imagefolder", overwrite=True)))
    assert report.embeddings_kept and (options.out / "embeddings.safetensors").read_bytes() == b"cached"
    assert not list(options.out.glob("glyphs-*")) and not report.up_to_date
    report = finish(prepare(changed(options, ranges="4E01", overwrite=True)))
    assert not report.embeddings_kept and not (options.out / "embeddings.safetensors").exists()
    assert not (options.out / "images").exists()


def tree(folder: Path) -> dict[Path, tuple[bytes, int]]:
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("form", ["glyphs", "imagefolder"])
def test_the_same_again_does_nothing_and_says_the_same(options, monkeypatch, form):
    asked = changed(options, format=form, ranges="4E00-4E0F,20000")
    first = finish(prepare(asked))
    (options.out / "embeddings.safetensors").write_bytes(b"cached")
    before = tree(options.out)
    monkeypatch.setattr(workflow, "font_workers", None)
    again = finish(prepare(changed(asked, ranges="u+4e00-U+4E0F, 20000")))
    assert again.up_to_date and tree(options.out) == before
    assert replace(again, up_to_date=False, embeddings_kept=False, seconds=0) == replace(first, seconds=0)
    monkeypatch.undo()
    assert not finish(prepare(changed(asked, overwrite=True))).up_to_date


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"size": 16}, "--size"),
        ({"ranges": "4E00"}, "--range"),
        ({"faces": "all"}, "--faces"),
        ({"fit": "metrics"}, "--fit"),
        ({"alternate_captions": False}, "--alternate-captions"),
        ({"format": "imagefolder"}, "--format"),
        ({"size": 16, "ranges": "4E00"}, "--size, --range"),
    ],
)
def test_data_made_with_other_settings_stays(options, changes, named):
    finish(prepare(options))
    before = tree(options.out)
    with pytest.raises(
        OutputError, match=rf"data holds 3 glyphs made with other settings \({named}\).*--overwrite.*--out"
    ):
        finish(prepare(changed(options, **changes)))
    assert tree(options.out) == before and finish(prepare(options)).up_to_date


def test_data_made_from_other_files_stays(options, font, table, tmp_path, monkeypatch):
    def refused(words: str, **changes: Any) -> None:
        with pytest.raises(OutputError, match=rf"made {words}.*--overwrite"):
            finish(prepare(changed(options, **changes)))

    finish(prepare(options))
    more = make_font(tmp_path / "more.ttf", {0x4E01: FULL, 0x4E03: FULL}, name="More")
    refused(r"with other settings \(fonts\)", fonts=(font, more))
    refused(r"with other settings \(fonts\)", fonts=(more,))
    text = table.read_text("utf-8")
    table.write_text(text.replace("nail", "a nail"), "utf-8")
    refused(r"with other settings \(definitions\)")
    table.write_text(text, "utf-8")
    with monkeypatch.context() as patch:
        patch.setattr(workflow, "__version__", "0")
        refused(r"with other settings \(another version of glyffctl\)")
    assert finish(prepare(options)).up_to_date
    manifest = json.loads((options.out / "manifest.json").read_text())
    for key in ("made_by", "font_files"):
        del manifest[key]
    (options.out / "manifest.json").write_text(json.dumps(manifest))
    refused("by an earlier version of glyffctl")


def test_radicals_that_came_from_another_file_count_as_other_definitions(options, tmp_path):
    readings, radicals = tmp_path / "Unihan_Readings.txt", tmp_path / "Unihan_IRGSources.txt"
    readings.write_text("U+4E00\tkDefinition\tone\n", "utf-8")
    radicals.write_text("U+4E00\tkRSUnicode\t1.0\n", "utf-8")
    asked = changed(options, definitions=readings)
    finish(prepare(asked))
    assert finish(prepare(asked)).up_to_date
    radicals.write_text("U+4E00\tkRSUnicode\t2.0\n", "utf-8")
    with pytest.raises(OutputError, match=r"\(definitions\)"):
        finish(prepare(asked))


@pytest.mark.parametrize("file", ["glyphs-00000.safetensors", "characters.jsonl"])
def test_damaged_data_is_not_up_to_date(options, file):
    finish(prepare(options))
    (options.out / file).write_bytes((options.out / file).read_bytes()[:-40])
    with pytest.raises(
        OutputError, match=rf"cannot be used: .*{file}.*--overwrite|cannot be used: .*{file}.*--definitions"
    ):
        finish(prepare(options))
    finish(prepare(changed(options, overwrite=True)))
    assert finish(prepare(options)).up_to_date


def test_an_empty_folder_is_filled(options):
    options.out.mkdir()
    assert finish(prepare(options)).glyphs == 3


def test_what_prepare_did_not_make_stays(options, tmp_path):
    options.out.write_text("mine")
    with pytest.raises(OutputError, match="it is a file"):
        finish(prepare(options))
    assert options.out.read_text() == "mine"
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    for name, content in (("notes.txt", "mine"), ("manifest.json", '{"name": "an app"}')):
        (foreign / name).write_text(content)
        with pytest.raises(OutputError, match="did not make"):
            finish(prepare(changed(options, out=foreign)))
    assert (foreign / "notes.txt").read_text() == "mine"
    options.out.unlink()
    finish(prepare(options))
    (options.out / "diary.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(OutputError, match=r"diary\.txt"):
            finish(prepare(changed(options, overwrite=overwrite)))


@pytest.mark.parametrize("out", ["file/data", "/proc/data"])
def test_a_place_that_cannot_be_written_fails_before_drawing(options, tmp_path, monkeypatch, out):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(workflow, "font_workers", None)
    with pytest.raises(OutputError, match="cannot write"):
        finish(prepare(changed(options, out=tmp_path / out)))


def test_a_run_given_up_leaves_the_old_data(options):
    finish(prepare(options))
    before = (options.out / "manifest.json").read_bytes()
    work = prepare(changed(options, size=64, overwrite=True))
    next(work)
    work.close()
    assert (options.out / "manifest.json").read_bytes() == before
    assert [path.name for path in options.out.parent.iterdir() if path.name.startswith(".")] == []


# --- fonts and definitions that cannot be used ---


@pytest.mark.parametrize("content", [b"", b"no font", None])
def test_a_single_bad_font_is_the_error(options, font, tmp_path, content):
    data = font.read_bytes()
    bad = tmp_path / "bad.ttf"
    bad.write_bytes(data[: len(data) - 30] if content is None else content)
    with pytest.raises(FontError, match=r"bad\.ttf"):
        finish(prepare(changed(options, fonts=(bad,))))
    assert not options.out.exists()


def test_fonts_without_han_or_without_ink_are_errors(options, tmp_path):
    latin = make_font(tmp_path / "latin" / "latin.ttf", {0x41: FULL})
    shutil.copy(latin, latin.with_name("second.ttf"))
    with pytest.raises(FontError, match=r"latin\.ttf has none of the 5 characters .*1 more"):
        finish(prepare(changed(options, fonts=(latin.parent,))))
    blank = make_font(tmp_path / "blank.ttf", {0x4E00: None})
    with pytest.raises(FontError, match="blank"):
        finish(prepare(changed(options, fonts=(blank,))))
    (tmp_path / "empty").mkdir()
    for path in ("empty", "missing"):
        with pytest.raises(FontError, match=path):
            finish(prepare(changed(options, fonts=(tmp_path / path,))))


@pytest.mark.parametrize("content", [b"", "锂\tx".encode("gbk"), bytes(range(256)), b"PK\x03\x04 no zip"])
def test_bad_definitions_are_named(options, tmp_path, content):
    (tmp_path / "bad.tsv").write_bytes(content)
    with pytest.raises(DefinitionsError, match=r"bad\.tsv"):
        finish(prepare(changed(options, definitions=tmp_path / "bad.tsv")))
    assert not options.out.exists()


def write_table(options: PrepareOptions, text: str) -> PrepareOptions:
    assert options.definitions is not None
    options.definitions.write_text(text, "utf-8")
    return options


@pytest.mark.parametrize("text", ["一\tone\n丁\t\n七\t \n", "character,definition\n一,one\n丁,\n七,\n", None])
def test_rows_without_a_definition_are_left_out_by_name(options, text):
    rows_ = [{"character": "一", "definition": "one"}, {"character": "丁"}, {"character": "七", "definition": []}]
    _, report = run(write_table(options, text or "".join(json.dumps(row) + "\n" for row in rows_)))
    assert report.characters == 1 and report.left_out == {omissions.NO_DEFINITION: 2}
    left_out = {row["character"]: row["reason"] for row in rows(options.out / "left_out.jsonl")}
    assert left_out == {"丁": "no definition", "七": "no definition"}


def test_every_meaning_of_a_character_is_told(options):
    run(write_table(options, "一\tone, single\n丁\tnail\n一\twhole\n"))
    one = open_glyphs(options.out).characters[0]
    assert one.definition == "one, single; whole" and one.alternate_captions == ("one", "single", "whole")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("一\t壹\n丁\t釘子，丁香！\n七\tvariant of 柒\n", "all 3 definitions are Han text or only point at"),
        ("一\t壹\n", "the only definition is Han text or only points at"),
        ("一\t壹\n丁\t" + "x" * 2001, "all 2 definitions are Han text.*or longer than 2,000"),
        ("一\t" + "x" * 2001, "the only definition is longer than 2,000 characters"),
    ],
)
def test_definitions_without_english_are_the_error_and_not_the_font(options, text, message):
    with pytest.raises(DefinitionsError, match=rf"table\.tsv.*: {message}.*captions must be"):
        finish(prepare(write_table(options, text)))
    with pytest.raises(DefinitionsError, match=rf"table\.tsv, `ranges` '4E00-9FFF': {message}"):
        finish(prepare(changed(options, ranges="4E00-9FFF")))


@pytest.mark.parametrize(("chinese", "told"), [(1, False), (3, True)])
def test_many_definitions_without_english_are_a_caution(options, chinese, told):
    english = "".join(f"{chr(0x4E10 + k)}\tword {k}\n" for k in range(16))
    text = english + "一\tone\n" + "".join(f"{chr(0x5000 + k)}\t壹貳\n" for k in range(chinese))
    events, report = run(write_table(options, text))
    assert report.left_out[omissions.NOTHING_LEFT] == chinese
    facts = [event.facts for event in of_kind(events, "definitions-skipped")]
    assert facts == [{"skipped": chinese, "total": 17 + chinese}] * told


def test_the_command_tells_what_is_left_out_and_what_is_there(options, table):
    command = ["prepare", options.fonts[0], "--definitions", table, "--size", "32", "--range", "4E00-9FFF"]

    def told(*more: str, code: int = 0) -> str:
        done = CliRunner().invoke(app, [*map(str, command), "--out", str(options.out), *more])
        assert done.exit_code == code, done.output
        return done.stdout + done.stderr

    first = told()
    for count, why in ((1, omissions.OUT_OF_RANGE), (1, omissions.NOT_COVERED), (1, omissions.NOTHING_LEFT)):
        assert f"{count} ({why})" in " ".join(first.split())
    again = told()
    assert "up to date" in again and "2 glyphs" in again and f"1 ({omissions.NOT_COVERED})" in " ".join(again.split())
    report = json.loads(told("--json"))
    assert report["up_to_date"] is True and report["left_out"][omissions.OUT_OF_RANGE] == 1
    assert "--overwrite" in told("--fit", "metrics", code=1)
    assert json.loads(told("--fit", "metrics", "--overwrite", "--json"))["up_to_date"] is False
    for empty in ("", "ABC", "9FFF-4E00"):
        refused = told("--range", empty, "--overwrite", code=2)
        assert "--range" in refused and "4E00-9FFF" in refused and "{" not in refused


# --- fonts with names and weights ---


@pytest.mark.parametrize("form", ["glyphs", "imagefolder"])
def test_fonts_of_one_name_keep_their_pictures_apart(options, tmp_path, form):
    for folder, box in (("a", (0, 0, 300, 600)), ("b", (0, 0, 600, 300))):
        make_font(tmp_path / "twins" / folder / "font.ttf", {0x4E00: box, 0x4E01: box}, name="Same")
    _, report = run(changed(options, fonts=(tmp_path / "twins",), format=form))
    assert report.glyphs == 4 and report.glyphs_of == {"Same": 2, "Same (2)": 2}
    data = open_glyphs(options.out)
    assert [(font.file, font.name) for font in data.fonts] == [("a/font.ttf", "Same"), ("b/font.ttf", "Same (2)")]
    assert data.font_of.tolist() == [0, 0, 1, 1]
    tall, wide = data.images(torch.tensor([0, 2]))[:, 0] < 128
    assert tall.any(1).sum() > tall.any(0).sum() and wide.any(1).sum() < wide.any(0).sum()


def test_weights_are_drawn_recorded_and_refused(options, tmp_path):
    plain = make_font(tmp_path / "plain.ttf", {0x4E00: (300, 100, 400, 700)}, name="Made")
    path = make_variable(plain, tmp_path / "v.ttf", 0x4E00, 400, axis=(100, 100, 900))
    ink, names = [], []
    for weight in (None, 700):
        events, _ = run(changed(options, fonts=(path,), weight=weight, overwrite=True))
        data = open_glyphs(options.out)
        ink.append(float((data.images(torch.tensor([0])) < 128).sum()))
        names.append(data.fonts[0].name)
        assert not of_kind(events, "weight-ignored")
        assert json.loads((options.out / "manifest.json").read_text())["options"]["weight"] == weight
    assert names == ["Made, weight 400", "Made, weight 700"] and ink[0] < ink[1]
    with pytest.raises(FontError, match="100 to 900"):
        run(changed(options, fonts=(path,), weight=1000, overwrite=True))
    for weight in (0, 99, 1001):
        with pytest.raises(UsageError, match="100…1000"):
            run(changed(options, fonts=(path,), weight=weight))
    events, _ = run(changed(options, fonts=(path, plain, options.fonts[0]), weight=700, overwrite=True))
    [caution] = of_kind(events, "weight-ignored")
    assert caution.facts == {"weight": 700, "fonts": ("Made", "Good")}


# --- the real thing ---


def test_image_folders_are_read_by_datasets_and_by_us(options, tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    finish(prepare(options))
    expected = open_glyphs(options.out)
    pictures = changed(options, format="imagefolder", out=tmp_path / "pictures")
    finish(prepare(pictures))
    (pictures.out / "embeddings.safetensors").write_bytes(b"as embed leaves it")
    data = open_glyphs(pictures.out)
    assert data.characters == expected.characters and data.fonts == expected.fonts
    assert data.captions == expected.captions and (data.mean, data.std) == (expected.mean, expected.std)
    everything = torch.arange(3)
    assert torch.equal(data.images(everything), expected.images(everything))
    loaded = datasets.load_dataset(
        "imagefolder", data_dir=str(pictures.out), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert len(loaded) == 3
    assert [row["text"] for row in loaded] == ["one; 1", "nail", "one; 1"]
    assert loaded[0]["image"].size == (32, 32) and loaded[2]["codepoint"] == "U+20000"
    assert loaded[0]["font"] == "Good"


def test_without_arguments_the_system_is_asked_and_named(tmp_path, noto_sans, unihan, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    events, report = run(PrepareOptions(size=16, ranges="9500-950F", out=tmp_path / "data"))
    assert len(of_kind(events, "font-chosen")) == 1
    assert [event.facts for event in of_kind(events, "definitions-chosen")] == [{"definitions": unihan}]
    data = open_glyphs(tmp_path / "data")
    lithium = next(character for character in data.characters if character.codepoint == 0x9502)
    told = ("lithium", "lithium (element 3, Li); gold", "gold", "metals in general")
    assert lithium == (0x9502, "锂", "lithium (element 3, Li)", 167, told)
    assert report.characters == len(data.characters) >= 15


@pytest.mark.thorough
def test_noto_sans_and_unihan_give_the_reference_data(tmp_path, noto_sans, unihan):
    report = finish(prepare(PrepareOptions(fonts=(noto_sans,), definitions=unihan, size=32, out=tmp_path / "data")))
    assert report.in_cjk >= 20_400
    assert report.glyphs == report.characters > 21_000
    assert sum(report.left_out.values()) + report.characters == 22_903
    assert omissions.PLACEHOLDER not in report.left_out
    data = open_glyphs(tmp_path / "data")
    assert any((character.codepoint or 0) > 0xFFFF for character in data.characters)
    assert any(0xF900 <= (character.codepoint or 0) <= 0xFAFF for character in data.characters)
    assert 0.3 < data.mean < 0.7
