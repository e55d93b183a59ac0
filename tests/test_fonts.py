import os
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from fontTools.ttLib import TTFont, woff2
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from glyffctl.core.data.fonts import (
    MOST_ALIKE,
    Face,
    Fit,
    choose_faces,
    count_unrelated,
    draw_glyphs,
    find_font_files,
    read_faces,
    system_fonts,
)
from glyffctl.core.errors import FontError
from tests.fontmaker import bitmaps, make_collection, make_font, make_variable, set_maps, set_raw

FULL = (0, -120, 1000, 880)  # the whole em box


def ink_box(picture: Any) -> tuple[Any, Any, Any, Any]:
    rows, columns = np.flatnonzero((picture < 128).any(1)), np.flatnonzero((picture < 128).any(0))
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


def draw(path: Path, codepoints: list[int], size: int = 128, fit: Fit = "ink") -> dict[int, Any]:
    return dict(draw_glyphs(read_faces(path)[0], codepoints, size, fit))


@pytest.fixture(scope="module")
def faces(noto_sans):
    return read_faces(noto_sans)


def test_a_collection_has_its_faces_and_the_simplified_one_wins_a_tie(faces):
    assert len(faces) == 10
    chosen = choose_faces(faces, frozenset({0x4E00, 0x9502}), "best")
    assert [face.name for face in chosen] == ["Noto Sans CJK SC"]
    assert len(choose_faces(faces, frozenset({0x4E00}), "all")) == 10


def test_the_face_that_covers_most_is_chosen_over_the_simplified_one():
    def face(name: str, codepoints: set[int]) -> Face:
        return Face(Path("x.ttc"), 0, name, frozenset(codepoints), 0.88, -0.12)

    small, large = face("Some SC", {0x4E00}), face("Some JP", {0x4E00, 0x4E01})
    assert choose_faces([small, large], frozenset({0x4E00, 0x4E01, 0x4E02}), "best") == [large]


def test_real_glyphs_are_drawn_whole_and_centred(faces):
    face = choose_faces(faces, frozenset({0x9502}), "best")[0]
    characters = [ord(c) for c in "锂一丶龘"] + [0x20000, 0xF900, 0x30EDD]
    for fit in ("ink", "metrics"):
        for _, picture in draw_glyphs(face, characters, 128, fit):
            assert picture is not None
            assert picture.shape == (128, 128) and picture.dtype == np.uint8
            border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
            assert (border == 255).all() and picture.min() == 0
            left, top, right, bottom = ink_box(picture)
            if fit == "ink":
                assert abs(left - (128 - right)) <= 2 and abs(top - (128 - bottom)) <= 2


def test_strokes_keep_their_width_and_grey_edges(faces):
    face = choose_faces(faces, frozenset({0x4E28}), "best")[0]
    dash, cross = (picture for _, picture in draw_glyphs(face, [ord("丨"), ord("十")], 128))
    assert dash is not None and cross is not None
    widths = [(picture[20] < 128).sum() for picture in (dash, cross)]
    assert abs(int(widths[0]) - int(widths[1])) <= 1
    assert ((dash > 0) & (dash < 255)).any() or ((cross > 0) & (cross < 255)).any()


def test_metrics_fit_keeps_the_place_in_the_em_box_and_ink_fit_centres(tmp_path):
    low = (0, -120, 500, 380)  # the lower left quarter of the em box
    font = make_font(tmp_path / "a.ttf", {0x4E00: FULL, 0x4E01: low})
    metrics, ink = draw(font, [0x4E00, 0x4E01], fit="metrics"), draw(font, [0x4E00, 0x4E01])
    assert ink_box(metrics[0x4E00]) == (8, 8, 120, 120)  # 7/8 of 128, centred
    assert ink_box(metrics[0x4E01]) == (8, 64, 64, 120)
    assert ink_box(ink[0x4E01]) == (36, 36, 92, 92)


