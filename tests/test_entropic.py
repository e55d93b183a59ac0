"""Levels spaced evenly in information: exact for Gaussians and finite data; tables in files, runs and pictures."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor

from glyffctl.core.diffusion.entropic import even_levels, lost_information, within, without_own_error
from glyffctl.core.diffusion.schedule import Schedule, cosine, karras
from glyffctl.core.errors import ModelError, UsageError
from glyffctl.core.io.bundled import pretrained
from glyffctl.core.io.images import read_settings
from glyffctl.core.models.checkpoint import load_model
from glyffctl.core.models.files import TABLE_FILE
from glyffctl.core.models.level_table import LevelTable, read_table
from glyffctl.core.models.recipe import FEW_STEP, Recipe
from glyffctl.core.theory.information import information
from glyffctl.core.theory.oracle import FiniteData
from glyffctl.workflows.checkpoint_work import measured_table
from glyffctl.workflows.events import finish
from glyffctl.workflows.models import choose_recipe
from glyffctl.workflows.sample import sample
from glyffctl.workflows.sample_options import options_from_picture
from glyffctl.workflows.train import TrainOptions, train
from tests.command_line import app
from tests.conftest import Workshop
from tests.toys import eps

VARIANCES = torch.tensor([4.0, 1.0, 0.01], dtype=torch.float64)
TABLE = LevelTable((0.1, 1.0, 30.0), (0.0, 3.0, 4.0))


def log_levels(count: int, low: float = 0.02, high: float = 160.0) -> Tensor:
    return torch.logspace(math.log10(low), math.log10(high), count, dtype=torch.float64)


def gaussian_error(sigmas: Tensor, variances: Tensor = VARIANCES) -> Tensor:
    """E‖x0 − D‖² of N(0, diag(variances)): Σ v·σ²/(v + σ²)."""
    square = sigmas[:, None] ** 2
    return (variances * square / (variances + square)).sum(1)


def gaussian_information(sigmas: Tensor, variances: Tensor = VARIANCES) -> Tensor:
    """½ Σ ln(1 + v/σ²), in nats."""
    return torch.log1p(variances / sigmas[:, None] ** 2).sum(1) / 2


@pytest.mark.parametrize(("count", "accuracy"), [(17, 2e-2), (400, 1e-4)])
def test_of_a_gaussian_it_is_the_closed_form(count: int, accuracy: float) -> None:
    sigmas = log_levels(count)
    lost, exact = lost_information(sigmas, gaussian_error(sigmas)), gaussian_information(sigmas)
    assert float((lost - (exact[0] - exact)).abs().max()) < accuracy * float(exact[0])


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0, 3.5])
def test_where_the_error_follows_a_power_three_levels_are_exact(power: float) -> None:
    sigmas = torch.tensor([0.1, 0.7, 20.0], dtype=torch.float64)
    lost = lost_information(sigmas, 3 * sigmas**power)
    if power == 2:
        expected = 3 * (sigmas / sigmas[0]).log()
    else:
        expected = 3 * (sigmas ** (power - 2) - sigmas[0] ** (power - 2)) / (power - 2)
    torch.testing.assert_close(lost, expected)


def test_of_finite_data_it_is_what_the_exact_posterior_says() -> None:
    """The error of the exact denoiser, in nats, against the entropy of which point it was, in bits."""
    points = eps(6, 3, seed=2)
    sigmas, draws = log_levels(60, 0.05, 20.0), 6000
    x0, noise, oracle = points[torch.arange(draws) % 6], eps(draws, 3, seed=3), FiniteData(points)
    errors = torch.stack(
        [(oracle(x0 + sigma * noise, sigma.expand(draws)) - x0).square().sum(1).mean() for sigma in sigmas]
    )
    known = information(points, draws=draws).at(sigmas) * math.log(2)
    assert float((lost_information(sigmas, errors.clamp(min=1e-12)) - (known[0] - known)).abs().max()) < 0.05


def test_what_a_model_errs_without_noise_is_not_counted() -> None:
    """With an error of its own at every level a model seems to know nothing of what only the lowest levels hide."""
    sigmas = log_levels(40)
    true, exact = gaussian_error(sigmas), gaussian_information(sigmas)
    seen = without_own_error(sigmas, true + 0.05)
    torch.testing.assert_close(seen[1:], true[1:], rtol=0.1, atol=0)
    kept, raw = lost_information(sigmas, seen), lost_information(sigmas, true + 0.05)
    assert float(kept[-1]) == pytest.approx(float(exact[0] - exact[-1]), rel=0.02)
    assert float(raw[-1]) > 5 * float(exact[0])  # the control
    torch.testing.assert_close(without_own_error(sigmas, true)[1:], true[1:], rtol=0.1, atol=0)
    falling = without_own_error(sigmas[:3], torch.tensor([3.0, 2.0, 1.0]))  # a model that learned nothing yet
    assert bool((falling > 0).all()) and bool((lost_information(sigmas[:3], falling).diff() > 0).all())


def test_every_step_loses_as_much() -> None:
    sigmas = log_levels(400)
    schedule = even_levels(sigmas, lost_information(sigmas, gaussian_error(sigmas)), 50)
    lost = -gaussian_information(schedule.sigmas).diff()
    assert float((lost / lost.mean() - 1).abs().max()) < 0.02
    spread = -gaussian_information(karras(50).sigmas).diff()  # the control
    assert float((spread / spread.mean() - 1).abs().max()) > 0.5


def test_a_table_without_steps_in_it_is_even_in_the_logarithm() -> None:
    schedule = even_levels(log_levels(3), torch.arange(3), 1000)
    torch.testing.assert_close(schedule.sigmas, log_levels(1000))
    assert bool((schedule.sigmas.diff() > 0).all())
    bent = TABLE.schedule().sigmas
    assert bent[0] == 0.1 and bent[-1] == 30 and abs(float(bent[749]) - 1) < 0.01  # three quarters of I


def test_levels_of_another_schedule_stay_between_the_ends_of_the_model_s() -> None:
    cut = within(cosine(), 0.02, 160.0).sigmas
    assert cut[0] == 0.02 and cut[-1] == 160.0 and bool((cut.diff() > 0).all())
    assert set(cut[1:-1].tolist()) < set(cosine().sigmas.tolist())
    levels = Recipe(steps=5, schedule="cosine").levels(karras())
    assert levels[0] == karras().sigmas[-1] and levels[-1] == 0 and bool((levels.diff() < 0).all())
    assert Recipe(steps=5).levels(karras()).tolist() != levels.tolist()
    narrow = Recipe(steps=3, schedule=TABLE).levels(Schedule(torch.tensor([0.5, 2.0, 8.0], dtype=torch.float64)))
    assert narrow[0] == 8.0 and float(narrow[-2]) > 0.5


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sigma = 3",
        "sigma = [1]",
        "sigma = [2, 1]",
        "sigma = [0, 1]",
        "sigma = [1, nan]",
        "sigma = [1, 2, 3]\ninformation = [1, 2]",
        "sigma = [1, 2]\ninformation = [1, 1]",
        "sigma = [1, true]",
        f"sigma = [1, {'9' * 400}]",
        "sigma = [1, 2]\nsteps = 3",
        f"sigma = {list(range(1, 1002))}",
        "not TOML",
    ],
)
def test_a_file_that_is_no_table_is_one_line_that_names_it(text: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_table(path)
    assert "mine.toml" in str(caught.value) and "\n" not in str(caught.value)
    done = CliRunner().invoke(app, ["sample", "gold", "--schedule", str(path)])
    assert done.exit_code == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_a_table_survives_a_file_and_a_recipe_json(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text(TABLE.as_toml("about"))
    assert read_table(path) == TABLE
    near = LevelTable((0.1, math.nextafter(0.1, 1), 1e-5 + 3), (-1e-20, 0.0, math.nextafter(0, 1)))
    path.write_text(near.as_toml("about"))
    assert read_table(path) == near
    path.write_text("sigma = [1, 2, 10]")
    assert read_table(path) == LevelTable((1.0, 2.0, 10.0), (0.0, 1.0, 2.0))
    for recipe in (Recipe(schedule=TABLE), Recipe(schedule="cosine", sampler="ddim")):
        assert Recipe.from_plain(json.loads(json.dumps(recipe.as_plain()))) == recipe
        assert recipe.summary() != replace(recipe, schedule=None).summary()


def test_rescaled_it_rises_by_sigma_times_as_much() -> None:
    """Exact where information is linear in ln σ between two rows: ∫ σ·c d ln σ = c·(σ₂ − σ₁)."""
    rows = LevelTable((0.1, 1.0, 30.0), (0.0, math.log(10), math.log(10) + 2 * math.log(30)))
    assert rows.rescaled().information == pytest.approx((0.0, 0.9, 0.9 + 2 * 29))
    assert rows.rescaled().sigma == rows.sigma
    few, many = (Recipe(steps=6, schedule=table).levels(karras()) for table in (TABLE, TABLE.rescaled()))
    assert int((many > 1).sum()) > int((few > 1).sum())


def test_rescaled_it_is_the_arctangent_of_gaussian_data() -> None:
    """In closed form: the error of N(0, c²) is c²σ²/(c² + σ²), and ∫ error/σ² dσ = c·arctan(σ/c)."""
    sigmas, spread = log_levels(400), 0.5
    lost = lost_information(sigmas, spread**2 * sigmas**2 / (spread**2 + sigmas**2))
    table = LevelTable(tuple(sigmas.tolist()), tuple(lost.tolist())).rescaled()
    exact = spread * (torch.atan(sigmas / spread) - torch.atan(sigmas[0] / spread))
    torch.testing.assert_close(torch.tensor(table.information, dtype=torch.float64), exact, rtol=1e-3, atol=0)


@pytest.mark.parametrize("wrong", [{"schedule": "even"}, {"sampler": FEW_STEP, "steps": 4, "schedule": "cosine"}])
def test_a_recipe_with_another_schedule_is_a_usage_error(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Recipe(**wrong)


def test_a_picture_drawn_by_a_file_keeps_its_table(tiny_run: Path, tmp_path: Path) -> None:
    path, out = tmp_path / "mine.toml", tmp_path / "x.png"
    path.write_text(TABLE.as_toml("about"))
    job = ["sample", "gold", "--count", "1", "--model", str(tiny_run), "--steps", "3", "--out", str(out)]
    done = CliRunner().invoke(app, [*job, "--schedule", str(path)])
    assert done.exit_code == 0, done.output
    assert read_settings(out)["recipe"]["schedule"] == TABLE.as_plain()
    path.unlink()
    finish(sample(options_from_picture(out)))
    assert (tmp_path / "x-again.png").read_bytes() == out.read_bytes()
    named = CliRunner().invoke(app, [*job[:-1], str(tmp_path / "y.png"), "--schedule", "cosine"])
    assert named.exit_code == 0 and read_settings(tmp_path / "y.png")["recipe"]["schedule"] == "cosine"
    assert (tmp_path / "y.png").read_bytes() != out.read_bytes()


@pytest.mark.parametrize(("rows", "steps"), [((200, 1000), 3), ((1e-5, 1e-3), 1), ((159, 10_000), 40)])
def test_a_table_whose_levels_are_not_the_models_is_named(
    rows: tuple[float, float], steps: int, tiny_run: Path, tmp_path: Path
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f"sigma = [{rows[0]}, {rows[1]}]")
    job = ["sample", "gold", "--count", "1", "--model", str(tiny_run), "--out", str(tmp_path / "x.png")]
    done = CliRunner().invoke(app, [*job, "--steps", str(steps), "--schedule", str(path)])
    assert done.exit_code == 2 and "the table of --schedule" in done.output and done.output.count("error: ") == 1
    assert not (tmp_path / "x.png").exists()


def test_a_run_measures_its_table_and_draws_by_it(tiny_run: Path, tmp_path: Path) -> None:
    model = load_model(tiny_run)
    assert model.table is not None and model.table == read_table(tiny_run / TABLE_FILE)
    ends = model.schedule.sigmas[[0, -1]].tolist()
    assert [model.table.sigma[0], model.table.sigma[-1]] == pytest.approx(ends)
    recipe = choose_recipe(model, Recipe(steps=4, schedule="entropic"), None)
    assert recipe.schedule == model.table
    assert choose_recipe(model, Recipe(schedule="rescaled-entropic"), None).schedule == model.table.rescaled()
    job = ["sample", "gold", "--count", "1", "--model", str(tiny_run), "--steps", "3", "--schedule", "entropic"]
    done = CliRunner().invoke(app, [*job, "--out", str(tmp_path / "x.png")])
    assert done.exit_code == 0, done.output
    assert read_settings(tmp_path / "x.png")["recipe"]["schedule"] == model.table.as_plain()
    lacking = replace(model, table=None)
    with pytest.raises(UsageError, match=r"no table.*`schedule`"):
        choose_recipe(lacking, Recipe(schedule="entropic"), None)


def test_a_damaged_table_beside_a_model_says_what_to_do(tiny_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    for damaged in (b"", b"\xff", b"sigma = [1, 2", b"sigma = [2, 1]"):
        (run / TABLE_FILE).write_bytes(damaged)
        with pytest.raises(ModelError, match=f"{TABLE_FILE}.*delete"):
            load_model(run)
    (run / TABLE_FILE).unlink()
    assert load_model(run).table is None


def test_a_measured_table_is_that_of_the_errors(tiny_run: Path) -> None:
    """Of a Gaussian's errors at the eight levels, per number of a picture."""
    model = load_model(tiny_run)
    numbers = math.prod(model.codec.shape)
    levels = torch.tensor([0.1, 0.3, 0.6, 1.0, 2.0, 4.0, 10.0, 40.0], dtype=torch.float64)
    large = VARIANCES[:2]  # a third, of 0.01, is hidden below these levels
    errors = (gaussian_error(levels, large) / numbers).tolist()
    table = measured_table(model, dict(zip(levels.tolist(), errors, strict=True)))
    exact = gaussian_information(torch.tensor(table.sigma, dtype=torch.float64), large)
    found = torch.tensor(table.information, dtype=torch.float64)
    assert float((found[1:-1] - found[1] - (exact[1] - exact[1:-1])).abs().max()) < 0.05 * float(exact[1])
    assert len(table.sigma) == 10 and float(found[-1] - found[-2]) < 0.05


