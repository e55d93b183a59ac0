"""Drawing for `sample` with PyTorch: any model, recipe and device."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from glyffctl.core.data.subset import evenly_spaced
from glyffctl.core.device import choose_device
from glyffctl.core.diffusion.samplers import Step
from glyffctl.core.io.images import Array
from glyffctl.core.models.checkpoint import Model
from glyffctl.core.models.drawer import Drawer
from glyffctl.core.models.recipe import Recipe
from glyffctl.core.text.encoder import TextEncoder
from glyffctl.workflows.events import Event, Progress, with_progress
from glyffctl.workflows.guiding import Guiding
from glyffctl.workflows.models import choose_recipe, load_any, load_text_encoder
from glyffctl.workflows.sample_files import GIF_FRAMES
from glyffctl.workflows.sample_options import SampleOptions
from glyffctl.workflows.sourcing import Sourcing


@dataclass(frozen=True)
class Loaded:
    """A model that is ready for many drawings.

    Attributes:
        model: what it is.
        drawer: what draws with it, with a text encoder or without.
    """

    model: Model
    drawer: Drawer


class TorchArtist:
    """A model on a device, see `sample.Artist`."""

    runtime = "torch"

    def __init__(self, options: SampleOptions, model: Path | Loaded) -> None:
        """Load the model, unless it is; errors are raised before slow work."""
        self._options = options
        device = choose_device(options.device) if isinstance(model, Path) else model.drawer.device
        self._model = load_any(model) if isinstance(model, Path) else model.model
        self.recipe = self._recipe()
        self.sourcing = None
        if options.source is not None:
            self.sourcing = Sourcing(options.source, self._model, self.recipe)
            self.recipe = self.sourcing.recipe
        self.size = self._model.codec.size
        self.identity = self._model.identity_of(self.recipe)
        self.history, self.encoder, self.device = self._model.history, self._model.encoder.name, device.type
        if isinstance(model, Path):
            self._drawer = Drawer.of(self._model, device, options.batch, options.precision)
        else:
            self._drawer = model.drawer
        if self.sourcing is not None:
            self._drawer = self.sourcing.take(self._drawer)
        self.guiding = None
        if options.lead is not None or options.away is not None:
            self.guiding = Guiding(options.lead, options.away, self._model, self.recipe)
            self._drawer = self.guiding.take(self._drawer)

    def _recipe(self) -> Recipe:
        options, negative = self._options, bool(self._options.negative.strip())
        led_by = "--radical" if options.lead is not None else "--guide" if options.away is not None else ""
        if options.source is not None:
            led_by = options.source.option
        recipe = choose_recipe(self._model, options.recipe, options.guidance, negative=negative, led_by=led_by)
        if options.lead is not None and options.away is None and not (negative or any(map(str.strip, options.prompts))):
            return replace(recipe, guidance=1.0)  # the passes with and without a prompt would be the same
        return recipe

    @property
    def precision(self) -> str:
        """See `sample.Artist`."""
        return self._drawer.precision

    @property
    def batch(self) -> int:
        """See `sample.Artist`."""
        return self._drawer.batch

    @property
    def threads(self) -> int:
        """See `sample.Artist`."""
        return torch.get_num_threads()

    @contextmanager
    def with_threads(self, count: int | None) -> Iterator[None]:
        """See `sample.Artist`."""
        before = torch.get_num_threads()
        if count is not None:
            torch.set_num_threads(count)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def load_encoder(self) -> Generator[Event, None, TextEncoder | None]:
        """See `sample.Artist`."""
        if self._drawer.encoder is not None:
            return self._drawer.encoder
        texts = [*self._options.prompts, self._options.negative]
        if not self._model.encodes_empty and not any(text.strip() for text in texts):
            return None
        encoder = yield from load_text_encoder(self._model, self._options.encoder)
        self._drawer = self._drawer.with_encoder(encoder)
        return encoder

    def draw(
        self, watch: Callable[[int, Array], None] | None = None
    ) -> Generator[Event, None, tuple[Array, list[Array]]]:
        """See `sample.Artist`.

        Args:
            watch: is called with each step that a GIF shows, its number from 0 and its pictures (B, H, W) uint8.
        """
        options, recipe, drawer = self._options, self.recipe, self._drawer
        prompts, negative = drawer.encode(options.prompts), drawer.encode([options.negative])
        prompt = torch.arange(len(options.prompts)).repeat_interleave(options.count)
        seeds = options.seed + torch.arange(options.count).repeat(len(options.prompts))
        kept = set(evenly_spaced(torch.arange(recipe.steps), GIF_FRAMES).tolist())
        frames: dict[int, list[torch.Tensor]] = {i: [] for i in sorted(kept)}

        def keep(step: Step) -> None:
            if step.i in kept:
                # The DDPM view of x has the scale of a picture at every noise level.
                pictures = drawer.pictures(step.x / math.sqrt(1 + step.sigma**2))
                if options.gif:
                    frames[step.i].append(pictures)
                if watch is not None:
                    watch(step.i, pictures.numpy())

        seen = keep if options.gif or watch is not None else None
        drawing = drawer.draw(recipe, prompts.rows(prompt), seeds, negative=negative, watch=seen)
        pictures = yield from with_progress(drawing, Progress("Drawing", 0, len(prompt), "pictures"))
        return pictures.numpy(), [torch.cat(parts).numpy() for parts in frames.values()] if options.gif else []
