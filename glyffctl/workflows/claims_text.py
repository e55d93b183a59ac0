"""What `glyffctl noise-demo --check` measures of definitions, and of the bundled text encoder."""

from __future__ import annotations

import re
from collections import Counter

import torch
from torch import Tensor

from glyffctl.core.data.character import Character
from glyffctl.core.estimates import mean, share
from glyffctl.core.evaluation.prompts import radical_prompts
from glyffctl.core.io.bundled import BUNDLED
from glyffctl.core.text.encoder import TextEncoder
from glyffctl.core.text.loading import load_encoder
from glyffctl.core.theory import text_claims
from glyffctl.core.theory.claims import Claim

MOST_TEXTS = 2000
"""Definitions that are measured."""
METAL = 167
FEWEST_GLYPHS = 5
"""A word is counted if so many definitions have it."""
_TOKENS = 64
_WORD = re.compile(r"[a-z]{2,}")
ELEMENTS = ("lithium", "sodium", "iron", "gold", "oxygen", "carbon", "helium", "copper", "zinc", "silver")
"""Beside "element" they make it the chemical one."""
HEATERS = ("kettle", "toaster", "heater", "boiler", "oven", "stove", "radiator", "cooker", "furnace", "iron")
"""And these the heating one."""
SENSES = (
    ("bank", ("money", "loan", "coin"), "a bank for savings", ("river", "shore", "stream"), "the bank of a lake"),
    ("spring", ("water", "well", "brook"), "a spring of water", ("summer", "autumn", "winter"), "the season of spring"),
    ("seal", ("fish", "whale", "sea"), "a seal, a sea animal", ("stamp", "wax", "letter"), "the seal on a document"),
    ("bow", ("arrow", "shoot", "hunter"), "a bow and arrows", ("kneel", "greet", "respect"), "to bow politely"),
    ("bat", ("wing", "cave", "night"), "a bat flies at night", ("ball", "club", "stick"), "a bat to hit a ball"),
    ("bark", ("tree", "wood", "trunk"), "the bark of a pine", ("dog", "wolf", "hound"), "the bark of a hound"),
    ("pupil", ("eye", "sight", "iris"), "the pupil of the eye", ("school", "teacher", "class"), "a pupil at school"),
    ("crane", ("bird", "heron", "wing"), "a crane, a water bird", ("machine", "lift", "load"), "a crane lifts loads"),
)  # fmt: skip
"""A word with two meanings; hints at the first, and a phrase that has it; the same for the second."""


def bundled_encoder() -> TextEncoder:
    """The text encoder that comes with the program."""
    return load_encoder(BUNDLED, max_tokens=_TOKENS)


