"""A network and a sampler in a file of their own work everywhere, with nothing changed but their registration."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image

from glyffctl.core.diffusion.samplers import SAMPLERS
from glyffctl.core.models.checkpoint import load_model
from glyffctl.core.networks.network import NETWORKS
from tests import test_generate, test_networks, test_samplers
from tests.command_line import app
from tests.conftest import Workshop

SETTINGS = """
[network]
kind = "mixer"
patch = 4
width = 32
layers = 2

[training]
images = {images}
batch = 8
precision = "fp32"
optimizer = "muon"
"""


def added(table: dict[str, Any], module: str) -> Iterator[None]:
    """What the import of `module` adds to a table, for a while."""
    before = dict(table)
    importlib.reload(importlib.import_module(f"tests.extensions.{module}"))
    yield
    table.clear()
    table.update(before)


@pytest.fixture
def mixer() -> Iterator[None]:
    yield from added(NETWORKS, "mixer")


@pytest.fixture
def euler_maruyama() -> Iterator[None]:
    yield from added(SAMPLERS, "euler_maruyama")


def run(*command: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, list(command))
    assert done.exit_code == code, done.output
    return done.output


def test_a_network_trains_resumes_draws_and_is_exported(mixer: None, workshop: Workshop, tmp_path: Path) -> None:
    out, sheet = tmp_path / "run", tmp_path / "sheet.png"
    for images in (16, 32):
        config = tmp_path / f"{images}.toml"
        config.write_text(SETTINGS.format(images=images))
        run("train", "--gpus", "0", "--data", str(workshop.data), "--config", str(config), "--out", str(out))
    model = load_model(out)
    assert type(model.network).__name__ == "Mixer" and model.images == 32
    assert json.loads((out / "config.json").read_text())["config"]["network"]["width"] == 32
    run("sample", "gold", "--model", str(out), "--steps", "2", "--count", "4", "--out", str(sheet))
    with Image.open(sheet) as image:
        assert image.width == image.height > 64
    again = tmp_path / "again.png"
    run("sample", "--again", str(sheet), "--out", str(again))
    assert again.read_bytes() == sheet.read_bytes()
    refused = run("export", str(out), "--format", "diffusers", "--out", str(tmp_path / "diffusers"), code=1)
    assert "U-Net" in refused and not (tmp_path / "diffusers").exists()


def test_a_network_does_what_every_network_must(mixer: None) -> None:
    text = test_networks.arguments()[2]
    assert len(text.mask) == 3
    network = test_networks.make("mixer")
    test_networks.test_its_output_has_the_shape_of_its_input(network)
    test_networks.test_every_row_is_its_own(network)
    test_networks.test_noise_level_and_text_count(network)
    test_networks.test_its_settings_survive_a_round_trip_and_know_the_data("mixer")


def test_a_mistake_in_its_settings_is_one_line(mixer: None, workshop: Workshop, tmp_path: Path) -> None:
    for line, words in (('kind = "mixr"', "mixer"), ('kind = "mixer"\nchannels = [32]', "network.channels")):
        config = tmp_path / "wrong.toml"
        config.write_text(f"[network]\n{line}\n")
        said = run("train", "--gpus", "0", "--data", str(workshop.data), "--config", str(config), code=2)
        assert words in said and said.count("\n") == 1
    other = ["train", "--gpus", "0", "--data", str(workshop.data), "--from", "bundled", "--config", str(config)]
    config.write_text('[network]\nkind = "mixer"\n')
    assert "kind" in run(*other, code=2)


@pytest.mark.thorough
def test_a_sampler_draws_what_it_should(euler_maruyama: None) -> None:
    name = "euler-maruyama"
    for variance in (1.0, 0.04):
        test_samplers.test_order_of_mean_and_variance(name, 1, variance)
    test_samplers.test_samples_have_the_law_of_gaussian_data(name, 1)
    test_samplers.test_samples_land_on_the_points_as_often_as_they_should(name)
    test_samplers.test_only_stochastic_samplers_draw_and_never_twice(name)
    test_samplers.test_network_calls(name)
    test_generate.test_a_picture_is_the_same_in_any_batch(name)


def test_a_sampler_is_known_to_the_command(euler_maruyama: None, tiny_run: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    command = [
        "sample",
        "gold",
        "--model",
        str(tiny_run),
        "--sampler",
        "euler-maruyama",
        "--steps",
        "3",
        "--count",
        "1",
    ]
    run(*command, "--out", str(sheet))
    run("sample", "--again", str(sheet), "--out", str(tmp_path / "again.png"))
    assert (tmp_path / "again.png").read_bytes() == sheet.read_bytes()
