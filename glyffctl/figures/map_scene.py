"""What is on a map, for the still picture and the page alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from glyffctl.core.atlas.density import Density
from glyffctl.core.atlas.groups import Groups
from glyffctl.figures.style import PALETTE

GROUP_COLOURS = (*PALETTE[:6], "#7a4a1e", "#6f4fa3", "#9c8f00")
"""One for each of `groups.COLOURS`."""
OTHERS = "#b9b9b9"
PLAIN = PALETTE[0]
DRAWN = "#d0021b"
"""The frame of pictures that a model drew, and of nothing else."""


@dataclass(frozen=True, eq=False)
class Colouring:
    """One way to colour the points: by groups, or by numbers (N,) in 0…1 on the scale of densities."""

    heading: str
    by: Groups | Tensor


@dataclass(frozen=True, eq=False)
class Marked:
    """A drawn picture in the map."""

    x: float
    y: float
    picture: Tensor  # (T, T) uint8
    label: str


@dataclass(frozen=True, eq=False)
class Trail:
    """How the guesses of one sampling run move through the map, the first one first."""

    label: str
    points: Tensor  # (S, 2)
    pictures: Tensor  # (S, T, T) uint8


@dataclass(frozen=True, eq=False)
class Scene:
    """All there is to draw."""

    title: str
    notes: Sequence[str]
    points: Tensor  # (N, 2) float32
    thumbnails: Tensor  # (N, T, T) uint8, 255 is paper
    density: Density
    colouring: Colouring | None
    drawn: Sequence[Marked] = ()
    trails: Sequence[Trail] = ()
