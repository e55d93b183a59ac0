"""What can be seen to be off before the first step of a training, in one line each."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Generator
from hashlib import blake2b

import torch

from glyffctl.core.data.subset import evenly_spaced
from glyffctl.core.diffusion.schedule import make_schedule
from glyffctl.core.training.trainer import Trainer
from glyffctl.workflows.events import Caution, Event, Note
from glyffctl.workflows.pictures import check_pictures

BRIGHTNESS_LEFT = 0.6  # standard deviations; above this, pure noise is not where the data is at T
_CAPTIONS = 10_000
_FAINT = 0.1  # standard deviation of pixels in [−1, 1]; of Noto Sans 0.75
_MANY_ALIKE = 0.2  # share of captions that the text encoder does not tell from another
_FAR_LEVELS = 1.0  # in ln σ
_GLYPH_LEVELS = 0.8, 128  # ln σ where the strokes of a glyph are decided, at this size; see examples/LOG.md


def preflight(trainer: Trainer) -> Generator[Event, None, None]:
    """Cautions about data and settings, and what the averaging of weights means for what will be seen."""
    yield from _pictures(trainer)
    yield from _captions(trainer)
    yield from _noise(trainer)
    yield from _network(trainer)
    training = trainer.config.training
    steps = 1 / (1 - training.ema_decay)
    yield Note(
        f"what is drawn and saved is the average of the weights over about the last {steps:,.0f} steps "
        f"({steps * training.batch:,.0f} pictures)"
    )


def _pictures(trainer: Trainer) -> Generator[Event, None, None]:
    glyphs = trainer.objective.data.glyphs
    if glyphs.mean < 0:
        yield Caution(
            f"the pictures are dark (mean {glyphs.mean:+.2f} in −1…1): light ink on black? It is learned as it is, but "
            "models, the classifier and the figures expect dark ink on white; turn the pictures around"
        )
    if glyphs.std < _FAINT:
        yield Caution(f"the pictures hardly differ from an even grey (standard deviation {glyphs.std:.3f} in −1…1)")
    yield from check_pictures(glyphs)


def _captions(trainer: Trainer) -> Generator[Event, None, None]:
    embeddings, dropout = trainer.objective.data.embeddings.to("cpu"), trainer.config.diffusion.caption_dropout
    lengths = embeddings.lengths
    empty = int((lengths == 0).sum())
    if empty:
        yield Caution(f"{empty:,} of {len(lengths):,} captions are empty: their glyphs are learned without one")
    read: Counter[bytes] = Counter()
    for row in evenly_spaced(torch.arange(len(lengths)), _CAPTIONS).tolist():
        start, end = embeddings.offsets[row : row + 2].tolist()
        read[blake2b(embeddings.tokens[start:end].numpy().tobytes(), digest_size=16).digest()] += 1
    alike = sum(number for number in read.values() if number > 1) / read.total()
    if alike > _MANY_ALIKE:
        yield Caution(
            f"{alike:.0%} of the captions read like another to the text encoder {embeddings.encoder}: are they in a "
            "language it does not know?"
        )
    if dropout == 0:
        yield Caution("diffusion.caption_dropout is 0: the model never draws without a caption, and --guidance fails")
    if dropout > 0.5:
        yield Caution(f"diffusion.caption_dropout is {dropout:g}: most pictures are shown without their caption")


def _noise(trainer: Trainer) -> Generator[Event, None, None]:
    diffusion, size = trainer.config.diffusion, trainer.objective.data.glyphs.size
    left = make_schedule(diffusion.schedule).brightness_left(trainer.objective.data.glyphs.mean, size)
    if left > BRIGHTNESS_LEFT:
        yield Caution(
            f"at the noisiest level of the {diffusion.schedule} schedule the brightness of {size}×{size} pictures "
            f"still shows ({left:.1f} standard deviations), so the pure noise where samplers start is not quite like "
            'it; diffusion.schedule = "cosine" goes further'
        )
    mean, at = _GLYPH_LEVELS
    usual = mean + math.log(size / at)  # n times the pixels of a side show the same shape through n times the noise
    if diffusion.levels == "lognormal" and abs(diffusion.level_mean - usual) > _FAR_LEVELS:
        yield Caution(
            f"diffusion.level_mean is {diffusion.level_mean:g}; the shape of {size}×{size} glyphs is decided about "
            f"ln σ = {usual:.1f}"
        )


def _network(trainer: Trainer) -> Generator[Event, None, None]:
    for caution in trainer.config.network.cautions(trainer.config.diffusion.prediction):
        yield Caution(caution)
