"""`python -m tests.bench [GROUP]… --data data --out FILE.json`: all that is measured side by side, and a table of it.

Groups: job, networks, training, samplers, tools, growth. Without any, all of them: an hour on two CPU cores, on a
machine that does nothing else. A group that is run again replaces its rows in FILE.json and leaves the others; what the
machine cannot run is not measured, never estimated. One more group runs only when it is named, `profile` (--preset,
--batch, --variants): where the time of a training step goes.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.bench import profile
from tests.bench.measure import Row, Timing, machine, write_table


def stage(name: str) -> Any:
    """A module of this folder, which may need packages that other groups do not."""
    return importlib.import_module(f"tests.bench.{name}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, default=Path("data"), help="prepared and embedded: NotoSansCJK-Regular")
    parser.add_argument("--out", type=Path, default=Path("examples/bench.json"))
    parser.add_argument("--repeats", type=int, default=5, help="turns of each pair")
    groups: dict[str, Callable[[argparse.Namespace], Iterator[Row]]] = {
        "job": lambda given: stage("job").rows(min(given.repeats, 3)),
        "networks": lambda given: stage("networks").rows(given.repeats),
        "training": lambda given: stage("training").rows(given.repeats, given.data),
        "samplers": lambda given: stage("samplers").rows(given.repeats, given.data),
        "tools": lambda given: stage("tools").rows(min(given.repeats, 3), given.data),
        "growth": lambda _: stage("tools").growth(1),
        "profile": lambda given: profile.rows(given.repeats, given.data, given.preset, given.batch, given.variants),
    }
    profile.add_options(parser)
    parser.add_argument("groups", nargs="*", choices=[*groups, []], metavar="GROUP")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)

    found: dict[str, Any] = json.loads(given.out.read_text()) if given.out.exists() else {}
    for group in given.groups or [name for name in groups if name != "profile"]:
        rows = []
        for row in groups[group](given):
            print(write_table([row]).splitlines()[-1], flush=True)
            rows.append(row)
        found[group] = {"machine": machine(), "rows": [row.as_dict() for row in rows]}
        given.out.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    everything = [_row(row) for part in found.values() for row in part["rows"]]
    print(write_table(everything))


def _row(told: dict[str, Any]) -> Row:
    timings = {name: Timing(**told[name]) if told[name] else None for name in ("ours", "theirs")}
    return Row(**{name: value for name, value in told.items() if name != "ratio"} | timings)


if __name__ == "__main__":
    main()
