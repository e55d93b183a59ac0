"""Drawing: the statements about steps, samplers, and the score."""

from __future__ import annotations

from glyffctl.core.theory.claims import FEW, MANY
from glyffctl.figures.claims.entry import Entry

TITLE = "Drawing, and the score"
ENTRIES = (
    Entry(
        "closer steps",
        "the closer the steps, the better the approximation",
        "Why fewer than a thousand steps can do, and at what price.",
        found="error of a perfect denoiser's drawings in 10, 40 and 160 steps: ddpm {n[ddpm, 10]:.0%}, "
        "{n[ddpm, 40]:.0%}, {n[ddpm, 160]:.1%}; ddim {n[ddim, 10]:.0%}, {n[ddim, 40]:.1%}, {n[ddim, 160]:.1%}; heun "
        "{n[heun, 10]:.0%}, {n[heun, 40]:.1%}, {n[heun, 160]:.1%}; of six samplers {n[falling]:.0f} are better with "
        "every doubling",
        correction="for some samplers",
        instead="for none of them",
    ),
    Entry("steps", f"{FEW} steps are bad, {MANY} are good", "The limit of that, in pictures."),
    Entry(
        "five steps",
        f"with {FEW} steps what a model draws is not convincing",
        "The same with a trained model.",
        found="{e[ddpm]:.1%} of the pixels are grey after five steps of ddpm, {e[dpmpp-2m]:.1%} after five of "
        "dpmpp-2m, {e[twenty]:.1%} after twenty; {e[real]:.1%} in real glyphs",
        correction="less so by a second-order solver",
        instead="it is as clean as real glyphs",
    ),
    Entry(
        "evaluations",
        "other solvers need far fewer evaluations of the network than ddpm",
        "What production systems do about it.",
    ),
    Entry(
        "landing",
        "without fresh noise the way is fixed by its start, and still ends on data",
        "The deterministic samplers, beside the one with noise.",
        "lesson",
        found="with an exact denoiser {e[on data]:share} starts end on a glyph by ddim, {e[half way]:share} if it is "
        "stopped half way; drawn again, {e[ddim again]:share} end on the same glyph by ddim and "
        "{e[ddpm again]:share} by ddpm",
        instead="not all do",
    ),
    Entry(
        "fresh noise",
        "fresh noise after each step keeps the walk from getting stuck on a bad path",
        "What the noise in a step back is for.",
        "companion",
    ),
    Entry(
        "noise and score",
        "predicting the noise is predicting the score, up to a constant factor",
        "The bridge to the second explanation.",
    ),
    Entry(
        "uphill",
        "the score points to the regions of highest density",
        "How the arrows over the cloud are to be read.",
        found="a small step along it raises the density at {e[rises, t = 100]:share} places at t = 100 (any way: "
        "{e[rises, any way, t = 100]:share}); it points to the densest place of all, within 30°, at "
        "{e[to the densest, t = 100]:share} places at t = 100 and at {e[to the densest, t = 1000]:share} at T",
        correction="uphill, always; with little noise to some hill nearby, with much noise to the middle of all",
        instead="not uphill",
    ),
    Entry(
        "score far away",
        "in regions of low probability the score tends to zero",
        "Why many noise levels are needed, on the face of it.",
    ),
    Entry(
        "coverage",
        "the noisier, the more of the space has a density and a score to follow",
        "What more noise does for the arrows.",
        found="of a square of ±3 deviations {n[t = 100]:.0%} has more than a thousandth of the greatest density at t "
        "= 100, {n[t = 300]:.0%} at 300, {n[t = 1000]:.0%} at T",
        instead="it does not grow",
    ),
    Entry(
        "many levels",
        "many noise levels lead to the data from anywhere",
        "The conclusion of the second explanation.",
        found="of walks from far away {e[heaviest, one level]:.1%} end at the heaviest of three points at one low "
        "level (p = {n[p, one level]:.0e}), {e[heaviest, all levels]:.1%} down through all levels (p = "
        "{n[p, all levels]:.2f}); it has {n[heaviest, true]:.0%} of the data",
        instead="one level does as well, or many do not",
    ),
)
