"""Damaging files again and again, and seeing that a command refuses each in one line."""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import os
import resource
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner

from glyffctl.core.models import checkpoint
from tests.command_line import app
from tests.conftest import crashed
from tests.damage import MISSING, PLACES, Damage, Dice

SEED = 5
SECONDS = 20  # of one mutant; the slowest good file takes two
LONGEST_LINE = 600  # characters of a message
ROOM = 2 << 30  # bytes of address space that a mutant may take beyond what the tests have
GROWTH = 300 << 20  # bytes that the tests may hold more after all mutants than before


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
    if crashed(stderr) or len(told) != 1 or lines[-1] != told[0]:
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
