"""Compare what models know at each noise level: compare_errors.py DATA GLYPHS OUT MODEL….

The squared error of a pixel of x0 on up to GLYPHS characters that all of them held out of training, with the same
noise for all: one scale, whatever their networks predict. In float32, as what a network that predicts ε rounds off
counts σ times. A second table has the ratio to the error of the first model, the geometric mean over glyphs. Takes a
GPU where there is one. DATA has embeddings by the encoder of the models. Writes OUT.json, prints the tables.
"""

from __future__ import annotations

import json
import math
import sys
import time
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from glyffctl.core.data.dataset import GlyphSet
from glyffctl.core.data.embeddings import Embeddings, load_embeddings
from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.data.split import held_out
from glyffctl.core.data.subset import evenly_spaced
from glyffctl.core.device import choose_device
from glyffctl.core.errors import GlyffError
from glyffctl.core.estimates import Estimate, mean
from glyffctl.core.io.bundled import model_path
from glyffctl.core.models.checkpoint import TrainedModel
from glyffctl.core.models.drawer import Drawer
from glyffctl.core.noise import Stream, normal
from glyffctl.core.training.denoising import VALIDATION_SIGMAS
from glyffctl.workflows.models import load_drawing_model

BATCH = 128


def errors_of(model: TrainedModel, glyphs: GlyphSet, embeddings: Embeddings, index: Tensor) -> Tensor:
    """(σ, N) float64: the mean squared error of each of `VALIDATION_SIGMAS` on each glyph of `index` (N,)."""
    device = embeddings.tokens.device
    drawer = Drawer.of(model, device, BATCH, "fp32")
    errors = []
    with torch.no_grad():
        for rows in index.split(drawer.batch):
            x0 = model.codec.encode(glyphs.images(rows)[:, 0].to(device))
            eps = normal(0, rows.to(device), tuple(x0.shape[1:]), Stream.EPS)
            text = embeddings.batch(glyphs.caption_of[rows].to(device))
            context = drawer.denoiser.network.encode(text)
            guesses = (drawer.denoiser(x0 + s * eps, torch.full((len(rows),), s), context) for s in VALIDATION_SIGMAS)
            errors.append(torch.stack([(guess - x0).double().square().mean(dim=(1, 2, 3)) for guess in guesses]))
    model.network.cpu()
    return torch.cat(errors, dim=1).cpu()


def table(rows: dict[str, list[str]]) -> str:
    """Rows of cells, a column for each level."""
    head = ["", *(f"σ = {sigma:g}" for sigma in VALIDATION_SIGMAS)]
    return "\n".join(
        f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *([n, *r] for n, r in rows.items()))
    )


def ratio(ours: Tensor, first: Tensor) -> Estimate:
    """The geometric mean of the ratios of errors (N,), glyph by glyph: short where glyphs agree."""
    logarithm = mean((ours / first).log())
    low, value, high = (math.exp(x) for x in (logarithm.low, logarithm.value, logarithm.high))
    return Estimate(value, low, high, logarithm.count)


def compare(data: Path, count: int, paths: list[Path]) -> dict[str, Tensor]:
    """The errors of each model, by its path."""
    models = {str(path): load_drawing_model(model_path(path)) for path in paths}
    first = next(iter(models.values()))
    for name, model in models.items():
        if model.network.one_pass:
            sys.exit(f"{name} draws in one pass and knows no noise levels; leave it out")
        if type(model.codec) is not type(first.codec) or model.codec.shape != first.codec.shape:
            sys.exit(f"{name} diffuses something else than {paths[0]}: errors of the two cannot be compared")
    glyphs, device = open_glyphs(data), choose_device()
    held = held_out(glyphs, min(model.origin.config.training.holdout for model in models.values()))
    index = evenly_spaced(held.nonzero().flatten(), count)
    if not len(index):
        sys.exit("some of these models held nothing out of training")
    embeddings = load_embeddings(data, glyphs.captions).to(device)
    return {name: errors_of(model, glyphs, embeddings, index) for name, model in models.items()}


def main() -> None:
    """Compare the models of the command line."""
    if len(sys.argv) < 5 or not sys.argv[2].isdecimal():
        sys.exit(__doc__)
    started = time.perf_counter()
    try:
        found = compare(Path(sys.argv[1]), int(sys.argv[2]), [Path(path) for path in sys.argv[4:]])
    except GlyffError as error:
        sys.exit(f"error: {error}")
    first = next(iter(found.values()))
    means = {name: [mean(error) for error in errors] for name, errors in found.items()}
    ratios = {name: list(map(ratio, errors, first)) for name, errors in list(found.items())[1:]}
    print(
        f"{first.shape[1]} glyphs, {time.perf_counter() - started:.0f} s; 95 % intervals of the bootstrap over glyphs\n"
    )
    print(table({name: [f"{e.value:.4f} ({e.low:.4f}–{e.high:.4f})" for e in row] for name, row in means.items()}))
    if ratios:
        cells = {name: [f"{e.value:.3f} ({e.low:.3f}–{e.high:.3f})" for e in row] for name, row in ratios.items()}
        print(f"\nRatio to {sys.argv[4]}:\n\n{table(cells)}")
    plain = {
        "sigma": VALIDATION_SIGMAS,
        "error": {name: [asdict(e) for e in row] for name, row in means.items()},
        "ratio": {name: [asdict(e) for e in row] for name, row in ratios.items()},
    }
    out = Path(f"{sys.argv[3]}.json")
    out.write_text(json.dumps(plain, indent=1), encoding="utf-8")
    print(out)


if __name__ == "__main__":
    main()
