"""The library's front door: everything here is reached as `glyffctl.NAME`, which imports torch only when it is used."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from glyffctl.core.device import choose_device
from glyffctl.core.errors import UsageError
from glyffctl.core.models.checkpoint import Model
from glyffctl.core.models.drawer import Drawer, check_finite
from glyffctl.core.models.recipe import Recipe
from glyffctl.core.text.prompt import check_prompt
from glyffctl.workflows import embed as _embed
from glyffctl.workflows import prepare as _prepare
from glyffctl.workflows import train as _train
from glyffctl.workflows.embed import EmbedOptions, EmbedReport
from glyffctl.workflows.enlarge import Enlarger
from glyffctl.workflows.enlarge_options import EnlargeOptions
from glyffctl.workflows.events import Event, finish
from glyffctl.workflows.find_model import find_model
from glyffctl.workflows.models import choose_recipe, load_any, load_text_encoder
from glyffctl.workflows.prepare import PrepareOptions, PrepareReport
from glyffctl.workflows.source_options import source_of
from glyffctl.workflows.sourcing import Sourcing
from glyffctl.workflows.train import TrainOptions, TrainReport

_SEEDS = 2**63
OnEvent = Callable[[Event], None]
Picture = str | Path | Image.Image
"""A file, or an image."""


class DenoisingStep(NamedTuple):
    """A picture while it is drawn, after step `step`.

    Attributes:
        step: from 0.
        sigma: the noise level that is left, in the units of the data (−1…1); 0 at the end.
        noisy: the picture with that noise, scaled to the contrast of a glyph.
        predicted: the model's prediction of the picture without noise.
    """

    step: int
    sigma: float
    noisy: Image.Image
    predicted: Image.Image


class GlyphModel:
    """A model that draws; `load` makes one.

    Attributes:
        model: the network with what is known of it.
        drawer: what draws the pictures.
    """

    def __init__(
        self,
        model: Model,
        drawer: Drawer,
        encoder: str | None,
        on_event: OnEvent | None,
        enlarge: EnlargeOptions | None = None,
    ) -> None:
        self.model, self.drawer = model, drawer
        self._encoder, self._on_event = encoder, on_event
        self._enlarge = enlarge or EnlargeOptions()
        self._enlargers: dict[int, Enlarger] = {}  # by the size that they draw

    def draw(
        self,
        prompts: str | Sequence[str],
        *,
        count: int = 1,
        seed: int = 0,
        recipe: Recipe | None = None,
        negative: str = "",
        size: int | None = None,
        keep: tuple[str, Picture] | None = None,
        mask: tuple[Picture, Picture] | None = None,
        vary: Picture | None = None,
        strength: float | None = None,
        resample: int | None = None,
    ) -> list[Image.Image]:
        """Draw glyphs, the same as `glyffctl sample` with these settings.

        Args:
            prompts: an English word or phrase, or several; "" draws without a prompt.
            count: pictures of each prompt.
            seed: picture k of a prompt depends on seed + k alone.
            recipe: sampler, steps and guidance; None is the model's own, `model.recipe`, as for the command.
            negative: what to be guided away from.
            size: height and width in pixels, such as 512, which takes an upscaler, see `load`; None leaves pictures as
                the model draws them.
            keep: a half, "left", "right", "top" or "bottom", and the picture of which it stays as it is, while the rest
                is drawn anew. Pictures are files or images, as large as the model draws, or a whole number of times as
                large, and are then reduced.
            mask: a picture that is black where the picture after it stays as it is.
            vary: a picture to begin with, in place of noise alone.
            strength: how much of a picture changes, from 0, nothing, to 1, all; None is 0.4 with `vary`, 1 with `keep`
                and `mask`.
            resample: how often each step is taken with `keep` and `mask`, 1 to 100; None is 4.

        Returns:
            Grey pictures, prompt after prompt.

        Raises:
            GlyffError: the prompts, a picture or the text encoder cannot be used, or there is no upscaler for this
                size.
        """
        texts = [prompts] if isinstance(prompts, str) else list(prompts)
        if not texts or count < 1:
            raise UsageError("draw at least one picture of one prompt")
        _check_seeds(seed, count)
        source = source_of(
            None if keep is None else (keep[0], _picture(keep[1])),
            None if mask is None else (_picture(mask[0]), _picture(mask[1])),
            None if vary is None else _picture(vary),
            strength,
            resample,
        )
        recipe = choose_recipe(
            self.model, recipe, None, negative=bool(negative.strip()), led_by="" if source is None else source.option
        )
        sourcing = None if source is None else Sourcing(source, self.model, recipe)
        enlarger = None if size is None else self._enlarger(size)  # raise errors before slow work
        drawer = self._ready([*texts, negative])
        encoded, away = drawer.encode(texts), drawer.encode([negative])
        rows = torch.arange(len(texts)).repeat_interleave(count)
        seeds = seed + torch.arange(count).repeat(len(texts))
        if sourcing is not None:
            recipe, drawer = sourcing.recipe, sourcing.take(drawer)
            finish(sourcing.notes(), self._on_event)
        drawing = drawer.draw(recipe, encoded.rows(rows), seeds, negative=away)
        pictures = finish(drawing).numpy()
        if enlarger is not None:
            pictures = finish(enlarger.enlarge(pictures, seeds.tolist()), self._on_event)
        return [Image.fromarray(picture) for picture in pictures]

    def denoise(
        self, prompt: str, *, seed: int = 0, recipe: Recipe | None = None, negative: str = ""
    ) -> Iterator[DenoisingStep]:
        """Draw one glyph step by step. The arguments are those of `draw`; the last step's `noisy` is its picture.

        Raises:
            GlyffError: the prompt or the text encoder cannot be used, or the network's output is not finite.
        """
        _check_seeds(seed, 1)
        drawer = self._ready([prompt, negative])
        condition, away = (drawer.encode([text]).to(drawer.device) for text in (prompt, negative))
        seeds = torch.tensor([seed], device=drawer.device)
        recipe = choose_recipe(self.model, recipe, None, negative=bool(negative.strip()))
        steps = drawer.steps(recipe, condition, away, seeds)
        for step in steps:
            check_finite(step.x)
            # The DDPM view of x has the scale of a picture at every noise level.
            noisy = self._image(step.x / math.sqrt(1 + step.sigma**2))
            yield DenoisingStep(step.i, step.sigma, noisy, self._image(step.x0))

    def _enlarger(self, size: int) -> Enlarger:
        """What draws pictures of this size, made when it is first needed."""
        if size not in self._enlargers:
            enlarger = Enlarger(replace(self._enlarge, size=size), str(self.drawer.device))
            enlarger.check(self.drawer.codec.size)
            self._enlargers[size] = enlarger
        return self._enlargers[size]

    def _image(self, x: Tensor) -> Image.Image:
        return Image.fromarray(self.drawer.pictures(x)[0].numpy())

    def _ready(self, texts: Sequence[str]) -> Drawer:
        """The drawer, with a text encoder if there is text to encode."""
        for text in texts:
            check_prompt(text)
        empty = not self.model.encodes_empty and not any(text.strip() for text in texts)
        if self.drawer.encoder is None and not empty:
            encoder = finish(load_text_encoder(self.model, self._encoder), self._on_event)
            self.drawer = self.drawer.with_encoder(encoder)
        return self.drawer


def _check_seeds(first: int, count: int) -> None:
    """Raise UsageError for seeds that are no numbers of 64 bits."""
    if not -_SEEDS <= first <= _SEEDS - count:
        raise UsageError(f"`seed` must be below 2⁶³ for all {count:,} pictures of a prompt, not {first}")


def _picture(given: Picture) -> Path | Image.Image:
    return Path(given) if isinstance(given, str) else given


def load(
    model: str | Path | None = None,
    *,
    device: str = "auto",
    precision: str = "auto",
    batch: int = 16,
    encoder: str | None = None,
    upscaler: str | Path | None = None,
    on_event: OnEvent | None = None,
) -> GlyphModel:
    """Load a model to draw with.

    Args:
        model: a run folder, a model file, a model folder of diffusers or its name on the Hugging Face hub, or
            "bundled". None takes the newest run under runs/ that has seen its data once, else the bundled model.
        device: "auto" (a CUDA GPU where there is one), "cpu", "cuda", "cuda:1" or "mps".
        precision: of the network: "fp32", "bf16", or "auto", which is bfloat16 where this machine is faster with it.
        batch: most pictures drawn at once, fewer where memory is short.
        encoder: where the model's text encoder is, if it moved since training.
        upscaler: a run folder of the preset upscaler, or its model file, for `GlyphModel.draw(size=…)`; None takes the
            one that comes with the program, if any.
        on_event: is called with progress and cautions.

    Raises:
        GlyffError: there is no such model, it is broken, or the device is not there.
    """
    where = choose_device(device)
    path, _ = finish(find_model(None if model is None else Path(model), hub=True), on_event)
    loaded = load_any(path)
    enlarge = EnlargeOptions(upscaler=None if upscaler is None else Path(upscaler), precision=precision)
    return GlyphModel(loaded, Drawer.of(loaded, where, batch, precision), encoder, on_event, enlarge)


def prepare(options: PrepareOptions, on_event: OnEvent | None = None) -> PrepareReport:
    """Draw every defined character of some fonts into a data folder, as `glyffctl prepare` does.

    Raises:
        GlyffError: a font, the definitions or the output cannot be used.
    """
    return finish(_prepare.prepare(options), on_event)


def embed(options: EmbedOptions, on_event: OnEvent | None = None) -> EmbedReport:
    """Encode the captions of a data folder, as `glyffctl embed` does.

    Raises:
        GlyffError: the data or the text encoder cannot be used.
    """
    return finish(_embed.embed(options), on_event)


def train(options: TrainOptions, on_event: OnEvent | None = None) -> TrainReport:
    """Train a model on a data folder in this process, or go on with a run that was stopped, as `glyffctl train` does.

    Raises:
        GlyffError: the data, the settings or the run folder cannot be used.
        Interrupted: SIGINT or SIGTERM came; the run is saved.
    """
    report = finish(_train.train(options), on_event)
    assert report is not None  # only processes of a job that are not its first return none
    return report
