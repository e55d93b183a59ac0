"""Hostile files are told, not believed: thousands of damaged ones through the real commands.

Each mutant is one file of a good set, damaged in one way by dice of its own: the name of a mutant that fails is all
that is needed to make it again. The machinery holds the promise; the files are below it.
"""

from __future__ import annotations

import bz2
import ctypes
import faulthandler
import gc
import gzip
import io
import json
import os
import random
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor
from typer.testing import CliRunner

from glyffctl.cli import app
from glyffctl.core import checkpoint, tensors
from glyffctl.core.bundled import pretrained
from glyffctl.core.embeddings import FILE_NAME
from glyffctl.core.font_workers import FontWorkers, font_workers
from glyffctl.workflows import prepare as preparing
from glyffctl.workflows.embed import EmbedOptions, embed
from glyffctl.workflows.events import finish
from glyffctl.workflows.prepare import PrepareOptions, prepare
from glyffctl.workflows.train import TrainOptions, train
from tests.conftest import Workshop

SEED = 5
SECONDS = 20  # of one mutant; the slowest good file takes two
LONGEST_LINE = 600  # characters of a message
ROOM = 2 << 30  # bytes of address space that a mutant may take beyond what the tests have
GROWTH = 300 << 20  # bytes that the tests may hold more after all mutants than before

# Damage ---------------------------------------------------------------------------------------------------------------

Dice = random.Random
Damage = Callable[[bytes, Dice], bytes]


def _span(raw: bytes, dice: Dice) -> tuple[int, int]:
    start = dice.randrange(len(raw))
    return start, min(len(raw), start + dice.choice((1, 2, 8, 60, 500, 5000)))


def flip(raw: bytes, dice: Dice) -> bytes:
    damaged = bytearray(raw)
    for _ in range(dice.choice((1, 1, 2, 8))):
        damaged[dice.randrange(len(raw))] ^= 1 << dice.randrange(8)
    return bytes(damaged)


def cut(raw: bytes, dice: Dice) -> bytes:
    return raw[: dice.randrange(1, len(raw))]


def insert(raw: bytes, dice: Dice) -> bytes:
    start, end = _span(raw, dice)
    return raw[:start] + dice.randbytes(end - start) + raw[start:]


def delete(raw: bytes, dice: Dice) -> bytes:
    start, end = _span(raw, dice)
    return raw[:start] + raw[end:]


def double(raw: bytes, dice: Dice) -> bytes:
    start, end = _span(raw, dice)
    return raw[:end] + raw[start:]


def swap(raw: bytes, dice: Dice) -> bytes:
    a, b, c = sorted(dice.randrange(len(raw) + 1) for _ in range(3))
    return raw[:a] + raw[b:c] + raw[a:b] + raw[c:]


def fill(raw: bytes, dice: Dice) -> bytes:
    start, end = _span(raw, dice)
    return raw[:start] + bytes([dice.choice((0, 32, 255))]) * (end - start) + raw[end:]


def not_text(raw: bytes, dice: Dice) -> bytes:
    at = dice.randrange(len(raw))
    return raw[:at] + dice.choice((b"\xff", b"\xc3", b"\xed\xa0\x80", b"\x00", b"\x1b[2J")) + raw[at:]


def bom(raw: bytes, dice: Dice) -> bytes:
    if dice.random() < 0.5:
        return b"\xef\xbb\xbf" * dice.choice((1, 2)) + raw
    return raw.decode("utf-8", "replace").encode(dice.choice(("utf-16", "utf-32", "utf-16-be")))


def empty(raw: bytes, dice: Dice) -> bytes:
    return dice.choice((b"", b"\n", b"   \n\n"))


