"""Statistics of strokes: grey pixels, ink, width, evenness, count."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from glyffctl.core.estimates import mean
from glyffctl.core.evaluation.metric import METRICS, Pictures
from glyffctl.core.evaluation.report import Row

_FEWEST_STROKES = 5  # pictures of a third that a row needs

_BATCH = 64  # pictures


class Strokes(NamedTuple):
    """Statistics of N pictures, each (N,) float32."""

    grey: Tensor  # the share of pixels that are neither ink nor paper: between 10 % and 90 % black
    ink: Tensor  # the mean blackness, 0…1
    width: Tensor  # mean stroke width in pixels; 0 without ink
    unevenness: Tensor  # the standard deviation of the width within the picture, relative to `width`
    crossed: Tensor  # strokes that a straight line from edge to edge crosses: the mean over all rows and columns


def measure_strokes(pictures: Tensor) -> Strokes:
    """Measure the strokes of pictures (N, H, W) uint8, 255 is paper.

    The width at a black pixel is the shortest of the four straight runs of black through it: horizontal, vertical and
    both diagonals. A picture's width is the mean over its black pixels (more than half black). Short runs across the
    corners of strokes make it a few percent less than the true width, in real glyphs as in drawn ones.
    """
    parts = [_measure(part) for part in pictures.split(_BATCH)] or [Strokes(*torch.empty(len(Strokes._fields), 0))]
    return Strokes(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _measure(pictures: Tensor) -> Strokes:
    dark = 1 - pictures.float() / 255
    black = dark > 0.5
    width = torch.minimum(_run_length(black), _run_length(black.transpose(1, 2)).transpose(1, 2))
    for mirrored in (False, True):
        slanted = black.flip(2) if mirrored else black
        run = _unskew(_run_length(_skew(slanted).transpose(1, 2)).transpose(1, 2), black.shape[2]) * math.sqrt(2)
        width = torch.minimum(width, run.flip(2) if mirrored else run)
    pixels = black.sum((1, 2)).clamp(min=1)
    mean = (width * black).sum((1, 2)) / pixels
    scatter = (((width - mean[:, None, None]) * black).square().sum((1, 2)) / pixels).sqrt()
    return Strokes(
        ((dark > 0.1) & (dark < 0.9)).float().mean((1, 2)),
        dark.mean((1, 2)),
        mean,
        scatter / mean.clamp(min=1),
        (_run_count(black) + _run_count(black.transpose(1, 2))) / sum(black.shape[1:]),
    )


def _run_count(black: Tensor) -> Tensor:
    """(N,) float: the number of runs of black in all rows of each picture together."""
    return black.sum((1, 2)).float() - (black[..., 1:] & black[..., :-1]).sum((1, 2)).float()


def _run_length(black: Tensor) -> Tensor:
    """(N, H, W) float: the length of the run of black in its row that contains each pixel; 0 at white pixels."""
    place = torch.arange(1, black.shape[2] + 1)
    before = torch.where(black, 0, place).cummax(2).values
    after = torch.where(black, 0, place).flip(2)
    after = (black.shape[2] + 1 - torch.where(after > 0, after, black.shape[2] + 1)).cummax(2).values.flip(2)
    return (black.shape[2] - before - after).float() * black


def _skew(x: Tensor) -> Tensor:
    """(N, H, W+H−1): x (N, H, W) with row i shifted right by i, so that diagonals become columns."""
    count, height, width = x.shape
    flat = F.pad(x, (0, height)).flatten(1)[:, : height * (width + height - 1)]
    return flat.reshape(count, height, width + height - 1)


def _unskew(x: Tensor, width: int) -> Tensor:
    """The inverse of `_skew`."""
    count, height, wide = x.shape
    return F.pad(x.flatten(1), (0, height)).reshape(count, height, wide + 1)[:, :, :width]


def stroke_rows(pictures: Pictures) -> list[Row]:
    """Rows about strokes: of all pictures, and of the thirds with the fewest and the most strokes.

    The thirds are those of the real glyphs, by the number of strokes that a line across the picture crosses.
    """
    of_model, of_real = measure_strokes(pictures.defined), measure_strokes(pictures.real)
    few, many = (float(of_real.crossed.quantile(q)) for q in (1 / 3, 2 / 3))
    rows = [
        Row("grey pixels", mean(of_model.grey), mean(of_real.grey), "share", "between 10 % and 90 % black"),
        Row("ink", mean(of_model.ink), mean(of_real.ink), "share", "the mean blackness"),
        Row("stroke width", mean(of_model.width), mean(of_real.width), "number", "in pixels"),
        Row(
            "uneven strokes",
            mean(of_model.unevenness),
            mean(of_real.unevenness),
            "share",
            "the standard deviation of the stroke width within a glyph, in shares of its mean",
        ),
    ]
    for name, third in (
        ("sparse", lambda s: s.crossed <= few),
        ("dense", lambda s: s.crossed > many),
    ):
        ours, theirs = _select(of_model, third(of_model)), _select(of_real, third(of_real))
        if min(len(ours.grey), len(theirs.grey)) < _FEWEST_STROKES:
            continue
        limit = f"up to {few:.1f}" if name == "sparse" else f"more than {many:.1f}"
        note = f"glyphs of which a line across meets {limit} strokes on average, a third of the real ones"
        rows += [
            Row(f"grey pixels, {name}", mean(ours.grey), mean(theirs.grey), "share", note),
            Row(f"uneven strokes, {name}", mean(ours.unevenness), mean(theirs.unevenness), "share", note),
        ]
    return rows


def _select(measured: Strokes, rows: Tensor) -> Strokes:
    return Strokes(*(column[rows] for column in measured))


METRICS.append(stroke_rows)