@pytest.mark.parametrize("errors", [[1e-3] * 4 + [1e-30] * 4, [1e5, 1e4, 1e3, 100, 1e-20, 1e-20, 1e-25, 1e-30]])
def test_of_errors_that_add_nothing_a_table_is_made_all_the_same(errors: list[float], tiny_run: Path) -> None:
    model = load_model(tiny_run)
    levels = (0.1, 0.3, 0.6, 1.0, 2.0, 4.0, 10.0, 40.0)
    table = measured_table(model, dict(zip(levels, errors, strict=True)))
    assert (table.sigma[0], table.sigma[-1]) == tuple(model.schedule.sigmas[[0, -1]].tolist())
    assert len(table.sigma) < 10 and len(table.rescaled().sigma) <= len(table.sigma)


@pytest.mark.parametrize("error", [1e-320, 1e307])
def test_of_errors_without_a_table_none_is_made(error: float, tiny_run: Path) -> None:
    with pytest.raises(UsageError):
        measured_table(load_model(tiny_run), dict.fromkeys((0.1, 1.0, 10.0), error))


def test_the_bundled_model_has_a_table() -> None:
    table = read_table(pretrained(TABLE_FILE), ModelError)
    model = load_model(pretrained("model.safetensors"))
    assert model.table == table
    assert [table.sigma[0], table.sigma[-1]] == pytest.approx(model.schedule.sigmas[[0, -1]].tolist(), rel=1e-6)


