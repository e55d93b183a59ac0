"""Steps captured as CUDA graphs, on a GPU that is pretended: plain steps and captured ones, number for number."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge

from glyffctl.core.data.embeddings import load_embeddings
from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.models.checkpoint import load_model
from glyffctl.core.models.config import fit_to_data, merge, read_preset
from glyffctl.core.networks.narrowed import layers_under_autocast
from glyffctl.core.training.low_precision import LowPrecisionWeights
from glyffctl.core.training.trainer import Trainer
from glyffctl.workflows.events import Progress, finish
from glyffctl.workflows.train import TrainOptions, train
from tests.conftest import Workshop, follow, of_kind
from tests.pretended_gpu import no_waiting, pretended_gpu
from tests.recorded_graph import recorded_graphs
from tests.test_gpu import SMALL
from tests.test_training import weights

GPU = torch.device("cuda", 0)


@pytest.fixture(autouse=True)
def _gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with pretended_gpu(monkeypatch), recorded_graphs(monkeypatch):
        yield


SMALLEST = SMALL.replace("channels = [16, 32]", "channels = [16]").replace("attention = [1]", "attention = []")
"""For what does not depend on the layers of the network: every operation is recorded and replayed by Python."""


def plain(workshop: Workshop, settings: str = SMALLEST, **training: object) -> Trainer:
    """A trainer that is not prepared, and makes plain steps."""
    glyphs = open_glyphs(workshop.data)
    embeddings = load_embeddings(workshop.data, glyphs.captions)
    sections = merge(read_preset("cpu"), tomllib.loads(settings), {"training": training})
    return Trainer(fit_to_data(sections, glyphs.size, embeddings.width), glyphs, embeddings, GPU)


def prepared(workshop: Workshop, settings: str = SMALLEST, **training: object) -> Trainer:
    trainer = plain(workshop, settings, **training)
    assert finish(trainer.prepare()) == (), "steps are captured"
    return trainer


def assert_same_state(one: Trainer, other: Trainer) -> None:
    expected = weights(other)
    for name, tensor in weights(one).items():
        if name in expected:
            assert torch.equal(tensor, expected[name]), name
        else:  # moments that a plain run does not have before its first step
            assert not tensor.any(), name


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("optimizer", "precision"), [("adamw", "fp32"), pytest.param("muon", "bf16", marks=pytest.mark.slow)]
)
def test_captured_steps_are_plain_steps(workshop: Workshop, optimizer: str, precision: str) -> None:
    settings = {"optimizer": optimizer, "precision": precision}
    usual, captured = plain(workshop, SMALL, **settings), prepared(workshop, SMALL, **settings)
    assert_same_state(captured, usual)
    for turn in range(10):  # over the end of a window of sorted samples
        one, other = usual.step(turn / 10), captured.step(turn / 10)
        assert torch.equal(one.loss, other.loss) and torch.equal(one.gradient, other.gradient)
        assert one.learning_rate == other.learning_rate
    assert_same_state(captured, usual)


@pytest.mark.thorough
def test_captured_steps_leave_frozen_weights_alone(workshop: Workshop) -> None:
    settings = {"freeze": 1, "precision": "bf16"}
    usual, captured = plain(workshop, SMALL, **settings), prepared(workshop, SMALL, **settings)
    inner = usual.config.network.inner(1)
    before = {name: tensor.clone() for name, tensor in usual.network.state_dict().items() if name.startswith(inner)}
    for turn in range(3):
        usual.step(turn / 3), captured.step(turn / 3)
    assert_same_state(captured, usual)
    assert all(torch.equal(captured.network.state_dict()[name], tensor) for name, tensor in before.items())


def test_a_captured_step_never_waits(workshop: Workshop) -> None:
    trainer = prepared(workshop)
    with no_waiting():
        for _ in range(3):
            trainer.step(0.5)


def test_a_captured_run_goes_on_from_a_state(workshop: Workshop) -> None:
    whole, before, after = plain(workshop), plain(workshop), prepared(workshop)
    for _ in range(6):
        whole.step(0.25)
    for _ in range(3):
        before.step(0.25)
    tensors, counters = before.state()
    for _ in range(2):
        after.step(0.9)
    after.restore({name: tensor.clone() for name, tensor in tensors.items()}, counters)
    for _ in range(3):
        after.step(0.25)
    assert after.images == whole.images
    assert_same_state(after, whole)


@pytest.mark.thorough
def test_a_state_of_before_the_first_step_undoes_what_a_captured_run_did(workshop: Workshop) -> None:
    fresh, trainer = plain(workshop), prepared(workshop)
    tensors, counters = fresh.state()
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    for _ in range(2):
        trainer.step(0.5)
    trainer.restore(tensors, counters)
    fresh.step(0.5), trainer.step(0.5)
    assert_same_state(trainer, fresh)


@pytest.mark.thorough
def test_a_captured_gradient_that_is_no_number_is_seen_afterwards(workshop: Workshop) -> None:
    trainer = prepared(workshop)
    tensors, counters = trainer.state()
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    finite = []
    for spoilt in (False, True, False):
        if spoilt:
            with torch.no_grad():
                dict(trainer.network.named_parameters())["conv_in.weight"].fill_(float("nan"))
        trainer.step(0.5)
        finite.append(trainer.finite)
        if spoilt:
            trainer.restore(tensors, counters)
            finite.append(trainer.finite)
    assert finite == [True, False, True, True]


@pytest.mark.thorough
def test_passes_of_before_a_capture_leave_no_nodes_behind(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that adds to a gradient belongs to the stream it was made on, and CUDA refuses that one in a capture."""
    trainer = plain(workshop)
    parameters = list(trainer.network.parameters())
    runs, calls, honest = list[tuple[int, int]](), list[int](), Trainer._loss

    def watched(self: Trainer, *arguments: Any) -> Tensor:
        loss = honest(self, *arguments)
        calls.append(len(calls))
        if calls[-1] < len(trainer.objective.lengths):
            with torch._C.DisableTorchFunction():
                for parameter in parameters:
                    node = get_gradient_edge(parameter).node
                    node.register_prehook(lambda _, made=calls[-1]: runs.append((made, calls[-1])))
        return loss

    monkeypatch.setattr(Trainer, "_loss", watched)
    assert finish(trainer.prepare()) == ()
    assert runs and all(made == now for made, now in runs)
    assert len(calls) > 2 * len(trainer.objective.lengths)


