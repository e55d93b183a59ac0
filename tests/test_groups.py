"""What colours a map: the largest groups, and grey."""

from glyffctl.core.atlas.groups import MOST_GROUPS, MOST_LABELS, by_font, by_radical, group
from glyffctl.core.data.dataset import GlyphSet


def test_groups_are_the_largest_and_the_rest_is_grey(map_glyphs: GlyphSet) -> None:
    keys = [k for k in range(20) for _ in range(k)]
    found = group("n", keys, {k: str(k) for k in range(20) if k != 19})
    assert found is not None
    assert found.labels == [str(k) for k in range(18, 0, -1)] and found.others == 19
    few = found.largest()
    assert few.labels == [str(k) for k in range(18, 18 - MOST_GROUPS, -1)]
    assert few.counts == list(range(18, 18 - MOST_GROUPS, -1))
    assert few.others == len(keys) - sum(few.counts)
    assert int(few.of.max()) == MOST_GROUPS - 1
    many = group("n", list(range(600)), {k: str(k) for k in range(600)})
    assert many is not None and len(many.labels) == MOST_LABELS and many.others == 600 - MOST_LABELS
    radical = by_radical(map_glyphs)
    assert radical is not None and "艸 grass" in radical.labels
    assert by_font(map_glyphs) is None  # there is one
    assert group("n", ["a"], {}) is None