DEEP = 100_000
VALUES = (
    b"0", b"-1", b"1.5", b"1000000000", b"4294967297", b"-9223372036854775809", b"99999999999999999999999999",
    b"1e999", b"-1e999", b"1e-400", b"9" * 5000, b"NaN", b"nan", b"Infinity", b"-inf",
    b"null", b"true", b'""', b'"x"', b"'", b'"\\ud800"', b'"\\u0000"', b'"../../etc/passwd"', b'"U+110000"',
    b"U+D800", b"U+FFFFFF", b"999.5",
    b"[]", b"{}", b"[-1]", b"[1000000000]", b'{"a": [1, {"b": null}]}', b"[" * DEEP, b"[" * DEEP + b"]" * DEEP,
    b'{"a":' * DEEP + b"1" + b"}" * DEEP, b'"' + b"x" * 1_000_000 + b'"', b"",
)  # fmt: skip
NUMBER, STRING = rb"-?\b\d+(?:\.\d+)?(?:[eE][-+]?\d+)?", rb'"(?:[^"\\\n]|\\.)*"'
TOKEN = rb'"(?:[^"\\\n]|\\.)*"|[^\s,:=\[\]{}"]+'


def _replace(pattern: bytes) -> Damage:
    def damage(raw: bytes, dice: Dice) -> bytes:
        found = [match.span() for match in re.finditer(pattern, raw)]
        start, end = dice.choice(found) if found else _span(raw, dice)
        return raw[:start] + dice.choice(VALUES) + raw[end:]

    return damage


def fields(raw: bytes, dice: Dice) -> bytes:
    """Two words, numbers or strings change places: within a line, or with any other."""
    found = [match.span() for match in re.finditer(TOKEN, raw)]
    if len(found) < 2:
        return flip(raw, dice)
    k = dice.randrange(len(found) - 1)
    other = dice.choice((k + 1, min(k + 2, len(found) - 1), dice.randrange(len(found))))
    (a, b), (c, d) = sorted((found[k], found[other]))
    return raw[:a] + raw[c:d] + raw[b:c] + raw[a:b] + raw[d:]


def enormous_number(raw: bytes, dice: Dice) -> bytes:
    """A number that is one, of the right kind, and asks for more than there is."""
    found = [match.span() for match in re.finditer(rb"(?<![\w.])\d+\b(?![.])", raw)]
    if not found:
        return flip(raw, dice)
    start, end = dice.choice(found)
    return raw[:start] + str(dice.choice((10**9, 2**40, 2**62, 2**63 - 1))).encode() + raw[end:]


BYTES: dict[str, Damage] = {
    "flipped bits": flip, "cut short": cut, "block inserted": insert, "block deleted": delete,
    "block doubled": double, "blocks swapped": swap, "block filled": fill, "empty": empty,
}  # fmt: skip
TEXT: dict[str, Damage] = BYTES | {
    "number replaced": _replace(NUMBER), "string replaced": _replace(STRING), "word replaced": _replace(TOKEN),
    "enormous number": enormous_number, "fields swapped": fields, "not UTF-8": not_text, "byte order mark": bom,
}  # fmt: skip


def _header(change: Callable[[bytes, Dice], bytes]) -> Damage:
    """`change` the JSON header of a safetensors file, and say its new length in front of it."""

    def damage(raw: bytes, dice: Dice) -> bytes:
        length = struct.unpack("<Q", raw[:8])[0]
        header = change(raw[8 : 8 + length], dice)
        header += b" " * (-len(header) % 8)
        return struct.pack("<Q", len(header)) + header + raw[8 + length :]

    return damage


def header_size(raw: bytes, dice: Dice) -> bytes:
    size = dice.choice((0, 1, len(raw), 99_999_999, 2**31, 2**40, 2**63, 2**64 - 1, dice.randrange(2**64)))
    return struct.pack("<Q", size) + raw[8:]


def _meant(change: Callable[[dict[str, Any], Dice], None]) -> Damage:
    """A header that is good JSON and says something else."""

    def damage(header: bytes, dice: Dice) -> bytes:
        plain = json.loads(header)
        while plain == json.loads(header):
            change(plain, dice)
        return json.dumps(plain, ensure_ascii=False).encode()

    return _header(damage)


def _tensor(plain: dict[str, Any], dice: Dice) -> dict[str, Any]:
    return plain[dice.choice(sorted(set(plain) - {"__metadata__"}))]


