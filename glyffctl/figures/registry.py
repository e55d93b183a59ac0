"""The figures of `glyffctl noise-demo` in their order, with their titles and texts."""

from __future__ import annotations

from typing import NamedTuple

from glyffctl.figures.chapters import in_order


class Entry(NamedTuple):
    """A figure and its texts.

    Attributes:
        name: the value of the option --figure.
        see: what to see, in two or three sentences, without numbers: those are measured.
        alt: a description of the picture for those who cannot see it.
    """

    name: str
    title: str
    see: str
    alt: str
    needs_model: bool = False


_ENTRIES = (
    Entry(
        "pixels",
        "A glyph is a list of numbers",
        "To a program a picture is one long vector: a number for each pixel, 0 for ink and 255 for paper. Every "
        "glyph of the same size is therefore a point in the same space, and a data set is a cloud of such points.",
        "The glyph as a grid of squares, dark where the ink is, with the value of each pixel written in its square.",
    ),
    Entry(
        "gaussian",
        "Learning a distribution, the easy way",
        "A Gaussian has two unknowns, and samples give both back. With few samples the dashed curve may miss the "
        "black one, and the band says by how much; with many it cannot. For glyphs nobody can write such a curve "
        "down, which is why a network has to learn it by a detour.",
        "Two histograms of samples, few and many, each with the true bell curve, the fitted one, and a band around it "
        "that is wide for few samples and narrow for many.",
    ),
    Entry(
        "process",
        "Noise in one direction, a glyph in the other",
        "Toward noise, each step shrinks the glyph a little and adds a little Gaussian noise (q); nothing about that "
        "has to be learned, and all steps up to t are as good as one jump. Toward the glyph, each step takes a little "
        "noise away (p), and that is all the network is trained for. Two neighbors look the same: this is why a single "
        "step is easy.",
        "Four pictures in a row, from pure noise over two noisy neighbors to the clean glyph. Between the neighbors "
        "one arrow to the right takes noise away and one to the left adds it.",
    ),
    Entry(
        "first-step",
        "One step of noise, close up",
        "Noising a data set puts a small Gaussian around every point, but not quite where the point is: first "
        "everything moves a little toward the middle, by the factor √(1−β), where β is the variance of the noise. The "
        "guide leaves that factor out. At the true sizes of β one hardly sees the move, but without it the cloud would "
        "grow with every step and never settle.",
        "Points on a spiral, for a small and a large β. Around five of them lie discs of noise, whose centres have "
        "moved from the points toward the middle: hardly for the small β, clearly for the large one.",
    ),
    Entry(
        "schedules",
        "Three ways to spread the noise over the steps",
        "All strips show the same noise, in different doses. A large glyph stays readable far longer than the share "
        "of signal suggests. When its identity goes, it goes quickly; under the cosine schedule it does so in the "
        "very last steps.",
        "The glyph under more and more noise, one strip for each schedule: linear, cosine, karras. Below, three charts "
        "over the steps: signal over noise, the share of signal, and the bits lost in each step.",
    ),
    Entry(
        "density",
        "A data set dissolves",
        "Every dot is a real glyph at its place in the two directions in which glyphs differ most, coloured by its "
        "radical where the data name one. Shown with them is the density of the distribution that the noisy dots come "
        "from, computed exactly. Islands run into one another until only the round hill of pure noise is left.",
        "Five panels of dots, from separate groups to one round cloud, and below each the density of the dots, from "
        "small islands to one round hill.",
    ),
    Entry(
        "score",
        "Arrows back to the data",
        "The arrows show the score, the direction in which the density rises fastest: it is the gradient of its "
        "logarithm. With little noise they point to the nearest island and are longest out where no data are: it is "
        "the density that vanishes there, not the score. With much noise they agree on one way home.",
        "Arrows on the density at four noise levels. With little noise they lead to several islands and are longest at "
        "the edge; with much noise all lead to the middle.",
    ),
    Entry(
        "umap",
        "The same over a UMAP",
        "The guide draws its data as a UMAP, where more of the likeness of glyphs survives than on two axes, and adds "
        "noise to the places on the map. That is a shorthand: noise in pictures is not noise on a map, so density and "
        "score are those of the dots and not of the glyphs. On principal axes, in the third row, they are both, since "
        "a straight projection of noise is noise. A circle follows the score from pure noise back to the data. Below "
        "is the best guess where it is, drawn from the glyphs nearest on the map: a map has no exact inverse, and "
        "this one serves for drawing alone.",
        "Four rows of five panels with more and more noise: dots of a map that dissolve; their density with arrows; "
        "density with arrows on principal axes; and pictures, each blended of a few glyphs.",
    ),
    Entry(
        "factor",
        "Noise and score, and the factor between them",
        "Predicting the noise in a picture and knowing the score are the same up to a factor. The factor does not "
        "depend on the picture, but it does depend on the step t: by how much is decided by the schedule.",
        "The factor over the steps, on logarithmic axes: a falling curve for each of three schedules, which meet at 1, "
        "and measured points on the curves.",
    ),
    Entry(
        "pure-noise",
        "Is the last step pure noise?",
        "A glyph on white paper is brighter than grey on average. If nothing but noise were left at the last step, "
        "that would no longer show, and the brightness would follow the bell curve. Where a schedule stops short of "
        "pure noise the brightness is shifted, and a sampler that starts from pure noise starts a little wrong.",
        "Three histograms of brightness at the last step, one for each schedule, beside the bell curve of pure noise; "
        "a dashed line marks the mean of each.",
    ),
    Entry(
        "joint",
        "What a condition does",
        "The contours are the joint distribution of a picture x and a text y. Sampling x alone finds either peak as "
        "often as the other. Given the text it is a slice through the hills, and one peak takes nearly everything.",
        "Contours of two hills, with the distribution of x above and of y at the right, and across each hill the "
        "distribution of x for that value of y.",
    ),
    Entry(
        "classifiers",
        "Which radical is it, under noise?",
        "A classifier can lead a sampler: the gradient of what it believes points to where it would believe more. But "
        "it is asked about noisy pictures. One that was trained on clean ones fails long before the radical is gone; "
        "one that was shown noise keeps naming it for much longer.",
        "Two curves of accuracy over the noise level, from little to much. One stays high and falls late; the other "
        "falls early, below the dashed line of guessing.",
    ),
    Entry(
        "loop",
        "What a denoiser sees, and what it predicts",
        "A denoiser sees only the noisy glyph and t. From it, it guesses the noise, and so the glyph behind it. The "
        "exact denoiser can look every glyph up in its list and finds the right one long after our eyes have given "
        "up; a network has no list, and predicts a blurred mean of what might be there. To the eye all guesses of "
        "the noise look alike, so the error is shown: orange is too much noise, blue too little.",
        "A row for each of five noise levels: the noisy glyph, the glyph that each denoiser guesses, and in colour the "
        "error of the noise that it predicts, which follows the outlines of the strokes.",
    ),
    Entry(
        "training",
        "One step of training",
        "A glyph from the data, noise, and their sum: since both parts are known, what the network should have said "
        "is, "
        "too. The difference is the loss, and every parameter is moved a little so that it falls. No picture is ever "
        "drawn for that.",
        "Five pictures in a row: the glyph, noise, the noisy glyph, the noise that the network predicts, and the "
        "glyph that "
        "follows from it. Below, curves of the error over the pictures seen, on logarithmic axes, all falling.",
        needs_model=True,
    ),
    Entry(
        "network",
        "The network as it is",
        "Each bar is a part of this model's network: as high as the grid it works on, as wide as the channels it "
        "gives on. "
        "On the way down it gives up places for channels, until a place sees most of the glyph; on the way up it "
        "gets the fine grids back, beside what was kept of them.",
        "Bars of different height and width in the shape of a U, joined by arrows; some are coloured where they have "
        "attention, and dashed arrows lead across.",
        needs_model=True,
    ),
    Entry(
        "solvers",
        "Few steps or many?",
        "Here the denoiser is perfect, so all error is the sampler's own. The plain sampler of DDPM needs the most "
        "steps by far; a second-order solver is there in a fraction of them. How few steps suffice says more about "
        "the sampler than about diffusion.",
        "Two charts on logarithmic axes: the error of six samplers over the number of steps, and over the number of "
        "passes through the denoiser. All fall; DDPM is the slowest.",
    ),
    Entry(
        "walks",
        "What the noise on the way is for",
        "The blue hill is a distribution with some noise left, and every walk follows its exact score. Without noise a "
        "walk climbs to the nearest mode and stays: a point, not a distribution, and which one depends on where it "
        "began. With noise, which is Langevin dynamics, it visits all of the hill as often as it should. A sampler "
        "that begins with pure noise and follows the score down through all noise levels has the right shares "
        "without any new noise, too: its randomness is in the start.",
        "Two panels with the same three hills. In the left one paths lead straight to the three tops, in the right one "
        "a jagged path covers all of them. Below, bars show how many walks end at each top: without noise they differ "
        "from the true shares, with noise they agree.",
    ),
    Entry(
        "workbench",
        "A workbench in the plane",
        "Choose data, or draw some, and move the time: the points dissolve, and the arrows of their exact score lead "
        "back. Beside them two samplers start from the same noise and follow this score, one without noise on the way, "
        "along the probability-flow ODE, the other with new noise in every step, as in the reverse SDE. Where the data "
        "have two classes, both can be guided to one of them. The energy distance says how far the ends are from the "
        "data, and the range beside it what chance does to fresh samples of the data.",
        "At the left points of the ink of a glyph under some noise, with arrows that lead back to them. Beside it "
        "paths of two samplers from the same noise to the glyph: smooth by the first, jagged by the second.",
    ),
    Entry(
        "samples",
        "Glyphs out of noise",
        "The sampler of DDPM goes in many small steps from noise to glyphs that follow the prompt. For a long time "
        "nothing seems to happen; the layout is decided in the noise, the strokes come last.",
        "An animation: a sheet of noise turns into a sheet of glyphs.",
        needs_model=True,
    ),
    Entry(
        "drawing",
        "One drawing, step by step",
        "This is all that happens at a step: the model is shown x, predicts the noise in it, and so guesses the glyph "
        "behind it. Then as much of that noise is put back as belongs to the next, lower level, and the model is asked "
        "again. The first guess is a blur, the mean of all that might become of this noise; each further one is "
        "surer.",
        "Three rows of pictures at falling noise levels: noise that turns into a glyph, guesses that begin as a blur "
        "and become sharp, and the predicted noise, which looks alike throughout.",
        needs_model=True,
    ),
    Entry(
        "guidance",
        "How closely to follow the words",
        "At every step the model is asked twice, with the prompt and without, and goes farther in the direction in "
        "which the answers differ: γ times as far. At γ = 1 it simply follows the prompt. A larger γ insists on it: "
        "strokes change where that makes the meaning plainer. Whether glyphs of different noise become more alike by "
        "it is in the numbers.",
        "A row of glyphs for each strength of guidance, from weak to strong; each column begins with the same noise.",
        needs_model=True,
    ),
    Entry(
        "same-noise",
        "The same noise, other words",
        "In the table each column begins with the same noise, each row has the same prompt. Down a column the radical "
        "changes with the words, and where there is room for it the other part stays much the same: that part the "
        "words leave open, and the noise decides it.",
        "A table of glyphs, a row for each of eight prompts, a column for each noise.",
        needs_model=True,
    ),
    Entry(
        "steps",
        "One step, five steps, many",
        "A single step from pure noise, “1 step, from T”, can only give the mean of what the prompt allows, and "
        "that mean already leans toward the prompt. Started lower down in the schedule the same single step leaves the "
        "noise that it starts from. In the rows below, compare how clean the strokes are.",
        "A row of pictures for each sampler and number of steps, with the prompt at the left, without it at the right: "
        "noise from one step at the lowest level, a blur from one step at the highest, glyphs from many steps.",
        needs_model=True,
    ),
    Entry(
        "smooth",
        "The smooth clip",
        "The stochastic DPM-Solver takes half steps along one random path. Strokes settle gradually, and fewer steps "
        "are needed than for DDPM.",
        "An animation: strokes of glyphs appear gradually out of noise.",
        needs_model=True,
    ),
    Entry(
        "beside",
        "Real and drawn, side by side",
        "In each pair the left glyph is from the data, and the right one is what the model draws for the definition "
        "below, one try each. They are not meant to be the same characters: the model is meant to draw new glyphs.",
        "Pairs of a real and a drawn glyph, each with its definition below.",
        needs_model=True,
    ),
    Entry(
        "between",
        "What lies between two pictures",
        "Mixing two pictures gives neither: both shine through. Mixing the noise that they are drawn from gives a "
        "glyph at every place, since every noise leads to some glyph. But the way is not smooth: what does not fit "
        "goes at once, or turns into something else.",
        "Rows of nine pictures from one glyph to another: fading, then drawn from noise between theirs.",
        needs_model=True,
    ),
    Entry(
        "text",
        "From a text to vectors",
        "The prompt is cut into tokens, which may be parts of words; each has a number, and the encoder turns them "
        "into "
        "vectors of the same length that know of each other. This array is all that the network ever sees of the "
        "text.",
        "A row for each token of the prompt: the token, its number, and its vector as a strip of coloured cells.",
        needs_model=True,
    ),
    Entry(
        "ways-in",
        "Two ways in for a text",
        "The mean of the vectors can be added to the embedding of the noise level, the same for all places; or "
        "every place can look for itself at each of them. This network was trained with both at once, and here each is "
        "given alone.",
        "Two rows of four guesses from the same noise: without a text, with the pooled text alone, through "
        "cross-attention alone, and with both.",
        needs_model=True,
    ),
    Entry(
        "attention",
        "Which part looks at which word",
        "Each part of the picture asks the prompt what to draw, and weighs the answers of its words: that is "
        "cross-attention. The darker a part, the larger the share of that word; over all words the shares add up to "
        "one. The mark in brackets is the end of the prompt. The encoder has already told every word of the others, so "
        "a map shows where a part looks, not what it learns there.",
        "A row for each noise level, from much noise to little: the glyph that the model guesses there, and beside it, "
        "for each word of the prompt, the same glyph over a map of how much each part looks at that word.",
        needs_model=True,
    ),
    Entry(
        "latents",
        "A glyph in fewer numbers",
        "A latent model never sees pixels: a codec has turned the glyph into a few small pictures, its channels, and "
        "noise is added to those. Without a channel that is spare, the decoder draws the same; where one alone gives "
        "the strokes back, the others refine their edges.",
        "The glyph and, beside it, the channels of its latent in colour. Below, what the decoder draws without each of "
        "the channels, and from each of them alone.",
        needs_model=True,
    ),
    Entry(
        "cascade",
        "Small first, then large",
        "The model decides at the small size what the glyph is; a second model, the upscaler, adds pixels. It sees the "
        "small picture with a little noise and starts from an enlarged one with more, so that all that is left to "
        "decide are the edges of strokes. Interpolation has to make them soft; the upscaler has learned that they are "
        "not.",
        "The same glyph at several sizes, side by side. Below, a part of it, magnified, at each size and after "
        "bicubic interpolation; and below that the same part as the upscaler sees it, at its start, and in its passes.",
        needs_model=True,
    ),
)

ENTRIES = in_order(_ENTRIES, lambda entry: entry.name)
"""In the order of the chapters."""

NAMES = tuple(entry.name for entry in ENTRIES)


def number(entry: Entry) -> int:
    """The number of a figure in the whole list, from 1."""
    return ENTRIES.index(entry) + 1


def file_stem(entry: Entry) -> str:
    """The name of the file of a figure, without the suffix."""
    return f"{number(entry):02d}-{entry.name}"