@pytest.mark.parametrize("fit", ["ink", "metrics"])
def test_only_the_glyph_that_would_leave_the_picture_is_drawn_smaller(tmp_path, fit):
    huge, aside = (-1000, -120, 2000, 880), (800, -120, 1600, 880)
    picture = draw(
        make_font(tmp_path / "a.ttf", {0x4E00: huge, 0x4E01: FULL, 0x4E02: aside}), [0x4E00, 0x4E01], 64, fit
    )
    left, _, right, _ = ink_box(picture[0x4E00])
    assert 0 <= left <= 3 and 61 <= right <= 64
    assert ink_box(picture[0x4E01]) == (4, 4, 60, 60)
    outside = draw(tmp_path / "a.ttf", [0x4E02], 64, fit)[0x4E02]
    left, top, right, bottom = ink_box(outside)
    assert right <= 64 and (bottom - top) == pytest.approx((right - left) / 0.8, abs=2.5)


def test_missing_and_blank_glyphs_are_not_pictures(tmp_path):
    font = make_font(tmp_path / "a.ttf", {0x4E00: FULL, 0x4E01: None, 0x2A6D6: FULL}, undrawn=(0x4E02,))
    assert read_faces(font)[0].codepoints == {0x4E00, 0x4E01, 0x2A6D6}
    drawn = draw(font, [0x4E00, 0x4E01, 0x2A6D6])
    assert drawn[0x4E01] is None and drawn[0x2A6D6] is not None


def test_a_font_without_the_characters_is_named(tmp_path):
    font = make_font(tmp_path / "latin.ttf", {0x41: FULL})
    with pytest.raises(FontError, match=r"latin\.ttf has none of the 1 characters"):
        choose_faces(read_faces(font), frozenset({0x4E00}), "best")


@pytest.mark.parametrize("share", [0.001, 0.3, 0.9, 0.999])
def test_a_truncated_font_is_named(tmp_path, noto_sans, share):
    whole = make_font(tmp_path / "whole.ttf", dict.fromkeys(range(0x4E00, 0x4E20), FULL)).read_bytes()
    (tmp_path / "cut.ttf").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(FontError, match=r"cut\.ttf"):
        read_faces(tmp_path / "cut.ttf")


@pytest.mark.parametrize("content", [b"", b"not a font at all", bytes(4096), b"ttcf\0\1\0\0\0\0\0\5"])
def test_what_is_no_font_is_named(tmp_path, content):
    (tmp_path / "fake.ttf").write_bytes(content)
    with pytest.raises(FontError, match=r"fake\.ttf"):
        read_faces(tmp_path / "fake.ttf")


def test_a_font_whose_outlines_are_damaged_is_named(tmp_path):
    font = make_font(tmp_path / "a.ttf", dict.fromkeys(range(0x4E00, 0x4E80), FULL))
    face = read_faces(font)[0]
    font.write_bytes(b"\0" * 100 + font.read_bytes()[100:])
    with pytest.raises(FontError, match=r"a\.ttf"):
        list(draw_glyphs(face, [0x4E00], 32))


def test_folders_are_searched_and_files_taken_once(tmp_path):
    one = make_font(tmp_path / "deep" / "er" / "one.TTF", {0x4E00: FULL})
    (tmp_path / "readme.txt").write_text("hello")
    assert find_font_files([tmp_path, one]) == [one]
    (tmp_path / "none").mkdir()
    with pytest.raises(FontError, match="none holds no font"):
        find_font_files([tmp_path / "none"])
    with pytest.raises(FontError, match=r"no font file or folder .*missing"):
        find_font_files([tmp_path / "missing"])


@pytest.mark.skipif(shutil.which("fc-list") is None, reason="fontconfig is not installed")
def test_fontconfig_finds_the_system_font(noto_folder):
    chosen, others = system_fonts()
    assert chosen.is_file() and chosen not in others


@pytest.mark.parametrize("name", ["a.pcf.gz", "b.pcf", "c.pfb"])
def test_fonts_of_the_system_that_are_not_read_are_not_offered(monkeypatch, name):
    fonts = [f"/fonts/{name}", "/fonts/z.otf"]
    answer = lambda *_, **__: subprocess.CompletedProcess([], 0, stdout="\n".join(fonts))  # noqa: E731
    monkeypatch.setattr(subprocess, "run", answer)
    assert system_fonts() == (Path("/fonts/z.otf"), [])
    fonts.pop()
    with pytest.raises(FontError, match=rf"no Chinese font in a supported format \(there is /fonts/{name}\)"):
        system_fonts()


