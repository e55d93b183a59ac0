"""Names as strangers give them, and watching what a command writes and shows."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib as mpl
from click.testing import CliRunner

from tests.command_line import app

OUTSIDE = (
    "..", ".", "../escape", "../../../../escape", "a/../../../b", "....//....//escape", "/tmp/escape", "/etc/passwd",
    "//host/share/escape", "~/escape", "./-", "..\\..\\escape", "C:\\escape", "%2e%2e%2fescape", "file:///tmp/escape",
)  # fmt: skip
STEERING = (
    "nul\0byte", "two\nlines", "tab\tabbed", "\r\x1b[2K\x1b[1Aoverwritten", "bell\a\b\b\bback", "\x7fdeleted\x7f",
    "\x1b[2J\x1b[H", "\x1b]0;title\x07", "\x1b]8;;http://example.com\x1b\\link\x1b]8;;\x1b\\", "\x1b]52;c;ZXZpbA==\x07",
    "\x1bP$q\x1b\\", "\x1b[5;41mblink\x1b[0m", "\x1b[6n", "\x9b5;41mcsi", "\x90dcs\x9c", "\x85next\x8dreverse",
    "\u202egnp.exe", "\u2066\u2067isolated\u2069", "zero\u200bwidth\u200d\u2060", "\ufeffmark", "soft\xadhyphen",
    "\u2028line\u2029paragraph", "tags\U000e0041\U000e007f",
)  # fmt: skip
TOO_MUCH = ("很" * 120, "x" * 300, "🐉" * 80, "e" + "\u0301" * 200, "👩\u200d👩\u200d👧", "İIıi ﬃ Ａ")
MEANT = (
    "CON", "nul.txt", "LPT1", ".git", "-rf", "--out=/tmp/escape", "$(id)`id`;id|id", "*?[a-z]<>:\"'", "", " ",
    "[red]wolf[/red]", "[link=http://example.com]fish[/link]", "[/]", ":bomb: :smile:", "\\[bold]", "end\\",
    "[@click=id]x", "{0} {task} %s %n", "</script><script>hit=1</script>", "<img src=x onerror=hit=1>", "{{data}}",
    "$\\frac$", "$x",
)  # fmt: skip
HALVES = ("half \ud800 pair", "\udcff\udcfe bytes")
NAMES = (*OUTSIDE, *STEERING, *TOO_MUCH, *MEANT, *HALVES)

assert len(NAMES) >= 50 and len(set(NAMES)) == len(NAMES)


def whole(names: tuple[str, ...]) -> list[str]:
    """Those that UTF-8 can write."""
    return [name for name in names if name not in HALVES]


def on_disk(names: tuple[str, ...], suffix: str) -> list[str]:
    """Those that a file can have; too long ones are cut to 255 bytes."""
    files = [os.fsdecode(os.fsencode(name)[: 255 - len(suffix)]) for name in names if name != HALVES[0]]
    return [name + suffix for name in files if "\0" not in name and "/" not in name and name not in ("", ".", "..")]


# What is written ------------------------------------------------------------------------------------------------------


@dataclass
class Watch:
    """Every path that this process makes, writes, renames or removes while `on`."""

    on: bool = False
    paths: set[str] = field(default_factory=set)

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        match event, arguments:
            case "open", (path, mode, flags):
                writes = set(mode or "") & set("wax+") or (flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
                if writes:
                    self.add(path)
            case "os.mkdir", (path, *_) if not Path(os.fsdecode(path)).is_dir():
                self.add(path)
            case (("os.remove" | "os.rmdir"), (path, folder)):
                self.add(path if folder == -1 else Path(f"/proc/self/fd/{folder}") / os.fsdecode(path))
            case (("os.truncate" | "os.chmod"), (path, *_)):
                self.add(path)
            case (("os.rename" | "os.link" | "os.symlink"), (source, target, *_)):
                self.add(source, target)

    def add(self, *paths: Any) -> None:
        self.paths |= {os.path.realpath(os.fsdecode(path)) for path in paths if not isinstance(path, int)}


WATCH = Watch()
sys.addaudithook(WATCH.hear)
OWN = [Path(os.path.realpath(path)) for path in ("/dev", mpl.get_cachedir(), mpl.get_configdir())]


IN_THE_MAKING = re.compile(r"/\.([^/]+)\.[0-9a-f]{8}\.(?:tmp|old)(?=/|$)", re.DOTALL)
"""What stands for a file or folder until it is whole, see `core.files`."""


@contextmanager
def only_inside(*folders: Path, nothing: bool = False) -> Iterator[None]:
    """Nothing is written but in `folders`, and where libraries keep what they have computed; `nothing` may be, too."""
    inside = [Path(os.path.realpath(folder)) for folder in folders] + OWN
    WATCH.paths.clear()
    WATCH.on = True
    try:
        yield
    finally:
        WATCH.on = False
    written = {Path(IN_THE_MAKING.sub(r"/\1", path)) for path in WATCH.paths if "__pycache__" not in path}
    outside = [path for path in written if not any(path.is_relative_to(folder) for folder in inside)]
    assert (written or nothing) and not outside, outside


# What is shown --------------------------------------------------------------------------------------------------------

RICH = re.compile(r"\x1b\[(?:[0-9;]*m|\?25[lh]|2K|1A)|\r")
ERASED = re.compile(r"[^\n]*\r\x1b\[2K")  # a bar that was drawn, if the command took long enough, and taken away
TERMINAL = {"FORCE_COLOR": "1", "TERM": "xterm-256color", "COLUMNS": "160", "HF_HUB_OFFLINE": "1"}


@dataclass(frozen=True)
class Screen:
    """What a command has shown, without the colours and the bars' movements."""

    code: int
    out: str
    err: str


def run(*arguments: object, code: int | None = 0) -> Screen:
    """Run a command as if on a terminal; nothing that it shows steers it."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments], env=TERMINAL)
    assert done.exception is None or isinstance(done.exception, SystemExit), (arguments, done.exception)
    assert code in (None, done.exit_code), (arguments, done.stderr[-2000:])
    for text in (done.stdout, done.stderr):
        for name in STEERING:
            assert name not in text
        assert "\x1b]" not in text and "\x1b[5" not in text
        rest = RICH.sub("", text)
        strange = {c for c in rest if not c.isprintable() and c != "\n"}
        assert not strange, (arguments, strange)
    return Screen(done.exit_code, *(RICH.sub("", ERASED.sub("", text)) for text in (done.stdout, done.stderr)))
