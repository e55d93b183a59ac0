"""`glyffctl export --format ttf`: a font that shapers, renderers and browsers show like the pictures it is made of."""

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import freetype
import numpy as np
import pytest
import uharfbuzz
from click.testing import CliRunner
from fontTools.feaLib.builder import addOpenTypeFeaturesFromString
from fontTools.pens.pointPen import PointToSegmentPen
from fontTools.pens.recordingPen import RecordingPen
from fontTools.ttLib import TTFont
from fontTools.ufoLib import UFOReader
from PIL import Image

from glyffctl.core.data.fonts import GlyphRenderer, read_face
from glyffctl.core.errors import DataError, GlyffError, OutputError, UsageError
from glyffctl.core.io.images import near_square, save_png, sheet
from glyffctl.core.outlines.contours import signed_area
from glyffctl.core.outlines.font import ASCENT, DESCENT, EM_FRACTION, RECORD_TAG, UNITS, FontGlyph, build_font
from glyffctl.core.outlines.ligatures import LONGEST, cases, numbered, typed
from glyffctl.core.outlines.trace import trace
from glyffctl.workflows.events import Caution, finish
from glyffctl.workflows.export_font import FontOptions, FontReport, export_font, read_codepoints
from glyffctl.workflows.font_pictures import find_pictures, read_pictures
from tests.command_line import app
from tests.conftest import cautions, crashed, follow

SIZE = 96
PROMPTS = ("gold", "a kind of fish", "gold", "Ärger, 鋰")
FORMATS = ("ttf", "otf", "woff2")


def settings(*prompts: str, count: int = 1, only: int | None = None, seed: int = 7) -> dict[str, Any]:
    return {
        "glyffctl": "0",
        "prompts": list(prompts),
        "seed": seed,
        "count": count,
        "only": only,
        "recipe": {"steps": 3},
    }


@pytest.fixture(scope="module")
def glyphs(noto_sans: Path) -> list[np.ndarray]:
    face, _ = read_face(noto_sans, 2)
    renderer = GlyphRenderer(face, SIZE, "ink")
    found = [renderer.draw(ord(character)) for character in "金魚鑫鋰"]
    return [picture for picture in found if picture is not None]