def test_a_font_whose_name_is_not_utf8_is_found(monkeypatch, tmp_path):
    for name in ("fc-list", "fc-match"):
        (tmp_path / name).write_text("#!/bin/sh\nprintf '/fonts/\\377.ttf\\n'\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    chosen, others = system_fonts()
    assert os.fsencode(chosen) == b"/fonts/\xff.ttf" and others == []


def test_without_fontconfig_the_error_says_to_name_fonts(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FontError, match=r"fc-list of fontconfig does not run.*glyffctl prepare fonts/"):
        system_fonts()


def test_without_chinese_fonts_the_error_says_to_install_one(monkeypatch):
    nothing = subprocess.CompletedProcess([], 0, stdout="", stderr="")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: nothing)
    with pytest.raises(FontError, match="knows no Chinese font; install one"):
        system_fonts()


# --- character maps ---

# Seven glyphs, each of another shape; all programs agree that these maps are tried in this order.
SHAPES: dict[int, tuple[int, int, int, int] | None] = {
    0x4E00 + k: (0, 0, 200 + 100 * k, 900 - 100 * k) for k in range(7)
}
ORDER = ((3, 10, 12), (0, 6, 13), (0, 4, 12), (3, 1, 4), (0, 3, 4), (0, 1, 6), (0, 0, 4))


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[int, bytes]]:
    """A font, and the picture of each of its glyphs by number."""
    path = make_font(tmp_path_factory.mktemp("shapes") / "shapes.ttf", SHAPES)
    pictures = {k + 1: draw(path, [c], 24)[c].tobytes() for k, c in enumerate(SHAPES)}
    assert len(set(pictures.values())) == 7
    return path, pictures


@given(
    maps=st.dictionaries(
        st.sampled_from(ORDER), st.dictionaries(st.sampled_from([*SHAPES]), st.integers(0, 9)), min_size=1
    )
)
@settings(max_examples=60)
def test_what_counts_as_covered_is_what_is_drawn(
    shapes: tuple[Path, dict[int, bytes]], maps: dict[tuple[int, int, int], dict[int, int]]
) -> None:
    plain, pictures = shapes
    expected: dict[int, int] = {}
    for kind in reversed(ORDER):
        expected |= {code: glyph for code, glyph in maps.get(kind, {}).items() if glyph}
    there = {code: glyph for code, glyph in expected.items() if 1 <= glyph <= 7}
    with TemporaryDirectory() as folder:
        path = Path(shutil.copy(plain, folder))
        set_maps(path, [(*kind, glyphs) for kind, glyphs in maps.items()])
        (face,) = read_faces(path)
        assert face.codepoints == there.keys()
        assert face.without_glyph == {code for code, glyph in expected.items() if glyph > 7}
        drawn = dict(draw_glyphs(face, there, 24))
        assert {code: picture.tobytes() for code, picture in drawn.items() if picture is not None} == {
            code: pictures[glyph] for code, glyph in there.items()
        }


@pytest.mark.parametrize(
    ("kind", "codec", "named"),
    [((3, 4), "cp950", "Big5"), ((3, 3), "gbk", "GBK"), ((3, 2), "cp932", "Shift_JIS"), ((1, 25), "gb2312", "GB 2312")],
)
def test_maps_in_other_encodings_are_read_and_the_right_glyph_is_drawn(tmp_path, shapes, kind, codec, named):
    plain, pictures = shapes
    characters = "中文字一山水"
    codes = {int.from_bytes(c.encode(codec), "big"): k for k, c in enumerate(characters, start=1)}
    path = set_maps(Path(shutil.copy(plain, tmp_path)), [(*kind, 2 if kind[0] == 1 else 4, codes | {0x41: 7})])
    (face,) = read_faces(path)
    assert face.codepoints == {*map(ord, characters), 0x41}
    assert named in " ".join(face.remarks)
    drawn = draw(path, [*map(ord, characters)], 24)
    assert [drawn[ord(c)].tobytes() for c in characters] == [pictures[k] for k in range(1, 7)]


