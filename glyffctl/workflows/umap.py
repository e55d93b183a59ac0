"""`glyffctl visualize-umap`: a map of all glyphs, as a picture and as an interactive page, with generated pictures."""

from __future__ import annotations

import time
from collections.abc import Collection, Generator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from glyffctl.core.atlas.density import density
from glyffctl.core.atlas.groups import radical_label
from glyffctl.core.atlas.layout import (
    PLACING_NEIGHBORS,
    SHOWN_NEIGHBORS,
    Map,
    MapSettings,
    epochs_of,
    lay_out,
    load_map,
    place,
    save_map,
)
from glyffctl.core.atlas.neighbors import Neighbors, nearest, project, project_into
from glyffctl.core.atlas.regions import regions, words_of
from glyffctl.core.atlas.separation import VOTES, left_right_labels, separation
from glyffctl.core.data.dataset import GlyphSet
from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.data.structure import read_structure
from glyffctl.core.device import choose_device
from glyffctl.core.errors import DataError, OutputError, UsageError
from glyffctl.core.io.atomic import check_writable
from glyffctl.core.io.names import utf8_name
from glyffctl.core.noise import permutation
from glyffctl.core.text.prompt import check_prompt
from glyffctl.workflows.events import Caution, Event, Note, Progress, finish, with_fraction
from glyffctl.workflows.pictures import check_pictures
from glyffctl.workflows.umap_colours import Colours, check_colour, colours_of_data, measured_colours
from glyffctl.workflows.umap_pictures import GeneratedPicture, load_pictures, trace_sampling

MOST = 100_000
"""The most glyphs in a map: the search for neighbors takes quadratic time, and a browser cannot open a million."""
_FEWEST = 10
_BATCH = 1024


@dataclass(frozen=True, kw_only=True)
class UmapOptions:
    """The options of `visualize`.

    Attributes:
        data: a data folder.
        out: the folder for the map.
        settings: of the layout.
        ids: a table of ideographic description sequences, for colours by structure and the separation.
        colour: structure, radical, font, codepoint, density, ink, or a further column of the metadata, as far as the
            data have it; "none" for one colour; None is the first that they have.
        drawn: pictures of `sample` to place in the map, or folders of them.
        trace: prompts of glyphs to draw; their predictions of x0 become a path through the map.
        model: draws them, as in `SampleOptions`.
        encoder: as in `SampleOptions`.
        device: as in `SampleOptions`.
    """

    data: Path = Path("data")
    out: Path = Path()
    settings: MapSettings = field(default_factory=MapSettings)
    ids: Path | None = None
    colour: str | None = None
    drawn: tuple[Path, ...] = ()
    trace: tuple[str, ...] = ()
    model: Path | None = None
    encoder: str | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        """Raise UsageError for invalid values."""
        if self.colour == "structure" and self.ids is None:
            raise UsageError("--color structure needs --ids FILE, a table of ideographic description sequences")
        for prompt in self.trace:
            check_prompt(prompt)


@dataclass(frozen=True)
class Separation:
    """The separation of ⿰ and ⿱: balanced accuracy of 15 neighbors in the map, in the PCA plane, and by chance."""

    map: float
    pca: float
    shuffled: float
    left_right: int
    top_bottom: int


@dataclass(frozen=True)
class PlacedPicture:
    """A generated picture and its place in the map."""

    file: str
    prompt: str
    x: float
    y: float
    nearest: str
    """The character of the most similar glyph."""


@dataclass(frozen=True)
class UmapReport:
    """The files of the map, and what was measured."""

    files: list[Path]
    glyphs: int
    seconds: float
    cached: bool
    """Whether the layout was kept from an earlier run."""
    settings: MapSettings
    separation: Separation | None
    placed: list[PlacedPicture]


