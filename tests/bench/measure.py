"""Timing in pairs: what is compared takes turns in one run, so that a machine that slows down slows down both."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("torch", "diffusers", "transformers", "accelerate", "umap-learn", "pillow", "numpy")


@dataclass(frozen=True)
class Timing:
    """Seconds of one thing, as often as it was run."""

    seconds: list[float]
    peak: int | None = None
    """Most memory held at a time, in bytes, where it ran as a process of its own."""

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def scaled(self, factor: float) -> Timing:
        return Timing([s * factor for s in self.seconds], self.peak)


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of the table.

    Attributes:
        group: what it belongs to: job, networks, training, samplers, tools or growth.
        ours, theirs: None where it was not measured.
        asked: the ratio to reach, or None.
        note: what a reader must know to believe it.
        figures: more that was measured, by name.
    """

    group: str
    name: str
    ours: Timing | None
    theirs: Timing | None = None
    instead: str = ""
    asked: float | None = None
    note: str = ""
    figures: dict[str, float] = field(default_factory=dict)

    @property
    def ratio(self) -> tuple[float, float, float] | None:
        """How many times as long theirs takes: median, least and most over the pairs."""
        if self.ours is None or self.theirs is None:
            return None
        pairs = [b / a for a, b in zip(self.ours.seconds, self.theirs.seconds, strict=False)]
        return self.theirs.median / self.ours.median, min(pairs), max(pairs)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"ratio": self.ratio}


def alternate(calls: dict[str, Callable[[], object]], repeats: int) -> dict[str, Timing]:
    """Each call in turn, `repeats` times, after one turn that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(repeats + 1):
        for name, call in calls.items():
            _wait()
            began = time.perf_counter()
            call()
            _wait()
            if turn:
                seconds[name].append(time.perf_counter() - began)
    return {name: Timing(times) for name, times in seconds.items()}


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


# What a process took at most is counted from the size of the one that started it: a small one has to.
_STARTED = """
import os, subprocess, sys, time
began = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(time.perf_counter() - began, usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def processes(commands: dict[str, Sequence[str]], repeats: int) -> dict[str, Timing]:
    """Each command in turn, as a process of its own in an empty folder that it is told as {out}."""
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    peaks = dict.fromkeys(commands, 0)
    for _ in range(repeats):
        for name, command in commands.items():
            with tempfile.TemporaryDirectory() as folder:
                done = subprocess.run(
                    [sys.executable, "-c", _STARTED, *(part.replace("{out}", folder) for part in command)],
                    capture_output=True,
                    text=True,
                    env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
                    check=False,
                )
                if done.returncode:
                    raise RuntimeError(f"{' '.join(command)}: {done.stderr[-2000:]}")
                took, kilobytes = done.stdout.split()
                seconds[name].append(float(took))
                peaks[name] = max(peaks[name], int(kilobytes) * 1024)
    return {name: Timing(seconds[name], peaks[name]) for name in commands}


def glyffctl(*arguments: str) -> list[str]:
    """The program's own command line."""
    return [sys.executable, "-m", "glyffctl", *arguments]


def instead(name: str, *arguments: str) -> list[str]:
    """One of the scripts of `instead`."""
    return [sys.executable, str(Path(__file__).parent / "instead" / f"{name}.py"), *arguments]


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def machine() -> dict[str, str]:
    """Where this was measured."""
    cpu = platform.processor() or platform.machine()
    told = Path("/proc/cpuinfo")
    if told.exists():
        names = [line.split(":", 1)[1].strip() for line in told.read_text().splitlines() if "model name" in line]
        cpu = names[0] if names else cpu
    facts = {
        "cpu": f"{cpu}, {len(os.sched_getaffinity(0))} cores, {torch.get_num_threads()} threads",
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "python": platform.python_version(),
    }
    for package in PACKAGES:
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            facts[package] = "not installed"
    return facts


def peak_flops(dtype: torch.dtype, repeats: int = 5) -> float:
    """The most operations a second that this device reaches, on a product of large matrices."""
    size = 8192 if torch.cuda.is_available() else 2048
    a = torch.randn(size, size, device=device(), dtype=dtype)
    # As a 1×1 convolution too: on CPUs oneDNN's are faster than the matrix product.
    picture, kernel = a.reshape(1, size, size, 1), a.reshape(size, size, 1, 1)
    times = alternate({"mm": lambda: a @ a, "conv": lambda: torch.conv2d(picture, kernel)}, repeats)
    return 2 * size**3 / min(min(timing.seconds) for timing in times.values())


def write_table(rows: list[Row]) -> str:
    """The rows as a Markdown table."""
    lines = ["| | glyffctl | instead | times faster | asked |", "|---|---|---|---|---|"]
    for row in rows:
        ratio = "—"
        if row.ratio is not None:
            middle, least, most = row.ratio
            ratio = f"**{middle:.3g}** ({least:.3g}–{most:.3g})" if len(row.ours.seconds) > 1 else f"**{middle:.3g}**"  # type: ignore[union-attr]
        theirs = f"{_time(row.theirs)} {row.instead}" if row.theirs else "—" if row.ours else "not measured"
        asked = f"{row.asked:g}" if row.asked else ""
        name = f"{row.name} ({row.note})" if row.note else row.name
        lines.append(f"| {name} | {_time(row.ours)} | {theirs} | {ratio} | {asked} |")
    return "\n".join(lines)


def _time(timing: Timing | None) -> str:
    if timing is None:
        return "not measured"
    s = timing.median
    text = (
        f"{s / 60:.0f} min" if s > 600 else f"{s:.0f} s" if s > 20 else f"{s:.1f} s" if s > 1 else f"{1000 * s:.0f} ms"
    )
    return text if timing.peak is None else f"{text}, {timing.peak / 1e9:.2f} GB"
