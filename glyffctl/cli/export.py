"""`export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from glyffctl.cli.options import DEFAULT_MODEL, Json, MovedEncoder, choice
from glyffctl.cli.output import run, say


def export(
    model: Annotated[
        Path | None,
        typer.Argument(
            help=f"Run folder, model file, or bundled. {DEFAULT_MODEL}", show_default=False, metavar="MODEL"
        ),
    ] = None,
    format: Annotated[
        str,
        typer.Option(
            help="onnx: denoiser and text encoder as graphs that run without PyTorch. diffusers: the network as a "
            "UNet2DConditionModel, with scheduler and text encoder."
        ),
    ] = "onnx",
    encoder: MovedEncoder = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write. Default: model-FORMAT.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """Export a model to ONNX or diffusers, with a README that contains a program to draw with it."""
    from glyffctl.workflows import export as workflow

    options = workflow.ExportOptions(
        model=model, format=choice("--format", format, "diffusers", "onnx"), encoder=encoder, out=out
    )
    report = run(workflow.export(options), as_json=json)
    if not json:
        tested = "" if report.difference is None else f", outputs within {report.difference:.0e} of the model's"
        say(f"{report.out}: {len(report.files)} files{tested}; {report.out / 'README.md'} says how to draw")
