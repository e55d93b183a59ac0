"""Guidance: the statements about classifiers, about doing without, and what it costs."""

from __future__ import annotations

from glyffctl.core.theory.guiding_claims import FROM_SIGMA
from glyffctl.figures.claims.entry import Entry

TITLE = "Guidance"
ENTRIES = (
    Entry(
        "Bayes",
        "The score given a label is the score plus the gradient of a classifier.",
        "Guidance comes from this: the probability of the label itself drops out.",
        "companion",
        found="Both sides were computed by differentiation, for glyphs on two axes. They differ by {n[worst]:.0e} of "
        "their length. Without the classifier they would differ by {n[without the classifier]:.0%}.",
        instead="the two sides differ",
    ),
    Entry(
        "sharpening",
        "With the gradient of the classifier scaled by γ, it is still a score of pictures given the label.",
        "γ, the strength of guidance, is the number that users set.",
        "companion",
        found="Guidance was solved where all distributions are Gaussian. At γ = 1, 2 and 4, what is drawn has the "
        "variance {n[variance, drawn, 1]:.3f}, {n[variance, drawn, 2]:.3f} and {n[variance, drawn, 4]:.4f}. The "
        "distribution p(x)p(y|x)^γ, whose score it should be, has {n[variance, product, 1]:.3f}, "
        "{n[variance, product, 2]:.3f} and {n[variance, product, 4]:.3f}; p(x|y) has {n[variance, product, 1]:.3f}.",
        correction="it is at γ = 1; at γ = 4, what is drawn has only {n[ratio, 4]:.2f} times the variance of "
        "p(x)p(y|x)^γ",
        instead="it is not even at γ = 1",
    ),
    Entry(
        "noise-aware",
        "A classifier that knows only clean pictures is no guide.",
        "This makes guidance by a classifier cumbersome.",
        "companion",
        found="A classifier trained on clean glyphs names the radical of {e[clean, least noise]:share} at noise of "
        "σ = 0.05, and of {e[clean, σ = 2]:share} at σ = 2. One trained on noisy glyphs names that of "
        "{e[noisy, least noise]:share} and {e[noisy, σ = 2]:share}. Always naming the commonest radical is right for "
        "{e[guessing]:share}.",
        instead="on noisy glyphs it does about as well as one that was trained on them",
    ),
    Entry(
        "guide cost",
        "A separate classifier makes guidance expensive.",
        "This is another reason to do without a classifier.",
        "companion",
        found="A pass of a network of the kind that ships takes {n[pass]:.2f} billion operations. A pass of the "
        "classifier and the way back to its gradient take {n[classifier]:.2f} billion.",
        instead="it is far cheaper than the second pass that guidance without a classifier takes",
    ),
    Entry(
        "two passes",
        "With guidance the model predicts twice in each step.",
        "This is the price of doing without a classifier.",
        "companion",
        found="In a drawing of {n[steps]:.0f} steps, the network is asked about {n[off]:.0f} pictures without "
        f"guidance, and about {{n[everywhere]:.0f}} with it. If guidance acts at noise of σ ≥ {FROM_SIGMA:g} alone, "
        "the network is asked about {n[where it decides]:.0f}.",
        correction="it does where guidance acts, and guidance need not act everywhere",
        instead="it does not predict twice in each step",
    ),
    Entry(
        "dropout",
        "Dropping the text in 10 to 20 % of the training is enough.",
        "This is how one network learns to predict with and without a text.",
        "companion",
        found="Models were trained with some of the captions dropped, and drew the same {e[0%]:count} prompts under "
        "guidance. {e[0%]:.1%} of their pictures have the radical of the prompt with none dropped, {e[10%]:.1%} with "
        "10 % dropped, and {e[20%]:.1%} with 20 %. Prompt by prompt, the gain over none is {e[10% less 0%]:.1%} of the "
        "pictures with 10 %, and {e[20% less 0%]:.1%} with 20 %.",
        correction="it is enough, but dropping none does as well",
        instead="with another share, a model draws more of what is asked for",
    ),
    Entry(
        "guidance obeys",
        "Guidance makes pictures follow the prompt more closely.",
        "This is what guidance is for.",
        found="Pictures with the radical of their prompt were counted, over {e[gain]:count} prompts. They are "
        "{e[γ = 1]:.1%} without guidance, {e[γ = 2]:.1%} at the strength γ = 2, {e[γ = 4]:.1%} at γ = 4 and "
        "{e[γ = 8]:.1%} at γ = 8. At γ = {n[best]:g} they are more than without guidance by {e[gain]:.1%} of "
        "all pictures.",
        correction="they follow it a little more closely, within the scatter",
        instead="in this model they do not",
    ),
    Entry(
        "guidance narrows",
        "Guidance costs variety.",
        "This is the price of guidance.",
        "lesson",
        found="In the features of a classifier, the mean distance between pictures of one prompt is "
        "{e[variety, γ = 1]:.2f} without guidance, {e[variety, γ = 4]:.2f} at the strength γ = 4 and "
        "{e[variety, γ = 8]:.2f} at γ = 8. The last is less than the first by {e[loss]:.1%}. Recall, the share of real "
        "glyphs with a drawn picture near them, is {e[recall, γ = 1]:.0%}, {e[recall, γ = 4]:.0%} and "
        "{e[recall, γ = 8]:.0%}.",
        correction="it does by one of the two measures only",
        instead="in this model it does not measurably",
    ),
)
