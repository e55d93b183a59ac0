"""Which radicals a meaning takes, by hand and in Unihan."""

from pathlib import Path

import pytest

from glyffctl.core.data.definitions import Entry, read_definitions
from glyffctl.core.evaluation.meanings import FEWEST, SHARE, Meanings
from glyffctl.core.evaluation.prompts import Prompt, radical_prompts


def _entries(*rows: tuple[str, int | None, int]) -> list[Entry]:
    return [Entry(definition, radical) for definition, radical, count in rows for _ in range(count)]


def test_a_sense_says_it_or_only_mentions_it() -> None:
    meanings = Meanings(
        _entries(
            ("a boat", 137, 1),
            ("small boat; raft", 137, 1),
            ("bamboo mat used as a sail on a boat", 118, 1),
            ("(same as U+8229 舩) boat", 9, 1),
            ("a tree (used for a boat)", 75, 1),
            ("boat", None, 1),
            ("boats", 85, 1),
        )
    )
    assert meanings.radicals("a boat") == {137: 2, 9: 1}
    assert meanings.radicals("a tree or a raft") == {75: 1, 137: 1}
    assert meanings.radicals("a boat, a tree") == {137: 2, 9: 1, 75: 1}
    assert not meanings.radicals("a unicorn") and not meanings.radicals("the") and not meanings.radicals("")


def test_a_radical_needs_its_share_and_its_number() -> None:
    prompt = Prompt("to speak", (149,))
    common = _entries(("to speak", 149, 20), ("to speak", 30, FEWEST), ("to speak", 9, FEWEST - 1))
    assert Meanings(common).also_accepted(prompt) == (30,)
    assert Meanings(common).also_accepted(Prompt("to speak", (30,))) == (149,)
    # Four are enough, but not of more than 32.
    full = round(FEWEST / SHARE) - FEWEST
    assert Meanings(_entries(("speak", 149, full), ("speak", 30, FEWEST))).also_accepted(prompt) == (30,)
    assert Meanings(_entries(("speak", 149, full + 1), ("speak", 30, FEWEST))).also_accepted(prompt) == ()
    assert Meanings([]).also_accepted(prompt) == ()


@pytest.mark.thorough
def test_the_prompts_in_the_box_keep_to_the_rule(unihan: Path) -> None:
    meanings = Meanings(read_definitions(unihan).values())
    prompts = radical_prompts()
    assert {prompt.text: prompt.also for prompt in prompts} == {
        prompt.text: meanings.also_accepted(prompt) for prompt in prompts
    }
    by_text = {prompt.text: prompt for prompt in prompts}
    assert by_text["to speak"].also == (30,)
    assert by_text["money, valuables"].also == (167,)
    assert sum(bool(prompt.also) for prompt in prompts) >= 10
