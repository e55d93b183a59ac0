"""Size limits: what is far too large, claims to be, or has no end, is refused in seconds, and memory stays flat.

The bombs are of full size in every run, for hardly anything of them is on the disk: files with holes, packings that
repeat one block, pictures that are one colour. The fast tests run the commands in this process, the slow ones as a
user would, each held against the same command refusing a file of one byte.
"""

from __future__ import annotations

import bz2
import gzip
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from glyffctl.core.io import picture as core_picture
from tests.command_line import app
from tests.conftest import Workshop, crashed
from tests.test_processes import ENVIRONMENT

pytestmark = pytest.mark.hostile

SECONDS = 15  # of a process, its start and all it imports in it; a busy machine has room
EXTRA = 125_000_000  # bytes above the same command refusing a file of one byte
KEPT = 8 << 30  # bytes of data a process may have: one that does not refuse ends, and not the machine
LONGEST_LINE = 600  # characters of a message
GB = 10**9
TOLD = "Unihan_Readings.txt"
SMALL = b"\xff"  # neither text nor anything else
LENIENT = ("run/log.jsonl",)  # lines of it may be damaged: what is no file is refused

# Bombs ----------------------------------------------------------------------------------------------------------------

Fill = Callable[[Path], None]


def line(size: int, first: bytes = b"letters ") -> Fill:
    """A file of `size` bytes, one line, most of it a hole."""

    def fill(path: Path) -> None:
        path.write_bytes(first)
        os.truncate(path, size)

    return fill


BLOCK = b"letters " * (1 << 20), 1280  # 8 MiB, and how often: 10.7 GB


@cache
def _block(packing: str) -> bytes:
    return gzip.compress(BLOCK[0]) if packing == "gz" else bz2.compress(BLOCK[0])


def packed(packing: str) -> Fill:
    return lambda path: _write(path, _block(packing), BLOCK[1])


def _write(path: Path, piece: bytes, times: int, first: bytes = b"", last: bytes = b"") -> None:
    with path.open("wb") as file:
        file.write(first)
        for _ in range(times):
            file.write(piece)
        file.write(last)


@cache
def _deflated(block: bytes, times: int) -> bytes:
    """A deflate stream: after a full flush the next block knows nothing of the last, and can be the same bytes."""
    packer = zlib.compressobj(wbits=-15)
    return (packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)) * times + b"\x03\x00"


def zipped(path: Path) -> None:
    stream = _deflated(*BLOCK)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(TOLD, stream)
        member = archive.getinfo(TOLD)
        member.compress_type, member.file_size = zipfile.ZIP_DEFLATED, len(BLOCK[0]) * BLOCK[1]


def crowded(path: Path) -> None:
    """A zip whose directory names 300,000 members, all in the same place."""
    entry = struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 0, 0, 33, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    count = 300_000
    path.write_bytes(
        entry * count
        + struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, len(entry) * count, 0)
        + struct.pack("<4sLQL", b"PK\6\7", 0, len(entry) * count, 1)
        + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    )


