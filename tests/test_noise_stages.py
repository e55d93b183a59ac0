"""The figures of `noise-demo` of latent models and of a cascade."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from glyffctl.core.errors import ModelError, UsageError
from glyffctl.core.models.checkpoint import load_model
from glyffctl.core.models.upscaler import Upscaler
from glyffctl.figures.registry import ENTRIES as ALL
from glyffctl.figures.stages import draw_cascade
from glyffctl.figures.style import DPI, WIDTH, save_figure, style
from glyffctl.workflows import companions
from glyffctl.workflows.events import finish
from glyffctl.workflows.noise_demo import NoiseDemoOptions, noise_demo
from tests.conftest import follow, of_kind
from tests.stages import make_latent, make_upscaler
from tests.test_noise_demo import drawn, written

ENTRIES = tuple(entry for entry in ALL if entry.name in {"joint", "latents", "cascade"})


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory, noto_sans: Path) -> NoiseDemoOptions:
    folder = tmp_path_factory.mktemp("stages")
    data = written(folder / "data", drawn(noto_sans, 32, 3))
    for name in ("latent", "upscaler"):
        (folder / name).mkdir()
    return NoiseDemoOptions(
        data=data,
        model=make_latent(folder / "latent", channels=6),
        upscaler=make_upscaler(folder / "upscaler"),
        figures=("latents", "cascade"),
        out=folder / "out",
    )


@pytest.mark.thorough
def test_both_are_drawn_and_say_what_was_measured(options: NoiseDemoOptions) -> None:
    """The latent model draws the small picture of the cascade, too. Six channels are more than are shown."""
    report = finish(noise_demo(options))
    latents, cascade = report.figures
    assert "6 channels at 16×16 = 1,536 numbers" in latents.measured and "first 5" in latents.measured
    assert "grey" in cascade.measured and all(line.endswith(".") for line in cascade.measured.split("\n"))
    for figure in report.figures:
        with Image.open(figure.file) as image:
            assert image.width > 1000 and len(image.convert("L").getcolors() or ()) > 8


@pytest.mark.thorough
def test_a_model_that_has_neither_is_drawn_without_them(
    options: NoiseDemoOptions, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless they are asked for by name: most models draw pixels, and the program may come without an upscaler."""
    monkeypatch.setattr(companions, "pretrained", lambda name: tmp_path / name)
    plain = replace(options, model=tiny_run, upscaler=None, out=tmp_path / "out")
    for name, error, word in (("latents", ModelError, "no latents"), ("cascade", UsageError, "--preset upscaler")):
        with pytest.raises(error, match=word):
            finish(noise_demo(replace(plain, figures=(name,))))
    with pytest.raises(ModelError, match="enlarges none"):
        finish(noise_demo(replace(plain, figures=(), upscaler=tiny_run)))
    monkeypatch.setattr("glyffctl.workflows.noise_demo.ENTRIES", ENTRIES)
    events, report = follow(noise_demo(replace(plain, figures=())))
    assert [figure.name for figure in report.figures] == ["joint"] and not of_kind(events, "figures-skipped")


@pytest.mark.thorough
def test_the_passes_end_in_what_is_drawn(options: NoiseDemoOptions) -> None:
    assert options.upscaler is not None
    upscaler = Upscaler.of(load_model(options.upscaler), torch.device("cpu"), 1)
    picture = torch.full((32, 32), 255, dtype=torch.uint8)
    picture[8:12, 4:28] = 0
    passes = upscaler.passes(picture, 7)
    assert torch.equal(passes.guesses[-1], finish(upscaler.enlarge(picture[None], torch.tensor([7]), 128))[0])
    assert len(passes.guesses) == upscaler.recipe.steps and passes.small.shape == (32, 32)
    noise = (passes.start.float() - passes.guesses[-1]).std(), (passes.small.float() - picture).std()
    assert noise[0] > 4 * noise[1] > 4


def test_a_pixel_of_a_large_picture_is_a_pixel_of_the_figure(tmp_path: Path) -> None:
    """Or the figure would show edges that are not there. Alternating columns survive nothing else."""
    sizes = [torch.arange(side)[None].expand(side, side).remainder(2).to(torch.uint8) * 255 for side in (128, 256, 512)]
    part = [("part", sizes[0][:20, :20])] * 4
    with style():
        save_figure(tmp_path / "x.png", draw_cascade(sizes, part, part, (0.1, 0.1, 0.2)))
    image = np.array(Image.open(tmp_path / "x.png").convert("L")).astype(int)
    assert image.shape[1] == int(WIDTH * DPI)
    row = image[100]  # through all three
    changes = np.abs(np.diff(row)) > 200
    assert 890 <= changes.sum() <= 898
