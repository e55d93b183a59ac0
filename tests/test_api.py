"""The public API of the library: nothing else of glyffctl is imported here."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from torch import nn

import glyffctl
from tests.conftest import Workshop
from tests.stages import make_upscaler

FAST = glyffctl.Recipe(steps=3, guidance=2.0)


def test_importing_it_imports_nothing_heavy() -> None:
    code = (
        "import sys, glyffctl; glyffctl.__version__; print(sorted({'torch', 'transformers', 'numpy'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there_and_documented() -> None:
    for name in glyffctl.__all__:
        assert name in dir(glyffctl)
        value = getattr(glyffctl, name)
        assert name == "Event" or value.__doc__, name
    with pytest.raises(AttributeError, match="'nothing'"):
        glyffctl.nothing  # noqa: B018


def test_it_draws_what_the_command_draws(tiny_run: Path, tmp_path: Path) -> None:
    from tests.command_line import app

    model = glyffctl.load(tiny_run, precision="fp32")
    pictures = model.draw(["gold", "a fish"], count=2, seed=5, recipe=FAST, negative="water")
    assert [picture.size for picture in pictures] == [(32, 32)] * 4
    out = tmp_path / "each"
    command = ["sample", "gold", "a fish", "--count", "2", "--seed", "5", "--steps", "3", "--guidance", "2"]
    more = ["--negative", "water", "--precision", "fp32", "--model", str(tiny_run), "--out", str(out)]
    done = CliRunner().invoke(app, [*command, *more])
    assert done.exit_code == 0, done.output
    files = sorted(out.glob("*.png"))
    assert len(files) == 4
    for picture, file in zip(pictures, files, strict=True):
        assert np.array_equal(np.array(picture), np.array(Image.open(file)))


@pytest.mark.thorough
def test_it_draws_large_what_the_command_draws_large(tiny_run: Path, tmp_path: Path) -> None:
    """With the upscaler that is named; each picture the same as the command's, wherever it stands in a batch."""
    from tests.command_line import app

    (tmp_path / "upscaler").mkdir()
    upscaler = make_upscaler(tmp_path / "upscaler")
    events: list[glyffctl.Event] = []
    model = glyffctl.load(tiny_run, precision="fp32", upscaler=upscaler, on_event=events.append)
    for size in (64, 128):
        pictures = model.draw(["gold", "a fish"], seed=5, recipe=FAST, size=size)
        out = tmp_path / str(size)
        command = ["sample", "gold", "a fish", "--count", "1", "--seed", "5", "--steps", "3", "--guidance", "2"]
        more = ["--precision", "fp32", "--model", str(tiny_run), "--upscaler", str(upscaler), "--size", str(size)]
        done = CliRunner().invoke(app, [*command, *more, "--out", str(out)])
        assert done.exit_code == 0, done.output
        files = sorted(out.glob("*.png"))
        assert [picture.size for picture in pictures] == [(size, size)] * len(files)
        for picture, file in zip(pictures, files, strict=True):
            assert np.array_equal(np.array(picture), np.array(Image.open(file)))
    assert any(getattr(event, "kind", "") == "pictures-enlarged" for event in events)
    [small] = model.draw("gold", seed=5, recipe=FAST)
    assert small.size == (32, 32)
    for wrong in (100, 32):
        with pytest.raises(glyffctl.GlyffError, match="64, 128, 256"):
            model.draw("gold", recipe=FAST, size=wrong)
    with pytest.raises(glyffctl.GlyffError, match="no upscaler at"):
        glyffctl.load(tiny_run, upscaler=tmp_path / "nowhere").draw("gold", size=64)
    with pytest.raises(glyffctl.GlyffError, match="enlarges 32×32"):
        glyffctl.load("bundled", upscaler=upscaler).draw("gold", size=64)


