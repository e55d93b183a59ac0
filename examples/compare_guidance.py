"""Compare ways to guide the same model: compare_guidance.py DATA OUT [WORSE-MODEL].

Classifier-free guidance by a prompt, classifier guidance to its radical without the prompt, both together, and
autoguidance by WORSE-MODEL with the prompt. All have the weights of the bundled model, the noise of the same seeds, the
sampler dpmpp-2m, and as many operations for a picture, the backward pass of the classifier counted: what guides cheaply
takes more steps. The judge of `glyffctl evaluate`, which guided nobody, says how many pictures have the radical; recall
and coverage of real glyphs of these radicals, in its features, say how much of their variety is left. Writes OUT.json
and OUT.png, prints a table.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.data.radicals import labels
from glyffctl.core.data.subset import evenly_spaced
from glyffctl.core.device import CPU
from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.estimates import Estimate, share
from glyffctl.core.evaluation.classifier import load_classifier, predict
from glyffctl.core.evaluation.metrics import Manifold, manifold
from glyffctl.core.evaluation.prompts import Prompt, followed, radical_prompts
from glyffctl.core.io.bundled import BUNDLED, model_path
from glyffctl.core.models.checkpoint import Model
from glyffctl.core.models.drawer import Drawer, encode_prompts
from glyffctl.core.models.recipe import Recipe
from glyffctl.core.text.loading import load_encoder
from glyffctl.figures.style import new_figure, save_figure, style
from glyffctl.workflows.events import finish
from glyffctl.workflows.guide_options import AwayOptions, LeadOptions
from glyffctl.workflows.guiding import Guiding
from glyffctl.workflows.models import load_any

RADICALS, COUNT, STEPS, MOST_STEPS = 12, 6, 12, 30
INTERVAL = (1.0, math.inf)
PROMPTED, LED, BOTH, AWAY = "classifier-free", "classifier", "both, γ = 2", "autoguidance"
STRENGTHS = {PROMPTED: (2.0, 4.0, 8.0), LED: (3.0, 10.0, 30.0), BOTH: (10.0,), AWAY: (1.5, 2.0, 3.0)}


@dataclass(frozen=True)
class Row:
    """A method at one strength."""

    method: str
    strength: float
    steps: int
    operations: float  # 10⁹ multiplications and additions for a picture
    seconds: float  # for a picture
    adherence: Estimate
    overlap: Manifold


class Comparison:
    """A model, prompts, and the noise that all methods begin with."""

    def __init__(self, data: Path, worse: Path | None) -> None:
        self.model: Model = load_any(model_path(Path(BUNDLED)))
        self.drawer, self.worse = Drawer.of(self.model, CPU), worse
        every = radical_prompts()
        self.prompts: list[Prompt] = [every[row] for row in evenly_spaced(torch.arange(len(every)), RADICALS).tolist()]
        self.text = encode_prompts(load_encoder(BUNDLED), [prompt.text for prompt in self.prompts])
        self.judge = load_classifier()[0]
        glyphs = open_glyphs(data)
        known = labels(glyphs)
        rows = [
            evenly_spaced((known == prompt.radicals[0]).nonzero().flatten(), COUNT) for prompt in self.prompts
        ]  # as many real glyphs as are drawn, of the same radicals
        self.real = predict(self.judge, [glyphs.images(torch.cat(rows))]).features

    def _drawn(self, method: str, strength: float, steps: int, prompt: int, seeds: Tensor) -> Tensor:
        """Pictures of one prompt."""
        recipe = Recipe(steps=steps, guidance={LED: 1.0, BOTH: 2.0}.get(method, strength), interval=INTERVAL)
        lead, away = None, None
        text = self.text.rows(torch.full((len(seeds),), prompt))
        if method in (LED, BOTH):
            lead = LeadOptions(radical=self.prompts[prompt].radicals[0], scale=strength)
        if method == LED:
            text = Condition.none(len(seeds), self.model.text_width)
        if method == AWAY:
            assert self.worse is not None
            away = AwayOptions(model=self.worse)
        drawer = Guiding(lead, away, self.model, recipe).take(self.drawer)
        return finish(drawer.draw(recipe, text, seeds))

    def operations(self, method: str, strength: float, steps: int) -> float:
        """10⁹ multiplications and additions for one picture, backward passes included."""
        with FlopCounterMode(display=False) as counter:
            self._drawn(method, strength, steps, 0, torch.tensor([0]))
        return counter.get_total_flops() / 1e9

    def matched(self, method: str, strength: float, target: float) -> tuple[int, float]:
        """The number of steps whose operations come nearest to `target`, and how many those are."""
        few, many = (self.operations(method, strength, steps) for steps in (STEPS, MOST_STEPS))
        guess = STEPS + (target - few) / (many - few) * (MOST_STEPS - STEPS)
        near = [max(1, math.floor(guess)), max(1, math.ceil(guess))]
        found = {steps: self.operations(method, strength, steps) for steps in near}
        best = min(found, key=lambda steps: abs(found[steps] - target))
        return best, found[best]

    def rows(self) -> Iterator[Row]:
        """Every method at each of its strengths."""
        target = self.operations(PROMPTED, 4.0, STEPS)
        for method, strengths in STRENGTHS.items():
            if method == AWAY and self.worse is None:
                continue
            for strength in strengths:
                steps, operations = self.matched(method, strength, target)
                started = time.process_time()
                pictures = torch.cat(
                    [
                        self._drawn(method, strength, steps, place, place * COUNT + torch.arange(COUNT))
                        for place in range(len(self.prompts))
                    ]
                )
                seconds = (time.process_time() - started) / len(pictures)
                found = predict(self.judge, [pictures])
                hits = followed(self.prompts, found.radical.reshape(len(self.prompts), COUNT))
                overlap = manifold(self.real, found.features)
                yield Row(method, strength, steps, operations, seconds, share(int(hits.sum()), hits.numel()), overlap)


def plot(path: Path, rows: list[Row]) -> None:
    """Both fronts: adherence against recall and coverage, a line for each method."""
    with style():
        figure = new_figure(10, 4)
        for panel, name in zip(figure.subplots(1, 2), ("recall", "coverage"), strict=True):
            for method in dict.fromkeys(row.method for row in rows):
                own = [row for row in rows if row.method == method]
                x = [100 * row.adherence.value for row in own]
                y = [100 * getattr(row.overlap, name).value for row in own]
                panel.plot(x, y, marker="o", label=method)
                for row, *place in zip(own, x, y, strict=True):
                    panel.annotate(f"{row.strength:g}", place, textcoords="offset points", xytext=(5, 4))
            panel.set_xlabel("pictures with the radical, %")
            panel.set_ylabel(f"{name} of real glyphs, %")
            panel.grid()
        figure.legend(*panel.get_legend_handles_labels(), loc="outside lower center", ncols=3)
        save_figure(path, figure)


def plain(row: Row) -> dict[str, Any]:
    figures = {"adherence": row.adherence, **row.overlap._asdict()}
    sizes = {"steps": row.steps, "operations": round(row.operations, 2), "seconds": round(row.seconds, 3)}
    measured = {name: [round(end, 4) for end in (each.value, each.low, each.high)] for name, each in figures.items()}
    return {"method": row.method, "strength": row.strength, **sizes, **measured}


def main() -> None:
    data, out = Path(sys.argv[1]), Path(sys.argv[2])
    comparison = Comparison(data, Path(sys.argv[3]) if len(sys.argv) > 3 else None)
    print("| method | strength | steps | 10⁹ operations | radical | recall | coverage | seconds |\n|" + "---|" * 8)
    rows = []
    for row in comparison.rows():
        rows.append(row)
        shares = (
            f"{each.value:.0%} ({each.low:.0%}–{each.high:.0%})"
            for each in (row.adherence, row.overlap.recall, row.overlap.coverage)
        )
        print(
            f"| {row.method} | {row.strength:g} | {row.steps} | {row.operations:.1f} | {' | '.join(shares)} "
            f"| {row.seconds:.2f} |",
            flush=True,
        )
    out.with_suffix(".json").write_text(json.dumps([plain(row) for row in rows], indent=1), encoding="utf-8")
    plot(out.with_suffix(".png"), rows)


if __name__ == "__main__":
    main()
