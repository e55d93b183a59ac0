"""Measure the edges that an upscaler draws, beside interpolation and real glyphs: measure_upscaler.py RUN DATA [COUNT].

DATA has pictures of the size that it draws. Characters held out of training are enlarged from reduced pictures.
Values are means with 95 % intervals.
"""

import sys
from pathlib import Path

from glyffctl.core.codecs.pixels import to_pixels, to_unit
from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.data.split import held_out
from glyffctl.core.data.subset import evenly_spaced
from glyffctl.core.device import CPU
from glyffctl.core.estimates import mean
from glyffctl.core.evaluation.edges import measure_edges
from glyffctl.core.models.checkpoint import load_model
from glyffctl.core.models.upscaler import Upscaler, enlarge_smoothly, reduced
from glyffctl.workflows.events import finish

model = load_model(Path(sys.argv[1]))
upscaler = Upscaler.of(model, CPU, 4)
size, scale = upscaler.config.size, upscaler.config.scale
glyphs = open_glyphs(Path(sys.argv[2]))
held = held_out(glyphs, model.origin.config.training.holdout).nonzero().flatten()
index = evenly_spaced(held, int(sys.argv[3]) if len(sys.argv) > 3 else 64)
real = glyphs.images(index)
small = reduced(to_unit(real), scale)
drawn = {
    "bicubic": to_pixels(enlarge_smoothly(small, scale))[:, 0],
    "upscaler": finish(upscaler.enlarge(to_pixels(small)[:, 0], index, size)),
    "real": real[:, 0],
}
print(f"{len(index)} glyphs of {size}x{size}, {upscaler.recipe.summary()}, {upscaler.precision}")
print("| | grey pixels | stroke width | grey pixels per pixel of edge | wrong around corners | squared error |")
print("|---|---|---|---|---|---|")
for name, pictures in drawn.items():
    edges = measure_edges(pictures, real[:, 0])
    error = (to_unit(pictures) - to_unit(real)[:, 0]).square().mean((1, 2))
    columns = [edges.grey, edges.width, edges.breadth, edges.corners[edges.corners.isfinite()], error]
    cells = [f"{e.value:.4f} ({e.low:.4f}-{e.high:.4f})" for e in map(mean, columns)]
    print(f"| {name} | {' | '.join(cells)} |", flush=True)