def test_a_capture_that_fails_leaves_the_stream_as_it_was(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(self: torch.cuda.CUDAGraph) -> None:
        end(self)
        raise RuntimeError("CUDA error: operation failed due to a previous error during capture")

    end = torch.cuda.CUDAGraph.capture_end
    monkeypatch.setattr(torch.cuda.CUDAGraph, "capture_end", failing)
    before = torch.cuda.current_stream()
    (reason,) = finish(plain(workshop).prepare())
    assert "capture" in reason and torch.cuda.current_stream() is before


@pytest.mark.thorough
@pytest.mark.parametrize("fault", ["refused", "wrong"])
def test_a_graph_that_fails_its_check_is_not_used(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    if fault == "refused":
        update = Trainer._update

        def reading(self: Trainer, *arguments: object) -> object:
            outcome = update(self, *arguments)  # type: ignore[arg-type]
            float(outcome.loss)
            return outcome

        monkeypatch.setattr(Trainer, "_update", reading)
    else:
        monkeypatch.setattr(torch.cuda.CUDAGraph, "replay", lambda _: None)
    usual, trainer = plain(workshop), plain(workshop)
    (reason,) = finish(trainer.prepare())
    assert ("capture" in reason) if fault == "refused" else ("differ" in reason)
    assert_same_state(trainer, usual)
    for _ in range(2):
        usual.step(0.5), trainer.step(0.5)
    assert_same_state(trainer, usual)


class Halves(nn.Module):
    """One layer under autocast, one outside, and one in both."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.outside, self.both = (nn.Linear(6, 6) for _ in range(3))
        self.norm = nn.LayerNorm(6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.both(self.outside(x))
        with torch.autocast(x.device.type, torch.bfloat16):
            return self.both(self.norm(self.inside(self.inside(x)))).float()


def test_a_narrowed_copy_gives_the_gradients_of_autocast() -> None:
    torch.manual_seed(0)
    module, x = Halves(), torch.randn(5, 6)
    with layers_under_autocast(module, torch.device("cpu")) as layers:
        module(x).square().sum().backward()
    assert layers == {module.inside}
    expected = {name: parameter.grad for name, parameter in module.named_parameters()}
    copy = LowPrecisionWeights(module, layers, torch.bfloat16)
    for turn in range(2):
        module.zero_grad()
        copy(x).square().sum().backward()
        copy.collect()
        for name, parameter in module.named_parameters():
            assert parameter.grad is not None and parameter.grad.dtype == torch.float32
            assert torch.equal(parameter.grad, expected[name]), (turn, name)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.thorough
def test_a_run_that_was_cut_off_ends_with_the_weights_of_one_that_was_not(workshop: Workshop, tmp_path: Path) -> None:
    """Captured steps, checkpoints beside them, and a process that comes back: to the last bit, as the kernels are."""
    config = tmp_path / "small.toml"
    config.write_text(SMALLEST, encoding="utf-8")
    options = TrainOptions(data=workshop.data, config=config, device="cuda", preset="cpu", out=tmp_path / "whole")
    cut = replace(options, out=tmp_path / "cut")
    events, report = follow(train(options))
    assert report is not None and report.images == 24
    assert not of_kind(events, "slower-steps")
    running = train(cut)
    next(event for event in running if isinstance(event, Progress) and event.task == "Training" and event.done == 16)
    next(event for event in running if of_kind([event], "checkpoint"))
    running.close()
    assert load_model(tmp_path / "cut").images == 16
    finish(train(cut))
    assert load_model(tmp_path / "cut").images == 24
    assert load_model(tmp_path / "cut").identity == load_model(tmp_path / "whole").identity