def _png(path: Path, side: int, kind: int) -> None:
    """A white picture; grey for kind 0, colour with transparency for 6."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">L", len(data)) + name + data + struct.pack(">L", zlib.crc32(name + data))

    row = b"\0" + b"\xff" * side * (4 if kind else 1)
    pixels = b"\x78\x9c" + _deflated(row * 100, side // 100)
    head = struct.pack(">LLBBBBB", side, side, 8, kind, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))


def picture(side: int, kind: int = 0) -> Fill:
    return lambda path: _png(path, side, kind)


def long_text(path: Path) -> None:
    """A picture whose text chunks unpack to gigabytes."""
    _png(path, 100, 0)
    raw = path.read_bytes()
    text = b"glyffctl\0\0" + zlib.compress(bytes(1 << 26), 9)
    chunk = struct.pack(">L", len(text)) + b"zTXt" + text + struct.pack(">L", zlib.crc32(b"zTXt" + text))
    path.write_bytes(raw[:33] + chunk * 40 + raw[33:])


def start(raw: bytes) -> Fill:
    """No more than that."""

    def fill(path: Path) -> None:
        path.write_bytes(raw)

    return fill


def tensor(path: Path) -> None:
    """A short file whose header, in good order, claims a tensor of 100 GB."""
    text = json.dumps({"x": {"dtype": "F32", "shape": [25 * GB], "data_offsets": [0, 100 * GB]}}).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(1000))


def long_header(path: Path) -> None:
    """Gigabytes of header, all there."""
    line(3 * GB, struct.pack("<Q", 2 * GB) + b"{")(path)


def record(size: int) -> Fill:
    """A CSV file of short lines that are one row: every line ends inside quotation marks."""
    return lambda path: _write(path, b'","\n' * 250_000, size // 1_000_000, b'"')


def repeated(text: bytes, size: int) -> Fill:
    """A table that is right, or empty, up to its last line."""
    piece = text * (1_000_000 // len(text))
    return lambda path: _write(path, piece, size // len(piece), last=b"zz\tz,z\n")


def pipe(path: Path) -> None:
    os.mkfifo(path)


def link(target: str) -> Fill:
    return lambda path: path.symlink_to(target)


# A regular file, says the system, of no length; it has 8 bytes for each page that a process could have.
ENDLESS = link("/proc/self/pagemap")
# What is no file here is as good as nothing, and is made anew.
NAMED = {("data", "data/embeddings.safetensors"): "data has no embeddings"}
PLACES: dict[str, Fill] = {"a pipe": pipe, "/dev/zero": link("/dev/zero"), "/dev/stdin": link("/dev/stdin")}

# Where they stand -----------------------------------------------------------------------------------------------------

MADE = "made"  # what a command would write
COMMANDS: dict[str, str] = {
    "prompts": f"sample --model run --from-file FILE --out {MADE}.png",
    "definitions": f"prepare font.ttc --size 32 --definitions FILE --out {MADE}",
    "font": f"prepare FILE --size 32 --definitions {TOLD}.bz2 --out {MADE}",
    "config": f"train --gpus 0 --data data --config FILE --out {MADE}",
    "question": f"evaluate --data data --model run --prompts FILE --out {MADE}.json",
    "ids": f"visualize-umap --data data --ids FILE --out {MADE}",
    "with": f"visualize-umap --data data --with FILE --out {MADE}",
    "again": f"sample --again FILE --out {MADE}.png",
    "model": f"sample gold --model FILE --out {MADE}.png",
    "classifier": f"evaluate --data data --model run --classifier FILE --out {MADE}.json",
    "pictures": f"visualize-umap --data pictures --out {MADE}",
    "data": f"train --gpus 0 --data data --config tiny.toml --out {MADE}",
    "run": "train --gpus 0 --data data --config tiny.toml --images 104 --out run",
    "encoder": "embed --data data --encoder t5 --max-tokens 7",
}


@dataclass(frozen=True)
class Bomb:
    command: str
    file: str
    name: str
    fill: Fill
    said: str | None = None
    """Who is named, if it is not the file."""

    def __str__(self) -> str:
        return f"{self.command}: {self.file}, {self.name}"


def _bombs() -> list[Bomb]:
    bombs = [
        Bomb("prompts", "file.txt", "1 GB", line(GB)),
        Bomb("prompts", "file.txt", "endless", ENDLESS),
        Bomb("definitions", "file.txt", "10 GB of one line", line(10 * GB, b"U+4E00\tkDefinition\t")),
        Bomb("definitions", "file.txt", "30 MB of one line", line(30 * 10**6, b"U+4E00\tkDefinition\t")),
        Bomb("definitions", "file.tsv", "30 MB of one line", line(30 * 10**6)),
        Bomb("definitions", "file.csv", "30 MB of one row", record(30 * 10**6)),
        Bomb(
            "definitions",
            "file.tsv",
            "30 MB of short lines",
            repeated(b"U+4E00\t" + b"a meaning; " * 5 + b"\n", 30 * 10**6),
        ),
        Bomb("definitions", "file.csv", "30 MB of commas", repeated(b"," * 999_000 + b"\n", 30 * 10**6)),
        Bomb("definitions", "file.csv", "30 MB of empty lines", repeated(b"\n", 30 * 10**6)),
        Bomb("definitions", "file.txt.gz", "10 GB packed", packed("gz")),
        Bomb("definitions", "file.txt.bz2", "10 GB packed", packed("bz2")),
        Bomb("definitions", "file.zip", "10 GB packed", zipped),
        Bomb("definitions", "file.zip", "300,000 members", crowded),
        Bomb("definitions", "file.txt", "endless", ENDLESS),
        Bomb("ids", "file.txt", "10 GB of one line", line(10 * GB)),
        Bomb("ids", "file.txt.gz", "10 GB packed", packed("gz")),
        Bomb("ids", "file.txt.bz2", "10 GB packed", packed("bz2")),
        Bomb("font", "file.ttf", "1 GB", line(GB, b"\0\1\0\0")),
        Bomb("config", "file.toml", "1 GB", line(GB, b"seed = 1")),
        Bomb("config", "file.toml", "endless", ENDLESS),
        Bomb("question", "file.toml", "1 GB", line(GB, b"[prompts]\n")),
        Bomb(
            "pictures", "pictures/metadata.jsonl", "a line of 5 GB", line(5 * GB, b'{"file_name": "a.png", "text": "')
        ),
        Bomb("pictures", "pictures/metadata.csv", "a line of 5 GB", line(5 * GB, b'file_name,text\na.png,"')),
        Bomb("pictures", "pictures/metadata.csv", "200 MB of one row", record(2 * 10**8)),
        Bomb("data", "data/characters.jsonl", "10 GB of one line", line(10 * GB, b'{"codepoint": "')),
        Bomb("data", "data/manifest.json", "10 GB of one line", line(10 * GB, b'{"format": "')),
        Bomb("run", "run/config.json", "1 GB", line(GB, b"{")),
        Bomb("run", "run/log.jsonl", "10 GB of one line", line(10 * GB, b"{")),
        Bomb("encoder", "t5/tokenizer.json", "5 GB", line(5 * GB, b"{")),
        Bomb("encoder", "t5/config.json", "1 GB", line(GB, b"{")),
        Bomb("encoder", "t5/tokenizer_config.json", "1 GB", line(GB, b"{")),
    ]
    for command, file in (
        ("pictures", "pictures/a.png"), ("again", "file.png"), ("with", "file.png"),
    ):  # fmt: skip
        bombs += [
            Bomb(command, file, "60,000×60,000 pixels", picture(60_000)),
            Bomb(command, file, "9,400×9,400 pixels of 4 bytes", picture(9_400, 6)),
            Bomb(command, file, "gigabytes of text", long_text),
        ]
    tensors = [
        ("model", "file.safetensors"),
        ("classifier", "file.safetensors"), ("data", "data/embeddings.safetensors"),
        ("data", "data/glyphs-00000.safetensors"), ("run", "run/state.safetensors"),
        ("encoder", "t5/model.safetensors"),
    ]  # fmt: skip
    for command, file in tensors:
        bombs += [
            Bomb(command, file, "a header of 4 EB", start(struct.pack("<Q", 1 << 62) + b"{")),
            Bomb(command, file, "a header of 2 GB", long_header),
            Bomb(command, file, "a tensor of 100 GB", tensor, "t5" if command == "encoder" else None),
        ]
    places = dict.fromkeys((bomb.command, bomb.file) for bomb in bombs if not bomb.file.endswith(".csv"))
    return bombs + [Bomb(*place, name, fill, NAMED.get(place)) for place in places for name, fill in PLACES.items()]


BOMBS = _bombs()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, workshop: Workshop, tiny_run: Path, noto_sans: Path,
          unihan: Path) -> Path:  # fmt: skip
    """Good files of every kind."""
    folder = tmp_path_factory.mktemp("limits")
    for name, source in {"data": workshop.data, "run": tiny_run, "t5": workshop.encoder}.items():
        shutil.copytree(source, folder / name)
    shutil.copyfile(workshop.config, folder / "tiny.toml")
    for name, target in {"font.ttc": noto_sans, f"{TOLD}.bz2": unihan}.items():
        (folder / name).symlink_to(target)
    (folder / "pictures").mkdir()
    Image.new("L", (8, 8)).save(folder / "pictures" / "a.png")
    rows = "".join(json.dumps({"file_name": "a.png", "text": f"meaning {k}"}) + "\n" for k in range(40))
    (folder / "pictures" / "metadata.jsonl").write_text(rows)
    return folder


def tree(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in sorted(folder.rglob("*"))]


@dataclass(frozen=True)
class Done:
    code: int
    told: str
    seconds: float
    peak: int


Run = Callable[[list[str]], Done]


def refused(world: Path, bomb: Bomb, run: Run) -> Done:
    """What came of it; good files are put back."""
    path = world / bomb.file
    aside = {}
    for good in {path, *(path.parent.glob("metadata.*") if path.name.startswith("metadata") else ())}:
        if good.exists():
            aside[good] = good.rename(world.parent / f"{good.name}.aside")
    try:
        bomb.fill(path)
        before = tree(world)
        done = run(COMMANDS[bomb.command].replace("FILE", bomb.file).split())
        assert tree(world) == before, f"{bomb}: it left something, or took it away"
    finally:
        with suppress(FileNotFoundError):
            path.unlink()
        for good, kept in aside.items():
            kept.rename(good)
    return done


def faults(bomb: Bomb, done: Done, base: Done) -> list[str]:
    errors = [line for line in done.told.splitlines() if line.startswith("error: ")]
    wrong = []
    if done.code not in (1, 2):
        wrong.append(f"exit status {done.code}")
    if len(errors) != 1 or crashed(done.told) or len(errors[0]) > LONGEST_LINE:
        wrong.append(f"it says {done.told[-800:]!r}")
    elif (bomb.said or Path(bomb.file).name) not in errors[0]:
        wrong.append(f"the file is not named: {errors[0]}")
    if done.seconds > SECONDS:
        wrong.append(f"{done.seconds:.1f} s")
    if done.peak - base.peak > EXTRA:
        wrong.append(f"{(done.peak - base.peak) / 1e6:.0f} MB")
    return [f"{bomb}: {fault}" for fault in wrong]


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


class Hang(BaseException):
    """Past every `except Exception`."""


def here(arguments: list[str]) -> Done:
    """In this process. The peak is what came on top of what it has."""

    def ring(number: int, frame: object) -> None:
        raise Hang

    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from now
    start, held = time.monotonic(), _status("VmRSS")
    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(2 * SECONDS)
    try:
        done = CliRunner().invoke(app, arguments)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    failed = "" if done.exception is None or isinstance(done.exception, SystemExit) else f"{done.exception!r}"
    return Done(done.exit_code, done.stderr + failed, time.monotonic() - start, _status("VmHWM") - held)


@pytest.mark.parametrize("command", COMMANDS)
def test_bombs_are_refused(world: Path, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here, in one process: what is imported is there for all."""
    monkeypatch.chdir(world)
    bombs = [bomb for bomb in BOMBS if bomb.command == command]
    refused(world, Bomb(command, bombs[0].file, "one byte", start(SMALL)), here)
    none = Done(1, "", 0.0, 0)
    wrong = []
    for bomb in bombs:
        done = refused(world, bomb, here)
        print(f"{done.seconds:5.2f} s {done.peak / 1e6:6.1f} MB  {bomb}: {done.told.strip()}")
        wrong += faults(bomb, done, none)
    assert not wrong, "\n".join(wrong)