@pytest.mark.thorough
def test_training_draws_levels_from_a_table_which_the_run_keeps(
    workshop: Workshop, tmp_path: Path, tiny_run: Path
) -> None:
    config, out = tmp_path / "x.toml", tmp_path / "run"
    config.write_text(workshop.config.read_text() + '\n[diffusion]\nschedule = "entropic"\nlevels = "table"\n')
    options = TrainOptions(data=workshop.data, config=config, gpus=0, out=out, overrides={"images": 16}, start=tiny_run)
    finish(train(options))
    own, model = load_model(tiny_run).table, load_model(out)
    assert own is not None and model.origin.config.diffusion.sigma == own.sigma  # of the model that it started from
    torch.testing.assert_close(model.schedule.sigmas, own.schedule().sigmas)
    finish(train(replace(options, overrides={"images": 24}, start=None)))  # with the run's, not the bundled one
    assert load_model(out).origin == model.origin or load_model(out).origin.config.diffusion.sigma == own.sigma
    given = workshop.config.read_text() + '\n[diffusion]\nschedule = "entropic"\nsigma = [0.1, 1, 30]\n'
    config.write_text(given + "information = [0, 3, 4]\n")
    finish(train(replace(options, out=tmp_path / "other", start=None)))
    torch.testing.assert_close(load_model(tmp_path / "other").schedule.sigmas, TABLE.schedule().sigmas)
    for wrong in ("", "information = [0, 0, 1]\n", 'information = ["a"]\n'):
        config.write_text(given + wrong)
        with pytest.raises(UsageError):
            finish(train(replace(options, out=tmp_path / "no", start=None)))
    config.write_text((given + "information = [0, 3, 4]\n").replace('"entropic"', '"cosine"'))
    with pytest.raises(UsageError, match=r"diffusion\.schedule"):
        finish(train(replace(options, out=tmp_path / "no", start=None)))
