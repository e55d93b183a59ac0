"""The model of the studio: draws sheets and enlarges glyphs, step by step, so that the caller may stop between two."""

from __future__ import annotations

import base64
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from glyffctl.core.device import choose_device
from glyffctl.core.io.bundled import model_name
from glyffctl.core.io.images import Array
from glyffctl.core.models.drawer import Drawer
from glyffctl.core.models.recipe import FEW_STEP, PASSES, Recipe
from glyffctl.studio.files import file_name, write_png
from glyffctl.studio.gallery import COUNT, Gallery, Glyph, as_png, tiled
from glyffctl.studio.options import StudioOptions
from glyffctl.studio.wishes import Beginning, DrawWish
from glyffctl.workflows.enlarge import Enlarger
from glyffctl.workflows.enlarge_options import EnlargeOptions
from glyffctl.workflows.events import Caution, Event, Note, Progress, finish
from glyffctl.workflows.find_model import find_model
from glyffctl.workflows.models import choose_recipe, load_any, load_text_encoder
from glyffctl.workflows.sample import as_made, warn_of_texts
from glyffctl.workflows.sample_options import SampleOptions, to_settings
from glyffctl.workflows.sample_torch import Loaded, TorchArtist
from glyffctl.workflows.source_options import SourceOptions
from glyffctl.workflows.upscale import upscale_settings

Said = dict[str, Any]
"""A line for the page, as JSON."""


@dataclass(eq=False)
class Painter:
    """A model that is ready to draw.

    Attributes:
        path: of the model.
        loaded: the model.
        options: of the studio.
        gallery: where sheets go.
        folder: of our own, for pictures that others begin with.
        steps: that were taken in all.
    """

    path: Path
    loaded: Loaded
    options: StudioOptions
    gallery: Gallery
    folder: Path
    steps: int = 0
    _enlarger: Enlarger | None = None

    @property
    def about(self) -> dict[str, Any]:
        """What the page must know of the model."""
        model = self.loaded.model
        few, recipe = model.few_step, model.recipe
        return {
            "model": str(model_name(self.path)),
            "history": model.history,
            "size": model.codec.size,
            "passes": [] if few is None else list(PASSES),
            "learned": None if few is None else list(few.guidance),
            "steps": None if model.network.one_pass else model.full_recipe.steps,
            "own": {"passes" if recipe.sampler == FEW_STEP else "steps": recipe.steps},
            "guidance": recipe.guidance,
        }

    def draw(self, wish: DrawWish) -> Iterator[Said]:
        """Draw a sheet: says how, then a frame after each step, and at last the glyphs.

        Raises:
            GlyffError: the model cannot draw so.
        """
        begun = None if wish.beginning is None else self.gallery.find(wish.beginning.glyph)
        options = SampleOptions(
            prompts=(wish.prompt,),
            model=self.path,
            encoder=self.options.encoder,
            recipe=self._recipe(wish),
            guidance=None if self.loaded.model.network.one_pass else wish.guidance,
            seed=wish.seed,
            count=COUNT,
            batch=self.loaded.drawer.batch,
            precision=self.options.precision,
            source=None if begun is None or wish.beginning is None else self._source(begun, wish.beginning),
        )
        artist = TorchArtist(options, self.loaded)
        encoder = self.loaded.drawer.encoder
        said = [] if encoder is None else warn_of_texts(encoder, [wish.prompt])
        notes = [event.text for event in said if isinstance(event, Caution)]
        yield {"recipe": artist.recipe.summary(), "steps": artist.recipe.steps, "notes": notes}
        film = _Film(self.loaded.model.codec.size)
        sent: dict[int, bytes] = {}
        drawing = artist.draw(film.watch)
        while True:
            try:
                event = next(drawing)
            except StopIteration as stop:
                pictures, _ = stop.value
                break
            self.steps += 1
            line: Said = {"share": event.done / event.total} if isinstance(event, Progress) and event.total else {}
            if film.fresh:
                sent[film.last] = film.develop()
                line |= {"step": film.last + 1, "sheet": base64.b64encode(sent[film.last]).decode()}
            yield line
        number = self.gallery.next_number()
        made = as_made(options, artist)
        lineage = _lineage(begun, wish)
        whole = self.loaded.drawer.batch >= COUNT
        frames = list(sent.values()) if whole else [tiled(frame) for frame in film.frames.values()]
        source = None if begun is None else f"{file_name(begun)}.png"
        glyphs = [
            Glyph(
                name=f"{number}-{k}",
                pixels=np.ascontiguousarray(pictures[k]),
                options=replace(made, only=k),
                settings=self._settings(replace(made, only=k), artist, source),
                recipe=artist.recipe.summary(),
                lineage=lineage,
                frames=frames,
            )
            for k in range(COUNT)
        ]
        self.gallery.add(number, glyphs)
        yield {"done": [glyph.name for glyph in glyphs], "sheet": base64.b64encode(tiled(pictures)).decode()}

    def _recipe(self, wish: DrawWish) -> Recipe | None:
        """How to draw; as many steps as the whole model's own way has are those, which may not all be guided."""
        own, asked = self.loaded.model.full_recipe, wish.recipe
        if asked is not None and asked.sampler != FEW_STEP and asked.steps == own.steps and own.steps > 1:
            return replace(own, guidance=wish.guidance)
        return asked

    def enlarge(self, name: str) -> Iterator[Said]:
        """Enlarge a glyph: says how far it is, and at last shows it.

        Raises:
            GlyffError: there is no upscaler, or it takes glyphs of another size.
        """
        glyph = self.gallery.find(name)
        if glyph.large is None:
            enlarger = self._ready_enlarger(len(glyph.pixels))
            work = enlarger.enlarge(glyph.pixels[None], [glyph.seed])
            while True:
                try:
                    event = next(work)
                except StopIteration as stop:
                    large: Array = stop.value[0]
                    break
                self.steps += 1
                if isinstance(event, Progress) and event.total:
                    yield {"share": event.done / event.total}
            glyph.large = (
                large,
                upscale_settings(f"{file_name(glyph)}.png", glyph.pixels, glyph.seed, enlarger, glyph.settings),
            )
        yield {"large": base64.b64encode(as_png(Image.fromarray(glyph.large[0]))).decode(), "size": len(glyph.large[0])}

    def _ready_enlarger(self, size: int) -> Enlarger:
        if self._enlarger is None:
            options = EnlargeOptions(upscaler=self.options.upscaler, precision=self.options.precision)
            self._enlarger = Enlarger(options, self.options.device)
        self._enlarger.check(size)
        return self._enlarger

    def _source(self, glyph: Glyph, beginning: Beginning) -> SourceOptions:
        path = self.folder / f"{glyph.name}.png"
        write_png(glyph, path)
        return SourceOptions(picture=path, part=beginning.part, strength=beginning.strength)

    def _settings(self, made: SampleOptions, artist: TorchArtist, source: str | None) -> dict[str, Any]:
        """What a file records, which names the picture that was begun with as the page saves it."""
        encoder = self.options.encoder or artist.encoder
        settings = to_settings(made, artist.recipe, self.path, encoder, artist.identity)
        if source is not None:
            settings["source"]["picture"] = source
        return settings


