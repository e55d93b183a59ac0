"""Reference learning curves: the held-out error of known recipes after so many pictures.

`pretrained/learning_curves.json` has for each recipe its batch and, after so many pictures, the mean squared error of D
on held-out characters by σ (`Trainer.validate`), for glyphs of Noto Sans CJK SC at 128×128. "first cpu" is the run of
an hour on two cores in examples/LOG.md (AdamW, 17.4 million parameters), "gpu" that of the model in the box;
`examples/learning_curves.py` writes such a file from the logs of runs.
"""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import dataclass
from typing import Any

from glyffctl.core.io.bundled import pretrained

FILE_NAME = "learning_curves.json"
SIZE = 128
"""Pixels along a side: other sizes have other errors."""
_NORMAL = 1.3  # from so many times the reference on, a run counts as slow; runs of one recipe differ by a tenth


@dataclass(frozen=True)
class Reference:
    """What a recipe had after as many pictures as a run has seen."""

    recipe: str
    error: dict[float, float]
    """By σ."""

    def verdict(self, validation: dict[float, float]) -> str:
        """Compare `validation` with this, in words."""
        known = [sigma for sigma in validation if sigma in self.error]
        mine = sum(validation[sigma] for sigma in known) / len(known)
        usual = sum(self.error[sigma] for sigma in known) / len(known)
        ratio = mine / usual
        word = "normal" if 1 / _NORMAL <= ratio <= _NORMAL else "slow" if ratio > _NORMAL else "ahead"
        return f"the {self.recipe} recipe had {usual:.4f} here: {word}"


def reference(size: int, batch: int, images: int) -> Reference | None:
    """The reference for a run with batches of `batch` after `images` pictures of size×size; None if there is none.

    The recipe of the nearest batch, as it counts; between its points error is a power of the number of pictures.
    """
    if size != SIZE:
        return None
    curves: list[dict[str, Any]] = json.loads(pretrained(FILE_NAME).read_text(encoding="utf-8"))
    curve = min(curves, key=lambda curve: abs(math.log(curve["batch"] / batch)))
    points = curve["points"]
    for before, after in itertools.pairwise(points):
        if before["images"] <= images <= after["images"]:
            share = math.log(images / before["images"]) / math.log(after["images"] / before["images"])
            error = {
                float(sigma): math.exp((1 - share) * math.log(low) + share * math.log(after["error"][sigma]))
                for sigma, low in before["error"].items()
            }
            return Reference(curve["recipe"], error)
    return None
