"""The content of a map, for the still picture and the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from glyffctl.core.atlas.density import Density
from glyffctl.core.atlas.groups import Groups, Scale
from glyffctl.core.atlas.regions import Region
from glyffctl.figures.style import PALETTE

GROUP_COLOURS = (*PALETTE[:6], "#7a4a1e", "#6f4fa3", "#9c8f00")
"""One for each of `groups.MOST_GROUPS`."""
OTHERS = "#b9b9b9"
PLAIN = PALETTE[0]
GENERATED = "#d0021b"
"""The frame of generated pictures, and of nothing else."""


@dataclass(frozen=True, eq=False)
class Colouring:
    """One way to colour the points: by groups, or by numbers on the ramp of densities."""

    heading: str
    by: Groups | Scale


@dataclass(frozen=True, eq=False)
class MarkedPicture:
    """A generated picture in the map."""

    x: float
    y: float
    picture: Tensor  # (T, T) uint8
    label: str
    near: Tensor  # (K,) int64: the glyphs most alike in their pixels, the nearest first


@dataclass(frozen=True, eq=False)
class Trail:
    """The predictions of x0 during one sampling run, as a path through the map in the order of the steps."""

    label: str
    points: Tensor  # (S, 2)
    pictures: Tensor  # (S, T, T) uint8
    near: Tensor  # (S, K) int64: the glyphs most alike in their pixels, the nearest first


@dataclass(frozen=True, eq=False)
class MapScene:
    """Everything that a map shows."""

    title: str
    notes: Sequence[str]
    points: Tensor  # (N, 2) float32
    thumbnails: Tensor  # (N, T, T) uint8, 255 is paper
    density: Density
    colouring: Colouring | None
    near: Tensor
    """(N, K) int: of each glyph, those most alike in their pixels, the nearest first."""
    compared: str
    """What they were compared in, for a sentence."""
    regions: Sequence[Region] = ()
    generated: Sequence[MarkedPicture] = ()
    trails: Sequence[Trail] = ()
