"""The way back, learned: the statements about what a network predicts, and how it is trained."""

from __future__ import annotations

from glyffctl.figures.claims.entry import Entry

TITLE = "Learning the way back"
ENTRIES = (
    Entry(
        "small steps",
        "the smaller a reverse step, the closer its distribution to a Gaussian",
        "Why the way in takes many small steps: only then is the way back easy to say.",
    ),
    Entry(
        "reverse variance",
        "the variance of a reverse step may be fixed, at β̃ or at β",
        "What is left to learn of a step, if its spread is given.",
        "lesson",
    ),
    Entry(
        "best guess",
        "the squared error is least for the mean of the noise, given the picture",
        "What the loss asks of a network, and so what it becomes.",
        "lesson",
        found="where half of what tells the glyph is lost (σ = {n[sigma]:.0f}), squared error of the exact mean "
        "{e[mean]:.2f}, of the likeliest glyph {e[likeliest]:.2f}, of one drawn by its probability {e[drawn]:.2f} "
        "({n[ratio]:.2f} times the mean's, and 2 in theory); {e[grey]:.0%} of the mean are grey: it is a blur",
        instead="another guess is better",
    ),
    Entry(
        "noise or picture",
        "predicting the noise is predicting the picture",
        "The step from a noise predictor to a way back; either can be computed from the other.",
        found="there and back to {n[worst]:.0e}; but an error in the noise becomes {n[error, t = 1]:.2f} times as "
        "large an error in the picture at t = 1, {n[error, t = 500]:.1f} times at 500 and {n[error, t = 1000]:.0f} "
        "times at T",
        correction="the same knowledge, not the same error: the loss of one is that of the other times σ²",
        instead="they differ",
    ),
    Entry(
        "any network",
        "any network will do whose output has the size of its input",
        "The network is introduced as a part that could be another.",
        found="squared error at σ = 0.5 on glyphs of 16×16 that were not trained on, after 100 batches of 32: U-Net "
        "{e[unet]:.3f}, transformer {e[dit]:.3f}, two layers without any notion of neighbours {e[perceptron]:.3f}; "
        "of the mean picture {e[mean picture]:.3f}",
        instead="not all of these three learned",
    ),
    Entry(
        "U-Net",
        "a U-Net suits pictures particularly well",
        "Why it is the one that is used.",
        found="after 18 minutes each on one core at equal operations, squared error on new glyphs at σ = 0.3: U-Net "
        "{n[unet, σ = 0.3]:.4f}, transformer {n[dit, σ = 0.3]:.4f}; at σ = 4 {n[unet, σ = 4]:.3f} and "
        "{n[dit, σ = 4]:.3f}; one run of each",
        correction="at some noise levels; at others the transformer was better",
        instead="the transformer was better everywhere",
    ),
    Entry("parameters", "the network has of the order of 10⁶ parameters", "How large such a function is, in passing."),
    Entry(
        "time embedding",
        "an embedding of the time is different for every time",
        "What is fed to the network beside the picture.",
        found="the nearest two of {n[times]:,.0f} times are {n[nearest]:.2f} of the mean distance apart, and with "
        "one frequency {n[nearest, one frequency]:.0e}; {n[different in bfloat16]:,.0f} differ in bfloat16",
        instead="some times share one",
    ),
    Entry(
        "readable level",
        "without being told the time, a network could not tell how noisy its input is",
        "Why the time is an input at all.",
        found="read off a single picture, the noise level is off by {e[σ = 0.02]:.1%} at σ = 0.02, {e[σ = 0.5]:.1%} "
        "at 0.5, {e[σ = 10]:.1%} at 10 and {e[σ = 80]:.1%} at 80",
        instead="the median of pixel differences tells the level to within 10 %",
    ),
    Entry(
        "told of time",
        "a network cannot do without being told the time",
        "The same, of a trained network.",
        "lesson",
        found="squared error on new glyphs at σ = {n[sigma]:g}: {e[told]:.4f} with the right σ, "
        "{e[half]:.4f} with half of it, {e[double]:.4f} with twice",
        correction="it uses the level it is given, but one that is wrong by a factor of two costs it less than twice "
        "the error",
        instead="it hardly uses it",
    ),
    Entry(
        "level range",
        "one network meets wildly different amounts of noise",
        "Why the time, and the weight of the loss, matter.",
        "lesson",
        found="signal over noise falls by {n[decades, linear]:.1f} powers of ten under the linear schedule, "
        "{n[decades, cosine]:.1f} under cosine, {n[decades, karras]:.1f} under karras",
        instead="the noise hardly changes",
    ),
    Entry(
        "generalises",
        "a network that learned to predict noise knows the distribution, not only its data",
        "The wonder that the second explanation, by the score, is to resolve.",
        found="squared error at σ = {n[sigma]:g} on glyphs it never saw: network {e[network, new]:.3f}, perfect "
        "memory of {n[remembered]:,.0f} others {e[memory, new]:.3f}; on glyphs that the memory has "
        "{e[network, known]:.3f} and "
        "{e[memory, known]:.3f}",
        instead="it is no better than a memory",
    ),
)
