"""How pictures are drawn unless asked otherwise: in few steps where that was measured, typed or from Python."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import glyffctl
from glyffctl.core.diffusion.schedule import make_schedule
from glyffctl.core.errors import UsageError
from glyffctl.core.io.bundled import pretrained
from glyffctl.core.io.images import read_settings
from glyffctl.core.models.checkpoint import MODEL_FILE, Model, TrainedModel, load_model, save_model
from glyffctl.core.models.recipe import FEW_STEPS, Recipe
from glyffctl.workflows.events import finish
from glyffctl.workflows.models import choose_recipe
from glyffctl.workflows.sample import sample
from glyffctl.workflows.sample_options import SampleOptions, options_from_picture
from tests.command_line import app
from tests.conftest import of_kind


def with_schedule(model: TrainedModel, name: str) -> TrainedModel:
    diffusion: Any = replace(model.origin.config.diffusion, schedule=name)
    config = replace(model.origin.config, diffusion=diffusion)
    return replace(model, schedule=make_schedule(name), origin=replace(model.origin, config=config))


@pytest.fixture(scope="module")
def runs(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model with each schedule."""
    folder, model = tmp_path_factory.mktemp("runs"), load_model(tiny_run)
    for name in ("karras", "cosine"):
        save_model(folder / name / MODEL_FILE, with_schedule(model, name))
    return {name: folder / name for name in ("karras", "cosine")}


def test_few_steps_where_they_were_measured(runs: dict[str, Path]) -> None:
    assert load_model(pretrained(MODEL_FILE)).full_recipe == load_model(runs["karras"]).recipe == FEW_STEPS
    assert load_model(runs["cosine"]).recipe == Recipe()
    trained = load_model(runs["karras"])
    held = {name: getattr(trained, name) for name in Model.__dataclass_fields__}
    assert Model(**held).recipe == Recipe()  # of another program: nothing is known of how it was trained


def test_few_steps_cost_about_half() -> None:
    levels = FEW_STEPS.levels(make_schedule("karras"))[:-1]
    guided = (levels >= FEW_STEPS.interval[0]).sum()
    assert len(levels) + int(guided) <= 0.55 * 2 * Recipe().steps  # a guided step is two passes


@pytest.mark.parametrize(
    ("schedule", "typed", "recipe"),
    [
        ("karras", [], FEW_STEPS),
        ("karras", ["--guidance", "7"], replace(FEW_STEPS, guidance=7.0)),
        ("karras", ["--steps", "3"], Recipe(steps=3)),
        ("karras", ["--steps", "8", "--guidance", "3"], Recipe(steps=8, guidance=3.0)),
        *(
            pytest.param(schedule, typed, recipe, marks=pytest.mark.thorough)
            for schedule, typed, recipe in [
                ("karras", ["--sampler", "ddim"], Recipe(sampler="ddim")),
                ("karras", ["--interval", "0.5", "9"], Recipe(interval=(0.5, 9.0))),
                ("cosine", [], Recipe()),
                ("cosine", ["--guidance", "2"], Recipe(guidance=2.0)),
            ]
        ),
    ],
)
def test_what_the_command_draws_by_is_what_the_picture_says(
    schedule: str, typed: list[str], recipe: Recipe, runs: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "x.png"
    job = ["sample", "gold", "--count", "1", "--model", str(runs[schedule]), "--out", str(out), *typed]
    done = CliRunner().invoke(app, job)
    assert done.exit_code == 0, done.output
    assert read_settings(out)["recipe"] == recipe.as_plain()
    assert recipe.summary() in " ".join(done.stderr.split())
    # By these settings, and not only with them written down:
    again = SampleOptions(prompts=("gold",), count=1, model=runs[schedule], recipe=recipe, out=tmp_path / "y.png")
    finish(sample(again))
    assert (tmp_path / "y.png").read_bytes() == out.read_bytes()
    finish(sample(options_from_picture(out)))
    assert (tmp_path / "x-again.png").read_bytes() == out.read_bytes()


@pytest.mark.thorough
def test_python_draws_by_the_command_s_recipe(runs: dict[str, Path]) -> None:
    for name, run in runs.items():
        model = glyffctl.load(run, precision="fp32")
        [ours] = model.draw("gold", seed=3)
        for recipe, same in ((FEW_STEPS, name == "karras"), (Recipe(), name == "cosine")):
            [theirs] = model.draw("gold", seed=3, recipe=recipe)
            assert np.array_equal(np.array(ours), np.array(theirs)) == same
        *_, step = model.denoise("gold", seed=3)
        assert np.array_equal(np.array(step.noisy), np.array(ours))


def test_guidance_alone_leaves_the_steps(runs: dict[str, Path]) -> None:
    model = load_model(runs["karras"])
    assert choose_recipe(model, None, 6.0) == replace(FEW_STEPS, guidance=6.0)
    assert choose_recipe(model, Recipe(steps=9), None) == Recipe(steps=9)
    for wrong in ({"recipe": Recipe(steps=5000), "guidance": None}, {"recipe": None, "guidance": math.nan}):
        with pytest.raises(UsageError):
            choose_recipe(model, **wrong)


def test_a_recipe_survives_json() -> None:
    for recipe in (Recipe(), FEW_STEPS, Recipe(sampler="ddim", steps=7, guidance=-1.5, interval=(0.25, 8.0))):
        assert Recipe.from_plain(json.loads(json.dumps(recipe.as_plain(), allow_nan=False))) == recipe
    told = [Recipe(interval=interval).summary() for interval in ((0.0, math.inf), (1.0, math.inf), (0.5, 9.0))]
    assert len(set(told)) == 3 and "σ" not in told[0]
    assert "σ" not in replace(FEW_STEPS, guidance=1.0).summary()


def test_a_picture_says_how_it_was_drawn(runs: dict[str, Path], tmp_path: Path) -> None:
    options = SampleOptions(prompts=("gold",), count=1, model=runs["karras"], out=tmp_path / "x.png")
    [note] = of_kind(sample(options), "pictures-drawn")
    assert {name: note.facts[name] for name in FEW_STEPS.as_plain()} == FEW_STEPS.as_plain()