def test_a_unicode_map_is_believed_over_one_in_another_encoding(tmp_path, shapes):
    wrong = {int.from_bytes("中".encode("big5"), "big"): 2, int.from_bytes("文".encode("big5"), "big"): 3}
    path = set_maps(Path(shutil.copy(shapes[0], tmp_path)), [(3, 1, 4, {ord("中"): 1}), (3, 4, 4, wrong)])
    (face,) = read_faces(path)
    assert face.codepoints == {ord("中")} and not face.remarks
    assert draw(path, [ord("中")], 24)[ord("中")].tobytes() == shapes[1][1]


def test_one_damaged_map_among_good_ones_is_told_and_the_others_are_read(tmp_path, shapes):
    path = set_maps(
        Path(shutil.copy(shapes[0], tmp_path)), [(0, 3, 4, {0x4E00: 1}), (3, 10, 12, {0x4E00: 2, 0x4E01: 3})]
    )
    with TTFont(path) as font:
        data = bytearray(font.reader["cmap"])
    at = data.index(b"\0\x0c\0\0\0\0")
    data[at + 4 : at + 8] = b"\0\1\0\0"  # longer than the table
    set_raw(path, cmap=bytes(data))
    (face,) = read_faces(path)
    assert face.codepoints == {0x4E00} and "platform 3, encoding 10" in face.remarks[0]
    with pytest.raises(FontError, match=r"shapes\.ttf: its character map .*damaged"):
        read_faces(set_raw(path, cmap=bytes(data[:2] + b"\0\1" + data[12:20] + data[12:])))


@pytest.mark.parametrize("characters", ["锂一丶龘", "\u2fd5並"])
def test_glyphs_are_those_that_freetype_draws_from_the_file_itself(noto_sans, faces, characters):
    face = faces[2]
    font = ImageFont.truetype(str(noto_sans), 112, 2, layout_engine=ImageFont.Layout.BASIC)
    for codepoint, picture in draw_glyphs(face, map(ord, characters), 128):
        canvas = Image.new("L", (384, 384))
        ImageDraw.Draw(canvas).text((128, 256), chr(codepoint), fill=255, font=font, anchor="ls")
        left, top, right, bottom = canvas.getbbox() or (0, 0, 0, 0)
        x, y = (left + right - 128) // 2, (top + bottom - 128) // 2
        assert picture is not None
        assert np.array_equal(picture, 255 - np.asarray(canvas.crop((x, y, x + 128, y + 128))))


# --- ink that is far off, or huge ---


@pytest.mark.parametrize("offset", [2500, -2500, 20_000, -31_000])
@pytest.mark.parametrize("across", [False, True])
def test_ink_far_from_its_place_is_drawn_whole(tmp_path, offset, across):
    box, (x, y) = (100, 0, 900, 600), (offset, 0) if across else (0, offset)
    moved = (box[0] + x, box[1] + y, box[2] + x, box[3] + y)
    path = make_font(tmp_path / "far.ttf", {0x4E00: box, 0x4E01: moved})
    drawn = draw(path, [0x4E00, 0x4E01], 64)
    assert np.array_equal(drawn[0x4E00], drawn[0x4E01])
    small = draw(path, [0x4E01], 64, "metrics")[0x4E01]
    assert small is not None and small.min() < 255  # in its place, and so small


@pytest.mark.parametrize("size", [8, 128])
def test_glyphs_many_times_their_em_are_drawn_whole(tmp_path, size):
    path = make_font(tmp_path / "huge.ttf", {0x4E00: (0, 0, 8000, 4000), 0x4E01: (-4000, -100, 4000, 100)})
    for fit in ("ink", "metrics"):
        drawn = draw(path, [0x4E00, 0x4E01], size, fit)
        left, top, right, bottom = ink_box(drawn[0x4E00])
        assert right - left == pytest.approx(2 * (bottom - top), abs=2)
        assert fit == "metrics" or right - left == pytest.approx(size - 2, abs=1)
        assert drawn[0x4E01].shape == (size, size) and drawn[0x4E01].min() < 255


