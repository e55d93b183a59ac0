"""What the page asks for, read from JSON that may be anything: limited as the options of the command line are."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from glyffctl.core.errors import UsageError
from glyffctl.core.io.reading import parse_json, short_repr
from glyffctl.core.models.recipe import FEW_STEP, Recipe
from glyffctl.core.outlines.font import FontFormat
from glyffctl.core.text.prompt import check_prompt
from glyffctl.workflows.source_options import PARTS

FONT_FORMATS: tuple[str, ...] = get_args(FontFormat)
"""Of one file each; a UFO is a folder, which no browser saves."""
MOST_STEPS = 1000
MOST_GUIDANCE = 100.0
_WINDOW = re.compile(r"[0-9a-f-]{8,36}")
_GLYPH = re.compile(r"[0-9]{1,9}-[0-9]{1,2}")


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """A glyph to begin with.

    Attributes:
        glyph: its name.
        part: the half of it that stays, one of `PARTS`; None keeps none.
        strength: how much changes of the rest, 0 to 1.
    """

    glyph: str
    part: str | None
    strength: float


@dataclass(frozen=True, kw_only=True)
class DrawWish:
    """A sheet to draw.

    Attributes:
        window: a name that the window made up.
        prompt: the words.
        seed: of the first glyph.
        recipe: how; None is the model's own way.
        guidance: γ.
        beginning: a glyph to begin with; None is noise alone.
    """

    window: str
    prompt: str
    seed: int
    recipe: Recipe | None
    guidance: float
    beginning: Beginning | None


def read_object(body: bytes) -> Mapping[str, Any]:
    """The JSON object of a request.

    Raises:
        UsageError: it is none.
    """
    try:
        plain = parse_json(body.decode("utf-8"), unique=True)
    except ValueError as error:
        raise UsageError(f"the request is not JSON: {error}") from None
    if not isinstance(plain, dict):
        raise UsageError("the request is not a JSON object")
    return plain


def draw_wish(plain: Mapping[str, Any]) -> DrawWish:
    """A wish for a sheet.

    Raises:
        UsageError: something is missing, unknown or out of range.
    """
    _check_names(plain, "window", "prompt", "seed", "passes", "steps", "guidance", "from")
    passes = None if plain["passes"] is None else _whole(plain, "passes", 1, MOST_STEPS)
    steps = None if plain["steps"] is None else _whole(plain, "steps", 1, MOST_STEPS)
    guidance = _real(plain, "guidance", -MOST_GUIDANCE, MOST_GUIDANCE)
    if passes is not None and steps is not None:
        raise UsageError("passes are for the few-step student, steps for the whole model; leave one out")
    recipe = None
    if passes is not None:
        recipe = Recipe(sampler=FEW_STEP, steps=passes, guidance=guidance)
    elif steps is not None:
        recipe = Recipe(steps=steps, guidance=guidance)
    prompt = _text(plain, "prompt")
    check_prompt(prompt)
    return DrawWish(
        window=window_of(plain),
        prompt=prompt,
        seed=_whole(plain, "seed", 0, 2**62 - 1),
        recipe=recipe,
        guidance=guidance,
        beginning=None if plain["from"] is None else _beginning(plain["from"]),
    )


def _beginning(plain: Any) -> Beginning:
    if not isinstance(plain, dict):
        raise UsageError(f"from must be an object, not {short_repr(plain)}")
    _check_names(plain, "glyph", "keep", "strength")
    part = plain["keep"]
    if part is not None and part not in PARTS:
        raise UsageError(f"keep must be {', '.join(PARTS)} or null, not {short_repr(part)}")
    return Beginning(glyph=glyph_of(plain), part=part, strength=_real(plain, "strength", 0, 1))


def enlarge_wish(plain: Mapping[str, Any]) -> tuple[str, str]:
    """The window and the glyph to enlarge; the errors are those of `draw_wish`."""
    _check_names(plain, "window", "glyph")
    return window_of(plain), glyph_of(plain)


def collect_wish(plain: Mapping[str, Any]) -> tuple[str, bool]:
    """The glyph, and whether it is to be in the collection; the errors are those of `draw_wish`."""
    _check_names(plain, "glyph", "collect")
    if not isinstance(plain["collect"], bool):
        raise UsageError(f"collect must be true or false, not {short_repr(plain['collect'])}")
    return glyph_of(plain), plain["collect"]


def font_wish(plain: Mapping[str, Any]) -> tuple[str, str]:
    """The format and the name of a font; the errors are those of `draw_wish`."""
    _check_names(plain, "format", "name")
    if plain["format"] not in FONT_FORMATS:
        raise UsageError(f"format must be {', '.join(FONT_FORMATS)}, not {short_repr(plain['format'])}")
    return plain["format"], _text(plain, "name")


def window_of(plain: Mapping[str, Any]) -> str:
    """The name of the window.

    Raises:
        UsageError: it is no such name.
    """
    return _named(plain, "window", _WINDOW)


def glyph_of(plain: Mapping[str, Any]) -> str:
    """The name of the glyph; the errors are those of `window_of`."""
    return _named(plain, "glyph", _GLYPH)


def _check_names(plain: Mapping[str, Any], *names: str) -> None:
    if plain.keys() != set(names):
        raise UsageError(f"the request must have {', '.join(names)}, and nothing else")


def _named(plain: Mapping[str, Any], name: str, pattern: re.Pattern[str]) -> str:
    value = plain[name]
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise UsageError(f"{short_repr(value)} is no name of a {name}")
    return value


def _text(plain: Mapping[str, Any], name: str) -> str:
    if not isinstance(plain[name], str):
        raise UsageError(f"{name} must be text, not {short_repr(plain[name])}")
    return str(plain[name])


def _whole(plain: Mapping[str, Any], name: str, low: int, high: int) -> int:
    value: Any = plain[name]
    if type(value) is not int or not low <= value <= high:
        raise UsageError(f"{name} must be a whole number from {low:,} to {high:,}, not {short_repr(value)}")
    return value


def _real(plain: Mapping[str, Any], name: str, low: float, high: float) -> float:
    value: Any = plain[name]
    if type(value) not in (int, float) or not math.isfinite(value) or not low <= value <= high:
        raise UsageError(f"{name} must be a number from {low:g} to {high:g}, not {short_repr(value)}")
    return float(value)
