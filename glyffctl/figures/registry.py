"""The figures of `glyffctl noise-demo` in their order: what they are called, and what to see in them."""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """A figure. `name` is what --figure takes; `see` says what to see, in two or three sentences."""

    name: str
    title: str
    see: str
    needs_model: bool = False


ENTRIES = (
    Entry(
        "pixels",
        "A glyph is a list of numbers",
        "To a program a picture is one long vector: a number for each pixel, 0 for ink and 255 for paper. Every "
        "glyph of the same size is therefore a point in the same space, and a data set is a cloud of such points.",
    ),
    Entry(
        "gaussian",
        "Learning a distribution, the easy way",
        "A Gaussian has two unknowns, and samples give both back. With few samples the dashed curve may miss the "
        "black one, and the band says by how much; with many it cannot. For glyphs nobody can write such a curve "
        "down, which is why a network has to learn it by a detour.",
    ),
    Entry(
        "process",
        "Noise in one direction, a glyph in the other",
        "Read from right to left, each step adds a little Gaussian noise, and nothing about that has to be learned. "
        "Read from left to right, each step takes a little away, and that is all the network is trained for. Two "
        "neighbours look the same: this is why a single step is easy.",
    ),
    Entry(
        "first-step",
        "One step of noise, close up",
        "Noising a data set puts a small Gaussian around every point, but not quite where the point is: first "
        "everything moves a little toward the middle, by √(1−β). At the true sizes of β one hardly sees the move. "
        "Without it the cloud would grow with every step and never settle.",
    ),
    Entry(
        "schedules",
        "Three ways to spread the noise over the steps",
        "All strips show the same noise, in different doses. A large glyph stays readable far longer than the share "
        "of signal suggests. When its identity goes, it goes quickly; under the cosine schedule it does so in the "
        "very last steps.",
    ),
    Entry(
        "density",
        "A data set dissolves",
        "Every dot is a real glyph, coloured by its radical, at its place in the two directions in which glyphs "
        "differ most. Below is the distribution that the noisy dots come from, computed exactly. Islands run into "
        "one another until only the round hill of pure noise is left.",
    ),
    Entry(
        "score",
        "Arrows back to the data",
        "The arrows show the score, the direction in which the density rises fastest. With little noise they point "
        "to the nearest island and are longest out where no data are: it is the density that vanishes there, not the "
        "score. With much noise they agree on one way home.",
    ),
    Entry(
        "factor",
        "Noise and score, and the factor between them",
        "Predicting the noise in a picture and knowing the score are the same up to a factor. The factor does not "
        "depend on the picture, but it does depend on t: by how much is decided by the schedule.",
    ),
    Entry(
        "pure-noise",
        "Is the last step pure noise?",
        "Glyphs are mostly paper, so their mean is well above grey. If x_T were pure noise, its brightness would "
        "follow the black curve. Under the linear schedule, and ours after Karras, it is shifted a little: a sampler "
        "that starts from pure noise starts a little too dark.",
    ),
    Entry(
        "joint",
        "What a condition does",
        "The contours are the joint distribution of a picture x and a text y. Sampling x alone finds either peak as "
        "often as the other. Given the text it is a slice through the hills, and one peak takes nearly everything.",
    ),
    Entry(
        "loop",
        "What a denoiser is asked, and what it answers",
        "A denoiser sees only the left column and t. From it, it guesses the noise, and so the glyph behind it. The "
        "exact denoiser can look every glyph up in its list and finds the right one long after our eyes have given "
        "up; a network has no list, and answers with a blurred mean of what might be there.",
    ),
    Entry(
        "solvers",
        "Five steps, or a hundred and twenty?",
        "Here the denoiser is perfect, so all error is the sampler's own. The plain sampler of DDPM needs a hundred "
        "steps and more; a second-order solver is there in a fraction of them. How few steps suffice says more about "
        "the sampler than about diffusion.",
    ),
    Entry(
        "samples",
        "Sixteen glyphs out of noise",
        "The sampler of DDPM takes 120 steps from noise to glyphs that follow the prompt. For a long time nothing "
        "seems to happen; the layout is decided in the noise, the strokes come last.",
        needs_model=True,
    ),
    Entry(
        "steps",
        "One step, five steps, many",
        "One step from pure noise can only give the mean of what the prompt allows, and that mean already leans "
        "toward the prompt. Started lower down in the schedule the same single step leaves the noise it was given. "
        "Five steps of DDPM are not enough.",
        needs_model=True,
    ),
    Entry(
        "smooth",
        "The smooth clip",
        "The stochastic DPM-Solver takes half steps along one random path. Strokes settle gradually, and fewer steps "
        "are needed than above.",
        needs_model=True,
    ),
    Entry(
        "beside",
        "Real and drawn, side by side",
        "To the left are glyphs from the data, to the right what the model draws for the same definitions, one try "
        "each. They are not meant to be the same characters: the model is asked for new glyphs.",
        needs_model=True,
    ),
)

NAMES = tuple(entry.name for entry in ENTRIES)


def number(entry: Entry) -> int:
    """Its number in the whole list, from 1."""
    return ENTRIES.index(entry) + 1


def file_stem(entry: Entry) -> str:
    """The name of its files, without the ending."""
    return f"{number(entry):02d}-{entry.name}"
