"""A disk that fills, that cannot be written, or that fails: what was there stays, and one line says which path it was.

The full disk is a real one: a small file system in memory, shrunk to what is on it and a little more. Mounting it needs
root; where that is not to be had, those tests are skipped and say why.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image
from safetensors import SafetensorError

from glyffctl.core.io import tensors
from glyffctl.core.io.tensors import digest
from glyffctl.core.models.checkpoint import load_model, load_state
from tests.command_line import app
from tests.conftest import Workshop, crashed

pytestmark = pytest.mark.hostile

AMPLE = 256 << 20


@dataclass(frozen=True)
class Disk:
    """A file system of its own."""

    folder: Path

    def leave(self, free: int) -> None:
        """Make it so large that `free` bytes more can be written, rounded up to whole pages."""
        state = os.statvfs(self.folder)
        used = (state.f_blocks - state.f_bfree) * state.f_frsize
        self._mount(f"size={max(used + free, 4096)}")

    def read_only(self) -> None:
        self._mount("ro")

    def _mount(self, how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", self.folder], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={AMPLE}", "glyffctl-test", str(folder)]
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True)
    except OSError as error:
        pytest.skip(f"no small disk here: {error}")
    if done.returncode:
        pytest.skip(f"no small disk here: {done.stderr.strip()}")
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def tree(folder: Path) -> dict[str, str]:
    """Everything below `folder`, with digests."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in sorted(folder.rglob("*"))
    }


Command = list[str | Path]


def succeeds(command: Command) -> None:
    done = CliRunner().invoke(app, list(map(str, command)))
    assert done.exit_code == 0, done.stderr


def told(command: Command, place: Path) -> str:
    """The one line with which the command ends; it names a path at or below `place`."""
    done = CliRunner().invoke(app, list(map(str, command)))
    assert done.exit_code == 1 and isinstance(done.exception, SystemExit), (command, done.stderr, done.exception)
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and done.stderr.splitlines()[-1] == lines[0], done.stderr
    assert str(place) in lines[0] and not crashed(done.output), done.stderr
    return lines[0]


def half_written(folder: Path) -> list[str]:
    """Leftovers, and pictures, tables and tensors that end too early."""
    found = []
    for path in folder.rglob("*"):
        if path.suffix in (".tmp", ".old"):
            found.append(path.name)
        elif path.suffix in (".png", ".gif", ".webp"):
            with suppress(OSError), Image.open(path) as image:
                image.load()
                continue
            found.append(path.name)
        elif path.suffix == ".jsonl":
            lines = path.read_text(encoding="utf-8").split("\n")
            found += [path.name] if lines[-1] else []
            for line in lines[:-1]:
                json.loads(line)
        elif path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
        elif path.suffix == ".html" and "</html>" not in path.read_text(encoding="utf-8"):
            found.append(path.name)
    return found


def train(workshop: Workshop, out: Path, images: int) -> Command:
    return ["train", "--data", workshop.data, "--config", workshop.config, "--gpus", "0", "--out", out,
            "--images", str(images)]  # fmt: skip


