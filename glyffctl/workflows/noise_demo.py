"""`glyffctl noise-demo`: the figures that explain diffusion, from live data; and the guide's claims, measured."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from matplotlib.figure import Figure

from glyffctl.core.data.dataset import to_unit
from glyffctl.core.device import choose_device
from glyffctl.core.diffusion.schedule import ScheduleName
from glyffctl.core.errors import DataError, ModelError, OutputError, UsageError
from glyffctl.core.evaluation.prompts import check_prompt
from glyffctl.core.io.atomic import atomic_file, check_writable, reason
from glyffctl.core.io.bundled import model_name
from glyffctl.core.io.images import save_gif
from glyffctl.core.theory import claims
from glyffctl.core.theory.claims import Claim
from glyffctl.core.theory.solvers import spectrum, thinned
from glyffctl.figures import gaussians, plane, process, schedules, solvers
from glyffctl.figures.page import Section, Source, page
from glyffctl.figures.pixels import pixels
from glyffctl.figures.registry import ENTRIES, NAMES, Entry, file_stem
from glyffctl.figures.scene import Drawn, Scene
from glyffctl.figures.style import save_figure, smallest_lettering, style
from glyffctl.workflows.events import Caution, Event, Note, Progress
from glyffctl.workflows.noise_data import Material, gather, scene_of
from glyffctl.workflows.noise_model import GOLD, MODEL_FIGURES, PROMPT, Artist, artist, model_claims

PAGE = "index.html"
GUIDE = Source(
    "These figures follow “A Visual Guide to How Diffusion Models Work”, an article built on the ",
    "glyffuser",
    "https://github.com/yue-here/glyffuser",
    ", a small model that draws new “Chinese” glyphs from English definitions. Below, the article is “the guide”.",
)
GIF_FPS = 12.0
CSS_PIXELS = 96
"""In an inch."""
PLAIN_FIGURES: dict[str, Callable[[Scene], Drawn]] = {
    "pixels": pixels,
    "gaussian": gaussians.gaussian,
    "process": process.process,
    "first-step": gaussians.first_step,
    "schedules": schedules.schedules,
    "density": plane.density,
    "score": plane.score,
    "factor": schedules.factor,
    "pure-noise": schedules.pure_noise,
    "joint": gaussians.joint,
    "solvers": solvers.solvers,
}
LOOP = "loop"
"""The figure that shows a model beside the truth, and does without where there is none."""
BESIDE = "beside"
"""The figure that needs definitions."""


@dataclass(frozen=True, kw_only=True)
class NoiseDemoOptions:
    """What `noise-demo` is asked to do.

    Attributes:
        figures: names of `registry.NAMES`; () is all.
        char: the character that is shown; None is 锂, or another where the data lack it.
        data: a data folder; None is data/ if it is there and no font is named.
        font: a font with Han, for the glyphs (unless `data` is named) and for labels.
        model, encoder, device: as in `sample`.
    """

    figures: tuple[str, ...] = ()
    prompt: str = PROMPT
    char: str | None = None
    schedule: str = "linear"
    seed: int = 0
    model: Path | None = None
    encoder: str | None = None
    device: str = "auto"
    data: Path | None = None
    font: Path | None = None
    out: Path = Path("noise-demo")

    def __post_init__(self) -> None:
        """Raise UsageError for what makes no sense."""
        for name in self.figures:
            if name not in NAMES:
                raise UsageError(f"there is no figure {name!r}; there are {', '.join(NAMES)}")
        if self.schedule not in get_args(ScheduleName):
            raise UsageError(f"--schedule must be {', '.join(get_args(ScheduleName))}, not {self.schedule!r}")
        if self.char is not None and (len(self.char) != 1 or not self.char.isprintable() or self.char.isspace()):
            raise UsageError(f"--char takes one character, not {self.char!r}")
        if not 0 <= self.seed < 2**63 - 10_000:
            raise UsageError(f"--seed must be a whole number from 0 up, not {self.seed}")
        check_prompt(self.prompt)


@dataclass(frozen=True)
class _Made:
    """A figure in a file, what was measured for it, and the CSS pixels across it and in its smallest letters."""

    entry: Entry
    file: Path
    measured: str
    width: int
    letters: float


@dataclass(frozen=True)
class FigureReport:
    """A figure that was drawn, and what was measured for it: sentences, one or more to a line."""

    name: str
    file: Path
    measured: str


@dataclass(frozen=True)
class NoiseDemoReport:
    """What was drawn, and where it is."""

    page: Path
    figures: list[FigureReport]
    source: str
    seconds: float


@dataclass(frozen=True)
class CheckReport:
    """The guide's claims, measured."""

    claims: list[Claim]
    source: str
    seconds: float


