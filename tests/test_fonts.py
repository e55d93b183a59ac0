import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glyffctl.core.errors import FontError
from glyffctl.core.fonts import Face, Fit, choose_faces, draw_glyphs, find_font_files, read_faces, system_fonts
from tests.fontmaker import make_font, make_variable

FULL = (0, -120, 1000, 880)  # the whole em box


def ink_box(picture: Any) -> tuple[Any, Any, Any, Any]:
    rows, columns = np.flatnonzero((picture < 128).any(1)), np.flatnonzero((picture < 128).any(0))
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


def draw(path: Path, codepoints: list[int], size: int = 128, fit: Fit = "ink") -> dict[int, Any]:
    return dict(draw_glyphs(read_faces(path)[0], codepoints, size, fit))


def test_a_collection_has_its_faces_and_the_simplified_one_wins_a_tie(noto_sans):
    faces = read_faces(noto_sans)
    assert len(faces) == 10
    chosen = choose_faces(faces, frozenset({0x4E00, 0x9502}), "best")
    assert [face.name for face in chosen] == ["Noto Sans CJK SC"]
    assert len(choose_faces(faces, frozenset({0x4E00}), "all")) == 10


def test_the_face_that_covers_most_is_chosen_over_the_simplified_one():
    def face(name: str, codepoints: set[int]) -> Face:
        return Face(Path("x.ttc"), 0, name, frozenset(codepoints), 0.88, -0.12)

    small, large = face("Some SC", {0x4E00}), face("Some JP", {0x4E00, 0x4E01})
    assert choose_faces([small, large], frozenset({0x4E00, 0x4E01, 0x4E02}), "best") == [large]


def test_real_glyphs_are_drawn_whole_and_centred(noto_sans):
    face = choose_faces(read_faces(noto_sans), frozenset({0x9502}), "best")[0]
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


def test_strokes_keep_their_width_and_grey_edges(noto_sans):
    face = choose_faces(read_faces(noto_sans), frozenset({0x4E28}), "best")[0]
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


def test_without_fontconfig_the_error_says_to_name_fonts(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FontError, match=r"fc-list does not run.*glyffctl prepare fonts/"):
        system_fonts()


def test_without_chinese_fonts_the_error_says_to_install_one(monkeypatch):
    nothing = subprocess.CompletedProcess([], 0, stdout="", stderr="")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: nothing)
    with pytest.raises(FontError, match="knows no Chinese font; install one"):
        system_fonts()


def test_a_variable_font_is_drawn_at_its_default_instance(tmp_path):
    box = (300, 100, 700, 700)
    plain = make_font(tmp_path / "plain.ttf", {0x4E00: box})
    variable = make_variable(plain, tmp_path / "variable.ttf", 0x4E00, wider=300)
    assert np.array_equal(draw(variable, [0x4E00])[0x4E00], draw(plain, [0x4E00])[0x4E00])
