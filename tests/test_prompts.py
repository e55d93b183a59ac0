"""The prompts of the evaluation, and how pictures are held against them."""

from pathlib import Path

import pytest
import torch

from glyffctl.core.data.radical_names import RADICALS
from glyffctl.core.errors import UsageError
from glyffctl.core.evaluation.prompts import Prompt, accepted, followed, radical_prompts, read_prompts, shuffled


def test_prompts_cover_common_radicals_once_each(unihan: Path):
    from glyffctl.core.data.definitions import read_definitions

    prompts = radical_prompts()
    known = [entry.radical for entry in read_definitions(unihan).values()]
    assert len(prompts) == 48
    firsts = [prompt.radicals[0] for prompt in prompts]
    assert len(set(firsts)) == 48 and firsts == sorted(firsts)
    every = [radical for prompt in prompts for radical in prompt.radicals]
    assert len(set(every)) == len(every)
    assert all(known.count(radical) >= 60 for radical in firsts)
    assert len({prompt.text for prompt in prompts}) == 48


def test_followed_and_shuffled_by_hand():
    prompts = [Prompt("fish", (195,)), Prompt("flesh", (130, 74)), Prompt("horse", (187,))]
    radical = torch.tensor([[195, 130], [74, 187], [1, 195]])
    assert accepted(prompts).sum().item() == 4 and accepted(prompts).shape == (3, RADICALS + 1)
    assert followed(prompts, radical).tolist() == [[True, False], [True, False], [False, False]]
    # Of two pictures for fish one is flesh: half a picture does for one of the two others. And so on.
    assert shuffled(prompts, radical).tolist() == [0.25, 0.25, 0.25]
    # With other radicals that a meaning takes, more is followed, and prompts that share an answer are no pair.
    wide = [Prompt("fish", (195,), (130,)), *prompts[1:]]
    assert followed(wide, radical).tolist() == followed(prompts, radical).tolist()
    assert followed(wide, radical, also=True).tolist() == [[True, True], [True, False], [False, False]]
    assert shuffled(wide, radical).tolist() == shuffled(prompts, radical).tolist()
    assert shuffled(wide, radical, also=True).tolist() == [0, 0.5, 0.25]
    # "A carp" asks for the radical of fish again: it is no other prompt to fish, and none has another if it is alone.
    more, found = [*prompts, Prompt("a carp", (195,))], torch.cat([radical, torch.tensor([[195, 187]])])
    assert shuffled(more, found).tolist() == pytest.approx([0.25, 1 / 6, 1 / 3, 0.25])
    assert shuffled(prompts[:1], radical[:1]).tolist() == []


def test_prompts_of_one_s_own(tmp_path: Path):
    file = tmp_path / "mine.toml"
    file.write_text('[prompts]\n"gold" = 167\n"flesh" = [130, 74]\n', encoding="utf-8")
    assert read_prompts(file) == [Prompt("gold", (167,)), Prompt("flesh", (130, 74))]
    file.write_text(
        '[prompts]\n"to speak" = { radical = 149, also = [30] }\nsun = { radical = [72, 73], also = 86 }\n'
        "gold = { radical = 167 }\n",
        encoding="utf-8",
    )
    assert read_prompts(file) == [
        Prompt("to speak", (149,), (30,)),
        Prompt("sun", (72, 73), (86,)),
        Prompt("gold", (167,)),
    ]
    for text in (
        "",
        "[prompts]",
        '[prompts]\ngold = "metal"',
        "[prompts]\ngold = 215",
        "[prompts]\ngold = []",
        "[prompts]\ngold = { also = [30] }",
        "[prompts]\ngold = { radical = 167, also = [215] }",
        "[prompts]\ngold = { radical = 167, also = true }",
        "[prompts]\ngold = { radical = 167, alos = [30] }",
        "=",
        "a = 1",
    ):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(UsageError, match=r"mine\.toml"):
            read_prompts(file)
    with pytest.raises(UsageError, match="does not exist"):
        read_prompts(tmp_path / "none.toml")
