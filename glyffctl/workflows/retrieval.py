"""`glyffctl evaluate` of contrastive towers: held-out glyphs found by their definitions, and the other way round."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass

import torch
from torch import Tensor

from glyffctl.core.data.dataset import GlyphSet
from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.data.split import held_out
from glyffctl.core.data.subset import evenly_spaced
from glyffctl.core.device import choose_device
from glyffctl.core.errors import DataError, UsageError
from glyffctl.core.evaluation.classifier_training import HOLDOUT
from glyffctl.core.evaluation.retrieval import retrieval_rows
from glyffctl.core.io.names import utf8_name
from glyffctl.core.networks.contrastive import ranks
from glyffctl.core.noise import permutation
from glyffctl.workflows.events import Caution, Event
from glyffctl.workflows.held_out import HeldOutOptions, HeldOutReport, check_out, write_report
from glyffctl.workflows.towers import load_towers

_FEWEST = 2


@dataclass(frozen=True, kw_only=True)
class RetrievalOptions(HeldOutOptions):
    """The options of `retrieval`; the seed is that of the shuffled pairs.

    Attributes:
        pictures: the most held-out characters, one glyph of each.
    """

    pictures: int = 20_000

    def __post_init__(self) -> None:
        """Raise UsageError for values out of range."""
        super().__post_init__()
        if self.pictures < _FEWEST:
            raise UsageError(f"--pictures must be at least {_FEWEST}, not {self.pictures}")


def retrieval(options: RetrievalOptions) -> Generator[Event, None, HeldOutReport]:
    """Measure how well towers find glyphs and definitions of held-out characters by each other.

    Raises:
        GlyffError: the model, its text encoder, the data or the output cannot be used.
    """
    started = time.perf_counter()
    check_out(options.out)
    device = choose_device(options.device)
    towers = yield from load_towers(options.model, device)
    origin = towers.model.origin
    if origin.config.training.holdout < HOLDOUT:
        yield Caution(
            "the towers were trained on some of the characters that are held out here: figures may be better than they "
            "should be",
            "trained-on-holdout",
        )
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
    report = HeldOutReport(
        out=options.out,
        model={
            "path": utf8_name(options.model),
            "weights": towers.model.identity,
            "pictures": towers.model.images,
            "loss": towers.network.config.loss,
        },
        data={
            "path": utf8_name(options.data),
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
    write_report(report)
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
