"""Cleaning Unihan definitions into captions: cross-references are deleted, meanings stay.

A definition such as "(same as U+65D2 旒) a cup with pendants; lithium (element 3, Li)" mixes meanings with
cross-references to other characters, which mean nothing to a text encoder. Every deletion belongs to one of the
named RULES, so that a report can list for each text what was deleted and why. Brackets, numbers, clauses and
labels such as (Cant.) that are part of the meaning are not touched.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from glyffctl.core.text.han import HAN, HAN_CHARACTER

CODE_POINT = re.compile(r"U\+[0-9A-Fa-f]{4,6}")

# One pointer: characters, or a code point, which may carry its Unicode name ("U+3021 HANGZHOU NUMERAL ONE").
_POINTER = (
    rf"(?:[0-9A-F]{{4,5}}\s)?{HAN_CHARACTER}[{HAN_CHARACTER[1:-1]}\uFE00-\uFE0F\U000E0100-\U000E01EF]*"
    rf"|{CODE_POINT.pattern}(?:\s[A-Z]{{2,}}(?:\s[A-Z]+)*)?"
)
_BRACKETED = rf"(?:{_POINTER}|\[(?:{_POINTER})\]|\((?:{_POINTER})(?:[\s,=]*(?:{_POINTER}))*\))"
_POINTERS = rf"{_BRACKETED}(?:(?:\s+and|\s+or|[,=])?\s*{_BRACKETED})*"

# The vocabulary of cross-references. A relation ("form of", "same as") with any qualifiers before it and any
# words of the vocabulary behind it, up to the pointers, is one cross-reference.
_QUALIFIER = (
    r"as|an?|the|almost|also|ancient|archaic|old|original|alternate|abbreviated|simplified|non-simplified"
    r"|simple|standard|corrupt|corrupted|incorrect|traditional|compound|accounting|non|classical|large seal"
    r"|small seal"
)
_RELATION = (
    r"same|sane|interchangeable|form|variant|seal|type|non-?standard|non-?classical|simplification|simp\."
    r"|used|refer|see|cf\.|e\.g\.|synonym|synonymous|equivalent|known|called|be known|not to be confused"
    r"|component|another name|ancient name|sometimes"
)
_LINK = r"of|as|for|from|with|to|in|and|or|\(erroneously\)|Mandarin|abbreviated from|corrupted from"
_WORD = rf"(?:{_RELATION}|{_QUALIFIER}|{_LINK})"
_CLAUSE_END = r"(?=\s*(?:[,;:.()\]]|$))"


class Cleaned(NamedTuple):
    """A text after cleaning ("" when nothing is left), and the names of the rules that changed it."""

    text: str
    rules: tuple[str, ...]


@dataclass(frozen=True)
class Rule:
    """A named reason for deletions. `apply` returns the text without them, never a longer one."""

    name: str
    why: str
    apply: Callable[[str], str]


def _delete(pattern: str) -> Callable[[str], str]:
    compiled = re.compile(pattern)
    return lambda text: compiled.sub(" ", text).strip()


_BRACKET = re.compile(r"\s*\(((?:[^()\[\]]|\[[^()\[\]]*\])*)\)\s*")
_TOKEN = re.compile(rf"[\[(]?(?:{_POINTER})[\])]?|{_WORD}(?![\w-])|etc\.|[\s,;:=]+")
_CONTRAST = re.compile(r"(?:unlike|as distinct from|not to be confused with|cf\.)\s")
_RELATED = re.compile(rf"(?<![\w-])(?:{_RELATION})(?![\w-])")
_LEADING_TO = re.compile(rf"(?<![\w-])(?:(?:{_RELATION})(?:\s+{_WORD}){{0,10}}|of|for)\s*$")
_CLAUSE_START = re.compile(r"(?:^|[,;:(])\s*(?:\([^()]*\)\s*)*$")


def _drop_cross_reference_brackets(text: str) -> str:
    """Delete brackets in which every word is a pointer or belongs to the vocabulary of cross-references."""

    def replace(match: re.Match[str]) -> str:
        inside, after = match[1], text[match.end() :]
        before = text[max(0, match.start() - 300) : match.start()]
        if not (HAN.search(inside) or CODE_POINT.search(inside)):
            return match[0]
        if _TOKEN.sub("", inside) and not _CONTRAST.match(inside):
            return match[0]
        if not _RELATED.search(inside):
            # "also called (江瑤柱)" is left to later rules, which also delete the words before the bracket.
            return match[0] if _LEADING_TO.search(before) else " "
        # "peaceful (interchangeable 潭) deep water": the bracket opens another meaning, so keep them apart.
        opens_meaning = after[:1].isalnum() or after[:1] == "("
        return "; " if opens_meaning and not _CLAUSE_START.search(before) else " "

    return _BRACKET.sub(replace, text).strip()


_CHINESE = "，；：、。！？）》」』】"  # marks that a deleted Chinese phrase leaves behind
_STRAY_ENDS = re.compile(
    rf"^\s*[,;:.){_CHINESE}][\s,;:.){_CHINESE}]*|[\s,;:，；：、。]*[,;:，；：、。]\s*$"
    r"|(?<=[(\[])\s*[,;][\s,;]*|[\s,;]*[,;]\s*(?=[)\]])"
)
_NO_WORD = re.compile(r"\W*")
_DOUBLED = re.compile(r"([,;:])\s*(?:[,;:]\s*|\.\s+)+")
_AFTER_LABEL = re.compile(r"((?:^|[,;])\s*\((?:Cant\.|J|Japanese)\))\s*[,:]\s*")
_EDGE_SPACES = re.compile(r"(?<=[(\[])\s|\s(?=[)\],;:])")


def _drop_stray_punctuation(text: str) -> str:
    text = _STRAY_ENDS.sub("", text)
    return _AFTER_LABEL.sub(r"\1 ", _DOUBLED.sub(r"\1 ", text))


RULES: tuple[Rule, ...] = (
    Rule(
        "cross-reference in brackets",
        '"(same as U+65D2 旒)" refers to another character and does not define this one',
        _drop_cross_reference_brackets,
    ),
    Rule(
        "cross-reference",
        '"variant of U+801C 耜" outside brackets; what follows it is the meaning',
        _delete(
            rf"(?<![\w-])(?:(?i:{_QUALIFIER})\s+){{0,5}}(?i:{_RELATION})(?:\s+(?i:{_WORD})){{0,10}}\s*{_POINTERS}"
            r"(?:,?\s*etc\.)?(?:,?\s+(?:which|when)\s[^;()\[\]]*)?"
        ),
    ),
    Rule(
        "note on the form",
        '"(corrupted form)" describes the shape of the character, by another one',
        _delete(rf"\((?:(?:{_QUALIFIER}|non-?classical|non-?standard|and)\s+)*(?:form|variant)\)"),
    ),
    Rule(
        "measure in Han",
        '"one hundredth of a 公畝" means nothing without the Han word',
        _delete(rf"(?<![^,;()\[\]])[^,;()\[\]]*\s(?:of|to|for|in)\s+(?:an?|the)\s+{_POINTERS}{_CLAUSE_END}"),
    ),
    Rule(
        "Han text",
        "characters and code points are not English; prepositions before them are deleted, too",
        _delete(
            rf"(?:(?<![\w-])(?:of|as|for|from|with|to|in)\s+)?{_POINTERS}"
            rf"(?:\s+now in use instead)?{_CLAUSE_END}|{_POINTERS}"
        ),
    ),
    Rule(
        "empty brackets",
        "their content was deleted",
        _delete(
            r"\(\s*[,;:.=，；：、-]*\s*\)|（\s*[，；：、]*\s*）|「\s*」|『\s*』|《\s*》|【\s*】|\[\s*[,;:.=-]*\s*\]|“\s*”"
        ),
    ),
    Rule(
        "stray punctuation",
        "separators with nothing before, after or between them",
        _drop_stray_punctuation,
    ),
    Rule(
        "punctuation alone",
        '"！" is left of "燃燒！", and means nothing',
        lambda text: "" if _NO_WORD.fullmatch(text) else text,
    ),
    Rule(
        "spaces",
        "doubled, leading and trailing spaces, and those before a separator or inside a bracket's edge",
        lambda text: _EDGE_SPACES.sub("", re.sub(r"\s+", " ", text)).strip(),
    ),
)


def clean(definition: str) -> Cleaned:
    """Apply the rules until none of them changes the text, so that cleaning is idempotent."""
    text, used, before = definition, dict[str, None](), None
    while text != before:
        before = text
        for rule in RULES:
            shorter = rule.apply(text)
            if shorter != text:
                used[rule.name] = None
                text = shorter
    return Cleaned(text, tuple(used))