def enormous(plain: dict[str, Any], dice: Dice) -> None:
    tensor = _tensor(plain, dice)
    match dice.randrange(4):
        case 0:
            tensor["shape"] = [dice.choice((2**62, 2**40, 2**31, 10**12)), *tensor["shape"][1:]]
        case 1:
            tensor["shape"] = [2**32] * 4
        case 2:
            tensor["data_offsets"][1] = dice.choice((2**63, 2**40, 2**64 - 1))
        case _:
            tensor["shape"] = [1] * 5000


def other_type(plain: dict[str, Any], dice: Dice) -> None:
    tensor = _tensor(plain, dice)
    tensor["dtype"] = dice.choice(("F64", "F32", "F16", "BF16", "I64", "I8", "U8", "BOOL", "F8_E4M3", "X", ""))


def renamed(plain: dict[str, Any], dice: Dice) -> None:
    name = dice.choice(sorted(set(plain) - {"__metadata__"}))
    plain[dice.choice(("", "x", name + "x", "../" + name, name.upper()))] = plain.pop(name)


def exchanged(plain: dict[str, Any], dice: Dice) -> None:
    a, b = dice.sample(sorted(set(plain) - {"__metadata__"}), 2)
    plain[a], plain[b] = plain[b], plain[a]


def metadata(plain: dict[str, Any], dice: Dice) -> None:
    held = plain.get("__metadata__", {})
    if not held or dice.random() < 0.2:
        plain["__metadata__"] = dice.choice((None, {}, [], {"kind": "x"}, {"kind": 3}, {"format": "pt"}))
        return
    name = dice.choice(sorted(held))
    match dice.randrange(3):
        case 0:
            del held[name]
        case 1:
            held[name] = dice.choice((held[name][:-1], held[name] + " ", "", "{}", "[]", "null", "[" * 10_000))
        case _:
            inside = _replace(dice.choice((NUMBER, STRING)))(held[name].encode(), dice)
            held[name] = inside.decode("utf-8", "replace")


TENSORS: dict[str, Damage] = BYTES | {
    "header's size": header_size, "enormous tensor": _meant(enormous), "tensor of another type": _meant(other_type),
    "tensor renamed": _meant(renamed), "tensors exchanged": _meant(exchanged), "metadata changed": _meant(metadata),
    "number in the header": _header(_replace(NUMBER)), "string in the header": _header(_replace(STRING)),
    "words in the header": _header(fields), "header not UTF-8": _header(not_text),
}  # fmt: skip


def _forged(change: Callable[[dict[str, Tensor], dict[str, Any], Dice], None]) -> Damage:
    """Lies under a digest that fits them: it tells of damage, and not who wrote the file."""

    def damage(raw: bytes, dice: Dice) -> bytes:
        held = load(raw)
        metadata = json.loads(raw[8 : 8 + struct.unpack("<Q", raw[:8])[0]])["__metadata__"]
        header = json.loads(metadata["header"])
        change(held, header, dice)
        text = json.dumps(header)
        return save(held, metadata | {"header": text, "blake2b": tensors._seal(text, held)})

    return damage


LIES: tuple[Any, ...] = (
    None, True, -1, 0, 1.5, 2**40, 2**70, 1e999, -1e999, float("nan"),
    "", "x", "x" * 100_000, [], [-1], [2**40], {}, {"a": 1},
)  # fmt: skip


def header_lies(held: dict[str, Tensor], header: dict[str, Any], dice: Dice) -> None:
    """One value of the header, or of something in it, is another."""
    place: Any = header
    while True:
        key = dice.choice(sorted(place) if isinstance(place, dict) else range(len(place)))
        if not isinstance(place[key], dict | list) or not place[key] or dice.random() < 0.1:
            break
        place = place[key]
    if isinstance(place, dict) and dice.random() < 0.2:
        del place[key]
    else:
        place[key] = dice.choice(LIES)


