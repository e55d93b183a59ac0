"""The command line: parse options, run one workflow, show its events, turn errors into one line. Nothing else.

Commands import their workflow when they run: `--help` loads neither torch nor transformers.
"""

from __future__ import annotations

import gc
import io
import os
import sys
from typing import Annotated

import typer

from glyffctl.cli import data, evaluate, export, pages, sample, studio, train
from glyffctl.cli.command import Command, SampleCommand
from glyffctl.cli.errors import Commands
from glyffctl.version import __version__

__all__ = ["app", "main"]

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
# In the order in which they are used; `--help` lists them so.
app.command(cls=Command)(data.prepare)
app.command(cls=Command)(data.embed)
app.command(cls=Command)(train.train)
app.command(cls=SampleCommand)(sample.sample)
app.command(cls=Command)(studio.studio)
app.command(cls=Command)(evaluate.evaluate)
app.command("visualize-umap", cls=Command)(pages.visualize_umap)
app.command("noise-demo", cls=Command)(pages.noise_demo)
app.command(cls=Command)(export.export)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"glyffctl {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Train a small diffusion model that draws new Chinese glyphs from English definitions.

    The usual order: prepare, embed, train, sample. To draw with the bundled model: glyffctl sample "lithium".
    """


def main() -> None:
    """Run the console script."""
    # Waiting OpenMP threads spin by default and take the cores from other programs: beside one busy process drawing
    # took two and a half times as long. Sleeping costs nothing when alone. torch reads the variable when it is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal without Han characters shows their escapes
            stream.reconfigure(errors="backslashreplace")
    # Importing torch makes half a million objects that stay to the end. Looking through them again and again takes a
    # tenth of a second while they are imported (`output.run` turns the collector on), and twice that as Python exits.
    gc.disable()
    app()
