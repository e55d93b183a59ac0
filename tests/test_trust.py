"""What training promises when the machine is taken away: checkpoints whole or absent, runs that go on exactly."""

from __future__ import annotations

import errno
import os
import pickle  # noqa: TID251 (to make what must be refused)
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from glyffctl.core.errors import OutputError
from glyffctl.core.io import tensors
from glyffctl.core.io.tensors import digest
from glyffctl.core.models import checkpoint
from tests.command_line import app
from tests.conftest import Workshop

pytestmark = pytest.mark.hostile

SEED = 11


def content(folder: Path) -> int:
    """Which state is in the folder; it has to be whole."""
    state = checkpoint.load_state(folder)
    assert state is not None
    held, counters = state
    number = int(counters["number"])
    assert all(bool((tensor == number).all()) for tensor in held.values())
    return number


def store(folder: Path, number: int) -> None:
    """A state of 2 MB that is `number` all over."""
    checkpoint.save_state(folder, {name: torch.full((500, 500), float(number)) for name in "ab"}, {"number": number})


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # Python 3.12: its reason is met inside
@pytest.mark.parametrize("kills", [20, pytest.param(100, marks=pytest.mark.slow)])
def test_a_process_killed_while_saving_leaves_the_old_state_or_the_new(tmp_path: Path, kills: int) -> None:
    dice = random.Random(SEED)
    store(tmp_path, 0)
    inside = 0
    for _ in range(kills):
        before = content(tmp_path)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            torch.set_num_threads(1)  # of OpenMP's threads only this one has come along
            number = before
            while True:
                number += 1
                store(tmp_path, number)
                os.write(writing, b".")
        os.read(reading, 1)  # one is saved, however slow the machine: the next is under way
        time.sleep(dice.uniform(0.001, 0.08))
        inside += any(path.suffix == ".tmp" for path in tmp_path.iterdir())
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reading)
        os.close(writing)
        assert content(tmp_path) > before
    print(f"{kills} kills, {inside} of them with a file half written, 0 states that cannot be loaded")
    assert inside > kills / 10 and content(tmp_path) > 0
    store(tmp_path, 1)
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint.STATE_FILE]  # nothing stale is left