def tensor_lies(held: dict[str, Tensor], header: dict[str, Any], dice: Dice) -> None:
    name = dice.choice(sorted(held))
    tensor = held.pop(name)
    match dice.randrange(9):
        case 0:
            return  # lost
        case 1:
            name = dice.choice((f"{name}.x", "x", "", "optimizer", name.upper()))
        case 2:
            tensor = tensor.flatten()
        case 3:
            tensor = tensor[None].contiguous()
        case 4:
            tensor = tensor.flatten()[: dice.choice((0, 1))]
        case 5:
            tensor = tensor.to(dice.choice((torch.bool, torch.int8, torch.int64, torch.float64, torch.bfloat16)))
        case 6 if tensor.is_floating_point():
            tensor = torch.full_like(tensor, dice.choice((float("nan"), float("inf"), torch.finfo(tensor.dtype).max)))
        case 7:
            tensor = tensor.flip(0).contiguous() if tensor.ndim else tensor + 1
        case _:
            tensor = -tensor if tensor.dtype != torch.bool else ~tensor
    held[name] = tensor


FORGED: dict[str, Damage] = {"header forged": _forged(header_lies), "tensor forged": _forged(tensor_lies)}


def _inside(unpack: Callable[[bytes], bytes], pack: Callable[[bytes], bytes]) -> dict[str, Damage]:
    """Damage to what is packed, besides that to the packing."""

    def around(change: Damage) -> Damage:
        return lambda raw, dice: pack(change(unpack(raw), dice))

    return BYTES | {f"inside: {name}": around(change) for name, change in TEXT.items()}


# What stands where a file should, as the system has it.
MISSING = "a link to nothing"  # as good as no file: a cache is made anew
PLACES: dict[str, Callable[[Path], None]] = {
    "a folder": Path.mkdir,
    "a pipe": os.mkfifo,
    "without an end": lambda path: path.symlink_to("/dev/zero"),
    MISSING: lambda path: path.symlink_to("nowhere"),
}


# One mutant -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Victim:
    """A file that is damaged, and the command that reads it.

    `sealed` files carry a digest: whatever is done to them has to be refused.
    """

    file: Path
    command: list[str | Path]
    kinds: dict[str, Damage]
    sealed: bool
    made: tuple[Path, ...]
    """What the command makes; taken away after each mutant."""
    weight: int = 1
    places: bool = True
    """Whether a folder, a pipe and the like take its place too."""
    fresh: Path | None = None
    """A folder that the victim's is made from again for each mutant, where the command changes what it reads."""
    settings: bool = False
    """Whether too little memory is an answer: to settings that ask for much, and to no other file."""


@dataclass
class Tally:
    accepted: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    lines: dict[str, str] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


class Hang(BaseException):
    """Past every `except Exception`."""


@contextmanager
def _guarded() -> Iterator[None]:
    """An end to waiting, and to memory."""

    def ring(number: int, frame: object) -> None:
        raise Hang

    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + ROOM, limits[1]))
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    faulthandler.dump_traceback_later(3 * SECONDS, exit=True)  # for what does not come back to Python at all
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, limits)


def _damage(victim: Victim, name: str, whole: bytes) -> str:
    """Put a mutant in the place of the file; the kind of damage."""
    dice = Dice(name)
    kind = dice.choice([*victim.kinds, *(PLACES if victim.places else ())])
    if kind in PLACES:
        victim.file.unlink()
        PLACES[kind](victim.file)
        return kind
    damaged = whole
    while damaged == whole:
        damaged = victim.kinds[kind](whole, dice)
    victim.file.write_bytes(damaged)
    return kind


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _restore(victim: Victim, whole: bytes) -> None:
    for path in (victim.file, *victim.made):
        _remove(path)
    if victim.fresh is not None:
        shutil.copytree(victim.fresh, victim.file.parent, dirs_exist_ok=True)
    else:
        victim.file.write_bytes(whole)


def _half_written(victim: Victim, refused: bool) -> str:
    """What was left behind that should not be."""
    for folder in {path.parent for path in victim.made}:
        if left := [path.name for path in folder.rglob("*") if path.suffix in (".tmp", ".old")]:
            return f"left {left[0]}"
    for path in victim.made if victim.fresh is None else ():
        if refused and path.exists() and victim.command[0] != "train":
            return f"made {path.name}"
        if path.is_dir() and victim.command[0] == "train":  # a run that was begun is a run that can go on
            checkpoint.load_origin(path)
            checkpoint.load_state(path)
            if (path / checkpoint.MODEL_FILE).exists():
                checkpoint.load_model(path)
    return ""


