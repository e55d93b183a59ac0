"""Prompts with known answers: the radicals that a glyph for each should have."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from glyffctl.core.data.radical_names import RADICALS
from glyffctl.core.errors import UsageError
from glyffctl.core.io.reading import read_toml, short_repr
from glyffctl.core.text.prompt import check_prompt


class Prompt(NamedTuple):
    """A prompt and the Kangxi radicals that answer it."""

    text: str
    radicals: tuple[int, ...]
    """The expected one, or several that fonts draw alike, the usual one first."""
    also: tuple[int, ...] = ()
    """Others that characters of this meaning have, see `meanings.Meanings.also_accepted`."""


def radical_prompts() -> list[Prompt]:
    """The bundled prompts, in the order of the radicals; no two share a radical."""
    return read_prompts(Path(str(resources.files("glyffctl").joinpath("prompts.toml"))))


def read_prompts(path: Path) -> list[Prompt]:
    """Load prompts from a TOML file: a table [prompts] of "prompt" = radical.

    Instead of a number there may be a list of radicals that fonts draw alike, or { radical = 149, also = [30] } with
    others that characters of the meaning have.

    Raises:
        UsageError: the file cannot be read, or has another format.
    """
    table = read_toml(path, UsageError).get("prompts")
    if not isinstance(table, dict) or not table:
        raise UsageError(f'{path} has no prompts; write [prompts], and below it lines such as "a kind of fish" = 195')
    prompts = []
    for prompt, answer in table.items():
        check_prompt(prompt)
        fields = answer if isinstance(answer, dict) else {"radical": answer}
        unknown = fields.keys() - {"radical", "also"}
        if unknown:
            raise UsageError(
                f"{path}: {short_repr(prompt)} has {short_repr(min(unknown))}; only radical and also are known"
            )
        radicals, also = _numbers(fields.get("radical")), _numbers(fields.get("also", []))
        if not radicals or also is None:
            raise UsageError(f"{path}: {short_repr(prompt)} needs a radical from 1 to {RADICALS}, or a list of them")
        prompts.append(Prompt(prompt, radicals, also))
    return prompts


def _numbers(value: object) -> tuple[int, ...] | None:
    """`value` as a tuple of radicals, if it is a radical or a list of them, else None."""
    numbers: list[Any] = value if isinstance(value, list) else [value]
    good = all(type(radical) is int and 1 <= radical <= RADICALS for radical in numbers)
    return tuple(numbers) if good else None


def accepted(prompts: list[Prompt], *, also: bool = False) -> Tensor:
    """(P, 215) bool: whether each radical, 0…214, answers each prompt. 0 means none, and never does.

    Args:
        prompts: P prompts.
        also: count the radicals of `Prompt.also` as answers.
    """
    table = torch.zeros(len(prompts), RADICALS + 1, dtype=torch.bool)
    for row, prompt in zip(table, prompts, strict=True):
        row[[*prompt.radicals, *(prompt.also if also else ())]] = True
    return table


def followed(prompts: list[Prompt], radical: Tensor, *, also: bool = False) -> Tensor:
    """(P, C) bool: whether each picture has a radical of its prompt.

    Args:
        prompts: P prompts.
        radical: (P, C) int64, predicted for C pictures of each prompt.
        also: count the radicals of `Prompt.also` as answers.
    """
    return accepted(prompts, also=also).gather(1, radical)


def shuffled(prompts: list[Prompt], radical: Tensor, *, also: bool = False) -> Tensor:
    """(P',) float64: the share of pictures of other prompts that would have answered each prompt, by chance.

    It is the mean over all pairs of prompts without a common answer: the expectation of a random shuffle. Prompts that
    are in no such pair are left out.

    Args:
        prompts: P prompts.
        radical: (P, C) int64, predicted for C pictures of each prompt.
        also: count the radicals of `Prompt.also` as answers.
    """
    table = accepted(prompts, also=also)
    apart = (table.double() @ table.double().T) == 0
    others = apart.sum(0)
    hits = (table[:, radical].double().mean(2) * apart).sum(0)
    return hits[others > 0] / others[others > 0]
