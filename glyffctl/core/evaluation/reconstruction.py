"""How well pictures come back, from a codec or enlarged: their errors and their edges, beside the real ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from glyffctl.core.estimates import Estimate, mean
from glyffctl.core.evaluation.edges import Edges, measure_edges

_GREY = 128
_AT_ONCE = 16  # pictures of which edges are measured together


@dataclass(frozen=True)
class ReconstructionRow:
    """A metric of pictures that came back.

    Attributes:
        name: in a few words.
        unit: "share" is in 0…1.
        note: how it is measured.
        of: by what made the pictures; "real" are the pictures themselves, where they have such a figure.
    """

    name: str
    unit: Literal["share", "number"]
    note: str
    of: dict[str, Estimate]


def wrong_side(pictures: Tensor, real: Tensor) -> Tensor:
    """(N,) float32: the share of pixels that are ink in one and paper in the other, of (N, H, W) uint8."""
    return ((pictures >= _GREY) != (real >= _GREY)).float().flatten(1).mean(1)


def squared_error(pictures: Tensor, real: Tensor) -> Tensor:
    """(N,) float32: the mean squared difference of pixels, which are −1…1, of (N, H, W) uint8."""
    return ((pictures.float() - real.float()) / 127.5).square().flatten(1).mean(1)


def reconstruction_rows(made: Mapping[str, Tensor], real: Tensor) -> list[ReconstructionRow]:
    """The rows about pictures (N, H, W) uint8 by what made them, each the one of the same place in `real`."""
    everything = {**made, "real": real}
    edges = {name: _edges(pictures, real) for name, pictures in everything.items()}
    corners = {name: edges[name].corners[edges[name].corners.isfinite()] for name in made}
    table: list[tuple[str, Literal["share", "number"], str, dict[str, Tensor]]] = [
        (
            "wrong side of grey",
            "share",
            "pixels that are ink in one picture and paper in the other",
            {name: wrong_side(pictures, real) for name, pictures in made.items()},
        ),
        (
            "squared error",
            "number",
            "the mean over pixels, black is −1 and white 1",
            {name: squared_error(pictures, real) for name, pictures in made.items()},
        ),
        (
            "grey pixels",
            "share",
            "pixels between 10 % and 90 % black",
            {name: found.grey for name, found in edges.items()},
        ),
        (
            "grey along an edge",
            "number",
            "grey pixels for each pixel of edge: how broad edges are",
            {name: found.breadth for name, found in edges.items()},
        ),
        ("stroke width", "number", "in pixels", {name: found.width for name, found in edges.items()}),
        (
            "wrong at corners",
            "number",
            "the mean difference in blackness, 0 to 1, in 5×5 pixels around corners of the real picture",
            {name: found for name, found in corners.items() if len(found)},
        ),
    ]
    return [
        ReconstructionRow(name, unit, note, {by: mean(values) for by, values in of.items()})
        for name, unit, note, of in table
        if of
    ]


def _edges(pictures: Tensor, real: Tensor) -> Edges:
    parts = [measure_edges(*pair) for pair in zip(pictures.split(_AT_ONCE), real.split(_AT_ONCE), strict=True)]
    return Edges(*(torch.cat(column) for column in zip(*parts, strict=True)))