def _verdict(code: int, stderr: str, exception: BaseException | None) -> str:
    """What is wrong with how the command ended; nothing where it worked or said in one line why not."""
    if exception is not None and not isinstance(exception, SystemExit):
        return f"{type(exception).__name__}: {str(exception)[:300]}"
    if code == 0:
        return ""
    if code not in (1, 2):
        return f"exit code {code}"
    lines = stderr.splitlines()
    told = [line for line in lines if line.startswith("error: ")]
    if len(told) != 1 or lines[-1] != told[0]:
        return f"not one plain line: {stderr[-300:]!r}"
    if len(told[0]) > LONGEST_LINE or not told[0].isprintable():
        return f"no plain line: {told[0][:200]!r}…, {len(told[0])} characters"
    return ""


def torment(victims: list[Victim], count: int) -> Tally:
    """`count` mutants, dealt out among the victims by their weight."""
    tally = Tally()
    dealt = [victim for victim in victims for _ in range(victim.weight)]
    for number in range(count):
        victim = dealt[number % len(dealt)]
        name = f"{SEED} {victim.file.name} {number}"
        whole = victim.file.read_bytes()
        kind = _damage(victim, name, whole)
        which = f"{victim.file.name}: {kind}"
        if keep := os.environ.get("KEEP_MUTANTS"):
            (Path(keep) / "now").write_text(f"{name} ({kind})")
        fault = line = ""
        code = 0
        try:
            with _guarded():
                done = CliRunner().invoke(app, [str(word) for word in victim.command])
            code = done.exit_code
            fault = _verdict(code, done.stderr, done.exception)
            line = done.stderr.splitlines()[-1] if code and done.stderr else ""
            fault = fault or _half_written(victim, code != 0)
        except Hang:
            fault = f"hangs for {SECONDS} s"
        if not fault and code == 0 and victim.sealed and kind != MISSING:
            fault = "accepted, and it carries a digest"
        if not fault and not victim.settings and "not enough memory" in line:
            fault = "a size in it was believed"
        if fault:
            if keep and victim.file.is_file() and not victim.file.is_symlink():
                shutil.copy(victim.file, Path(keep) / name.replace(" ", "-"))
            tally.failures.append(f"mutant {name!r} ({kind}): {fault}")
        elif code:
            tally.refused[which] += 1
            tally.lines.setdefault(which, line)
        else:
            tally.accepted[which] += 1
        _restore(victim, whole)
    return tally


def _memory() -> int:
    """Bytes that are in use, without what the C library keeps for later."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return psutil.Process().memory_info().rss


def hold(victims: list[Victim], count: int) -> None:
    """The promise, for `count` mutants of these files."""
    for victim in {tuple(victim.command): victim for victim in victims}.values():
        whole = victim.file.read_bytes()
        done = CliRunner().invoke(app, [str(word) for word in victim.command])
        assert done.exit_code == 0, f"{victim.file} does not even work whole: {done.stderr} {done.exception}"
        _restore(victim, whole)
    before = _memory()
    tally = torment(victims, count)
    grown = _memory() - before
    accepted, refused = tally.accepted.total(), tally.refused.total()
    print(f"\n{count} mutants: {accepted} accepted, {refused} refused, {len(tally.failures)} failed, {grown >> 20} MB")
    for which in sorted(tally.accepted | tally.refused):
        print(
            f"  {which}: {tally.accepted[which]} accepted, {tally.refused[which]} refused. {tally.lines.get(which, '')}"
        )
    if tally.failures:
        pytest.fail(f"{len(tally.failures)} of {count}:\n" + "\n".join(tally.failures[:40]), pytrace=False)
    assert accepted + refused == count
    assert refused > count / 10
    assert grown < GROWTH


# The files ------------------------------------------------------------------------------------------------------------

MANY = 500


def counts(few: int) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("count", [few, pytest.param(MANY, marks=pytest.mark.slow)])


FIRST, LAST = 0x4E00, 0x4E20


@pytest.fixture(scope="module")
def font(tmp_path_factory: pytest.TempPathFactory, noto_sans: Path) -> Path:
    """A few glyphs cut out of Noto Sans."""
    from fontTools.subset import Options, Subsetter
    from fontTools.ttLib import TTFont

    path = tmp_path_factory.mktemp("fonts") / "few.otf"
    with TTFont(noto_sans, fontNumber=2) as whole:
        subsetter = Subsetter(Options(notdef_outline=True))
        subsetter.populate(unicodes=range(FIRST, LAST))
        subsetter.subset(whole)
        whole.save(path)
    return path


@pytest.fixture
def shared_workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One pool of font workers for all mutants: they are about definitions, and a pool takes a second to start."""
    with font_workers() as workers:

        @contextmanager
        def shared() -> Iterator[FontWorkers]:
            yield workers

        monkeypatch.setattr(preparing, "font_workers", shared)
        yield


