"""Train the models of comparisons.md, measure them alike: side_by_side.py DATA OUT [--small] [--images N] [GROUP…].

DATA is a folder of `glyffctl prepare` and `embed`. Every model is trained for as many pictures, with its preset and
one thing changed, then measured by `glyffctl evaluate`. Runs, logs and evaluations lie in OUT, and what is there is
not made again: the same command continues. It prints a table for each group, draws some pictures of its runs as
OUT/GROUP.png, and writes OUT/trained.json, the record from which `glyffctl noise-demo --check` takes its claims about
training, once the groups that it needs are complete. With `--small`, networks are those of SMALL, for glyphs of 32×32
(`prepare --size 32`): a CPU core trains one in ten minutes.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch

import glyffctl
from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.estimates import mean
from glyffctl.figures.model_figures import draw_picture_table
from glyffctl.figures.style import save_figure, style

BATCH, CODEC_BATCH, TOWER_BATCH, IMAGES = 128, 64, 1024, 204_800
COUNT, PICTURES = 8, 256  # pictures of a prompt, and of held-out definitions
PROMPTS = ("water", "tree", "fish", "bird", "to speak", "fire", "a mountain", "silk")  # of the pictures
TIMED = 5  # sheets of 16; the first is not counted


@dataclass(frozen=True)
class Run:
    """A model to train: its preset, and what is changed."""

    name: str
    preset: str = "gpu"
    changed: str = ""
    """TOML."""
    seed: int = 0
    codec: str = ""
    """The run whose latents it draws in."""
    encoder: str = ""
    """The run whose text tower encodes the captions."""


CODECS = [
    Run("codec-f4", "autoencoder"),
    Run("codec-f8", "autoencoder", "network.channels = [16, 32, 64, 64]\nnetwork.latent_channels = 16"),
]
TOWERS = [Run("towers", "contrastive")]
BASE, AGAIN = Run("diffusion-0"), Run("diffusion-1", seed=1)
GROUPS: dict[str, list[Run]] = {
    "conditioning": [
        BASE,
        Run("cross", changed="network.pooled_text = false"),
        Run("pooled", changed="network.cross_text = false"),
    ],
    "dropout": [
        BASE,
        AGAIN,
        *(
            Run(f"dropout-{part:.0%}-{seed}", changed=f"diffusion.caption_dropout = {part}", seed=seed)
            for part in (0.0, 0.05, 0.2, 0.5)
            for seed in (0, 1)
        ),
    ],
    "contrastive": [BASE, AGAIN, *(Run(f"tower-{seed}", seed=seed, encoder="towers") for seed in (0, 1))],
    "families": [
        BASE,
        AGAIN,
        *(Run(f"vae-{seed}", "vae", seed=seed) for seed in (0, 1)),
        *(Run(f"gan-{seed}", "gan", seed=seed) for seed in (0, 1, 2)),
    ],
    "networks": [
        Run("unet", "cpu"),
        Run("dit", "dit"),
        Run("dit-plain", "dit", "network.detail = 0"),
        Run("dit-bottleneck", "dit", "network.bottleneck = 64"),
    ],
    "latents": [
        BASE,
        Run("patch-8", "cpu", "network.channels = [160, 256, 288]"),
        Run("latent-f4", "latent", codec="codec-f4"),
        Run("latent-f8", "latent", "network.channels = [160, 256, 288]\nnetwork.attention = [1, 2]", codec="codec-f8"),
    ],
    "time": [BASE, *(Run(f"time-{way}", changed=f'network.time = "{way}"') for way in ("add", "concat"))],
}


def dropped(run: Run) -> float:
    """The share of captions that a run of the group `dropout` drops."""
    return float(run.changed.split("=")[1]) if run.changed else 0.1


SMALL_BATCH, SMALL_TOWER_BATCH, LARGER_CODEC_IMAGES = 64, 256, 25_600
_WIDTHS = "network.channels = [64, 96, 96]"
_LEVELS = "diffusion.level_mean = -0.4"  # the same shape on fewer pixels shows through less noise
_AVERAGE = "training.ema_decay = 0.99"
_FASTER = f"training.learning_rate = 2e-3\ntraining.warmup = 5000\n{_AVERAGE}"
_UNET = f"network.patch = 4\nnetwork.attention = [1, 2]\n{_WIDTHS}\n{_LEVELS}\n{_FASTER}"
SMALL = {
    "gpu": _UNET,
    "cpu": _UNET,
    "dit": f"network.patch = 8\nnetwork.width = 192\nnetwork.detail = 32\n{_LEVELS}\n{_FASTER}",
    "latent": f"network.attention = [1, 2]\n{_WIDTHS}\ndiffusion.level_mean = -0.8\n{_FASTER}",
    "vae": f"network.patch = 4\n{_WIDTHS}\n{_AVERAGE}",
    "gan": f"network.patch = 4\n{_WIDTHS}\n{_AVERAGE}",
    "contrastive": "network.patch = 4",
}
"""What `--small` changes in a preset, as TOML. The U-Net then has 4.7 million parameters, and a pass takes 0.115 GFLOP,
as one of the transformer does."""
SMALL_LATENTS = {
    32: [
        BASE,
        AGAIN,
        Run("pixels-v", changed='diffusion.prediction = "v"'),  # as latents do
        Run("latent-f4", "latent", codec="codec-f4"),
        Run("latent-f4-1", "latent", seed=1, codec="codec-f4"),
    ],
    128: [
        Run("pixels", changed="network.patch = 8\ndiffusion.level_mean = 0.8"),
        Run("latent-f4", "latent", "network.patch = 2\ndiffusion.level_mean = 0.4", codec="codec-f4"),
        Run("latent-f8", "latent", "diffusion.level_mean = 0.4", codec="codec-f8"),
    ],
    512: [
        Run("pixels", changed="codec.size = 512\nnetwork.patch = 32\ndiffusion.level_mean = 2.2"),
        Run(
            "latent-f8",
            "latent",
            'codec.size = 512\nnetwork.patch = 4\ndiffusion.level_mean = 1.8\ndiffusion.prediction = "x0"',
            codec="codec-f8",
        ),
    ],
}
"""The group `latents`, by the size of pictures. The U-Net sees a grid of 8×8 positions at 32×32, of 16×16 above."""
SMALL_GROUPS = {
    "dropout": [run for run in GROUPS["dropout"] if run.seed == 0 or run is AGAIN or dropped(run) in (0.0, 0.2)],
    "networks": [  # the presets gpu and cpu have the same small network
        BASE,
        AGAIN,
        *(
            again
            for run in GROUPS["networks"]
            if run.preset == "dit"
            for again in (run, replace(run, name=f"{run.name}-1", seed=1))
        ),
    ],
}
COLUMNS = {
    "the radical asked for": "radical",
    "kernel distance": "distance",
    "recall": "recall",
    "… by their shapes alone": "by shapes",
    "grey pixels": "grey",
    "stroke width": "stroke width",
    "uneven strokes": "uneven strokes",
    "copies": "copies",
}
"""Rows of `glyffctl evaluate`, and the names of the columns here."""


class Workshop:
    """The folder of all runs."""

    def __init__(self, data: Path, out: Path, images: int, *, small: bool) -> None:
        self.data, self.out, self.images, self.small = data, out, images, small
        self.size = open_glyphs(data).size
        out.mkdir(parents=True, exist_ok=True)

    @property
    def batch(self) -> int:
        """Pictures a step."""
        return SMALL_BATCH if self.small else BATCH

    def needed(self, runs: Iterable[Run]) -> list[Run]:
        """The codecs and towers that `runs` need."""
        wanted = {name for run in runs for name in (run.codec, run.encoder)}
        return [run for run in CODECS + TOWERS if run.name in wanted]

    def make(self, run: Run) -> bool:
        """Train a model and measure it, or train what others need; whether that went well."""
        if not self.train(run):
            return False
        if run in TOWERS:
            return self._encode(run)
        return run in CODECS or self.evaluate(run)

    def _encode(self, towers: Run) -> bool:
        """Encode all captions with the text tower, unless that was done."""
        encoded = self.out / f"data-{towers.name}"
        if (encoded / "embeddings.safetensors").exists():
            return True
        shutil.copytree(self.data, encoded, dirs_exist_ok=True, ignore=shutil.ignore_patterns("embeddings*"))
        return self._command("embed", "--data", encoded, "--encoder", self.out / towers.name, log=encoded)

    def train(self, run: Run) -> bool:
        """Train a model, unless it is complete."""
        settings = self.out / f"{run.name}.toml"
        changed = f'training.precision = "auto"\n{SMALL.get(run.preset, "") if self.small else ""}\n{run.changed}'
        lines = dict(line.split(" = ") for line in changed.splitlines() if line)  # the last word on a name counts
        settings.write_text("".join(f"{name} = {value}\n" for name, value in lines.items()), encoding="utf-8")
        images, batch = self.images, self.batch
        if run in TOWERS:  # a step is cheap, and more glyphs are harder to tell apart
            images, batch = 2 * self.images, SMALL_TOWER_BATCH if self.small else TOWER_BATCH
        elif run in CODECS:
            batch = CODEC_BATCH
            if self.small and self.size > 32:  # a larger picture has more to learn from; at 512, `train` takes 128
                images, batch = LARGER_CODEC_IMAGES, 16
        data = self.out / f"data-{run.encoder}" if run.encoder else self.data
        codec = ("--codec", self.out / run.codec) if run.codec else ()
        folder = self.out / run.name
        return self._command(
            "train", "--preset", run.preset, "--config", settings, "--data", data, "--out", folder,
            "--seed", run.seed, "--images", images, "--batch", batch, *codec, log=folder,
        )  # fmt: skip

    def evaluate(self, run: Run) -> bool:
        """Measure a model, unless that was done."""
        data, folder = self.out / f"data-{run.encoder}" if run.encoder else self.data, self.out / run.name
        if self._measured(run).exists():
            return True
        return self._command(
            "evaluate", "--model", folder, "--data", data, "--count", COUNT, "--pictures", PICTURES,
            "--out", self._measured(run), log=folder,
        )  # fmt: skip

    def rows(self, run: Run) -> dict[str, dict[str, Any]]:
        """What `evaluate` found: by column, the model's estimate and that of real glyphs; empty if it has not run."""
        if not self._measured(run).exists():
            return {}
        figures = json.loads(self._measured(run).read_text(encoding="utf-8"))["figures"]
        return {COLUMNS[row["name"]]: row for row in figures if row["name"] in COLUMNS}

    def by_prompt(self, run: Run) -> dict[str, float]:
        """The share of pictures with the radical asked for, of each prompt."""
        prompts = json.loads(self._measured(run).read_text(encoding="utf-8"))["prompts"]
        return dict(sorted((row["prompt"], row["found"]["value"]) for row in prompts))

    def seconds(self, run: Run) -> float:
        """For one picture, in sheets of 16, the loading left out."""
        model = glyffctl.load(self.out / run.name)
        times = []
        for seed in range(TIMED + 1):
            started = time.perf_counter()
            model.draw("a kind of fish", count=16, seed=16 * seed)
            times.append((time.perf_counter() - started) / 16)
        return statistics.median(times[1:])

    def _measured(self, run: Run) -> Path:
        return self.out / f"{run.name}.evaluation.json"

    def _command(self, *command: object, log: Path) -> bool:
        with log.with_name(f"{log.name}.log").open("a", encoding="utf-8") as file:
            code = subprocess.run(
                [sys.executable, "-m", "glyffctl", *map(str, command)], stdout=file, stderr=file, check=False
            ).returncode
        if code:
            print(f"{log.name}: `{command[0]}` ended with {code}; see {file.name}", file=sys.stderr)
        return not code


