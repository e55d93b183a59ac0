"""How well glyphs and texts are found by each other."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from glyffctl.core.estimates import Estimate, mean, quantile, share
from glyffctl.core.evaluation.prompts import Prompt
from glyffctl.core.evaluation.reconstruction import ReconstructionRow
from glyffctl.core.evaluation.report import Row

FIRST = (1, 5, 10)
"""The k of recall among the first k."""


def retrieval_rows(found: Mapping[str, Tensor], new: Mapping[str, Tensor], answers: str) -> list[ReconstructionRow]:
    """Recall and the median rank.

    Args:
        found: ranks (N,) from 1 of the right answer, by what is looked for by what.
        new: those of them that are about texts which were not learned from.
        answers: how many there are, in words.
    """
    rows = [
        ReconstructionRow(
            f"top {k}",
            "share",
            "the best answer is right" if k == 1 else f"a right one is among the {k} best",
            _recall(found, k),
        )
        for k in FIRST
    ]
    note = f"the median, of the right answer among {answers}; shuffled: glyphs held against the texts of others"
    rows.append(ReconstructionRow("rank", "number", note, {name: quantile(of, 0.5) for name, of in found.items()}))
    if all(map(len, new.values())):
        count = len(next(iter(new.values())))
        note = f"top {FIRST[-1]} of the {count:,} glyphs whose text no other has that was learned from"
        rows.append(ReconstructionRow(f"new {FIRST[-1]}", "share", note, _recall(new, FIRST[-1])))
    return rows


def _recall(found: Mapping[str, Tensor], k: int) -> dict[str, Estimate]:
    return {name: share(int((ranks <= k).sum()), len(ranks)) for name, ranks in found.items()}


def rank_rows(what: str, own: Tensor, others: Tensor, real: Tensor, note: str) -> list[Row]:
    """Rows about the rank of the text that each picture was drawn for, among all texts.

    Args:
        what: the texts, in the singular.
        own: (N,) ranks of texts for their own pictures,
        others: (N,) for those of other texts,
        real: (R,) and for real glyphs.
        note: how it is measured.
    """
    return [
        Row(f"rank of the {what}", mean(own), mean(real) if len(real) else None, "number", note, _LEGEND),
        Row("… of another's pictures", mean(others), None, "number", "the same pictures, held against the other texts"),
    ]


_LEGEND = "Rank: of the text among all of its kind by fit to the picture, according to contrastive towers; 1 is best."


def prompt_ranks(ranks: Tensor) -> tuple[Tensor, Tensor]:
    """(P,) float64: the mean rank of each prompt for its own pictures, and for those of the others.

    Args:
        ranks: (P, C, P) of every prompt (last) for C pictures of each prompt (first), two prompts at least.
    """
    mean_rank = ranks.double().mean(1)
    own = mean_rank.diagonal()
    return own, (mean_rank.sum(0) - own) / (len(mean_rank) - 1)


def radical_ranks(ranks: Tensor, radical: Tensor, prompts: list[Prompt]) -> Tensor:
    """(R,) float64: of each prompt whose radical some real glyphs have, its mean rank for those.

    Args:
        ranks: (N, P) of every prompt for each glyph.
        radical: (N,) of the glyphs.
        prompts: P prompts.
    """
    found = [
        ranks[radical == prompt.radicals[0], place].double().mean()
        for place, prompt in enumerate(prompts)
        if bool((radical == prompt.radicals[0]).any())
    ]
    return torch.stack(found) if found else torch.empty(0)