# What a process took at most is counted from its parent's size on: a small one has to start it.
STARTED = f"""
import json, os, resource, signal, subprocess, sys, time
from pathlib import Path
resource.setrlimit(resource.RLIMIT_DATA, ({KEPT}, {KEPT}))
start = time.monotonic()
child = subprocess.Popen(sys.argv[2:])
signal.signal(signal.SIGALRM, lambda *_: child.kill())
signal.alarm({4 * SECONDS})
_, status, used = os.wait4(child.pid, 0)
told = os.waitstatus_to_exitcode(status), time.monotonic() - start, used.ru_maxrss * 1024
Path(sys.argv[1]).write_text(json.dumps(told))
"""


def alone(world: Path, arguments: list[str]) -> Done:
    """In a process of its own, whose stdin stays open and silent."""
    note = world.parent / "took.json"
    command = [sys.executable, "-c", STARTED, str(note), sys.executable, "-m", "glyffctl", *arguments]
    with subprocess.Popen(command, cwd=world, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True) as process:  # fmt: skip
        assert process.stderr is not None
        told = process.stderr.read()
    return Done((took := json.loads(note.read_text()))[0], told, took[1], took[2])


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_bombs_are_refused_in_seconds_and_little_memory(world: Path, command: str) -> None:
    """Each in a process of its own, held against one that refuses a single byte in the same place."""
    bombs = [bomb for bomb in BOMBS if bomb.command == command]
    bases = {
        file: refused(world, Bomb(command, file, "base", pipe if file in LENIENT else start(SMALL)),
                      lambda arguments: alone(world, arguments))
        for file in dict.fromkeys(bomb.file for bomb in bombs)
    }  # fmt: skip
    wrong = []
    for bomb in bombs:
        done, base = refused(world, bomb, lambda arguments: alone(world, arguments)), bases[bomb.file]
        print(f"{done.seconds:5.2f} s {(done.peak - base.peak) / 1e6:6.1f} MB over {base.peak / 1e6:.0f}  {bomb}")
        wrong += faults(bomb, done, base)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_a_picture_is_the_same_in_strips(monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    """A large one is made grey a strip at a time, for that takes a third of the memory."""
    pixels = torch.randint(0, 256, (50, 30, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)).numpy()
    image = Image.fromarray(pixels, "RGBA")
    image = Image.fromarray(pixels[..., :2].copy().view("<u2")[..., 0]) if mode == "I;16" else image.convert(mode)
    whole = core_picture._grey(image)
    monkeypatch.setattr(core_picture, "_STRIP", 210)
    assert core_picture._grey(image).tobytes() == whole.tobytes()