class Faults:
    """Counts the calls that reach the disk, and lets one of them fail."""

    CALLS: tuple[tuple[object, str], ...] = (
        (os, "fsync"),
        (Path, "replace"),
        (Path, "mkdir"),
        (Path, "chmod"),
        (tensors, "save_file"),
    )

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count, self.fails_at, self.failed = 0, -1, ""
        for owner, name in self.CALLS:
            monkeypatch.setattr(owner, name, self._counted(getattr(owner, name), name))

    def _counted(self, honest: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            self.count += 1
            if self.count == self.fails_at:
                self.failed = name
                if name == "save_file":  # half of it is on the disk
                    Path(arguments[1]).write_bytes(b"half")
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return honest(*arguments, **named)

        return call


def test_a_disk_that_fails_at_any_moment_leaves_the_old_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store(tmp_path, 0)
    faults = Faults(monkeypatch)
    store(tmp_path, 1)
    moments = faults.count
    assert moments >= 5
    seen = set()
    for moment in range(1, moments + 1):
        faults.count, faults.fails_at = 0, moment
        with pytest.raises(OutputError, match=r"state\.safetensors: No space left"):
            store(tmp_path, 100 + moment)
        seen.add(faults.failed)
        faults.fails_at = -1
        assert content(tmp_path) in (1, 100 + moment)  # new only where all but the folder's own entry was synced
        assert [path.name for path in tmp_path.iterdir()] == [checkpoint.STATE_FILE]
        store(tmp_path, 1)
    print(f"{moments} moments, failing in {', '.join(sorted(seen))}")
    assert seen == {name for _, name in faults.CALLS}


DIES_AT = """
import os, signal, sys
from glyffctl.cli import main
from glyffctl.core.training.trainer import Trainer
number, step = int(sys.argv.pop(1)), Trainer.step
def dying(self, progress):
    if self.images == number:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, progress)
Trainer.step = dying
main()
"""


@pytest.mark.parametrize("kills", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_a_run_killed_at_any_step_goes_on_exactly(
    workshop: Workshop, tmp_path: Path, tiny_run: Path, kills: int
) -> None:
    """SIGKILL at random steps, the same command again each time: all that is saved is bit-identical in the end."""
    out, dice = tmp_path / "run", random.Random(SEED)
    command = [
        "train",
        "--data",
        str(workshop.data),
        "--config",
        str(workshop.config),
        "--gpus",
        "0",
        "--out",
        str(out),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    for _ in range(kills):
        state = checkpoint.load_state(out) if out.exists() else None
        reached = state[1]["images"] if state else 0
        number = reached + 8 * dice.randrange(0, max(1, min(4, (96 - reached) // 8)))
        done = subprocess.run([sys.executable, "-c", DIES_AT, str(number), *command], check=False, capture_output=True,
                              text=True, env=environment, timeout=300)  # fmt: skip
        assert done.returncode == -signal.SIGKILL, done.stderr
    done = subprocess.run([sys.executable, "-m", "glyffctl", *command], check=False, capture_output=True, text=True,
                          env=environment, timeout=300)  # fmt: skip
    assert done.returncode == 0, done.stderr
    ended, alone = checkpoint.load_state(out), checkpoint.load_state(tiny_run)
    assert ended is not None and alone is not None
    assert digest(ended[0]) == digest(alone[0]) and ended[1]["images"] == alone[1]["images"]
    assert checkpoint.load_model(out).identity == checkpoint.load_model(tiny_run).identity


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_model_is_whole_whenever_it_is_read(tmp_path: Path, tiny_run: Path) -> None:
    """One process saves models without a pause, another reads them: it never meets half of one."""
    model = checkpoint.load_model(tiny_run)
    file = tmp_path / checkpoint.MODEL_FILE
    checkpoint.save_model(file, replace(model, images=0))
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)  # of OpenMP's threads only this one has come along
        images = 0
        while True:
            images += 1
            checkpoint.save_model(file, replace(model, images=images))
    try:
        seen = {checkpoint.load_model(tmp_path).images for _ in range(60)}
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert len(seen) > 5


PICKLES = (
    "model.safetensors",
    "state.safetensors",
    "embeddings.safetensors",
    "glyphs-00000.safetensors",
    "classifier.safetensors",
    "config.json",
    "manifest.json",
    "characters.jsonl",
    "metadata.jsonl",
    "cpu.toml",
)


class Payload:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return (Path.touch, (self.target,))


@pytest.mark.parametrize("name", PICKLES)
def test_a_pickle_under_any_of_our_names_is_refused_and_not_run(
    workshop: Workshop, tmp_path: Path, tiny_run: Path, name: str
) -> None:
    run, data, ran = tmp_path / "run", tmp_path / "data", tmp_path / "ran"
    shutil.copytree(tiny_run, run)
    shutil.copytree(workshop.data, data)
    raw = pickle.dumps(Payload(ran))
    torch.save({"weights": Payload(ran)}, tmp_path / "zip")  # noqa: TID251
    for payload in (raw, (tmp_path / "zip").read_bytes()):
        place = next((folder / name for folder in (run, data) if (folder / name).exists()), tmp_path / name)
        place.write_bytes(payload)
        if name == "metadata.jsonl":
            shutil.rmtree(data)
            data.mkdir()
            (data / name).write_bytes(payload)
        commands: list[list[str | Path]] = [
            ["sample", "a", "--model", run, "--out", tmp_path / "a.png", "--steps", "1"],
            ["train", "--data", data, "--config", workshop.config, "--gpus", "0", "--out", run],
            ["evaluate", "--data", data, "--model", run, "--classifier", tmp_path / "classifier.safetensors"],
            ["train", "--data", data, "--config", tmp_path / "cpu.toml", "--gpus", "0", "--out", tmp_path / "new"],
        ]
        refused = 0
        for command in commands:
            done = CliRunner().invoke(app, list(map(str, command)))
            assert done.exception is None or isinstance(done.exception, SystemExit), command
            refused += done.exit_code in (1, 2)
        assert refused >= 1 and not ran.exists()