def noise_demo(options: NoiseDemoOptions) -> Generator[Event, None, NoiseDemoReport]:
    """Draw the figures and the page. Files appear in `out` when all of them are drawn; others in it are left alone.

    Raises:
        GlyffError: the data, a font, the model or the output cannot be used.
    """
    started = time.monotonic()
    _check_out(options.out)
    material = yield from gather(options.data, options.font, options.char, options.seed)
    schedule: Any = options.schedule
    scene, caution = scene_of(material, options.char, options.font, schedule, options.seed)
    if caution is not None:
        yield caution
    wanted = [entry for entry in ENTRIES if not options.figures or entry.name in options.figures]
    if not any(character.definition.strip() for character in material.characters):
        lacks = "these glyphs have no definitions to draw others for"
        if BESIDE in options.figures:
            raise DataError(f"{lacks} (--figure {BESIDE}); name data that have them with --data")
        if any(entry.name == BESIDE for entry in wanted):
            yield Caution(f"the figure {BESIDE} is left out: {lacks}")
            wanted = [entry for entry in wanted if entry.name != BESIDE]
    model = yield from _find_artist(options, wanted, scene)
    if model is None:
        wanted = [entry for entry in wanted if not entry.needs_model]
    with tempfile.TemporaryDirectory(prefix="glyffctl-") as place, style(options.font):
        made: list[_Made] = []
        for done, entry in enumerate(wanted):
            yield Progress("figures", done, len(wanted), "figures", entry.title)
            made.append((yield from _draw(entry, scene, material, model, Path(place), options)))
        yield Progress("figures", len(wanted), len(wanted), "figures")
        return _write(options, material, scene, model, made, started)


