"""The command line: parse, call one workflow, show its events, turn errors into one line. Nothing else.

Workflows are imported when their command runs: `--help` loads neither torch nor transformers.
"""

from __future__ import annotations

import io
import math
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from glyffctl import __version__
from glyffctl.core.errors import GlyffError, UsageError
from glyffctl.core.names import printable


class _Terminated(BaseException):
    """SIGTERM, on its way out through every `finally`."""


def _terminate(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    raise _Terminated


_NO_MEMORY = "not enough memory; make --batch, --size or the network smaller"


class _Commands(TyperGroup):
    """The one place where errors end."""

    def invoke(self, ctx: Any) -> Any:
        signal.signal(signal.SIGTERM, _terminate)
        try:
            return super().invoke(ctx)
        except GlyffError as error:
            message, code = str(error), error.exit_code
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            message, code = f"{where}{error.strerror or error}", 1
        except MemoryError:
            message, code = _NO_MEMORY, 1
        except RuntimeError as error:  # torch's, which is not imported here
            if type(error).__name__ == "OutOfMemoryError":
                message, code = "not enough memory on the GPU; make --batch or the network smaller", 1
            elif "DefaultCPUAllocator" in str(error):
                message, code = _NO_MEMORY, 1
            else:
                raise
        except Exception as error:
            if hasattr(error, "message"):  # of the parser's own, which repeats what was typed
                error.message = printable(error.message)
            raise
        except KeyboardInterrupt:
            message, code = "stopped", 130
        except _Terminated:
            message, code = "stopped", 143
        from glyffctl.console import fail

        fail(message, "error: " if code <= 2 else "")
        raise typer.Exit(code)


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"glyffctl {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    """Teach a small diffusion model to draw new Chinese glyphs from English definitions.

    prepare → embed → train → sample: fonts become captioned glyphs, a model, and new glyphs.
    """


JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as one line of JSON on stdout.")]
DataOption = Annotated[Path, typer.Option(help="The data folder that `prepare` made, or any image–caption folder.")]
ModelOption = Annotated[
    Path | None,
    typer.Option(
        help="A run folder, a model file, or bundled. Without: the newest under runs/, else the bundled one.",
        show_default=False,
    ),
]
MovedEncoderOption = Annotated[
    str | None,
    typer.Option(help="Where the model's text encoder is, if it moved since training.", show_default=False),
]
SamplerOption = Annotated[str, typer.Option(help="ddpm, ddim, dpmpp-2m, dpmpp-2m-sde, dpmpp-sde or heun.")]
DrawingPrecisionOption = Annotated[
    str, typer.Option(help="Of the network: fp32, bf16, or auto: bf16 where this machine is faster with it.")
]


def _run(workflow: Any, *, as_json: bool) -> Any:
    from glyffctl.console import Display, emit_json

    result = Display(quiet=as_json).run(workflow)
    if as_json and result is not None:
        emit_json(result)
    return result


def _say(text: object) -> None:
    from glyffctl.console import say

    say(text)


@app.command()
def prepare(
    fonts: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Font files (ttf, otf, ttc, otc, woff, woff2) or folders of them. Without: the system's Chinese font.",
            show_default=False,
        ),
    ] = None,
    definitions: Annotated[
        Path | None,
        typer.Option(
            help="Unihan.zip, Unihan_Readings.txt (.gz, .bz2), kDefinition.txt, or a TSV, CSV or JSONL of characters "
            "and definitions. Without: Unihan from the system or the Unicode site.",
            show_default=False,
        ),
    ] = None,
    size: Annotated[int, typer.Option(help="Height and width of a picture, in pixels.")] = 128,
    ranges: Annotated[
        str | None,
        typer.Option(
            "--range",
            help="Only these code points: 4E00-9FFF, or U+3400-U+9FFF,U+20000-U+2A6DF. Without: all that are defined.",
            show_default=False,
        ),
    ] = None,
    faces: Annotated[str, typer.Option(help="Faces of a collection to draw: best or all.")] = "best",
    fit: Annotated[
        str, typer.Option(help="Centre each glyph by its ink, or set it on the font's own metrics: ink or metrics.")
    ] = "ink",
    weight: Annotated[
        int | None,
        typer.Option(
            help="Weight to draw variable fonts in, 100 to 1000: 700 is Bold. Without: 400, Regular.",
            show_default=False,
        ),
    ] = None,
    wordings: Annotated[
        bool,
        typer.Option(help="Tell parts of a definition alone, and the radical's meaning, besides the definition."),
    ] = True,
    format: Annotated[
        str, typer.Option(help="glyphs (fast to train from) or imagefolder (PNGs and metadata.jsonl).")
    ] = "glyphs",
    out: Annotated[Path, typer.Option(help="The folder to make.")] = Path("data"),
    json: JsonOption = False,
) -> None:
    """Draw every defined character of some fonts: captioned glyphs for training."""
    from glyffctl.workflows import prepare as workflow

    options = workflow.PrepareOptions(
        fonts=tuple(fonts or ()),
        definitions=definitions,
        size=size,
        ranges=ranges,
        faces=_choice("--faces", faces, "best", "all"),
        fit=_choice("--fit", fit, "ink", "metrics"),
        weight=weight,
        wordings=wordings,
        format=_choice("--format", format, "glyphs", "imagefolder"),
        out=out,
    )
    report = _run(workflow.prepare(options), as_json=json)
    if not json:
        left_out = sum(count for why, count in report.left_out.items() if why != workflow.OUT_OF_RANGE)
        _say(
            f"{report.out}: {report.glyphs:,} glyphs of {report.characters:,} characters, {size}×{size}, in "
            f"{report.seconds:.1f} s; {left_out:,} left out, see {report.out / 'left_out.jsonl'}"
        )


@app.command()
def embed(
    data: DataOption = Path("data"),
    encoder: Annotated[
        str,
        typer.Option(
            help="A text encoder: bundled (it comes with the program), a name on the Hugging Face hub such as "
            "google-t5/t5-small, or a folder."
        ),
    ] = "bundled",
    max_tokens: Annotated[int, typer.Option(help="Captions are cut to this many tokens.")] = 64,
    json: JsonOption = False,
) -> None:
    """Encode every caption once, into a file beside the glyphs."""
    from glyffctl.workflows import embed as workflow

    options = workflow.EmbedOptions(data=data, encoder=encoder, max_tokens=max_tokens)
    report = _run(workflow.embed(options), as_json=json)
    if not json:
        _say(f"{report.path}: {report.captions:,} captions, {report.tokens:,} vectors of {report.width} numbers")


@app.command()
def train(
    data: DataOption = Path("data"),
    out: Annotated[Path | None, typer.Option(help="The run folder. Without: runs/PRESET.", show_default=False)] = None,
    gpus: Annotated[
        int,
        typer.Option(
            help="1 trains on a GPU, or on the CPU where there is none; 0 on the CPU; more starts as many processes. "
            "Under torchrun or srun, joins their job.",
            min=0,
        ),
    ] = 1,
    preset: Annotated[
        str | None,
        typer.Option(help="cpu, gpu or glyffuser. Without: what fits the machine.", show_default=False),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="A TOML file of settings, laid over the preset: see --show-config.", show_default=False),
    ] = None,
    epochs: Annotated[float | None, typer.Option(help="Budget: passes over the data.", show_default=False)] = None,
    images: Annotated[int | None, typer.Option(help="Budget: pictures shown.", show_default=False)] = None,
    minutes: Annotated[float | None, typer.Option(help="Budget: minutes of training.", show_default=False)] = None,
    batch: Annotated[
        int | None, typer.Option(help="Pictures of a step, of all processes together.", show_default=False)
    ] = None,
    checkpoint_every: Annotated[
        int | None, typer.Option(help="Pictures between checkpoints.", metavar="IMAGES", show_default=False)
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything drawn at random.", show_default=False)] = None,
    encoder: Annotated[
        str | None,
        typer.Option(help="The text encoder for captions that are not embedded yet.", show_default=False),
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Start a new run from the weights of this model, a run folder or model file, and take its network.",
            metavar="MODEL",
            show_default=False,
        ),
    ] = None,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write TensorBoard events too.")] = False,
    show_config: Annotated[
        bool, typer.Option("--show-config", help="Print all settings as TOML, and train nothing.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Train a model. The same command again goes on where it stopped."""
    from glyffctl.core import processes
    from glyffctl.workflows import train as workflow

    asked = {
        "epochs": epochs,
        "images": images,
        "minutes": minutes,
        "batch": batch,
        "checkpoint_every": checkpoint_every,
        "seed": seed,
    }
    options = workflow.TrainOptions(
        data=data,
        out=out,
        gpus=gpus,
        preset=preset,
        config=config,
        overrides={name: value for name, value in asked.items() if value is not None},
        encoder=encoder,
        start=start,
        tensorboard=tensorboard,
    )
    if show_config:
        typer.echo(workflow.show_settings(options), nl=False)
        return
    if gpus > 1 and not processes.in_job():
        from glyffctl.workflows.launch import launch

        raise typer.Exit(launch(sys.argv[1:], gpus))
    report = _run(workflow.train(options), as_json=json)
    if report is not None and not json:
        _say(f'{report.out}  (draw with it: glyffctl sample "lithium" --model {report.out})')


@app.command()
def sample(
    prompts: Annotated[
        list[str] | None,
        typer.Argument(
            help='What the glyphs should mean. "" draws without a condition.', show_default=False, metavar="PROMPT"
        ),
    ] = None,
    from_file: Annotated[
        Path | None, typer.Option(help="Read prompts from a text file, one on a line.", show_default=False)
    ] = None,
    count: Annotated[int, typer.Option(help="Pictures of each prompt.")] = 16,
    steps: Annotated[int, typer.Option(help="Steps of the sampler, 1 to 1000.")] = 20,
    guidance: Annotated[
        float,
        typer.Option(
            help="γ in uncond + γ·(cond − uncond): 1 is off, more follows the prompt more closely. "
            "(Where others write (1+w)·cond − w·uncond, w is γ − 1.)"
        ),
    ] = 4.0,
    interval: Annotated[
        tuple[float, float] | None,
        typer.Option(help="Guide only between these two noise levels σ.", metavar="LOW HIGH", show_default=False),
    ] = None,
    negative: Annotated[str, typer.Option(help="Be led away from this instead of from nothing.")] = "",
    seed: Annotated[int, typer.Option(help="Picture k depends on seed + k, and on nothing before it.")] = 0,
    sampler: SamplerOption = "dpmpp-2m",
    model: Annotated[
        Path | None,
        typer.Option(
            help="A run folder, a model file, or bundled; or a model of diffusers, its folder or its name on the "
            "Hugging Face hub such as yuewu/glyffuser. Without: the newest under runs/, else the bundled one.",
            show_default=False,
        ),
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            help="Where the model's text encoder is, if it moved since training, or if the model names none.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="A .png for one sheet, or a folder for single pictures. Without: a sheet named after the prompt.",
            show_default=False,
        ),
    ] = None,
    gif: Annotated[Path | None, typer.Option(help="Also write the denoising as a .gif.", show_default=False)] = None,
    fps: Annotated[float, typer.Option(help="Frames of the gif in a second.")] = 12.0,
    batch: Annotated[int, typer.Option(help="Pictures drawn at once.")] = 16,
    precision: DrawingPrecisionOption = "auto",
    again: Annotated[
        Path | None,
        typer.Option(help="Make this PNG again, from the settings it carries, byte for byte.", show_default=False),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Draw new glyphs for a meaning."""
    if again is not None and (prompts or from_file):
        raise UsageError("--again takes its prompts from the picture; leave out other prompts")
    if prompts and from_file:
        raise UsageError("give prompts or --from-file, not both")
    from glyffctl.core.generate import Recipe
    from glyffctl.workflows import sample as workflow
    from glyffctl.workflows import sample_options

    if again is not None:
        options = sample_options.again(again, model=model, encoder=encoder, out=out)
    else:
        options = sample_options.SampleOptions(
            prompts=sample_options.read_prompts(from_file) if from_file else tuple(prompts or ()),
            model=model,
            encoder=encoder,
            recipe=Recipe(sampler=sampler, steps=steps, guidance=guidance, interval=interval or (0.0, math.inf)),
            negative=negative,
            seed=seed,
            count=count,
            out=out,
            gif=gif,
            fps=fps,
            batch=batch,
            precision=precision,
        )
    report = _run(workflow.sample(options), as_json=json)
    if not json:
        for file in report.files if len(report.files) <= 3 else [report.files[0].parent]:
            _say(file)


@app.command()
def evaluate(
    data: Annotated[
        Path, typer.Option(help="Real glyphs to compare with: the data folder that the model was trained on.")
    ] = Path("data"),
    model: ModelOption = None,
    encoder: MovedEncoderOption = None,
    count: Annotated[
        int, typer.Option(help="Pictures of each prompt whose radical is known; 48 prompts come with the program.")
    ] = 16,
    pictures: Annotated[
        int, typer.Option(help="Pictures of held-out definitions, at most, and as many without a prompt.")
    ] = 256,
    steps: Annotated[int, typer.Option(help="Steps of the sampler, 1 to 1000.")] = 20,
    guidance: Annotated[float, typer.Option(help="γ as in `sample`.")] = 4.0,
    sampler: SamplerOption = "dpmpp-2m",
    seed: Annotated[int, typer.Option(help="Of everything drawn at random.")] = 0,
    batch: Annotated[int, typer.Option(help="Pictures drawn at once.")] = 16,
    precision: DrawingPrecisionOption = "auto",
    prompts: Annotated[
        Path | None,
        typer.Option(
            help='Prompts of your own: a TOML file with [prompts] and lines such as "a kind of fish" = 195, the Kangxi '
            "radical that answers it.",
            show_default=False,
        ),
    ] = None,
    steps_table: Annotated[
        bool, typer.Option("--steps-table", help="Also compare all samplers at 5, 10, 20 and 40 steps. Slow.")
    ] = False,
    judge: Annotated[
        Path | None,
        typer.Option(help="A judge of your own. Without: the one that comes with the program.", show_default=False),
    ] = None,
    train_judge: Annotated[
        bool,
        typer.Option(
            "--train-judge",
            help="Train a judge on --data, best of several fonts, write it to --judge (judge.safetensors), and leave.",
        ),
    ] = False,
    out: Annotated[Path, typer.Option(help="The JSON file with all figures.")] = Path("evaluation.json"),
    json: JsonOption = False,
) -> None:
    """Measure a model: does it follow prompts, is it like real glyphs, is it new, are its strokes clean?"""
    if train_judge:
        from glyffctl.workflows import judge as judging

        learned = _run(
            judging.make_judge(judging.JudgeOptions(data=data, out=judge or Path("judge.safetensors"), seed=seed)),
            as_json=json,
        )
        if not json:
            for name, figure in learned.accuracy_of.items():
                _say(f"{figure.value:.1%} of held-out characters right in {name}")
            _say(f"{learned.out}: {learned.accuracy.value:.1%} right")
        return
    from glyffctl.core.generate import Recipe
    from glyffctl.workflows import evaluate as workflow

    options = workflow.EvaluateOptions(
        data=data,
        model=model,
        encoder=encoder,
        judge=judge,
        prompts=prompts,
        recipe=Recipe(sampler=sampler, steps=steps, guidance=guidance),
        count=count,
        pictures=pictures,
        seed=seed,
        batch=batch,
        precision=precision,
        steps_table=steps_table,
        out=out,
    )
    report = _run(workflow.evaluate(options), as_json=json)
    if not json:
        from glyffctl.tables import show_evaluation

        show_evaluation(report)
        for file in filter(None, (report.out, report.plot)):
            _say(file)


@app.command("visualize-umap")
def visualize_umap(
    data: DataOption = Path("data"),
    out: Annotated[Path, typer.Option(help="The folder for umap.png and umap.html.")] = Path(),
    color: Annotated[
        str | None,
        typer.Option(
            help="radical, structure (needs --ids), font, density or none. Without: the first of structure, radical, "
            "font and density that the data know. The page has all of them.",
            show_default=False,
        ),
    ] = None,
    ids: Annotated[
        Path | None,
        typer.Option(
            help="A table of ideographic description sequences such as CJKVI's ids.txt (.gz): colours by ⿰ and ⿱, "
            "and measures how well they part.",
            show_default=False,
        ),
    ] = None,
    drawn: Annotated[
        list[Path] | None,
        typer.Option(
            "--with",
            help="A picture from `sample`, or a folder of them, to place in the map. May be given several times.",
            show_default=False,
        ),
    ] = None,
    trace: Annotated[
        list[str] | None,
        typer.Option(
            help="Draw a glyph for this prompt, and follow the model's guess through the map from step to step. May be "
            "given several times.",
            metavar="PROMPT",
            show_default=False,
        ),
    ] = None,
    neighbors: Annotated[
        int, typer.Option(help="Glyphs that each is drawn to, 2 to 200: few show detail, many the whole.")
    ] = 15,
    min_dist: Annotated[float, typer.Option(help="How near points may come, 0 to 1.")] = 0.1,
    seed: Annotated[int, typer.Option(help="Of the layout, and of glyphs drawn for --trace.")] = 0,
    model: ModelOption = None,
    encoder: MovedEncoderOption = None,
    json: JsonOption = False,
) -> None:
    """Map all glyphs in the plane, like beside like: umap.png, and umap.html to walk about in."""
    from glyffctl.core.layout import MapSettings
    from glyffctl.workflows import umap as workflow

    options = workflow.UmapOptions(
        data=data,
        out=out,
        settings=MapSettings(neighbors=neighbors, min_dist=min_dist, seed=seed),
        ids=ids,
        colour=color,
        drawn=tuple(drawn or ()),
        trace=tuple(trace or ()),
        model=model,
        encoder=encoder,
    )
    report = _run(workflow.visualize(options), as_json=json)
    if not json:
        for file in report.files:
            _say(file)


@app.command("noise-demo")
def noise_demo(
    figure: Annotated[
        list[str] | None,
        typer.Option(help="Only this figure; can be given again. A wrong name lists them all.", show_default=False),
    ] = None,
    prompt: Annotated[str, typer.Option(help="What the model draws in its figures.")] = "gold",
    char: Annotated[
        str | None,
        typer.Option(
            help="The character that is shown. Without: 锂, or another if the data lack it.", show_default=False
        ),
    ] = None,
    schedule: Annotated[
        str, typer.Option(help="Of the figures that show one schedule: linear, cosine or karras.")
    ] = "linear",
    seed: Annotated[int, typer.Option(help="Of everything drawn at random.")] = 0,
    model: ModelOption = None,
    encoder: MovedEncoderOption = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Glyphs to show it on: a data folder that `prepare` made, or any image–caption folder. "
            "Without: data/, or where there is none glyphs drawn with --font or the system's Chinese font.",
            show_default=False,
        ),
    ] = None,
    font: Annotated[
        Path | None,
        typer.Option(
            help="A font with Han characters, for labels, and for the glyphs where no --data is given.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="The folder for the figures and index.html.")] = Path("noise-demo"),
    check: Annotated[
        bool, typer.Option("--check", help="Draw nothing: hold the guide's claims to measurements, and show them.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Show how diffusion works, in figures drawn from real glyphs, on one page; or check what is said of it."""
    from glyffctl.workflows import noise_demo as workflow

    options = workflow.NoiseDemoOptions(
        figures=tuple(figure or ()),
        prompt=prompt,
        char=char,
        schedule=schedule,
        seed=seed,
        model=model,
        encoder=encoder,
        data=data,
        font=font,
        out=out,
    )
    if check:
        checked = _run(workflow.check(options), as_json=json)
        if not json:
            from glyffctl.claim_table import show_claims

            show_claims(checked)
        return
    report = _run(workflow.noise_demo(options), as_json=json)
    if not json:
        _say(report.page)


@app.command()
def export(
    model: Annotated[
        Path | None,
        typer.Argument(
            help="A run folder, a model file, or bundled. Without: the newest under runs/, else the bundled one.",
            show_default=False,
            metavar="MODEL",
        ),
    ] = None,
    format: Annotated[
        str,
        typer.Option(
            help="onnx: denoiser and text encoder as graphs that run without PyTorch. diffusers: the network as a "
            "UNet2DConditionModel, with scheduler and text encoder."
        ),
    ] = "onnx",
    encoder: MovedEncoderOption = None,
    out: Annotated[
        Path | None, typer.Option(help="The folder to make. Without: model-FORMAT.", show_default=False)
    ] = None,
    json: JsonOption = False,
) -> None:
    """Write a model for other programs: ONNX or diffusers, with a page that says how to draw with it."""
    from glyffctl.workflows import export as workflow

    options = workflow.ExportOptions(
        model=model, format=_choice("--format", format, "diffusers", "onnx"), encoder=encoder, out=out
    )
    report = _run(workflow.export(options), as_json=json)
    if not json:
        tried = "" if report.difference is None else f", its answers within {report.difference:.0e} of the model's"
        _say(f"{report.out}: {len(report.files)} files{tried}; {report.out / 'README.md'} says how to draw")


def _choice(option: str, value: str, *choices: str) -> Any:
    if value not in choices:
        raise UsageError(f"{option} must be {' or '.join(choices)}, not {value!r}")
    return value


def main() -> None:
    """The console script."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that has no Han shows their numbers
            stream.reconfigure(errors="backslashreplace")
    app()


if __name__ == "__main__":
    main()
