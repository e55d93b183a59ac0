"""The layout of a map: seeds, doubles, new points among old ones."""

import pytest
import torch

from glyffctl.core.atlas import layout as layouts
from glyffctl.core.atlas.layout import MapSettings, lay_out, place
from glyffctl.core.atlas.neighbors import Neighbors, nearest, project
from glyffctl.core.atlas.separation import separation
from glyffctl.core.data.dataset import GlyphSet
from glyffctl.workflows.events import finish


@pytest.mark.thorough
def test_other_seeds_lay_out_otherwise_and_alike_stays_together(map_glyphs: GlyphSet) -> None:
    _, points = finish(project(map_glyphs))
    neighbors = finish(nearest(points, 15))
    one, two = (finish(lay_out(points, neighbors, MapSettings(seed=seed))) for seed in (0, 1))
    assert not torch.equal(one, two)
    assert one.isfinite().all() and (one.amax(0) + one.amin(0)).abs().max() < 1e-4
    # 艸 above, 钅 and 鱼 at the left: in the map 15 neighbors tell them, in a shuffled one they do not.
    radical = torch.tensor([map_glyphs.characters[row].radical or 0 for row in map_glyphs.character_of.tolist()])
    labels = torch.where(radical == 140, 1, torch.where((radical == 167) | (radical == 195), 0, -1))
    for points_ in (one, two):
        assert separation(points_, labels) > 0.97
    assert separation(one[torch.randperm(len(one), generator=torch.Generator().manual_seed(0))], labels) < 0.7


@pytest.mark.parametrize("count", [12, 40])
@pytest.mark.thorough
def test_doubles_and_blanks_are_laid_out_too(count: int) -> None:
    same = torch.zeros(count, 8)
    half = torch.cat([torch.zeros(count // 2, 8), torch.ones(count - count // 2, 8) * 100])
    for points in (same, half):
        found = finish(lay_out(points, finish(nearest(points, 5)), MapSettings(neighbors=5)))
        assert found.shape == (count, 2) and found.isfinite().all()


def test_new_pictures_lie_among_their_like_and_old_ones_where_they_were() -> None:
    points = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [50.0, 50.0]])
    rows = torch.tensor([[0, 1, 2, 3, 4], [3, 0, 1, 2, 4]])
    distance = torch.tensor([[1.0, 1.0, 1.0, 1.0, 9.0], [0.0, 1.0, 1.0, 1.0, 9.0]])
    found = place(points, Neighbors(rows, distance))
    assert found[0].max() <= 1.0  # in the square of four, not on the way to the fifth
    assert torch.equal(found[1], points[3])
    square = place(points, Neighbors(rows[:, :4], distance[:, :4]))
    torch.testing.assert_close(square[0], torch.tensor([0.5, 0.5]), atol=1e-4, rtol=0)  # Weiszfeld's answer is known


def test_errors_in_the_thread_are_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    points = torch.randn(60, 8, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(layouts, "_umap", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        finish(lay_out(points, finish(nearest(points, 15)), MapSettings()))
