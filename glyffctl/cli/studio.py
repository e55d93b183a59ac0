"""`studio`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from glyffctl.cli.options import Device, Model, MovedEncoder, Precision, whole
from glyffctl.cli.output import run


def studio(
    model: Model = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Data folder with the real glyphs that drawn ones are compared with. Default: data/ if it exists.",
            show_default=False,
        ),
    ] = None,
    encoder: MovedEncoder = None,
    upscaler: Annotated[
        Path | None,
        typer.Option(
            help="Upscaler that enlarges glyphs: a run folder, or its model file. Default: the bundled one.",
            show_default=False,
        ),
    ] = None,
    port: Annotated[
        int, whole("--port", "Port of 127.0.0.1 to serve the page on; 0 takes any free one.", 0, 65_535)
    ] = 0,
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:
    """Draw on a page in your browser, served to this machine alone: glyphs form while you change words and settings."""
    from glyffctl.studio.options import StudioOptions

    options = StudioOptions(
        model=model, encoder=encoder, upscaler=upscaler, data=data, device=device, precision=precision, port=port
    )
    from glyffctl.studio.serve import studio as serve

    run(serve(options), as_json=False)
