"""`glyffctl prepare` with fonts that are not what they seem, and with four fonts of all of Unihan."""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.data.fonts import MOST_ALIKE
from glyffctl.workflows import omissions
from glyffctl.workflows.events import finish
from glyffctl.workflows.prepare import PrepareOptions, prepare
from tests.conftest import cautions, of_kind
from tests.fontmaker import bitmaps, make_font, set_maps, set_raw
from tests.test_prepare import FULL, rows, run

pytestmark = pytest.mark.usefixtures("font_workers_once")


def defined(path: Path, codepoints: Iterable[int]) -> Path:
    path.write_text("".join(f"{chr(c)}\tmeaning {c:x}\n" for c in codepoints), "utf-8")
    return path


@pytest.mark.parametrize("way", ["one glyph", "one picture", "as what it lacks"])
@pytest.mark.parametrize("form", ["glyphs", "imagefolder"])
def test_a_box_in_place_of_many_characters_is_left_out_and_told(tmp_path, way, form):
    good = {0x4E00 + k: (0, 0, 300 + 100 * k, 500) for k in range(5)}
    count = 2 if way == "as what it lacks" else MOST_ALIKE + 1
    boxes = range(0x6000, 0x6000 + count)
    box = (100, 0, 900, 800) if way == "as what it lacks" else (0, 0, 600, 700)  # the former is .notdef's
    made = good | ({0x5000: box} if way == "one glyph" else dict.fromkeys(boxes, box))
    path = make_font(tmp_path / "boxed.ttf", made)
    if way == "one glyph":
        set_maps(path, [(3, 1, 4, dict(zip(good, range(1, 6), strict=True)) | dict.fromkeys(boxes, 6))])
    out, table = tmp_path / "data", defined(tmp_path / "t.tsv", [*good, *boxes])
    events, report = run(PrepareOptions((path,), table, size=32, format=form, out=out))
    assert report.glyphs == 5 and report.left_out == {omissions.PLACEHOLDER: count}
    assert [c.codepoint for c in open_glyphs(out).characters] == [*good]
    assert cautions(events) == ["placeholder-skipped"]
    [caution] = of_kind(events, "placeholder-skipped")
    assert caution.facts == {"font": path, "characters": count, "glyph": 6 if way == "one glyph" else None}
    assert {row["codepoint"] for row in rows(out / "left_out.jsonl")} == {f"U+{c:04X}" for c in boxes}
    pictures = [*(out / "images").glob("*")] if form == "imagefolder" else []
    assert len(pictures) == (5 if form == "imagefolder" else 0)


def test_a_few_alike_and_compatibility_characters_stay(tmp_path):
    compatible = [0x8C48, 0xF900, 0x4E00, 0x2F00]
    few = [*compatible, *range(0x6000, 0x6000 + MOST_ALIKE - 2)]
    path = make_font(tmp_path / "few.ttf", dict.fromkeys(few, (0, 0, 600, 700)))
    events, report = run(PrepareOptions((path,), defined(tmp_path / "t.tsv", few), size=32, out=tmp_path / "data"))
    assert report.glyphs == len(few) and cautions(events) == []


def test_a_shared_glyph_that_is_blank_is_told_as_blank(tmp_path):
    many = range(0x6000, 0x6010)
    path = make_font(tmp_path / "blank.ttf", {0x4E00: FULL, 0x4E01: None})
    set_maps(path, [(3, 1, 4, {0x4E00: 1} | dict.fromkeys(many, 2))])
    table = defined(tmp_path / "t.tsv", [0x4E00, *many])
    _, report = run(PrepareOptions((path,), table, size=32, out=tmp_path / "data"))
    assert report.left_out == {omissions.BLANK: 16}
    set_raw(path, EBLC=bitmaps(16))
    _, report = run(PrepareOptions((path,), table, size=32, out=tmp_path / "data", overwrite=True))
    assert report.left_out == {omissions.NO_OUTLINE: 16}


def test_characters_sent_beyond_the_last_glyph_are_left_out_and_told(tmp_path):
    path = make_font(tmp_path / "beyond.ttf", {0x4E00: FULL, 0x4E01: (0, 0, 300, 300)})
    set_maps(path, [(3, 10, 12, {0x4E00: 1, 0x4E01: 2, 0x4E02: 3, 0x4E03: 70_000})])
    table = defined(tmp_path / "t.tsv", range(0x4E00, 0x4E05))
    events, report = run(PrepareOptions((path,), table, size=32, out=tmp_path / "data"))
    assert report.glyphs == 2 and report.left_out == {omissions.NO_SUCH_GLYPH: 2, omissions.NOT_COVERED: 1}
    [caution] = of_kind(events, "font-irregular")
    assert Path(str(caution.facts["font"])).name == "beyond.ttf" and "2 characters" in caution.text


@pytest.mark.slow
def test_four_noto_files_stay_within_time_and_shards(tmp_path, noto_folder, unihan):
    report = finish(prepare(PrepareOptions(fonts=(noto_folder,), definitions=unihan, out=tmp_path / "data")))
    assert len(report.glyphs_of) == 4 and report.seconds < 60
    assert omissions.PLACEHOLDER not in report.left_out
    shards = sorted(Path(tmp_path / "data").glob("*.safetensors"))
    assert [len(load_file(shard)["font"]) for shard in shards[:-1]] == [4096] * (len(shards) - 1)


def test_preparing_does_not_import_torch() -> None:
    """That takes a second, on one core however many there are."""
    script = "import glyffctl.workflows.prepare, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=60).returncode == 0
