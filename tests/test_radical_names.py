"""Radicals as people write them."""

from __future__ import annotations

import pytest

from glyffctl.core.data.captions import radical_character, radical_name
from glyffctl.core.data.radical_names import RADICALS, find_radical
from glyffctl.core.errors import UsageError


def test_every_radical_is_found_by_number_character_and_name() -> None:
    for number in range(1, RADICALS + 1):
        found = {find_radical(text) for text in (str(number), radical_character(number), radical_name(number))}
        assert found == {number}


@pytest.mark.parametrize(
    ("text", "number"),
    [("⾦", 167), ("钅", 167), ("Metal", 167), (" GOLD ", 167), ("氵", 85), ("亻", 9), ("讠", 149), ("艹", 140)],
)
def test_other_ways_to_write_them(text: str, number: int) -> None:
    assert find_radical(text) == number


@pytest.mark.parametrize("text", ["", "0", "215", "-1", "9" * 400, "lithium", "鐵", "金金", "a\0b"])
def test_what_is_no_radical_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--radical"):
        find_radical(text)


def test_a_name_that_is_nearly_right_is_guessed() -> None:
    with pytest.raises(UsageError, match="bamboo"):
        find_radical("bambo")
