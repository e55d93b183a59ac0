"""Training the classifier on real glyphs, augmented with the defects of generated ones.

A model draws strokes that are soft, uneven or a pixel off. A classifier trained on clean fonts alone would misclassify
such glyphs, and so measure cleanness. Its training glyphs are therefore shifted, stretched, rotated, bent, thickened,
thinned, blurred, faded and speckled by random amounts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from glyffctl.core.data.dataset import GlyphSet
from glyffctl.core.data.radicals import labels
from glyffctl.core.data.split import held_out
from glyffctl.core.evaluation.classifier import SIZE, RadicalClassifier, to_ink
from glyffctl.core.noise import permutation

HOLDOUT = 0.05
"""The share of characters held out of training: by default the same that are held out of the model's training."""
BATCH = 256
_RATE = 3e-3
_DECAY = 0.1
_SMOOTHING = 0.1
_WARMUP = 0.1  # of the training


class ClassifierStep(NamedTuple):
    """The state of training after an optimizer step."""

    seen: int  # glyphs trained on so far
    total: int  # glyphs to train on
    loss: float


def training_split(glyphs: GlyphSet) -> tuple[Tensor, Tensor]:
    """Indices of the training glyphs and of those held out; only glyphs whose radical is known."""
    known, out = labels(glyphs) > 0, held_out(glyphs, HOLDOUT)
    return (known & ~out).nonzero().flatten(), (known & out).nonzero().flatten()


def train_classifier(
    classifier: RadicalClassifier, glyphs: GlyphSet, *, passes: float, seed: int, autocast: torch.dtype | None = None
) -> Iterator[ClassifierStep]:
    """Train `classifier` in place on the radicals of the glyphs that are not held out.

    Args:
        classifier: the network.
        glyphs: at 64×64.
        passes: epochs, may be fractional.
        seed: of the order and the augmentation.
        autocast: a lower precision for the network, or None.

    Yields:
        The loss of each optimizer step.
    """
    device = classifier.head.weight.device
    radical, (index, _) = labels(glyphs), training_split(glyphs)
    batch = min(BATCH, len(index))
    steps = max(1, round(passes * len(index) / batch))
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=_RATE, weight_decay=_DECAY)
    random = torch.Generator().manual_seed(seed)
    for step in range(steps):
        classifier.train()
        for group in optimizer.param_groups:
            group["lr"] = _RATE * _rate((step + 1) / steps)
        rows = index[_rows(seed, step, batch, len(index))]
        ink = augment(to_ink(glyphs.images(rows)), random).to(device)
        with torch.autocast(device.type, autocast, enabled=autocast is not None):
            _, logits = classifier(ink)
        loss = F.cross_entropy(logits.float(), radical[rows].to(device) - 1, label_smoothing=_SMOOTHING)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        yield ClassifierStep((step + 1) * batch, steps * batch, float(loss.detach()))
    classifier.eval()


def _rate(progress: float) -> float:
    """The learning rate relative to its peak: linear warm-up over the first tenth, then half a cosine to 0."""
    if progress < _WARMUP:
        return progress / _WARMUP
    return (1 + math.cos(math.pi * (progress - _WARMUP) / (1 - _WARMUP))) / 2


def _rows(seed: int, step: int, batch: int, count: int) -> Tensor:
    """(batch,): positions of the glyphs of one step. Each pass visits every glyph once, in its own order."""
    place = torch.arange(step * batch, (step + 1) * batch)
    rows = torch.empty_like(place)
    for number in (place // count).unique().tolist():
        here = place // count == number
        rows[here] = permutation(seed, number, count)[place[here] % count]
    return rows


def augment(ink: Tensor, random: torch.Generator) -> Tensor:
    """Augment glyphs (B, 1, 64, 64) with the defects of generated ones; values stay in 0…1."""
    count = len(ink)

    def draw(low: float, high: float) -> Tensor:
        return torch.rand(count, 1, 1, 1, generator=random) * (high - low) + low

    ink = F.grid_sample(ink, _random_warp(count, random), padding_mode="zeros", align_corners=False)
    # Heavier or lighter strokes: interpolate towards the darkest or lightest neighboring pixel.
    thick, thin = _combine_neighbors(ink, torch.maximum), _combine_neighbors(ink, torch.minimum)
    weight = draw(-0.6, 0.7)
    ink = ink + (thick - ink) * weight.clamp(min=0) + (thin - ink) * (-weight).clamp(min=0)
    soft = _combine_neighbors(ink, lambda a, b: (a + b) / 2)
    ink = ink + (soft - ink) * draw(-0.2, 1)
    ink = ink.clamp(0, 1) ** draw(0.6, 1.6) * draw(0.7, 1)
    speckle = torch.randn(ink.shape, generator=random) * draw(0, 0.1)
    return (ink + speckle).clamp(0, 1)


def _combine_neighbors(ink: Tensor, join: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Combine each pixel with its neighbors by `join`, horizontally, then vertically. Faster here than pooling."""
    wide = F.pad(ink, (1, 1, 1, 1))
    row = join(join(wide[..., :-2], wide[..., 2:]), wide[..., 1:-1])
    return join(join(row[..., :-2, :], row[..., 2:, :]), row[..., 1:-1, :])


def _random_warp(count: int, random: torch.Generator) -> Tensor:
    """A (B, 64, 64, 2) grid for `grid_sample`: shift ±4 px, scale ±8 %, turn and slant ±5°, waves of about 1 px."""

    def draw(limit: float) -> Tensor:
        return (torch.rand(count, generator=random) * 2 - 1) * limit

    pixel = 2 / SIZE
    turn, slant = draw(math.radians(5)), draw(math.tan(math.radians(5)))
    wide, high = draw(0.08).exp(), draw(0.08).exp()
    matrix = torch.stack(
        [
            torch.stack([wide * turn.cos(), slant - turn.sin(), draw(4 * pixel)], 1),
            torch.stack([turn.sin(), high * turn.cos(), draw(4 * pixel)], 1),
        ],
        1,
    )
    grid = F.affine_grid(matrix, [count, 1, SIZE, SIZE], align_corners=False)
    wave = torch.randn(count, 2, 4, 4, generator=random) * (torch.rand(count, 1, 1, 1, generator=random) * 1.3 * pixel)
    return grid + F.interpolate(wave, (SIZE, SIZE), mode="bilinear", align_corners=True).permute(0, 2, 3, 1)
