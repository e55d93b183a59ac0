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
        "A Gaussian has two unknowns, its mean and its standard deviation, and samples are enough to estimate both. "
        "With few samples the dashed curve may miss the black one, and the band shows by how much; with many it "
        "hardly can. Nobody can write down such a curve for glyphs, so a network has to learn it in another way.",
        "Two histograms of samples, few and many, each with the true bell curve, the fitted one, and a band around it "
        "that is wide for few samples and narrow for many.",
    ),
    Entry(
        "process",
        "Noise in one direction, a glyph in the other",
        "Toward noise (q), each step shrinks the glyph a little and adds a little Gaussian noise. None of that has "
        "to be learned, and one jump does the same as all steps up to t. Toward the glyph (p), each step takes a "
        "little noise away, and that is all the network is trained for. Two neighbours look the same, which is why "
        "a single step is easy.",
        "Four pictures in a row, from pure noise over two noisy neighbours to the clean glyph. Between the "
        "neighbours one arrow to the right takes noise away and one to the left adds it.",
    ),
    Entry(
        "first-step",
        "One step of noise, close up",
        "A step of noise puts a small Gaussian around every point of the data, but not centred on the point: first "
        "everything moves a little toward the middle, by the factor √(1−β), where β is the variance of the noise. "
        "The guide leaves that factor out. At the β of real schedules the move is hardly visible, but without it "
        "the cloud would grow with every step and never settle.",
        "Points on a spiral, for a small and a large β. Around five of them lie discs of noise, whose centres have "
        "moved from the points toward the middle: hardly for the small β, clearly for the large one.",
    ),
    Entry(
        "schedules",
        "Three ways to spread the noise over the steps",
        "All strips show the same noise, in different doses. A large glyph stays readable far longer than the share "
        "of signal suggests. When it becomes unreadable, that happens quickly; under the cosine schedule, in the "
        "very last steps.",
        "The glyph under more and more noise, one strip for each schedule: linear, cosine, karras. Below, three charts "
        "over the steps: signal over noise, the share of signal, and the bits lost in each step.",
    ),
    Entry(
        "density",
        "A data set dissolves",
        "Every dot is a real glyph, placed along the two directions in which glyphs differ most and coloured by its "
        "radical where the data name one. Shown with the dots is the density of the distribution that the noisy "
        "dots come from, computed exactly. Islands run into one another until only the round hill of pure noise is "
        "left.",
        "Five panels of dots, from separate groups to one round cloud, and below each the density of the dots, from "
        "small islands to one round hill.",
    ),
    Entry(
        "score",
        "Arrows back to the data",
        "The arrows show the score: the gradient of the logarithm of the density, which points where the density "
        "rises fastest. With little noise the arrows lead to the nearest island, and they are longest far away from "
        "all data: the density vanishes there, but the score does not. With much noise all of them lead to the "
        "middle.",
        "Arrows on the density at four noise levels. With little noise they lead to several islands and are longest at "
        "the edge; with much noise all lead to the middle.",
    ),
    Entry(
        "umap",
        "The same over a UMAP",
        "The guide draws its data as a UMAP, a map on which similar glyphs lie close together, and adds noise to "
        "the places on the map. More of the likeness of glyphs survives there than on two axes, but it is a "
        "shorthand: noise in a picture is not noise on a map, so density and score are those of the dots, not of "
        "the glyphs. On principal axes, in the third row, they belong to both, since a straight projection of noise "
        "is noise. A circle follows the score from pure noise back to the data. The last row shows the best guess "
        "at each of its places, blended from the nearest glyphs on the map: a map has no exact inverse, so these "
        "pictures are approximations.",
        "Four rows of five panels with more and more noise: dots of a map that dissolve; their density with arrows; "
        "density with arrows on principal axes; and pictures, each blended from a few glyphs.",
    ),
    Entry(
        "factor",
        "Noise and score, and the factor between them",
        "Predicting the noise in a picture and knowing the score are the same up to a factor. The factor is the "
        "same for every picture, but not for every step t: the schedule decides how it changes.",
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
        "The contours show the joint distribution of a picture x and a text y. Without a text, x falls on either "
        "peak equally often. Fixing the text cuts a slice through the hills, and nearly all of that slice lies "
        "under one peak.",
        "Contours of two hills, with the distribution of x above and of y at the right, and across each hill the "
        "distribution of x for that value of y.",
    ),
    Entry(
        "classifiers",
        "Naming the radical under noise",
        "A classifier can lead a sampler: the gradient of the probability that it gives to a radical tells how to "
        "change the picture so that this probability grows. But during a drawing it sees noisy pictures. A "
        "classifier trained on clean glyphs fails long before the radical is gone; one trained on noisy glyphs "
        "keeps naming it for much longer.",
        "Two curves of accuracy over the noise level, from little to much. One stays high and falls late; the other "
        "falls early, below the dashed line of guessing.",
    ),
    Entry(
        "loop",
        "What a denoiser sees, and what it predicts",
        "A denoiser sees only the noisy glyph and t. From these it guesses the noise, and with it the glyph "
        "underneath. The exact denoiser can look every glyph up in its list and finds the right one long after our "
        "eyes have given up; a network has no list, and predicts a blurred mean of what might be there. To the eye "
        "all guesses of the noise look alike, so their error is shown: orange where the guess is too high, blue "
        "where it is too low.",
        "A row for each of five noise levels: the noisy glyph, the glyph that each denoiser guesses, and in colour "
        "the error of the noise that it predicts, which follows the outlines of the strokes.",
    ),
    Entry(
        "training",
        "One step of training",
        "Take a glyph from the data, take noise, and add them up. Both parts are known, so the right answer is, "
        "too. The loss says how far the network's answer is from it, and every parameter is moved a little so that "
        "the loss falls. Training never draws a glyph from start to end.",
        "Five pictures in a row: the glyph, noise, the noisy glyph, the noise that the network predicts, and the "
        "glyph that "
        "follows from it. Below, curves of the error over the pictures seen, on logarithmic axes, all falling.",
        needs_model=True,
    ),
    Entry(
        "network",
        "The network, part by part",
        "Each bar is a part of this model's network: its height shows the grid that the part works on, its width "
        "the number of channels it passes on, which are the numbers kept for each place of the grid. On the way "
        "down the network trades places for channels, until one place sees most of the glyph. On the way up it "
        "returns to the fine grids, and to what it kept of them on the way down.",
        "Bars of different height and width in the shape of a U, joined by arrows; some are coloured where they have "
        "attention, and dashed arrows lead across.",
        needs_model=True,
    ),
    Entry(
        "solvers",
        "Few steps or many?",
        "Here the denoiser is perfect, so all of the error comes from the sampler. The plain sampler of DDPM needs "
        "the most steps by far; a second-order solver gets there in a fraction of them. How few steps are enough "
        "says more about the sampler than about diffusion.",
        "Two charts on logarithmic axes: the error of six samplers over the number of steps, and over the number of "
        "passes through the denoiser. All fall; DDPM is the slowest.",
    ),
    Entry(
        "walks",
        "What the noise on the way is for",
        "The blue hills are a distribution with some noise left in it, and every walk follows its exact score. "
        "Without noise a walk climbs to the nearest mode and stays there, so the walks end at a few points, and "
        "where a walk begins decides at which one. With noise (Langevin dynamics) a walk visits all of the hills as "
        "often as it should. A sampler that starts from pure noise and follows the score down through all noise "
        "levels also reaches each mode as often as it should, without any new noise: its randomness is in the start.",
        "Two panels with the same three hills. In the left one paths lead straight to the three tops, in the right "
        "one a jagged path covers all of the hills. Below, bars show how many walks end at each top: without noise "
        "they differ from the true shares, with noise they agree.",
    ),
    Entry(
        "workbench",
        "A workbench in the plane",
        "Choose data, or draw your own, and move the time: the points dissolve, and the arrows of their exact score "
        "lead back. Beside them two samplers start from the same noise and follow this score: one without noise on "
        "the way (the probability-flow ODE), the other with new noise at every step (the reverse SDE). If the data "
        "have two classes, both samplers can be guided to one of them. The energy distance says how far the ends of "
        "the walks are from the data, and the range beside it how far fresh samples of the data are, by chance "
        "alone.",
        "At the left, points from the ink of a glyph under some noise, with arrows that lead back to the ink. "
        "Beside it, paths of two samplers from the same noise to the glyph: smooth for the first, jagged for the "
        "second.",
    ),
    Entry(
        "samples",
        "Glyphs out of noise",
        "The sampler of DDPM goes in many small steps from noise to glyphs that follow the prompt. For a long time "
        "nothing seems to happen, but the layout is decided while all still looks like noise; the strokes come last.",
        "An animation: a sheet of noise turns into a sheet of glyphs.",
        needs_model=True,
    ),
    Entry(
        "drawing",
        "One drawing, step by step",
        "A step is no more than this: the model is shown x, predicts the noise in it, and so guesses the glyph "
        "underneath. Then as much of that noise is put back as belongs to the next, lower level, and the model is "
        "asked again. The first guess is a blur, the mean of all glyphs that could come of this noise; later "
        "guesses become sharp.",
        "Three rows of pictures at falling noise levels: noise that turns into a glyph, guesses that begin as a blur "
        "and become sharp, and the predicted noise, which looks alike throughout.",
        needs_model=True,
    ),
    Entry(
        "guidance",
        "How closely to follow the words",
        "At every step the model is asked twice, without the prompt and with it. Guidance goes from the first "
        "answer toward the second, but γ times as far. At γ = 1 it simply follows the prompt. A larger γ "
        "exaggerates the prompt: strokes change where that makes the meaning clearer. The numbers below tell "
        "whether it also makes glyphs from different noise more alike.",
        "A row of glyphs for each strength of guidance, from weak to strong; each column begins with the same noise.",
        needs_model=True,
    ),
    Entry(
        "same-noise",
        "The same noise, other words",
        "In the table each column starts from the same noise, and each row has the same prompt. Down a column the "
        "radical changes with the words; where there is room for another part, that part stays much the same: the "
        "words leave it open, and the noise decides it.",
        "A table of glyphs, a row for each of eight prompts, a column for each noise.",
        needs_model=True,
    ),
    Entry(
        "steps",
        "One step, five steps, many",
        "A single step from pure noise (“1 step, from T”, the last step of the schedule) can only give the mean of "
        "all that the prompt allows, and that mean already leans toward the prompt. From the lowest level (“1 step, "
        "from t = 1”) a single step leaves the noise that it starts from. In the other rows, compare how clean the "
        "strokes are.",
        "A row of pictures for each sampler and number of steps, with the prompt at the left, without it at the right: "
        "noise from one step at the lowest level, a blur from one step at the highest, glyphs from many steps.",
        needs_model=True,
    ),
    Entry(
        "smooth",
        "A smoother sampler",
        "The stochastic DPM-Solver takes half steps along one random path. Strokes settle gradually, and it needs "
        "fewer steps than DDPM.",
        "An animation: strokes of glyphs appear gradually out of noise.",
        needs_model=True,
    ),
    Entry(
        "beside",
        "Real and drawn, side by side",
        "In each pair the left glyph is from the data, and the right one was drawn by the model for the definition "
        "below, in one try. They are not meant to be the same character: the model is supposed to draw new glyphs.",
        "Pairs of a real and a drawn glyph, each with its definition below.",
        needs_model=True,
    ),
    Entry(
        "between",
        "What lies between two pictures",
        "Mixing two pictures gives neither: both shine through. Mixing the noise that they are drawn from gives a "
        "glyph everywhere in between, since every noise leads to some glyph. But the change is not smooth: what "
        "does not fit vanishes at once, or turns into something else.",
        "Rows of nine pictures from one glyph to another: fading, then drawn from noise between theirs.",
        needs_model=True,
    ),
    Entry(
        "text",
        "From a text to vectors",
        "The prompt is cut into tokens, which may be parts of words. Each token has a number, and the encoder turns "
        "these numbers into vectors of equal length. Each vector depends on the whole prompt, not on its own token "
        "alone. This array is all that the network ever sees of the text.",
        "A row for each token of the prompt: the token, its number, and its vector as a strip of coloured cells.",
        needs_model=True,
    ),
    Entry(
        "ways-in",
        "Two ways in for a text",
        "The mean of the vectors can be added to the embedding of the noise level, the numbers that tell the "
        "network σ: then it is the same for all places of the picture. Or every place can look at each of the "
        "vectors itself, by cross-attention. This network was trained with both at once; here each is also given "
        "alone.",
        "Two rows of four guesses from the same noise: without a text, with the pooled text alone, through "
        "cross-attention alone, and with both.",
        needs_model=True,
    ),
    Entry(
        "attention",
        "Which part looks at which word",
        "Each part of the picture asks the prompt what to draw, and weighs the answers of its words: that is "
        "cross-attention. The darker a part, the larger the share of that word; over all words the shares add up to "
        "one. The mark in brackets is the end of the prompt. The encoder has already told every word about the "
        "others, so a map shows where a part looks, not what it learns there.",
        "A row for each noise level, from much noise to little: the glyph that the model guesses there, and beside it, "
        "for each word of the prompt, the same glyph over a map of how much each part looks at that word.",
        needs_model=True,
    ),
    Entry(
        "latents",
        "A glyph in fewer numbers",
        "A latent model never sees pixels: a codec turns the glyph into a few small pictures, its channels, and "
        "noise is added to those. If the decoder draws the same glyph without a channel, that channel is spare; if "
        "one channel alone brings the strokes back, the others refine their edges.",
        "The glyph and, beside it, the channels of its latent in colour. Below, what the decoder draws without each of "
        "the channels, and from each of them alone.",
        needs_model=True,
    ),
    Entry(
        "cascade",
        "Small first, then large",
        "The model decides at the small size what the glyph is; a second model, the upscaler, adds the pixels. It "
        "sees the small picture with a little noise and starts from an enlarged one with more, so only the edges of "
        "strokes are left to decide. Interpolation makes them soft; the upscaler has learned that they are sharp.",
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