def visualize(options: UmapOptions) -> Generator[Event, None, UmapReport]:
    """Draw the map.

    Raises:
        GlyffError: data, pictures, model or table cannot be used, or the output cannot be written.
    """
    started = time.perf_counter()
    png, page = options.out / "umap.png", options.out / "umap.html"
    device = choose_device(options.device)
    for file in (png, page):
        check_writable(file)
    everything = open_glyphs(options.data)
    glyphs = everything.sample(MOST)
    _check_count(glyphs, options)
    yield from check_pictures(glyphs)
    if len(glyphs) < len(everything):
        yield Note(
            f"the map shows {len(glyphs):,} of the {len(everything):,} glyphs, drawn at random",
            "glyphs-subsampled",
            {"shown": len(glyphs), "total": len(everything)},
        )
    operators = _operators(glyphs, options.ids) if options.ids else None
    colours = colours_of_data(glyphs, options.data, everything.sampled(MOST), operators)
    check_colour(options.colour, colours)
    pictures = load_pictures(options.drawn, glyphs.size)
    trails = []
    for prompt in options.trace:
        drawing = trace_sampling(prompt, options.model, options.encoder, options.settings.seed, glyphs.size, device)
        trails.append((yield from drawing))

    drawn, projected, cached = yield from _map(glyphs, options)
    places = yield from _place(glyphs, drawn, projected, [*pictures, *trails])
    parted = _separation(drawn, operators)
    if parted is not None:
        yield Note(
            f"{VOTES} neighbours on the map tell ⿰ from ⿱ with {parted.map:.1%} balanced accuracy "
            f"({parted.pca:.1%} in a plane of PCA, {parted.shuffled:.1%} by chance)",
            "separation-measured",
            {"map": parted.map, "pca": parted.pca, "chance": parted.shuffled},
        )
    thumbnails = yield from _thumbnails(glyphs)
    notes = _notes(options, glyphs, len(everything), parted)
    yield from _draw(options, glyphs, drawn, colours, notes, thumbnails, pictures, trails, places)
    seconds = time.perf_counter() - started
    placed = []
    for picture, at in zip(pictures, places, strict=False):
        x, y = at.points[0].tolist()
        similar = glyphs.characters[int(glyphs.character_of[at.nearest[0, 0]])].character
        placed.append(PlacedPicture(str(picture.file), picture.label, x, y, similar))
    return UmapReport([png, page], len(glyphs), seconds, cached, options.settings, parted, placed)


def _check_count(glyphs: GlyphSet, options: UmapOptions) -> None:
    least = max(_FEWEST, options.settings.neighbors + 1)
    if len(glyphs) < least:
        raise DataError(
            f"{options.data} has {len(glyphs)} glyphs; a map with --neighbors {options.settings.neighbors} needs at "
            f"least {least}: prepare more characters"
        )


def _operators(glyphs: GlyphSet, ids: Path) -> list[str]:
    table = read_structure(ids)
    operators = [table.get(glyphs.characters[row].character, "") for row in glyphs.character_of.tolist()]
    if not any(operators):
        raise DataError(f"{ids} has none of the characters in the data; give a table that has them")
    return operators


def _map(glyphs: GlyphSet, options: UmapOptions) -> Generator[Event, None, tuple[Map, Tensor | None, bool]]:
    """The map, the glyphs in its subspace if they were projected, and whether the map is that of an earlier run."""
    fingerprint = glyphs.fingerprint()
    cached = load_map(options.data, fingerprint, options.settings)
    if cached is not None and len(cached.points) == len(glyphs):
        yield Note("the layout is that of an earlier run: the glyphs and settings are the same", "layout-reused")
        return cached, None, True
    subspace, points = yield from with_fraction(project(glyphs), "Reading glyphs", len(glyphs), "glyphs")
    used, kept = options.settings.neighbors, min(SHOWN_NEIGHBORS + 1, len(glyphs))
    search = nearest(points, max(used, kept))
    neighbors = yield from with_fraction(search, "Finding neighbours", len(glyphs), "glyphs")
    layout = yield from _lay_out(points, Neighbors(*(part[:, :used] for part in neighbors)), options.settings)
    drawn = Map(layout, points[:, :2].contiguous(), subspace, neighbors.rows[:, 1:kept].int().contiguous())
    try:
        save_map(options.data, drawn, fingerprint, options.settings)
    except OutputError as error:
        yield Caution(f"the layout is not kept for the next run: {error}", "layout-not-saved")
    return drawn, points, False


