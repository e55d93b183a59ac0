"""Drawing: the statements about steps, samplers, and the score."""

from __future__ import annotations

from glyffctl.core.theory.claims import FEW, MANY
from glyffctl.core.theory.sampler_error import COMPARED
from glyffctl.core.theory.walks import WALKS
from glyffctl.figures.claims.entry import Entry

TITLE = "Drawing, and the score"
ENTRIES = (
    Entry(
        "closer steps",
        "The closer the steps, the better the approximation.",
        "This tells why fewer than a thousand steps can do, and at what price.",
        found="The error of a perfect denoiser's drawings was computed in 10, 40 and 160 steps, relative to the "
        "standard deviation of the data. It is {n[ddpm, 10]:.0%}, {n[ddpm, 40]:.0%} and {n[ddpm, 160]:.1%} with the "
        "sampler ddpm, {n[ddim, 10]:.0%}, {n[ddim, 40]:.1%} and {n[ddim, 160]:.1%} with ddim, and {n[heun, 10]:.0%}, "
        f"{{n[heun, 40]:.1%}} and {{n[heun, 160]:.1%}} with heun. Of {len(COMPARED)} samplers, {{n[falling]:.0f}} get "
        "better with every doubling of the steps.",
        correction="this is so with some of the samplers only",
        instead="no sampler gets better with every doubling of the steps",
    ),
    Entry(
        "steps",
        f"Pictures drawn in {FEW} steps are bad, and pictures drawn in {MANY} steps are good.",
        "Pictures of both show how few steps are too few.",
    ),
    Entry(
        "five steps",
        f"What a model draws in {FEW} steps is not convincing.",
        "Pictures that a trained model drew show this.",
        found="The share of grey pixels tells how blurred a drawing is. In the drawings of the model it is "
        f"{{e[ddpm]:.1%}} after {FEW} steps of ddpm, and {{e[dpmpp-2m]:.1%}} after {FEW} steps of dpmpp-2m. After 20 "
        "steps of dpmpp-2m it is {e[twenty]:.1%}, and in real glyphs {e[real]:.1%}.",
        correction="this is so with the sampler ddpm, and less so with dpmpp-2m, which is of second order",
        instead=f"after {FEW} steps, drawings are as clean as real glyphs",
    ),
    Entry(
        "evaluations",
        "Other solvers need far fewer evaluations of the network than ddpm.",
        "This is how production systems draw faster.",
    ),
    Entry(
        "landing",
        "Without fresh noise the way back is fixed by its start, and still ends on data.",
        "Deterministic samplers are introduced so, beside the sampler that adds noise.",
        "lesson",
        found="An exact denoiser drew twice from the same starts. With the sampler ddim, {e[on data]:share} end on a "
        "glyph, and {e[half way]:share} if it is stopped half way. The second time, {e[ddim again]:share} end on the "
        "same glyph with ddim, and {e[ddpm again]:share} with ddpm, which adds fresh noise.",
        instead="some starts do not lead to a glyph, or not to the same one twice",
    ),
    Entry(
        "fresh noise",
        "Fresh noise after each step keeps the walk from getting stuck on a bad path.",
        "This is what the noise in a step back is for.",
        "companion",
        found=f"{WALKS:,} walks in the plane followed the exact score of one noise level, whose density has three "
        "peaks. Without fresh noise, {e[on a mode, without noise]:.1%} end on top of a peak, and "
        "{e[heaviest, without noise]:.1%} at the heaviest one, where {n[heaviest, true]:.1%} should. With fresh noise "
        "these are {e[on a mode, with noise]:.1%} and {e[heaviest, with noise]:.1%}. By chance alone, the three shares "
        "are so far off with p = {n[p, without noise]:.1g} without noise, and p = {n[p, with noise]:.2g} with it. For "
        "drawings from pure noise down, it is p = {n[p, ddim]:.2g} with ddim, which adds no noise, and "
        "p = {n[p, ddpm]:.2g} with ddpm, which does.",
        correction="a walk at one level gets stuck without noise; but on the way down from pure noise, ddim adds none "
        "and has the right shares, too",
        instead="walks at one level are not stuck without noise, or are stuck with it",
    ),
    Entry(
        "noise and score",
        "Predicting the noise is predicting the score, up to a constant factor.",
        "This leads over to the second explanation, by the score.",
        found="The score was computed by differentiation, and the mean noise ε from the exact denoiser. The score is "
        "−ε/√(1−ᾱ_t) to within {n[worst error]:.0e}. The factor −1/√(1−ᾱ_t) is {n[factor, t = 1]:.1f} at t = 1, "
        "{n[factor, t = 100]:.2f} at t = 100 and {n[factor, t = 1000]:.2f} at t = T.",
        correction="the factor, −1/√(1−ᾱ_t), is the same for all pictures, but not for all times t",
        instead="the two differ by more than a factor",
    ),
    Entry(
        "uphill",
        "The score points to the regions of highest density.",
        "This is how to read the arrows over the cloud of points.",
        found="A small step along the score raises the density at {e[rises, t = 100]:share} places of the plane at "
        "t = 100, and a step in any direction at {e[rises, any way, t = 100]:share}. The score points to the densest "
        "place of all, within 30°, at {e[to the densest, t = 100]:share} places at t = 100 and at "
        "{e[to the densest, t = 1000]:share} at t = T.",
        correction="it always points uphill; with little noise this is to some hill nearby, with much noise to the "
        "middle of all data",
        instead="it does not even point uphill",
    ),
    Entry(
        "score far away",
        "In regions of low probability the score tends to zero.",
        "At first sight, this is why many noise levels are needed.",
        found="For glyphs on two axes, the exact score at noise of σ = 0.3 was computed at 5, 10 and 20 standard "
        "deviations from the middle of the data. The logarithm of the density is {n[log density, 5]:,.0f}, "
        "{n[log density, 10]:,.0f} and {n[log density, 20]:,.0f} there. The length of the score is "
        "{n[score, 5]:,.0f}, {n[score, 10]:,.0f} and {n[score, 20]:,.0f}.",
        instead="the density tends to zero, but the score grows with the distance; a network has hardly ever trained "
        "on points that far out",
    ),
    Entry(
        "coverage",
        "The noisier the data, the more of the space has a density and a score to follow.",
        "This is what more noise does for the arrows of the score.",
        found="A place was counted as covered if its density is more than a thousandth of the greatest. Of a square of "
        "±3 standard deviations, {n[t = 100]:.0%} is covered at t = 100, {n[t = 300]:.0%} at t = 300 and "
        "{n[t = 1000]:.0%} at t = T.",
        instead="the covered share does not grow steadily, or hardly grows",
    ),
    Entry(
        "many levels",
        "Many noise levels lead to the data from anywhere.",
        "This is the conclusion of the second explanation, by the score.",
        found="{e[heaviest, one level]:count} walks began far from the data, which are three points; the heaviest of "
        "them has {n[heaviest, true]:.0%} of the data. At one low noise level, {e[heaviest, one level]:.1%} of the "
        "walks end at it, and by chance the three shares are so far off with p = {n[p, one level]:.0e}. Down through "
        "all levels, {e[heaviest, all levels]:.1%} do, with p = {n[p, all levels]:.2f}.",
        instead="one level does as well, or many do not",
    ),
)
