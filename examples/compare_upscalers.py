"""Compare upscalers on glyphs of fonts and on drawn ones: compare_upscalers.py DATA RUN…

DATA is a folder of `glyffctl prepare --size 512`. Three kinds of small pictures are enlarged by each upscaler: held-out
glyphs, reduced; the same, varied at strength 0.2 by the bundled model, so that they have faults of drawn pictures but
are known at 512; and drawn ones. Every upscaler is shown them with noise of each of the levels. Values are means with
95 % intervals.
"""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import glyffctl
from glyffctl.core.codecs.pixels import to_pixels, to_unit
from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.data.split import held_out
from glyffctl.core.data.subset import evenly_spaced
from glyffctl.core.estimates import mean
from glyffctl.core.evaluation.classifier_training import HOLDOUT
from glyffctl.core.evaluation.edges import measure_edges
from glyffctl.core.evaluation.reconstruction import squared_error, wrong_side
from glyffctl.core.models.checkpoint import load_model
from glyffctl.core.models.upscaler import Upscaler, enlarge_smoothly, reduced
from glyffctl.workflows.events import finish

COUNT = 64
LEVELS = (0.0, 0.02, 0.1, 0.2)  # of the noise that the small picture is shown with
CHANGED = 0.2  # of the way from a picture to noise
PROMPTS = ("fish", "metal", "to speak", "a kind of bird", "water", "tree", "silk", "mountain")


def cell(values: Tensor, scale: float = 1) -> str:
    found = mean(scale * values[values.isfinite()].double())
    return f"{found.value:#.3g} ({found.low:#.3g}–{found.high:#.3g})"


def row(large: Tensor, small: Tensor, real: Tensor | None) -> list[str]:
    """Figures of pictures (N, H, W) uint8 that were enlarged from `small`; `real` is what they should be."""
    parts = [measure_edges(some, torch.where(some > 127, 255, 0)) for some in large.split(16)]
    grey, width, breadth, corners = (torch.cat(column) for column in zip(*parts, strict=True))
    again = reduced(to_unit(large)[:, None], large.shape[-1] // small.shape[-1])[:, 0]
    away = (again - to_unit(small)).abs().flatten(1).mean(1)
    cells = [cell(grey, 100), cell(breadth), cell(width), cell(corners), cell(away, 127.5)]
    if real is not None:
        cells += [cell(wrong_side(large, real), 100), cell(squared_error(large, real), 1e3)]
    return cells


def kinds(data: Path) -> Iterator[tuple[str, Tensor, Tensor | None]]:
    """The small pictures (N, 128, 128) uint8, and what they are at 512, where that is known."""
    glyphs = open_glyphs(data)
    index = evenly_spaced(held_out(glyphs, HOLDOUT).nonzero().flatten(), COUNT)
    real = glyphs.images(index)[:, 0]
    small = to_pixels(reduced(to_unit(real)[:, None], 4))[:, 0]
    yield "reduced", small, real
    model = glyffctl.load()
    recipe = glyffctl.Recipe(steps=12, guidance=1.0)
    changed = [
        np.array(model.draw("", vary=Image.fromarray(picture.numpy()), strength=CHANGED, recipe=recipe, seed=seed)[0])
        for seed, picture in enumerate(small)
    ]
    yield "noised and drawn back", torch.from_numpy(np.stack(changed)), real
    drawn = model.draw(PROMPTS, count=COUNT // len(PROMPTS))
    yield "drawn", torch.from_numpy(np.stack([np.array(picture) for picture in drawn])), None


def main() -> None:
    """Enlarge, measure and print."""
    data, *runs = map(Path, sys.argv[1:])
    upscalers = {run: Upscaler.of(load_model(run), torch.device("cpu"), 8) for run in runs}
    heads = ["", "noise", "grey, %", "grey along an edge", "stroke width", "grey at corners", "reduced, greys away"]
    for name, small, real in kinds(data):
        more = [] if real is None else ["wrong side of grey, %", "squared error · 1000"]
        lines = [heads + more, ["---"] * (len(heads) + len(more))]
        if real is not None:
            lines.append(["the font", "", *row(real, small, real)])
        smooth = to_pixels(enlarge_smoothly(to_unit(small)[:, None], 4))[:, 0]
        lines.append(["bicubic", "", *row(smooth, small, real)])
        for run, upscaler in upscalers.items():
            for level in LEVELS:
                recipe = replace(upscaler.recipe, noise=level)
                large = finish(upscaler.enlarge(small, torch.arange(len(small)), 512, recipe))
                lines.append([run.name, f"{level:g}", *row(large, small, real)])
        print(f"\n{name}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines), flush=True)


if __name__ == "__main__":
    main()
