"""Checkpoints written beside training: the same files, one at a time, nothing lost, whatever happens meanwhile."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from glyffctl.core.errors import DataError, Interrupted, OutputError
from glyffctl.core.models.checkpoint import load_model, load_state
from glyffctl.core.networks.unet import UNet
from glyffctl.core.training.objective import Batch
from glyffctl.core.training.trainer import Trainer, TrainStep
from glyffctl.workflows import checkpoint_work, run
from glyffctl.workflows.checkpoint_work import write_checkpoint
from glyffctl.workflows.events import Event, Progress, finish
from glyffctl.workflows.train import TrainOptions, train
from tests.conftest import Workshop, crashed, follow, of_kind
from tests.pretended_gpu import pretended_gpu
from tests.test_train import log, options, poison
from tests.test_training import make_trainer, weights

LONG = 30.0  # seconds until a test that hangs fails


def images_of(path: Path) -> int:
    state = load_state(path)
    assert state is not None
    images: int = state[1]["images"]
    return images


def in_thread() -> bool:
    return threading.current_thread() is not threading.main_thread()


@dataclass
class Gate:
    """Holds each checkpoint in the background, before it does anything, until `opened`."""

    opened: threading.Event = field(default_factory=threading.Event)
    held: threading.Event = field(default_factory=threading.Event)
    working: int = 0
    most: int = 0

    def hold(self) -> None:
        self.held.set()
        assert self.opened.wait(LONG)

    def open(self) -> None:
        self.opened.set()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """Training on the CPU with checkpoints beside it, as if it were a GPU."""
    gate = Gate()

    def work(*arguments: Any) -> Generator[Any, None, Any]:
        gate.working += 1
        gate.most = max(gate.most, gate.working)
        try:
            if in_thread():
                gate.hold()
            return (yield from write_checkpoint(*arguments))
        finally:
            gate.working -= 1

    monkeypatch.setattr(run, "works_beside_training", lambda _: True)
    monkeypatch.setattr(run, "write_checkpoint", work)
    before = threading.active_count()
    yield gate
    gate.open()
    assert threading.active_count() == before, "a thread was left"


def shown(event: Event) -> float | None:
    """How many pictures the bar of the training is at."""
    return event.done if isinstance(event, Progress) and event.task == "Training" else None


def files(out: Path) -> dict[str, object]:
    """What is in a run folder but for its log. The library writes the header of tensors in an order drawn at random."""
    found: dict[str, object] = {}
    for path in sorted(out.rglob("*")):
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:  # the metadata hold a digest of the rest
                found[path.name] = file.metadata(), path.stat().st_size
        elif path.is_file() and path.name not in ("log.jsonl", ".lock"):
            found[str(path.relative_to(out))] = path.read_bytes()
    return found


@contextmanager
def stopped_clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """The clock of the run shows `now`, which starts at 0 and moves only where a test moves it."""
    clock = SimpleNamespace(now=0.0)
    with monkeypatch.context() as patch:
        patch.setattr(run, "time", SimpleNamespace(perf_counter=lambda: clock.now))
        yield clock


def test_the_files_are_those_of_a_run_that_stops_for_them(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gate: Gate
) -> None:
    """Byte for byte after each checkpoint, though training went on for three steps before it was looked at."""
    out, found = tmp_path / "run", list[list[dict[str, object]]]()
    for beside in (False, True):
        shutil.rmtree(out, ignore_errors=True)
        gate.opened.clear()
        monkeypatch.setattr(run, "works_beside_training", lambda _, beside=beside: beside)
        contents = []
        with stopped_clock(monkeypatch):
            for event in train(options(workshop, out)):
                if shown(event) in (56, 88):
                    assert gate.held.is_set() == beside
                    gate.open()
                elif shown(event) == 64:
                    gate.opened.clear()
                if of_kind([event], "checkpoint"):
                    contents.append(files(out))
        found.append([*contents, {"log": sorted(map(json.dumps, log(out)))}])
    for usual, beside in zip(*found, strict=True):
        assert usual.keys() == beside.keys()
        for name, content in usual.items():
            assert beside[name] == content, name
    assert len(found[0]) == 4 and {"state.safetensors", "model.safetensors", "README.md"} < found[0][2].keys()


@pytest.mark.thorough
def test_a_checkpoint_that_comes_due_waits_for_the_one_before(workshop: Workshop, tmp_path: Path, gate: Gate) -> None:
    done = []
    for event in train(options(workshop, tmp_path / "run")):
        if (at := shown(event)) is not None:
            done.append(at)
            if at == 64 and done.count(64) == 2:  # it was due, and says that it waits
                assert gate.working == 1 and not (tmp_path / "run/samples").exists()
                gate.open()
    assert done[:5] == [0, 8, 16, 24, 32] and gate.most == 1
    assert sorted(path.name for path in (tmp_path / "run/samples").iterdir()) == [
        f"{images:09d}.png" for images in (32, 64, 96)
    ]
    assert [row["images"] for row in log(tmp_path / "run") if "validation" in row] == [32, 64, 96]


@pytest.mark.thorough
def test_waiting_is_no_part_of_the_budget_and_training_beside_a_checkpoint_is(
    workshop: Workshop, tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stopped_clock(monkeypatch) as clock:
        honest = Trainer.step

        def step(self: Trainer, progress: float) -> Any:
            clock.now += 1
            return honest(self, progress)

        monkeypatch.setattr(Trainer, "step", step)
        waits = 0
        work = train(options(workshop, tmp_path / "run"))
        for event in work:
            if gate.held.is_set() and not gate.opened.is_set() and shown(event) == 64:
                waits += 1
                if waits == 2:
                    clock.now += 1000
                    gate.open()
        state = load_state(tmp_path / "run")
    assert state is not None and state[1]["seconds"] == 12


def test_what_goes_wrong_with_a_checkpoint_ends_the_run_with_its_error(
    workshop: Workshop, tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OutputError("cannot write it: No space left on device")

    monkeypatch.setattr(checkpoint_work, "save", full)
    gate.open()
    with pytest.raises(OutputError, match="No space left"):
        finish(train(options(workshop, tmp_path / "run")))
    assert images_of(tmp_path / "run") == 0 and not list((tmp_path / "run").rglob("*.tmp"))


@pytest.mark.thorough
def test_an_error_of_training_leaves_the_checkpoint_that_was_begun(
    workshop: Workshop, tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = Trainer._batch

    def batch(self: Trainer, number: Tensor) -> Batch:
        if self.images == 40:
            gate.open()
            raise DataError("a picture is gone")
        return honest(self, number)

    monkeypatch.setattr(Trainer, "_batch", batch)
    with pytest.raises(DataError, match="a picture is gone"):
        finish(train(options(workshop, tmp_path / "run")))
    assert gate.held.is_set() and images_of(tmp_path / "run") == load_model(tmp_path / "run").images == 32
    assert [row["images"] for row in log(tmp_path / "run") if "validation" in row] == [32]


@pytest.mark.thorough
def test_going_back_goes_to_the_checkpoint_that_was_begun(
    workshop: Workshop, tmp_path: Path, tiny_run: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, [40])
    events = []
    for event in train(options(workshop, tmp_path / "run")):
        events.append(event)
        if [shown(event) for event in events].count(40) == 2:  # before the step, and now it waits
            gate.open()
    assert [event.facts["images"] for event in of_kind(events, "rolled-back")] == [32]
    assert load_model(tmp_path / "run").identity == load_model(tiny_run).identity


def test_a_signal_saves_the_checkpoint_that_was_begun_and_the_last_step(
    workshop: Workshop, tmp_path: Path, gate: Gate
) -> None:
    out, events = tmp_path / "run", []
    with pytest.raises(Interrupted) as caught:
        for event in train(options(workshop, out)):
            events.append(event)
            at = [shown(event) for event in events]
            if shown(event) == 48:
                os.kill(os.getpid(), signal.SIGTERM)
            elif at.count(56) == 2:
                gate.open()
    assert caught.value.exit_code == 143 and of_kind(events, "checkpoint")
    assert images_of(out) == load_model(out).images == 56
    assert [row["images"] for row in log(out) if "validation" in row] == [32]


@pytest.mark.thorough
def test_leaving_stops_the_thread_before_the_folder_is_unlocked(
    workshop: Workshop, tmp_path: Path, tiny_run: Path, gate: Gate
) -> None:
    work = train(options(workshop, tmp_path / "run"))
    for event in work:
        if shown(event) == 40:
            gate.open()
            work.close()
            break
    assert gate.working == 0 and not list((tmp_path / "run").rglob("*.tmp"))
    finish(train(options(workshop, tmp_path / "run")))
    assert load_model(tmp_path / "run").identity == load_model(tiny_run).identity


@pytest.mark.thorough
@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_gpu_without_room_stops_for_its_checkpoints(
    workshop: Workshop, tmp_path: Path, tiny_run: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    held = []

    def full(self: Gate) -> None:
        held.append(when)
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Gate, "hold", full)
    if when == "before":
        monkeypatch.setattr(run, "has_room_beside_training", lambda _: False)
    events, _ = follow(train(options(workshop, tmp_path / "run")))
    assert len(held) == (when == "meanwhile")
    saved = [event.facts["images"] for event in of_kind(events, "checkpoint")]
    assert saved[-1] == 96 and len(saved) == 3
    assert load_model(tmp_path / "run").identity == load_model(tiny_run).identity


SMALL = """
[network]
patch = 16
channels = [16]
blocks = 1
attention = []
head_width = 16
context_width = 16

