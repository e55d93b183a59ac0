"""`glyffctl visualize-umap`: neighbours, the layout and what it is worth, the picture, the page in a real browser."""

import gzip
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from glyffctl.core import layout as layouts
from glyffctl.core.dataset import SEAL, GlyphSet, open_glyphs, seal
from glyffctl.core.density import CELLS, WIDTH, density
from glyffctl.core.errors import DataError, GlyffError, OutputError, UsageError
from glyffctl.core.groups import COLOURS, by_font, by_radical, group
from glyffctl.core.images import cut, near_square, read_settings, sheet
from glyffctl.core.layout import FILE_NAME, LaidOut, MapSettings, lay_out, place
from glyffctl.core.neighbours import Neighbours, nearest, project
from glyffctl.core.structure import read_structure, separation, two_kinds
from glyffctl.core.tensors import load_tensors
from glyffctl.workflows.events import Caution, Progress, finish
from glyffctl.workflows.prepare import PrepareOptions, prepare
from glyffctl.workflows.sample import sample
from glyffctl.workflows.sample_options import SampleOptions
from glyffctl.workflows.umap import UmapOptions, UmapReport, visualize
from tests.conftest import follow
from tests.test_sample import FAST

IDS = Path(os.environ.get("GLYFFCTL_IDS", "ids.txt"))


def last(steps: Iterator[Any]) -> Any:
    *_, end = steps
    return end.result


# --- neighbours --------------------------------------------------------------------------------------------------


@given(st.integers(0, 10_000), st.integers(1, 60), st.integers(1, 40))
def test_neighbours_are_those_of_brute_force(seed: int, count: int, width: int) -> None:
    random = torch.Generator().manual_seed(seed)
    # Far from the origin and with doubles: where |a|² + |b|² − 2ab loses digits.
    points = torch.randn(count, width, generator=random) + 1000
    points = points[torch.randint(count, (count,), generator=random)]
    k = 1 + seed % count
    found = last(nearest(points, k))
    apart = (points[:, None].double() - points[None].double()).norm(dim=2)
    torch.testing.assert_close(found.distance.double(), apart.sort(1).values[:, :k], atol=2e-4, rtol=1e-5)
    torch.testing.assert_close(apart.gather(1, found.rows), found.distance.double(), atol=2e-4, rtol=1e-5)
    assert (found.rows[:, 0] == torch.arange(count)).all()
    assert all(len(set(row)) == k for row in found.rows.tolist())
    others = last(nearest(points, k, points[:5] + 0.5))
    apart = (points[None].double() - points[:5, None].double() - 0.5).norm(dim=2).sort(1).values
    torch.testing.assert_close(others.distance.double(), apart[:, :k], atol=2e-4, rtol=1e-5)


def test_the_subspace_is_that_of_principal_components(glyphs: GlyphSet) -> None:
    subspace, points = last(project(glyphs, 20))
    pixels = glyphs.images(torch.arange(len(glyphs))).flatten(1).double()
    centred = pixels - pixels.mean(0)
    values = torch.linalg.svdvals(centred)
    kept = points.double().square().sum(0)
    assert (kept.diff() <= 0).all()  # the largest variance first
    assert kept.sum() > 0.93 * values[:20].square().sum()
    torch.testing.assert_close(kept[:2], values[:2].square(), rtol=1e-2, atol=0)
    # New pictures are put where the same old ones are.
    torch.testing.assert_close(subspace.project(glyphs.images(torch.arange(9))), points[:9], rtol=1e-3, atol=0.5)
    again = last(project(glyphs, 20))
    assert torch.equal(again[1], points)


def test_with_all_components_distances_are_those_of_pixels(glyphs: GlyphSet) -> None:
    _, points = last(project(glyphs))
    pixels = glyphs.images(torch.arange(len(glyphs))).flatten(1).double()
    few = torch.arange(0, len(glyphs), 7)
    apart = (points[few, None].double() - points[few].double()).norm(dim=2)
    torch.testing.assert_close(apart, (pixels[few, None] - pixels[few]).norm(dim=2), rtol=1e-3, atol=1)


# --- separation, structure, density, groups ------------------------------------------------------------------------


def test_separation_in_closed_form() -> None:
    line = torch.arange(200.0)
    apart = torch.stack([torch.where(line < 50, line, line + 1e4), torch.zeros(200)], 1)
    labels = (line >= 50).long()
    assert separation(apart, labels) == 1.0  # unequal counts, and each among its own
    assert separation(apart, 1 - labels) == 1.0
    every_other = torch.arange(200) % 2
    # On a line of alternating kinds 15 neighbours, oneself left out, are 8 of the other and 7 of one's own.
    assert separation(torch.stack([line, line * 0], 1), every_other) < 0.1
    labels[100:] = -1  # left out of everything: as if they were not there
    assert separation(apart, labels) == separation(apart[:100], labels[:100]) == 1.0


