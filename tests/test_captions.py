"""Alternate captions of a definition: its parts, and the meaning of the radical."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glyffctl.core.data.captions import MOST_SENSES, alternate_captions, radical_character, radical_name, split_senses
from glyffctl.core.data.folder import open_glyphs


@pytest.mark.parametrize(
    ("definition", "expected"),
    [
        ("lithium (element 3, Li)", ["lithium"]),
        ("lithium", []),
        ("(Cant.)", []),
        ("bird (of prey); hawk (or, rarely, falcon), kite", ["bird", "hawk", "kite"]),
        ("to paint, to draw; a picture", ["to paint", "to draw", "a picture"]),
        (
            "(Cant.) to hit; a bank of earth, or an embankment that blocks the water",
            ["to hit", "a bank of earth, or an embankment that blocks the water"],
        ),
        ("sick; Kangxi radical 104", ["sick"]),
        ("gold; gold; 1", ["gold"]),
        ("one; two; three; four; five; six; seven", ["one", "two", "three", "four", "five"]),
        ("", []),
    ],
)
def test_parts_are_senses_and_synonyms(definition, expected):
    assert split_senses(definition) == expected


def test_radicals_have_unicode_names_and_characters():
    assert [radical_name(number) for number in (1, 140, 167, 195, 214)] == ["one", "grass", "gold", "fish", "flute"]
    assert [radical_character(number) for number in (1, 140, 167, 195)] == ["一", "艸", "金", "魚"]
    for number in range(1, 215):
        assert len(radical_character(number)) == 1 and radical_name(number).isprintable()
    for number in (0, 215):
        with pytest.raises(ValueError, match="no Kangxi radical"):
            radical_name(number)


def test_the_radical_is_put_into_words():
    told = alternate_captions(
        "lithium (element 3, Li)", 0x9502, 167, "gold; metals in general; money; Kangxi radical 167"
    )
    assert told == ("lithium", "lithium (element 3, Li); gold", "gold", "metals in general")
    assert alternate_captions("lithium", 0x9502, 167) == ("lithium; gold", "gold")
    assert alternate_captions("lithium", 0x9502, None) == ()


@given(st.text("ab ,;()", max_size=60), st.integers(0, 0x10FFFF), st.integers(1, 214) | st.none(), st.text("xy,; "))
def test_alternate_captions_are_distinct_and_few(definition, codepoint, radical, meaning):
    told = alternate_captions(definition, codepoint, radical, meaning)
    assert len(set(told)) == len(told) <= MOST_SENSES + 3
    assert definition not in told and "" not in told


def test_prepared_glyphs_have_them(workshop):
    glyphs = open_glyphs(workshop.data)
    for row, character in enumerate(glyphs.characters):
        first, end = (int(n) for n in glyphs.caption_table.starts[row : row + 2])
        texts = [glyphs.captions[int(i)] for i in glyphs.caption_table.rows[first:end]]
        assert texts == [character.definition, *character.alternate_captions]
        if character.radical is not None:
            assert radical_name(character.radical) in texts
    assert any(character.radical is not None for character in glyphs.characters)
