"""The figure of `noise-demo` of what lies between two pictures, and what one of models that draw in one pass lacks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from glyffctl.core.errors import ModelError
from glyffctl.figures.registry import ENTRIES as ALL
from glyffctl.workflows.events import finish
from glyffctl.workflows.noise_between import PLACES, between, mixed
from glyffctl.workflows.noise_check import check
from glyffctl.workflows.noise_demo import NoiseDemoOptions, noise_demo
from tests.conftest import Workshop, follow, of_kind
from tests.test_noise_demo import drawn, written
from tests.toys import eps


def test_noise_between_is_noise() -> None:
    """Unlike that on a straight line, whose spread is √½ half way."""
    first, last = eps(1, 100, 100)[0], eps(1, 100, 100, seed=1)[0]
    way = between(first, last)
    torch.testing.assert_close(way[[0, -1]], torch.stack([first, last]), rtol=0, atol=1e-6)
    for noise in way:
        assert float(noise.std()) == pytest.approx(1, abs=0.03)
    assert float(((first + last) / 2).std()) < 0.75


def test_mixed_pictures_fade() -> None:
    black, white = torch.zeros(4, 4, dtype=torch.uint8), torch.full((4, 4), 255, dtype=torch.uint8)
    faded = mixed(black, white)
    assert torch.equal(faded[0], black) and torch.equal(faded[-1], white)
    assert faded[:, 0, 0].tolist() == sorted({*faded[:, 0, 0].tolist()}) and len(faded) == PLACES


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory, noto_sans: Path) -> NoiseDemoOptions:
    folder = tmp_path_factory.mktemp("between")
    return NoiseDemoOptions(
        data=written(folder / "data", drawn(noto_sans, 32, 3)), figures=("between",), out=folder / "out"
    )


@pytest.mark.thorough
def test_a_denoiser_has_two_rows_and_a_vae_a_third(
    options: NoiseDemoOptions,
    tiny_run: Path,
    generator_runs: dict[str, Path],
) -> None:
    for model, rows in ((tiny_run, 2), (generator_runs["gan"], 2), (generator_runs["vae"], 3)):
        (figure,) = finish(noise_demo(replace(options, model=model))).figures
        assert figure.measured.count("halfway") == rows
        assert ("In the third" in figure.measured) == (rows == 3)
        with Image.open(figure.file) as image:
            assert image.width > 1000 and len(image.convert("L").getcolors() or ()) > 8


@pytest.mark.thorough
def test_what_shows_steps_is_left_out_where_there_are_none(
    options: NoiseDemoOptions,
    workshop: Workshop,
    generator_runs: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = replace(options, model=generator_runs["gan"], data=workshop.data)
    for figure in ("samples", "steps", "smooth"):
        with pytest.raises(ModelError, match="one pass"):
            finish(noise_demo(replace(plain, figures=(figure,))))
    with pytest.raises(ModelError, match="one pass"):
        finish(check(plain))
    few = tuple(entry for entry in ALL if entry.name in {"loop", "samples", "smooth", "beside"})
    monkeypatch.setattr("glyffctl.workflows.noise_demo.ENTRIES", few)
    events, report = follow(noise_demo(replace(plain, figures=())))
    assert [figure.name for figure in report.figures] == ["loop", "beside"]
    (caution,) = of_kind(events, "figures-skipped")
    assert caution.facts["figures"] == ("samples", "smooth")
