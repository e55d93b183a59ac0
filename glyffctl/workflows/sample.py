"""`glyffctl sample`: draw pictures of prompts; each PNG or SVG records how it was made.

Two artists draw: onnxruntime what it can (`sample_light`), PyTorch everything (`sample_torch`), which is imported only
then.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from glyffctl.core.errors import ModelError
from glyffctl.core.io.bundled import BUNDLED, model_name
from glyffctl.core.io.images import Array
from glyffctl.core.models.recipe import Recipe
from glyffctl.core.text.vocabulary import UnknownText
from glyffctl.workflows import rounding
from glyffctl.workflows.enlarge_options import EnlargeOptions
from glyffctl.workflows.events import Caution, Event, Note, Progress
from glyffctl.workflows.find_model import find_model
from glyffctl.workflows.rounding import Conditions, warn_of_rounding
from glyffctl.workflows.sample_files import check_outputs, write_pictures
from glyffctl.workflows.sample_light import light_artist, may_draw_light
from glyffctl.workflows.sample_options import SampleOptions, to_settings
from glyffctl.workflows.words import shorten, warn_of_unknown_words

if TYPE_CHECKING:
    from glyffctl.workflows.enlarge import Enlarger
    from glyffctl.workflows.guiding import Guiding
    from glyffctl.workflows.sourcing import Sourcing


@dataclass(frozen=True)
class SampleReport:
    """Result of `sample`.

    Attributes:
        files: the files written.
        model: the model that drew them.
        seconds: spent drawing.
    """

    files: list[Path]
    model: Path
    seconds: float


class Encoder(Protocol):
    """What the warnings about prompts need of a text encoder."""

    max_tokens: int

    def find_unknown(self, text: str) -> UnknownText:
        """See `core.text.encoder.TextEncoder`."""
        ...

    def is_cut(self, text: str) -> bool:
        """See `core.text.encoder.TextEncoder`."""
        ...


class Artist(Protocol):
    """A loaded model that draws what its options say."""

    @property
    def runtime(self) -> str:
        """The library that computes: "onnxruntime" or "torch"."""
        ...

    @property
    def size(self) -> int:
        """Height and width of its pictures."""
        ...

    @property
    def recipe(self) -> Recipe:
        """How it draws."""
        ...

    @property
    def identity(self) -> str:
        """A digest of all numbers that the pictures depend on."""
        ...

    @property
    def history(self) -> str:
        """Where the model comes from, in words."""
        ...

    @property
    def encoder(self) -> str:
        """The name of the text encoder that the model was trained with."""
        ...

    @property
    def device(self) -> str:
        """The kind of device that it draws on, such as "cpu"."""
        ...

    @property
    def precision(self) -> str:
        """What the network is computed in: "fp32" or "bf16"."""
        ...

    @property
    def threads(self) -> int:
        """Threads that it draws with."""
        ...

    @property
    def batch(self) -> int:
        """Pictures that it draws at once."""
        ...

    @property
    def guiding(self) -> Guiding | None:
        """What leads besides prompts."""
        ...

    @property
    def sourcing(self) -> Sourcing | None:
        """The picture that it begins with."""
        ...

    def with_threads(self, count: int | None) -> AbstractContextManager[None]:
        """Compute with `count` threads in this block, because the last digits of sums depend on their number."""
        ...

    def load_encoder(self) -> Generator[Event, None, Encoder | None]:
        """Load the text encoder; None where there is no text to encode."""
        ...

    def draw(self) -> Generator[Event, None, tuple[Array, list[Array]]]:
        """Pictures (P·count, H, W) uint8, prompt after prompt, and for a GIF its frames, each of the same shape."""
        ...


def sample(options: SampleOptions) -> Generator[Event, None, SampleReport]:
    """Draw pictures of prompts and write them.

    Raises:
        GlyffError: the model, its encoder or the output cannot be used.
    """
    check_outputs(options)
    light = may_draw_light(options)
    if not light:
        from glyffctl.core.device import choose_device  # noqa: PLC0415 - imports torch

        choose_device(options.device)  # raise errors before slow work
    if options.typed and len(options.prompts) > 1 and all(len(prompt.split()) == 1 for prompt in options.prompts):
        yield Caution(
            f"{len(options.prompts):,} prompts: {shorten(', '.join(options.prompts))}; if they are one, put it in "
            f'quotes: "{shorten(" ".join(options.prompts))}"',
            "prompts-unquoted",
            {"prompts": options.prompts},
        )
    path, why = yield from find_model(options.model, hub=True)
    yield Progress("Loading the model", 0, 1)
    possible = options.threads is not None and options.threads <= rounding.processors()
    threads = options.threads if possible else None
    artist = (light_artist(options, path, threads) if light else None) or _torch_artist(options, path)
    if options.enlarge is not None and (options.enlarge.size, options.enlarge.upscaler) == (artist.size, None):
        options = replace(options, enlarge=None)  # it draws so by itself
    enlarger = None if options.enlarge is None else _enlarger(options, options.enlarge)
    if enlarger is not None:
        enlarger.check(artist.size)
    yield Progress("Loading the model", 1, 1)
    if options.weights not in (None, artist.identity):
        if model_name(path) == Path(BUNDLED):
            raise ModelError(
                "the picture was drawn with the bundled weights of another version of glyffctl; only that version can "
                "redraw it"
            )
        raise ModelError(f"the model at {model_name(path)} has other weights than the one that drew the picture")
    yield Note(
        f"model: {model_name(path)}{why}, {artist.history}", "model-chosen", {"model": path, "history": artist.history}
    )
    if artist.guiding is not None:
        yield from artist.guiding.notes()
    if artist.sourcing is not None:
        yield from artist.sourcing.notes()
    with artist.with_threads(threads):
        return (yield from _sample(options, artist, enlarger, path))


def _torch_artist(options: SampleOptions, path: Path) -> Artist:
    from glyffctl.workflows.sample_torch import TorchArtist  # noqa: PLC0415 - see the head of this file

    return TorchArtist(options, path)


def _enlarger(options: SampleOptions, enlarge: EnlargeOptions) -> Enlarger:
    from glyffctl.workflows.enlarge import Enlarger  # noqa: PLC0415 - imports torch

    return Enlarger(enlarge, options.device)


def _sample(
    options: SampleOptions, artist: Artist, enlarger: Enlarger | None, path: Path
) -> Generator[Event, None, SampleReport]:
    encoder = yield from artist.load_encoder()
    if encoder is not None:
        yield from warn_of_texts(encoder, [*options.prompts, options.negative])
    started = time.perf_counter()
    before = Conditions(device=options.drawn_on, runtime=options.runtime, threads=options.threads, batch=options.batch)
    yield from warn_of_rounding(before, Conditions(device=artist.device, runtime=artist.runtime, batch=artist.batch))
    pictures, frames = yield from artist.draw()
    seconds = time.perf_counter() - started
    yield Note(
        f"drew {len(pictures):,} {'picture' if len(pictures) == 1 else 'pictures'} in {seconds:.1f} s: "
        f"{artist.recipe.summary()}",
        "pictures-drawn",
        {"pictures": len(pictures), "seconds": seconds, **artist.recipe.as_plain()},
    )
    if enlarger is not None:
        seeds = list(range(options.seed, options.seed + options.count)) * len(options.prompts)
        pictures = yield from enlarger.enlarge(pictures, seeds)
    seconds = time.perf_counter() - started
    made = replace(as_made(options, artist), enlarge=None if enlarger is None else enlarger.made)

    def settings(one: SampleOptions) -> dict[str, Any]:
        return to_settings(one, artist.recipe, path, options.encoder or artist.encoder, artist.identity)

    files = yield from write_pictures(made, settings, pictures, frames)
    return SampleReport(files, model_name(path), seconds)


def as_made(options: SampleOptions, artist: Artist) -> SampleOptions:
    """The options with all that is known once `artist` has drawn by them, for a PNG."""
    return replace(
        options,
        batch=artist.batch,
        precision=artist.precision,
        threads=artist.threads,
        drawn_on=artist.device,
        runtime=artist.runtime,
        lead=None if artist.guiding is None else artist.guiding.lead,
        away=None if artist.guiding is None else artist.guiding.away,
        source=None if artist.sourcing is None else artist.sourcing.options,
    )


def warn_of_texts(encoder: Encoder, texts: list[str]) -> Generator[Event, None, None]:
    """Warn of words that the encoder does not know, and of texts that it cuts."""
    yield from warn_of_unknown_words(encoder, texts)
    for text in texts:
        if encoder.is_cut(text):
            yield Caution(
                f"only the first {encoder.max_tokens} tokens are used of: {text[:60]}…",
                "prompt-cut",
                {"prompt": text, "max_tokens": encoder.max_tokens},
            )
