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
    Device,
    Json,
    Passes,
    Precision,
    Sampler,
    Steps,
    given_recipe,
    real,
    whole,
)
from glyffctl.cli.output import run, say
from glyffctl.core.errors import UsageError

_WITH_AGAIN = {"again", "out", "model", "encoder", "device", "gif", "fps", "json"}
"""Parameters allowed beside --again: a picture does not record them, or they may have changed since."""


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
        float,
        real(
            "--guidance",
            "Classifier-free guidance γ in uncond + γ·(cond − uncond): 1 is off, higher values follow the prompt more "
            "closely. For the convention (1+w)·cond − w·uncond, w is γ − 1.",
            -100,
            100,
        ),
    ] = 4.0,
    interval: Annotated[
        tuple[float, float] | None,
        typer.Option(help="Guide only between these noise levels σ.", metavar="LOW HIGH", show_default=False),
    ] = None,
    negative: Annotated[str, typer.Option(help="Negative prompt: guide away from it.")] = "",
    seed: Annotated[int, whole("--seed", "Seed of the first picture; picture k uses seed + k.", 0, MOST)] = 0,
    sampler: Sampler = None,
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
            help="A .png file for one sheet, or a folder for single pictures. Default: a sheet named after the prompt.",
            show_default=False,
        ),
    ] = None,
    gif: Annotated[
        Path | None,
        typer.Option(
            help="Also write an animation of the denoising, a frame a step. Default name: the picture's, with .gif.",
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
        typer.Option(help="Redraw this PNG, byte for byte, with the settings stored in it.", show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """Draw new glyphs for a meaning."""
    # Of NumPy's matrices here a second thread only delays the small ones. NumPy reads this when it is loaded.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if again is not None:
        given = [param for param in ctx.command.params if _was_typed(ctx, param.name)]
        refused = [_label(param) for param in given if param.name not in _WITH_AGAIN]
        if refused:
            raise UsageError(f"--again takes {' and '.join(refused)} from the picture; leave {_pronoun(refused)} out")
    if prompts and from_file:
        raise UsageError("give prompts or --from-file, not both")
    from glyffctl.workflows import sample as workflow
    from glyffctl.workflows import sample_options
    from glyffctl.workflows.sample_light import may_draw_light

    if again is not None:
        options = sample_options.options_from_picture(
            again, model=model, encoder=encoder, out=out, gif=gif, fps=fps, device=device
        )
    else:
        options = sample_options.SampleOptions(
            prompts=sample_options.read_prompts(from_file) if from_file else tuple(prompts or ()),
            model=model,
            encoder=encoder,
            recipe=given_recipe(sampler, steps, guidance, interval, passes),
            guidance=guidance,
            negative=negative,
            seed=seed,
            count=count,
            out=out,
            gif=gif,
            fps=fps,
            batch=batch,
            precision=precision,
            device=device,
            typed=not from_file,
        )
    if not may_draw_light(options):
        import_module("glyffctl.workflows.sample_torch")  # now, while nothing is collected: see `cli.main`
    report = run(workflow.sample(options), as_json=json)
    if not json:
        for file in report.files if len(report.files) <= 3 else [report.files[0].parent]:
            say(file)


def _was_typed(ctx: typer.Context, name: str | None) -> bool:
    source = ctx.get_parameter_source(name or "")
    return source is not None and source.name == "COMMANDLINE"


def _label(param: Any) -> str:
    return "the prompts" if param.param_type_name == "argument" else param.opts[0]


def _pronoun(names: list[str]) -> str:
    return "it" if len(names) == 1 and names[0].startswith("-") else "them"
