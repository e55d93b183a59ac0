"""Which precision pictures are drawn in: measured, recorded, and kept when they are made again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from glyffctl.core import precision
from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.errors import UsageError
from glyffctl.core.io.bundled import pretrained
from glyffctl.core.io.images import read_settings
from glyffctl.core.models.checkpoint import MODEL_FILE, load_model
from glyffctl.core.models.drawer import Drawer
from glyffctl.core.models.recipe import Recipe
from glyffctl.core.precision import autocast_dtype
from glyffctl.workflows.events import finish
from glyffctl.workflows.sample import sample
from glyffctl.workflows.sample_options import SampleOptions, options_from_picture

CPU = torch.device("cpu")


@pytest.mark.parametrize(("speedup", "expected"), [(0.3, None), (1.2, None), (4.0, torch.bfloat16)])
def test_auto_takes_bfloat16_where_it_is_much_faster(
    speedup: float, expected: torch.dtype | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "_speedup", lambda _: speedup)
    assert autocast_dtype("auto", CPU) is expected
    assert autocast_dtype("fp32", CPU) is None and autocast_dtype("bf16", CPU) is torch.bfloat16


def test_the_measurement_leaves_random_numbers_alone() -> None:
    before = torch.get_rng_state()
    assert precision._speedup.__wrapped__(CPU) > 0
    assert torch.equal(torch.get_rng_state(), before)


def test_an_unknown_precision_is_refused_in_a_line() -> None:
    with pytest.raises(UsageError, match="auto, fp32, bf16, not fp8"):
        SampleOptions(prompts=("x",), precision="fp8")


@pytest.mark.slow
@pytest.mark.thorough
def test_bfloat16_changes_the_pictures_only_by_rounding() -> None:
    """The model in the box, 20 steps: what differs is far less than what another seed changes."""
    model = load_model(pretrained(MODEL_FILE))
    nothing = Condition.none(4, model.network.config.text_width)
    drawn = {}
    for kind in ("fp32", "bf16"):
        drawer = Drawer.of(model, CPU, 4, kind)
        assert drawer.precision == kind
        drawn[kind] = _drawn(drawer, nothing, torch.arange(4))
    other = _drawn(Drawer.of(model, CPU, 4, "fp32"), nothing, torch.arange(4, 8))
    rounding = (drawn["fp32"].float() - drawn["bf16"].float()).abs().mean()
    assert 0 < float(rounding) < 0.15 * float((drawn["fp32"].float() - other.float()).abs().mean())


def _drawn(drawer: Drawer, text: Condition, seeds: torch.Tensor) -> torch.Tensor:
    drawing = drawer.draw(Recipe(steps=10, guidance=1.0), text, seeds)
    while True:
        try:
            next(drawing)
        except StopIteration as stop:
            pictures: torch.Tensor = stop.value
            return pictures


@pytest.mark.thorough
def test_a_picture_is_made_again_in_the_precision_it_was_made_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / "a.png", tmp_path / "b.png"
    options = SampleOptions(prompts=("",), count=1, recipe=Recipe(steps=2), model=pretrained(MODEL_FILE))
    finish(sample(replace(options, precision="bf16", out=first)))
    assert read_settings(first)["precision"] == "bf16"
    monkeypatch.setattr(precision, "_speedup", lambda _: 0.5)  # another machine would not have taken it
    finish(sample(options_from_picture(first, out=second)))
    assert second.read_bytes() == first.read_bytes()
    finish(sample(replace(options, out=second)))
    assert read_settings(second)["precision"] == "fp32"
    assert second.read_bytes() != first.read_bytes()
