"""`prepare` and `embed`: from fonts to training data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from glyffctl.cli.options import Data, Device, Json, choice, whole
from glyffctl.cli.output import run, say


def prepare(
    fonts: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Font files (ttf, otf, ttc, otc, woff, woff2) or folders of them. Default: the system's Chinese font.",
            show_default=False,
            metavar="FONTS",
        ),
    ] = None,
    definitions: Annotated[
        Path | None,
        typer.Option(
            help="Unihan.zip, Unihan_Readings.txt (.gz, .bz2), kDefinition.txt, or a TSV, CSV or JSONL table of "
            "characters and English definitions. Default: Unihan from the system, otherwise from the Unicode site.",
            show_default=False,
        ),
    ] = None,
    size: Annotated[int, whole("--size", "Height and width of a picture, in pixels.", 8, 1024)] = 128,
    ranges: Annotated[
        str | None,
        typer.Option(
            "--range",
            help="Draw only these code points, such as 4E00-9FFF or U+3400-U+9FFF,U+20000-U+2A6DF. Default: all "
            "with a definition.",
            show_default=False,
        ),
    ] = None,
    faces: Annotated[
        str, typer.Option(help="Faces of a font collection to draw: best (the one with most of the characters) or all.")
    ] = "best",
    fit: Annotated[
        str,
        typer.Option(help="Position of a glyph: ink centres its ink; metrics uses the font's own metrics."),
    ] = "ink",
    weight: Annotated[
        int | None,
        typer.Option(
            help="Weight of variable fonts, 100 to 1000; 700 is Bold. Default: 400, Regular.",
            metavar="N",
            show_default=False,
        ),
    ] = None,
    alternate_captions: Annotated[
        bool,
        typer.Option(
            help="Add alternate captions, the default: parts of the definition, and the meaning of the radical. "
            "--no-alternate-captions adds none.",
            show_default=False,
        ),
    ] = True,
    format: Annotated[
        str, typer.Option(help="glyphs (fast to train from) or imagefolder (PNGs and metadata.jsonl).")
    ] = "glyphs",
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path("data"),
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the data in --out, even if made with other settings.")
    ] = False,
    json: Json = False,
) -> None:
    """Draw every character that has a definition, as captioned glyphs for training."""
    from glyffctl.workflows import prepare as workflow

    options = workflow.PrepareOptions(
        fonts=tuple(fonts or ()),
        definitions=definitions,
        size=size,
        ranges=ranges,
        faces=choice("--faces", faces, "best", "all"),
        fit=choice("--fit", fit, "ink", "metrics"),
        weight=weight,
        alternate_captions=alternate_captions,
        format=choice("--format", format, "glyphs", "imagefolder"),
        out=out,
        overwrite=overwrite,
    )
    report = run(workflow.prepare(options), as_json=json)
    if not json:
        made = f"{report.glyphs:,} glyphs of {report.characters:,} characters, {size}×{size}"
        if report.up_to_date:
            say(f"{report.out} is up to date: {made}, made with the same fonts, definitions and settings")
        else:
            say(f"{report.out}: {made}, in {report.seconds:.1f} s")
        left_out = "; ".join(f"{count:,} ({why})" for why, count in report.left_out.items())
        say(f"left out, each listed in {report.out / 'left_out.jsonl'}: {left_out}" if left_out else "nothing left out")


def embed(
    data: Data = Path("data"),
    encoder: Annotated[
        str,
        typer.Option(
            help="Text encoder: bundled, a folder, a name on the Hugging Face hub such as google-t5/t5-small, a run "
            "of the preset contrastive, or one that you added in code."
        ),
    ] = "bundled",
    max_tokens: Annotated[int, whole("--max-tokens", "Truncate captions to this many tokens.", 2, 100_000)] = 64,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Encode every caption once, into a file beside the glyphs."""
    from glyffctl.workflows import embed as workflow

    options = workflow.EmbedOptions(data=data, encoder=encoder, max_tokens=max_tokens, device=device)
    report = run(workflow.embed(options), as_json=json)
    if not json:
        say(f"{report.path}: {report.captions:,} captions, {report.tokens:,} vectors of {report.width} numbers")
