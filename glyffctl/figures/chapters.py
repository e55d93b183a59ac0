"""The text of the page of `noise-demo` between its figures: what each follows from, in the order of the guide.

A figure that is in no chapter comes after the one before it in `registry`, without a lead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

_Entry = TypeVar("_Entry")


class Chapter(NamedTuple):
    """A part of the page.

    Attributes:
        question: its title.
        text: what it is about.
        leads: for each figure, in order, what leads to it.
    """

    question: str
    text: str
    leads: dict[str, str]


CHAPTERS = (
    Chapter(
        "What is there to learn?",
        "A program that draws new glyphs has not memorised some and mixed them. It has learned which pictures are "
        "likely to be glyphs, and it picks one of those at random. So the first question is what “likely” means for a "
        "picture.",
        {
            "gaussian": "Begin with single numbers instead of pictures. If they all come from one distribution, a few "
            "of them are enough to estimate it, and then new ones can be drawn from it.",
            "pixels": "The same idea works for pictures once they are numbers.",
        },
    ),
    Chapter(
        "How does noise help?",
        "Nobody can write down the distribution of glyphs. Diffusion takes a detour: it destroys glyphs with noise, "
        "a little at a time, and trains a network to undo that. Destroying takes no skill, and it gives the network "
        "as many exercises as one wants.",
        {
            "process": "Here are both directions on one glyph. Drag the slider, or press play.",
            "first-step": "Look closer at a single step, on points in a plane, where it can be drawn.",
            "schedules": "How much noise each step adds is a choice, the schedule. Compare three that are in use.",
            "density": "So far this was one glyph. Noise does the same to all glyphs at once, and so changes their "
            "distribution: from many narrow peaks to one round hill that is easy to sample.",
            "pure-noise": "Drawing starts from that round hill. Does the last step really get there?",
            "loop": "Now for the way back. A network is shown a noisy glyph and asked for the noise in it; the rest "
            "is the glyph. The best possible answer can be computed, so a network can be compared with it.",
            "training": "Training repeats one simple step. Here is one of them with its numbers, and what many "
            "achieve.",
            "network": "And this is the network that makes the guesses.",
        },
    ),
    Chapter(
        "How is a glyph drawn?",
        "A guess from much noise is poor, and a guess from little noise is good. So a glyph is drawn by guessing again "
        "and again, with a little less noise each time.",
        {
            "drawing": "Follow one drawing through all its steps.",
            "samples": "And here are sixteen at once, as the guide shows them.",
            "steps": "How many steps does that take? Compare one, five and more.",
            "solvers": "A network makes mistakes of its own. With a perfect denoiser only those of the sampler are "
            "left.",
        },
    ),
    Chapter(
        "Why does it work? The score",
        "There is a second way to see the same thing. In the picture of hills, predicting noise means knowing which "
        "way is uphill.",
        {
            "score": "Move through the noise levels and watch where the arrows point.",
            "umap": "The guide draws these arrows over a map of glyphs. Here is such a map, and below it the plane "
            "in which the arrows are exact.",
            "factor": "That arrow and the predicted noise are the same thing on two scales.",
            "walks": "Just following the arrows uphill would lead to the tops and nowhere else. Something has to "
            "keep the walks spread out.",
            "workbench": "Now try all of it, on data that you choose or draw.",
        },
    ),
    Chapter(
        "How do words steer it?",
        "So far nothing said which glyph to draw. A prompt changes which pictures are likely; everything above "
        "stays as it is.",
        {
            "joint": "This is what a prompt does, with one dimension for the picture and one for the words.",
            "text": "A network computes with numbers. This is how a prompt becomes numbers.",
            "ways-in": "They get into the network in two ways. Each is shown alone.",
            "attention": "The network reads the prompt while it looks at the picture.",
            "guidance": "How much the prompt counts can be turned up while drawing.",
            "same-noise": "Words decide one part of a glyph, and noise the other. Hold one and change the other.",
            "classifiers": "There is another way to steer: ask a classifier which change of the picture leads to "
            "what one wants.",
            "beside": "This is how the model's glyphs look beside real ones for the same words.",
        },
    ),
    Chapter(
        "What else can be done with it?",
        "None of this is needed to understand diffusion, but many systems in use are built like this.",
        {
            "smooth": "Other samplers take other ways from the same noise.",
            "between": "Every noise leads to some glyph. So there are glyphs between two glyphs.",
            "latents": "Large pictures are costly. One remedy is to diffuse something smaller than the picture.",
            "cascade": "Another is to draw small, and enlarge with a second model.",
        },
    ),
)

LEADS = {name: lead for chapter in CHAPTERS for name, lead in chapter.leads.items()}


def chapters_of(names: Sequence[str]) -> list[Chapter | None]:
    """The chapter of each figure; one that is in none belongs to that of the figure before it, if there is one."""
    found, now = list[Chapter | None](), None
    for name in names:
        now = next((chapter for chapter in CHAPTERS if name in chapter.leads), now)
        found.append(now)
    return found


def in_order(entries: Sequence[_Entry], name: Callable[[_Entry], str]) -> tuple[_Entry, ...]:
    """`entries` in the order of the chapters; one that is in none stays behind the one before it."""
    order = list(LEADS)
    places, place = list[int](), 0
    for entry in entries:
        place = order.index(name(entry)) if name(entry) in LEADS else place
        places.append(place)
    return tuple(entries[k] for k in sorted(range(len(entries)), key=places.__getitem__))