def plain(estimate: Mapping[str, float]) -> list[float]:
    """An estimate as it stands in trained.json."""
    return [round(estimate[name], 5) for name in ("value", "low", "high")] + [int(estimate["count"])]


def cell(row: Mapping[str, Any] | None, of: str = "model") -> str:
    """An estimate in a table."""
    if row is None or row[of] is None:
        return ""
    value, low, high = (row[of][name] for name in ("value", "low", "high"))
    if row["unit"] == "share":
        return f"{100 * value:.1f} % ({100 * low:.1f}–{100 * high:.1f})"
    return f"{value:#.3g} ({low:#.3g}–{high:#.3g})"


def beside(shop: Workshop, run: Run, other: Run) -> str:
    """By how much more of the pictures have the radical asked for than of another run's, prompt by prompt."""
    if not shop.rows(run) or not shop.rows(other) or run is other:
        return ""
    own, others = shop.by_prompt(run), shop.by_prompt(other)
    more = mean(100 * torch.tensor([own[prompt] - others[prompt] for prompt in own]).double())
    return f"{more.value:+.1f} ({more.low:+.1f} to {more.high:+.1f})".replace("-", "−")


def table(shop: Workshop, runs: list[Run]) -> str:
    """What was measured on each of `runs`, and on real glyphs."""
    lines = [["", *COLUMNS.values(), "radical, points more than the first"], ["---"] * (len(COLUMNS) + 2)]
    for run in runs:
        rows = shop.rows(run)
        cells = [cell(rows.get(column)) for column in COLUMNS.values()]
        lines.append([run.name, *cells, beside(shop, run, runs[0])])
    real: dict[str, Any] = next(filter(None, map(shop.rows, runs)), {})
    lines.append(["real glyphs", *(cell(real.get(column), "real") for column in COLUMNS.values()), ""])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def record(shop: Workshop, groups: Iterable[str]) -> dict[str, Any]:
    """The tables of trained.json, of the groups that are complete."""
    how = f"`examples/side_by_side.py`, {shop.images:,} pictures each in batches of {shop.batch}"
    if shop.small:
        how = how.replace(".py`", ".py --small`") + ", glyphs of 32×32"
    tables: dict[str, list[dict[str, Any]]] = {}
    for name in groups:
        measured = [(run, shop.rows(run)) for run in GROUPS[name]]
        if not all(rows for _, rows in measured):
            continue
        if name == "dropout":
            tables[name] = [{"dropout": dropped(run), **_radicals(shop, run)} for run, _ in measured]
        elif name == "contrastive":
            tables[name] = [{"contrastive": bool(run.encoder), **_radicals(shop, run)} for run, _ in measured]
        elif name == "families":
            tables[name] = [
                {"family": run.name.split("-")[0], "seed": run.seed, "seconds": round(shop.seconds(run), 5)}
                | _columns(rows, "grey", "recall", "distance")
                for run, rows in measured
            ]
            tables[name].append({"family": "real", "grey": plain(measured[0][1]["grey"]["real"])})
    return {name: {"measured": date.today().isoformat(), "how": how, "rows": rows} for name, rows in tables.items()}


