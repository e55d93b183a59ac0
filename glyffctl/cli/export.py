"""`export`: a model for other programs, or pictures as a font."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from glyffctl.cli.options import DEFAULT_MODEL, Json, MovedEncoder, choice
from glyffctl.cli.output import run, say
from glyffctl.core.errors import UsageError

_FONTS = ("ttf", "otf", "woff2", "ufo")
_MODELS = ("diffusers", "onnx")
_PICTURES = (".png", ".svg")


def export(
    what: Annotated[
        list[Path] | None,
        typer.Argument(
            help=f"For onnx and diffusers, one model: run folder, model file, or bundled. {DEFAULT_MODEL} For fonts, "
            "pictures: PNGs of `sample`, single ones or sheets, other pictures, or folders of PNGs.",
            show_default=False,
            metavar="MODEL-OR-PICTURES",
        ),
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(
            help="A model as onnx: denoiser and text encoder as graphs that run without PyTorch. A model as diffusers: "
            "the network as a UNet2DConditionModel, with scheduler and text encoder. Pictures as ttf, otf or woff2: a "
            "font with a glyph for each; as ufo: a folder for font editors. Default: what --out ends in, otherwise "
            "onnx.",
            show_default=False,
        ),
    ] = None,
    encoder: MovedEncoder = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the font. Default: that of the file.", show_default=False)
    ] = None,
    codepoints: Annotated[
        Path | None,
        typer.Option(
            help="Code points of the font's glyphs: a CSV or TSV with the columns file and codepoint. Default: U+E000 "
            "and so on, in the order of the pictures.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder or font file to write. Default: model-FORMAT, or glyphs.FORMAT.", show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """Export a model to ONNX or diffusers, with a README on how to draw with it, or pictures as a font."""
    ending = "" if out is None else out.suffix.lower()[1:]
    kind: str = choice("--format", format or (ending if ending in _FONTS else "onnx"), *_MODELS, *_FONTS)
    paths = what or []
    if kind in _FONTS:
        if encoder is not None:
            raise UsageError("--encoder is for models; a font is made of pictures, leave it out")
        _export_font(tuple(paths), kind, name, codepoints, out, json)
        return
    picture = next((path for path in paths if path.suffix.lower() in _PICTURES), None)
    if picture is not None:
        raise UsageError(f"{picture} is a picture and no model; --format {' or '.join(_FONTS)} makes a font of it")
    if len(paths) > 1:
        raise UsageError(
            f"one model at a time is exported, not {len(paths)}; several pictures become a font, --format ttf"
        )
    if name is not None or codepoints is not None:
        raise UsageError(f"{'--name' if name is not None else '--codepoints'} is for fonts, such as --format ttf")
    from glyffctl.workflows import export as workflow

    options = workflow.ExportOptions(
        model=paths[0] if paths else None,
        format=kind,  # type: ignore[arg-type] # one of _MODELS
        encoder=encoder,
        out=out,
    )
    report = run(workflow.export(options), as_json=json)
    if not json:
        tested = "" if report.difference is None else f", outputs within {report.difference:.0e} of the model's"
        say(f"{report.out}: {len(report.files)} files{tested}; {report.out / 'README.md'} says how to draw")


def _export_font(
    pictures: tuple[Path, ...], kind: str, name: str | None, codepoints: Path | None, out: Path | None, json: bool
) -> None:
    from glyffctl.workflows import export_font as workflow

    options = workflow.FontOptions(
        pictures=pictures,
        format=kind,  # type: ignore[arg-type] # one of _FONTS
        out=out,
        name=name,
        codepoints=codepoints,
    )
    report = run(workflow.export_font(options), as_json=json)
    if not json:
        glyphs = "1 glyph" if report.glyphs == 1 else f"{report.glyphs:,} glyphs"
        upto = "" if report.first == report.last else f" to U+{report.last:04X}"
        say(f"{report.out}: {glyphs}, U+{report.first:04X}{upto}, {report.bytes / 1000:,.0f} kB")
