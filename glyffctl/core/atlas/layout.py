"""Maps of pictures in the plane: UMAP (McInnes, Healy and Melville 2018, arXiv 1802.03426), done by umap-learn.

umap-learn is given exact neighbors and the plane of largest variance to start from (Kobak and Linderman 2021: what a
map keeps of the large distances comes from its start). That needs no eigenvalue problem, which is slow and fails on
data in many pieces, and the same input and seed give the same map.
"""

from __future__ import annotations

import queue
import re
import threading
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from glyffctl.core.atlas.neighbors import Neighbors, Subspace
from glyffctl.core.errors import DataError, UsageError
from glyffctl.core.io.tensors import load_tensors, save_tensors

FILE_NAME = "umap.safetensors"
KIND = "glyffctl-umap/1"
_FEW = 10_000  # up to this many points get as many epochs as umap-learn gives them itself
_SPREAD = 1.0
PLACED_BY = 7
_WEISZFELD = 50  # steps
_SAME = 1e-3  # of the distance of the last neighbor
_PULSE = 0.25  # seconds between signs of life


@dataclass(frozen=True, kw_only=True, slots=True)
class MapSettings:
    """How a map is laid out.

    Attributes:
        neighbors: each glyph is drawn to so many nearest ones, itself counted: few show detail, many the whole.
        min_dist: how near points may come in the map, 0 to 1: small packs clusters tightly.
        seed: of the layout.
    """

    neighbors: int = 15
    min_dist: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise UsageError for values out of range."""
        if not 2 <= self.neighbors <= 200:
            raise UsageError(f"--neighbors must be in 2…200, not {self.neighbors}")
        if not 0 <= self.min_dist <= _SPREAD:
            raise UsageError(f"--min-dist must be in 0…{_SPREAD:g}, not {self.min_dist}")
        if not 0 <= self.seed < 2**32:
            raise UsageError(f"--seed must be in 0…2³²−1, not {self.seed}")


@dataclass(frozen=True, eq=False)
class Map:
    """N pictures in the plane, and the subspace their likeness was measured in."""

    points: Tensor  # (N, 2) float32
    principal: Tensor  # (N, 2) float32: the plane of largest variance, for comparison
    subspace: Subspace


class LaidOut(NamedTuple):
    """How far a layout has come. `done` is 0 while umap-learn is being compiled."""

    done: int  # epochs
    total: int
    result: Tensor | None  # (N, 2) float32 at the end


def lay_out(points: Tensor, neighbors: Neighbors, settings: MapSettings) -> Iterator[LaidOut]:
    """Lay out `points` (N, R), whose first two axes are those of largest variance; the last thing yielded is the map.

    umap-learn works in a thread of its own, so that it can be heard of while it does. It cannot be stopped: whoever
    turns away leaves it to end by itself, or with the program.

    Args:
        neighbors: of `points`, each its own first one.
    """
    epochs = 500 if len(points) <= _FEW else 200
    news: queue.Queue[int | Tensor | BaseException] = queue.Queue()

    def work() -> None:
        try:
            news.put(_umap(points, neighbors, settings, epochs, _Ear(news)))
        except BaseException as error:
            news.put(error)

    threading.Thread(target=work, name="umap", daemon=True).start()
    done = 0
    while True:
        try:
            heard = news.get(timeout=_PULSE)
        except queue.Empty:
            yield LaidOut(done, epochs, None)
            continue
        if isinstance(heard, BaseException):
            raise heard
        if isinstance(heard, Tensor):
            yield LaidOut(epochs, epochs, heard)
            return
        done = heard
        yield LaidOut(done, epochs, None)


class _Ear:
    """A file for tqdm to draw its bar on, which hears the epoch. (To raise here would leave tqdm's lock locked.)"""

    def __init__(self, news: queue.Queue[Any]) -> None:
        self.news = news

    def write(self, text: str) -> None:
        if number := re.search(r"\d+", text):
            self.news.put(int(number[0]))

    def flush(self) -> None:
        """What a file must have."""


def _umap(points: Tensor, neighbors: Neighbors, settings: MapSettings, epochs: int, ear: _Ear) -> Tensor:
    """The two halves of `umap.UMAP.fit`, as scanpy calls them: they take neighbors without a search tree."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries among themselves: numba, scipy and scikit-learn on deprecations
        from umap.umap_ import find_ab_params, fuzzy_simplicial_set, simplicial_set_embedding  # noqa: PLC0415

        random = np.random.RandomState(settings.seed)
        graph, _, _ = fuzzy_simplicial_set(
            points.numpy(),
            settings.neighbors,
            random,
            "euclidean",
            knn_indices=neighbors.rows.numpy().astype(np.int32),
            knn_dists=neighbors.distance.numpy(),
        )
        start = points[:, :2]
        start = 10 * start / start.abs().max().clamp(min=1e-12)
        a, b = find_ab_params(_SPREAD, settings.min_dist)
        layout, _ = simplicial_set_embedding(
            points.numpy(),
            graph,
            n_components=2,
            initial_alpha=1.0,
            a=a,
            b=b,
            gamma=1.0,
            negative_sample_rate=5,
            n_epochs=epochs,
            init=start.numpy() + random.normal(scale=1e-4, size=start.shape).astype(np.float32),
            random_state=random,
            metric="euclidean",
            metric_kwds={},
            densmap=False,
            densmap_kwds={},
            output_dens=False,
            tqdm_kwds={"disable": False, "file": ear, "bar_format": "{n}", "mininterval": 0.1, "miniters": 1},
        )
    # Centred, so that what is drawn does not hang on where the optimiser happened to drift.
    layout = torch.from_numpy(np.asarray(layout, np.float32))
    return layout - (layout.amin(0) + layout.amax(0)) / 2


def place(points: Tensor, neighbors: Neighbors) -> Tensor:
    """(Q, 2) where new pictures belong in a map `points` (N, 2), from their neighbors there, nearest first.

    The geometric median of the places of the `PLACED_BY` nearest (Weiszfeld's iteration); a picture that the map has
    keeps its place. Each of 21,230 glyphs taken out and placed again comes back to within 0.55 % of the map's width of
    its own place in the median, and nine in ten within 1.9 %. The weighted mean of 15 that UMAP's own transform starts
    from (arXiv 1802.03426, section 3.1) takes 1.6 % and 6.9 %: it lies between clusters where the median lies in one. A
    picture unlike all of the map still gets a place, among those it is least unlike.
    """
    near = points[neighbors.rows[:, :PLACED_BY]].double()
    middle = near.median(dim=1).values
    for _ in range(_WEISZFELD):
        weight = 1 / (near - middle[:, None]).norm(dim=2, keepdim=True).clamp(min=1e-9)
        middle = (weight * near).sum(1) / weight.sum(1)
    # Not quite 0, since sums round; no two glyphs of Noto Sans that differ are nearer than 0.03.
    same = neighbors.distance[:, :1] <= _SAME * neighbors.distance[:, -1:]
    return torch.where(same, near[:, 0], middle).float()


def save_map(folder: Path, drawn: Map, fingerprint: str, settings: MapSettings) -> None:
    """Write the map into the data folder, in place of an older one.

    Raises:
        OutputError: the folder cannot be written or the disk is full.
    """
    tensors = {
        "points": drawn.points,
        "principal": drawn.principal,
        "mean": drawn.subspace.mean,
        "basis": drawn.subspace.basis,
    }
    save_tensors(folder / FILE_NAME, KIND, tensors, {"glyphs": fingerprint, **asdict(settings)})


def load_map(folder: Path, fingerprint: str, settings: MapSettings) -> Map | None:
    """The map in the data folder, or None if it was laid out otherwise or from other glyphs, or is damaged."""
    path = folder / FILE_NAME
    try:
        tensors, header = load_tensors(path, KIND, DataError)
        drawn = Map(tensors["points"], tensors["principal"], Subspace(tensors["mean"], tensors["basis"]))
    except (DataError, KeyError):
        return None
    return drawn if header == {"glyphs": fingerprint, **asdict(settings)} else None
