"""The words that the page of `noise-demo` explains where they are used, and all together at its end."""

from __future__ import annotations

import re
from typing import NamedTuple


class Term(NamedTuple):
    """A word, how else it is written, and what it means here."""

    word: str
    meaning: str
    forms: tuple[str, ...] = ()


TERMS = (
    Term(
        "95 % interval",
        "The range that holds the true value with 95 % confidence, given that only so much was measured.",
    ),
    Term("α-bar (ᾱ)", "The share of the variance that is still the picture's: 1 is clean, 0 is pure noise.", ("ᾱ",)),
    Term(
        "attention",
        "How a network weighs parts of its input against each other; in cross-attention parts of the picture weigh the "
        "words of the prompt.",
        ("cross-attention",),
    ),
    Term("channel", "One of several numbers that are kept for each place of a picture or grid.", ("channels",)),
    Term("classifier", "A network that says what a picture shows; here, which radical.", ("classifiers",)),
    Term("codec", "A network that turns pictures into latents, and by its decoder back into pictures.", ("decoder",)),
    Term(
        "condition",
        "What is given in advance, such as the prompt. It changes which pictures are likely.",
    ),
    Term(
        "DDIM",
        "A sampler without new noise on the way: it puts back the noise that the model has predicted.",
        ("ddim",),
    ),
    Term(
        "DDPM", "The sampler of the first diffusion models: many small steps, each with a little new noise.", ("ddpm",)
    ),
    Term(
        "denoiser",
        "What guesses the clean picture in a noisy one. The exact denoiser knows all data and computes the best "
        "possible guess, the mean of what could be behind the noise; a network has to learn it.",
        ("denoisers", "exact denoiser"),
    ),
    Term("density", "How likely a place is, compared with others: high where data are dense."),
    Term(
        "distribution",
        "What values there are and how often each comes; to sample from it is to draw values by these chances.",
    ),
    Term("energy distance", "How far apart two sets of points are: 0 where both have the same distribution."),
    Term(
        "Gaussian",
        "The bell curve. It is given by its middle and its width, the standard deviation.",
        ("bell curve", "standard deviation", "standard deviations"),
    ),
    Term(
        "guidance (γ)",
        "How strongly a drawing is pulled toward its prompt: 1 follows it, more exaggerates it.",
        ("guidance",),
    ),
    Term(
        "Langevin dynamics",
        "A walk that follows the score and adds noise at each step, so that it visits every "
        "place as often as its density says.",
    ),
    Term("latent", "A few numbers that stand for a picture, from which a decoder draws it.", ("latents",)),
    Term("mode", "The top of a hill of the density.", ("modes",)),
    Term(
        "noise",
        "Random numbers, here a Gaussian one for each pixel, each independent of all others.",
    ),
    Term(
        "principal axes",
        "The directions in which data differ most; along the first two of them data can be drawn in a plane.",
        ("principal components",),
    ),
    Term(
        "probability-flow ODE",
        "The way from noise to data along the score without new noise: its start decides where it ends.",
    ),
    Term("prompt", "The words that say what to draw."),
    Term(
        "radical",
        "The part of a character that dictionaries sort it by; it often tells what the meaning has to do with, such as "
        "metal or water.",
        ("radicals",),
    ),
    Term("reverse SDE", "The way from noise to data along the score with new noise at every step."),
    Term(
        "root mean square",
        "A typical size of many numbers: square them, take the mean, and the root of that.",
    ),
    Term("sampler", "The rule by which a drawing goes from one noise level to the next.", ("samplers", "solver")),
    Term("schedule", "How much noise there is at each step.", ("schedules",)),
    Term(
        "score",
        "The direction in which a small step raises the probability of a picture most, and how fast it does: the "
        "gradient of the logarithm of the density.",
    ),
    Term("seed", "The number that a random choice starts from; the same seed gives the same noise."),
    Term("σ", "The noise level: how large the noise is beside a picture whose ink is −1 and whose paper is 1."),
    Term("SNR", "Signal over noise: the strength of the picture divided by that of the noise, 1/σ²."),
    Term(
        "step t",
        "A place in the schedule, from 1 (hardly any noise) to T, the last (hardly anything else).",
        ("step", "steps"),
    ),
    Term(
        "token",
        "A piece of text, a word or a part of one, that has a number in the vocabulary of the encoder.",
        ("tokens",),
    ),
    Term("UMAP", "A map of data in the plane on which similar ones lie close together."),
    Term("upscaler", "A model that makes a small picture large."),
)

_MEANT = {form: term for term in TERMS for form in (term.word, *term.forms)}
_FOUND = re.compile(r"(?<![\w-])(" + "|".join(map(re.escape, sorted(_MEANT, key=len, reverse=True))) + r")(?![\w-])")


def anchor(term: Term) -> str:
    """The name of a term in an address."""
    return "term-" + re.sub(r"\W+", "-", term.word.lower()).strip("-")


def link_terms(markup: str, known: set[str]) -> str:
    """Link the first use of each term, unless it is in `known`, which grows.

    Args:
        markup: text that is escaped already and holds no elements.
        known: words of the terms that were linked before.
    """

    def link(match: re.Match[str]) -> str:
        term = _MEANT[match[1]]
        if term.word in known:
            return match[1]
        known.add(term.word)
        name = anchor(term)
        return f'<a class="term" href="#{name}" aria-describedby="{name}">{match[1]}</a>'

    return _FOUND.sub(link, markup)


def glossary() -> str:
    """All terms, as a list of the page."""
    items = "".join(f'<dt>{term.word}</dt><dd id="{anchor(term)}">{term.meaning}</dd>' for term in TERMS)
    return f'<section id="words"><h2>Words</h2><dl>{items}</dl></section>'
