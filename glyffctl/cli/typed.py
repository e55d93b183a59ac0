"""Which options were typed, for commands whose options do not all go together."""

from __future__ import annotations

from typing import Any

import typer


def typed_beside(ctx: typer.Context, allowed: set[str]) -> list[str]:
    """Labels of what was typed beside the parameters that are `allowed`."""
    return [_label(param) for param in _typed(ctx) if param.name not in allowed]


def typed_of(ctx: typer.Context, *names: str) -> list[str]:
    """Labels of those of the parameters `names` that were typed."""
    return [_label(param) for param in _typed(ctx) if param.name in names]


def _typed(ctx: typer.Context) -> list[Any]:
    return [param for param in ctx.command.params if was_typed(ctx, param.name)]


def was_typed(ctx: typer.Context, name: str | None) -> bool:
    """Whether a parameter was given on the command line."""
    source = ctx.get_parameter_source(name or "")
    return source is not None and source.name == "COMMANDLINE"


def pronoun(labels: list[str]) -> str:
    """The pronoun for labels of `typed_beside`: it, or them."""
    return "it" if len(labels) == 1 and labels[0].startswith("-") else "them"


def _label(param: Any) -> str:
    return "the prompts" if param.param_type_name == "argument" else param.opts[0]
