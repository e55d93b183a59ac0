"""The figures of `noise-demo` of the inside of a model: text, ways in, the network as it is, a step of training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from matplotlib.patches import FancyArrowPatch, Rectangle
from matplotlib.text import Text

from glyffctl.core.codecs.pixels import to_unit
from glyffctl.core.errors import ModelError
from glyffctl.core.models.checkpoint import load_model
from glyffctl.core.networks.dit import DiT, DiTConfig
from glyffctl.core.networks.network import parameter_count
from glyffctl.core.networks.stages import narrows, stages
from glyffctl.core.noise import normal
from glyffctl.figures.diagrams import draw_network
from glyffctl.figures.style import SMALL, WIDTH, smallest_lettering
from glyffctl.workflows import noise_inside
from glyffctl.workflows.events import finish
from glyffctl.workflows.noise_demo import NoiseDemoOptions, noise_demo
from glyffctl.workflows.noise_model import load_prompted_model
from tests.test_noise_demo import drawn, written

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory, noto_sans: Path, tiny_run: Path) -> NoiseDemoOptions:
    folder = tmp_path_factory.mktemp("inside")
    data = written(folder / "data", drawn(noto_sans, 32, 3))
    names = tuple(noise_inside.INSIDE_FIGURES)
    return NoiseDemoOptions(data=data, model=tiny_run, prompt="a red fish", figures=names, out=folder / "out")


def test_all_four_say_what_was_measured(shown: NoiseDemoOptions, tiny_run: Path) -> None:
    report = finish(noise_demo(shown))
    said = {figure.name: figure.measured for figure in report.figures}
    assert said.keys() == noise_inside.INSIDE_FIGURES.keys()
    assert all(line.endswith(".") for text in said.values() for line in text.split("\n"))
    model = finish(load_prompted_model(tiny_run, None, "a red fish", 0, CPU))
    text = finish(model.text("a red fish"))
    n, d = int(text.mask.sum()), text.tokens.shape[-1]
    assert f"{n} tokens and an array of {n} × {d}" in said["text"]
    assert f"{parameter_count(model.model.network):,} parameters" in said["network"]
    assert "32 × 32 = 1,024 numbers" in said["network"]


@pytest.mark.thorough
def test_the_loss_of_the_step_is_that_of_training(shown: NoiseDemoOptions, tiny_run: Path, noto_sans: Path) -> None:
    glyphs = drawn(noto_sans, 32, 3)
    model = finish(load_prompted_model(tiny_run, None, "a red fish", 0, CPU))
    measured = finish(noise_inside.draw_a_step(model, glyphs)).measured
    x0 = to_unit(glyphs.pictures[:1])[:, None]
    eps = normal(0, torch.tensor([0]), (1, 32, 32), 0)
    network = model.drawer.denoiser.network
    context = network.encode(finish(model.text(glyphs.characters[0].definition)))
    with torch.no_grad():
        loss = model.drawer.denoiser.loss(x0, eps, torch.tensor([noise_inside.TRAINED_SIGMA]).double(), context)
    assert f"the loss of this step is {float(loss):.4f}" in measured


def test_stages_are_those_of_the_network(tiny_run: Path) -> None:
    network = load_model(tiny_run).network
    found = stages(network)
    assert narrows(found)
    assert [stage.side for stage in found] == [8, 8, 4, 4, 4, 4, 4, 4, 8, 8, 8, 8]  # patches of 4 on 32×32, two levels
    assert {stage.channels for stage in found} == {16, 32}
    assert all(stage.attends == stage.reads for stage in found) and sum(stage.reads for stage in found) == 4
    parameters = {name: parameter.numel() for name, parameter in network.named_parameters()}
    for stage in found:
        own = sum(count for name, count in parameters.items() if name.startswith(f"{stage.name}."))
        assert stage.parameters == own
    figure = draw_network(found, 32, 1)
    boxes = [patch for axes in figure.axes for patch in axes.patches if isinstance(patch, Rectangle)]
    arrows = [patch for axes in figure.axes for patch in axes.patches if isinstance(patch, FancyArrowPatch)]
    assert len(boxes) == len(found) + 2 and len(arrows) == len(found) + 1 + 1  # and one across
    numbers = [text.get_text() for text in figure.findobj(Text) if isinstance(text, Text)]
    assert numbers.count("16") == 1 and figure.get_figwidth() == WIDTH and smallest_lettering(figure) >= SMALL


def test_what_stays_at_one_grid_is_no_u() -> None:
    config = DiTConfig(size=16, patch=4, width=32, depth=1, detail=0, text_width=8, context_width=16)
    assert not narrows(stages(DiT(config)))


def test_a_model_without_two_ways_in_says_so(
    shown: NoiseDemoOptions, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("glyffctl.workflows.noise_demo.two_ways_in", lambda _: False)
    with pytest.raises(ModelError, match="two ways"):
        finish(noise_demo(replace(shown, figures=("ways-in",), out=tmp_path / "out")))
