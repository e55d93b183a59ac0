"""The way into noise: the statements about noise, schedules and what is left at the end."""

from __future__ import annotations

from glyffctl.core.diffusion.schedule import SCHEDULES
from glyffctl.core.theory.noising_claims import EVEN_STEPS
from glyffctl.figures.claims.entry import Entry

TITLE = "Into noise"
ENTRIES = (
    Entry(
        "independent noise",
        "The noise of one pixel has nothing to do with the noise of the next.",
        "This is the definition of noise, before anything is done with it.",
        found="In the noise that pictures are drawn from, the correlation of neighbouring pixels is {e[noise]:.4f}. If "
        "it is 0 in truth, it is so far off by chance with p = {n[p]:.2f}. The mean of this noise is {n[mean]:.4f}, "
        "and its standard deviation {n[deviation]:.4f}. In glyphs, neighbouring pixels have the correlation "
        "{e[glyphs]:.2f}.",
        instead="neighbouring pixels of the noise are correlated",
    ),
    *(
        Entry(
            f"pure noise, {name}",
            f"At the end of the {name} schedule, the noisy picture x_T is pure noise.",
            "The way into noise ends here, and drawing starts here. If x_T is not pure noise, drawing starts a little "
            "wrong.",
            found="The mean brightness of {n[draws]:,.0f} pictures x_T was compared with that of pure noise. It is off "
            "by {e[brightness]:.3f} standard deviations, which is z = {n[z]:.1f} standard errors. The largest gap "
            "between the two cumulative distributions (KS distance) is {n[ks]:.3f}; pure noise has such a gap with "
            "p = {n[p]:.2g}.",
            instead="a trace of the brightness of the paper survives, because √ᾱ_T, the factor of the clean picture in "
            "x_T, is {n[signal]:.4f} and not 0",
        )
        for name in SCHEDULES
    ),
    Entry(
        "horizon",
        "After many steps x_T is close to pure noise, N(0, I), whatever the data are.",
        "This is why a drawing can begin with noise that knows nothing of the data.",
        "lesson",
        found="The divergence of x_T from N(0, I), in nats (0: no difference), was computed for a Gaussian with the "
        "glyphs' mean and covariance. With β rising from 10⁻⁴ to 0.02, it is {n[nats, 100]:,.0f} after 100 steps, "
        "{n[nats, 1000]:.2f} after 1,000 and {n[nats, 4000]:.0e} after 4,000. √ᾱ_T, the factor of the clean picture in "
        "x_T, is {n[signal, 100]:.2f}, {n[signal, 1000]:.4f} and {n[signal, 4000]:.0e}.",
        correction="x_T is close to N(0, I) after 4,000 steps; after the usual 1,000, the white of the paper can still "
        "be told from grey",
        instead="x_T is not close to N(0, I) after these numbers of steps",
    ),
    Entry(
        "shrinking",
        "A step into noise is a Gaussian around the point that it starts from.",
        "This describes a single step, with a picture in the plane.",
        found="Data of variance 1 went through 1,000 steps of the linear schedule, in {e[without]:count} walks. With "
        "each step a Gaussian around √(1−β) times the point, the variance at the end is {e[with the factor]:.3f}. With "
        "each step a Gaussian around the point itself, it is {e[without]:.2f}.",
        correction="the Gaussian is around √(1−β) times the point; without this factor the noise never settles at "
        "N(0, 1)",
        instead="the variance at the end is not as expected, with the factor √(1−β) or without",
    ),
    Entry(
        "one jump",
        "Drawn in one step, x_t has the same distribution as after t single steps.",
        "This makes training cheap: any amount of noise takes one step.",
        found="One point went through {n[steps]:.0f} single steps, {e[mean]:count} times. At the end, the mean is "
        "{e[mean]:.4f} and the variance {e[variance]:.4f}; one step has {n[expected mean]:.4f} and "
        "{n[expected variance]:.4f}. The largest gap between the two cumulative distributions (KS distance) is "
        "{n[ks]:.4f}; by chance alone it is so large with p = {n[p]:.2f}.",
        instead="the two distributions differ",
    ),
    Entry(
        "evenness",
        "The cosine schedule destroys information more evenly than the linear one.",
        "This is why later work changed the schedule.",
    ),
    Entry(
        "even steps",
        "A schedule serves best if every step destroys the same amount of information.",
        "This is the reason given for the cosine schedule.",
        found=f"For five spacings of the noise levels, the error of {EVEN_STEPS} steps with a perfect denoiser was "
        "computed, relative to the standard deviation of the data. With the sampler ddim, it is {n[ddim, even]:.0%} if "
        "levels are spaced evenly in information, and {n[ddim, even by σ]:.0%} if evenly in information weighted by σ. "
        "The schedules karras, cosine and linear have {n[ddim, karras]:.0%}, {n[ddim, cosine]:.0%} and {n[ddim, "
        "linear]:.0%}. With the sampler dpmpp-2m, the same five have {n[dpmpp-2m, even]:.0%}, {n[dpmpp-2m, even by "
        "σ]:.0%}, {n[dpmpp-2m, karras]:.0%}, {n[dpmpp-2m, cosine]:.0%} and {n[dpmpp-2m, linear]:.0%}.",
        correction="it does with one of the two samplers, and not with the other",
        instead="nearly all information is about exact greys, so even steps leave only one or two for the strokes; "
        "this does not apply to information weighted by σ",
    ),
    Entry(
        "becomes noise",
        "The more noising steps, the more the data look like Gaussian noise.",
        "A row of point clouds is meant to show this.",
        found="Glyphs were reduced to two axes, and the total variation distance of their distribution from N(0, I) "
        "was computed (0: the same; 1: no overlap). It is {n[t = 1]:.3f} at t = 1, {n[t = 250]:.3f} at t = 250, "
        "{n[t = 500]:.4f} at t = 500 and {n[t = 1000]:.0e} at t = 1,000. As many points of N(0, I) itself have "
        "{n[control]:.3f} at t = 250.",
        instead="the distance does not fall steadily to nearly 0",
    ),
    Entry(
        "recognition",
        "Of a very noisy picture it is hard to tell which picture it was.",
        "This is why the way back cannot be computed and has to be learned.",
        found="Naming one of the glyphs takes {n[total]:.2f} bits of information. An exact observer knows all "
        "glyphs and computes how likely each is. The observer has {e[t = 500]:.2f} of these bits "
        "at t = 500 of the linear schedule, {e[t = 750]:.2f} at t = 750, and {e[t = 1000]:.2f} at t = 1,000. Half of "
        "the bits are left until t = {n[half at]:.0f}.",
        correction="it is hard only at the very end; before that, an observer who knows all glyphs can name the right "
        "one, long after eyes give up",
        instead="even at the end an exact observer can tell",
    ),
    Entry(
        "uniform times",
        "Times drawn evenly in training dwell on noise levels that have little to teach.",
        "This is why losses are weighted, or times are drawn unevenly.",
        "lesson",
        found="For a Gaussian with the glyphs' covariance, the information that each step destroys was computed. The "
        "noisiest third of the steps destroys {n[noisiest third, linear]:.1%} of it under the linear schedule and "
        "{n[noisiest third, cosine]:.1%} under the cosine schedule. The cleanest third destroys "
        "{n[cleanest third, linear]:.0%} and {n[cleanest third, cosine]:.0%}.",
        correction="they do so under one of the two schedules only",
        instead="the noisiest third of the steps destroys a tenth of the information or more, under both schedules",
    ),
)