def _zipped(files: dict[str, bytes]) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return held.getvalue()


@counts(40)
def test_definitions(tmp_path: Path, font: Path, unihan: Path, shared_workers: None, count: int) -> None:
    def excerpt(path: Path, properties: str) -> bytes:
        lines = bz2.decompress(path.read_bytes()).decode().splitlines(keepends=True)
        kept = [
            line for line in lines
            if (match := re.match(rf"U\+(\w+)\t({properties})\t", line)) and FIRST <= int(match[1], 16) < LAST
        ]  # fmt: skip
        return "".join(kept).encode()

    readings = excerpt(unihan, "kDefinition|kMandarin")
    sources = excerpt(unihan.with_name("Unihan_IRGSources.txt.bz2"), "kRSUnicode|kTotalStrokes")
    defined = [line.split("\t") for line in excerpt(unihan, "kDefinition").decode().splitlines()]
    rows = [(chr(int(point[2:], 16)), text) for point, _, text in defined]
    names = {"Unihan_Readings.txt": readings, "Unihan_IRGSources.txt": sources}
    files: dict[str, tuple[bytes, dict[str, Damage]]] = {
        "Unihan_Readings.txt": (readings, TEXT),
        "Unihan_IRGSources.txt": (sources, TEXT),
        "Unihan.zip": (
            _zipped(names),
            _inside(lambda _: readings, lambda raw: _zipped({**names, "Unihan_Readings.txt": raw})),
        ),
        "readings.gz": (gzip.compress(readings), _inside(gzip.decompress, gzip.compress)),
        "readings.bz2": (bz2.compress(readings), _inside(bz2.decompress, bz2.compress)),
        "kDefinition.txt": (excerpt(unihan, "kDefinition"), TEXT),
        "table.tsv": ("".join(f"{c}\t{text}\n" for c, text in rows).encode(), TEXT),
        "table.csv": (("character,definition\n" + "".join(f'{c},"{t}"\n' for c, t in rows)).encode(), TEXT),
        "table.jsonl": (
            "".join(json.dumps({"character": c, "definition": text}) + "\n" for c, text in rows).encode(),
            TEXT,
        ),
    }
    victims = []
    for name, (data, kinds) in files.items():
        path, out = tmp_path / name, tmp_path / "out"
        path.write_bytes(data)
        read = tmp_path / "Unihan_Readings.txt" if name == "Unihan_IRGSources.txt" else path
        command: list[str | Path] = ["prepare", font, "--definitions", read, "--size", "16", "--out", out]
        victims.append(Victim(path, command, kinds, sealed=False, made=(out,)))
    hold(victims, count)