[training]
images = 32
batch = 8
precision = "fp32"
holdout = 0.1
checkpoint_every = 16
"""


@pytest.fixture
def on_gpu(workshop: Workshop, tmp_path: Path) -> TrainOptions:
    """Options of a small training on a GPU."""
    config = tmp_path / "small.toml"
    config.write_text(SMALL, encoding="utf-8")
    return TrainOptions(data=workshop.data, config=config, device="cuda", preset="cpu", out=tmp_path / "run")


@pytest.mark.thorough
def test_on_a_gpu_spoilt_weights_are_found_beside_training_and_never_saved(
    on_gpu: TrainOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There no step raises: whoever writes the checkpoint reads the flag, and nothing else waits for it."""
    threads = []

    def work(*arguments: Any) -> Any:
        threads.append(in_thread())
        validation = yield from write_checkpoint(*arguments)
        state = load_state(tmp_path / "run")
        assert state is not None and all(bool(tensor.isfinite().all()) for tensor in state[0].values())
        return validation

    monkeypatch.setattr(run, "write_checkpoint", work)
    poison(monkeypatch, [8, 24])
    with pretended_gpu(monkeypatch):
        events, report = follow(train(on_gpu))
    assert [event.facts["images"] for event in of_kind(events, "rolled-back")] == [0, 16]
    assert report is not None and report.images == 32
    assert threads == [True, True, False]  # what was spoilt at the end was found before it came to that
    rows = log(tmp_path / "run")
    assert [row["images"] for row in rows if "validation" in row] == [16, 32]
    assert "NaN" not in json.dumps(rows)


