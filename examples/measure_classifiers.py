"""Measure two classifiers under noise, for the figure `classifiers`: measure_classifiers.py DATA > FILE.

One knows noise (glyffctl/pretrained/guide.safetensors), the other judges clean pictures in `glyffctl evaluate`. DATA is
a folder of `glyffctl prepare` at the size of the bundled model. The judge gets each noisy glyph as a picture file would
hold it, cut off at black and white.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch

from glyffctl.core.codecs.pixels import to_pixels, to_unit
from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.data.radicals import labels
from glyffctl.core.data.split import held_out
from glyffctl.core.data.subset import evenly_spaced
from glyffctl.core.diffusion.classifier_guidance import NoisyClassifier
from glyffctl.core.evaluation.classifier import load_classifier, predict
from glyffctl.core.models.checkpoint import load_model
from glyffctl.core.noise import Stream, normal
from glyffctl.workflows.companions import CLASSIFIER

HOLDOUT = 0.05
SIGMAS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 4.0, 7.0, 10.0, 15.0, 20.0, 30.0, 40.0, 80.0)


@torch.no_grad()
def measure(data: Path, count: int, classifier: Path | None = None) -> dict[str, Any]:
    """How many of at most `count` held-out glyphs each names rightly at each σ; the noise is always the same."""
    glyphs = open_glyphs(data)
    known = labels(glyphs)
    index = evenly_spaced((held_out(glyphs, HOLDOUT) & (known > 0)).nonzero().flatten(), count)
    judge, noisy = load_classifier()[0], NoisyClassifier(load_model(CLASSIFIER.path(classifier)).network)
    hits = {name: dict.fromkeys(SIGMAS, 0) for name in ("noisy", "clean")}
    for rows in index.split(64):
        x0 = to_unit(glyphs.images(rows))
        eps = normal(0, rows, tuple(x0.shape[1:]), Stream.EPS)
        for sigma in SIGMAS:
            x = x0 + sigma * eps
            level = torch.full((len(rows),), sigma, dtype=torch.float64)
            found = {
                "noisy": noisy.log_probabilities(x, level).argmax(1) + 1,
                "clean": predict(judge, [to_pixels(x)]).radical,
            }
            for name, radical in found.items():
                hits[name][sigma] += int((radical == known[rows]).sum())
    commonest = int(known[index].bincount().max())
    counts = {name: list(each.values()) for name, each in hits.items()}
    return {"glyphs": len(index), "commonest": commonest, "sigma": list(SIGMAS), **counts}


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]), 1000)))
