"""From small pictures to large ones: the second stage of a cascade.

A model that is conditioned on the small picture denoises the large one (Ho et al. 2021, arXiv 2106.15282). The small
picture hardly leaves anything of the large one open but the edges of strokes, so it starts from the small picture,
enlarged by interpolation, with moderate noise, and takes few steps. The small picture gets a little noise, too: as in
training, so that what another model has drawn does not differ visibly from what was learned from (their section 4).
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from glyffctl.core.codecs.pixels import to_pixels, to_unit
from glyffctl.core.device import memory_free
from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.diffusion.denoiser import Denoiser, column
from glyffctl.core.diffusion.guidance import clamp
from glyffctl.core.diffusion.samplers import SAMPLERS, Step
from glyffctl.core.diffusion.schedule import Schedule, karras
from glyffctl.core.errors import ModelError, UsageError
from glyffctl.core.models.checkpoint import TrainedModel
from glyffctl.core.models.upscale_recipe import LEAST_LEVEL, MOST_STEPS, UpscaleRecipe
from glyffctl.core.networks.narrowed import NarrowedNetwork
from glyffctl.core.networks.upscaler import UpscalerConfig
from glyffctl.core.noise import Stream, normal
from glyffctl.core.precision import Precision, autocast_dtype

_SAMPLER = SAMPLERS["dpmpp-2m"]
_SAMPLER_HOLDS = 40  # numbers for each pixel, random numbers in the making included
_KEY = 1 << 32  # of random numbers: those of small pictures have the key 0


def upscaling_schedule(start: float) -> Schedule:
    """The noise levels of an upscaler that draws from σ = `start`."""
    return karras(MOST_STEPS, LEAST_LEVEL, start)


def reduced(x: Tensor, scale: int) -> Tensor:
    """(B, C, H/scale, W/scale): the means of blocks of pixels, the small picture of a large one (B, C, H, W)."""
    return F.avg_pool2d(x, scale)


def small_condition(small: Tensor, level: Tensor, eps: Tensor) -> Condition:
    """What an upscaler sees of small pictures (B, C, h, w): noise `eps` of them at `level` (B,) float64 is added."""
    return Condition.of_picture(small + column(level, small) * eps, level)


class Passes(NamedTuple):
    """One picture on its way to `Upscaler.config.size`, all uint8.

    Attributes:
        small: (h, w), with the noise that the network sees it with.
        start: (H, W), what the sampler starts from: the small picture enlarged, with noise.
        guesses: (N, H, W), the network's guess of the large picture in each pass; the last is the result.
    """

    small: Tensor
    start: Tensor
    guesses: Tensor


@dataclass(frozen=True, eq=False)
class Upscaler:
    """An upscaler on a device; `of` makes one of a model.

    Attributes:
        config: sizes of the network.
        recipe: how it draws.
        batch: pictures of `config.size` drawn at once.
    """

    config: UpscalerConfig
    denoiser: Denoiser
    recipe: UpscaleRecipe
    device: torch.device
    batch: int

    @staticmethod
    def of(model: TrainedModel, device: torch.device, batch: int, precision: str = "auto") -> Upscaler:
        """An upscaler for a model as it is now, which is moved to `device`.

        Args:
            model: what to draw with.
            device: where to draw.
            batch: pictures to draw at once, or fewer: as many as half of the memory that is free now has room for.
            precision: as in `precision.autocast_dtype`.

        Raises:
            ModelError: the model does not enlarge pictures.
        """
        config, settings = model.network.config, model.origin.config.upscaling
        if not isinstance(config, UpscalerConfig):
            raise ModelError("it draws pictures of prompts, and enlarges none")
        network, dtype = model.network.to(device), autocast_dtype(precision, device)
        denoiser = Denoiser(network if dtype is None else NarrowedNetwork(network, dtype), model.prediction, dtype)
        row = (network.numbers_a_row() or 0) + _SAMPLER_HOLDS * config.in_channels * config.size**2
        recipe = UpscaleRecipe(steps=settings.steps, start=settings.start, noise=settings.drawn)
        return Upscaler(config, denoiser, recipe, device, max(1, min(batch, memory_free(device) // 2 // (4 * row))))

    @property
    def small(self) -> int:
        """Height and width of the pictures that it enlarges."""
        return self.config.size // self.config.scale

    @property
    def sizes(self) -> list[int]:
        """Heights and widths that it draws: half of what it has learned, that, and that half enlarged again."""
        half = self.config.size // 2
        return sorted({half, self.config.size, self.config.scale * half} - {self.small})

    @property
    def precision(self) -> Precision:
        """What the inside of the network is computed in."""
        return "fp32" if self.denoiser.autocast is None else "bf16"

    def enlarge(
        self, pictures: Tensor, seeds: Tensor, size: int, recipe: UpscaleRecipe | None = None
    ) -> Generator[float, None, Tensor]:
        """Large pictures (B, size, size) uint8 of small ones (B, small, small) uint8, both on the CPU.

        Half the size is the whole one, each pixel the mean of four: just what a font's outline covers of it. The
        largest is the half one, enlarged again: the network never saw anything as wide, but an edge is an edge.
        Yields how many pictures are done.

        Args:
            pictures: small pictures, 255 is paper.
            seeds: (B,) int64: picture k depends on seeds[k] alone, and on its small picture.
            size: one of `sizes`.
            recipe: how; None is `recipe`.

        Raises:
            UsageError: it cannot draw of or to such a size.
            ModelError: the network's output is not finite.
        """
        if size not in self.sizes:
            raise UsageError(f"this upscaler draws {', '.join(map(str, self.sizes))} pixels, not {size}")
        if pictures.shape[1:] != (self.small, self.small):
            raise UsageError(
                f"this upscaler enlarges pictures of {self.small}×{self.small} pixels, not "
                f"{pictures.shape[2]}×{pictures.shape[1]}"
            )
        whole, twice = self.config.size, self.config.scale * (self.config.size // 2)
        batch = max(1, self.batch // 4) if size > whole else self.batch
        large = [torch.empty(0, size, size, dtype=torch.uint8)]
        done = 0
        for rows in torch.arange(len(seeds)).split(batch):
            x = to_unit(pictures[rows])[:, None].to(self.device)
            seed = seeds[rows].to(self.device)
            x = self._pass(x, seed, 0, recipe or self.recipe)
            if size != whole:
                x = reduced(x, 2)
            if size == twice != whole:
                x = self._pass(x, seed, 1, recipe or self.recipe)
            if not bool(x.isfinite().all()):
                raise ModelError("the upscaler's output is not finite; name another one with --upscaler")
            large.append(to_pixels(x[:, 0]).cpu())
            done += len(rows)
            yield done
        return torch.cat(large)

    def passes(self, picture: Tensor, seed: int) -> Passes:
        """What `enlarge` does to one small picture (small, small) uint8 on its way to `config.size`."""
        x, seeds = to_unit(picture)[None, None].to(self.device), torch.tensor([seed], device=self.device)
        condition, start = self._start(x, seeds, 0, self.recipe)
        assert condition.picture is not None
        guesses = [step.x0 for step in self._steps(condition, start, self.recipe)]
        shown = [to_pixels(of[:, 0]).cpu() for of in (condition.picture, start, torch.cat(guesses))]
        return Passes(shown[0][0], shown[1][0], shown[2])

    def _pass(self, small: Tensor, seeds: Tensor, stage: int, recipe: UpscaleRecipe) -> Tensor:
        """(B, 1, scale·h, scale·w) in ±1, of (B, 1, h, w)."""
        condition, x = self._start(small, seeds, stage, recipe)
        for step in self._steps(condition, x, recipe):
            x = step.x
        return x.clamp(-1, 1)

    def _start(self, small: Tensor, seeds: Tensor, stage: int, recipe: UpscaleRecipe) -> tuple[Condition, Tensor]:
        """What the network sees of `small` (B, 1, h, w), and what the sampler starts from."""
        key, level = _KEY + stage, torch.full((len(small),), recipe.noise, dtype=torch.float64)
        condition = small_condition(small, level, normal(key, seeds, tuple(small.shape[1:]), Stream.SMALL))
        enlarged = enlarge_smoothly(small, self.config.scale)
        return condition, enlarged + recipe.start * normal(key, seeds, tuple(enlarged.shape[1:]), Stream.EPS)

    @torch.no_grad()
    def _steps(self, condition: Condition, x: Tensor, recipe: UpscaleRecipe) -> Iterator[Step]:
        context = self.denoiser.network.encode(condition)
        denoise = clamp(lambda x, sigma: self.denoiser(x, sigma, context), 1.0)
        levels = upscaling_schedule(recipe.start).steps(recipe.steps)
        yield from _SAMPLER(denoise, x, levels, lambda _: torch.empty(0))  # it draws nothing at random


def enlarge_smoothly(small: Tensor, scale: int) -> Tensor:
    """Bicubic interpolation of (B, C, h, w) in ±1, which it stays in."""
    return F.interpolate(small, scale_factor=float(scale), mode="bicubic").clamp(-1, 1)