# --- weights ---


def test_a_variable_font_is_drawn_at_regular_unless_asked_otherwise(tmp_path):
    thin, regular, bold = ((300, 100, right, 700) for right in (400, 500, 650))
    plain = make_font(tmp_path / "plain.ttf", {0x4E00: thin, 0x4E01: regular, 0x4E02: bold}, name="Made")
    path = make_variable(plain, tmp_path / "v.ttf", 0x4E00, 400, axis=(100, 100, 900))
    pictures = draw(plain, [0x4E00, 0x4E01, 0x4E02])
    for weight, expected, drawn in ((None, 0x4E01 - 0, 400), (100, 0x4E00, 100), (700, None, 700)):
        (face,) = read_faces(path, weight)
        assert face.weight == drawn and face.name == f"Made, weight {drawn}"
        picture = dict(draw_glyphs(face, [0x4E00], 128))[0x4E00]
        assert picture is not None
        right = 400 + 400 * (drawn - 100) / 800
        assert ink_box(picture)[2] - ink_box(picture)[0] == pytest.approx((right - 300) * 0.112, abs=1)
        if expected == 0x4E00:
            assert np.array_equal(picture, pictures[0x4E00])
    with pytest.raises(FontError, match=r"v\.ttf at weight 950: its weights are 100 to 900"):
        read_faces(path, 950)


def test_axes_without_400_and_other_axes_stay_at_their_defaults(tmp_path):
    plain = make_font(tmp_path / "plain.ttf", {0x4E00: (300, 100, 700, 700)})
    expected = draw(plain, [0x4E00])[0x4E00]
    for tag, axis, weight in (("wght", (0.5, 1, 3), 1), ("wdth", (50, 100, 200), None)):
        path = make_variable(plain, tmp_path / f"{tag}.ttf", 0x4E00, 300, axis, tag)
        assert read_faces(path)[0].weight == weight
        assert np.array_equal(draw(path, [0x4E00])[0x4E00], expected)


def test_collections_of_variable_fonts_are_drawn_at_their_weight(tmp_path):
    plain = make_font(tmp_path / "plain.ttf", {0x4E00: (300, 100, 400, 700)})
    fonts = [make_variable(plain, tmp_path / f"{k}.ttf", 0x4E00, 400 * k, axis=(100, 100, 900)) for k in (1, 2)]
    faces = read_faces(make_collection(fonts, tmp_path / "both.ttc"), 900)
    widths = []
    for face in faces:
        left, _, right, _ = ink_box(dict(draw_glyphs(face, [0x4E00], 128))[0x4E00])
        widths.append(right - left)
    assert widths == [pytest.approx(500 * 0.112, abs=1), pytest.approx(900 * 0.112, abs=1)]


# --- kinds of files ---


@pytest.mark.parametrize("flavor", ["woff", "woff2"])
def test_web_fonts_are_found_and_drawn(tmp_path, shapes, flavor):
    if flavor == "woff2":
        pytest.importorskip("brotli")
    path = tmp_path / "web" / f"font.{flavor}"
    path.parent.mkdir()
    with TTFont(shapes[0]) as font:
        font.flavor = flavor
        font.save(path)
    assert find_font_files([tmp_path]) == [path]
    assert [picture.tobytes() for picture in draw(path, [*SHAPES], 24).values()] == [*shapes[1].values()]
    cut = tmp_path / f"cut.{flavor}"
    cut.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(FontError, match=r"cut\.woff"):
        read_faces(cut)


def test_without_brotli_woff2_says_what_it_needs(tmp_path, monkeypatch):
    monkeypatch.setattr(woff2, "haveBrotli", False)
    (tmp_path / "font.woff2").write_bytes(b"wOF2\0\1\0\0" + bytes(100))
    with pytest.raises(FontError, match=r"font\.woff2: WOFF2 needs the package brotli \(pip install brotli\)"):
        read_faces(tmp_path / "font.woff2")