@pytest.mark.thorough
def test_on_a_gpu_a_row_a_second_is_read(on_gpu: TrainOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest, losses = Trainer.step, []
    monkeypatch.setattr(run, "LOG_EVERY", 8)
    with stopped_clock(monkeypatch) as clock, pretended_gpu(monkeypatch):

        def step(self: Trainer, progress: float) -> TrainStep:
            clock.now += 0.4
            made = honest(self, progress)
            losses.append(float(made.loss))
            return made

        monkeypatch.setattr(Trainer, "step", step)
        finish(train(replace(on_gpu, overrides={"images": 48, "checkpoint_every": 1000})))
    rows = [row for row in log(tmp_path / "run") if "loss" in row]
    assert [row["images"] for row in rows] == [24, 48]
    assert [row["loss"] for row in rows] == pytest.approx([sum(losses[:3]) / 3, sum(losses[3:]) / 3])


@pytest.mark.thorough
def test_preparing_changes_nothing_and_is_in_no_budget(
    workshop: Workshop, tmp_path: Path, tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(UNet, "compile", lambda _: None)
    trainer, other = make_trainer(workshop, compile=True), make_trainer(workshop)
    before, passes = weights(trainer), []
    trainer.network.register_forward_hook(lambda *_: passes.append(1))
    finish(trainer.prepare())
    assert passes == [1] and trainer.images == 0
    assert all(parameter.grad is None for parameter in trainer.network.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights(trainer).items())
    assert torch.equal(trainer.step(0.5).loss, other.step(0.5).loss)
    assert not list(other.prepare())

    honest = Trainer.prepare
    with stopped_clock(monkeypatch) as clock:

        def slow(self: Trainer) -> Generator[float, None, tuple[str, ...]]:
            clock.now += 1000
            yield from honest(self)
            return ("it cannot be compiled here",)

        monkeypatch.setattr(Trainer, "prepare", slow)
        events, report = follow(train(options(workshop, tmp_path / "run", compile=True)))
    assert report is not None and report.seconds == 0
    assert [event.done for event in events if isinstance(event, Progress) and event.task == "Compiling"] == [0, 1]
    assert len(of_kind(events, "slower-steps")) == 1
    assert load_model(tmp_path / "run").identity == load_model(tiny_run).identity


BESIDE = """
import sys
from glyffctl.workflows import run
run.works_beside_training = lambda trainer: True
from glyffctl.cli import main
main()
"""


@pytest.mark.slow
@pytest.mark.hostile
def test_a_killed_process_goes_on_from_its_last_checkpoint(workshop: Workshop, tmp_path: Path) -> None:
    """Three kills while checkpoints are written one after the other, then the same weights as without."""
    out, alone, images = tmp_path / "run", tmp_path / "alone", 400
    finish(train(options(workshop, alone, images=images, checkpoint_every=1000)))
    command = [sys.executable, "-c", BESIDE, "train", "--gpus", "0", "--data", str(workshop.data)]
    command += ["--config", str(workshop.config), "--out", str(out), "--images", str(images)]
    command += ["--checkpoint-every", "8"]
    reached = []
    for kill in range(3):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            begun = len(list((out / "samples").glob("*.png")))
            limit = time.monotonic() + 60
            while len(list((out / "samples").glob("*.png"))) < begun + 2 and time.monotonic() < limit:
                time.sleep(0.005)
            time.sleep(0.013 * kill)  # another moment of a checkpoint
        finally:
            process.kill()
        _, told = process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL and not crashed(told), told
        reached.append(images_of(out))
    assert reached == sorted(set(reached)) and 0 < reached[-1] < images
    report = finish(train(options(workshop, out, images=images, checkpoint_every=1000)))
    assert report is not None and report.images == images
    assert load_model(out).identity == load_model(alone).identity
    rows = log(out)
    found = [int(str(row["images"])) for row in rows if "validation" in row]
    assert found == sorted(set(found))
    print(f"killed after checkpoints at {reached}")
