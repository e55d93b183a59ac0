"""The input of the figures about diffusion (`DemoScene`), and their result (`MeasuredFigure`)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from glyffctl.core.diffusion.schedule import Schedule, make_schedule
from glyffctl.core.theory.information import Information, information
from glyffctl.core.theory.oracle import FiniteData

DRAWS = 200
"""Draws of a noisy glyph that information is measured on."""


@dataclass(frozen=True, eq=False)
class DemoScene:
    """Real glyphs that the figures show diffusion on.

    Attributes:
        glyphs: (N, 1, H, W) float32 in [−1, 1].
        own: the row of the glyph that is shown alone.
        name: its character as a label, or "the glyph" where no font for labels has it.
        plane: (M, 2) float64 of about unit variance: glyphs on their two principal axes.
        plane_glyphs: (M, 1, h, w) float32 in [−1, 1]: what lies there.
        groups: (M,) int64 to colour `plane` by, 0…len(group_names) − 1.
        group_names: what the groups are.
        schedule_name: the schedule of the figures that show only one.
        seed: of all random numbers.
    """

    glyphs: Tensor
    own: int
    name: str
    plane: Tensor
    plane_glyphs: Tensor
    groups: Tensor
    group_names: tuple[str, ...]
    schedule_name: str
    seed: int

    @property
    def glyph(self) -> Tensor:
        """(1, H, W): the glyph that is shown alone."""
        return self.glyphs[self.own]

    @cached_property
    def schedule(self) -> Schedule:
        """The schedule of the figures that show only one."""
        return make_schedule(self.schedule_name)

    @cached_property
    def data(self) -> FiniteData:
        """All glyphs as the data of an exact denoiser, in float64: float32 is too coarse at low noise levels."""
        return FiniteData(self.glyphs.double())

    @cached_property
    def known(self) -> Information:
        """The information in a noisy glyph about which glyph it is."""
        return information(self.glyphs.double(), DRAWS, self.seed)

    def generator(self) -> torch.Generator:
        """A new generator, with the same random numbers in every figure."""
        return torch.Generator().manual_seed(self.seed)

    def noise(self, like: Tensor) -> Tensor:
        """Standard normal numbers, shaped like `like`."""
        return torch.randn(like.shape, generator=self.generator(), dtype=like.dtype)

    def of_size(self, size: int) -> Tensor:
        """(N, 1, h, w): the glyphs at another size, no larger than their own."""
        return self.glyphs if self.glyphs.shape[-1] <= size else resize(self.glyphs, size)


class Live(NamedTuple):
    """A figure that the page computes as its reader moves it.

    Attributes:
        kind: the script that draws it, a name of `FIGURES` in demo_page/start.js.
        content: what the script needs, as JSON.
        shows: what is in it, for those who cannot see it.
    """

    kind: str
    content: dict[str, Any]
    shows: str


@dataclass(frozen=True, eq=False)
class MeasuredFigure:
    """A figure, and what was measured for it: sentences, one or more to a line; on the page it may be live."""

    figure: Figure
    measured: str
    live: Live | None = None


@dataclass(frozen=True, eq=False)
class MeasuredAnimation:
    """The frames of an animation, and what was measured for it: sentences, one or more to a line.

    Attributes:
        levels: (t, σ) of each frame.
    """

    frames: list[Image.Image]
    measured: str
    levels: list[tuple[int, float]]


def resize(pictures: Tensor, size: int) -> Tensor:
    """Pictures (N, 1, H, W) at size × size."""
    return interpolate(pictures, (size, size), mode="bilinear", antialias=True)


def show_picture(axes: Axes, picture: Tensor, *, reach: float = 1.0, colours: Colormap | None = None) -> None:
    """Draw a picture (…, H, W) without ticks; −`reach` is black and `reach` white, or the ends of `colours`."""
    axes.imshow(picture.reshape(picture.shape[-2:]).numpy(), vmin=-reach, vmax=reach, cmap=colours)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_linewidth(0.6)
