"""What colours a map: the largest groups, and grey."""

from glyffctl.core.atlas.groups import MOST_GROUPS, by_font, by_radical, group
from glyffctl.core.data.dataset import GlyphSet


def test_groups_are_the_largest_and_the_rest_is_grey(map_glyphs: GlyphSet) -> None:
    keys = [k for k in range(20) for _ in range(k)]
    found = group("n", keys, {k: str(k) for k in range(20) if k != 19})
    assert found is not None
    assert found.labels == [str(k) for k in range(18, 18 - MOST_GROUPS, -1)]
    assert found.counts == list(range(18, 18 - MOST_GROUPS, -1))
    assert found.others == len(keys) - sum(found.counts)
    radical = by_radical(map_glyphs)
    assert radical is not None and "艸 grass" in radical.labels
    assert by_font(map_glyphs) is None  # there is one
    assert group("n", ["a"], {}) is None