class _Film:
    """The steps of a drawing, put together where a sheet is drawn in several batches."""

    def __init__(self, size: int) -> None:
        self.shown = np.full((COUNT, size, size), 255, np.uint8)
        self.frames: dict[int, Array] = {}
        self.last, self.fresh = -1, False
        self._filled: dict[int, int] = {}

    def watch(self, step: int, pictures: Array) -> None:
        """Take the pictures of a step."""
        first = self._filled.get(step, 0)
        rows = slice(first, first + len(pictures))
        self._filled[step] = rows.stop
        self.shown[rows] = pictures
        if step not in self.frames:
            self.frames[step] = self.shown.copy()
        self.frames[step][rows] = pictures
        self.last, self.fresh = step, True

    def develop(self) -> bytes:
        """A PNG of what is seen now."""
        self.fresh = False
        return tiled(self.shown)


def load_painter(options: StudioOptions, gallery: Gallery, folder: Path) -> Generator[Event, None, Painter]:
    """Load the model, and draw once, so that the first sheet takes no longer than others.

    Raises:
        GlyffError: the model or its encoder cannot be used.
    """
    device = choose_device(options.device)
    path, why = yield from find_model(options.model, hub=True)
    yield Progress("Loading the model", 0, 2)
    model = load_any(path)
    drawer = Drawer.of(model, device, COUNT, options.precision)
    drawer = drawer.with_encoder((yield from load_text_encoder(model, options.encoder)))
    yield Progress("Loading the model", 1, 2)
    painter = Painter(path, Loaded(model, drawer), options, gallery, folder)
    warm_up = SampleOptions(prompts=("",), count=1, recipe=choose_recipe(model, None, None), batch=drawer.batch)
    finish(TorchArtist(warm_up, painter.loaded).draw())
    yield Progress("Loading the model", 2, 2)
    yield Note(
        f"model: {model_name(path)}{why}, {model.history}", "model-chosen", {"model": path, "history": model.history}
    )
    return painter


def _lineage(begun: Glyph | None, wish: DrawWish) -> tuple[str, ...]:
    if begun is None or wish.beginning is None:
        return ()
    part, what = wish.beginning.part, f"“{begun.prompt or '(no prompt)'}”, seed {begun.seed}"
    how = f"varied by {wish.beginning.strength:.0%}" if part is None else f"its {part} half kept"
    return (*begun.lineage, f"{what}: {how}")
