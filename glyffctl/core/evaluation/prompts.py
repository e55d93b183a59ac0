"""Prompts with a known answer: what is asked for, and the radical that a glyph for it should carry."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from glyffctl.core.errors import UsageError
from glyffctl.core.evaluation.classifier import RADICALS
from glyffctl.core.io.reading import read_toml, short_repr

LONGEST_PROMPT = 2000
"""Characters; encoders read a few hundred at most."""


class Prompt(NamedTuple):
    """A prompt and the Kangxi radicals that answer it."""

    text: str
    radicals: tuple[int, ...]
    """The one asked for, or several that fonts draw alike, the usual one first."""
    also: tuple[int, ...] = ()
    """Others that characters of this meaning take, see `meanings.Meanings.also_taken`."""


def radical_prompts() -> list[Prompt]:
    """The prompts that come with the program, in the order of the radicals; no two share a radical."""
    return read_prompts(Path(str(resources.files("glyffctl").joinpath("prompts.toml"))))


def read_prompts(path: Path) -> list[Prompt]:
    """Prompts from a TOML file: a table [prompts] of "prompt" = radical.

    Instead of a number there may be a list of radicals that fonts draw alike, or { radical = 149, also = [30] } with
    others that the meaning takes.

    Raises:
        UsageError: the file cannot be read, or is not that.
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
                f"{path}: {short_repr(prompt)} has {short_repr(min(unknown))}; only radical and also are read"
            )
        radicals, also = _numbers(fields.get("radical")), _numbers(fields.get("also", []))
        if not radicals or also is None:
            raise UsageError(f"{path}: {short_repr(prompt)} needs a radical from 1 to {RADICALS}, or a list of them")
        prompts.append(Prompt(prompt, radicals, also))
    return prompts


def _numbers(value: object) -> tuple[int, ...] | None:
    """A radical, or a list of them; None if it is something else."""
    numbers: list[Any] = value if isinstance(value, list) else [value]
    good = all(type(radical) is int and 1 <= radical <= RADICALS for radical in numbers)
    return tuple(numbers) if good else None


def check_prompt(text: str) -> None:
    """See that an encoder can read `text`.

    Raises:
        UsageError: it is not UTF-8, or too long.
    """
    if any("\ud800" <= character <= "\udfff" for character in text):  # how Python passes undecodable bytes
        raise UsageError("a prompt is not UTF-8 text")
    if len(text) > LONGEST_PROMPT:
        raise UsageError(f"a prompt has {len(text):,} characters; at most {LONGEST_PROMPT:,} can be read")


def accepted(prompts: list[Prompt], *, also: bool = False) -> Tensor:
    """(P, 215) bool: whether a radical, 0…214, answers each prompt; 0 is none and never does.

    With `also` those count that the meaning takes besides the one asked for.
    """
    table = torch.zeros(len(prompts), RADICALS + 1, dtype=torch.bool)
    for row, prompt in zip(table, prompts, strict=True):
        row[[*prompt.radicals, *(prompt.also if also else ())]] = True
    return table


def followed(prompts: list[Prompt], radical: Tensor, *, also: bool = False) -> Tensor:
    """(P, C) bool: whether each picture is what was asked for, from the radicals found in C pictures of each."""
    return accepted(prompts, also=also).gather(1, radical)


def shuffled(prompts: list[Prompt], radical: Tensor, *, also: bool = False) -> Tensor:
    """(P',) float64: how often the pictures (P, C) of each prompt would have done for a prompt of another radical.

    The mean over all such pairs: what a random shuffle gives on average. Prompts that share an answer are no pair, and
    prompts that are in no pair are left out.
    """
    table = accepted(prompts, also=also)
    apart = (table.double() @ table.double().T) == 0
    others = apart.sum(0)
    hits = (table[:, radical].double().mean(2) * apart).sum(0)
    return hits[others > 0] / others[others > 0]
