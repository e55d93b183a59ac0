"""The way into noise: the statements about noise, schedules and what is left at the end."""

from __future__ import annotations

from glyffctl.core.diffusion.schedule import SCHEDULES
from glyffctl.figures.claims.entry import Entry

TITLE = "Into noise"
ENTRIES = (
    Entry(
        "independent noise",
        "the noise of one pixel has nothing to do with that of the next",
        "The definition of noise, before anything is done with it.",
        found="correlation of neighbouring pixels {e[noise]:.4f} in the noise that pictures are drawn from (p = "
        "{n[p]:.2f}; mean {n[mean]:.4f}, deviation {n[deviation]:.4f}), {e[glyphs]:.2f} in glyphs",
        instead="they are correlated",
    ),
    *(
        Entry(
            f"pure noise, {name}",
            f"x_T of the {name} schedule is pure noise",
            "The end of the way in, and where drawing starts: if it is not pure noise, drawing starts a little wrong.",
        )
        for name in SCHEDULES
    ),
    Entry(
        "horizon",
        "after many steps x_T is close to N(0, I), whatever the data",
        "The reason that a drawing can begin with noise that knows of no data.",
        "lesson",
        found="divergence of x_T from N(0, I), with β from 10⁻⁴ to 0.02, for the glyphs' mean and covariance: "
        "{n[nats, 100]:,.0f} nats after 100 steps, {n[nats, 1000]:.2f} after 1,000, {n[nats, 4000]:.0e} after 4,000; "
        "√ᾱ_T {n[signal, 100]:.2f}, {n[signal, 1000]:.4f}, {n[signal, 4000]:.0e}",
        correction="after 4,000 steps; at the usual 1,000 the white of the paper can still be told from grey",
        instead="not with these steps",
    ),
    Entry(
        "shrinking",
        "a noising step is a Gaussian around the point it starts from",
        "The picture of a single step, in the plane.",
    ),
    Entry(
        "one jump",
        "x_t drawn in one step has the distribution of t single steps",
        "What makes training cheap: any amount of noise at once.",
    ),
    Entry(
        "evenness",
        "the cosine schedule destroys information more evenly than the linear one",
        "Why later work changed the schedule.",
    ),
    Entry(
        "even steps",
        "a schedule serves best if every step destroys as much information",
        "The reason given for the cosine schedule.",
        found="error of ten steps of ddim on levels spaced evenly in information {n[ddim, even]:.0%}, evenly in "
        "information weighted by σ {n[ddim, even by σ]:.0%}, karras {n[ddim, karras]:.0%}, cosine "
        "{n[ddim, cosine]:.0%}, linear {n[ddim, linear]:.0%}; of dpmpp-2m {n[dpmpp-2m, even]:.0%}, "
        "{n[dpmpp-2m, even by σ]:.0%}, {n[dpmpp-2m, karras]:.0%}, {n[dpmpp-2m, cosine]:.0%}, {n[dpmpp-2m, linear]:.0%}",
        correction="with some solvers",
        instead="nearly all information is about exact greys, so even steps leave the strokes to one or two of them; "
        "weighted by σ it is another matter",
    ),
    Entry(
        "becomes noise",
        "the more steps, the more the data look like Gaussian noise",
        "What the row of clouds is to show.",
        found="total variation distance from N(0, I) of glyphs on two axes: {n[t = 1]:.3f} at t = 1, "
        "{n[t = 250]:.3f} at 250, {n[t = 500]:.4f} at 500, {n[t = 1000]:.0e} at 1,000; of as many points of N(0, I) "
        "itself {n[control]:.3f} at 250",
        instead="not steadily",
    ),
    Entry(
        "recognition",
        "of a very noisy picture it is hard to tell which it was",
        "Why the way back cannot be computed and has to be learned.",
        found="of {n[total]:.2f} bits about which glyph it is, an exact observer has {e[t = 500]:.2f} at t = 500 of "
        "the linear schedule, {e[t = 750]:.2f} at 750, {e[t = 1000]:.2f} at 1,000; half of them until t = "
        "{n[half at]:.0f}",
        correction="at the very end; until then whoever knows all glyphs names the right one long after eyes give up",
        instead="even at the end an exact observer can tell",
    ),
    Entry(
        "uniform times",
        "times drawn evenly in training dwell on noise that has little to teach",
        "Why losses are weighted, or times drawn unevenly.",
        "lesson",
        found="the noisiest third of the steps destroys {n[noisiest third, linear]:.1%} of the information about a "
        "Gaussian of the glyphs under the linear schedule, {n[noisiest third, cosine]:.1%} under cosine; the "
        "cleanest third {n[cleanest third, linear]:.0%} and {n[cleanest third, cosine]:.0%}",
        correction="under one of the two schedules",
        instead="a third of the steps has its share of the information",
    ),
)
