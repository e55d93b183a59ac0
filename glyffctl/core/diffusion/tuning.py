"""Samplers whose settings can be chosen, beside those of the table `SAMPLERS`, which have them fixed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from glyffctl.core.diffusion.samplers import SAMPLERS, Sampler


class Tunable(NamedTuple):
    """What makes a sampler for `settings` given as keywords. Without any it makes the one in `SAMPLERS`."""

    make: Callable[..., Sampler]
    settings: tuple[str, ...]


TUNABLE: dict[str, Tunable] = {}
"""By the name of the sampler."""


def tuned(name: str, settings: Mapping[str, Any]) -> Sampler:
    """The sampler called `name` with `settings`, which it must take, see `samplers_with`."""
    return TUNABLE[name].make(**settings) if settings else SAMPLERS[name]


def samplers_with(setting: str) -> list[str]:
    """The names of the samplers that take `setting`."""
    return [name for name, tunable in TUNABLE.items() if setting in tunable.settings]
