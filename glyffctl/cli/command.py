"""Commands of typer, changed where its help or its parser fall short."""

from __future__ import annotations

import re
from typing import Any

from typer.core import TyperCommand


def with_metavars(params: list[Any], ctx: Any) -> list[Any]:
    """Name the types of parameters as other programs do: TEXT and PATH, and nothing after switches.

    typer writes <str> and <bool>, and its names change from version to version.
    """
    for param in params:
        if getattr(param, "is_flag", False):
            param.metavar = ""
        elif param.param_type_name == "argument":
            param.display_type_rich = lambda ctx: ""  # noqa: ARG005
        elif param.metavar is None:
            kind = param.display_type(ctx) if hasattr(param, "display_type") else param.make_metavar(ctx)
            param.metavar = {"STR": "TEXT"}.get(kind.strip("<>").upper(), kind.strip("<>").upper())
    return params


class Command(TyperCommand):
    """A command whose help shows plain metavars, see `with_metavars`."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters with their metavars set."""
        return with_metavars(super().get_params(ctx), ctx)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help without typer's column of the names that turn switches off.

        In 80 columns it cuts them and leaves the texts a quarter of the line; the text of a switch has its other name.
        """
        switches = {param: param.secondary_opts for param in self.params}
        try:
            for param in switches:
                param.secondary_opts = []
            super().format_help(ctx, formatter)
        finally:
            for param, names in switches.items():
                param.secondary_opts = names


class SampleCommand(Command):
    """`--gif` alone writes a gif beside the picture, `--gif FILE.gif` that file; typer has no optional values."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse `args` after giving a bare `--gif` its value."""
        args = list(args)
        end = args.index("--") if "--" in args else len(args)
        for place in reversed(range(end)):
            if args[place] == "--gif" and not _FILE.fullmatch("".join(args[place + 1 : place + 2])):
                args[place] = f"--gif={_BESIDE}"
        return super().parse_args(ctx, args)


_BESIDE = ".gif"
_FILE = re.compile(r"[^-].*/.*|[^-]\S*\.\w{2,4}", re.DOTALL)  # looks like a file, not like a prompt