def _check_out(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise OutputError(f"cannot write {out}: it is a file; name a folder with --out")
    check_writable(out / PAGE if out.is_dir() else out)


def _find_artist(options: NoiseDemoOptions, wanted: list[Entry], scene: Scene) -> Generator[Event, None, Artist | None]:
    """The model, where a figure needs or shows one, and it draws glyphs of the data's size.

    What was asked for by name and cannot be had is an error; what merely belongs to all figures is left out.
    """
    if not any(entry.needs_model or entry.name == LOOP for entry in wanted):
        return None
    needed = any(entry.needs_model for entry in wanted) and bool(options.figures)
    try:
        found = yield from artist(
            options.model, options.encoder, options.prompt, options.seed, choose_device(options.device)
        )
    except ModelError as error:
        if options.model is not None or needed:
            raise
        yield Caution(f"figures that need a model are left out: {error}")
        return None
    size = scene.glyph.shape[-1]
    if found.size == size:
        return found
    message = f"the glyphs are {size}×{size} and the model draws {found.size}×{found.size}"
    if needed or options.model is not None:
        raise DataError(f"{message}; prepare with --size {found.size}, or name another --model")
    yield Caution(f"figures that need a model are left out: {message}")
    return None


def _draw(
    entry: Entry, scene: Scene, material: Material, model: Artist | None, folder: Path, options: NoiseDemoOptions
) -> Generator[Event, None, _Made]:
    """Draw one figure into `folder`."""
    picture: Any
    if entry.needs_model:
        assert model is not None
        picture, measured = yield from MODEL_FIGURES[entry.name](model, material)
    else:
        drawn = (
            process.loop(scene, None if model is None else model.guess())
            if entry.name == LOOP
            else PLAIN_FIGURES[entry.name](scene)
        )
        picture, measured = drawn.figure, drawn.measured
    settings = {
        "figure": entry.name,
        "char": material.characters[0].character if material.characters else "",
        "schedule": options.schedule,
        "seed": options.seed,
        **({"prompt": options.prompt} if entry.needs_model else {}),
    }
    if isinstance(picture, Figure):
        file = folder / f"{file_stem(entry)}.png"
        save_figure(file, picture, settings)
        letters = smallest_lettering(picture) * CSS_PIXELS / 72
        return _Made(entry, file, measured, round(picture.get_figwidth() * CSS_PIXELS), letters)
    file = folder / f"{file_stem(entry)}.gif"
    save_gif(file, picture, GIF_FPS)
    return _Made(entry, file, measured, picture[0].width, math.inf)


def _write(
    options: NoiseDemoOptions,
    material: Material,
    scene: Scene,
    model: Artist | None,
    made: list[_Made],
    started: float,
) -> NoiseDemoReport:
    """Put the files in their place, the page last. Only names of ours are written."""
    contents = [(each, each.file.read_bytes()) for each in made]
    sections = [
        Section(
            each.entry.name, each.entry.title, each.entry.see, each.entry.alt, each.measured, data,
            f"image/{each.file.suffix[1:]}", each.width, each.letters,
        )
        for each, data in contents
    ]  # fmt: skip
    about = [
        "Every picture on this page was computed when the page was made, on real glyphs where it shows glyphs; nothing "
        "is a sketch. The numbers under the pictures were measured on the way.",
        f"Glyphs: {material.source}. Shown: {scene.name}. Schedule: {options.schedule}. Seed: {options.seed}."
        + (f" Model: {model_name(model.path).name}, prompt “{model.prompt}”." if model is not None else ""),
    ]
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {options.out}: {reason(error)}") from error
    reports = []
    for each, data in contents:
        _save(options.out / each.file.name, data)
        reports.append(FigureReport(each.entry.name, options.out / each.file.name, each.measured))
    _save(options.out / PAGE, page("How diffusion works, on glyphs", about, sections, GUIDE).encode())
    return NoiseDemoReport(options.out / PAGE, reports, material.source, time.monotonic() - started)


def _save(path: Path, data: bytes) -> None:
    with atomic_file(path) as temporary:
        temporary.write_bytes(data)


CHECK_GLYPHS, CHECK_DRAWS = 1000, 256


def check(options: NoiseDemoOptions) -> Generator[Event, None, CheckReport]:
    """Measure the claims; those about a trained model only if `model` names one. Writes nothing.

    Raises:
        GlyffError: the data, a font or the model cannot be used.
    """
    started = time.monotonic()
    painter = None
    if options.model is not None:
        painter = yield from artist(
            options.model, options.encoder, GOLD[0], options.seed, choose_device(options.device)
        )
    material = yield from gather(options.data, options.font, options.char, options.seed)
    schedule: Any = options.schedule
    scene, _ = scene_of(replace(material), None, options.font, schedule, options.seed)
    pictures = to_unit(material.pictures)[:CHECK_GLYPHS, None]
    small = scene.of_size(solvers.SIDE)
    seed = options.seed
    count, where = material.defined or (0, "")
    measures: list[tuple[str, Callable[[], Claim]]] = [
        ("numbers", lambda: claims.numbers_in_a_glyph(material.pictures[0])),
        ("parameters", claims.parameters),
        *(
            (f"pure noise, {name}", lambda name=name: claims.pure_noise(pictures, name, seed=seed))
            for name in get_args(ScheduleName)
        ),
        ("evenness", lambda: claims.evenness(scene.known, spectrum(scene.glyphs))),
        ("noise and score", lambda: claims.score_factor(scene.glyphs[:200], seed)),
        ("score far away", lambda: claims.score_far_away(scene.plane)),
        ("one jump", lambda: claims.one_jump(seed=seed)),
        ("shrinking", lambda: claims.shrinking(seed=seed)),
        ("steps", lambda: claims.solvers(thinned(spectrum(small)))),
        ("worked examples", claims.worked_examples),
    ]
    if material.defined is not None:
        measures[:0] = [
            ("glyphs", lambda: claims.glyph_count(count, where)),
            ("pictures seen", lambda: claims.samples_seen(count)),
        ]
    found = []
    if material.defined is None:
        needs = "needs data: `glyffctl prepare`"
        found.append(Claim("glyphs", "about 21,000 glyphs with English definitions", needs, "not measured here"))
    for done, (name, measure) in enumerate(measures):
        yield Progress("claims", done, len(measures), "claims", name)
        found.append(measure())
    yield Progress("claims", len(measures), len(measures), "claims")
    drawn = [] if painter is None else (yield from model_claims(painter, material))
    found += [*drawn, *claims.elsewhere({claim.name for claim in drawn})]
    yield Note(f"measured {len(measures) + len(drawn)} claims in {time.monotonic() - started:.1f} s")
    return CheckReport(found, material.source, time.monotonic() - started)