@pytest.fixture(scope="module")
def tiny(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Settings for the smallest run that looks at every picture."""
    path = tmp_path_factory.mktemp("settings") / "tiny.toml"
    text = workshop.config.read_text("utf-8")
    for old, new in (("patch = 4", "patch = 8"), ("images = 96", "images = 72"), ("batch = 8", "batch = 24")):
        text = text.replace(old, new)
    path.write_text(text.replace("checkpoint_every = 32", "checkpoint_every = 100"), "utf-8")
    return path


@pytest.fixture(scope="module")
def trained(workshop: Workshop, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with these settings that has had its budget; tests only read it."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    finish(train(TrainOptions(data=workshop.data, config=tiny, gpus=0, out=out)))
    return out


def _train(data: Path, config: Path, out: Path) -> list[str | Path]:
    return ["train", "--data", data, "--config", config, "--gpus", "0", "--out", out]


def _embed(data: Path, encoder: Path) -> list[str | Path]:
    return ["embed", "--data", data, "--encoder", encoder]


@counts(24)
def test_prepared_data(workshop: Workshop, tmp_path: Path, tiny: Path, count: int) -> None:
    data, out = tmp_path / "data", tmp_path / "run"
    shutil.copytree(workshop.data, data)
    kinds = {"manifest.json": TEXT, "characters.jsonl": TEXT, "glyphs-00000.safetensors": TENSORS}
    hold([Victim(data / name, _train(data, tiny, out), how, True, (out,)) for name, how in kinds.items()], count)


@counts(12)
def test_image_folders(workshop: Workshop, tmp_path: Path, tiny: Path, font: Path, unihan: Path, count: int) -> None:
    """Ours, and anyone's: of those only the manifest is ours to seal."""
    data, plain, out = tmp_path / "data", tmp_path / "plain", tmp_path / "run"
    finish(prepare(PrepareOptions((font,), unihan, size=32, format="imagefolder", out=data)))
    shutil.copytree(data / "images", plain)
    rows = [json.loads(line) for line in (data / "metadata.jsonl").read_text("utf-8").splitlines()]
    table = "".join(f'{Path(row["file_name"]).name},"{row["text"]}"\n' for row in rows)
    (plain / "metadata.csv").write_text("file_name,text\n" + table, "utf-8")
    third = Path(shutil.copytree(data, tmp_path / "third"))
    for folder in (data, plain):
        finish(embed(EmbedOptions(folder, str(workshop.encoder))))
    picture, other = sorted((data / "images").iterdir())[3], sorted(plain.glob("*.png"))[4]
    ours, theirs = _train(data, tiny, out), _train(plain, tiny, out)
    hold(
        [
            Victim(data / "manifest.json", ours, TEXT, True, (out,)),
            Victim(data / "metadata.jsonl", ours, TEXT, False, (out,)),
            Victim(third / "metadata.jsonl", _embed(third, workshop.encoder), TEXT, False, (third / FILE_NAME,)),
            Victim(picture, ours, BYTES, False, (out,)),
            Victim(plain / "metadata.csv", theirs, TEXT, False, (out,)),
            Victim(other, theirs, BYTES, False, (out,)),
        ],
        count,
    )


@counts(32)
def test_embeddings(workshop: Workshop, tmp_path: Path, tiny: Path, count: int) -> None:
    data, out = tmp_path / "data", tmp_path / "run"
    shutil.copytree(workshop.data, data)
    read = _train(data, tiny, out)
    hold(
        [
            Victim(data / FILE_NAME, read, TENSORS, True, (out,), weight=3),
            Victim(data / FILE_NAME, read, FORGED, False, (out,), places=False),
        ],
        count,
    )


@counts(32)
def test_checkpoints(workshop: Workshop, tiny: Path, trained: Path, tmp_path: Path, count: int) -> None:
    run, sheet = tmp_path / "run", tmp_path / "sheet.png"
    shutil.copytree(trained, run)
    draw: list[str | Path] = ["sample", "", "--model", run, "--steps", "1", "--count", "1", "--out", sheet]
    go_on = _train(workshop.data, tiny, run)
    farther = [*go_on, "--images", "96"]  # one step, with what the file says
    hold(
        [
            Victim(run / "model.safetensors", draw, TENSORS, True, (sheet,), weight=2),
            Victim(run / "model.safetensors", draw, FORGED, False, (sheet,), places=False),
            Victim(run / "state.safetensors", go_on, TENSORS, True, (run,), fresh=trained, weight=2),
            Victim(run / "state.safetensors", farther, FORGED, False, (run,), fresh=trained, places=False),
            Victim(run / "log.jsonl", go_on, TEXT, False, (run,), fresh=trained),
        ],
        count,
    )


@counts(16)
def test_settings(workshop: Workshop, trained: Path, tiny: Path, tmp_path: Path, count: int) -> None:
    run, out, shown = tmp_path / "run", tmp_path / "new", tmp_path / "shown.toml"
    shutil.copytree(trained, run)
    begin = [*_train(workshop.data, shown, out), "--images", "8"]
    done = CliRunner().invoke(app, [str(word) for word in [*begin[:-2], "--show-config", "--config", tiny]])
    shown.write_text(done.stdout, "utf-8")
    hold(
        [
            Victim(shown, begin, TEXT, False, (out,), weight=4, settings=True),
            Victim(run / "config.json", _train(workshop.data, tiny, run), TEXT, False, (run,), fresh=trained),
        ],
        count,
    )


@counts(12)
def test_text_encoders(t5: Path, tmp_path: Path, unihan: Path, font: Path, count: int) -> None:
    encoder, data = tmp_path / "encoder", tmp_path / "data"
    shutil.copytree(t5, encoder)
    finish(prepare(PrepareOptions((font,), unihan, size=16, ranges="U+4E00-4E08", out=data)))
    kinds = {
        name: TENSORS if name.endswith(".safetensors") else TEXT
        for name in sorted(path.name for path in encoder.iterdir())
    }
    hold([Victim(encoder / n, _embed(data, encoder), k, False, (data / FILE_NAME,)) for n, k in kinds.items()], count)


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory, noto_sans: Path, unihan: Path) -> Path:
    """Data with characters enough that some are held out."""
    out = tmp_path_factory.mktemp("known") / "data"
    finish(prepare(PrepareOptions((noto_sans,), unihan, size=32, ranges="U+4EBA-50FF", out=out)))
    return out


