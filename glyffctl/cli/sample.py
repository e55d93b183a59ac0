"""`sample`."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from glyffctl.cli.options import (
    DEFAULT_MODEL,
    MOST,
    Batch,
    DdpmVariance,
    Device,
    Json,
    LangevinSteps,
    Passes,
    Precision,
    Sampler,
    Schedule,
    Snr,
    Steps,
    given_recipe,
    real,
    whole,
)
from glyffctl.cli.output import run, say
from glyffctl.cli.typed import pronoun, typed_beside, typed_of
from glyffctl.core.errors import UsageError

_WITH_AGAIN = {
    "again",
    "out",
    "format",
    "model",
    "encoder",
    "upscaler",
    "classifier",
    "guide",
    "device",
    "gif",
    "fps",
    "json",
}
"""Parameters allowed beside --again: a picture does not record them, or they may have changed since."""
_WITH_UPSCALE = {"upscale", "prompts", "size", "upscaler", "seed", "out", "device", "precision", "json"}
"""Parameters allowed beside --upscale: it draws no pictures of prompts."""
_WITH_UPSCALED = {"again", "out", "upscaler", "device", "json"}
"""Parameters allowed beside --again for what --upscale wrote."""


def sample(
    ctx: typer.Context,
    prompts: Annotated[
        list[str] | None,
        typer.Argument(
            help='Meaning of the glyphs, in English. "" draws without a prompt.', show_default=False, metavar="PROMPT"
        ),
    ] = None,
    from_file: Annotated[
        Path | None, typer.Option(help="Read prompts from a text file, one per line.", show_default=False)
    ] = None,
    count: Annotated[int, whole("--count", "Pictures per prompt.", 1, 10_000)] = 16,
    passes: Passes = None,
    steps: Steps = None,
    guidance: Annotated[
        float | None,
        real(
            "--guidance",
            "Classifier-free guidance γ in uncond + γ·(cond − uncond): 1 is off, higher values follow the prompt "
            "more closely. In the convention (1+w)·cond − w·uncond, w is γ − 1. Default: 4; for a VAE or GAN, 1.",
            -100,
            100,
            show_default=False,
        ),
    ] = None,
    interval: Annotated[
        tuple[float, float] | None,
        typer.Option(help="Guide only between these noise levels σ.", metavar="LOW HIGH", show_default=False),
    ] = None,
    negative: Annotated[str, typer.Option(help="Negative prompt: guide away from it.")] = "",
    radical: Annotated[
        str | None,
        typer.Option(
            help="Lead to glyphs with this Kangxi radical, by a classifier of noisy pictures. Give its name "
            "(gold), number (167) or character. With a prompt, this comes on top of guidance.",
            show_default=False,
        ),
    ] = None,
    classifier_scale: Annotated[
        float,
        real(
            "--classifier-scale",
            "How much the classifier leads: s in score + s·∇log p(radical | x, σ); 0 is off.",
            -100,
            100,
        ),
    ] = 10.0,
    classifier: Annotated[
        Path | None,
        typer.Option(
            help="Classifier for --radical: the run folder of `train --preset classifier`, or its model file.",
            show_default=False,
        ),
    ] = None,
    guide: Annotated[
        Path | None,
        typer.Option(
            help="Guide away from this worse model, such as an earlier checkpoint or a smaller network, instead of "
            "away from no prompt: D_guide + γ·(D − D_guide), with γ from --guidance.",
            metavar="MODEL",
            show_default=False,
        ),
    ] = None,
    keep: Annotated[
        tuple[str, Path] | None,
        typer.Option(
            help="Keep one half of this picture (left, right, top or bottom) as it is, to the last bit, and draw "
            "the rest anew.",
            metavar="HALF PICTURE",
            show_default=False,
        ),
    ] = None,
    mask: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            help="Keep what is black in MASK of the picture, and draw anew what is white or transparent there.",
            metavar="MASK PICTURE",
            show_default=False,
        ),
    ] = None,
    resample: Annotated[
        int,
        whole(
            "--resample",
            "With --keep and --mask: how often to take each step. More often hides the seam better and takes longer.",
            1,
            100,
        ),
    ] = 4,
    vary: Annotated[
        Path | None,
        typer.Option(
            help="Start from this picture, with as much noise as --strength says, and draw on from there.",
            metavar="PICTURE",
            show_default=False,
        ),
    ] = None,
    strength: Annotated[
        float | None,
        real(
            "--strength",
            "How much of the picture changes: 0 is nothing, 1 everything. Default: 0.4 with --vary, 1 with --keep "
            "and --mask.",
            0,
            1,
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, whole("--seed", "Seed of the first picture; picture k uses seed + k.", 0, MOST)] = 0,
    sampler: Sampler = None,
    schedule: Schedule = None,
    snr: Snr = None,
    langevin_steps: LangevinSteps = None,
    ddpm_variance: DdpmVariance = None,
    model: Annotated[
        Path | None,
        typer.Option(
            help="Run folder, model file, or bundled; or a diffusers model, as a folder or a name on the Hugging Face "
            f"hub such as yuewu/glyffuser. {DEFAULT_MODEL}",
            show_default=False,
        ),
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            help="Text encoder of the model, if it was moved after training or the model names none.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="A .png or .svg file for one sheet, or a folder for single pictures. Default: a sheet named after the "
            "prompt.",
            show_default=False,
        ),
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(
            help="png, or svg for outlines: straight lines and Bézier curves. Default: what --out ends in, otherwise "
            "png.",
            show_default=False,
        ),
    ] = None,
    size: Annotated[
        int | None,
        whole(
            "--size",
            "Height and width in pixels: 256, 512 or 1024, drawn by an upscaler in a second stage. Default: what the "
            "model draws, 128.",
            2,
            4096,
            show_default=False,
        ),
    ] = None,
    upscaler: Annotated[
        Path | None,
        typer.Option(
            help="Upscaler for --size and --upscale: the run folder of `train --preset upscaler`, or its model file. "
            "Default: the bundled one.",
            show_default=False,
        ),
    ] = None,
    upscale: Annotated[
        Path | None,
        typer.Option(
            help="Draw no new glyphs, but enlarge this picture of 128×128 pixels, and those that the arguments name.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    gif: Annotated[
        Path | None,
        typer.Option(
            help="Also write an animation of the denoising, one frame per step. Default name: the picture's, with "
            ".gif.",
            metavar="[FILE.gif]",
            show_default=False,
        ),
    ] = None,
    fps: Annotated[float, real("--fps", "Frames per second of the gif.", 0, 50, above=True)] = 12.0,
    batch: Batch = 16,
    precision: Precision = "auto",
    device: Device = "auto",
    again: Annotated[
        Path | None,
        typer.Option(help="Redraw this PNG or SVG, byte for byte, with the settings stored in it.", show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """Draw new glyphs for a meaning."""
    # Of NumPy's matrices here a second thread only delays the small ones. NumPy reads this when it is loaded.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if again is not None and (refused := typed_beside(ctx, _WITH_AGAIN)):
        raise UsageError(f"--again takes {' and '.join(refused)} from the picture; leave {pronoun(refused)} out")
    if upscale is not None or (again is not None and _is_upscaled(again)):
        if refused := typed_beside(ctx, _WITH_UPSCALE if again is None else _WITH_UPSCALED):
            raise UsageError(
                f"--upscale enlarges pictures and draws none; leave {' and '.join(refused)} out"
                if again is None
                else f"{again} was enlarged from another picture, without {' and '.join(refused)}; leave "
                f"{pronoun(refused)} out"
            )
        _run_upscale(
            files=(upscale, *map(Path, prompts or ())) if upscale is not None else (),
            again=again,
            enlarge={"size": size, "upscaler": upscaler, "precision": precision},
            seed=seed,
            out=out,
            device=device,
            json=json,
        )
        return
    if upscaler is not None and size is None and again is None:
        raise UsageError("--upscaler draws larger pictures; say how large with --size, such as --size 512")
    if radical is None and again is None and (unled := typed_of(ctx, "classifier", "classifier_scale")):
        raise UsageError(f"{unled[0]} leads to a radical; name one with --radical, such as --radical 金")
    from glyffctl.workflows.source_options import source_of

    source = source_of(keep, mask, vary, strength, resample if typed_of(ctx, "resample") else None)
    if prompts and from_file:
        raise UsageError("give prompts or --from-file, not both")
    from glyffctl.core.data.radical_names import find_radical
    from glyffctl.workflows import sample as workflow
    from glyffctl.workflows import sample_options
    from glyffctl.workflows.enlarge_options import EnlargeOptions
    from glyffctl.workflows.guide_options import AwayOptions, LeadOptions
    from glyffctl.workflows.sample_light import may_draw_light

    if again is not None:
        options = sample_options.options_from_picture(
            again,
            model=model,
            encoder=encoder,
            upscaler=upscaler,
            classifier=classifier,
            guide=guide,
            out=out,
            format=format,
            gif=gif,
            fps=fps,
            device=device,
        )
    else:
        lead = (
            None
            if radical is None
            else LeadOptions(radical=find_radical(radical), scale=classifier_scale, classifier=classifier)
        )
        led_alone = () if lead is None and source is None else ("",)
        options = sample_options.SampleOptions(
            prompts=sample_options.read_prompts(from_file) if from_file else tuple(prompts or led_alone),
            model=model,
            encoder=encoder,
            recipe=given_recipe(
                sampler,
                steps,
                guidance,
                interval,
                passes,
                schedule=schedule,
                snr=snr,
                langevin_steps=langevin_steps,
                ddpm_variance=ddpm_variance,
            ),
            guidance=guidance,
            negative=negative,
            seed=seed,
            count=count,
            out=out,
            format=format,
            gif=gif,
            fps=fps,
            batch=batch,
            precision=precision,
            device=device,
            enlarge=None if size is None else EnlargeOptions(size=size, upscaler=upscaler, precision=precision),
            lead=lead,
            away=None if guide is None else AwayOptions(model=guide),
            source=source,
            typed=not from_file,
        )
    if options.enlarge is not None:
        import_module("glyffctl.workflows.enlarge")
    if not may_draw_light(options):
        import_module("glyffctl.workflows.sample_torch")  # now, while nothing is collected: see `cli.main`
    report = run(workflow.sample(options), as_json=json)
    if not json:
        _say_files(report.files)


def _say_files(files: list[Path]) -> None:
    for file in files if len(files) <= 3 else [files[0].parent]:
        say(file)


def _is_upscaled(picture: Path) -> bool:
    from glyffctl.core.io.images import read_settings
    from glyffctl.workflows.enlarge_options import SOURCE

    return SOURCE in read_settings(picture)


def _run_upscale(
    *,
    files: tuple[Path, ...],
    again: Path | None,
    enlarge: dict[str, Any],
    seed: int,
    out: Path | None,
    device: str,
    json: bool,
) -> None:
    """Enlarge `files`, or the picture that `again` was made of."""
    from glyffctl.workflows import upscale as workflow
    from glyffctl.workflows.enlarge_options import EnlargeOptions

    if again is not None:
        upscaler = enlarge["upscaler"]
        options = workflow.upscale_options_from_picture(again, upscaler=upscaler, out=out, device=device)
    else:
        options = workflow.UpscaleOptions(
            files=files, enlarge=EnlargeOptions(**enlarge), seed=seed, out=out, device=device
        )
    report = run(workflow.upscale(options), as_json=json)
    if not json:
        _say_files(report.files)
