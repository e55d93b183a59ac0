"""The way back, learned: the statements about what a network predicts, and how it is trained."""

from __future__ import annotations

from glyffctl.core.theory.network_claims import BATCH, JUDGED_AT, SIDE, TRAINED_STEPS
from glyffctl.core.theory.reverse_claims import FROM_TIME
from glyffctl.figures.claims.entry import Entry

TITLE = "Learning the way back"
ENTRIES = (
    Entry(
        "small steps",
        "The smaller a step back, the closer its distribution is to a Gaussian.",
        "This is why the way into noise takes many small steps: only then is a step back easy to describe.",
        found=f"A step back from t = {FROM_TIME} of the linear schedule was computed exactly, for glyphs on one axis. "
        "Its distribution diverges from the Gaussian of the same mean and variance by {e[1 at once]:.1g} nats (0: it "
        "is this Gaussian). For 10 steps of the schedule at once the divergence is {e[10 at once]:.1g}, for 50 at once "
        "{e[50 at once]:.1g}, and for 200 at once {e[200 at once]:.1g}.",
        instead="the divergence does not fall with every smaller step",
    ),
    Entry(
        "reverse variance",
        "The variance of a step back may be fixed, at β̃ or at β.",
        "If the spread of a step is given, only its mean is left to learn.",
        "lesson",
        found="For a Gaussian of the glyphs' covariance, the error of ddpm was computed with the variance β̃ and with "
        "β, relative to the standard deviation of the data. It is {n[β̃, 20 steps]:.1%} and {n[β, 20 steps]:.1%} with "
        "20 steps, {n[β̃, 120 steps]:.1%} and {n[β, 120 steps]:.1%} with 120, and {n[β̃, 1000 steps]:.1%} and "
        "{n[β, 1000 steps]:.1%} with 1,000. In 20 steps, what is drawn has {n[β̃, variance of a point]:.2f} and "
        "{n[β, variance of a point]:.2f} times the right variance if the data are one point, and "
        "{n[β̃, variance of N(0, 1)]:.2f} and {n[β, variance of N(0, 1)]:.2f} times if they are N(0, 1).",
        correction="either will do with many steps; with few it matters which, as β̃ is exact for data that are one "
        "point, and β for N(0, 1)",
        instead="neither will do with many steps, or both do alike with few",
    ),
    Entry(
        "best guess",
        "The guess with the least squared error is the mean of the noise, given the noisy picture.",
        "This is what the loss asks of a network, and so what the network becomes.",
        "lesson",
        found="At noise of σ = {n[sigma]:.0f}, half of the information that tells the glyph is lost. There, the "
        "squared error of the exact mean is {e[mean]:.2f}, that of the likeliest glyph {e[likeliest]:.2f}, and that of "
        "a glyph drawn by its probability {e[drawn]:.2f}. The last is {n[ratio]:.2f} times the first, where theory "
        "says 2. In the mean picture, {e[grey]:.0%} of the pixels are grey: it is a blur.",
        instead="another guess has an error that is as small",
    ),
    Entry(
        "noise or picture",
        "Predicting the noise is the same as predicting the picture.",
        "Either can be computed from the other. So a network that predicts noise gives a way back.",
        found="The picture was computed from the noise, and is the true one to within {n[worst]:.0e}. But an error in "
        "the noise becomes one of another size in the picture. It is {n[error, t = 1]:.2f} times as large at t = 1, "
        "{n[error, t = 500]:.1f} times at t = 500 and {n[error, t = 1000]:.0f} times at t = T.",
        correction="the knowledge is the same, but the error is not; the loss of the picture is that of the noise "
        "times σ²",
        instead="the picture that the noise gives is not the true one",
    ),
    Entry(
        "any network",
        "Any network will do if its output has the size of its input.",
        "The network is introduced as a part that another could replace.",
        found=f"Three small networks learned to denoise glyphs of {SIDE}×{SIDE} pixels, in {TRAINED_STEPS} batches of "
        f"{BATCH}. On new glyphs, at noise of σ = {JUDGED_AT:g}, "
        "the squared error is {e[unet]:.3f} for a U-Net, {e[dit]:.3f} for a transformer, and {e[perceptron]:.3f} for "
        "two layers that know nothing of neighbouring pixels. The mean picture as the only answer has "
        "{e[mean picture]:.3f}.",
        instead="not all of these three networks learned to denoise",
    ),
    Entry(
        "U-Net",
        "A U-Net suits pictures particularly well.",
        "This is why a U-Net is used.",
        found="A U-Net and a transformer with as many operations were trained for 18 minutes each on one core, in one "
        "run each. On new glyphs, at noise of σ = 0.3, the squared error of the U-Net is {n[unet, σ = 0.3]:.4f}, and "
        "that of the transformer {n[dit, σ = 0.3]:.4f}. At σ = 4 they are {n[unet, σ = 4]:.3f} and "
        "{n[dit, σ = 4]:.3f}.",
        correction="it did better at some noise levels; at others the transformer did",
        instead="the transformer was better at all noise levels",
    ),
    Entry(
        "parameters",
        "The number of the network's parameters is of the order of 10⁶.",
        "This is said in passing, to tell how large such a function is.",
    ),
    Entry(
        "time embedding",
        "The embedding of the time is different for every time.",
        "The network gets this embedding beside the picture.",
        found="Of the embeddings of {n[times]:,.0f} times, the two nearest are {n[nearest]:.2f} of the mean distance "
        "apart. With a single frequency it would be {n[nearest, one frequency]:.0e}. Rounded to bfloat16, a number "
        "format of 16 bits, {n[different in bfloat16]:,.0f} of them differ.",
        instead="some times have almost the same embedding, or a single frequency would do",
    ),
    Entry(
        "readable level",
        "Without being told the time, a network could not tell how noisy its input is.",
        "This is why the time is an input of the network at all.",
        found="The noise level σ was read off {e[σ = 0.5]:count} noisy pictures, each by itself, from the median of "
        "differences of its pixels. On average it is off by {e[σ = 0.02]:.1%} at σ = 0.02, {e[σ = 0.5]:.1%} at σ = "
        "0.5, {e[σ = 10]:.1%} at σ = 10 and {e[σ = 80]:.1%} at σ = 80.",
        instead="the median of pixel differences tells the level to within 10 %",
    ),
    Entry(
        "told of time",
        "A network cannot do without being told the time.",
        "This is said of a trained network, which gets the time beside the picture.",
        "lesson",
        found="The model denoised {e[told]:count} new glyphs at noise of σ = {n[sigma]:g}. Its squared error is "
        "{e[told]:.4f} if it is told the right σ, {e[half]:.4f} if it is told half of it, and {e[double]:.4f} if it is "
        "told twice as much.",
        correction="it uses the level it is given, but a level that is wrong by a factor of two costs it less than "
        "twice the error",
        instead="it hardly uses the level it is given",
    ),
    Entry(
        "level range",
        "One network has to work at wildly different amounts of noise.",
        "This is why the time matters, and the weight of the loss.",
        "lesson",
        found="From the first step to the last, the ratio of signal to noise falls by {n[decades, linear]:.1f} powers "
        "of ten under the linear schedule. It falls by {n[decades, cosine]:.1f} under the cosine schedule, and by "
        "{n[decades, karras]:.1f} under the karras schedule.",
        instead="under one of the schedules, the ratio of signal to noise hardly changes",
    ),
    Entry(
        "generalises",
        "A network that learned to predict noise knows the distribution, not only its data.",
        "The second explanation, by the score, sets out to tell how this is possible.",
        found="The network was compared with a perfect memory of {n[remembered]:,.0f} glyphs, at noise of "
        "σ = {n[sigma]:g}. On glyphs that neither has seen, the squared error of the network is {e[network, new]:.3f}, "
        "and that of the memory {e[memory, new]:.3f}. On glyphs that the memory has, they are {e[network, known]:.3f} "
        "and {e[memory, known]:.3f}.",
        instead="it is no better than a memory on new glyphs, or no worse on known ones",
    ),
)