def _lay_out(points: Tensor, neighbors: Neighbors, settings: MapSettings) -> Generator[Event, None, Tensor]:
    """Lay out the map, with a bar of its own for the time until the first epoch."""
    total, started, compiling = epochs_of(len(points)), time.perf_counter(), True
    work = lay_out(points, neighbors, settings)
    layout = None
    while layout is None:
        try:
            done = next(work)
        except StopIteration as stop:
            layout, done = stop.value, 1.0
        seconds = time.perf_counter() - started
        if not done:
            yield Progress("Starting UMAP", seconds, None, "s", "numba compiles it anew in every run")
            continue
        if compiling:
            yield Progress("Starting UMAP", seconds, seconds, "s")
            compiling = False
        yield Progress("Laying out", done * total, total, "epochs")
    return layout


@dataclass(frozen=True, eq=False)
class _Places:
    """The places of the steps of a picture."""

    points: Tensor  # (S, 2)
    nearest: Tensor  # (S, PLACING_NEIGHBORS) the most similar glyphs, the nearest first


def _place(
    glyphs: GlyphSet, drawn: Map, projected: Tensor | None, pictures: list[GeneratedPicture]
) -> Generator[Event, None, list[_Places]]:
    """The places of each of `pictures`, which may have several steps."""
    if not pictures:
        return []
    if projected is None:
        reading = project_into(glyphs, drawn.subspace)
        projected = yield from with_fraction(reading, "Reading glyphs", len(glyphs), "glyphs")
    queries = drawn.subspace.project(torch.cat([picture.pictures for picture in pictures])[:, None])
    found = finish(nearest(projected, PLACING_NEIGHBORS, queries))
    points = place(drawn.points, found)
    lengths = [len(picture.pictures) for picture in pictures]
    return [_Places(*both) for both in zip(points.split(lengths), found.rows.split(lengths), strict=True)]


def _separation(drawn: Map, operators: list[str] | None) -> Separation | None:
    if operators is None:
        return None
    labels = left_right_labels(operators)
    counts = [int((labels == kind).sum()) for kind in (0, 1)]
    if min(counts) == 0 or sum(counts) <= VOTES:
        return None
    known = (labels >= 0).nonzero().flatten()
    shuffled = labels.clone()
    shuffled[known] = labels[known][permutation(0, 0, len(known))]
    return Separation(
        separation(drawn.points, labels),
        separation(drawn.principal, labels),
        separation(drawn.points, shuffled),
        *counts,
    )


def _thumbnails(glyphs: GlyphSet) -> Generator[Event, None, Tensor]:
    """(N, T, T) uint8: smaller if there are many, so that a browser can open the page."""
    side = min(glyphs.size, 48 if len(glyphs) <= 25_000 else 32)
    parts = []
    for index in torch.arange(len(glyphs)).split(_BATCH):
        parts.append(_resize(glyphs.images(index)[:, 0], side))
        yield Progress("Drawing thumbnails", int(index[-1]) + 1, len(glyphs), "glyphs")
    return torch.cat(parts)


def _resize(pictures: Tensor, side: int) -> Tensor:
    """(N, side, side) uint8 from pictures (N, H, W) uint8."""
    if pictures.shape[-1] == side:
        return pictures
    small = interpolate(pictures[:, None].float(), (side, side), mode="bilinear", antialias=True)
    return small.round().clamp(0, 255).to(torch.uint8)[:, 0]


