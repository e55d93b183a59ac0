"""Nearest neighbors and principal components, against brute force and float64."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from glyffctl.core.atlas.neighbors import nearest, project
from glyffctl.core.data.dataset import GlyphSet
from glyffctl.workflows.events import finish


@given(st.integers(0, 10_000), st.integers(1, 60), st.integers(1, 40))
def test_neighbours_are_those_of_brute_force(seed: int, count: int, width: int) -> None:
    random = torch.Generator().manual_seed(seed)
    # Far from the origin and with doubles: where |a|² + |b|² − 2ab loses digits.
    points = torch.randn(count, width, generator=random) + 1000
    points = points[torch.randint(count, (count,), generator=random)]
    k = 1 + seed % count
    found = finish(nearest(points, k))
    apart = (points[:, None].double() - points[None].double()).norm(dim=2)
    torch.testing.assert_close(found.distance.double(), apart.sort(1).values[:, :k], atol=2e-4, rtol=1e-5)
    torch.testing.assert_close(apart.gather(1, found.rows), found.distance.double(), atol=2e-4, rtol=1e-5)
    assert (found.rows[:, 0] == torch.arange(count)).all()
    assert all(len(set(row)) == k for row in found.rows.tolist())
    others = finish(nearest(points, k, points[:5] + 0.5))
    apart = (points[None].double() - points[:5, None].double() - 0.5).norm(dim=2).sort(1).values
    torch.testing.assert_close(others.distance.double(), apart[:, :k], atol=2e-4, rtol=1e-5)


def test_the_subspace_is_that_of_principal_components(map_glyphs: GlyphSet) -> None:
    subspace, points = finish(project(map_glyphs, 20))
    pixels = map_glyphs.images(torch.arange(len(map_glyphs))).flatten(1).double()
    centred = pixels - pixels.mean(0)
    values = torch.linalg.svdvals(centred)
    kept = points.double().square().sum(0)
    assert (kept.diff() <= 0).all()  # the largest variance first
    assert kept.sum() > 0.93 * values[:20].square().sum()
    torch.testing.assert_close(kept[:2], values[:2].square(), rtol=1e-2, atol=0)
    # New pictures are put where the same old ones are.
    torch.testing.assert_close(subspace.project(map_glyphs.images(torch.arange(9))), points[:9], rtol=1e-3, atol=0.5)
    again = finish(project(map_glyphs, 20))
    assert torch.equal(again[1], points)


def test_with_all_components_distances_are_those_of_pixels(map_glyphs: GlyphSet) -> None:
    _, points = finish(project(map_glyphs))
    pixels = map_glyphs.images(torch.arange(len(map_glyphs))).flatten(1).double()
    few = torch.arange(0, len(map_glyphs), 7)
    apart = (points[few, None].double() - points[few].double()).norm(dim=2)
    torch.testing.assert_close(apart, (pixels[few, None] - pixels[few]).norm(dim=2), rtol=1e-3, atol=1)


def test_any_number_of_threads_finds_the_same(map_glyphs: GlyphSet) -> None:
    """To the last bit: from there a layout is chaotic."""
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            subspace, points = finish(project(map_glyphs))
            found.append((subspace.mean, subspace.basis, points, *finish(nearest(points, 15))))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))
