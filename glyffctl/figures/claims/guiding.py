"""Guidance: the statements about classifiers, about doing without, and what it costs."""

from __future__ import annotations

from glyffctl.figures.claims.entry import Entry

TITLE = "Guidance"
ENTRIES = (
    Entry(
        "Bayes",
        "the score given a label is the score plus the gradient of a classifier",
        "Where guidance comes from; the probability of the label drops out.",
        "companion",
        found="the two sides differ by {n[worst]:.0e} of their length, and by {n[without the classifier]:.0%} "
        "without the classifier",
        instead="they differ",
    ),
    Entry(
        "sharpening",
        "scaled by γ, it is still a score of pictures given the label",
        "The knob that users turn.",
        "companion",
        found="solved for Gaussians, γ = 1, 2, 4 draw the variance {n[variance, drawn, 1]:.3f}, "
        "{n[variance, drawn, 2]:.3f}, {n[variance, drawn, 4]:.4f}; p(x)p(y|x)^γ has {n[variance, product, 1]:.3f}, "
        "{n[variance, product, 2]:.3f}, {n[variance, product, 4]:.3f}, and p(x|y) {n[variance, product, 1]:.3f}",
        correction="at γ = 1; at γ = 4 what is drawn has {n[ratio, 4]:.2f} times the variance of p(x)p(y|x)^γ",
        instead="not even at γ = 1",
    ),
    Entry(
        "noise-aware",
        "a classifier of clean pictures is no guide",
        "Why guidance by a classifier is cumbersome.",
        "companion",
        found="a classifier of clean glyphs names the radical of {e[clean, least noise]:share} at σ = 0.05 and of "
        "{e[clean, σ = 2]:share} at σ = 2; one that was shown noise of {e[noisy, least noise]:share} and "
        "{e[noisy, σ = 2]:share}; guessing {e[guessing]:share}",
        instead="it does as well",
    ),
    Entry(
        "guide cost",
        "a separate classifier makes guidance expensive",
        "The other reason to do without.",
        "companion",
        found="a pass of the shipped kind of network takes {n[pass]:.2f} billion operations, the classifier with its "
        "way back {n[classifier]:.2f}",
        instead="it is far cheaper than the second pass of guidance without one",
    ),
    Entry(
        "two passes",
        "with guidance the model predicts twice in each step",
        "The price of doing without a classifier.",
        "companion",
        found="{n[steps]:.0f} steps ask the network about {n[off]:.0f} pictures without guidance, "
        "{n[everywhere]:.0f} with it, and {n[where it decides]:.0f} if it acts at σ ≥ 1 alone",
        correction="where guidance acts, and it need not act everywhere",
        instead="it does not",
    ),
    Entry(
        "dropout",
        "dropping the text in 10 to 20 % of the training is enough",
        "How one network learns to predict with and without text.",
        "companion",
        found="pictures with the radical of their prompt, by the share of captions that was dropped: 0 %: "
        "{e[0%]:.1%}, 10 %: {e[10%]:.1%}, 20 %: {e[20%]:.1%}",
        correction="and none of it does as well",
        instead="other shares do better",
    ),
    Entry(
        "guidance obeys",
        "guidance makes pictures follow the prompt more closely",
        "What it is for.",
        "guide",
        found="pictures with the radical of their prompt: {e[γ = 1]:.1%} without guidance, {e[γ = 2]:.1%} at γ = 2, "
        "{e[γ = 4]:.1%} at 4, {e[γ = 8]:.1%} at 8; more by {e[gain]:.1%} at γ = {n[best]:g}",
        correction="a little, within the scatter",
        instead="not in this model",
    ),
    Entry(
        "guidance narrows",
        "guidance costs variety",
        "What it costs.",
        "lesson",
        found="distance between pictures of one prompt {e[variety, γ = 1]:.2f} without guidance, "
        "{e[variety, γ = 4]:.2f} at γ = 4, {e[variety, γ = 8]:.2f} at 8: less by {e[loss]:.1%}; recall of real "
        "glyphs {e[recall, γ = 1]:.0%}, {e[recall, γ = 4]:.0%}, {e[recall, γ = 8]:.0%}",
        correction="by one of the two measures",
        instead="not measurably, in this model",
    ),
)
