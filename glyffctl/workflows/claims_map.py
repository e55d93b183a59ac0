"""What `glyffctl noise-demo --check` measures of the map that `glyffctl visualize-umap` has laid out."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import torch
from scipy.stats import rankdata
from torch import Tensor

from glyffctl.core.atlas.layout import Map, MapSettings, load_map
from glyffctl.core.atlas.neighbors import nearest
from glyffctl.core.atlas.separation import VOTES, left_right_labels, separation
from glyffctl.core.data.dataset import GlyphSet
from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.data.radicals import labels
from glyffctl.core.data.structure import read_structure
from glyffctl.core.estimates import Estimate, mean, percentiles, share
from glyffctl.core.theory import data_claims
from glyffctl.core.theory.claims import Claim
from glyffctl.workflows.events import Event, with_fraction

ASKED = 1000
"""Glyphs whose neighbours are looked at."""
_RESAMPLES = 500


def measure_map(folder: Path, ids: Path | None, seed: int) -> Generator[Event, None, list[Claim]]:
    """The claims about the map in a data folder; none if it has no map of these glyphs with the default settings.

    Args:
        folder: the data folder.
        ids: a table of ideographic description sequences, for the claim about clusters; None leaves that out.
        seed: of the choice of glyphs.

    Raises:
        DataError: `ids` cannot be read.
    """
    glyphs = open_glyphs(folder)
    drawn = load_map(folder, glyphs.fingerprint(), MapSettings())
    if drawn is None or len(drawn.points) != len(glyphs) or len(glyphs) <= 2 * VOTES:
        return []
    order = torch.randperm(len(glyphs), generator=torch.Generator().manual_seed(seed))
    asked = order[:ASKED]
    parts = [drawn.subspace.project(glyphs.images(index)) for index in torch.arange(len(glyphs)).split(1024)]
    spaces = {"pixels": torch.cat(parts), "map": drawn.points, "plane": drawn.principal}
    near: dict[str, Tensor] = {}
    far: dict[str, Tensor] = {}
    for name, points in spaces.items():
        search = nearest(points, VOTES + 1, points[asked])
        found = yield from with_fraction(search, f"Finding neighbours, {name}", len(asked), "glyphs")
        itself = found.rows == asked[:, None]
        itself[~itself.any(1), -1] = True
        near[name] = found.rows[~itself].view(len(asked), VOTES)
        far[name] = found.distance[:, -1]
    kept = {name: _kept(near["pixels"], near[name]) for name in ("map", "plane")}
    claims = [
        data_claims.map_keeps(kept["map"], kept["plane"], VOTES / (len(glyphs) - 1)),
        data_claims.map_density(
            _rank(far["map"], far["pixels"]),
            _rank(far["plane"], far["pixels"]),
            _rank(far["map"][torch.randperm(len(asked), generator=torch.Generator().manual_seed(seed))], far["pixels"]),
        ),
    ]
    if ids is not None:
        claims += _clusters(glyphs, drawn, ids, order)
    radicals = _radicals(glyphs, asked, near, order)
    return claims if radicals is None else [*claims, radicals]


def _kept(true: Tensor, found: Tensor) -> Estimate:
    """The share of the `true` neighbours (Q, k) that are among those `found` (Q, k)."""
    return mean((true[:, :, None] == found[:, None]).any(2).double().mean(1))


def _rank(one: Tensor, other: Tensor) -> Estimate:
    """Spearman's rank correlation of two measurements (Q,), with the interval of the percentile bootstrap."""
    both = torch.stack([torch.from_numpy(rankdata(each.numpy())) for each in (one, other)]).double()
    index = torch.randint(both.shape[1], (_RESAMPLES, both.shape[1]), generator=torch.Generator().manual_seed(0))

    def correlation(pairs: Tensor) -> Tensor:
        centred = pairs - pairs.mean(-1, keepdim=True)
        return (centred[0] * centred[1]).sum(-1) / (centred[0].norm(dim=-1) * centred[1].norm(dim=-1)).clamp(min=1e-12)

    return Estimate(float(correlation(both)), *percentiles(correlation(both[:, index])), both.shape[1])


def _radicals(glyphs: GlyphSet, asked: Tensor, near: dict[str, Tensor], order: Tensor) -> Claim | None:
    """How often the neighbours of a glyph vote for its radical."""
    known = labels(glyphs)
    kept = known[asked] > 0
    if int(kept.sum()) < 2 * VOTES:
        return None

    def right(of: Tensor, name: str) -> Estimate:
        votes = of[near[name]].mode(1).values
        hits = (votes == of[asked])[kept]
        return share(int(hits.sum()), len(hits))

    return data_claims.map_radicals(right(known, "map"), right(known, "plane"), right(known[order], "map"))


def _clusters(glyphs: GlyphSet, drawn: Map, ids: Path, order: Tensor) -> list[Claim]:
    """How well neighbours in the map tell left–right and top–bottom characters apart; none if too few are known."""
    table = read_structure(ids)
    operators = [table.get(glyphs.characters[row].character, "") for row in glyphs.character_of.tolist()]
    kinds = left_right_labels(operators)
    known = (kinds >= 0).nonzero().flatten()
    if len(known) <= VOTES or len(kinds[known].unique()) < 2:
        return []
    mixed = kinds.clone()
    mixed[known] = kinds[known][order[: len(known)].argsort()]
    found = separation(drawn.points, kinds), separation(drawn.principal, kinds), separation(drawn.points, mixed)
    return [data_claims.map_structure(*found, len(known))]
