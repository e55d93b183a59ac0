"""`sample --keep`, `--mask` and `--vary` from the command line: what stays, what is recorded, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from glyffctl.core.errors import UsageError
from glyffctl.core.io.images import read_png, read_settings, save_png, sheet
from glyffctl.workflows.sample_light import may_draw_light
from glyffctl.workflows.sample_options import SampleOptions
from glyffctl.workflows.source_options import SourceOptions
from tests.command_line import app
from tests.conftest import crashed
from tests.students import make_student

GAP = 4  # pixels of a sheet


def sample(*typed: object) -> Result:
    result = CliRunner().invoke(app, ["sample", *map(str, typed)])
    assert not crashed(result.output), result.output
    return result


def drawn(out: Path, *typed: object, size: int = 32, count: int = 4) -> Any:
    """(count, size, size) the pictures of a sheet of one row or two."""
    done = sample(*typed, "--out", out)
    assert done.exit_code == 0, done.output
    sheet, side = np.asarray(read_png(out)), size + GAP
    across = sheet.shape[1] // side
    corners = [(GAP + k // across * side, GAP + k % across * side) for k in range(count)]
    return np.stack([sheet[y : y + size, x : x + size] for y, x in corners])


def grey(file: Path, pixels: Any, mode: str = "L") -> Path:
    Image.fromarray(np.asarray(pixels, dtype=np.uint8), mode).save(file)
    return file


@pytest.fixture
def job(tiny_run: Path) -> tuple[object, ...]:
    return ("--model", tiny_run, "--count", 4, "--steps", 4)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    return grey(tmp_path / "given.png", np.random.default_rng(0).integers(0, 256, (32, 32)))


@pytest.mark.parametrize(
    ("half", "stays"),
    [
        ("left", np.s_[:, :, :16]),
        pytest.param("right", np.s_[:, :, 16:], marks=pytest.mark.thorough),
        ("top", np.s_[:, :16]),
        pytest.param("bottom", np.s_[:, 16:], marks=pytest.mark.thorough),
    ],
)
def test_a_half_stays_to_the_last_bit_and_is_drawn_again_byte_for_byte(
    half: str, stays: Any, job: tuple[object, ...], picture: Path, tmp_path: Path
) -> None:
    pictures = drawn(tmp_path / "a.png", "gold", "--keep", half, picture, *job)
    given = np.asarray(read_png(picture))[None]
    same = pictures == given
    assert same[stays].all() and same.mean() < 0.6
    assert not np.array_equal(pictures[0], pictures[1])
    recorded = read_settings(tmp_path / "a.png")["source"]
    assert recorded["part"] == half and Path(recorded["picture"]) == picture.absolute()
    assert sample("--again", tmp_path / "a.png").exit_code == 0
    assert (tmp_path / "a-again.png").read_bytes() == (tmp_path / "a.png").read_bytes()
    other = drawn(tmp_path / "b.png", "gold", "--keep", half, picture, *job, "--resample", 1)
    assert not np.array_equal(pictures, other)


def test_a_mask_is_black_where_the_picture_stays(job: tuple[object, ...], picture: Path, tmp_path: Path) -> None:
    place = np.zeros((32, 32), dtype=bool)
    place[5:20, 10:30] = True
    opaque = grey(tmp_path / "m.png", np.where(place, 0, 255))
    ink = np.zeros((32, 32, 4))
    ink[..., 3] = place * 255
    clear = grey(tmp_path / "t.png", ink, "RGBA")
    pictures = drawn(tmp_path / "a.png", "gold", "--mask", opaque, picture, *job)
    same = pictures == np.asarray(read_png(picture))
    assert same[:, place].all() and same[:, ~place].mean() < 0.2
    assert np.array_equal(pictures, drawn(tmp_path / "b.png", "gold", "--mask", clear, picture, *job))
    assert sample("--again", tmp_path / "b.png").exit_code == 0
    assert (tmp_path / "b-again.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_picture_whose_record_says_nothing_of_a_lead_is_drawn_again_without(
    job: tuple[object, ...], picture: Path, tmp_path: Path
) -> None:
    """As version 0.2 drew it."""
    drawn(tmp_path / "a.png", "gold", "--keep", "left", picture, *job)
    settings = read_settings(tmp_path / "a.png")
    again = {}
    for name, source in (
        ("old", {key: value for key, value in settings["source"].items() if key != "led"}),
        ("without", {**settings["source"], "led": False}),
        ("with", settings["source"]),
    ):
        with Image.open(tmp_path / "a.png") as image:
            save_png(tmp_path / f"{name}.png", image.copy(), {**settings, "source": source})
        assert sample("--again", tmp_path / f"{name}.png").exit_code == 0
        again[name] = np.asarray(read_png(tmp_path / f"{name}-again.png"))
    assert np.array_equal(again["old"], again["without"])
    assert not np.array_equal(again["old"], again["with"])


@pytest.mark.thorough
def test_variations_by_strength(job: tuple[object, ...], picture: Path, tmp_path: Path) -> None:
    given = np.asarray(read_png(picture)).astype(int)
    same = drawn(tmp_path / "0.png", "gold", "--vary", picture, "--strength", 0, *job)
    assert (same == given).all()
    plain = drawn(tmp_path / "p.png", "gold", *job)
    assert np.array_equal(plain, drawn(tmp_path / "1.png", "gold", "--vary", picture, "--strength", 1, *job))
    varied = drawn(tmp_path / "d.png", "gold", "--vary", picture, *job)
    assert not np.array_equal(varied, drawn(tmp_path / "w.png", "gold", "--vary", picture, "--strength", 0.2, *job))
    assert not np.array_equal(varied, plain)
    assert read_settings(tmp_path / "d.png")["source"]["strength"] == 0.4
    assert sample("--again", tmp_path / "d.png").exit_code == 0
    assert (tmp_path / "d-again.png").read_bytes() == (tmp_path / "d.png").read_bytes()


@pytest.mark.thorough
def test_fewer_levels_than_steps(job: tuple[object, ...], picture: Path, tmp_path: Path) -> None:
    weak = ("gold", "--vary", picture, "--strength", 0.002, *job, "--gif", tmp_path / "x.gif")
    drawn(tmp_path / "a.png", *weak)
    assert read_settings(tmp_path / "a.png")["recipe"]["steps"] == 2
    assert sample("--again", tmp_path / "a.png").exit_code == 0
    assert (tmp_path / "a-again.png").read_bytes() == (tmp_path / "a.png").read_bytes()
    drawn(tmp_path / "b.png", "gold", "--vary", picture, "--strength", 0, *job, "--gif", tmp_path / "y.gif")


@pytest.mark.thorough
def test_with_a_gif_several_prompts_a_negative_and_none(job: tuple[object, ...], picture: Path, tmp_path: Path) -> None:
    kept = ("--keep", "left", picture, *job)
    assert sample("gold", "water", *kept, "--negative", "fish", "--out", tmp_path / "folder").exit_code == 0
    given = np.asarray(read_png(picture))
    files = sorted((tmp_path / "folder").iterdir())
    assert len(files) == 8
    assert all((np.asarray(read_png(file))[:, :16] == given[:, :16]).all() for file in files)
    assert sample("--again", files[5], "--out", tmp_path / "x.png").exit_code == 0
    assert np.array_equal(np.asarray(read_png(tmp_path / "x.png")), np.asarray(read_png(files[5])))
    none = drawn(tmp_path / "b.png", *kept, "--gif", tmp_path / "b.gif")
    assert read_settings(tmp_path / "b.png")["prompts"] == [""] and (none[:, :, :16] == given[:, :16]).all()
    with Image.open(tmp_path / "b.gif") as gif:
        assert getattr(gif, "n_frames", 1) >= 4
    led = drawn(tmp_path / "d.png", "gold", *kept, "--guide", kept[4], "--guidance", 2)
    assert (led[:, :, :16] == given[:, :16]).all()
    one = drawn(tmp_path / "c.png", *kept, "--seed", 2, "--batch", 1)
    assert np.abs(one[0].astype(int) - none[2]).max() <= 1


@pytest.mark.thorough
def test_the_whole_model_begins_with_a_picture_not_its_student(tmp_path: Path) -> None:
    make_student(tmp_path)
    given = grey(tmp_path / "given.png", np.full((128, 128), 255))
    for typed in (("--keep", "left", given), ("--vary", given)):
        job = ("gold", *typed, "--model", tmp_path, "--count", 1, "--out", tmp_path / "x.png")
        refused = sample(*job, "--passes", 4)
        assert refused.exit_code != 0 and f"{typed[0]} takes the whole model" in " ".join(refused.output.split())
    assert sample(*job).exit_code == 0
    assert read_settings(tmp_path / "x.png")["recipe"]["sampler"] == "dpmpp-2m"
    options = SampleOptions(prompts=("",), source=SourceOptions(picture=given, part="left"))
    assert not may_draw_light(options)


@pytest.mark.thorough
def test_a_picture_of_sample_can_be_begun_with(job: tuple[object, ...], tmp_path: Path) -> None:
    one, model = ("--count", 1, "--steps", 2), job[:2]
    assert sample("gold", *model, *one, "--out", tmp_path / "one.png", "--gif", tmp_path / "one.gif").exit_code == 0
    given = np.asarray(read_png(tmp_path / "one.png"))
    assert given.shape == (32, 32), "one glyph has no margin"
    with Image.open(tmp_path / "one.gif") as gif:
        assert gif.size == (32, 32)
    settings = read_settings(tmp_path / "one.png")
    save_png(tmp_path / "old.png", sheet(given[None], 1), settings | {"only": None})  # as 0.2.0 wrote it
    Image.fromarray(given.repeat(4, 0).repeat(4, 1)).save(tmp_path / "large.png")
    for name in ("one", "old", "large"):
        kept = sample("gold", "--keep", "left", tmp_path / f"{name}.png", *model, *one, "--out", tmp_path / "k.png")
        assert kept.exit_code == 0, kept.output
        assert (np.asarray(read_png(tmp_path / "k.png"))[:, :16] == given[:, :16]).all()
        assert sample("--again", tmp_path / "k.png").exit_code == 0
        assert (tmp_path / "k-again.png").read_bytes() == (tmp_path / "k.png").read_bytes()


@pytest.mark.thorough
def test_a_sheet_of_several_says_how_to_take_one(job: tuple[object, ...], tmp_path: Path) -> None:
    assert sample("gold", *job, "--out", tmp_path / "sheet.png").exit_code == 0
    assert sample("gold", *job, "--out", tmp_path / "outlines.svg").exit_code == 0
    for option in (("--keep", "left"), ("--vary",)):
        refused = sample(*option, tmp_path / "sheet.png", *job[:2], "--out", tmp_path / "x.png")
        words = " ".join(refused.output.split())
        assert refused.exit_code != 0 and "sheet of 4 glyphs" in words and "--out FOLDER" in words
        refused = sample(*option, tmp_path / "outlines.svg", *job[:2], "--out", tmp_path / "x.png")
        assert refused.exit_code != 0 and "--out FILE.png" in " ".join(refused.output.split())
    assert sample("--again", tmp_path / "sheet.png", "--out", tmp_path / "singles").exit_code == 0
    singles = sorted((tmp_path / "singles").iterdir())
    assert len(singles) == 4 and all(read_png(file).size == (32, 32) for file in singles)
    # One of them alone goes into a folder under its name, too.
    assert sample("--again", singles[2], "--out", tmp_path / "single").exit_code == 0
    assert (tmp_path / "single" / singles[2].name).read_bytes() == singles[2].read_bytes()


def test_what_cannot_be_begun_with(job: tuple[object, ...], picture: Path, tmp_path: Path) -> None:
    small = grey(tmp_path / "small.png", np.zeros((31, 32)))
    white, black = (grey(tmp_path / f"{g}.png", np.full((32, 32), g)) for g in (255, 0))
    text = tmp_path / "text.png"
    text.write_text("no picture", encoding="utf-8")
    wrong: list[tuple[tuple[object, ...], str]] = [
        (("--keep", "middle", picture), "--keep takes left"),
        (("--keep", "left", small), "32×31 pixels"),
        (("--keep", "left", text), "text.png"),
        (("--keep", "left", tmp_path / "none.png"), "none.png"),
        (("--mask", small, picture), "32×31 pixels"),
        (("--mask", white, picture), "keeps nothing"),
        (("--mask", black, picture), "keeps everything"),
        (("--mask", text, picture), "text.png"),
        (("--vary", small), "32×31 pixels"),
        (("--vary", tmp_path), str(tmp_path.name)),
        (("--vary", picture, "--strength", 1.1), "--strength"),
        (("--vary", picture, "--keep", "left", picture), "--keep and --vary"),
        (("--vary", picture, "--resample", 2), "--resample"),
        (("--strength", 0.4), "--vary"),
        (("--keep", "left", picture, "--resample", 0), "--resample"),
        (("--upscale", picture, "--vary", picture), "--vary"),
        (("", "--vary", picture, "--guidance", 7), "--guidance"),
        (("--again", picture, "--vary", picture), "--vary"),
    ]
    for typed, words in wrong:
        done = sample(
            *typed, *(() if "--again" in typed else job if "" in typed else ("gold", *job)), "--out", tmp_path / "y.png"
        )
        assert done.exit_code != 0 and words in " ".join(done.output.split()), (typed, done.output)
        assert not (tmp_path / "y.png").exists()


def test_again_notices_another_picture(job: tuple[object, ...], picture: Path, tmp_path: Path) -> None:
    drawn(tmp_path / "a.png", "gold", "--keep", "left", picture, *job)
    grey(picture, np.zeros((32, 32)))
    changed = sample("--again", tmp_path / "a.png")
    assert changed.exit_code != 0 and "no longer" in " ".join(changed.output.split())
    picture.unlink()
    assert sample("--again", tmp_path / "a.png").exit_code != 0
    assert not (tmp_path / "a-again.png").exists()


@pytest.mark.hostile
@pytest.mark.parametrize(
    "change",
    [
        {"picture": "/dev/null/x"},
        {"picture": "a\0b"},
        {"part": ["left"]},
        {"part": "middle"},
        {"mask": "x.png"},
        {"strength": float("nan")},
        {"strength": "x"},
        {"resample": 10**9},
        {"digest": None},
    ],
)
def test_a_picture_that_lies_about_what_it_began_with(
    change: dict[str, Any], job: tuple[object, ...], picture: Path, tmp_path: Path
) -> None:
    drawn(tmp_path / "a.png", "gold", "--keep", "left", picture, *job)
    settings = read_settings(tmp_path / "a.png")
    settings["source"] = {**settings["source"], **change}
    with Image.open(tmp_path / "a.png") as image:
        save_png(tmp_path / "b.png", image.copy(), settings)
    assert sample("--again", tmp_path / "b.png").exit_code != 0


def test_options_out_of_range() -> None:
    for wrong in ({"strength": float("nan")}, {"strength": -0.1}, {"resample": 101}, {"part": "middle"}):
        with pytest.raises(UsageError):
            SourceOptions(picture=Path("x"), **wrong)
    with pytest.raises(UsageError, match="--mask"):
        SourceOptions(picture=Path("x"), part="left", mask=Path("m"))
