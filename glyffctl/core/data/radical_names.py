"""Kangxi radicals as people write them. Importing this does not import torch."""

from __future__ import annotations

import difflib
import unicodedata
from functools import cache

from glyffctl.core.data.captions import radical_character, radical_name
from glyffctl.core.errors import UsageError

RADICALS = 214
_VARIANTS = (
    "人亻 刀刂 犬犭 心忄 手扌 水氵 火灬 玉王 示礻 网罒 老耂 艸艹 衣衤 言讠 食飠 食饣 糸纟 糸糹 金钅 金釒 見见 貝贝 "
    "車车 門门 頁页 風风 馬马 魚鱼 鳥鸟 鹵卤 麥麦 黽黾 齊齐 齒齿 龍龙 龜龟 長长 韋韦 飛飞 辵辶"
)
"""Shapes that radicals have in characters, and their simplified ones, behind the radical."""
_OTHER_NAMES = {"metal": 167, "person": 9, "flesh": 130}


def find_radical(text: str) -> int:
    """The number of a Kangxi radical, 1 to 214.

    Args:
        text: the number, the radical itself (金) or a variant of it (钅), or Unicode's name of it (gold).

    Raises:
        UsageError: it names none.
    """
    wanted = unicodedata.normalize("NFKC", text.strip()).lower()
    if wanted.isascii() and wanted.isdigit() and len(wanted) < 4 and 1 <= int(wanted) <= RADICALS:
        return int(wanted)
    known = _known()
    if wanted in known:
        return known[wanted]
    close = difflib.get_close_matches(wanted, [name for name in known if name.isascii()], 1)
    hint = f"; did you mean {close[0]}?" if close else ""
    raise UsageError(
        f"--radical takes a Kangxi radical: a character such as 金, its number from 1 to {RADICALS}, or its name "
        f"such as gold, not {text[:40]}{hint}"
    )


@cache
def _known() -> dict[str, int]:
    numbers = range(1, RADICALS + 1)
    known = {radical_character(number): number for number in numbers}
    variants = {pair[1]: known[pair[0]] for pair in _VARIANTS.split() if pair[1] not in known}
    return known | variants | {radical_name(number): number for number in numbers} | _OTHER_NAMES
