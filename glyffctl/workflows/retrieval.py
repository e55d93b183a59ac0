"""`glyffctl evaluate` of contrastive towers: held-out glyphs found by their definitions, and the other way round."""

from __future__ import annotations

import json
import time
from collections.abc import Generator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from glyffctl.core.data.dataset import GlyphSet
from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.data.split import held_out
from glyffctl.core.data.subset import evenly_spaced
from glyffctl.core.device import choose_device
from glyffctl.core.errors import DataError, UsageError
from glyffctl.core.evaluation.classifier_training import HOLDOUT
from glyffctl.core.evaluation.reconstruction import ReconstructionRow
from glyffctl.core.evaluation.retrieval import retrieval_rows
from glyffctl.core.io.atomic import check_writable, write_text
from glyffctl.core.networks.contrastive import ranks
from glyffctl.core.noise import permutation
from glyffctl.workflows.events import Caution, Event
from glyffctl.workflows.towers import load_towers

_FEWEST = 2
_LARGEST_SEED = 2**62


@dataclass(frozen=True, kw_only=True)
class RetrievalOptions:
    """The options of `retrieval`.

    Attributes:
        model: the run or the model file of towers.
        data: a folder of real glyphs, in the fonts that they were trained on.
        pictures: the most held-out characters, one glyph of each.
        seed: of the shuffled pairs.
        device: see `core.device.choose_device`.
        out: the JSON file.
    """

    model: Path
    data: Path = Path("data")
    pictures: int = 20_000
    seed: int = 0
    device: str = "auto"
    out: Path = Path("evaluation.json")

    def __post_init__(self) -> None:
        """Raise UsageError for values out of range."""
        if self.pictures < _FEWEST:
            raise UsageError(f"--pictures must be at least {_FEWEST}, not {self.pictures}")
        if not 0 <= self.seed < _LARGEST_SEED:
            raise UsageError(f"--seed must be in 0…2⁶²−1, not {self.seed}")


@dataclass(frozen=True)
class RetrievalReport:
    """What was measured, and on what.

    Attributes:
        out: the JSON file.
        model: path, weights, loss, and the pictures of its training.
        data: path, fingerprint, how many held-out glyphs were measured, and among how many definitions.
        figures: the metrics.
        seconds: all of it took.
    """

    out: Path
    model: dict[str, Any]
    data: dict[str, Any]
    figures: list[ReconstructionRow]
    seconds: float


def retrieval(options: RetrievalOptions) -> Generator[Event, None, RetrievalReport]:
    """Measure how well towers find glyphs and definitions of held-out characters by each other.

    Raises:
        GlyffError: the model, its text encoder, the data or the output cannot be used.
    """
    started = time.perf_counter()
    if options.out.suffix.lower() != ".json":
        raise UsageError(f"--out takes a .json file, not {options.out}")
    check_writable(options.out)
    device = choose_device(options.device)
    towers = yield from load_towers(options.model, device)
    origin = towers.model.origin
    if origin.config.training.holdout < HOLDOUT:
        yield Caution("it was trained on some of the characters that are held out here", "trained-on-holdout")
    glyphs = open_glyphs(options.data, origin.config.codec.size)
    index = evenly_spaced(one_of_each(glyphs, held_out(glyphs, HOLDOUT)), options.pictures)
    own = glyphs.caption_of[index]  # definitions: of its other captions, its radical is easily found
    caption = own.unique()
    if len(caption) < _FEWEST:
        raise DataError(
            f"{options.data} has {len(caption)} definitions of characters that are held out, and {_FEWEST} are needed; "
            "prepare more characters"
        )
    pictures = yield from towers.glyphs(glyphs, index)
    scores = pictures @ towers.texts([glyphs.captions[row] for row in caption.tolist()]).mT
    right, wrong = (some[:, None] == caption for some in (own, own[permutation(options.seed, 0, len(own))]))
    found = {
        "glyph → text": ranks(scores, right),
        "text → glyph": ranks(scores.mT, right.mT),
        "shuffled": ranks(scores, wrong),
    }
    new = not_learned(glyphs, origin.config.training.holdout)
    new_glyph = new[own]
    of_new = {"glyph → text": new_glyph, "text → glyph": new[caption], "shuffled": new_glyph}
    report = RetrievalReport(
        out=options.out,
        model={
            "path": str(options.model),
            "weights": towers.model.identity,
            "pictures": towers.model.images,
            "loss": towers.network.config.loss,
        },
        data={
            "path": str(options.data),
            "fingerprint": glyphs.fingerprint(),
            "held_out": len(index),
            "definitions": len(caption),
        },
        figures=retrieval_rows(
            found,
            {name: found[name][which] for name, which in of_new.items()},
            f"{len(caption):,} definitions or {len(index):,} glyphs",
        ),
        seconds=time.perf_counter() - started,
    )
    write_text(options.out, json.dumps(asdict(report) | {"out": str(options.out)}, indent=1, ensure_ascii=False) + "\n")
    return report


def not_learned(glyphs: GlyphSet, holdout: float) -> Tensor:
    """(n,) bool: the captions that no character has which is not held out in training.

    Old and new forms of a character mean the same, and often one was learned from.
    """
    table, new = glyphs.caption_table, torch.ones(len(glyphs.captions), dtype=torch.bool)
    learned = table.padded()[glyphs.character_of[~held_out(glyphs, holdout)]].unique()
    new[learned[learned >= 0]] = False
    return new


def one_of_each(glyphs: GlyphSet, wanted: Tensor) -> Tensor:
    """(C,) int64: one glyph of each character that has any in `wanted` (N,) bool, of one font after the other.

    So what is measured on them are independent units.
    """
    index = wanted.nonzero().flatten()
    index = index[glyphs.character_of[index].argsort(stable=True)]
    _, counts = glyphs.character_of[index].unique(return_counts=True)
    starts = counts.cumsum(0) - counts
    return index[starts + torch.arange(len(counts)) % counts].sort().values
