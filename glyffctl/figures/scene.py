"""What the figures about diffusion are drawn from, and what a drawn figure comes back as."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import interpolate

from glyffctl.core.diffusion.schedule import Schedule, ScheduleName, make_schedule
from glyffctl.core.theory.information import Information, information
from glyffctl.core.theory.oracle import FiniteData

DRAWS = 200
"""Draws of a noisy glyph that information is measured on."""


@dataclass(frozen=True, eq=False)
class Scene:
    """Real glyphs to show diffusion on.

    Attributes:
        glyphs: (N, 1, H, W) float32 in [−1, 1].
        own: the row of the glyph that is shown.
        name: its character as a label, or "the glyph" where no letters for it are at hand.
        plane: (M, 2) float64 of about unit variance: glyphs in their two principal directions.
        groups: (M,) int64 to colour `plane` by, 0…len(group_names) − 1.
        group_names: what the groups are.
        schedule_name: of the figures that show one schedule.
        seed: of everything drawn at random.
    """

    glyphs: Tensor
    own: int
    name: str
    plane: Tensor
    groups: Tensor
    group_names: tuple[str, ...]
    schedule_name: ScheduleName
    seed: int

    @property
    def glyph(self) -> Tensor:
        """(1, H, W): the one that is shown."""
        return self.glyphs[self.own]

    @cached_property
    def schedule(self) -> Schedule:
        """The schedule of the figures that show one."""
        return make_schedule(self.schedule_name)

    @cached_property
    def data(self) -> FiniteData:
        """All glyphs as the data of an exact denoiser, in float64: in float32 low noise levels lose digits."""
        return FiniteData(self.glyphs.double())

    @cached_property
    def known(self) -> Information:
        """What a noisy glyph says about which glyph it is."""
        return information(self.glyphs.double(), DRAWS, self.seed)

    def generator(self) -> torch.Generator:
        """Random numbers from the start, the same in every figure."""
        return torch.Generator().manual_seed(self.seed)

    def noise(self, like: Tensor) -> Tensor:
        """Standard normal numbers, shaped like `like`."""
        return torch.randn(like.shape, generator=self.generator(), dtype=like.dtype)

    def of_size(self, size: int) -> Tensor:
        """(N, 1, h, w): the glyphs at another size, no larger than their own."""
        return self.glyphs if self.glyphs.shape[-1] <= size else shrink(self.glyphs, size)


@dataclass(frozen=True, eq=False)
class Drawn:
    """A figure, and what was measured for it: sentences, one or more to a line."""

    figure: Figure
    measured: str


def shrink(pictures: Tensor, size: int) -> Tensor:
    """Pictures (N, 1, H, W) at size × size."""
    return interpolate(pictures, (size, size), mode="bilinear", antialias=True)


def show(axes: Axes, picture: Tensor, *, reach: float = 1.0, colours: Colormap | None = None) -> None:
    """A picture (…, H, W) in an empty frame, from −`reach` to `reach`: black to white, or by `colours`."""
    axes.imshow(picture.reshape(picture.shape[-2:]).numpy(), vmin=-reach, vmax=reach, cmap=colours)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_linewidth(0.6)
