"""Claims about text and how it is turned into vectors; the measurements come from `workflows.claims_text`.

Each function decides on one claim, as those of `claims` do.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from glyffctl.core.estimates import Estimate, mean
from glyffctl.core.theory.claims import Claim, Verdict, corrected, holds


def token_vectors(tokens: Tensor, letters: Tensor, widths: Tensor) -> Claim:
    """A text becomes n vectors of the same length d: tokens of definitions, and the lengths of their vectors.

    Args:
        tokens: (N,) of each definition.
        letters: (N,) of each definition.
        widths: (N,) numbers of a vector of each.
    """
    numbers = {
        "width": float(widths[0]),
        "widths": len(widths.unique()),
        "fewest": float(tokens.min()),
        "most": float(tokens.max()),
    }
    estimates = {"tokens": mean(tokens), "letters of a token": mean(letters / tokens.clamp(min=1))}
    several = numbers["most"] > numbers["fewest"] and numbers["widths"] == 1
    return Claim("token vectors", holds(several), estimates, numbers)


def context_margin(alone: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """How much nearer a word in context is to its meaning there than to its other meaning: (N,) differences of cosines.

    Args:
        alone: (N, D) the word beside a hint at its first meaning.
        one: (N, D) the word in a phrase of that meaning.
        other: (N, D) the word in a phrase of the other meaning.
    """
    return cosine_similarity(alone, one, dim=1) - cosine_similarity(alone, other, dim=1)


def contextual(named: Estimate, others: Estimate, right: Estimate, static: float) -> Claim:
    """The vector of a word depends on the words beside it: "element" beside "lithium" means the chemical one.

    Args:
        named: `context_margin` of "element" beside the names of chemical elements and of heaters.
        others: of other words with two meanings.
        right: how often the margin of all of them is positive.
        static: the largest margin of the vectors before the network looks at the context.
    """
    estimates = {"element": named, "others": others, "right": right}
    numbers = {"static": static}
    if named.low <= 0 or abs(static) > 1e-6:
        return Claim("context", "does not hold", estimates, numbers)
    return Claim("context", holds(True) if others.low > 0 else corrected(True), estimates, numbers)


def radical_words(found: Estimate, shuffled: Estimate) -> Claim:
    """Radicals convey meaning: how often a character has the radical of the one that is defined most alike.

    Args:
        found: the share, by the words of the definitions.
        shuffled: the same with the radicals shuffled.
    """
    verdict: Verdict = "does not hold"
    if found.low > 2 * shuffled.high:
        verdict = "holds" if found.low > 0.5 else "holds with a correction"
    return Claim("radicals mean", verdict, {"found": found, "shuffled": shuffled})


def condition(given: Estimate, base: Estimate, prompts: Estimate, prompts_base: Estimate) -> Claim:
    """A condition reshapes the distribution: the share of a radical among all glyphs, and where a word is in the text.

    Args:
        given: the share of 金 among glyphs with "gold" or "metal" in their definition.
        base: its share among all glyphs.
        prompts: the mean over words of the bundled prompts.
        prompts_base: the mean base rate of their radicals.
    """
    reshaped = given.low > 2 * base.high and prompts.low > 2 * prompts_base.high
    estimates = {"gold": given, "gold, base": base, "words": prompts, "words, base": prompts_base}
    return Claim("condition", holds(reshaped), estimates)


def nearest_other(vectors: Tensor) -> Tensor:
    """(N,): for each row the row of another that is most alike, by cosine; vectors (N, D)."""
    unit = torch.nn.functional.normalize(vectors.float(), dim=1)
    alike = unit @ unit.T
    alike.fill_diagonal_(-2)
    return alike.argmax(1)
