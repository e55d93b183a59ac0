"""Names of regions, in maps whose regions are known."""

import torch

from glyffctl.core.atlas.density import density
from glyffctl.core.atlas.regions import SHARE, regions, words_of


def blobs(*centres: tuple[float, float], each: int = 60) -> torch.Tensor:
    """Round heaps of `each` points around `centres`."""
    noise = torch.randn(len(centres), each, 2, generator=torch.Generator().manual_seed(0)) * 0.02
    return (torch.tensor(centres)[:, None] + noise).reshape(-1, 2)


def test_each_heap_is_named_for_what_most_of_it_is() -> None:
    points = blobs((0, 0), (1, 0), (0, 1), (1, 1))
    names = [("water",)] * 60 + [("fire",)] * 60 + [("water",)] * 45 + [("fire",)] * 15 + [()] * 60
    field = density(points)
    found = regions(points, field, [names])
    assert [region.name for region in found] == ["fire", "water", "water"]
    assert [region.glyphs for region in found[:2]] == [60, 60] and 30 < found[2].glyphs <= 45
    for region, centre in zip(found, ((1, 0), (0, 0), (0, 1)), strict=True):
        assert abs(field.left + region.x * field.side - centre[0]) < 0.03
        assert abs(field.bottom + region.y * field.side - centre[1]) < 0.03


def test_a_later_kind_names_only_what_no_earlier_one_does() -> None:
    points = blobs((0, 0), (1, 0), (0, 1), (1, 1))
    radicals = [("金 gold",)] * 60 + [()] * 180
    words = [("metal",)] * 60 + [("bird", "small")] * 60 + [("small",), (), ("small",)] * 40
    found = regions(points, density(points), [radicals, words])
    assert {region.name: region.glyphs for region in found if region.glyphs > 20} == {
        "金 gold": 60,
        "bird": 60,
    }  # "small" is common everywhere


def test_what_is_mixed_has_no_name() -> None:
    points = blobs((0, 0), each=300)
    names = [(f"name {k % 6}",) for k in range(300)]
    assert SHARE > 1 / 6
    assert all(region.glyphs < 20 for region in regions(points, density(points), [names]))
    assert regions(points, density(points), []) == [] == regions(points, density(points), [[()] * 300])


def test_words_that_name_a_region_are_words_of_the_meaning() -> None:
    assert words_of("(Cant.) variant of 魚 U+9B5A, a kind of fish; the name of a river") == {"fish", "river"}
    assert words_of("") == frozenset()