def _radicals(shop: Workshop, run: Run) -> dict[str, Any]:
    return {"seed": run.seed, "prompts": [round(share, 5) for share in shop.by_prompt(run).values()]}


def _columns(rows: Mapping[str, Mapping[str, Any]], *names: str) -> dict[str, list[float]]:
    return {name: plain(rows[name]["model"]) for name in names}


def picture(shop: Workshop, runs: list[Run], file: Path) -> None:
    """Draw a picture of each prompt by each of `runs`, down a column from the same noise."""
    cells = []
    for run in runs:
        model = glyffctl.load(shop.out / run.name)
        drawn = [np.array(model.draw(prompt, seed=seed)[0]) for seed, prompt in enumerate(PROMPTS)]
        cells.append([(torch.from_numpy(each)[None], "") for each in drawn])
    with style(None):
        save_figure(file, draw_picture_table([run.name for run in runs], PROMPTS, cells))


def main() -> None:
    """Train, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"{', '.join(GROUPS)}; default: all")
    parser.add_argument(
        "--images", type=int, default=IMAGES, help="training pictures of each model; towers see twice as many"
    )
    parser.add_argument("--small", action="store_true", help="small networks, for glyphs of 32×32 and a CPU")
    parser.add_argument("--jobs", type=int, default=1, help="commands side by side; 4 or so share a large GPU well")
    options = parser.parse_intermixed_args()
    if unknown := set(options.groups) - GROUPS.keys():
        parser.error(f"there is no group {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}")
    groups = options.groups or list(GROUPS)
    if options.small:
        GROUPS.update(SMALL_GROUPS, latents=SMALL_LATENTS[open_glyphs(options.data).size])
    shop = Workshop(options.data, options.out, options.images, small=options.small)
    runs = list(dict.fromkeys(run for name in groups for run in GROUPS[name]))
    made: dict[str, Future[bool]] = {}

    def make(run: Run) -> bool:
        return all(made[name].result() for name in (run.codec, run.encoder) if name) and shop.make(run)

    with ThreadPoolExecutor(options.jobs) as pool:
        for run in shop.needed(runs) + runs:  # what others need is begun before them
            made[run.name] = pool.submit(make, run)
    for name in groups:
        print(f"\n{name}\n\n{table(shop, GROUPS[name])}")
        if all(made[run.name].result() for run in GROUPS[name]):
            picture(shop, GROUPS[name], options.out / f"{name}.png")
    file = options.out / "trained.json"
    file.write_text(json.dumps(record(shop, groups), indent=1) + "\n", encoding="utf-8")
    print(f"\n{file}")
    sys.exit(0 if all(each.result() for each in made.values()) else 1)


if __name__ == "__main__":
    main()
