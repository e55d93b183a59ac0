"""A regular expression for Han characters."""

from __future__ import annotations

import re

HAN_CHARACTER = r"[\u2E80-\u2FDF\u3005\u3007\u3021-\u3029\u3038-\u303B\u3400-\u4DBF\u4E00-\u9FFF\uF900-\uFAFF"
HAN_CHARACTER += r"\U00020000-\U0003FFFF]"
"""A character class of a regular expression: ideographs of all planes, radicals, iteration marks, Hangzhou numerals."""
HAN = re.compile(HAN_CHARACTER)
