"""Measure how much of a glyph each noise level hides from a model: measure_schedule.py RUN DATA FILE.toml [COUNT].

The squared error on characters held out of training, at 17 levels, becomes a table for `--schedule FILE.toml`; beside
the model, as entropic.toml, it is what `--schedule entropic` takes. DATA has embeddings by the model's encoder.
"""

import sys
from pathlib import Path

import torch

from glyffctl.core.data.embeddings import load_embeddings
from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.data.split import held_out
from glyffctl.core.data.subset import evenly_spaced
from glyffctl.core.device import CPU
from glyffctl.core.diffusion.entropic import lost_information, without_own_error
from glyffctl.core.estimates import mean
from glyffctl.core.io.bundled import model_path
from glyffctl.core.models.checkpoint import load_model
from glyffctl.core.models.drawer import Drawer
from glyffctl.core.models.level_table import LevelTable
from glyffctl.core.noise import normal

LEVELS = 17

model = load_model(model_path(Path(sys.argv[1])))
data, out = Path(sys.argv[2]), Path(sys.argv[3])
glyphs = open_glyphs(data)
embeddings = load_embeddings(data, glyphs.captions)
held = held_out(glyphs, model.origin.config.training.holdout).nonzero().flatten()
index = evenly_spaced(held, int(sys.argv[4]) if len(sys.argv) > 4 else 256)
drawer = Drawer.of(model, CPU, 32)  # in bfloat16 where that is faster, as pictures are drawn
ends = model.schedule.sigmas[[0, -1]].log()
sigmas = torch.linspace(float(ends[0]), float(ends[1]), LEVELS, dtype=torch.float64).exp()
errors = torch.zeros(LEVELS, len(index), dtype=torch.float64)
print(f"{len(index)} glyphs, {drawer.precision}", flush=True)
with torch.no_grad():
    for rows in torch.arange(len(index)).split(drawer.batch):
        glyph = index[rows]
        x0 = model.codec.encode(glyphs.images(glyph)[:, 0])
        context = drawer.denoiser.network.encode(embeddings.batch(glyphs.caption_of[glyph]))
        for k, sigma in enumerate(sigmas):
            eps = normal(k, glyph, tuple(x0.shape[1:]), 0)
            guess = drawer.denoiser(x0 + float(sigma) * eps, sigma.expand(len(rows)), context)
            errors[k, rows] = (guess - x0).double().square().flatten(1).sum(1)
information = lost_information(sigmas, without_own_error(sigmas, errors.mean(1)))
print("| σ | squared error of a pixel | nats lost |\n|---|---|---|")
for sigma, error, nats in zip(sigmas.tolist(), errors / x0[0].numel(), information.tolist(), strict=True):
    e = mean(error)
    print(f"| {sigma:.4g} | {e.value:.5f} ({e.low:.5f}-{e.high:.5f}) | {nats:.1f} |")
table = LevelTable(tuple(sigmas.tolist()), tuple(information.tolist()))
about = f"measure_schedule.py: nats about a glyph lost by each level, {len(index)} held-out glyphs, {drawer.precision}"
out.write_text(table.as_toml(about), encoding="utf-8")
print(out)
