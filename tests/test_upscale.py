"""Large pictures from the command line: `train --preset upscaler`, `sample --size`, `sample --upscale`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from glyffctl.core.errors import ModelError
from glyffctl.core.io.images import read_png, read_settings, save_png, sheet
from glyffctl.core.models.checkpoint import load_model
from glyffctl.workflows import companions
from glyffctl.workflows.events import finish
from glyffctl.workflows.export import ExportOptions, export
from glyffctl.workflows.find_model import find_model
from glyffctl.workflows.font_pictures import read_pictures
from glyffctl.workflows.models import load_any
from glyffctl.workflows.prepare import PrepareOptions, prepare
from glyffctl.workflows.train import TrainOptions, train
from glyffctl.workflows.upscale import upscale, upscale_options_from_picture
from tests.command_line import app
from tests.conftest import Workshop, cautions, crashed, follow, stop_at_checkpoint

SETTINGS = """
[network]
channels = [8, 16]

[training]
batch = 4
warmup = 0
precision = "fp32"
checkpoint_every = 16

[upscaling]
crop = 32
steps = 2
"""


@pytest.fixture(scope="module")
def large_data(noto_face: Path, unihan: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of 128×128, four times as wide as what `tiny_run` draws."""
    out = tmp_path_factory.mktemp("large") / "data"
    finish(prepare(PrepareOptions(fonts=(noto_face,), definitions=unihan, size=128, ranges="U+4E00-4E10", out=out)))
    return out


def options(data: Path, out: Path, images: int = 32) -> TrainOptions:
    settings = out.with_suffix(".toml")
    settings.write_text(SETTINGS, encoding="utf-8")
    return TrainOptions(data=data, out=out, gpus=0, preset="upscaler", config=settings, overrides={"images": images})