@pytest.mark.thorough
def test_it_begins_with_a_picture_as_the_command_does(tiny_run: Path, tmp_path: Path) -> None:
    from tests.command_line import app

    model = glyffctl.load(tiny_run, precision="fp32")
    [first] = model.draw("gold", recipe=FAST)
    ink = np.zeros((32, 32, 4), dtype=np.uint8)
    ink[5:20, 10:30, 3] = 255
    files = {"picture": tmp_path / "picture.png", "mask": tmp_path / "mask.png"}
    images = {"picture": first, "mask": Image.fromarray(ink)}
    for name, image in images.items():
        image.save(files[name])
    job = ["sample", "fish", "--count", "1", "--seed", "9", "--steps", "3", "--guidance", "2", "--precision", "fp32"]
    ways: list[tuple[list[object], dict[str, object], dict[str, object]]] = [
        (["--keep", "left", files["picture"]], {"keep": ("left", files["picture"])}, {"keep": ("left", first)}),
        (
            ["--mask", files["mask"], files["picture"], "--resample", 2],
            {"mask": (str(files["mask"]), files["picture"]), "resample": 2},
            {"mask": (images["mask"], first), "resample": 2},
        ),
        (["--vary", files["picture"]], {"vary": files["picture"]}, {"vary": first}),
    ]
    for typed, of_files, of_images in ways:
        done = CliRunner().invoke(app, [*job, "--model", str(tiny_run), "--out", str(tmp_path), *map(str, typed)])
        assert done.exit_code == 0, done.output
        file = Path(done.output.splitlines()[-1])
        with Image.open(file) as made:
            expected = np.array(made)
        file.unlink()
        for named in (of_files, of_images):
            [picture] = model.draw("fish", seed=9, recipe=FAST, **named)  # type: ignore[arg-type]
            assert np.array_equal(np.array(picture), expected)
    wrong: list[tuple[dict[str, object], str]] = [
        ({"keep": ("middle", first)}, "left"),
        ({"keep": ("left", first), "vary": first}, "`keep` and `vary`"),
        ({"vary": first.resize((31, 32))}, "the picture has 31×32"),
        ({"mask": (Image.new("L", (32, 32)), first)}, "the mask keeps everything"),
        ({"vary": tmp_path / "none.png"}, "none.png"),
        ({"strength": 0.3}, "`strength`"),
    ]
    for named, words in wrong:
        with pytest.raises(glyffctl.GlyffError, match=words):
            model.draw("fish", recipe=FAST, **named)  # type: ignore[arg-type]
    [other] = model.draw("fish", seed=9, recipe=FAST)
    assert not np.array_equal(np.array(other), expected), "a picture is forgotten after it was drawn from"


def test_the_steps_end_with_the_picture(tiny_run: Path) -> None:
    model = glyffctl.load(tiny_run, precision="fp32")
    steps = list(model.denoise("gold", seed=7, recipe=FAST))
    assert [step.step for step in steps] == [0, 1, 2]
    assert all(a.sigma > b.sigma for a, b in itertools.pairwise(steps)) and steps[-1].sigma == 0
    [picture] = model.draw("gold", seed=7, recipe=FAST)
    assert np.array_equal(np.array(steps[-1].noisy), np.array(picture))
    assert np.array_equal(np.array(steps[-1].predicted), np.array(picture))
    assert steps[0].noisy.size == (32, 32)


def test_mistakes_are_errors_of_one_kind(tiny_run: Path, tmp_path: Path) -> None:
    with pytest.raises(glyffctl.GlyffError):
        glyffctl.load(tmp_path / "nowhere")
    with pytest.raises(glyffctl.GlyffError):
        glyffctl.load(tiny_run, device="tpu")
    with pytest.raises(glyffctl.GlyffError):
        glyffctl.load(tiny_run).draw([])
    for seed in (2**63, 2**63 - 1, -(2**63) - 1):  # the second is of the first picture alone
        with pytest.raises(glyffctl.GlyffError, match="seed"):
            glyffctl.load(tiny_run).draw("", count=2, seed=seed)
    with pytest.raises(glyffctl.GlyffError, match="seed"):
        next(glyffctl.load(tiny_run).denoise("", seed=2**63))
    broken = glyffctl.load(tiny_run, precision="fp32")
    network = broken.drawer.denoiser.network
    assert isinstance(network, nn.Module)
    for weights in network.parameters():
        weights.detach().fill_(float("inf"))
    for draw in (broken.draw, broken.denoise):
        with pytest.raises(glyffctl.GlyffError, match="not finite"):
            list(draw("gold", recipe=FAST))
    with pytest.raises(glyffctl.GlyffError):
        glyffctl.Recipe(steps=0)


@pytest.mark.thorough
def test_from_fonts_to_pictures(workshop: Workshop, noto_sans: Path, unihan: Path, tmp_path: Path) -> None:
    events: list[glyffctl.Event] = []
    options = glyffctl.PrepareOptions(
        fonts=(noto_sans,), definitions=unihan, size=32, ranges="4E00-4E40", out=tmp_path / "data"
    )
    prepared = glyffctl.prepare(options, events.append)
    assert prepared.glyphs > 20
    embedded = glyffctl.embed(glyffctl.EmbedOptions(tmp_path / "data"))
    assert embedded.captions > 20
    run = tmp_path / "run"
    report = glyffctl.train(
        glyffctl.TrainOptions(
            data=tmp_path / "data", gpus=0, config=workshop.config, overrides={"images": 16}, out=run
        ),
        events.append,
    )
    assert report.images == 16 and (run / "model.safetensors").exists()
    assert any(isinstance(event, glyffctl.Progress) for event in events)
    [checkpoint] = [event for event in events if isinstance(event, glyffctl.Note) and event.kind == "checkpoint"]
    assert checkpoint.facts["images"] == 16
    [picture] = glyffctl.load(run, on_event=events.append).draw("gold", recipe=FAST)
    assert picture.size == (32, 32)
