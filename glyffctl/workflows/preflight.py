"""Checks of data and settings before the first step of a training, with one line for each problem."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Generator
from hashlib import blake2b

import torch

from glyffctl.core.data.embeddings import Embeddings
from glyffctl.core.data.subset import evenly_spaced
from glyffctl.core.training.trainer import Trainer
from glyffctl.workflows.events import Caution, Event, Note
from glyffctl.workflows.pictures import check_pictures

BRIGHTNESS_LEFT = 0.6  # standard deviations; above this, pure noise differs visibly from data at the noisiest level
_CAPTIONS = 10_000  # compared with each other
_FAINT = 0.1  # standard deviation of pixels in [−1, 1]; that of Noto Sans is 0.75
_MANY_ALIKE = 0.2  # share of captions with the same embedding as another
_FAR_LEVELS = 1.0  # in ln σ
_GLYPH_LEVELS = 0.8, 128  # ln σ at which the strokes of a glyph form, at this size; see examples/LOG.md


def preflight(trainer: Trainer) -> Generator[Event, None, None]:
    """Warn of likely mistakes in data and settings, and note over how many steps weights are averaged."""
    yield from _pictures(trainer)
    if trainer.network.compares:
        yield from _embedded(trainer.objective.data.embeddings)
    elif trainer.objective.captioned:  # otherwise drawing does not start from noise alone, either
        yield from _captions(trainer)
        if not trainer.config.codec.learned:  # the levels that fit latents are not known
            yield from _noise(trainer)
    yield from _network(trainer)
    training = trainer.config.training
    steps = 1 / (1 - training.ema_decay)
    yield Note(
        f"samples and the saved model use the average of the weights over about the last {steps:,.0f} steps "
        f"({steps * training.batch:,.0f} pictures)",
        "weight-averaging",
        {"steps": round(steps), "images": round(steps * training.batch)},
    )


def _pictures(trainer: Trainer) -> Generator[Event, None, None]:
    glyphs = trainer.objective.data.glyphs
    if glyphs.mean < 0:
        yield Caution(
            f"the pictures are dark (mean {glyphs.mean:+.2f} in −1…1): light ink on black? Training works with it, but "
            "models, the classifier and the figures expect dark ink on white; invert the pictures",
            "pictures-dark",
            {"mean": glyphs.mean},
        )
    if glyphs.std < _FAINT:
        yield Caution(
            f"the pictures hardly differ from an even grey (standard deviation {glyphs.std:.3f} in −1…1)",
            "pictures-faint",
            {"std": glyphs.std},
        )
    yield from check_pictures(glyphs)


def _captions(trainer: Trainer) -> Generator[Event, None, None]:
    yield from _embedded(trainer.objective.data.embeddings)
    dropout = trainer.config.diffusion.caption_dropout
    if dropout == 0:
        yield Caution(
            "diffusion.caption_dropout is 0: the model never trains without a caption, so --guidance will not work; "
            "set it above 0 to guide",
            "captions-always-used",
        )
    if dropout > 0.5:
        yield Caution(
            f"diffusion.caption_dropout is {dropout:g}: most pictures are trained without their caption",
            "captions-rarely-used",
        )


def _embedded(embeddings: Embeddings) -> Generator[Event, None, None]:
    embeddings = embeddings.to("cpu")
    lengths = embeddings.lengths
    empty = int((lengths == 0).sum())
    if empty:
        yield Caution(
            f"{empty:,} of {len(lengths):,} captions are empty: their glyphs are trained without a caption",
            "captions-empty",
            {"empty": empty},
        )
    digests: Counter[bytes] = Counter()
    for row in evenly_spaced(torch.arange(len(lengths)), _CAPTIONS).tolist():
        start, end = embeddings.offsets[row : row + 2].tolist()
        digests[blake2b(embeddings.tokens[start:end].numpy().tobytes(), digest_size=16).digest()] += 1
    alike = sum(number for number in digests.values() if number > 1) / digests.total()
    if alike > _MANY_ALIKE:
        yield Caution(
            f"{alike:.0%} of the captions have the same embedding as another from {embeddings.encoder}; if it does "
            "not know their language, embed them with another --encoder",
            "embeddings-alike",
            {"share": alike},
        )


def _noise(trainer: Trainer) -> Generator[Event, None, None]:
    diffusion, size = trainer.config.diffusion, trainer.objective.data.glyphs.size
    left = diffusion.noise_levels().brightness_left(trainer.objective.data.glyphs.mean, size)
    if left > BRIGHTNESS_LEFT:
        yield Caution(
            f"at the noisiest level of the {diffusion.schedule} schedule the brightness of {size}×{size} pictures "
            f"still shows ({left:.1f} standard deviations), so the pure noise where samplers start differs from "
            'it; diffusion.schedule = "cosine" adds more noise',
            "brightness-left",
            {"brightness": left},
        )
    mean, at = _GLYPH_LEVELS
    usual = mean + math.log(size / at)  # a shape n times as wide survives n times the noise
    if diffusion.levels == "lognormal" and abs(diffusion.level_mean - usual) > _FAR_LEVELS:
        yield Caution(
            f"diffusion.level_mean is {diffusion.level_mean:g}; the shape of {size}×{size} glyphs forms near "
            f"ln σ = {usual:.1f}",
            "noise-level-far",
            {"usual": usual},
        )


def _network(trainer: Trainer) -> Generator[Event, None, None]:
    for caution in trainer.config.network.cautions(trainer.config.diffusion.prediction):
        yield Caution(caution, "network-unsuitable")