def test_separation_of_nothing_is_chance() -> None:
    random = torch.Generator().manual_seed(0)
    points = torch.randn(6000, 2, generator=random)
    labels = (torch.rand(6000, generator=random) < 0.5).long()
    assert abs(separation(points, labels) - 0.5) < 4 * 0.5 / math.sqrt(6000)
    # A majority votes for itself everywhere: right for all of one kind, for none of the other.
    assert abs(separation(points, (torch.rand(6000, generator=random) < 0.02).long()) - 0.5) < 0.01


def test_a_glyph_does_not_vote_on_itself_among_doubles() -> None:
    points = torch.zeros(40, 2)
    points[20:] = 1
    labels = (torch.arange(40) >= 20).long()
    assert separation(points, labels) == 1.0
    labels[0] = 1  # one odd double
    assert separation(points, labels) == pytest.approx((1 + 20 / 21) / 2)


def test_structure_is_read_plain_and_packed(tmp_path: Path) -> None:
    text = "# a comment\nU+9502\t锂\t⿰钅里\nU+82B1\t花\t⿱艹化\tX\nU+4E00\t一\t一\nbroken\n"
    (tmp_path / "ids.txt").write_text(text, encoding="utf-8")
    (tmp_path / "ids.txt.gz").write_bytes(gzip.compress(text.encode()))
    for name in ("ids.txt", "ids.txt.gz"):
        table = read_structure(tmp_path / name)
        assert table == {"锂": "⿰", "花": "⿱", "一": ""}
    assert two_kinds(["⿰", "⿱", "", "⿴"]).tolist() == [0, 1, -1, -1]


@pytest.mark.parametrize(
    "content", [b"", b"no table\n", b"\x1f\x8bbroken", b"\xff\xfe\x00\x01", "U+4E00\t一\t一\n".encode()]
)
def test_a_file_that_is_no_table_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ids"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"ids.*give a file of lines"):
        read_structure(path)


def test_density_of_one_point_is_the_kernel() -> None:
    points = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [0.0, 0.0]])
    field = density(points)
    assert field.values.max() == 1.0 and field.values.shape == (CELLS, CELLS)
    # Two points on one place, one on the others.
    at = field.at(torch.tensor([[0.0, 0.0], [10.0, 0.0], [5.0, 5.0]]))
    assert at[0] > 0.9 and at[1] == pytest.approx(float(at[0]) / 2, rel=0.1) and at[2] == 0
    # A Gaussian: one bandwidth away the density is e^−½ of its peak.
    assert float(field.at(torch.tensor([[10 - 10 * WIDTH, 0.0]]))[0] / at[1]) == pytest.approx(math.exp(-0.5), rel=0.08)


def test_groups_are_the_largest_and_the_rest_is_grey(glyphs: GlyphSet) -> None:
    keys = [k for k in range(20) for _ in range(k)]
    found = group("n", keys, {k: str(k) for k in range(20) if k != 19})
    assert found is not None
    assert found.labels == [str(k) for k in range(18, 18 - COLOURS, -1)]
    assert found.counts == list(range(18, 18 - COLOURS, -1))
    assert found.others == len(keys) - sum(found.counts)
    radical = by_radical(glyphs)
    assert radical is not None and "艸 grass" in radical.labels
    assert by_font(glyphs) is None  # there is one
    assert group("n", ["a"], {}) is None


def test_a_sheet_is_cut_as_it_was_laid_out() -> None:
    pictures = torch.randint(0, 256, (12, 32, 32), dtype=torch.uint8)
    assert torch.equal(cut(sheet(pictures, near_square(12)), 12, near_square(12), titled=False), pictures)
    assert torch.equal(cut(sheet(pictures, 3, titles=["a", "b", "c", "d"]), 12, 3, titled=True), pictures)
    with pytest.raises(UsageError, match="does not hold"):
        cut(Image.new("L", (100, 50)), 12, 4, titled=False)


# --- the layout ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, noto_sans: Path, unihan: Path) -> Path:
    """400 glyphs at 32×32 from two places of the code chart: many with the radical grass, many with fish or metal."""
    out = tmp_path_factory.mktemp("map") / "data"
    ranges = "U+8279-U+8360,U+9491-U+9540,U+9C7C-U+9CA0"
    finish(prepare(PrepareOptions(fonts=(noto_sans,), definitions=unihan, size=32, ranges=ranges, out=out)))
    return out


