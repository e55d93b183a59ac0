"""From text to glyph: the statements about conditions and text."""

from __future__ import annotations

from glyffctl.figures.claims.entry import Entry

TITLE = "From text to glyph"
ENTRIES = (
    Entry(
        "condition",
        "a condition reshapes the distribution: some pictures become far likelier",
        "What a text is to do, shown on two hills.",
        found="{e[gold, base]:.1%} of all glyphs have the radical 金, and {e[gold]:.1%} of those with “gold” or "
        "“metal” in their definition; the mean over {e[words]:count} words of the bundled prompts is {e[words]:.1%}, "
        "their base rate {e[words, base]:.1%}",
        instead="hardly",
    ),
    Entry(
        "radicals mean",
        "a radical conveys meaning",
        "Why a prompt can be checked at all: its answer is a part of the glyph.",
        found="the character whose definition is most alike has the same radical in {e[found]:.1%} of "
        "{e[found]:count}, and with radicals shuffled in {e[shuffled]:.1%}",
        correction="often, not mostly",
        instead="not by these definitions",
    ),
    Entry(
        "token vectors",
        "a text becomes n vectors of the same length d",
        "The first requirement: a network takes vectors of a fixed length.",
        found="{e[tokens]:.1f} tokens in a definition ({n[fewest]:.0f} to {n[most]:.0f}), of "
        "{e[letters of a token]:.1f} letters each; all vectors have {n[width]:.0f} numbers",
        instead="their lengths differ",
    ),
    Entry(
        "context",
        "the vector of a word knows its context: beside “lithium”, “element” is the chemical one",
        "The second requirement, and the reason to take a language model.",
        found="beside ten chemical elements and ten heaters the vector of “element” is nearer to that of the meaning "
        "meant by {e[element]:.3f} (difference of cosines), of eight other words with two meanings by "
        "{e[others]:.3f}; in {e[right]:share} cases it is the right one; before the network looks at the context the "
        "difference is {n[static]:.0e}",
        correction="this word does; others do not",
        instead="not in the bundled encoder",
    ),
    Entry(
        "contrastive",
        "a text encoder need not have been trained beside pictures",
        "A remark on two models that differ in this.",
        found="pictures with the radical of their prompt: {e[text alone]:.1%} with an encoder of texts alone, "
        "{e[contrastive]:.1%} with one trained beside glyphs",
        instead="one that was draws more of what is asked",
    ),
    Entry(
        "text helps",
        "given the text, the noise is easier to predict, by the same loss",
        "What changes in training when text comes in: the input, not the loss.",
        found="squared error on new glyphs at σ = {n[sigma]:g}: {e[given]:.4f} with their definition, "
        "{e[nothing]:.4f} without, {e[wrong]:.4f} with another's; less than without by {e[nothing less given]:.4f}",
        instead="not measurably",
    ),
    Entry("one step", "one step already leans toward the prompt", "The first test of the trained model."),
    Entry("gold", "every picture for “gold” has the metal radical", "The second, in many steps."),
    Entry(
        "prompts",
        "a text leads to the part of the distribution that it means",
        "What both tests are to show, beyond one prompt.",
        found="{e[drawn]:.1%} of the pictures of {e[drawn]:count} prompts have the radical of their prompt; of "
        "pictures without a prompt {e[unprompted]:.1%}, of those of other prompts {e[shuffled]:.1%}",
        instead="not clearly",
    ),
    Entry("new", "the generated glyphs are new", "The promise of the whole: glyphs that do not exist."),
    Entry(
        "looks real",
        "what is drawn looks like the real",
        "The picture that opens the article.",
        found="{e[precision]:.1%} of the drawn are among the real by the features of a classifier, {e[control]:.1%} "
        "of other real ones; {e[grey]:.1%} of their pixels are grey, {e[grey, real]:.1%} of real ones'",
        correction="in one of the two respects",
        instead="not by these measures",
    ),
)
