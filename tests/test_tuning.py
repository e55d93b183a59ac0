"""Settings that only some samplers take: from the command line into the picture and back, and refused by others."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from glyffctl.core.diffusion.samplers import SAMPLERS
from glyffctl.core.diffusion.tuning import TUNABLE, samplers_with, tuned
from glyffctl.core.errors import UsageError
from glyffctl.core.io.images import read_settings
from glyffctl.core.models.level_table import LevelTable
from glyffctl.core.models.recipe import Recipe
from glyffctl.workflows.events import finish
from glyffctl.workflows.sample import sample
from glyffctl.workflows.sample_options import options_from_picture
from tests.command_line import app


def test_without_settings_it_is_the_sampler_of_the_table() -> None:
    assert set(TUNABLE) <= set(SAMPLERS)
    assert all(tuned(name, {}) is sampler for name, sampler in SAMPLERS.items())
    assert samplers_with("snr") == samplers_with("langevin_steps") == ["langevin", "pc"]
    assert samplers_with("ddpm_variance") == ["ddpm"]


@pytest.mark.parametrize(
    ("sampler", "typed"),
    [
        ("langevin", {"snr": 0.3, "langevin_steps": 2}),
        ("pc", {"snr": 0.1}),
        ("ddpm", {"ddpm_variance": 1.0}),
        ("ddpm", {"ddpm_variance": "measured"}),
    ],
)
def test_what_is_typed_draws_another_picture_which_says_so(
    sampler: str, typed: dict[str, Any], tiny_run: Path, tmp_path: Path
) -> None:
    """And which can be drawn again, byte for byte."""
    files = tmp_path / "plain.png", tmp_path / "own.png"
    options = [f"--{name.replace('_', '-')}={value}" for name, value in typed.items()]
    job = ["sample", "gold", "--count", "1", "--model", str(tiny_run), "--sampler", sampler, "--steps", "4"]
    for file, more in zip(files, ([], options), strict=True):
        done = CliRunner().invoke(app, [*job, *more, "--out", str(file)])
        assert done.exit_code == 0, done.output
    plain, own = (read_settings(file)["recipe"] for file in files)
    kept = {name: own[name] if value == "measured" else value for name, value in typed.items()}  # a table
    assert own == plain | kept and not typed.keys() & plain.keys()
    assert files[0].read_bytes() != files[1].read_bytes()
    finish(sample(options_from_picture(files[1])))
    assert (tmp_path / "own-again.png").read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (["--sampler", "ddim", "--snr", "0.1"], "--snr is for the sampler langevin or pc, not ddim"),
        (["--snr", "0.1"], "--snr is for the sampler langevin or pc, not dpmpp-2m"),
        (["--sampler", "ddpm", "--langevin-steps", "2"], "--langevin-steps is for the sampler langevin or pc"),
        (["--sampler", "pc", "--ddpm-variance", "1"], "--ddpm-variance is for the sampler ddpm, not pc"),
        (["--sampler", "pc", "--snr", "1"], "--snr must be a finite number from 0.001 to 0.95"),
        (["--sampler", "pc", "--snr", "nan"], "--snr must be a finite number"),
        (["--sampler", "pc", "--langevin-steps", "0"], "--langevin-steps must be a whole number from 1"),
        (["--sampler", "ddpm", "--ddpm-variance", "-1"], "--ddpm-variance must be a finite number from 0 to 1"),
        (["--passes", "4", "--langevin-steps", "2"], "--passes is for the few-step student, --langevin-steps for the"),
    ],
)
@pytest.mark.parametrize("command", ["sample", "evaluate"])
def test_refused_in_one_line(command: str, typed: list[str], words: str) -> None:
    done = CliRunner().invoke(app, [command, *(["gold"] if command == "sample" else []), *typed])
    assert done.exit_code == 2 and done.stderr.startswith(f"error: {words}") and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"sampler": "pc", "snr": 0.0},
        {"sampler": "pc", "snr": float("nan")},
        {"sampler": "pc", "langevin_steps": 0},
        {"sampler": "ddpm", "ddpm_variance": 1.5},
        {"sampler": "ddpm", "ddpm_variance": "guessed"},
        {"sampler": "heun", "ddpm_variance": "measured"},
        {"sampler": "ddpm", "snr": "measured"},
        {"sampler": "heun", "ddpm_variance": 0.5},
        {"sampler": "few-step", "snr": 0.1},
    ],
)
def test_a_recipe_out_of_range_is_a_usage_error(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Recipe(**wrong)


def test_a_recipe_with_settings_survives_json() -> None:
    for recipe in (
        Recipe(sampler="langevin", snr=0.3, langevin_steps=7),
        Recipe(sampler="pc", langevin_steps=2),
        Recipe(sampler="ddpm", ddpm_variance=0.5),
        Recipe(sampler="ddpm", ddpm_variance="measured"),
        Recipe(sampler="ddpm", ddpm_variance=LevelTable((1.0, 2.0), (0.0, 3.0))),
    ):
        assert Recipe.from_plain(json.loads(json.dumps(recipe.as_plain()))) == recipe
        assert recipe.summary() != Recipe(sampler=recipe.sampler).summary()


def test_the_measured_variance_takes_a_table_beside_the_model(tiny_run: Path, tmp_path: Path) -> None:
    shutil.copy(tiny_run / "model.safetensors", tmp_path)
    job = ["sample", "gold", "--model", str(tmp_path), "--sampler", "ddpm", "--ddpm-variance", "measured"]
    done = CliRunner().invoke(app, [*job, "--out", str(tmp_path / "x.png")])
    assert done.exit_code == 2 and "no table" in done.stderr and "--ddpm-variance measured" in done.stderr
    assert done.stderr.count("\n") == 1 and not (tmp_path / "x.png").exists()
