"""The command reference, examples/commands.md, written from the program itself.

`python -m tests.reference` makes it anew; a test complains when that was forgotten.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.command_line import app

COMMANDS = Path(__file__).parents[1] / "examples" / "commands.md"
BEGIN, END = "<!-- reference: made by `python -m tests.reference` -->", "<!-- end of reference -->"


def reference() -> str:
    """All commands with their options, as Markdown."""
    parts = []
    for name, command in app.commands.items():
        arguments = [p for p in command.params if p.param_type_name == "argument"]
        usage = " ".join(["glyffctl", name, *(_usage(argument) for argument in arguments)])
        parts.append(f"## `{usage}`\n\n{command.help}\n")
        rows = [f"| `{p.metavar or p.name.upper()}` | {_cell(p.help)} | |" for p in arguments]
        for option in command.params:
            if option.param_type_name == "option" and option.name != "help":
                rows.append(f"| `{', '.join(option.opts)}` | {_cell(option.help)} | {_default(option)} |")
        parts.append("| option | what it does | default |\n|---|---|---|\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def _usage(argument: Any) -> str:
    return f"[{argument.metavar or argument.name.upper()}]" + ("…" if argument.nargs == -1 else "")


def _cell(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


def _default(option: Any) -> str:
    if option.is_flag or option.default is None:
        return ""
    return f'`"{option.default}"`' if option.default == "" else f"`{option.default}`"


def with_reference(page: str) -> str:
    """The page with its reference made anew."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n\n{reference()}\n{END}{after}"


if __name__ == "__main__":
    COMMANDS.write_text(with_reference(COMMANDS.read_text(encoding="utf-8")), encoding="utf-8")