@pytest.fixture(scope="module")
def longer_run(workshop: Workshop, tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run after two checkpoints more, nothing having come between."""
    out = tmp_path_factory.mktemp("longer") / "run"
    shutil.copytree(tiny_run, out)
    succeeds(train(workshop, out, 160))
    return out


# Of the state: too little for anything; for a part of it; for all but a part; for it and a part of the model; for all
# but the picture, nearly.
ROOMS = [pytest.param(room, marks=[] if room in (0.5, 1.1) else pytest.mark.slow)
         for room in (0.0, 0.02, 0.25, 0.5, 0.75, 0.95, 1.01, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7)]  # fmt: skip


@pytest.mark.parametrize("room", ROOMS)
def test_a_run_whose_disk_fills_keeps_its_checkpoint_and_goes_on(
    disk: Disk, workshop: Workshop, tiny_run: Path, longer_run: Path, room: float
) -> None:
    out = disk.folder / "run"
    shutil.copytree(tiny_run, out)
    before = load_state(out)
    assert before is not None
    disk.leave(int(room * (out / "state.safetensors").stat().st_size))
    line = told(train(workshop, out, 160), out)
    assert "No space left" in line
    after = load_state(out)
    assert after is not None and load_model(out).images in (before[1]["images"], after[1]["images"])
    if after[1]["images"] == before[1]["images"]:
        assert digest(after[0]) == digest(before[0])
    assert half_written(out) == []
    print(f"{room:.2f} of a state: {line}; {after[1]['images']} pictures are saved")
    disk.leave(AMPLE)
    succeeds(train(workshop, out, 160))
    ended, alone = load_state(out), load_state(longer_run)
    assert ended is not None and alone is not None and digest(ended[0]) == digest(alone[0])
    assert load_model(out).identity == load_model(longer_run).identity


def test_a_new_run_on_a_full_disk_leaves_nothing_half_written(disk: Disk, workshop: Workshop) -> None:
    out = disk.folder / "run"
    for room in (0, 1 << 17):
        disk.leave(room)
        told(train(workshop, out, 96), out)
        assert half_written(disk.folder) == [] and not (out / "state.safetensors").exists()
    disk.leave(AMPLE)
    succeeds(train(workshop, out, 96))


@pytest.mark.slow
def test_tensorboard_on_a_full_disk_is_told_in_a_line_too(disk: Disk, workshop: Workshop) -> None:
    """Its thread says nothing of its own: looked at from outside."""
    out = disk.folder / "run"
    for room in (0, 1 << 12, 1 << 13):
        disk.leave(room)
        command = [sys.executable, "-m", "glyffctl", *map(str, train(workshop, out, 96)), "--tensorboard"]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
        assert done.returncode == 1 and not crashed(done.stderr) and "Exception" not in done.stderr, done.stderr
        assert done.stderr.splitlines()[-1].startswith(f"error: cannot write {out}"), done.stderr
        print(done.stderr.splitlines()[-1])


def prepare(out: Path, fonts: Path, unihan: Path, size: int, form: str) -> Command:
    return ["prepare", fonts, "--definitions", unihan, "--range", "4E00-4EFF", "--size", str(size),
            "--format", form, "--out", out, "--overwrite"]  # fmt: skip


@pytest.mark.parametrize(
    ("form", "room"),
    [
        ("imagefolder", 1 << 17),
        *(pytest.param(form, room, marks=pytest.mark.slow)
          for form in ("glyphs", "imagefolder") for room in (0, 1 << 12, 1 << 14, 1 << 16)),
    ],
)  # fmt: skip
def test_data_are_not_lost_when_the_disk_fills_while_others_are_prepared(
    disk: Disk, workshop: Workshop, noto_sans: Path, unihan: Path, form: str, room: int
) -> None:
    out = disk.folder / "data"
    shutil.copytree(workshop.data, out)
    disk.leave(room)
    before = tree(disk.folder)
    line = told(prepare(out, noto_sans, unihan, 64, form), out)
    assert "No space left" in line
    assert tree(disk.folder) == before
    print(line)


@pytest.mark.parametrize("room", [0, 1 << 13])
def test_the_embeddings_that_are_there_stay_when_the_disk_fills(disk: Disk, workshop: Workshop, room: int) -> None:
    data = disk.folder / "data"
    shutil.copytree(workshop.data, data)
    disk.leave(room)
    before = tree(disk.folder)
    command: Command = ["embed", "--data", data, "--encoder", workshop.encoder, "--max-tokens", "7"]
    assert "No space left" in told(command, data / "embeddings.safetensors")
    assert tree(disk.folder) == before
    disk.leave(AMPLE)
    succeeds(command)


def drawing(run: Path, workshop: Workshop, *outputs: str | Path) -> Command:
    return ["sample", "a", "one", "--model", run, "--encoder", workshop.encoder, "--steps", "2", "--count", "4",
            *outputs]  # fmt: skip


def test_pictures_that_are_there_stay_when_the_disk_fills(disk: Disk, workshop: Workshop, tiny_run: Path) -> None:
    sheet, several, film = disk.folder / "sheet.png", disk.folder / "several", disk.folder / "film.gif"
    several.mkdir()
    succeeds(drawing(tiny_run, workshop, "--out", sheet, "--gif", film))
    before = tree(disk.folder)
    for room in (0, 1 << 12):
        disk.leave(room)
        told(drawing(tiny_run, workshop, "--out", sheet, "--count", "16"), sheet)
        assert tree(disk.folder) == before
    disk.leave(3 << 12)  # for some of eight
    line = told(drawing(tiny_run, workshop, "--out", several), several)
    assert half_written(disk.folder) == [] and len(list(several.iterdir())) < 8
    shutil.rmtree(several)
    disk.leave(1 << 12)
    told(drawing(tiny_run, workshop, "--out", disk.folder / "sheet.png", "--gif", film), disk.folder)
    assert tree(disk.folder).keys() <= before.keys() and half_written(disk.folder) == []
    print(line)


def figures(out: Path, workshop: Workshop) -> Command:
    return ["noise-demo", "--data", workshop.data, "--figure", "pixels", "--figure", "process", "--out", out]


@pytest.mark.parametrize("room", [1 << 15, *(pytest.param(room, marks=pytest.mark.slow) for room in (0, 1 << 17))])
def test_figures_are_whole_or_absent_when_the_disk_fills(disk: Disk, workshop: Workshop, room: int) -> None:
    out = disk.folder / "noise-demo"
    disk.leave(room)
    line = told(figures(out, workshop), out)
    assert "No space left" in line and half_written(disk.folder) == []
    assert not (out / "index.html").exists()
    print(line)


def test_a_disk_that_cannot_be_written_is_told_and_left_as_it_was(
    disk: Disk, workshop: Workshop, tiny_run: Path, noto_sans: Path, unihan: Path
) -> None:
    run, data = disk.folder / "run", disk.folder / "data"
    shutil.copytree(tiny_run, run)
    shutil.copytree(workshop.data, data)
    before = tree(disk.folder)
    disk.read_only()
    commands: list[tuple[Command, Path]] = [
        (train(workshop, run, 160), run),
        (train(workshop, disk.folder / "new", 160), disk.folder / "new"),
        (prepare(data, noto_sans, unihan, 32, "glyphs"), data),
        (["embed", "--data", data, "--encoder", workshop.encoder, "--max-tokens", "7"], data),
        (drawing(run, workshop, "--out", disk.folder / "sheet.png"), disk.folder / "sheet.png"),
        (drawing(run, workshop, "--out", data / "several"), data / "several"),
        (figures(disk.folder / "noise-demo", workshop), disk.folder / "noise-demo"),
        (["visualize-umap", "--data", data, "--out", disk.folder / "map"], disk.folder / "map"),
        (["evaluate", "--data", data, "--model", run, "--out", disk.folder / "e.json"], disk.folder / "e.json"),
    ]
    for command, place in commands:
        print(told(command, place))
    assert tree(disk.folder) == before


class Failing:
    """A disk of which one call fails, counted from 1 in the order in which they come."""

    CALLS: tuple[tuple[Any, str], ...] = (
        (os, "fsync"),
        (Path, "replace"),
        (Path, "rename"),
        (Path, "mkdir"),
        (tensors, "save_file"),
    )

    def __init__(self, number: int, code: int) -> None:
        self.number, self.code, self.count = number, code, 0

    @contextmanager
    def installed(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for owner, name in self.CALLS:
                patch.setattr(owner, name, self._failing(getattr(owner, name), name))
            yield

    def _failing(self, honest: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            self.count += 1
            if self.count != self.number:
                return honest(*arguments, **named)
            if name == "save_file":  # the library's own words, and half of it on the disk
                Path(arguments[1]).write_bytes(b"half")
                raise SafetensorError(f"Error while serializing: I/O error: {os.strerror(self.code)}")
            raise OSError(self.code, os.strerror(self.code))

        return call


@pytest.mark.parametrize("code", [errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize(
    "what", ["embed", "sample", *(pytest.param(w, marks=pytest.mark.slow) for w in ("prepare", "train"))]
)
def test_a_quota_or_a_failing_disk_at_any_call(
    workshop: Workshop, tiny_run: Path, noto_sans: Path, unihan: Path, tmp_path: Path, what: str, code: int
) -> None:
    run, data, sheet = tmp_path / "run", tmp_path / "data", tmp_path / "sheet.png"
    commands: dict[str, Command] = {
        "train": train(workshop, run, 104),
        "embed": ["embed", "--data", data, "--encoder", workshop.encoder, "--max-tokens", "7"],
        "sample": drawing(tiny_run, workshop, "--out", sheet, "--gif", tmp_path / "film.gif"),
        "prepare": prepare(data, noto_sans, unihan, 32, "glyphs"),
    }
    failed, number = 0, 0
    while True:
        number += 1
        shutil.rmtree(tmp_path)
        shutil.copytree(tiny_run, run)
        shutil.copytree(workshop.data, data)
        disk = Failing(number, code)
        if what == "train" and number % 4 != 1:
            continue  # one call in four, to be quick
        with disk.installed():
            done = CliRunner().invoke(app, list(map(str, commands[what])))
        if disk.count < number:
            break
        failed += 1
        assert done.exit_code == 1 and isinstance(done.exception, SystemExit), (number, done.stderr, done.exception)
        lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1 and os.strerror(code) in lines[0] and str(tmp_path) in lines[0], (number, done.stderr)
        assert half_written(tmp_path) == []
        state = load_state(run)
        assert state is not None and state[1]["images"] in (96, 104) and load_model(run).images in (96, 104)
        assert what == "embed" or (data / "embeddings.safetensors").exists()
    print(f"{what}: {failed} of {number - 1} calls failed with {errno.errorcode[code]}")
    assert done.exit_code == 0 and failed >= 3