@counts(8)
def test_judges_and_prompts(known: Path, trained: Path, tmp_path: Path, count: int) -> None:
    judge, prompts, out = tmp_path / "judge.safetensors", tmp_path / "prompts.toml", tmp_path / "evaluation.json"
    shutil.copy(pretrained("judge.safetensors"), judge)
    prompts.write_text('[prompts]\n"man" = 9\n"ice" = [15, 85]\n"knife" = 18\n', "utf-8")
    evaluate: list[str | Path] = ["evaluate", "--data", known, "--model", trained, "--out", out, "--pictures", "16"]
    evaluate += ["--count", "1", "--steps", "1", "--judge", judge, "--prompts", prompts]
    hold(
        [
            Victim(judge, evaluate, TENSORS, True, (out,), weight=3),
            Victim(judge, evaluate, FORGED, False, (out,), places=False),
            Victim(prompts, evaluate, TEXT, False, (out,)),
        ],
        count,
    )


@pytest.mark.parametrize("kinds", [("cut short", "a pipe"), pytest.param((*TENSORS, *PLACES), marks=pytest.mark.slow)])
def test_as_a_program_of_its_own(trained: Path, tmp_path: Path, kinds: tuple[str, ...]) -> None:
    """What a person at the terminal sees: one line on stderr, nothing on stdout, nothing written."""
    run, sheet = tmp_path / "run", tmp_path / "sheet.png"
    shutil.copytree(trained, run)
    file = run / "model.safetensors"
    whole = file.read_bytes()
    for kind in kinds:
        if kind in PLACES:
            file.unlink(missing_ok=True)
            PLACES[kind](file)
        else:
            file.write_bytes(TENSORS[kind](whole, Dice(f"{SEED} {kind}")))
        command = [sys.executable, "-m", "glyffctl", "sample", "", "--model", str(run), "--out", str(sheet)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stdout) == (1, ""), kind
        assert done.stderr.startswith("error: ") and str(run) in done.stderr and done.stderr.count("\n") == 1, kind
        assert [path.name for path in tmp_path.iterdir()] == ["run"]
        _remove(file)
