"""`glyffctl noise-demo`: figures that explain diffusion on real glyphs."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from glyffctl.core.codecs.latents import Latents
from glyffctl.core.device import choose_device
from glyffctl.core.diffusion.schedule import SCHEDULES
from glyffctl.core.errors import DataError, GlyffError, ModelError, OutputError, UsageError
from glyffctl.core.io.atomic import atomic_file, check_writable, reason
from glyffctl.core.io.bundled import model_name
from glyffctl.core.io.images import save_gif
from glyffctl.core.networks.attention_maps import looks_at_words
from glyffctl.core.text.prompt import check_prompt
from glyffctl.figures import (
    classifier_accuracy,
    density_score,
    gaussians,
    process,
    sampler_error_plot,
    schedules,
    umap_plane,
    walks,
    workbench_still,
)
from glyffctl.figures.demo_scene import DemoScene, MeasuredAnimation, MeasuredFigure
from glyffctl.figures.inline import still
from glyffctl.figures.live import LIVE, common_data, live_frames, live_guesses
from glyffctl.figures.page import Section, Source, is_whole, page
from glyffctl.figures.pixel_grid import draw_pixels
from glyffctl.figures.registry import ENTRIES, NAMES, Entry, file_stem
from glyffctl.figures.style import save_figure, smallest_lettering, style
from glyffctl.figures.workbench_html import workbench
from glyffctl.workflows.enlarge import Enlarger
from glyffctl.workflows.enlarge_options import EnlargeOptions
from glyffctl.workflows.events import Caution, Event, Note, Progress
from glyffctl.workflows.noise_between import BETWEEN_FIGURES
from glyffctl.workflows.noise_data import DemoGlyphs, gather_glyphs, make_scene
from glyffctl.workflows.noise_guided import GUIDED_FIGURES
from glyffctl.workflows.noise_inside import INSIDE_FIGURES, denoises_pixels, is_a_u, two_ways_in
from glyffctl.workflows.noise_model import MODEL_FIGURES, PROMPT, PromptedModel, load_prompted_model
from glyffctl.workflows.noise_stages import STAGE_FIGURES

PAGE = "index.html"
BETWEEN_PAGES = 10.0
"""Seconds of drawing after which a page with the figures so far is written."""
GUIDE = Source(
    "These figures follow “A Visual Guide to How Diffusion Models Work”, an article built on the ",
    "glyffuser",
    "https://github.com/yue-here/glyffuser",
    ", a small model that draws new “Chinese” glyphs from English definitions. Below, the article is “the guide”.",
)
GIF_FPS = 12.0
CSS_PIXELS = 96
"""Per inch."""
UMAP = "umap"
"""The figure that needs enough glyphs for a map."""
PLAIN_FIGURES: dict[str, Callable[[DemoScene], MeasuredFigure]] = {
    "pixels": draw_pixels,
    "gaussian": gaussians.draw_gaussian_fit,
    "process": process.draw_process,
    "first-step": gaussians.draw_first_step,
    "schedules": schedules.draw_schedules,
    "density": density_score.draw_density,
    "score": density_score.draw_score,
    UMAP: umap_plane.draw_umap,
    "factor": schedules.draw_score_factor,
    "pure-noise": schedules.draw_pure_noise,
    "joint": gaussians.draw_joint,
    "classifiers": classifier_accuracy.draw_classifiers,
    "solvers": sampler_error_plot.draw_sampler_error,
    "walks": walks.draw_walks,
    "workbench": workbench_still.draw_workbench,
}
"""The figures that need no model."""
WORKBENCH = "workbench"
"""The figure that is computed in the page."""
LOOP = "loop"
"""The figure that shows a model beside the exact denoiser, if there is a model."""
BESIDE = "beside"
"""The figure that needs definitions."""
ATTENTION = "attention"
"""The figure that needs a network with cross-attention."""
STEP_BY_STEP = ("samples", "steps", "smooth", "drawing", "guidance", "same-noise")
"""The figures that need a model which draws step by step."""
FIGURES_OF_MODELS = MODEL_FIGURES | STAGE_FIGURES | BETWEEN_FIGURES | GUIDED_FIGURES | INSIDE_FIGURES
NETWORK, WAYS_IN, TRAINING = "network", "ways-in", "training"
"""The figures that need a network which narrows, one that takes text in two ways, and one that denoises pixels."""
LATENTS = "latents"
"""The figure that needs a latent model."""
CASCADE = "cascade"
"""The figure that needs an upscaler."""


@dataclass(frozen=True, kw_only=True)
class NoiseDemoOptions:
    """The options of `noise_demo` and `noise_check.check`.

    Attributes:
        figures: names of `registry.NAMES`; () is all.
        prompt: what the model draws.
        char: the character that is shown; None is 锂, or another if the data lack it.
        schedule: of the figures that show only one.
        seed: of all random numbers.
        model: as in `sample`.
        encoder: as in `sample`.
        upscaler: of the figure of a cascade; None is the one that comes with the program, if it fits the model.
        device: as in `sample`.
        data: a data folder; None is data/ if it exists and no font is given.
        font: a font with Han characters, for the glyphs (unless `data` is given) and for labels.
        out: the folder for the figures and the page.
        ids: a table of ideographic description sequences, for the claim about clusters in the map.
    """

    figures: tuple[str, ...] = ()
    prompt: str = PROMPT
    char: str | None = None
    schedule: str = "linear"
    seed: int = 0
    model: Path | None = None
    encoder: str | None = None
    upscaler: Path | None = None
    device: str = "auto"
    data: Path | None = None
    font: Path | None = None
    out: Path = Path("noise-demo")
    ids: Path | None = None

    def __post_init__(self) -> None:
        """Raise UsageError for invalid values."""
        for name in self.figures:
            if name not in NAMES:
                raise UsageError(f"there is no figure {name!r}; there are {', '.join(NAMES)}")
        if self.schedule not in SCHEDULES:
            raise UsageError(f"--schedule must be {', '.join(SCHEDULES)}, not {self.schedule!r}")
        if self.char is not None and (len(self.char) != 1 or not self.char.isprintable() or self.char.isspace()):
            raise UsageError(f"--char takes one character, not {self.char!r}")
        if not 0 <= self.seed < 2**63 - 10_000:
            raise UsageError(f"--seed must be a whole number from 0 up, not {self.seed}")
        check_prompt(self.prompt)


@dataclass(frozen=True)
class _SavedFigure:
    """A figure in a file, and its section of the page."""

    file: Path
    section: Section


@dataclass(frozen=True)
class FigureReport:
    """The file of a figure, and what was measured for it: sentences, one or more to a line."""

    name: str
    file: Path
    measured: str


@dataclass(frozen=True)
class NoiseDemoReport:
    """The files of the page and its figures."""

    page: Path
    figures: list[FigureReport]
    source: str
    seconds: float


def noise_demo(options: NoiseDemoOptions) -> Generator[Event, None, NoiseDemoReport]:
    """Draw the figures and the page.

    A page with the figures that are drawn is there after a few seconds, and is replaced as more come; a whole page of
    before stays until the new one is complete. The figures' files are written when all are drawn. Other files in `out`
    are kept.

    Raises:
        GlyffError: the data, a font, the model or the output cannot be used.
    """
    started = time.monotonic()
    _check_out(options.out)
    glyphs = yield from gather_glyphs(options.data, options.font, options.char, options.seed)
    schedule: Any = options.schedule
    scene, caution = make_scene(glyphs, options.char, options.font, schedule, options.seed)
    if caution is not None:
        yield caution
    wanted = [entry for entry in ENTRIES if not options.figures or entry.name in options.figures]
    if not any(character.definition.strip() for character in glyphs.characters):
        lacks = "these glyphs have no definitions to draw others for", "name data that have them with --data"
        wanted = yield from _without((BESIDE,), wanted, options, DataError, *lacks)
    if len(scene.plane) < umap_plane.FEWEST:
        lacks = f"a map needs {umap_plane.FEWEST} glyphs", "name other data with --data"
        wanted = yield from _without((UMAP,), wanted, options, DataError, *lacks)
    model = yield from _find_model(options, wanted, scene)
    if model is None:
        wanted = [entry for entry in wanted if not entry.needs_model]
    else:
        model, wanted = yield from _fitting(model, wanted, options)
    about = _about(options, glyphs, scene, model)
    shown = math.inf if is_whole(options.out / PAGE) else time.monotonic()
    told = False
    with tempfile.TemporaryDirectory(prefix="glyffctl-") as place, style(options.font):
        made: list[_SavedFigure] = []
        for done, entry in enumerate(wanted):
            if made and time.monotonic() - shown >= BETWEEN_PAGES:
                _save_page(options.out, about, scene, made, len(wanted))
                shown = time.monotonic()
                if not told:
                    told = True
                    early = f"{options.out / PAGE} has the first figures already; reload it to see more"
                    yield Note(early, "page-begun", {"page": options.out / PAGE})
            yield Progress("Drawing figures", done, len(wanted), "figures", entry.title)
            made.append((yield from _draw(entry, scene, glyphs, model, Path(place), options)))
        yield Progress("Drawing figures", len(wanted), len(wanted), "figures")
        return _write(options, glyphs, scene, about, made, started)


def _fitting(
    model: PromptedModel, wanted: list[Entry], options: NoiseDemoOptions
) -> Generator[Event, None, tuple[PromptedModel, list[Entry]]]:
    """The model, with an upscaler if a figure uses one, and the figures that they can draw."""
    if model.model.network.one_pass:
        lacks = "this model draws in one pass", "name another --model"
        wanted = yield from _without(STEP_BY_STEP, wanted, options, ModelError, *lacks)
    if not looks_at_words(model.model.network):
        lacks = "this model has no attention to the words of a prompt", "name another --model"
        wanted = yield from _without((ATTENTION,), wanted, options, ModelError, *lacks)
    for name, can, without in (
        (NETWORK, is_a_u, "the network of this model does not go down to smaller grids"),
        (WAYS_IN, two_ways_in, "this model does not take its text in two ways"),
        (TRAINING, denoises_pixels, "this model does not denoise pictures"),
    ):
        if any(entry.name == name for entry in wanted) and not can(model):
            wanted = yield from _without((name,), wanted, options, ModelError, without, "name another --model")
    if not isinstance(model.drawer.codec, Latents):  # as most models: no reason for a caution
        if LATENTS in options.figures:
            raise ModelError(f"this model has no latents (--figure {LATENTS}); name a latent one with --model")
        wanted = [entry for entry in wanted if entry.name != LATENTS]
    if not any(entry.name == CASCADE for entry in wanted):
        return model, wanted
    try:
        enlarger = Enlarger(EnlargeOptions(upscaler=options.upscaler, batch=1), options.device)
        enlarger.check(model.size)
    except GlyffError:
        if options.upscaler is not None or CASCADE in options.figures:
            raise
        return model, [entry for entry in wanted if entry.name != CASCADE]
    return replace(model, upscaler=enlarger.upscaler), wanted


def _without(
    names: tuple[str, ...],
    wanted: list[Entry],
    options: NoiseDemoOptions,
    error: type[GlyffError],
    lacks: str,
    instead: str,
) -> Generator[Event, None, list[Entry]]:
    """The figures without those that cannot be drawn: an error if one was asked for by name, else a caution."""
    if asked := next((name for name in names if name in options.figures), ""):
        raise error(f"{lacks} (--figure {asked}); {instead}")
    gone = tuple(entry.name for entry in wanted if entry.name in names)
    if gone:
        which = f"the figure {gone[0]} is" if len(gone) == 1 else f"the figures {', '.join(gone)} are"
        yield Caution(f"{which} left out: {lacks}", "figures-skipped", {"figures": gone})
    return [entry for entry in wanted if entry.name not in names]


def _check_out(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise OutputError(f"cannot write {out}: it is a file; name a folder with --out")
    check_writable(out / PAGE if out.is_dir() else out)


def _find_model(
    options: NoiseDemoOptions, wanted: list[Entry], scene: DemoScene
) -> Generator[Event, None, PromptedModel | None]:
    """The model, if a figure uses one and its pictures have the size of the glyphs.

    Without a model, figures that were requested by name are an error; others are left out with a caution.
    """
    if not any(entry.needs_model or entry.name == LOOP for entry in wanted):
        return None
    using = tuple(entry.name for entry in wanted if entry.needs_model)
    needed = bool(using) and bool(options.figures)
    try:
        found = yield from load_prompted_model(
            options.model, options.encoder, options.prompt, options.seed, choose_device(options.device)
        )
    except ModelError as error:
        if options.model is not None or needed:
            raise
        yield Caution(f"figures that need a model are left out: {error}", "figures-skipped", {"figures": using})
        return None
    size = scene.glyph.shape[-1]
    if found.size == size:
        return found
    message = f"the glyphs are {size}×{size} and the model draws {found.size}×{found.size}"
    instead = f"prepare with --size {found.size}, or name another --model"
    if needed or options.model is not None:
        raise DataError(f"{message}; {instead}")
    yield Caution(
        f"figures that need a model are left out: {message}; {instead}", "figures-skipped", {"figures": using}
    )
    return None


def _draw(
    entry: Entry,
    scene: DemoScene,
    glyphs: DemoGlyphs,
    model: PromptedModel | None,
    folder: Path,
    options: NoiseDemoOptions,
) -> Generator[Event, None, _SavedFigure]:
    """Draw one figure into `folder`."""
    drawn: MeasuredFigure | MeasuredAnimation
    live = LIVE[entry.name](scene) if entry.name in LIVE else None
    if entry.needs_model:
        assert model is not None
        drawn = yield from FIGURES_OF_MODELS[entry.name](model, glyphs)
    elif entry.name == LOOP:
        beside = None if model is None else model.denoiser_without_prompt()
        drawn, live = process.draw_loop(scene, beside), live_guesses(scene, beside)
    else:
        drawn = PLAIN_FIGURES[entry.name](scene)
    settings = {
        "figure": entry.name,
        "char": glyphs.characters[0].character if glyphs.characters else "",
        "schedule": options.schedule,
        "seed": options.seed,
        **({"prompt": options.prompt} if entry.needs_model else {}),
    }
    file = folder / f"{file_stem(entry)}.{'png' if isinstance(drawn, MeasuredFigure) else 'gif'}"
    if isinstance(drawn, MeasuredFigure):
        save_figure(file, drawn.figure, settings)
        live = drawn.live or live
        width, letters = round(drawn.figure.get_figwidth() * CSS_PIXELS), smallest_lettering(drawn.figure)
    else:
        save_gif(file, drawn.frames, GIF_FPS)
        live = live_frames(drawn.frames, drawn.levels, f"{entry.title}: sixteen pictures at this step")
        width, letters = drawn.frames[0].width, math.inf
    moved = (
        workbench(workbench_still.ink(scene), scene.name, options.schedule, options.seed)
        if entry.name == WORKBENCH
        else None
    )
    section = Section(
        entry.name, entry.title, entry.see, entry.alt, drawn.measured,
        still(file), "image/webp", width, letters * CSS_PIXELS / 72, live, moved,
    )  # fmt: skip
    return _SavedFigure(file, section)


def _about(options: NoiseDemoOptions, glyphs: DemoGlyphs, scene: DemoScene, model: PromptedModel | None) -> list[str]:
    """The paragraphs at the top of the page."""
    return [
        "Every picture on this page is computed, either when the page was made or as you move it, and from real glyphs "
        "wherever it shows glyphs; nothing is a sketch. The numbers under the pictures were measured when the page was "
        "made, unless they say otherwise.",
        f"Glyphs: {glyphs.source}. Shown: {scene.name}. Schedule: {options.schedule}. Seed: {options.seed}."
        + (f" Model: {model_name(model.path).name}, prompt “{model.prompt}”." if model is not None else ""),
    ]


def _write(
    options: NoiseDemoOptions,
    glyphs: DemoGlyphs,
    scene: DemoScene,
    about: list[str],
    made: list[_SavedFigure],
    started: float,
) -> NoiseDemoReport:
    """Write the files into `out`, the page last."""
    contents = [(each, each.file.read_bytes()) for each in made]
    _make_folder(options.out)
    reports = []
    for each, data in contents:
        _save(options.out / each.file.name, data)
        reports.append(FigureReport(each.section.name, options.out / each.file.name, each.section.measured))
    _save_page(options.out, about, scene, made, len(made))
    return NoiseDemoReport(options.out / PAGE, reports, glyphs.source, time.monotonic() - started)


def _save_page(out: Path, about: list[str], scene: DemoScene, made: list[_SavedFigure], total: int) -> None:
    """Write the page of the figures that are `made`, of `total`."""
    _make_folder(out)
    title, sections = "How diffusion works, on glyphs", [each.section for each in made]
    _save(out / PAGE, page(title, about, sections, GUIDE, common_data(scene), total).encode())


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {out}: {reason(error)}") from error


def _save(path: Path, data: bytes) -> None:
    with atomic_file(path) as temporary:
        temporary.write_bytes(data)
