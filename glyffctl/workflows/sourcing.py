"""A picture that `sample` begins with: read, and held against the model that goes on with it."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from glyffctl.core.codecs.codec import Codec
from glyffctl.core.codecs.latents import Latents
from glyffctl.core.device import memory_free
from glyffctl.core.errors import DataError, UsageError
from glyffctl.core.io.images import Array, picture_digest
from glyffctl.core.models.checkpoint import Model
from glyffctl.core.models.drawer import Drawer, most_at_once
from glyffctl.core.models.recipe import Recipe
from glyffctl.core.models.source import Source
from glyffctl.workflows.events import Note
from glyffctl.workflows.glyph_file import read_glyph
from glyffctl.workflows.source_options import SourceOptions

_DARK = 128  # greys below are black in a mask
_LED_HOLDS = 8  # times the memory of a pass that one holds for its gradient; measured 5 to 6 with the bundled model


class Sourcing:
    """The picture of some options.

    Attributes:
        options: with all that is known now, for a PNG.
        recipe: how the model draws, with as many steps as there are levels below the strength.
    """

    def __init__(self, options: SourceOptions, model: Model, recipe: Recipe) -> None:
        """Read what the options name.

        Raises:
            GlyffError: a file cannot be read, is not the one that the options say, or does not fit `model`.
        """
        keeps = options.part is not None or options.mask is not None
        if keeps and isinstance(model.codec, Latents):
            raise UsageError(
                f"this model draws in latents, which keep no pixel as it is; leave {options.option} out, or name a "
                "model that draws pixels with --model"
            )
        picture, self._side = _read(options.picture, "the picture", model.codec, options.digest)
        mask = None if options.mask is None else _read(options.mask, "the mask", model.codec, options.mask_digest)[0]
        self._size = len(picture)
        self.options = replace(
            options,
            digest=picture_digest(picture),
            mask_digest=None if mask is None else picture_digest(mask),
        )
        kept = _half(options.part, len(picture))
        if mask is not None and options.mask is not None:
            kept = _dark(mask, _name(options.mask, "the mask"))
        self._network = model.network
        x0 = model.codec.encode(torch.from_numpy(picture)[None])[0]
        self._source = Source(x0, kept, options.resample, options.strength, options.led)
        levels = self._source.levels(recipe, model.schedule)
        self._sigma = float(levels[0])
        self.recipe = replace(recipe, steps=max(1, len(levels) - 1))

    def take(self, drawer: Drawer) -> Drawer:
        """`drawer`, which begins with the picture; of fewer pictures at once where memory is short for gradients."""
        batch = drawer.batch
        if self._source.led and self._source.kept is not None:
            batch = min(batch, most_at_once(self._network, drawer.codec, memory_free(drawer.device) // _LED_HOLDS))
        return replace(drawer, source=self._source, batch=batch)

    def notes(self) -> Generator[Note, None, None]:
        """What begins, in a line."""
        options, parts = self.options, []
        if self._source.kept is not None:
            what = f"the {options.part} half of" if options.mask is None else "what the mask covers of"
            times = "once" if options.resample == 1 else f"{options.resample} times"
            parts.append(f"keeps {what} {_name(options.picture, 'the picture')}, each step taken {times}")
        if options.strength < 1:
            parts.append(
                f"starts from {_name(options.picture, 'the picture')} with noise of σ = {self._sigma:.3g} (strength "
                f"{options.strength:g})"
            )
        if self._side != self._size:
            parts.append(f"{_name(options.picture, 'the picture')} is reduced to {self._size}×{self._size} pixels")
        if parts:
            yield Note(
                "; ".join(parts),
                "picture-begins",
                {"picture": options.picture, "strength": options.strength, "sigma": self._sigma},
            )


def _name(given: Path | Image.Image, what: str) -> str:
    """What a note or an error calls a picture that was given as `what`."""
    return str(given) if isinstance(given, Path) else what


def _read(given: Path | Image.Image, what: str, codec: Codec, digest: str | None) -> tuple[Array, int]:
    """A picture as large as the model draws, and its height and width before; a larger one is reduced to it."""
    name, size = _name(given, what), codec.size
    image = read_glyph(given, what, size)
    times, rest = divmod(image.width, size)
    if image.width != image.height or rest or times < 1:
        raise DataError(
            f"{name} has {image.width}×{image.height} pixels, the model draws {size}×{size}; name a picture of that "
            "size, or 2, 3, 4, … times as large"
        )
    picture = np.array(image.reduce(times))
    if digest not in (None, picture_digest(picture)):
        raise DataError(f"{name} is no longer the picture that the drawing started from; put that one back")
    return picture, image.width


def _half(part: str | None, size: int) -> torch.Tensor | None:
    """(size, size) bool: the half of that name; None for none."""
    if part is None:
        return None
    place = torch.arange(size)
    first = place < size // 2
    line = first if part in ("left", "top") else ~first
    return (line[None, :] if part in ("left", "right") else line[:, None]).expand(size, size)


def _dark(mask: Array, name: str) -> torch.Tensor:
    """(size, size) bool: where a mask is black."""
    kept = torch.from_numpy(mask < _DARK)
    if not bool(kept.any()):
        raise DataError(f"{name} keeps nothing; make black what stays, white or transparent what is drawn")
    if bool(kept.all()):
        raise DataError(f"{name} keeps everything; make white or transparent what is drawn anew")
    return kept
