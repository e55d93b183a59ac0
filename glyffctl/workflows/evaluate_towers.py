"""The rows of `glyffctl evaluate` by contrastive towers: does a picture fit its own text best?"""

from __future__ import annotations

from collections.abc import Generator

import torch
from torch import Tensor

from glyffctl.core.data.dataset import GlyphSet
from glyffctl.core.data.radicals import labels
from glyffctl.core.evaluation.classifier_training import HOLDOUT
from glyffctl.core.evaluation.prompts import Prompt
from glyffctl.core.evaluation.report import Row
from glyffctl.core.evaluation.retrieval import prompt_ranks, radical_ranks, rank_rows
from glyffctl.core.networks.contrastive import ranks
from glyffctl.workflows.events import Caution, Event
from glyffctl.workflows.towers import Towers


def tower_rows(
    towers: Towers,
    prompts: list[Prompt],
    prompted: Tensor,
    defined: Tensor,
    glyphs: GlyphSet,
    held: Tensor,
    of_prompts: Tensor,
) -> Generator[Event, None, list[Row]]:
    """Rows about the ranks of prompts and definitions.

    Args:
        towers: what compares.
        prompts: P prompts.
        prompted: (P·C, H, W) uint8, C pictures of each prompt.
        defined: (N, H, W) uint8, pictures of the definitions of the glyphs `held`.
        glyphs: real ones.
        held: (N,) held-out glyphs.
        of_prompts: (M,) held-out glyphs with the first radical of a prompt.
    """
    if towers.model.origin.config.training.holdout < HOLDOUT:
        yield Caution(
            "the contrastive towers were trained on some of the characters that are held out here: real glyphs fit "
            "their definitions better than they should",
            "trained-on-holdout",
        )
    rows = list[Row]()
    if len(prompts) > 1:
        texts = towers.texts([prompt.text for prompt in prompts]).mT
        drawn = (yield from towers.pictures(prompted)) @ texts
        real = (yield from towers.glyphs(glyphs, of_prompts)) @ texts
        own, others = prompt_ranks(_every_rank(drawn).unflatten(0, (len(prompts), -1)))
        of_real = radical_ranks(_every_rank(real), labels(glyphs)[of_prompts], prompts)
        note = (
            f"the mean over {len(prompts)} prompts, among which it is; real: held-out glyphs with the prompt's radical"
        )
        rows += rank_rows("prompt", own, others, of_real, note)
    own_caption = glyphs.caption_of[held]
    caption = own_caption.unique()
    if len(caption) > 1:
        texts = towers.texts([glyphs.captions[row] for row in caption.tolist()]).mT
        drawn = (yield from towers.pictures(defined)) @ texts
        real = (yield from towers.glyphs(glyphs, held)) @ texts
        right, wrong = (some[:, None] == caption for some in (own_caption, own_caption.roll(1)))
        note = f"among {len(caption):,} definitions of held-out characters; real: the glyphs of these"
        rows += rank_rows("definition", ranks(drawn, right), ranks(drawn, wrong), ranks(real, right), note)
    return rows


def _every_rank(scores: Tensor) -> Tensor:
    """(N, T): the rank of each of T texts by scores (N, T)."""
    columns = torch.eye(scores.shape[1], dtype=torch.bool)
    return torch.stack([ranks(scores, column.expand(len(scores), -1)) for column in columns], dim=1)
