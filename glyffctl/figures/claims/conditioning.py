"""From text to glyph: the statements about conditions and text."""

from __future__ import annotations

from glyffctl.core.theory.claims import COPY
from glyffctl.figures.claims.entry import Entry

TITLE = "From text to glyph"
ENTRIES = (
    Entry(
        "condition",
        "A condition reshapes the distribution: some pictures become far likelier.",
        "A density with two hills shows what a text is to do.",
        found="{e[gold, base]:.1%} of all glyphs have the radical 金 (metal), and {e[gold]:.1%} of the {e[gold]:count} "
        "glyphs with “gold” or “metal” in their definition. The same was counted for {e[words]:count} words of the "
        "bundled prompts. On average, {e[words]:.1%} of the glyphs with the word have a fitting radical, and "
        "{e[words, base]:.1%} of all glyphs.",
        instead="glyphs with these words hardly have the radical more often than others",
    ),
    Entry(
        "radicals mean",
        "A radical conveys meaning.",
        "This is why a picture can be checked against its prompt: the answer is a part of the glyph.",
        found="For each of {e[found]:count} characters, the one whose definition is most alike was looked up. Both "
        "have the same radical in {e[found]:.1%} of the cases, and with shuffled radicals in {e[shuffled]:.1%}.",
        correction="it often does, but not in most cases",
        instead="by these definitions it hardly does",
    ),
    Entry(
        "token vectors",
        "A text becomes n vectors of the same length d.",
        "This is required because a network takes vectors of a fixed length.",
        found="The bundled text encoder was given {e[tokens]:count} definitions. A definition has {e[tokens]:.1f} "
        "tokens on average ({n[fewest]:.0f} at least, {n[most]:.0f} at most), of {e[letters of a token]:.1f} letters "
        "each. Each token becomes a vector of {n[width]:.0f} numbers.",
        instead="the vectors differ in length, or all definitions have as many tokens",
    ),
    Entry(
        "context",
        "The vector of a word knows its context: beside “lithium”, “element” is the chemical one.",
        "This is required of the text encoder, and is the reason to take a language model.",
        found="The word “element” was encoded beside the names of {e[element]:count} chemical elements and heating "
        "devices. Its vector is nearer to the meaning that its neighbour asks for than to the other meaning: the "
        "difference of cosines is {e[element]:.3f}. For {e[others]:count} other words with two meanings it is "
        "{e[others]:.3f}, and in {e[right]:share} cases the nearer meaning is the right one. Before the network looks "
        "at the context, the difference is {n[static]:.0e}.",
        correction="the vector of this word does, but those of other words do not",
        instead="the vector of this word does not, in the bundled encoder",
    ),
    Entry(
        "contrastive",
        "A text encoder need not have been trained together with pictures.",
        "This is a remark on two models: one has such an encoder, and the other has not.",
        found="Models were trained with two kinds of text encoder, and drew the same {e[more]:count} prompts. "
        "{e[text alone]:.1%} of the pictures have the radical of their prompt with an encoder of texts alone, and "
        "{e[contrastive]:.1%} with one that was trained beside the glyphs. Prompt by prompt, these are more by "
        "{e[more]:.1%} of the pictures.",
        correction="it works without, but with an encoder that was trained beside glyphs, a model draws more of what "
        "is asked for",
        instead="with an encoder that was trained beside glyphs, a model draws more than twice as much of what is "
        "asked for",
    ),
    Entry(
        "text helps",
        "Given the text, the noise is easier to predict, by the same loss.",
        "This is what a text changes in training: the input, not the loss.",
        found="The model denoised {e[given]:count} new glyphs at noise of σ = {n[sigma]:g}. Its squared error is "
        "{e[given]:.4f} with their definition, {e[nothing]:.4f} without a text, and {e[wrong]:.4f} with the definition "
        "of another glyph. The definition lowers the error by {e[nothing less given]:.4f}.",
        instead="the text does not lower the error measurably",
    ),
    Entry(
        "one step",
        "One step of drawing already leans toward the prompt.",
        "This is a first test of the trained model.",
        found="Pictures for “gold” were drawn in one step, and the bundled classifier looked for the metal radical. It "
        "is in {e[from T]:share} of the pictures of a step from t = T, and in {e[from t = 1]:share} of a step from "
        "t = 1. It is in {e[without a prompt]:share} of those of a step from t = T without a prompt.",
        correction="one step from t = T does, where there is only noise; a step from t = 1 only cleans what it starts "
        "from",
        instead="one step draws the metal radical hardly more often than without a prompt",
    ),
    Entry(
        "gold",
        "Every picture for “gold” has the metal radical.",
        "This is a test of the trained model, with many steps of drawing.",
        found="According to the bundled classifier, {e[with the radical]:share} pictures for “gold” have the metal "
        "radical.",
        instead="not every picture for “gold” has it",
    ),
    Entry(
        "prompts",
        "A text leads to the part of the distribution that it means.",
        "The tests with “gold” are meant to show this of any prompt.",
        found="The model drew pictures for {e[drawn]:count} prompts. {e[drawn]:.1%} of them have the radical of their "
        "prompt. {e[unprompted]:.1%} of pictures without a prompt have it, and {e[shuffled]:.1%} of pictures for other "
        "prompts.",
        instead="pictures have the radical of their prompt not clearly more often than others have",
    ),
    Entry(
        "new",
        "The generated glyphs are new.",
        "This is the promise of the whole: glyphs that do not exist.",
        found="A picture counts as a copy if it is closer to a real glyph than "
        f"{100 * (1 - COPY):.0f} of 100 real glyphs are to another character (distance {{n[threshold]:.3f}}). "
        "{e[copies]:share} drawn pictures are copies. The median distance of drawn pictures to the nearest real glyph "
        "is {n[median, drawn]:.2f}, and that of real glyphs to the nearest other character {n[median, real]:.2f}.",
        instead="too many are copies, or too few were drawn to decide",
    ),
    Entry(
        "looks real",
        "What is drawn looks like real glyphs.",
        "The opening picture, of drawn glyphs, suggests this.",
        found="In the features of a classifier, {e[precision]:.1%} of {e[precision]:count} drawn pictures lie among "
        "the real glyphs, and {e[control]:.1%} of other real glyphs do. {e[grey]:.1%} of the pixels of drawn pictures "
        "are grey, and {e[grey, real]:.1%} of those of real glyphs.",
        correction="it does in one of these two respects",
        instead="by these two measures it does not",
    ),
)