@pytest.fixture(scope="module")
def upscaler(large_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("upscalers") / "run"
    finish(train(options(large_data, out)))
    return out


def sample(*typed: object) -> Result:
    result = CliRunner().invoke(app, ["sample", *map(str, typed)])
    assert not crashed(result.output), result.output
    return result


def test_it_trains_without_embeddings_and_shows_what_it_enlarges(upscaler: Path, large_data: Path) -> None:
    assert not (large_data / "embeddings.safetensors").exists()
    sheet = read_png(upscaler / "samples" / "000000032.png")
    assert sheet.width > 3 * 128
    assert f"--size 128 --upscaler {upscaler}" in (upscaler / "README.md").read_text(encoding="utf-8")
    assert load_model(upscaler).network.enlarges


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(upscaler: Path, large_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    stop_at_checkpoint(train(options(large_data, out)))
    finish(train(options(large_data, out)))
    assert load_model(out).identity == load_model(upscaler).identity


def test_sample_draws_larger_and_redraws_byte_for_byte(upscaler: Path, tiny_run: Path, tmp_path: Path) -> None:
    out, small = tmp_path / "x.png", tmp_path / "small.png"
    job = ("gold", "--count", 2, "--model", tiny_run, "--steps", 2)
    done = sample(*job, "--size", 128, "--upscaler", upscaler, "--out", out)
    assert done.exit_code == 0, done.output
    sheet = np.array(read_png(out))
    assert sheet.shape == (128 + 8, 2 * (128 + 4) + 4)
    settings = read_settings(out)
    assert settings["enlarged"]["weights"] == load_model(upscaler).identity
    assert settings["enlarged"]["recipe"] == {"steps": 2, "start": 4.0, "noise": 0.02}
    assert sample("--again", out).exit_code == 0
    assert (tmp_path / "x-again.png").read_bytes() == out.read_bytes()
    # The first stage is the same with and without the second, which has learned next to nothing here.
    assert sample(*job, "--out", small).exit_code == 0
    assert "enlarged" not in read_settings(small)
    few = np.array(read_png(small))[4:36, 4:36].astype(float)
    many = sheet[4:132, 4:132].reshape(32, 4, 32, 4).mean((1, 3))
    assert np.corrcoef(few.ravel(), many.ravel())[0, 1] > 0.5


def test_other_sizes_and_folders(upscaler: Path, tiny_run: Path, tmp_path: Path) -> None:
    for size in (64, 256):
        out = tmp_path / str(size)
        done = sample(
            "gold",
            "--count",
            1,
            "--model",
            tiny_run,
            "--steps",
            1,
            "--size",
            size,
            "--upscaler",
            upscaler,
            "--out",
            out,
        )
        assert done.exit_code == 0, done.output
        (file,) = out.iterdir()
        assert read_png(file).size == (size, size)


def test_the_size_that_the_model_draws_takes_no_upscaler(tiny_run: Path, tmp_path: Path) -> None:
    job = ("gold", "--count", 1, "--model", tiny_run, "--steps", 1)
    for name, more in (("plain", ()), ("sized", ("--size", 32))):
        assert sample(*job, *more, "--out", tmp_path / f"{name}.png").exit_code == 0
    assert (tmp_path / "plain.png").read_bytes() == (tmp_path / "sized.png").read_bytes()


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    pixels = np.full((32, 32), 255, dtype=np.uint8)
    pixels[8:12, 4:28], pixels[4:28, 14:19] = 0, 0
    Image.fromarray(pixels).save(tmp_path / "cross.png")
    return tmp_path / "cross.png"


def test_any_picture_of_that_size_is_enlarged(upscaler: Path, picture: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.png"
    read_png(picture).transpose(Image.Transpose.ROTATE_90).save(other)
    done = sample("--upscale", picture, other, "--upscaler", upscaler, "--seed", 5)
    assert done.exit_code == 0, done.output
    first, second = tmp_path / "cross-128.png", tmp_path / "other-128.png"
    assert read_png(first).size == read_png(second).size == (128, 128)
    assert (read_settings(first)["seed"], read_settings(second)["seed"]) == (5, 6)
    assert sample("--again", second).exit_code == 0
    assert (tmp_path / "other-128-again.png").read_bytes() == second.read_bytes()
    read_png(picture).save(tmp_path / "jpeg.png", "JPEG")
    assert sample("--upscale", tmp_path / "jpeg.png", "--upscaler", upscaler).exit_code == 0
    # A file that is there is not overwritten unless it is named.
    assert sample("--upscale", picture, "--upscaler", upscaler).exit_code == 0
    assert (tmp_path / "cross-128-2.png").exists()
    Image.new("L", (32, 32)).save(other)
    again = sample("--again", second)
    assert again.exit_code != 0 and "no longer the picture" in " ".join(again.output.split())


def test_what_a_picture_was_drawn_of_goes_on_into_the_large_one_and_into_fonts(
    upscaler: Path, tiny_run: Path, tmp_path: Path
) -> None:
    job = ("gold", "fish", "--count", 2, "--seed", 3, "--model", tiny_run, "--steps", 1, "--out", tmp_path / "small")
    assert sample(*job).exit_code == 0
    small = sorted((tmp_path / "small").iterdir())
    assert sample("--upscale", *small, "--seed", 40, "--upscaler", upscaler, "--out", tmp_path / "large").exit_code == 0
    large = sorted((tmp_path / "large").iterdir())
    settings = [read_settings(file) for file in large]
    assert [one["drawn"] for one in settings] == [read_settings(file) for file in small]
    assert [one["seed"] for one in settings] == [40, 41, 42, 43], "that of the upscaler's noise"
    found = [picture for file in large for picture in read_pictures(file)]
    assert [(one.prompt, one.seed) for one in found] == [("gold", 3), ("gold", 4), ("fish", 3), ("fish", 4)]
    for one, made in zip(found, settings, strict=True):
        assert one.settings is not None and one.settings["model"] == str(tiny_run.absolute())
        assert one.settings["enlarged"] == made["enlarged"]
    # The large picture keeps what it says, whatever became of the record in the small one.
    save_png(small[1], read_png(small[1]))
    assert sample("--again", large[1], "--out", tmp_path / "again.png").exit_code == 0
    assert (tmp_path / "again.png").read_bytes() == large[1].read_bytes()


def test_a_sheet_of_one_glyph_is_enlarged_and_one_of_several_is_not(
    upscaler: Path, tiny_run: Path, tmp_path: Path
) -> None:
    job = ("gold", "--model", tiny_run, "--steps", 1, "--count")
    assert sample(*job, 1, "--out", tmp_path / "one.png").exit_code == 0
    settings, pixels = read_settings(tmp_path / "one.png"), np.asarray(read_png(tmp_path / "one.png"))
    save_png(tmp_path / "old.png", sheet(pixels[None], 1), settings | {"only": None})  # as 0.2.0 wrote it
    save_png(tmp_path / "cut.png", read_png(tmp_path / "one.png"), settings | {"only": None, "count": 4})
    for name in ("one", "old", "cut"):
        assert sample("--upscale", tmp_path / f"{name}.png", "--upscaler", upscaler).exit_code == 0
        [glyph] = read_pictures(tmp_path / f"{name}-128.png")
        assert (glyph.prompt, glyph.pixels.shape) == ("" if name == "cut" else "gold", (128, 128))
    assert sample(*job, 4, "--out", tmp_path / "four.png").exit_code == 0
    refused = sample("--upscale", tmp_path / "four.png", "--upscaler", upscaler)
    assert refused.exit_code != 0 and "sheet of 4 glyphs" in " ".join(refused.output.split())


def test_without_an_upscaler_a_line_says_how_to_get_one(
    picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(companions, "pretrained", lambda name: tmp_path / name)
    for typed in (("gold", "--size", 512), ("--upscale", picture)):
        done = sample(*typed)
        assert done.exit_code != 0 and "--preset upscaler" in " ".join(done.output.split())


def test_an_upscaler_that_is_bundled_is_taken(
    upscaler: Path, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(upscaler / "model.safetensors", tmp_path / "upscaler.safetensors")
    monkeypatch.setattr(companions, "pretrained", lambda name: tmp_path / name)
    assert sample("--upscale", picture).exit_code == 0
    assert read_settings(tmp_path / "cross-128.png")["enlarged"]["upscaler"] == "bundled"


def test_options_that_do_not_go_together(upscaler: Path, tiny_run: Path, picture: Path, tmp_path: Path) -> None:
    drawing = ("gold", "--model", tiny_run, "--steps", 1, "--count", 1)
    for typed, word in (
        ((*drawing, "--upscaler", upscaler), "--size"),
        ((*drawing, "--size", 128, "--upscaler", upscaler, "--gif", tmp_path / "x.gif"), "--gif"),
        ((*drawing, "--size", 100, "--upscaler", upscaler), "64, 128, 256"),
        ((*drawing, "--size", 128, "--upscaler", tiny_run), "enlarges none"),
        ((*drawing, "--size", 128, "--upscaler", tmp_path / "nothing"), "no upscaler at"),
        (("gold", "--size", 4096, "--count", 100, "--upscaler", upscaler), "too many"),
        (("--upscale", picture, "--upscaler", upscaler, "--count", 2), "--count"),
        (("--upscale", picture, "--upscaler", upscaler, picture, "--out", tmp_path / "x.png"), "folder"),
        (("gold", "--model", upscaler), "--upscaler"),
        (("gold", "--size", 128, "--upscaler", upscaler, "--model", "bundled", "--count", 1), "128×128"),
    ):
        done = sample(*typed)
        assert done.exit_code != 0 and word in " ".join(done.output.split()), (typed, done.output)


def test_pictures_that_cannot_be_enlarged(upscaler: Path, picture: Path, tmp_path: Path) -> None:
    wrong, text, empty = tmp_path / "wrong.png", tmp_path / "text.png", tmp_path / "empty.png"
    Image.new("L", (32, 31)).save(wrong)
    text.write_text("no picture", encoding="utf-8")
    empty.touch()
    for file, word in ((wrong, "32×31"), (text, "cannot read"), (empty, "empty"), (tmp_path / "none.png", "none.png")):
        done = sample("--upscale", file, "--upscaler", upscaler)
        assert done.exit_code != 0 and word in " ".join(done.output.split()), done.output


def test_a_picture_that_was_enlarged_elsewhere_is_redrawn_with_a_caution(
    upscaler: Path, picture: Path, tmp_path: Path
) -> None:
    """As one that was drawn is; a picture of before, which does not say where, is redrawn without one."""
    assert sample("--upscale", picture, "--upscaler", upscaler).exit_code == 0
    made = tmp_path / "cross-128.png"
    settings, image = read_settings(made), read_png(made)
    assert settings["enlarged"]["device"] == "cpu"
    changes: tuple[tuple[dict[str, Any], str | None], ...] = (
        ({}, None),
        ({"device": "cuda"}, "other-device"),
        ({"threads": 10_000}, "fewer-processors"),
        ({"device": None}, None),
    )
    for change, kind in changes:
        save_png(made, image, settings | {"enlarged": settings["enlarged"] | change})
        events, report = follow(upscale(upscale_options_from_picture(made)))
        assert cautions(events) == ([] if kind is None else [kind])
        assert np.array_equal(np.array(read_png(report.files[0])), np.array(image))


@pytest.mark.hostile
def test_settings_in_a_picture_that_make_no_sense(
    upscaler: Path, tiny_run: Path, picture: Path, tmp_path: Path
) -> None:
    """Whatever a PNG says of how it was made, by a prompt or of another picture."""
    made = tmp_path / "made.png"
    job = ("gold", "--count", 1, "--model", tiny_run, "--steps", 1, "--size", 128, "--upscaler", upscaler)
    assert sample(*job, "--out", made).exit_code == 0
    assert sample("--upscale", picture, "--upscaler", upscaler).exit_code == 0
    for file in (made, tmp_path / "cross-128.png"):
        settings, image = read_settings(file), read_png(file)
        lies: list[dict[str, Any]] = [
            {"size": 10**9},
            {"size": "large"},
            {"batch": 0},
            {"threads": -1},
            {"threads": 10**30},
            {"device": ["cpu"]},
            {"device": "x" * 10**6},
            {"upscaler": "/dev/null/x"},
            {"upscaler": "a\0b"},
            {"weights": "f" * 20},
            {"recipe": {"steps": 10**9, "start": 1.0, "noise": 0.0}},
            {"recipe": {"steps": 2, "start": 1e300, "noise": 0.0}},
            {"recipe": {"steps": 2, "start": 1e-9, "noise": 0.0}},
            {"recipe": {"steps": 2, "start": 1.0, "noise": 1e300}},
            {"recipe": None},
        ]
        plain = [settings | {"enlarged": settings["enlarged"] | lie} for lie in lies]
        things: tuple[object, ...] = (7, "x", [], {})
        plain += [settings | {"enlarged": thing} for thing in things]
        if file != made:
            plain += [settings | {"drawn": thing} for thing in (7, "x", ["a"])]
            plain += [settings | {"upscaled": "a\0b"}, settings | {"upscaled": "/dev/zero"}, settings | {"seed": -1}]
        for lie in plain:
            save_png(tmp_path / "lie.png", image, lie)
            done = sample("--again", tmp_path / "lie.png")
            told = " ".join(done.output.split())
            harmless = lie["enlarged"] not in things and (
                lie["enlarged"]["threads"] == 10**30 or lie["enlarged"]["device"] != "cpu"
            )
            assert done.exit_code != 0 or harmless, (lie, told)


@pytest.mark.hostile
def test_damaged_upscalers(upscaler: Path, picture: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(upscaler, run)
    raw = (upscaler / "model.safetensors").read_bytes()
    for damaged in (raw[: len(raw) // 2], raw[:-9] + bytes(9), b""):
        (run / "model.safetensors").write_bytes(damaged)
        done = sample("--upscale", picture, "--upscaler", run)
        assert done.exit_code != 0 and len(done.output.strip().splitlines()) < 8


def test_a_picture_of_another_upscaler_is_not_redrawn(
    upscaler: Path, large_data: Path, picture: Path, tmp_path: Path
) -> None:
    assert sample("--upscale", picture, "--upscaler", upscaler).exit_code == 0
    other = tmp_path / "other"
    finish(train(options(large_data, other, images=4)))
    done = sample("--again", tmp_path / "cross-128.png", "--upscaler", other)
    assert done.exit_code != 0 and "other weights" in " ".join(done.output.split())


def test_an_upscaler_is_no_model_that_draws(upscaler: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for load in (load_any, lambda path: finish(export(ExportOptions(model=path, out=tmp_path / "out")))):
        with pytest.raises(ModelError, match="--upscaler"):
            load(upscaler)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(upscaler, tmp_path / "runs" / "upscaler")
    path, _ = finish(find_model(None))
    assert path.name == "model.safetensors", "the bundled one"


def test_networks_and_objectives_of_another_kind(
    upscaler: Path, codec_run: Path, workshop: Workshop, tmp_path: Path
) -> None:
    for typed, word in (
        (["--preset", "cpu", "--from", str(upscaler)], f"--from {upscaler} has a network of the kind upscaler"),
        (["--preset", "upscaler", "--from", "bundled"], "--from bundled has a network of the kind unet"),
        (["--preset", "few-step", "--from", str(upscaler)], f"--from {upscaler}"),
        (["--preset", "vae", "--from", "bundled"], "--from bundled"),
        (["--preset", "upscaler", "--encoder", "bundled"], "--encoder"),
        (["--preset", "upscaler"], "--size 512"),
        (["--preset", "upscaler", "--codec", str(codec_run)], 'codec.kind = "pixels"'),
    ):
        job = ["train", "--data", str(workshop.data), "--gpus", "0", "--out", str(tmp_path / "x"), *typed]
        done = CliRunner().invoke(app, job)
        assert done.exit_code != 0 and word in " ".join(done.output.split()), done.output
        assert not crashed(done.output)
