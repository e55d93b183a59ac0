"""The job people come for: sixteen pictures of a prompt, 120 steps, guidance 4."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

from tests.bench.measure import Row, Timing, device, glyffctl, instead, processes

STEPS, COUNT = 120, 16


def rows(repeats: int) -> Iterator[Row]:
    """`glyffctl sample` as a user runs it, start-up included, and the reference's network in diffusers, without."""
    job = ["lithium", "--count", str(COUNT), "--guidance", "4", "--model", "bundled", "--out", "{out}/x.png"]
    times = processes(
        {
            "120": glyffctl("sample", *job, "--steps", str(STEPS)),
            "default": glyffctl("sample", *job),
        },
        repeats,
    )
    # All steps cost the same; on a CPU a few of them say what all would.
    steps = STEPS if device().type == "cuda" else 4
    told = subprocess.run(
        instead("author_sample", str(COUNT), str(steps)), check=True, capture_output=True, text=True
    ).stdout
    each = [float(line) for line in told.split()][1:]  # the first pays for starting up
    theirs = Timing([STEPS * second for second in each])
    scaled = "" if steps == STEPS else f", {len(each)} steps scaled up"
    yield Row(
        group="job",
        name=f"{COUNT} pictures, {STEPS} steps, guidance 4",
        ours=times["120"],
        theirs=theirs,
        instead=f"the reference's network in diffusers, drawing alone{scaled}",
        asked=50,
    )
    yield Row(
        group="job",
        name=f"{COUNT} pictures, sampler and steps as they come",
        ours=times["default"],
        note="start-up included",
    )