def defined(characters: list[Character]) -> list[Character]:
    """At most `MOST_TEXTS` of the characters that have a definition, evenly spaced."""
    some = [character for character in characters if character.definition.strip()]
    return some[:: max(1, len(some) // MOST_TEXTS)][:MOST_TEXTS]


def measure_tokens(encoder: TextEncoder, characters: list[Character]) -> Claim:
    """Tokens of definitions, and the lengths of their vectors."""
    texts = [character.definition for character in characters[:200] if not encoder.is_cut(character.definition)]
    encoded = [encoder.encode([text]).tokens[0] for text in texts]
    tokens = torch.tensor([len(each) for each in encoded], dtype=torch.float64)
    letters = torch.tensor([len(text) for text in texts], dtype=torch.float64)
    return text_claims.token_vectors(tokens, letters, torch.tensor([each.shape[1] for each in encoded]))


def _vectors(encoder: TextEncoder, word: str, texts: list[str], *, static: bool = False) -> Tensor:
    """(N, D): the vectors of `word` in each text, or its means where it is several tokens.

    Args:
        encoder: the encoder.
        word: a word that is in every text.
        texts: N of them.
        static: each token encoded alone, so that it knows nothing of the others.
    """
    [ids] = encoder.tokenize([word])
    own = ids[:-1] if len(ids) > 1 else ids  # without the end mark
    found = []
    for text in texts:
        [all_ids] = encoder.tokenize([text])
        at = next(k for k in range(len(all_ids)) if all_ids[k : k + len(own)] == own)
        if static:
            found.append(encoder.encode_ids([[number] for number in own]).tokens[:, 0].mean(0))
        else:
            found.append(encoder.encode_ids([all_ids]).tokens[0, at : at + len(own)].mean(0))
    return torch.stack(found)


def _margins(encoder: TextEncoder, word: str, hints: tuple[str, ...], own: str, other: str, *, static: bool) -> Tensor:
    alone = _vectors(encoder, word, [f"{hint} {word}" for hint in hints], static=static)
    one, two = (_vectors(encoder, word, [phrase], static=static).expand_as(alone) for phrase in (own, other))
    return text_claims.context_margin(alone, one, two)


def _both_ways(
    encoder: TextEncoder, sense: tuple[str, tuple[str, ...], str, tuple[str, ...], str], *, static: bool
) -> Tensor:
    word, first, first_phrase, second, second_phrase = sense
    return torch.cat(
        [
            _margins(encoder, word, first, first_phrase, second_phrase, static=static),
            _margins(encoder, word, second, second_phrase, first_phrase, static=static),
        ]
    )


def measure_context(encoder: TextEncoder) -> Claim:
    """Whether words with two meanings have the vector of the one that the words beside them ask for."""
    element = ("element", ELEMENTS, "a chemical element", HEATERS, "a heating element")
    named = _both_ways(encoder, element, static=False)
    others = torch.stack([_both_ways(encoder, sense, static=False).mean() for sense in SENSES])
    every = torch.cat([named, *(_both_ways(encoder, sense, static=False) for sense in SENSES)])
    static = max(float(_both_ways(encoder, sense, static=True).abs().max()) for sense in (element, *SENSES))
    return text_claims.contextual(mean(named), mean(others), share(int((every > 0).sum()), len(every)), static)


def _words(character: Character) -> set[str]:
    return set(_WORD.findall(character.definition.lower()))


def measure_radicals(characters: list[Character], seed: int) -> Claim | None:
    """Whether characters that are defined alike have the same radical; None without radicals."""
    known = [(character.radical, _words(character)) for character in characters if character.radical]
    known = [(radical, words) for radical, words in known if words]
    if len(known) < 2 * FEWEST_GLYPHS:
        return None
    counts = Counter(word for _, words in known for word in words)
    names = {word: column for column, word in enumerate(sorted(word for word, n in counts.items() if n > 1))}
    table = torch.zeros(len(known), max(1, len(names)))
    for row, (_, words) in enumerate(known):
        for word in words & names.keys():
            table[row, names[word]] = torch.tensor(len(known) / counts[word]).log()
    radicals = torch.tensor([radical for radical, _ in known])
    alike = text_claims.nearest_other(table)
    order = torch.randperm(len(radicals), generator=torch.Generator().manual_seed(seed))
    mixed = radicals[order]
    hits, chance = (int((each == each[alike]).sum()) for each in (radicals, mixed))
    return text_claims.radical_words(share(hits, len(radicals)), share(chance, len(radicals)))


def measure_condition(characters: list[Character]) -> Claim | None:
    """Whether the words of a definition change which radicals are likely; None where "gold" or "metal" is too rare."""
    known = [(character.radical, _words(character)) for character in characters if character.radical]
    gold = [radical == METAL for radical, words in known if words & {"gold", "metal"}]
    if len(gold) < FEWEST_GLYPHS:
        return None
    base = share(sum(radical == METAL for radical, _ in known), len(known))
    given, usual = [], []
    for prompt in radical_prompts():
        word = _WORD.findall(prompt.text.lower())[-1]
        of_it = [radical in prompt.radicals for radical, words in known if word in words]
        if len(of_it) >= FEWEST_GLYPHS:
            given.append(sum(of_it) / len(of_it))
            usual.append(sum(radical in prompt.radicals for radical, _ in known) / len(known))
    if not given:
        return None
    shares, rates = (torch.tensor(each, dtype=torch.float64) for each in (given, usual))
    return text_claims.condition(share(sum(gold), len(gold)), base, mean(shares), mean(rates))