@pytest.fixture(scope="module")
def glyphs(data: Path) -> GlyphSet:
    return open_glyphs(data)


@pytest.fixture(scope="module")
def mapped(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[UmapReport, Path]:
    """The map of `data`, made once; the layout is in `data` then."""
    out = tmp_path_factory.mktemp("map") / "out"
    events, report = follow(visualize(UmapOptions(data=data, out=out)))
    epochs = [event.done for event in events if isinstance(event, Progress) and event.task == "Laying out"]
    assert not report.cached
    assert len(epochs) > 3 and epochs == sorted(epochs) and epochs[-1] == 500
    return report, out


def never(*_: Any) -> Iterator[LaidOut]:
    raise AssertionError("laid out again")


def test_the_same_map_twice_byte_for_byte(mapped: tuple[UmapReport, Path], data: Path, tmp_path: Path) -> None:
    report, out = mapped
    other = tmp_path / "data"
    other.mkdir()
    for file in data.iterdir():
        if file.name != FILE_NAME:
            (other / file.name).symlink_to(file)
    again = finish(visualize(UmapOptions(data=other, out=tmp_path)))
    assert not again.cached
    one, two = (load_tensors(folder / FILE_NAME, layouts.KIND, DataError)[0] for folder in (data, other))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert (tmp_path / "umap.html").read_bytes() == (out / "umap.html").read_bytes()
    with Image.open(tmp_path / "umap.png") as here, Image.open(out / "umap.png") as there:
        assert np.array_equal(np.asarray(here), np.asarray(there))
    assert read_settings(out / "umap.png")["seed"] == 0
    assert report.glyphs == again.glyphs > 350


def test_a_layout_is_kept_and_not_used_for_anything_else(
    mapped: tuple[UmapReport, Path], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("glyffctl.workflows.umap.lay_out", never)
    report = finish(visualize(UmapOptions(data=data, out=tmp_path)))
    assert report.cached
    assert (tmp_path / "umap.html").read_bytes() == (mapped[1] / "umap.html").read_bytes()
    assert (tmp_path / "umap.png").read_bytes() == (mapped[1] / "umap.png").read_bytes()
    for settings in (MapSettings(seed=1), MapSettings(neighbors=14), MapSettings(min_dist=0.2)):
        with pytest.raises(AssertionError, match="laid out again"):
            finish(visualize(UmapOptions(data=data, out=tmp_path, settings=settings)))
    other = tmp_path / "data"
    other.mkdir()
    for file in data.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    assert finish(visualize(UmapOptions(data=other, out=tmp_path))).cached
    manifest = (other / "manifest.json").read_bytes()
    (other / "manifest.json").write_bytes(seal(manifest.replace(b'"mean": ', b'"mean": 1').partition(SEAL)[0]))
    with pytest.raises(AssertionError, match="laid out again"):
        finish(visualize(UmapOptions(data=other, out=tmp_path)))
    (other / "manifest.json").write_bytes(manifest)
    sealed = bytearray((other / FILE_NAME).read_bytes())
    sealed[-40] ^= 1
    (other / FILE_NAME).write_bytes(sealed)  # a bit flipped
    with pytest.raises(AssertionError, match="laid out again"):
        finish(visualize(UmapOptions(data=other, out=tmp_path)))


def test_other_seeds_lay_out_otherwise_and_alike_stays_together(glyphs: GlyphSet) -> None:
    _, points = last(project(glyphs))
    neighbours = last(nearest(points, 15))
    one, two = (last(lay_out(points, neighbours, MapSettings(seed=seed))) for seed in (0, 1))
    assert not torch.equal(one, two)
    assert one.isfinite().all() and (one.amax(0) + one.amin(0)).abs().max() < 1e-4
    # 艸 above, 钅 and 鱼 at the left: in the map 15 neighbours tell them, in a shuffled one they do not.
    radical = torch.tensor([glyphs.characters[row].radical or 0 for row in glyphs.character_of.tolist()])
    labels = torch.where(radical == 140, 1, torch.where((radical == 167) | (radical == 195), 0, -1))
    for points_ in (one, two):
        assert separation(points_, labels) > 0.97
    assert separation(one[torch.randperm(len(one), generator=torch.Generator().manual_seed(0))], labels) < 0.7


@pytest.mark.parametrize("count", [12, 40])
def test_doubles_and_blanks_are_laid_out_too(count: int) -> None:
    same = torch.zeros(count, 8)
    half = torch.cat([torch.zeros(count // 2, 8), torch.ones(count - count // 2, 8) * 100])
    for points in (same, half):
        found = last(lay_out(points, last(nearest(points, 5)), MapSettings(neighbors=5)))
        assert found.shape == (count, 2) and found.isfinite().all()


def test_new_pictures_lie_among_their_like_and_old_ones_where_they_were() -> None:
    points = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [50.0, 50.0]])
    rows = torch.tensor([[0, 1, 2, 3, 4], [3, 0, 1, 2, 4]])
    distance = torch.tensor([[1.0, 1.0, 1.0, 1.0, 9.0], [0.0, 1.0, 1.0, 1.0, 9.0]])
    found = place(points, Neighbours(rows, distance))
    assert found[0].max() <= 1.0  # in the square of four, not on the way to the fifth
    assert torch.equal(found[1], points[3])
    square = place(points, Neighbours(rows[:, :4], distance[:, :4]))
    torch.testing.assert_close(square[0], torch.tensor([0.5, 0.5]), atol=1e-4, rtol=0)  # Weiszfeld's answer is known


def test_what_goes_wrong_in_the_thread_is_heard_of(monkeypatch: pytest.MonkeyPatch) -> None:
    points = torch.randn(60, 8, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(layouts, "_umap", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        last(lay_out(points, last(nearest(points, 15)), MapSettings()))


# --- pictures in the map --------------------------------------------------------------------------------------------


def test_drawn_pictures_and_a_trace_are_in_the_map(
    mapped: tuple[UmapReport, Path], data: Path, tiny_run: Path, tmp_path: Path
) -> None:
    one, many, folder = tmp_path / "one.png", tmp_path / "many.png", tmp_path / "folder"
    drawn = SampleOptions(prompts=("gold",), model=tiny_run, recipe=FAST, count=3, out=one)
    finish(sample(drawn))
    finish(sample(replace(drawn, prompts=("fish", "$grass_{$"), count=2, out=many)))
    finish(sample(replace(drawn, count=2, out=folder)))
    options = UmapOptions(data=data, out=tmp_path, drawn=(one, many, folder), trace=("fish",), model=tiny_run)
    report = finish(visualize(options))
    assert report.cached
    assert [placed.prompt for placed in report.placed] == ["gold"] * 3 + ["fish"] * 2 + ["$grass_{$"] * 2 + ["gold"] * 2
    content = page_data(tmp_path / "umap.html")
    assert len(content["drawn"]) == 9 and len(content["trails"]) == 1
    assert len(content["trails"][0]["points"]) == 20  # a guess after each step
    points = np.array([[marked["x"], marked["y"]] for marked in content["drawn"]])
    assert ((points > 0) & (points < 1)).all()
    # The same picture from the sheet and from the folder lies in the same place.
    assert (report.placed[0].x, report.placed[0].y) == (report.placed[7].x, report.placed[7].y)
    assert (tmp_path / "umap.png").read_bytes() != (mapped[1] / "umap.png").read_bytes()


def test_a_real_glyph_given_as_a_drawn_one_lies_on_itself(
    mapped: tuple[UmapReport, Path], data: Path, glyphs: GlyphSet, tiny_run: Path, tmp_path: Path
) -> None:
    from glyffctl.core.images import save_png

    drawn = tmp_path / "drawn.png"
    finish(sample(SampleOptions(prompts=("x",), model=tiny_run, recipe=FAST, count=1, out=drawn)))
    own = sheet(glyphs.images(torch.tensor([37]))[:, 0], 1)
    save_png(drawn, own, read_settings(drawn))
    report = finish(visualize(UmapOptions(data=data, out=tmp_path, drawn=(drawn,))))
    tensors, _ = load_tensors(data / FILE_NAME, layouts.KIND, DataError)
    apart = (tensors["points"] - torch.tensor([report.placed[0].x, report.placed[0].y])).norm(dim=1)
    assert int(apart.argmin()) == 37 and float(apart[37]) < 1e-3
    assert report.placed[0].nearest == glyphs.characters[int(glyphs.character_of[37])].character


def test_what_cannot_be_placed_is_told_before_anything_is_done(
    data: Path, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("glyffctl.workflows.umap._map", never)
    plain, text, empty = tmp_path / "plain.png", tmp_path / "text.png", tmp_path / "empty"
    Image.new("L", (32, 32)).save(plain)
    text.write_text("no picture", encoding="utf-8")
    empty.mkdir()
    other = tmp_path / "data64"
    finish(
        prepare(
            PrepareOptions(
                fonts=(Path("/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc"),),
                definitions=Path("/usr/share/unicode/Unihan_Readings.txt.bz2"),
                size=64,
                ranges="U+4E00-4E20",
                out=other,
            )
        )
    )
    drawn = tmp_path / "drawn.png"
    finish(sample(SampleOptions(prompts=("x",), model=tiny_run, recipe=FAST, count=1, out=drawn)))
    cut_off = tmp_path / "cut.png"
    with Image.open(drawn) as image:
        from glyffctl.core.images import save_png

        save_png(cut_off, image.crop((0, 0, 20, 20)), {**read_settings(drawn), "count": 9})
    settings = MapSettings(neighbors=5)
    for data_, path, words in (
        (data, plain, "does not say how it was made"),
        (data, text, "as a PNG"),
        (data, tmp_path / "missing.png", "does not exist"),
        (data, empty, "holds no PNG"),
        (data, cut_off, "does not hold 9"),
        (other, drawn, "32×32 pixels, those of the data 64×64"),
    ):
        with pytest.raises(GlyffError, match=words):
            finish(visualize(UmapOptions(data=data_, out=tmp_path / "out", drawn=(path,), settings=settings)))
    with pytest.raises(UsageError, match="draws 32×32 pixels"):
        options = UmapOptions(data=other, out=tmp_path / "out", trace=("x",), model=tiny_run, settings=settings)
        finish(visualize(options))
    assert not (tmp_path / "out").exists()


def test_separation_is_told_with_a_table(
    mapped: tuple[UmapReport, Path], data: Path, glyphs: GlyphSet, tmp_path: Path
) -> None:
    table = tmp_path / "ids.txt"
    rows = [
        (c.character, "⿱" if c.radical == 140 else "⿰" if c.radical in (167, 195) else "") for c in glyphs.characters
    ]
    table.write_text("".join(f"U+{ord(c):04X}\t{c}\t{sign}{c}\n" for c, sign in rows), encoding="utf-8")
    report = finish(visualize(UmapOptions(data=data, out=tmp_path, ids=table)))
    parted = report.separation
    assert parted is not None
    assert parted.map > 0.97 and 0.35 < parted.shuffled < 0.65 and parted.pca > 0.5
    assert (parted.left_right, parted.top_bottom) == (sum(s == "⿰" for _, s in rows), sum(s == "⿱" for _, s in rows))
    content = page_data(tmp_path / "umap.html")
    assert [way["heading"] for way in content["colourings"]] == ["Structure", "Kangxi radical", "Density"]
    (tmp_path / "none.txt").write_text("U+0041\tA\t⿰AB\n", encoding="utf-8")
    with pytest.raises(DataError, match="none of the characters"):
        finish(visualize(UmapOptions(data=data, out=tmp_path, ids=tmp_path / "none.txt")))


def test_any_folder_of_pictures_is_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No characters, no radicals, a font or two: by density, or by font."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    random = np.random.RandomState(0)
    rows = []
    for k in range(24):
        Image.fromarray(random.randint(0, 256, (20, 20), dtype=np.uint8)).save(folder / f"{k}.png")
        rows.append({"file_name": f"{k}.png", "text": f"noise {k}", "font": f"$\\frac{{ 锂 \U0010fffd {k % 2}"})
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    settings = MapSettings(neighbors=5)
    for colour, first in ((None, "Font"), ("density", "Density"), ("none", None)):
        finish(visualize(UmapOptions(data=folder, out=tmp_path, settings=settings, colour=colour)))
        content = page_data(tmp_path / "umap.html")
        assert [way["heading"] for way in content["colourings"]] == ["Font", "Density"]
        assert first is None or content["colourings"][content["initial"]]["heading"] == first
    monkeypatch.setattr("glyffctl.workflows.umap.lay_out", never)
    with pytest.raises(UsageError, match="--color radical is not in these data; there is font, density"):
        finish(visualize(UmapOptions(data=folder, out=tmp_path, settings=settings, colour="radical")))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"colour": "sepia"}, "--color"),
        ({"colour": "structure"}, "--ids"),
        ({"settings": {"neighbors": 1}}, "--neighbors"),
        ({"settings": {"min_dist": math.nan}}, "--min-dist"),
        ({"settings": {"seed": -1}}, "--seed"),
    ],
)
def test_options_that_make_no_sense(values: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        settings = MapSettings(**values.pop("settings", {}))
        UmapOptions(settings=settings, **values)


def test_too_few_glyphs_are_told(tmp_path: Path, noto_sans: Path, unihan: Path) -> None:
    out = tmp_path / "data"
    finish(prepare(PrepareOptions(fonts=(noto_sans,), definitions=unihan, size=16, ranges="4E00-4E02", out=out)))
    with pytest.raises(DataError, match="has 3 glyphs; a map with --neighbors 15 needs at least 16"):
        finish(visualize(UmapOptions(data=out, out=tmp_path / "out")))
    assert not (tmp_path / "out").exists()


def test_data_that_cannot_be_written_to_are_mapped_all_the_same(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OutputError("cannot write: Read-only file system")

    monkeypatch.setattr("glyffctl.workflows.umap.save_map", full)
    options = UmapOptions(data=data, out=tmp_path, settings=MapSettings(neighbors=4, seed=9))
    events, report = follow(visualize(options))
    assert any(isinstance(event, Caution) and "not kept" in event.text for event in events)
    assert all(file.is_file() for file in report.files)


# --- as a person meets it -------------------------------------------------------------------------------------------


COMMAND = [sys.executable, "-W", "error", "-m", "glyffctl", "visualize-umap"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "100"}


def test_the_command_with_no_option(data: Path, mapped: tuple[UmapReport, Path], tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(data)
    done = subprocess.run(COMMAND, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["umap.png", "umap.html"]
    assert (tmp_path / "umap.html").read_bytes() == (mapped[1] / "umap.html").read_bytes()


def test_the_command_stopped(noto_sans: Path, unihan: Path, tmp_path: Path) -> None:
    data, other = tmp_path / "data", tmp_path / "stopped"
    finish(prepare(PrepareOptions(fonts=(noto_sans,), definitions=unihan, size=16, ranges="4E00-6FFF", out=data)))
    stopped = subprocess.Popen(
        [*COMMAND, "--data", str(data), "--out", str(other)],
        env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    # When numba is loaded, the layout is about to begin, however fast the machine; that of 7,500 glyphs takes seconds.
    while stopped.poll() is None and "llvmlite" not in Path(f"/proc/{stopped.pid}/maps").read_text():
        time.sleep(0.05)
    time.sleep(1)
    stopped.send_signal(signal.SIGINT)
    out, errors = stopped.communicate(timeout=60)
    assert stopped.returncode == 130, (out, errors)
    assert "stopped" in errors and "Traceback" not in errors
    assert not other.exists() or list(other.iterdir()) == []
    assert not (data / "umap.safetensors").exists()


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "NO_COLOR": "1"}
    for arguments, words in ((["--data", "nowhere"], "glyffctl prepare"), (["--out", "/dev/null/x"], "/dev/null")):
        done = subprocess.run(
            [sys.executable, "-m", "glyffctl", "visualize-umap", *arguments],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 1 and words in done.stderr
        assert done.stderr.count("\n") == 1 and done.stdout == ""
    assert list(tmp_path.iterdir()) == []


# --- the page in a browser ------------------------------------------------------------------------------------------


def page_data(path: Path) -> dict[str, Any]:
    text = path.read_text(encoding="utf-8")
    begin = text.index('id="data">') + len('id="data">')
    content: dict[str, Any] = json.loads(text[begin : text.index("</script>", begin)])
    return content


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    """Chromium without a screen and without a network (install chromium and chromium-driver)."""
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for argument in (
        "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1200,800",
        "--host-resolver-rules=MAP * ~NOTFOUND", "--proxy-server=127.0.0.1:9",
        "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
    ):  # fmt: skip
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver"))
    yield driver
    driver.quit()


def visit(browser: webdriver.Chrome, path: Path) -> None:
    browser.get(path.absolute().as_uri())
    wait(browser, lambda d: d.execute_script("return document.body.dataset.ready") == "yes")


def wait(browser: webdriver.Chrome, until: Any) -> Any:
    return WebDriverWait(browser, 60, poll_frequency=0.05).until(until)


def text(browser: webdriver.Chrome, name: str) -> str:
    found: str = browser.find_element(By.ID, name).text
    return found


def test_the_page_finds_and_shows(mapped: tuple[UmapReport, Path], browser: webdriver.Chrome) -> None:
    visit(browser, mapped[1] / "umap.html")
    count = mapped[0].glyphs
    assert f"{count:,} glyphs" in text(browser, "count")
    field = browser.find_element(By.ID, "search")
    field.send_keys("lithium")
    wait(browser, lambda d: text(d, "count") == f"1 of {count} glyphs")
    assert "锂" in text(browser, "results")
    field.send_keys(Keys.ENTER)
    wait(browser, lambda d: "shown" in d.find_element(By.ID, "popup").get_attribute("class"))
    browser.execute_script("document.getElementById('map').focus()")
    canvas = browser.find_element(By.ID, "map")
    ActionChains(browser).move_to_element_with_offset(canvas, 300, 250).perform()
    wait(browser, lambda d: text(d, "name") != "锂")  # away from it, and
    ActionChains(browser).move_to_element(canvas).perform()
    wait(browser, lambda d: text(d, "name") == "锂")  # back: what was flown to is in the middle of the window
    assert text(browser, "code") == "U+9502"
    assert "lithium" in text(browser, "meaning")
    assert "金 gold" in text(browser, "kind")
    # The popup's picture is the glyph: as much ink in the same places as in the thumbnail of the data.
    seen = browser.execute_script(
        "return [...document.getElementById('glyph').getContext('2d').getImageData(0, 0, 192, 192).data]"
    )
    picture = np.array(seen, dtype=float).reshape(192, 192, 4)[:, :, 0].reshape(32, 6, 32, 6).mean((1, 3))
    content = page_data(mapped[1] / "umap.html")
    row = next(k for k, c in enumerate(content["characters"]) if c[0] == "锂")
    glyphs = open_glyphs(Path(read_settings(mapped[1] / "umap.png")["data"]))
    real = glyphs.images((glyphs.character_of == row).nonzero()[0])[0, 0].double().numpy()
    assert np.corrcoef(picture.ravel(), real.ravel())[0, 1] > 0.97
    for query, hits in (("锂", 1), ("U+9502", 1), ("9502", 1), ("LITHIUM element", 1), ("ithium", 0)):
        field.clear()
        field.send_keys(query)
        expected = f"{hits} of {count} glyphs" if hits else "nothing found"
        wait(browser, lambda d, expected=expected: text(d, "count") == expected)
    field.send_keys(Keys.ESCAPE)
    group_ = browser.find_elements(By.CSS_SELECTOR, "#groups button")[0]
    group_.click()
    radical = by_radical(open_glyphs(Path(read_settings(mapped[1] / "umap.png")["data"])))
    assert radical is not None
    assert text(browser, "count") == f"{radical.counts[0]} of {count} glyphs: {radical.labels[0]}"
    assert browser.get_log("browser") == []


def test_what_is_found_is_in_view_even_while_the_view_still_flies_elsewhere(
    mapped: tuple[UmapReport, Path], browser: webdriver.Chrome
) -> None:
    visit(browser, mapped[1] / "umap.html")
    field = browser.find_element(By.ID, "search")
    others = [c[0] for c in page_data(mapped[1] / "umap.html")["characters"] if c[0] != "锂"]
    for other in (others[0], others[len(others) // 2], others[-1]):
        field.clear()
        field.send_keys("锂")
        wait(browser, lambda d: "锂" in text(d, "results"))
        browser.execute_script(
            "document.querySelector('#results button').click();"
            "const field = document.getElementById('search');"
            "setTimeout(() => { field.value = arguments[0]; field.dispatchEvent(new Event('input')); }, 150);".replace(
                "arguments[0]", json.dumps(other)
            )
        )
        wait(browser, lambda d, other=other: other in text(d, "results"))
        time.sleep(0.6)  # longer than a flight
        assert browser.execute_script("return document.body.dataset.inView") == "1"
        assert "shown" not in browser.find_element(By.ID, "popup").get_attribute("class")
    assert browser.get_log("browser") == []


def test_points_and_density_are_on_the_screen(mapped: tuple[UmapReport, Path], browser: webdriver.Chrome) -> None:
    visit(browser, mapped[1] / "umap.html")

    def marks() -> float:
        time.sleep(0.5)
        screen = np.frombuffer(browser.get_screenshot_as_png(), np.uint8)
        from io import BytesIO

        with Image.open(BytesIO(screen.tobytes())) as image:
            middle = np.asarray(image.convert("RGB"))[:, 360:900].astype(int)
        return float((middle.min(2) < 240).mean())

    dots = marks()
    assert 0.002 < dots < 0.3
    browser.execute_script("document.getElementById('thick').click()")
    assert marks() > 1.5 * dots
    browser.execute_script("document.getElementById('thick').click()")
    assert marks() == pytest.approx(dots, rel=0.02)


HOSTILE = [
    "</script><script>window.hit=1</script>",
    "<script>window.hit=1</script>",
    "<img src=x onerror=window.hit=1>",
    "<svg onload=window.hit=1>",
    "<svg><script>window.hit=1</script></svg>",
    '"><img src=x onerror="window.hit=1">',
    "'><img src=x onerror='window.hit=1'>",
    "javascript:window.hit=1",
    '<a href="javascript:window.hit=1">x</a>',
    "<iframe srcdoc='<script>parent.hit=1</script>'></iframe>",
    "<body onload=window.hit=1>",
    "<!--<script>window.hit=1</script>-->",
    "<!--",
    "-->",
    "<![CDATA[<script>window.hit=1</script>]]>",
    "</title><script>window.hit=1</script>",
    "</style><script>window.hit=1</script>",
    "</textarea><script>window.hit=1</script>",
    "<style>@import 'http://example.com/x';</style>",
    '<meta http-equiv="refresh" content="0;url=javascript:window.hit=1">',
    '<base href="http://example.com/">',
    "\\u003cscript\\u003ewindow.hit=1\\u003c/script\\u003e",
    "&lt;script&gt;window.hit=1&lt;/script&gt;",
    "{{data}}{{script}}${window.hit=1}",
    "{{constructor.constructor('window.hit=1')()}}",
    '"};window.hit=1;//',
    "'};window.hit=1;//",
    "\u2028window.hit=1;\u2029",
    "\x00<script>window.hit=1</script>\x1b[31m",
    "`${window.hit=1}`",
    "\u202e<script>window.hit=1</script>",
    "\uffff no character <script>window.hit=1</script>",
    "__proto__ constructor toString",
    "%3Cscript%3Ewindow.hit=1%3C/script%3E",
]


def test_hostile_words_do_nothing(browser: webdriver.Chrome, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    rows = []
    random = np.random.RandomState(0)
    for k, words in enumerate(HOSTILE):
        Image.fromarray(random.randint(0, 256, (16, 16), dtype=np.uint8)).save(folder / f"{k}.png")
        rows.append({"file_name": f"{k}.png", "text": words, "font": HOSTILE[k % 7], "character": words[:40]})
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    finish(visualize(UmapOptions(data=folder, out=tmp_path, settings=MapSettings(neighbors=5))))
    visit(browser, tmp_path / "umap.html")
    field = browser.find_element(By.ID, "search")
    for query in ("window", "script", "x"):
        field.clear()
        field.send_keys(query)
        field.send_keys(Keys.ENTER)
        wait(browser, lambda d: " of 34 glyphs" in text(d, "count"))
    for _ in range(3):  # and every popup and every name of a group is shown
        field.send_keys(Keys.ENTER)
        time.sleep(0.7)
    browser.execute_script("document.getElementById('all').click()")
    shown = browser.execute_script(
        "const map = document.getElementById('map'), shown = new Set();"
        "for (let x = 0; x < innerWidth; x += 16) for (let y = 0; y < innerHeight; y += 16) {"
        "  map.dispatchEvent(new PointerEvent('pointermove', { pointerId: 1, clientX: x, clientY: y }));"
        "  shown.add(document.getElementById('meaning').textContent.toWellFormed());"
        "}"
        "return [...shown];"
    )
    assert len(set(shown) & set(HOSTILE)) > 25
    browser.find_elements(By.CSS_SELECTOR, "#groups button")[0].click()
    assert browser.execute_script("return window.hit") is None
    assert browser.execute_script("return document.scripts.length") == 1  # the data block is gone, the program is left
    assert not browser.find_elements(By.CSS_SELECTOR, "img, iframe, svg, base, a")
    assert browser.get_log("browser") == []
    # The page's own policy holds: what is put in by force does not run either.
    browser.execute_script(
        "const s = document.createElement('script'); s.append('window.hit = 2'); document.body.append(s);"
    )
    assert browser.execute_script("return window.hit") is None


def test_the_page_names_no_other_place(mapped: tuple[UmapReport, Path]) -> None:
    page = (mapped[1] / "umap.html").read_text(encoding="utf-8")
    assert "http://" not in page and "https://" not in page and "@import" not in page
    assert "innerHTML" not in page and "eval(" not in page and "document.write" not in page
    assert "default-src &#x27;none&#x27;" in page


# --- all glyphs ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(not IDS.is_file(), reason="set GLYFFCTL_IDS to CJKVI's ids.txt, plain or .gz")
def test_left_right_and_top_bottom_part_in_the_map_of_all(tmp_path: Path, noto_sans: Path, unihan: Path) -> None:
    """What the guide says of the map, on all glyphs of a font."""
    data = tmp_path / "data"
    finish(prepare(PrepareOptions(fonts=(noto_sans,), definitions=unihan, out=data)))
    report = finish(visualize(UmapOptions(data=data, out=tmp_path, ids=IDS)))
    assert report.glyphs > 20_000
    assert report.separation is not None
    assert report.separation.map > 0.994
    assert report.separation.pca < 0.75
    assert abs(report.separation.shuffled - 0.5) < 0.02
    assert (tmp_path / "umap.html").stat().st_size < 12e6