@pytest.fixture(scope="module")
def folder(glyphs: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Single pictures as `sample --out FOLDER` writes them; tests only read them."""
    folder = tmp_path_factory.mktemp("pictures")
    for k, (prompt, picture) in enumerate(zip(PROMPTS, glyphs, strict=True)):
        save_png(folder / f"glyph-{k}.png", Image.fromarray(picture), settings(prompt, only=0))
    return folder


@pytest.fixture(scope="module")
def made(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, FontReport]:
    out = tmp_path_factory.mktemp("fonts")
    return {
        name: finish(export_font(FontOptions(pictures=(folder,), format=name, out=out / f"My Glyphs.{name}")))  # type: ignore[arg-type]
        for name in FORMATS
    }


def sfnt(report: FontReport) -> bytes:
    """The font without the packing of WOFF2."""
    font, data = TTFont(report.out), BytesIO()
    font.flavor = None
    font.save(data)
    return data.getvalue()


def shaped(report: FontReport, text: str) -> list[str]:
    face = uharfbuzz.Face(sfnt(report))
    font, buffer = uharfbuzz.Font(face), uharfbuzz.Buffer()
    buffer.add_str(text)
    buffer.guess_segment_properties()
    uharfbuzz.shape(font, buffer)
    return [font.glyph_to_string(info.codepoint) for info in buffer.glyph_infos]


def drawn(data: bytes, codepoint: int, size: int) -> np.ndarray:
    """The glyph as FreeType draws it without hinting, its em box in the middle of a picture."""
    face = freetype.Face(BytesIO(data))
    face.set_char_size(round(size * EM_FRACTION * 64))
    base = size * (0.5 + (ASCENT + DESCENT) / 2 / UNITS * EM_FRACTION)
    left = size * (1 - EM_FRACTION) / 2
    shift = freetype.Vector(round((left - round(left)) * 64), round((round(base) - base) * 64))
    face.set_transform(freetype.Matrix(0x10000, 0, 0, 0x10000), shift)
    face.load_char(chr(codepoint), freetype.FT_LOAD_NO_HINTING | freetype.FT_LOAD_RENDER)
    bitmap, canvas = face.glyph.bitmap, np.zeros((2 * size, 2 * size), np.uint8)
    ink = np.array(bitmap.buffer, np.uint8).reshape(bitmap.rows, bitmap.pitch)[:, : bitmap.width]
    top, start = size // 2 + round(base) - face.glyph.bitmap_top, size // 2 + round(left) + face.glyph.bitmap_left
    canvas[top : top + bitmap.rows, start : start + bitmap.width] = ink
    return 255 - canvas[size // 2 : size // 2 + size, size // 2 : size // 2 + size]


@pytest.mark.parametrize("format", FORMATS)
def test_freetype_draws_the_pictures(made: dict[str, FontReport], glyphs: list[np.ndarray], format: str) -> None:
    data = sfnt(made[format])
    for k, picture in enumerate(glyphs):
        again = drawn(data, 0xE000 + k, SIZE)
        assert ((again > 127) != (picture > 127)).mean() < 0.01
        assert np.abs(again.astype(int) - picture).mean() < 2


@pytest.mark.parametrize("format", FORMATS)
def test_harfbuzz_shows_a_glyph_for_its_prompt(made: dict[str, FontReport], format: str) -> None:
    report = made[format]
    assert (report.glyphs, report.first, report.last) == (4, 0xE000, 0xE003)
    assert report.bytes == report.out.stat().st_size
    for text in ("gold", "Gold", "GOLD"):
        assert shaped(report, text) == ["uniE000"]
    assert shaped(report, "a kind of fish") == ["uniE001"]
    assert shaped(report, "gold 2") == ["uniE002"]
    assert shaped(report, "ärger, 鋰") == ["uniE003"]
    assert shaped(report, "gold gold") == ["uniE000", "space", "uniE000"]
    assert shaped(report, "\ue000\ue001") == ["uniE000", "uniE001"]
    assert "uniE000" not in shaped(report, "gol")


def test_the_longest_ligature_is_one_that_harfbuzz_takes(glyphs: list[np.ndarray], tmp_path: Path) -> None:
    for k, length in enumerate((LONGEST, LONGEST + 1, 1)):
        text = ("many words " * 9)[: length - 1] + "s"
        save_png(tmp_path / f"{k}.png", Image.fromarray(glyphs[k]), settings(text, only=0))
    events, report = follow(export_font(FontOptions(pictures=(tmp_path,), out=tmp_path / "x.ttf")))
    assert cautions(events) == ["prompts-untyped"]
    assert [event.facts for event in events if isinstance(event, Caution)] == [{"count": 2}]
    assert shaped(report, ("many words " * 9)[: LONGEST - 1] + "s") == ["uniE000"]
    assert TTFont(report.out).getBestCmap()[0xE001] == "uniE001"


def test_names_metrics_and_record(made: dict[str, FontReport]) -> None:
    for format, report in made.items():
        font = TTFont(report.out)
        assert font["name"].getDebugName(1) == "My Glyphs" and font["name"].getDebugName(6) == "MyGlyphs-Regular"
        assert font.sfntVersion == ("OTTO" if format == "otf" else "\0\1\0\0")
        em = font["head"].unitsPerEm
        assert font["OS/2"].sTypoAscender - font["OS/2"].sTypoDescender == em
        assert font["hmtx"]["uniE000"][0] == em == font["vmtx"]["uniE000"][0]
        record = json.loads(font["meta"].data[RECORD_TAG])
        assert [glyph["prompt"] for glyph in record["glyphs"]] == list(PROMPTS)
        assert record["glyphs"][1]["codepoint"] == "U+E001" and record["glyphs"][1]["seed"] == 7
        assert record["drawings"] == [{"glyffctl": "0", "recipe": {"steps": 3}}]


def test_outer_contours_turn_as_the_format_has_them(made: dict[str, FontReport]) -> None:
    for format, sign in (("otf", 1), ("ttf", -1)):
        font = TTFont(made[format].out)
        pen = RecordingPen()
        font.getGlyphSet()[".notdef"].draw(pen)
        first = pen.value[: [name for name, _ in pen.value].index("closePath")]
        points = np.array([points[-1] for _, points in first if points], float)
        assert np.sign(signed_area(points)) == sign


def test_sheets_are_cut_into_their_glyphs(glyphs: list[np.ndarray], tmp_path: Path) -> None:
    one, two = np.stack(glyphs), np.stack(glyphs[:2] * 2)
    save_png(tmp_path / "a.png", sheet(one, near_square(4)), settings("gold", count=4))
    save_png(tmp_path / "b.png", sheet(two, 2, titles=["fish", "bird"]), settings("fish", "bird", count=2))
    found = [picture for name in ("a.png", "b.png") for picture in read_pictures(tmp_path / name)]
    assert [(p.prompt, p.seed) for p in found[:4]] == [("gold", 7), ("gold", 8), ("gold", 9), ("gold", 10)]
    assert [(p.prompt, p.seed) for p in found[4:]] == [("fish", 7), ("fish", 8), ("bird", 7), ("bird", 8)]
    for picture, expected in zip(found, [*one, *two], strict=True):
        assert (picture.pixels == expected).all()
    save_png(tmp_path / "a.png", sheet(one, 1), settings("gold", count=4))
    with pytest.raises(DataError, match="as `glyffctl sample` wrote it"):
        list(read_pictures(tmp_path / "a.png"))


def test_the_record_has_what_led_a_glyph(glyphs: list[np.ndarray], tmp_path: Path) -> None:
    led = {"led": {"radical": 167, "scale": 10.0}, "away": {"model": "bundled"}}
    save_png(tmp_path / "led.png", Image.fromarray(glyphs[0]), settings("gold", only=0) | led)
    report = finish(export_font(FontOptions(pictures=(tmp_path / "led.png",), out=tmp_path / "led.ttf")))
    (drawing,) = json.loads(TTFont(report.out)["meta"].data[RECORD_TAG])["drawings"]
    assert drawing["led"] == led["led"] and drawing["away"] == led["away"]


def test_pictures_of_any_size_and_origin(glyphs: list[np.ndarray], tmp_path: Path) -> None:
    large = Image.fromarray(glyphs[0]).resize((200, 200))
    wide = Image.new("RGBA", (300, 200), (0, 0, 0, 0))
    wide.paste((0, 0, 0, 255), (100, 50, 200, 150))
    large.save(tmp_path / "fish-10.png")
    wide.save(tmp_path / "fish-9.png")
    Image.fromarray(glyphs[1]).convert("RGB").save(tmp_path / "fish-8.jpg")
    paths = (tmp_path, tmp_path / "fish-8.jpg")
    report = finish(export_font(FontOptions(pictures=paths, out=tmp_path / "x.ttf")))
    font = TTFont(report.out)
    assert report.glyphs == 3 and "GSUB" not in font
    box = font["glyf"]["uniE000"]  # numbers in names count: fish-9 before fish-10
    scale = UNITS / (300 * EM_FRACTION)
    assert box.xMax - box.xMin == pytest.approx(100 * scale, abs=3) == box.yMax - box.yMin
    assert (box.xMin + box.xMax) / 2 == pytest.approx(UNITS / 2, abs=3)


def test_files_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    """Digits of other scripts and superscripts are letters here: Python's int() refuses some of them."""
    names = ["1²2.png", "2-9.png", "2-10.png", "٣.png", "²1.png"]
    for name in names:
        (tmp_path / name).touch()
    found = [file.name for file in find_pictures([tmp_path])]
    assert found.index("2-9.png") < found.index("2-10.png") and sorted(found) == sorted(names)


def test_code_points_of_a_table(
    folder: Path, glyphs: list[np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "table.csv"
    rows = ["glyph-0.png,U+E100", "glyph-1.png,F1234", "glyph-2.png,鋰", "glyph-3.png,0xE101"]
    table.write_text("\n".join(["file,codepoint", *rows]), encoding="utf-8")
    report = finish(
        export_font(FontOptions(pictures=(folder,), out=tmp_path / "x.otf", format="otf", codepoints=table))
    )
    assert set(TTFont(report.out).getBestCmap()) >= {0xE100, 0xF1234, ord("鋰"), 0xE101}
    assert shaped(report, "Ärger, 鋰") == ["uniE101"]  # 鋰 is a picture, too, and a part of this
    assert shaped(report, "鋰") == [f"uni{ord('鋰'):04X}"]
    for wrong in ("file,codepoint\nglyph-0.png,U+E100\nglyph-1.png,U+E100\nglyph-2.png,U+E1\nglyph-3.png,U+E2",
                  "file,codepoint\nglyph-0.png,U+E100", "glyph-0.png,U+E100", "file,codepoint\na,U+D800",
                  "file,codepoint\na,U+110000", "file,codepoint\na,hello", "file,codepoint\na,U+20", "",
                  "file,codepoint\na,U+E000\na,U+E001"):  # fmt: skip
        table.write_text(wrong, encoding="utf-8")
        with pytest.raises(DataError) as caught:
            finish(export_font(FontOptions(pictures=(folder,), out=tmp_path / "y.ttf", codepoints=table)))
        assert "\n" not in str(caught.value) and not (tmp_path / "y.ttf").exists()
    # What the table lacks or has twice is said before anything is traced; blank pictures need no code point.
    (tmp_path / "more").mkdir()
    save_png(tmp_path / "more" / "blank.png", Image.new("L", (8, 8), 255))
    save_png(tmp_path / "more" / "ink.png", Image.fromarray(glyphs[0]))
    pictures = (folder, tmp_path / "more")
    with monkeypatch.context() as patch:
        patch.setattr("glyffctl.workflows.export_font.trace", lambda _: pytest.fail("traced"))
        for row, word in (("ink.png,U+E100", "glyph-0.png and .*U.E100|ink.png and"), ("x.png,U+E1", "ink.png")):
            table.write_text("\n".join(["file,codepoint", *rows, row]), encoding="utf-8")
            with pytest.raises(DataError, match=word):
                finish(export_font(FontOptions(pictures=pictures, out=tmp_path / "y.ttf", codepoints=table)))
        table.write_text(f"file,codepoint\na,{'9' * 5000}", encoding="utf-8")
        with pytest.raises(DataError) as caught:
            read_codepoints(table)
        assert len(str(caught.value)) < 300
    table.write_text("\n".join(["file,codepoint", *rows, "ink.png,U+E200"]), encoding="utf-8")
    assert finish(export_font(FontOptions(pictures=pictures, out=tmp_path / "y.ttf", codepoints=table))).glyphs == 5
    table.write_text("codepoint\tfile\nU+E000\tä b.png", encoding="utf-8")
    assert read_codepoints(table) == {"ä b.png": 0xE000}


def test_blank_pictures_are_left_out_and_a_font_of_none_is_refused(glyphs: list[np.ndarray], tmp_path: Path) -> None:
    Image.new("L", (64, 64), 255).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="no picture has ink"):
        finish(export_font(FontOptions(pictures=(tmp_path,), out=tmp_path / "x.ttf")))
    assert not (tmp_path / "x.ttf").exists()
    Image.fromarray(glyphs[0]).save(tmp_path / "b.png")
    events, report = follow(export_font(FontOptions(pictures=(tmp_path,), out=tmp_path / "x.ttf")))
    assert cautions(events) == ["pictures-blank"] and (report.glyphs, report.left_out) == (1, 1)


def test_white_ink_on_black_is_noticed(glyphs: list[np.ndarray], tmp_path: Path) -> None:
    wide = np.pad(glyphs[0], ((0, 0), (20, 20)), constant_values=255)
    for name, pixels in {"a": 255 - glyphs[0], "b": glyphs[1], "c": 255 - wide}.items():
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    events, _ = follow(export_font(FontOptions(pictures=(tmp_path,), out=tmp_path / "x.ttf")))
    [framed] = [event.facts["framed"] for event in events if isinstance(event, Caution)]
    assert framed == ["a.png", "c.png"]


def test_what_cannot_be_exported_is_refused_in_one_line(folder: Path, tmp_path: Path) -> None:
    picture = folder / "glyph-0.png"
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.png").touch()
    (tmp_path / "x.svg").write_text("<svg/>")
    Image.new("L", (5000, 10)).save(tmp_path / "wide.png")
    calls = {
        (): 2, ("none.png",): 1, (tmp_path / "empty",): 2, (tmp_path / "empty.png",): 1, (tmp_path / "x.svg",): 1,
        (tmp_path / "wide.png",): 1, (picture, "--out", tmp_path / "x.otf"): 2,
        (picture, "--out", picture / "x.ttf"): 1, (picture, "--out", "/proc/x.ttf"): 1,
        (picture, "--out", tmp_path / "empty"): 2, (picture, "--name", ""): 2, (picture, "--name", "n" * 61): 2,
        (picture, "--encoder", "t5"): 2, (picture, "--codepoints", "none.csv"): 1,
        (picture, picture, "--format", "onnx"): 2,
    }  # fmt: skip
    for arguments, code in calls.items():
        given = [str(argument) for argument in arguments]
        command = ["export", *given] if "--format" in given else ["export", "--format", "ttf", *given]
        result = CliRunner().invoke(app, command)
        assert result.exit_code == code and not crashed(result.output), (command, result.output)
        assert len(result.output.strip().splitlines()) == 1, result.output
    assert {path.name for path in tmp_path.iterdir()} == {"empty", "empty.png", "x.svg", "wide.png"}
    for options in ({"format": "svg"}, {"pictures": ()}):
        with pytest.raises(UsageError):
            FontOptions(**{"pictures": (picture,), **options})  # type: ignore[arg-type]
    with pytest.raises(OutputError):
        finish(export_font(FontOptions(pictures=(picture,), out=picture.parent / "glyph-0.png" / "y.ttf")))


def test_folders_are_searched_whatever_the_case_of_names_and_svgs_get_advice(
    glyphs: list[np.ndarray], tmp_path: Path
) -> None:
    outlines = tmp_path / "outlines"
    outlines.mkdir()
    (outlines / "x.svg").write_text("<svg/>", encoding="utf-8")
    with pytest.raises(UsageError, match=r"holds SVGs.*--again .*x\.svg"):
        find_pictures([outlines])
    Image.fromarray(glyphs[0]).save(outlines / "loud.PNG")
    assert find_pictures([outlines]) == [outlines / "loud.PNG"]


def test_the_format_is_what_out_ends_in_and_a_model_is_still_exported_by_default(folder: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["export", str(folder), "--out", str(tmp_path / "x.woff2"), "--json"])
    assert result.exit_code == 0 and json.loads(result.output.splitlines()[-1])["glyphs"] == 4
    assert (tmp_path / "x.woff2").read_bytes()[:4] == b"wOF2"
    result = CliRunner().invoke(app, ["export", str(tmp_path / "no-such-run")])
    assert result.exit_code == 1 and "no-such-run" in result.output and not crashed(result.output)


def test_the_same_pictures_give_the_same_font(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    for name in ("a.ttf", "b.ttf"):
        finish(export_font(FontOptions(pictures=(folder,), out=tmp_path / name, name="Same")))
    assert (tmp_path / "a.ttf").read_bytes() == (tmp_path / "b.ttf").read_bytes()


def test_a_ufo_has_the_outlines_code_points_and_ligatures(
    folder: Path, made: dict[str, FontReport], tmp_path: Path
) -> None:
    out = tmp_path / "My Glyphs.ufo"
    result = CliRunner().invoke(app, ["export", str(folder), "--out", str(out)])
    assert result.exit_code == 0 and "4 glyphs" in result.output, result.output
    reader = UFOReader(out, validate=True)
    info, glyphs, lib, features = _Bag(), reader.getGlyphSet(), reader.readLib(), reader.readFeatures()
    reader.readInfo(info)
    assert (info.familyName, info.unitsPerEm, info.ascender, info.descender) == ("My Glyphs", UNITS, ASCENT, DESCENT)
    assert json.loads(lib["glyffctl.record"])["glyphs"][1]["prompt"] == PROMPTS[1]
    font = TTFont(made["otf"].out)
    assert lib["public.glyphOrder"] == font.getGlyphOrder()
    theirs = font.getGlyphSet()
    for name in font.getGlyphOrder():
        ours, expected, glyph = RecordingPen(), RecordingPen(), _Bag()
        glyphs.readGlyph(name, glyph, PointToSegmentPen(ours))
        theirs[name].draw(expected)
        assert ours.value == expected.value
        assert glyph.width == theirs[name].width
        codepoints = [codepoint for codepoint, shown in font.getBestCmap().items() if shown == name]
        assert getattr(glyph, "unicodes", []) == sorted(codepoints)
    del font["GSUB"]
    addOpenTypeFeaturesFromString(font, features)
    font.save(tmp_path / "again.otf")
    again = replace(made["otf"], out=tmp_path / "again.otf")
    assert shaped(again, "A kind of fish") == ["uniE001"] and shaped(again, "gold 2") == ["uniE002"]
    for typed_out in (out, folder):  # an editor may have worked on it
        refused = CliRunner().invoke(app, ["export", str(folder), "--format", "ufo", "--out", str(typed_out)])
        assert refused.exit_code != 0 and not crashed(refused.output)
        assert len(refused.output.strip().splitlines()) == 1
    assert len(list(folder.iterdir())) == 4


class _Bag:
    """What attributes are read into."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


def test_more_pictures_and_letters_than_a_font_holds(
    glyphs: list[np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outline = trace(glyphs[0])
    with pytest.raises(UsageError, match="letters"):
        monkeypatch.setattr("glyffctl.core.outlines.font._MOST_OF_ALL", 60)
        finish(build_font([FontGlyph(0xE000, "gold", outline)], "X", "ttf", str))
    monkeypatch.undo()
    monkeypatch.setattr("glyffctl.workflows.export_font.find_pictures", lambda _: [Path("x.png")] * 60_001)
    with pytest.raises(UsageError, match="65,535"):
        finish(export_font(FontOptions(pictures=(tmp_path,), out=tmp_path / "x.ttf")))


def test_what_is_typed() -> None:
    assert typed("  A  Kind\tof fish ") == "a kind of fish"
    assert typed("go\u200bld\u202e\x00\ufe0f") == "gold"
    assert [typed(text) for text in ("", "x", "x" * 65, "\u200b\u200d", "\ue000\ue001")] == [""] * 5
    assert typed("e\u0301te\u0301") == "été"
    assert numbered(["a b", "", "a b", "a b 2", "a b", ""]) == ["a b", "", "a b 3", "a b 2", "a b 4", ""]
    assert cases("a") == {"a", "A"} and cases("ß") == {"ß"} and cases("1") == {"1"}


@pytest.mark.browser
@pytest.mark.parametrize("format", FORMATS)
def test_a_browser_shows_the_glyphs_where_their_prompts_are_typed(
    made: dict[str, FontReport], glyphs: list[np.ndarray], tmp_path: Path, format: str
) -> None:
    from tests.browsing import chromium, wait

    (tmp_path / "font").write_bytes(made[format].out.read_bytes())
    em, scale = SIZE * EM_FRACTION, 2
    texts = ["gold", "a kind of fish", "gold 2", "&#xE003;"]  # browsers shape scripts one by one, and so no word of two
    words = "".join(f"<p style='left:{k * 3 * SIZE // 2}px'>{text}</p>" for k, text in enumerate(texts))
    (tmp_path / "page.html").write_text(
        "<!doctype html><meta charset=utf-8><style>@font-face{font-family:Mine;src:url(font)}"
        f"body{{margin:0;background:white}}p{{position:absolute;top:0;margin:0;font:{em}px/1 Mine;zoom:{scale};"
        "-webkit-font-smoothing:antialiased}</style>" + words,
        encoding="utf-8",
    )
    browser = chromium()
    try:
        browser.get((tmp_path / "page.html").absolute().as_uri())
        wait(browser, lambda d: d.execute_script("return document.fonts.status") == "loaded")
        assert browser.execute_script("return document.fonts.check('20px Mine')")
        boxes = browser.execute_script(
            "return [...document.querySelectorAll('p')].map((p) => { const r = document.createRange(); "
            "r.selectNodeContents(p); return r.getBoundingClientRect().width })"
        )
        shot = Image.open(BytesIO(browser.get_screenshot_as_png())).convert("L")
    finally:
        browser.quit()
    assert np.ptp(boxes) < 1, "each text is one glyph wide"
    side = round(em * scale)
    for k, picture in enumerate(glyphs):
        left = k * 3 * SIZE // 2 * scale
        seen = np.asarray(shot.crop((left, 0, left + side, side)))
        rim = (SIZE - round(em)) // 2
        inner = Image.fromarray(picture[rim : SIZE - rim, rim : SIZE - rim]).resize((side, side))
        assert ((seen > 127) != (np.asarray(inner) > 127)).mean() < 0.04


@pytest.mark.thorough
@pytest.mark.parametrize("format", ["ttf", "otf"])
def test_fontbakery_finds_no_fault(made: dict[str, FontReport], tmp_path: Path, format: str) -> None:
    pytest.importorskip("fontbakery", reason="fontbakery is not installed (pip install fontbakery)")
    command = [sys.executable, "-m", "fontbakery", "check-universal", "-q", "--no-progress", "--no-colors"]
    command += ["-x", "fontdata_namecheck", "--json", str(tmp_path / "found.json"), str(made[format].out)]  # that one asks the internet  # fmt: skip  # noqa: E501
    subprocess.run(command, capture_output=True, check=False, timeout=300)
    found = json.loads((tmp_path / "found.json").read_text())
    results = [(check["result"], check["key"][1]) for section in found["sections"] for check in section["checks"]]
    assert Counter(result for result, _ in results)["PASS"] > 50
    faults = [name for result, name in results if result in ("FAIL", "FATAL", "ERROR")]
    # Of fonts with cubic outlines of fixed pitch fontbakery 1.1 wants the table glyf, and fails itself.
    assert faults in ([], ["<FontBakeryCheck:opentype/monospace>"] if format == "otf" else [])


@pytest.mark.slow
@pytest.mark.hostile
def test_two_thousand_damaged_pictures(folder: Path, tmp_path: Path) -> None:
    good = [(folder / f"glyph-{k}.png").read_bytes() for k in range(len(PROMPTS))]
    file, out, dice, refused = tmp_path / "x.png", tmp_path / "x.ttf", np.random.default_rng(3), 0
    for k in range(2000):
        data = bytearray(good[k % len(good)])
        for _ in range(int(dice.integers(1, 6))):
            kind, at = dice.integers(4), int(dice.integers(len(data)))
            if kind == 0:
                data[at] = int(dice.integers(256))
            elif kind == 1:
                del data[at : at + int(dice.integers(1, 40))]
            elif kind == 2:
                data[at:at] = dice.bytes(int(dice.integers(1, 40)))
            else:
                data[int(dice.integers(min(64, len(data)))) :][:4] = b"\xff\xff\xff\xff"
                data[at] ^= 1 << int(dice.integers(8))
            data = data or bytearray(b"\x89PNG")
        file.write_bytes(bytes(data))
        out.unlink(missing_ok=True)
        try:
            finish(export_font(FontOptions(pictures=(file,), out=out)))
        except GlyffError as error:
            refused += 1
            assert "\n" not in str(error) and not out.exists()
        else:
            TTFont(out).close()
        assert {path.name for path in tmp_path.iterdir()} <= {"x.png", "x.ttf"}
    assert refused > 500


@pytest.mark.slow
def test_twenty_thousand_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda _: None)  # takes longer than all the rest
    folder = tmp_path / "many"
    folder.mkdir()
    for k in range(20_000):
        picture = np.full((16, 16), 255, np.uint8)
        picture[3 : 4 + k % 9, 3:12] = 0
        save_png(folder / f"{k}.png", Image.fromarray(picture), settings(f"glyph number {k:05d}", only=0))
    report = finish(export_font(FontOptions(pictures=(folder,), out=tmp_path / "x.ttf")))
    assert (report.glyphs, report.first, report.last) == (20_000, 0xE000, 0xF0000 + 20_000 - 6400 - 1)
    assert shaped(report, "glyph number 19999") == [f"u{report.last:X}"]
