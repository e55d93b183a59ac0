"""Prompts with a known answer: what is asked for, and the radical that a glyph for it should carry."""

from __future__ import annotations

import tomllib
from importlib import resources
from typing import NamedTuple

import torch
from torch import Tensor

from glyffctl.core.judge import RADICALS


class Prompt(NamedTuple):
    """A prompt and the Kangxi radicals that answer it: one, or several that fonts draw alike, the usual one first."""

    text: str
    radicals: tuple[int, ...]


def radical_prompts() -> list[Prompt]:
    """The prompts that come with the program, in the order of the radicals; no two share a radical."""
    text = resources.files("glyffctl").joinpath("prompts.toml").read_text(encoding="utf-8")
    return [
        Prompt(prompt, tuple(answer) if isinstance(answer, list) else (answer,))
        for prompt, answer in tomllib.loads(text)["prompts"].items()
    ]


def accepted(prompts: list[Prompt]) -> Tensor:
    """(P, 215) bool: whether a radical, 0…214, answers each prompt; 0 is none and never does."""
    table = torch.zeros(len(prompts), RADICALS + 1, dtype=torch.bool)
    for row, prompt in zip(table, prompts, strict=True):
        row[list(prompt.radicals)] = True
    return table


def followed(prompts: list[Prompt], radical: Tensor) -> Tensor:
    """(P, C) bool: whether each picture is what was asked for, from the radicals found in C pictures of each."""
    return accepted(prompts).gather(1, radical)


def shuffled(prompts: list[Prompt], radical: Tensor) -> Tensor:
    """(P,) float64: how often the pictures (P, C) of each prompt would have done for another prompt.

    The mean over all pairs of prompts that are not the same: what a random shuffle gives on average.
    """
    return accepted(prompts)[:, radical].double().mean(2).fill_diagonal_(0).sum(0) / (len(prompts) - 1)
