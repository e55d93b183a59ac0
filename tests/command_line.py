"""`glyffctl` as a command that a test can invoke. Typer's own runner builds it anew each time, which takes 80 ms."""

from typing import Any

import typer

from glyffctl import cli

app: Any = typer.main.get_command(cli.app)