@pytest.mark.parametrize(
    ("begin", "says"),
    [
        (b"", "empty"),
        (b"\x01fcp", "PCF"),
        (b"STARTFONT 2.1\n", "BDF"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"PK\x03\x04", "ZIP"),
        (b"%!PS-AdobeFont-1.0", "Type 1"),
        (b"\n<!DOCTYPE html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (b"nothing known", "nothing"),
    ],
)
def test_what_is_no_font_is_named_for_what_it_is(tmp_path, begin, says):
    (tmp_path / "a.ttf").write_bytes(begin + bytes(100) * bool(begin))
    with pytest.raises(FontError, match=rf"a\.ttf as a font: .*{says}"):
        read_faces(tmp_path / "a.ttf")


def test_a_font_without_names_is_called_as_its_file(tmp_path):
    path = make_font(tmp_path / "nameless.ttf", {0x4E00: FULL})
    assert read_faces(set_raw(path, name=None))[0].name == "nameless"
    assert read_faces(set_raw(path, name=b"\xff" * 9))[0].name == "nameless"
    assert draw(path, [0x4E00])[0x4E00] is not None


def test_a_font_of_bitmaps_is_named_as_that(tmp_path):
    path = make_font(tmp_path / "bits.ttf", {0x4E00: None, 0x4E01: None})
    set_raw(path, EBLC=bitmaps(12, 16))
    with pytest.raises(FontError, match=r"bits\.ttf: it has no outlines, only bitmaps of 12, 16 pixels"):
        read_faces(path)
    both = set_raw(make_font(tmp_path / "both.ttf", {0x4E00: FULL, 0x4E01: None}), EBLC=bitmaps(16))
    assert read_faces(both)[0].has_bitmaps and draw(both, [0x4E00])[0x4E00] is not None
    with pytest.raises(FontError, match="no outlines, and no bitmaps either"):
        read_faces(set_raw(both, EBLC=None, glyf=None))


@pytest.mark.parametrize("table", ["cmap", "maxp", "head", "fvar", "loca"])
def test_the_damaged_or_missing_table_is_named(tmp_path, table):
    plain = make_font(tmp_path / "plain.ttf", {0x4E00: (0, 0, 300, 300)})
    path = make_variable(plain, tmp_path / "a.ttf", 0x4E00, 100)
    data = bytearray(path.read_bytes())
    with TTFont(path) as font:
        entry = font.reader.tables[table]
    where = data.index(table.encode(), 12, 12 + 16 * 30)
    data[where + 12 : where + 16] = (1).to_bytes(4, "big")  # one byte is left of it
    path.write_bytes(data)
    assert entry.length > 1
    with pytest.raises(FontError, match=rf"a\.ttf.*('{table}'|character map)"):
        choose_faces(read_faces(path), {0x4E00}, "best")
    if table != "fvar":
        data[where : where + 4] = b"none"
        path.write_bytes(data)
        with pytest.raises(FontError, match=rf"a\.ttf.*no table '{table}'"):
            read_faces(path)


@pytest.mark.thorough
def test_only_glyphs_that_many_unrelated_characters_share_are_noted(tmp_path, noto_folder):
    compatible = [c for c in range(0xF900, 0xFAFF) if count_unrelated([c, 0x4E00]) == 2][:40]
    same = [ord(c) for c in "見见⾒"]
    assert (
        count_unrelated([0xF900, 0x8C48]) == 1 and count_unrelated([0x2F00, 0x4E00]) == 1 and count_unrelated(same) == 2
    )
    path = make_font(tmp_path / "a.ttf", {0x4E00: FULL, 0x4E01: (0, 0, 300, 400), 0x4E02: (0, 0, 700, 200)})
    few, many = range(0x5000, 0x5000 + MOST_ALIKE), range(0x6000, 0x6001 + MOST_ALIKE)
    normal = dict.fromkeys(compatible[:1], 1)
    set_maps(path, [(3, 10, 12, dict.fromkeys(few, 1) | dict.fromkeys(many, 2) | normal)])
    assert dict(read_faces(path)[0].shared).keys() <= {1, 2}
    assert dict(read_faces(path)[0].shared)[2] == {*many}
    for name in ("NotoSansCJK-Regular.ttc", "NotoSerifCJK-Regular.ttc"):
        assert all(face.shared == () for face in read_faces(noto_folder / name))
