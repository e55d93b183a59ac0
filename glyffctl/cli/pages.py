"""`visualize-umap` and `noise-demo`: pictures and pages to explore."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from glyffctl.cli.options import MOST, SEED, Data, Device, Json, Model, MovedEncoder, real, whole
from glyffctl.cli.output import run, say


def visualize_umap(
    data: Data = Path("data"),
    out: Annotated[Path, typer.Option(help="Folder for umap.png and umap.html.")] = Path(),
    colour: Annotated[
        str | None,
        typer.Option(
            "--color",
            help="radical, structure (needs --ids), font, codepoint, density, ink, any other column of the metadata, "
            "or none. Default: the first of structure, radical, font and density that the data provide. The page can "
            "switch between all of them.",
            show_default=False,
        ),
    ] = None,
    ids: Annotated[
        Path | None,
        typer.Option(
            help="Table of ideographic description sequences such as CJKVI's ids.txt (.gz). Colours glyphs by "
            "structure, ⿰ or ⿱, and measures how well the map separates them.",
            show_default=False,
        ),
    ] = None,
    drawn: Annotated[
        list[Path] | None,
        typer.Option(
            "--with",
            help="Picture from `sample`, or a folder of them, to place on the map. Repeatable.",
            metavar="PICTURE",
            show_default=False,
        ),
    ] = None,
    trace: Annotated[
        list[str] | None,
        typer.Option(
            help="Draw a glyph for this prompt, and trace the model's guess of it across the map, step by step. "
            "Repeatable.",
            metavar="PROMPT",
            show_default=False,
        ),
    ] = None,
    neighbors: Annotated[
        int,
        whole(
            "--neighbors",
            "Neighbours of each glyph in the layout, 2 to 200: few show detail, many the whole.",
            2,
            200,
        ),
    ] = 15,
    min_dist: Annotated[float, real("--min-dist", "Minimum distance between points, 0 to 1.", 0, 1)] = 0.1,
    seed: Annotated[int, whole("--seed", "Seed of the layout, and of glyphs drawn for --trace.", 0, 2**32 - 1)] = 0,
    model: Model = None,
    encoder: MovedEncoder = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Map all glyphs in the plane, similar ones close together: umap.png, and umap.html to explore."""
    from glyffctl.core.atlas.layout import MapSettings
    from glyffctl.workflows import umap as workflow

    options = workflow.UmapOptions(
        data=data,
        out=out,
        settings=MapSettings(neighbors=neighbors, min_dist=min_dist, seed=seed),
        ids=ids,
        colour=colour,
        drawn=tuple(drawn or ()),
        trace=tuple(trace or ()),
        model=model,
        encoder=encoder,
        device=device,
    )
    report = run(workflow.visualize(options), as_json=json)
    if not json:
        for file in report.files:
            say(file)


def noise_demo(
    figure: Annotated[
        list[str] | None,
        typer.Option(
            help="Draw only this figure. Repeatable. An unknown name, such as list, prints all names.",
            metavar="NAME",
            show_default=False,
        ),
    ] = None,
    prompt: Annotated[str, typer.Option(help="Prompt for the figures that a model draws.")] = "gold",
    char: Annotated[
        str | None,
        typer.Option(
            help="Character to show. Default: 锂, or another one if it is not in the data.", show_default=False
        ),
    ] = None,
    schedule: Annotated[
        str, typer.Option(help="Schedule in the figures that show only one: linear, cosine or karras.")
    ] = "linear",
    seed: Annotated[int, whole("--seed", SEED, 0, MOST)] = 0,
    model: Model = None,
    encoder: MovedEncoder = None,
    upscaler: Annotated[
        Path | None,
        typer.Option(
            help="Upscaler for the figure cascade. Default: the bundled one.",
            show_default=False,
        ),
    ] = None,
    device: Device = "auto",
    data: Annotated[
        Path | None,
        typer.Option(
            help="Glyphs to use: a data folder written by `prepare`, or any image–caption folder. Default: data/ if it "
            "exists, otherwise glyphs drawn with --font or the system's Chinese font.",
            show_default=False,
        ),
    ] = None,
    font: Annotated[
        Path | None,
        typer.Option(
            help="Font with Han characters: for labels, and for the glyphs if there is no data folder.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the figures and index.html.")] = Path("noise-demo"),
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Draw no figures; measure whether what a visual guide to diffusion claims is true, and print the "
            "verdicts. With --model bundled, claims about a model are measured anew, not taken from a record.",
        ),
    ] = False,
    ids: Annotated[
        Path | None,
        typer.Option(
            help="With --check: table of ideographic description sequences such as CJKVI's ids.txt (.gz), to "
            "measure the clusters on the map of `visualize-umap`.",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Show how diffusion works, in one page of figures drawn from real glyphs; or test common claims about it."""
    from glyffctl.workflows import noise_demo as workflow

    options = workflow.NoiseDemoOptions(
        figures=tuple(figure or ()),
        prompt=prompt,
        char=char,
        schedule=schedule,
        seed=seed,
        model=model,
        encoder=encoder,
        upscaler=upscaler,
        device=device,
        data=data,
        font=font,
        out=out,
        ids=ids,
    )
    if check:
        from glyffctl.workflows.noise_check import check as check_claims

        checked = run(check_claims(options), as_json=json)
        if not json:
            from glyffctl.display.claim_list import show_claims

            show_claims(checked)
        return
    report = run(workflow.noise_demo(options), as_json=json)
    if not json:
        say(report.page)