def _draw(
    options: UmapOptions,
    glyphs: GlyphSet,
    drawn: Map,
    colours: Colours,
    notes: list[str],
    thumbnails: Tensor,
    pictures: list[GeneratedPicture],
    trails: list[GeneratedPicture],
    places: list[_Places],
) -> Generator[Event, None, None]:
    # matplotlib takes a second to load.
    from glyffctl.figures.map_html import MapLabels, save_map_page  # noqa: PLC0415
    from glyffctl.figures.map_png import save_map_png  # noqa: PLC0415
    from glyffctl.figures.map_scene import Colouring, MapScene, MarkedPicture, Trail  # noqa: PLC0415

    yield Progress("Drawing the map", 0, 2)
    point_density = density(drawn.points)
    measured = measured_colours(point_density, drawn.points, thumbnails)
    order = [name for name in ("structure", "radical", "font") if name in colours]
    named = {name: (colours | measured)[name] for name in dict.fromkeys((*order, *measured, *colours))}
    known = {name: Colouring(*one) for name, one in named.items()}
    if options.colour not in (None, "none", *known):  # ink that is the same everywhere
        raise UsageError(f"--color {options.colour} is the same for all glyphs; choose another")
    colouring = None if options.colour == "none" else known[options.colour or next(iter(known))]
    side = thumbnails.shape[-1]
    scene = MapScene(
        title=f"{len(glyphs):,} glyphs of {glyphs.size**2:,} numbers each, similar ones close together",
        notes=notes,
        points=drawn.points,
        thumbnails=thumbnails,
        density=point_density,
        colouring=colouring,
        near=drawn.near,
        compared=f"{drawn.subspace.basis.shape[1]} principal components of the pixels",
        regions=regions(drawn.points, point_density, _names(glyphs)),
        generated=[
            MarkedPicture(
                float(at.points[0, 0]),
                float(at.points[0, 1]),
                _resize(picture.pictures, side)[0],
                picture.label,
                at.nearest[0],
            )
            for picture, at in zip(pictures, places, strict=False)
        ],
        trails=[
            Trail(trail.label, at.points, _resize(trail.pictures, side), at.nearest)
            for trail, at in zip(trails, places[len(pictures) :], strict=True)
        ],
    )
    settings = {"data": utf8_name(options.data), **asdict(options.settings), "color": options.colour}
    save_map_png(options.out / "umap.png", scene, settings)
    yield Progress("Drawing the map", 1, 2)
    save_map_page(options.out / "umap.html", scene, MapLabels(glyphs, list(known.values())))
    yield Progress("Drawing the map", 2, 2)


def _names(glyphs: GlyphSet) -> list[list[Collection[str]]]:
    """What could name a region of the map: of each glyph its radical, and the words of its definition."""
    shown = [glyphs.characters[row] for row in glyphs.character_of.tolist()]
    labels = [radical_label(character.radical) for character in shown]
    return [[(label,) if label else () for label in labels], [words_of(character.definition) for character in shown]]


def _notes(options: UmapOptions, glyphs: GlyphSet, total: int, parted: Separation | None) -> list[str]:
    """The small print of the map."""
    settings = options.settings
    notes = [f"UMAP, {settings.neighbors} neighbours, min-dist {settings.min_dist:g}, seed {settings.seed}"]
    if len(glyphs) < total:
        notes.append(f"drawn at random from {total:,} glyphs")
    if len(glyphs.fonts) == 1:
        notes.append(glyphs.fonts[0].name)
    elif glyphs.fonts:
        notes.append(f"{len(glyphs.fonts)} fonts")
    if parted is not None:
        notes.append(f"⿰ told from ⿱: {parted.map:.1%} (PCA {parted.pca:.1%}, by chance {parted.shuffled:.1%})")
    if options.drawn or options.trace:
        notes.append("framed in red: drawn by a model")
    if options.trace:
        prompts = ", ".join(f"“{prompt[:30]}”" for prompt in options.trace)
        notes.append(f"red line: its guesses from step to step, {prompts}; they end at the large dot")
    return notes
