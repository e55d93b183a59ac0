"""The second stage of `sample`: small pictures become large ones."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import replace

import torch

from glyffctl.core.device import choose_device
from glyffctl.core.errors import ModelError, UsageError
from glyffctl.core.io.bundled import model_label
from glyffctl.core.io.images import Array
from glyffctl.core.models.checkpoint import load_model
from glyffctl.core.models.upscaler import Upscaler
from glyffctl.workflows import rounding
from glyffctl.workflows.companions import UPSCALER
from glyffctl.workflows.enlarge_options import EnlargeOptions
from glyffctl.workflows.events import Event, Note, Progress, with_progress


class Enlarger:
    """An upscaler that enlarges as its options say.

    Attributes:
        made: the options with all that is known now, for a PNG.
        upscaler: the model.
    """

    def __init__(self, options: EnlargeOptions, device: str) -> None:
        """Load the upscaler.

        Raises:
            GlyffError: there is none, it is damaged, has other weights than the options say, or cannot draw the size.
        """
        path = UPSCALER.path(options.upscaler)
        self._label = model_label(path)
        model = load_model(path)
        if not model.network.enlarges:
            raise ModelError(
                f"{self._label} is no upscaler and enlarges none; train one with `glyffctl train --preset upscaler`"
            )
        if options.weights not in (None, model.identity):
            raise ModelError(f"{self._label} has other weights than the upscaler that drew the picture")
        where = choose_device(device)
        self.upscaler = upscaler = Upscaler.of(model, where, options.batch, options.precision)
        size = options.size or upscaler.config.size
        if size not in upscaler.sizes:
            raise UsageError(
                f"--size must be one of {', '.join(map(str, upscaler.sizes))} with this upscaler, not {size}; leave it "
                "out for pictures as the model draws them"
            )
        self._threads = options.threads if (options.threads or 0) <= rounding.processors() else None
        self.made = replace(
            options,
            size=size,
            recipe=options.recipe or upscaler.recipe,
            weights=model.identity,
            batch=upscaler.batch,
            precision=upscaler.precision,
            threads=self._threads or torch.get_num_threads(),
            drawn_on=where.type,
        )

    @property
    def small(self) -> int:
        """Height and width of the pictures that it enlarges."""
        return self.upscaler.small

    def check(self, size: int) -> None:
        """Raise UsageError if it cannot enlarge the pictures of a model, which have this size."""
        if size != self.small:
            raise UsageError(
                f"the model draws {size}×{size} pixels, but the upscaler enlarges {self.small}×{self.small}; name "
                "another one with --upscaler"
            )

    def enlarge(self, pictures: Array, seeds: Sequence[int]) -> Generator[Event, None, Array]:
        """Large pictures (B, size, size) uint8 of small ones (B, small, small), with the seed of the same place."""
        started = time.perf_counter()
        size, recipe = self.made.size, self.made.recipe
        assert size is not None and recipe is not None
        before = torch.get_num_threads()
        if self._threads is not None:
            torch.set_num_threads(self._threads)
        try:
            drawing = self.upscaler.enlarge(torch.from_numpy(pictures), torch.tensor(seeds), size, recipe)
            large = yield from with_progress(drawing, Progress("Enlarging", 0, len(pictures), "pictures"))
        finally:
            torch.set_num_threads(before)
        seconds = time.perf_counter() - started
        yield Note(
            f"enlarged to {size}×{size} in {seconds:.1f} s: {recipe.summary()}",
            "pictures-enlarged",
            {"pictures": len(pictures), "size": size, "seconds": seconds, **recipe.as_plain()},
        )
        return large.numpy()
