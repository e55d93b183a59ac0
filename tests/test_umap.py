"""`glyffctl visualize-umap`: the workflow, its picture, the command."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from glyffctl.core.atlas import layout as layouts
from glyffctl.core.atlas.layout import FILE_NAME, MapSettings
from glyffctl.core.data.dataset import GlyphSet
from glyffctl.core.data.manifest import DIGEST_ENTRY, add_digest
from glyffctl.core.device import CPU
from glyffctl.core.errors import DataError, GlyffError, OutputError, UsageError
from glyffctl.core.io.images import read_settings
from glyffctl.core.io.tensors import load_tensors
from glyffctl.workflows.events import finish
from glyffctl.workflows.prepare import PrepareOptions, prepare
from glyffctl.workflows.sample import sample
from glyffctl.workflows.sample_options import SampleOptions
from glyffctl.workflows.umap import UmapOptions, UmapReport, visualize
from glyffctl.workflows.umap_pictures import trace_sampling
from tests.command_line import app
from tests.conftest import cautions, crashed, follow, of_kind, page_data
from tests.stand_in_pipelines import SMALL, add_encoder, make_pipeline
from tests.test_sample import FAST

pytestmark = pytest.mark.thorough

IDS = Path(os.environ.get("GLYFFCTL_IDS", "ids.txt"))


def never(*_: Any) -> Any:
    raise AssertionError("laid out again")


def test_the_same_map_twice_byte_for_byte(mapped: tuple[UmapReport, Path], map_data: Path, tmp_path: Path) -> None:
    report, out = mapped
    other = tmp_path / "data"
    other.mkdir()
    for file in map_data.iterdir():
        if file.name != FILE_NAME:
            (other / file.name).symlink_to(file)
    again = finish(visualize(UmapOptions(data=other, out=tmp_path)))
    assert not again.cached
    one, two = (load_tensors(folder / FILE_NAME, layouts.KIND, DataError)[0] for folder in (map_data, other))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert (tmp_path / "umap.html").read_bytes() == (out / "umap.html").read_bytes()
    with Image.open(tmp_path / "umap.png") as here, Image.open(out / "umap.png") as there:
        assert np.array_equal(np.asarray(here), np.asarray(there))
    assert read_settings(out / "umap.png")["seed"] == 0
    assert report.glyphs == again.glyphs > 350


def test_a_layout_is_kept_and_not_used_for_anything_else(
    mapped: tuple[UmapReport, Path], map_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("glyffctl.workflows.umap.lay_out", never)
    report = finish(visualize(UmapOptions(data=map_data, out=tmp_path)))
    assert report.cached
    assert (tmp_path / "umap.html").read_bytes() == (mapped[1] / "umap.html").read_bytes()
    assert (tmp_path / "umap.png").read_bytes() == (mapped[1] / "umap.png").read_bytes()
    for settings in (MapSettings(seed=1), MapSettings(neighbors=14), MapSettings(min_dist=0.2)):
        with pytest.raises(AssertionError, match="laid out again"):
            finish(visualize(UmapOptions(data=map_data, out=tmp_path, settings=settings)))
    other = tmp_path / "data"
    other.mkdir()
    for file in map_data.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    assert finish(visualize(UmapOptions(data=other, out=tmp_path))).cached
    manifest = (other / "manifest.json").read_bytes()
    (other / "manifest.json").write_bytes(
        add_digest(manifest.replace(b'"mean": ', b'"mean": 1').partition(DIGEST_ENTRY)[0])
    )
    with pytest.raises(AssertionError, match="laid out again"):
        finish(visualize(UmapOptions(data=other, out=tmp_path)))
    (other / "manifest.json").write_bytes(manifest)
    sealed = bytearray((other / FILE_NAME).read_bytes())
    sealed[-40] ^= 1
    (other / FILE_NAME).write_bytes(sealed)  # a bit flipped
    with pytest.raises(AssertionError, match="laid out again"):
        finish(visualize(UmapOptions(data=other, out=tmp_path)))


# --- pictures in the map --------------------------------------------------------------------------------------------


def test_drawn_pictures_and_a_trace_are_in_the_map(
    mapped: tuple[UmapReport, Path], map_data: Path, tiny_run: Path, tmp_path: Path
) -> None:
    one, many, folder = tmp_path / "one.png", tmp_path / "many.png", tmp_path / "folder"
    drawn = SampleOptions(prompts=("gold",), model=tiny_run, recipe=FAST, count=3, out=one)
    finish(sample(drawn))
    finish(sample(replace(drawn, prompts=("fish", "$grass_{$"), count=2, out=many)))
    finish(sample(replace(drawn, count=2, out=folder)))
    options = UmapOptions(data=map_data, out=tmp_path, drawn=(one, many, folder), trace=("fish",), model=tiny_run)
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
    mapped: tuple[UmapReport, Path], map_data: Path, map_glyphs: GlyphSet, tiny_run: Path, tmp_path: Path
) -> None:
    from glyffctl.core.io.images import save_png

    drawn = tmp_path / "drawn.png"
    finish(sample(SampleOptions(prompts=("x",), model=tiny_run, recipe=FAST, count=1, out=drawn)))
    own = map_glyphs.images(torch.tensor([37]))[0, 0]
    save_png(drawn, Image.fromarray(own.numpy()), read_settings(drawn))
    report = finish(visualize(UmapOptions(data=map_data, out=tmp_path, drawn=(drawn,))))
    tensors, _ = load_tensors(map_data / FILE_NAME, layouts.KIND, DataError)
    apart = (tensors["points"] - torch.tensor([report.placed[0].x, report.placed[0].y])).norm(dim=1)
    assert int(apart.argmin()) == 37 and float(apart[37]) < 1e-3
    assert report.placed[0].nearest == map_glyphs.characters[int(map_glyphs.character_of[37])].character


def test_what_cannot_be_placed_is_told_before_anything_is_done(
    map_data: Path, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    finish(sample(SampleOptions(prompts=("x",), model=tiny_run, recipe=FAST, count=2, out=drawn)))
    cut_off = tmp_path / "cut.png"
    with Image.open(drawn) as image:
        from glyffctl.core.io.images import save_png

        save_png(cut_off, image.crop((0, 0, 20, 20)), {**read_settings(drawn), "count": 9})
    settings = MapSettings(neighbors=5)
    for data_, path, words in (
        (map_data, plain, "has no settings"),
        (map_data, text, "as a PNG"),
        (map_data, tmp_path / "missing.png", "does not exist"),
        (map_data, empty, "holds no PNG"),
        (map_data, cut_off, "does not hold 9"),
        (other, drawn, "32×32 pixels, those of the data 64×64"),
    ):
        with pytest.raises(GlyffError, match=words):
            finish(visualize(UmapOptions(data=data_, out=tmp_path / "out", drawn=(path,), settings=settings)))
    with pytest.raises(UsageError, match="draws 32×32 pixels"):
        options = UmapOptions(data=other, out=tmp_path / "out", trace=("x",), model=tiny_run, settings=settings)
        finish(visualize(options))
    assert not (tmp_path / "out").exists()


def test_separation_is_told_with_a_table(
    mapped: tuple[UmapReport, Path], map_data: Path, map_glyphs: GlyphSet, tmp_path: Path
) -> None:
    table = tmp_path / "ids.txt"
    rows = [
        (c.character, "⿱" if c.radical == 140 else "⿰" if c.radical in (167, 195) else "")
        for c in map_glyphs.characters
    ]
    table.write_text("".join(f"U+{ord(c):04X}\t{c}\t{sign}{c}\n" for c, sign in rows), encoding="utf-8")
    report = finish(visualize(UmapOptions(data=map_data, out=tmp_path, ids=table)))
    parted = report.separation
    assert parted is not None
    assert parted.map > 0.97 and 0.35 < parted.shuffled < 0.65 and parted.pca > 0.5
    assert (parted.left_right, parted.top_bottom) == (sum(s == "⿰" for _, s in rows), sum(s == "⿱" for _, s in rows))
    content = page_data(tmp_path / "umap.html")
    assert [way["heading"] for way in content["colourings"]] == [
        *("Structure", "Kangxi radical", "Density", "Ink", "Code point")
    ]
    (tmp_path / "none.txt").write_text("U+0041\tA\t⿰AB\n", encoding="utf-8")
    with pytest.raises(DataError, match="none of the characters"):
        finish(visualize(UmapOptions(data=map_data, out=tmp_path, ids=tmp_path / "none.txt")))


def test_any_folder_of_pictures_is_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No characters, no radicals, a font or two: by density, or by font."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    random = np.random.RandomState(0)
    rows = []
    for k in range(24):
        Image.fromarray(random.randint(0, 256, (20, 20), dtype=np.uint8)).save(folder / f"{k}.png")
        row = {"file_name": f"{k}.png", "text": f"noise {k}", "font": f"$\\frac{{ 锂 \U0010fffd {k % 2}"}
        rows.append(
            {**row, "year": 1900 + k, "style": "$\\frac{" if k % 3 else "plain", "id": f"no {k}", "font size": None}
        )
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    settings = MapSettings(neighbors=5)
    for colour, first in ((None, "Font"), ("density", "Density"), ("none", None), ("year", "year"), ("style", "style")):
        finish(visualize(UmapOptions(data=folder, out=tmp_path, settings=settings, colour=colour)))
        content = page_data(tmp_path / "umap.html")
        assert [way["heading"] for way in content["colourings"]] == ["Font", "Density", "Ink", "year", "style"]
        assert first is None or content["colourings"][content["initial"]]["heading"] == first
    monkeypatch.setattr("glyffctl.workflows.umap.lay_out", never)
    with pytest.raises(
        UsageError, match="--color radical is not in these data; choose one of font, year, style, density, ink"
    ):
        finish(visualize(UmapOptions(data=folder, out=tmp_path, settings=settings, colour="radical")))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"colour": "structure"}, "--ids"),
        ({"settings": {"neighbors": 1}}, "`neighbors`"),
        ({"settings": {"min_dist": math.nan}}, "`min_dist`"),
        ({"settings": {"seed": -1}}, "`seed`"),
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
    map_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OutputError("cannot write: Read-only file system")

    monkeypatch.setattr("glyffctl.workflows.umap.save_map", full)
    options = UmapOptions(data=map_data, out=tmp_path, settings=MapSettings(neighbors=4, seed=9))
    events, report = follow(visualize(options))
    assert of_kind(events, "layout-not-saved")
    assert all(file.is_file() for file in report.files)


# --- as a person meets it -------------------------------------------------------------------------------------------


COMMAND = [sys.executable, "-W", "error", "-m", "glyffctl", "visualize-umap"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "100"}


def test_the_command_with_no_option(map_data: Path, mapped: tuple[UmapReport, Path], tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(map_data)
    done = subprocess.run(COMMAND, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["umap.png", "umap.html"]
    assert (tmp_path / "umap.html").read_bytes() == (mapped[1] / "umap.html").read_bytes()


@pytest.mark.hostile
def test_the_command_stopped(noto_sans: Path, unihan: Path, tmp_path: Path) -> None:
    data, other = tmp_path / "data", tmp_path / "stopped"
    finish(prepare(PrepareOptions(fonts=(noto_sans,), definitions=unihan, size=16, ranges="4E00-6FFF", out=data)))
    stopped = subprocess.Popen(
        # Whoever runs the tests in the background has SIGINT ignored, and so would this process.
        ["env", "--default-signal=INT", *COMMAND, "--data", str(data), "--out", str(other)],
        env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    # When numba is loaded, the layout is about to begin, however fast the machine; that of 6,000 glyphs takes seconds.
    while stopped.poll() is None and "llvmlite" not in Path(f"/proc/{stopped.pid}/maps").read_text():
        time.sleep(0.05)
    time.sleep(1)
    stopped.send_signal(signal.SIGINT)
    out, errors = stopped.communicate(timeout=60)
    assert stopped.returncode == 130, (out, errors)
    assert "stopped" in errors and not crashed(errors)
    assert not other.exists() or list(other.iterdir()) == []
    assert not (data / "umap.safetensors").exists()


def test_mistakes_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments, words in ((["--data", "nowhere"], "glyffctl prepare"), (["--out", "/dev/null/x"], "/dev/null")):
        done = CliRunner().invoke(app, ["visualize-umap", *arguments], env={"NO_COLOR": "1"})
        assert done.exit_code == 1 and words in done.stderr
        assert done.stderr.count("\n") == 1 and done.stdout == ""
    assert list(tmp_path.iterdir()) == []


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


def test_a_prompt_that_the_encoder_does_not_know_is_named(tiny_run: Path) -> None:
    events, _ = follow(trace_sampling("gold вода", tiny_run, None, 0, 32, CPU))
    assert cautions(events) == ["words-unknown"]
    assert of_kind(events, "words-unknown")[0].facts == {"words": ("вода",)}
    events, _ = follow(trace_sampling("gold", tiny_run, None, 0, 32, CPU))
    assert cautions(events) == []


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_a_model_of_diffusers_is_traced_as_ours_is(tmp_path: Path) -> None:
    folder = make_pipeline(tmp_path / "pipeline", SMALL | {"sample_size": 32})
    add_encoder(folder)
    traced = finish(trace_sampling("gold", folder, None, 0, 32, CPU))
    assert traced.pictures.shape == (20, 32, 32) and traced.pictures.dtype == torch.uint8
