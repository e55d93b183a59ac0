"""The command line: parse, call one workflow, show its events, turn errors into one line. Nothing else.

Workflows are imported when their command runs: `--help` loads neither torch nor transformers.
"""

from __future__ import annotations

import io
import math
import os
import re
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from glyffctl import __version__
from glyffctl.core.errors import GlyffError, UsageError
from glyffctl.core.io.names import printable


class _Terminated(BaseException):
    """SIGTERM, on its way out through every `finally`."""


def _terminate(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    raise _Terminated


_TRACEBACK = "GLYFFCTL_TRACEBACK"
_NO_MEMORY = "not enough memory; make --batch, --size or the network smaller"


def _fault(error: Exception) -> str:
    """What nobody foresaw is a fault of ours, whatever file was being read: say so, and where."""
    package = Path(__file__).parent
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if package in Path(frame.filename).parents]
    place = (own or frames)[-1]
    where = Path(place.filename).relative_to(package.parent) if own else Path(place.filename).name
    said = str(error).strip().partition("\n")[0][:300]
    return (
        f"a fault in glyffctl {__version__}, at {where}:{place.lineno}, {type(error).__name__}"
        f"{': ' + said if said else ''}; please report it, with the command and what it prints under {_TRACEBACK}=1"
    )


class _Command(TyperCommand):
    """A command whose help names kinds of values as other programs do: typer writes <str>, and <bool> behind switches.

    Its names for them have changed from version to version.
    """

    def get_params(self, ctx: Any) -> list[Any]:
        params: list[Any] = super().get_params(ctx)
        for param in params:
            if getattr(param, "is_flag", False):
                param.metavar = ""
            elif param.param_type_name == "argument":
                param.display_type_rich = lambda ctx: ""  # noqa: ARG005
            elif param.metavar is None:
                kind = param.display_type(ctx) if hasattr(param, "display_type") else param.make_metavar(ctx)
                param.metavar = {"STR": "TEXT"}.get(kind.strip("<>").upper(), kind.strip("<>").upper())
        return params


class _Sample(_Command):
    """`--gif` alone is a gif beside the picture, `--gif FILE.gif` that file: typer has no option that is both."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        args = list(args)
        end = args.index("--") if "--" in args else len(args)
        for place in reversed(range(end)):
            if args[place] == "--gif" and not _FILE.fullmatch("".join(args[place + 1 : place + 2])):
                args[place] = f"--gif={_BESIDE}"
        return super().parse_args(ctx, args)


_BESIDE = ".gif"
_FILE = re.compile(r"[^-].*/.*|[^-]\S*\.\w{2,4}", re.DOTALL)  # what is rather a file than a prompt


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
        except KeyboardInterrupt:
            message, code = "stopped", 130
        except _Terminated:
            message, code = "stopped", 143
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:
            if hasattr(error, "message"):  # of the parser's own, which repeats what was typed
                error.message = printable(error.message)
                raise
            if os.environ.get(_TRACEBACK):
                raise
            if type(error).__name__ == "OutOfMemoryError":  # torch's, which is not imported here
                message, code = "not enough memory on the GPU; make --batch or the network smaller", 1
            elif "DefaultCPUAllocator" in str(error):
                message, code = _NO_MEMORY, 1
            else:
                message, code = _fault(error), 1
        from glyffctl.display.console import fail

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


def _whole(option: str, help: str, low: int, high: int, *, metavar: str = "N", show_default: bool = True) -> Any:
    """An option for a whole number from `low` to `high`, which says so of what is none."""

    def parse(text: str | int) -> int:
        try:
            number = int(text)
        except ValueError:
            number = low - 1
        if not low <= number <= high:
            upto = f"from {low:,} to {high:,}" if high < _MOST else f"from {low:,} up"
            raise UsageError(f"{option} must be a whole number {upto}, not {text}")
        return number

    return typer.Option(option, help=help, parser=parse, metavar=metavar, show_default=show_default)


def _real(
    option: str, help: str, low: float, high: float = math.inf, *, above: bool = False, show_default: bool = True
) -> Any:
    """An option for a finite number from `low` to `high`; or `above` low, if that is not meant itself."""

    def parse(text: str | float) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not low <= number <= high or not math.isfinite(number) or (above and number == low):
            upto = f" {'and at most' if above else 'to'} {high:g}" if math.isfinite(high) else ""
            raise UsageError(
                f"{option} must be a finite number {'above' if above else 'from'} {low:g}{upto}, not {text}"
            )
        return number

    return typer.Option(option, help=help, parser=parse, metavar="NUMBER", show_default=show_default)


_MOST = 2**62 - 1  # of what has no other limit; torch counts in 64 bits
_SEED = "Of everything drawn at random."

JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as one line of JSON on stdout.")]
DataOption = Annotated[Path, typer.Option(help="The data folder that `prepare` made, or any image–caption folder.")]
ModelOption = Annotated[
    Path | None,
    typer.Option(
        help="A run folder, a model file, or bundled. Without: the newest run under runs/ that has seen its data once, "
        "else bundled.",
        show_default=False,
    ),
]
MovedEncoderOption = Annotated[
    str | None,
    typer.Option(help="Where the model's text encoder is, if it moved since training.", show_default=False),
]
DeviceOption = Annotated[
    str,
    typer.Option(help="auto (a CUDA GPU where there is one, else the CPU), cpu, cuda, cuda:1, or mps (Apple's GPUs)."),
]
StepsOption = Annotated[int, _whole("--steps", "Steps of the sampler, 1 to 1000.", 1, 1000)]
BatchOption = Annotated[int, _whole("--batch", "Pictures drawn at once.", 1, 1024)]
SamplerOption = Annotated[str, typer.Option(help="ddpm, ddim, dpmpp-2m, dpmpp-2m-sde, dpmpp-sde or heun.")]
DrawingPrecisionOption = Annotated[
    str, typer.Option(help="Of the network: fp32, bf16, or auto: bf16 where this machine is faster with it.")
]


def _run(workflow: Any, *, as_json: bool) -> Any:
    from glyffctl.display.console import Display, emit_json

    result = Display(quiet=as_json).run(workflow)
    if as_json and result is not None:
        emit_json(result)
    return result


def _say(text: object) -> None:
    from glyffctl.display.console import say

    say(text)


@app.command(cls=_Command)
def prepare(
    fonts: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Font files (ttf, otf, ttc, otc, woff, woff2) or folders of them. Without: the system's Chinese font.",
            show_default=False,
            metavar="FONTS",
        ),
    ] = None,
    definitions: Annotated[
        Path | None,
        typer.Option(
            help="Unihan.zip, Unihan_Readings.txt (.gz, .bz2), kDefinition.txt, or a TSV, CSV or JSONL of characters "
            "and English definitions. Without: Unihan from the system or the Unicode site.",
            show_default=False,
        ),
    ] = None,
    size: Annotated[int, _whole("--size", "Height and width of a picture, in pixels.", 8, 1024)] = 128,
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
    alternate_captions: Annotated[
        bool,
        typer.Option(help="Tell parts of a definition alone, and the radical's meaning, besides the definition."),
    ] = True,
    format: Annotated[
        str, typer.Option(help="glyphs (fast to train from) or imagefolder (PNGs and metadata.jsonl).")
    ] = "glyphs",
    out: Annotated[Path, typer.Option(help="The folder to make.")] = Path("data"),
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the data in --out, even if it was made with other settings.")
    ] = False,
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
        alternate_captions=alternate_captions,
        format=_choice("--format", format, "glyphs", "imagefolder"),
        out=out,
        overwrite=overwrite,
    )
    report = _run(workflow.prepare(options), as_json=json)
    if not json:
        made = f"{report.glyphs:,} glyphs of {report.characters:,} characters, {size}×{size}"
        if report.up_to_date:
            _say(f"{report.out} is up to date: {made}, made with the same fonts, definitions and settings")
        else:
            _say(f"{report.out}: {made}, in {report.seconds:.1f} s")
        left_out = "; ".join(f"{count:,} ({why})" for why, count in report.left_out.items())
        _say(
            f"left out, each listed in {report.out / 'left_out.jsonl'}: {left_out}" if left_out else "nothing left out"
        )


@app.command(cls=_Command)
def embed(
    data: DataOption = Path("data"),
    encoder: Annotated[
        str,
        typer.Option(
            help="A text encoder: bundled (it comes with the program), a name on the Hugging Face hub such as "
            "google-t5/t5-small, or a folder."
        ),
    ] = "bundled",
    max_tokens: Annotated[int, _whole("--max-tokens", "Captions are cut to this many tokens.", 2, 100_000)] = 64,
    device: DeviceOption = "auto",
    json: JsonOption = False,
) -> None:
    """Encode every caption once, into a file beside the glyphs."""
    from glyffctl.workflows import embed as workflow

    options = workflow.EmbedOptions(data=data, encoder=encoder, max_tokens=max_tokens, device=device)
    report = _run(workflow.embed(options), as_json=json)
    if not json:
        _say(f"{report.path}: {report.captions:,} captions, {report.tokens:,} vectors of {report.width} numbers")


@app.command(cls=_Command)
def train(
    data: DataOption = Path("data"),
    out: Annotated[Path | None, typer.Option(help="The run folder. Without: runs/PRESET.", show_default=False)] = None,
    gpus: Annotated[
        int,
        _whole(
            "--gpus",
            "1 trains on a GPU, or on the CPU where there is none; 0 on the CPU; more starts as many processes. "
            "Under torchrun or srun, joins their job.",
            0,
            1024,
        ),
    ] = 1,
    device: DeviceOption = "auto",
    preset: Annotated[
        str | None,
        typer.Option(help="cpu, gpu or glyffuser. Without: what fits the machine.", show_default=False),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="A TOML file of settings, laid over the preset: see --show-config.", show_default=False),
    ] = None,
    epochs: Annotated[
        float | None, _real("--epochs", "Budget: passes over the data.", 0, above=True, show_default=False)
    ] = None,
    images: Annotated[int | None, _whole("--images", "Budget: pictures shown.", 1, _MOST, show_default=False)] = None,
    minutes: Annotated[
        float | None, _real("--minutes", "Budget: minutes of training.", 0, above=True, show_default=False)
    ] = None,
    batch: Annotated[
        int | None,
        _whole("--batch", "Pictures of a step, of all processes together.", 1, 1_000_000, show_default=False),
    ] = None,
    checkpoint_every: Annotated[
        int | None,
        _whole("--checkpoint-every", "Pictures between checkpoints.", 1, _MOST, metavar="IMAGES", show_default=False),
    ] = None,
    seed: Annotated[int | None, _whole("--seed", _SEED, 0, _MOST, show_default=False)] = None,
    encoder: Annotated[
        str | None,
        typer.Option(help="The text encoder for captions that are not embedded yet.", show_default=False),
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Start a new run from the weights of this model, a run folder, a model file or bundled, and take its "
            "network.",
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
    from glyffctl.core.training import distributed as processes
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
        device=device,
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


_WITH_AGAIN = {"again", "out", "model", "encoder", "device", "gif", "fps", "json"}
"""Options that a picture to make again says nothing about, or that may have changed since."""


@app.command(cls=_Sample)
def sample(
    ctx: typer.Context,
    prompts: Annotated[
        list[str] | None,
        typer.Argument(
            help='What the glyphs should mean. "" draws without a condition.', show_default=False, metavar="PROMPT"
        ),
    ] = None,
    from_file: Annotated[
        Path | None, typer.Option(help="Read prompts from a text file, one on a line.", show_default=False)
    ] = None,
    count: Annotated[int, _whole("--count", "Pictures of each prompt.", 1, 10_000)] = 16,
    steps: StepsOption = 20,
    guidance: Annotated[
        float,
        _real(
            "--guidance",
            "γ in uncond + γ·(cond − uncond): 1 is off, more follows the prompt more closely. "
            "(Where others write (1+w)·cond − w·uncond, w is γ − 1.)",
            -100,
            100,
        ),
    ] = 4.0,
    interval: Annotated[
        tuple[float, float] | None,
        typer.Option(help="Guide only between these two noise levels σ.", metavar="LOW HIGH", show_default=False),
    ] = None,
    negative: Annotated[str, typer.Option(help="Be led away from this instead of from nothing.")] = "",
    seed: Annotated[int, _whole("--seed", "Picture k depends on seed + k, and on nothing before it.", 0, _MOST)] = 0,
    sampler: SamplerOption = "dpmpp-2m",
    model: Annotated[
        Path | None,
        typer.Option(
            help="A run folder, a model file, or bundled; or a model of diffusers, its folder or its name on the "
            "Hugging Face hub such as yuewu/glyffuser. Without: the newest run under runs/ that has seen its data "
            "once, else bundled.",
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
    gif: Annotated[
        Path | None,
        typer.Option(
            help="Also write the denoising as a .gif: this file, or without a name one beside the picture.",
            metavar="[FILE.gif]",
            show_default=False,
        ),
    ] = None,
    fps: Annotated[float, _real("--fps", "Frames of the gif in a second.", 0, 50, above=True)] = 12.0,
    batch: BatchOption = 16,
    precision: DrawingPrecisionOption = "auto",
    device: DeviceOption = "auto",
    again: Annotated[
        Path | None,
        typer.Option(help="Make this PNG again, from the settings it carries, byte for byte.", show_default=False),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Draw new glyphs for a meaning."""
    if again is not None:
        typed = [param for param in ctx.command.params if _was_typed(ctx, param.name)]
        told = [_label(param) for param in typed if param.name not in _WITH_AGAIN]
        if told:
            raise UsageError(f"--again takes {' and '.join(told)} from the picture; leave {_them(told)} out")
    if prompts and from_file:
        raise UsageError("give prompts or --from-file, not both")
    from glyffctl.core.models.generate import Recipe
    from glyffctl.workflows import sample as workflow
    from glyffctl.workflows import sample_options

    if again is not None:
        options = sample_options.again(again, model=model, encoder=encoder, out=out, gif=gif, fps=fps, device=device)
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
            device=device,
            typed=not from_file,
        )
    report = _run(workflow.sample(options), as_json=json)
    if not json:
        for file in report.files if len(report.files) <= 3 else [report.files[0].parent]:
            _say(file)


@app.command(cls=_Command)
def evaluate(
    data: Annotated[
        Path, typer.Option(help="Real glyphs to compare with: the data folder that the model was trained on.")
    ] = Path("data"),
    model: ModelOption = None,
    encoder: MovedEncoderOption = None,
    count: Annotated[
        int,
        _whole(
            "--count", "Pictures of each prompt whose radical is known; 48 prompts come with the program.", 1, 10_000
        ),
    ] = 16,
    pictures: Annotated[
        int,
        _whole("--pictures", "Pictures of held-out definitions, at most, and as many without a prompt.", 16, 100_000),
    ] = 256,
    steps: StepsOption = 20,
    guidance: Annotated[float, _real("--guidance", "γ as in `sample`.", -100, 100)] = 4.0,
    sampler: SamplerOption = "dpmpp-2m",
    seed: Annotated[int, _whole("--seed", _SEED, 0, _MOST)] = 0,
    batch: BatchOption = 16,
    precision: DrawingPrecisionOption = "auto",
    device: DeviceOption = "auto",
    prompts: Annotated[
        Path | None,
        typer.Option(
            help='Prompts of your own: a TOML file with a table “prompts” of lines such as "a kind of fish" = 195, the '
            'Kangxi radical that answers it, or "to speak" = { radical = 149, also = [30] }.',
            show_default=False,
        ),
    ] = None,
    ids: Annotated[
        Path | None,
        typer.Option(
            help="A table of ideographic description sequences such as CJKVI's ids.txt (.gz): are glyphs made of parts "
            "that there are, in new combinations? A minute more.",
            show_default=False,
        ),
    ] = None,
    drawings: Annotated[
        Path | None,
        typer.Option(
            help="A .safetensors file to keep the drawn pictures in; the next time they are taken from it, unless "
            "model, prompts or settings have changed.",
            show_default=False,
        ),
    ] = None,
    steps_table: Annotated[
        bool, typer.Option("--steps-table", help="Also compare all samplers at 5, 10, 20 and 40 steps. Slow.")
    ] = False,
    classifier: Annotated[
        Path | None,
        typer.Option(
            help="A classifier of your own. Without: the one that comes with the program.", show_default=False
        ),
    ] = None,
    train_classifier: Annotated[
        bool,
        typer.Option(
            "--train-classifier",
            help="Train a classifier on --data (best of several fonts), write it to --classifier "
            "(classifier.safetensors), and stop.",
        ),
    ] = False,
    out: Annotated[Path, typer.Option(help="The JSON file with all figures.")] = Path("evaluation.json"),
    json: JsonOption = False,
) -> None:
    """Measure a model: does it follow prompts, is it like real glyphs, is it new, are its strokes clean?"""
    if train_classifier:
        from glyffctl.workflows import classifier as training

        learned = _run(
            training.make_classifier(
                training.ClassifierOptions(
                    data=data, out=classifier or Path("classifier.safetensors"), seed=seed, device=device
                )
            ),
            as_json=json,
        )
        if not json:
            for name, figure in learned.accuracy_of.items():
                _say(f"{figure.value:.1%} of held-out characters right in {name}")
            _say(f"{learned.out}: {learned.accuracy.value:.1%} right")
        return
    from glyffctl.core.models.generate import Recipe
    from glyffctl.workflows import evaluate as workflow

    options = workflow.EvaluateOptions(
        data=data,
        model=model,
        encoder=encoder,
        classifier=classifier,
        prompts=prompts,
        recipe=Recipe(sampler=sampler, steps=steps, guidance=guidance),
        count=count,
        pictures=pictures,
        seed=seed,
        batch=batch,
        precision=precision,
        device=device,
        ids=ids,
        drawings=drawings,
        steps_table=steps_table,
        out=out,
    )
    report = _run(workflow.evaluate(options), as_json=json)
    if not json:
        from glyffctl.display.evaluation_table import show_evaluation

        show_evaluation(report)
        for file in filter(None, (report.out, report.plot)):
            _say(file)


@app.command("visualize-umap", cls=_Command)
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
            metavar="PICTURE",
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
        int, _whole("--neighbors", "Glyphs that each is drawn to, 2 to 200: few show detail, many the whole.", 2, 200)
    ] = 15,
    min_dist: Annotated[float, _real("--min-dist", "How near points may come, 0 to 1.", 0, 1)] = 0.1,
    seed: Annotated[int, _whole("--seed", "Of the layout, and of glyphs drawn for --trace.", 0, 2**32 - 1)] = 0,
    model: ModelOption = None,
    encoder: MovedEncoderOption = None,
    device: DeviceOption = "auto",
    json: JsonOption = False,
) -> None:
    """Map all glyphs in the plane, like beside like: umap.png, and umap.html to walk about in."""
    from glyffctl.core.atlas.layout import MapSettings
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
        device=device,
    )
    report = _run(workflow.visualize(options), as_json=json)
    if not json:
        for file in report.files:
            _say(file)


@app.command("noise-demo", cls=_Command)
def noise_demo(
    figure: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this figure; can be given again. A wrong name lists them all.",
            metavar="NAME",
            show_default=False,
        ),
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
    seed: Annotated[int, _whole("--seed", _SEED, 0, _MOST)] = 0,
    model: ModelOption = None,
    encoder: MovedEncoderOption = None,
    device: DeviceOption = "auto",
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
        device=device,
        data=data,
        font=font,
        out=out,
    )
    if check:
        checked = _run(workflow.check(options), as_json=json)
        if not json:
            from glyffctl.display.claim_table import show_claims

            show_claims(checked)
        return
    report = _run(workflow.noise_demo(options), as_json=json)
    if not json:
        _say(report.page)


@app.command(cls=_Command)
def export(
    model: Annotated[
        Path | None,
        typer.Argument(
            help="A run folder, a model file, or bundled. Without: the newest run under runs/ that has seen its data "
            "once, else bundled.",
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


def _was_typed(ctx: typer.Context, name: str | None) -> bool:
    source = ctx.get_parameter_source(name or "")
    return source is not None and source.name == "COMMANDLINE"


def _label(param: Any) -> str:
    return "the prompts" if param.param_type_name == "argument" else param.opts[0]


def _them(names: list[str]) -> str:
    return "it" if len(names) == 1 and names[0].startswith("-") else "them"


def _choice(option: str, value: str, *choices: str) -> Any:
    if value not in choices:
        raise UsageError(f"{option} must be {' or '.join(choices)}, not {value!r}")
    return value


def main() -> None:
    """The console script."""
    # Waiting threads of OpenMP spin, and starve whoever else is at work: beside one busy process drawing took two and a
    # half times as long. Asleep they cost nothing when alone. Read when torch is loaded: for this program alone.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that has no Han shows their numbers
            stream.reconfigure(errors="backslashreplace")
    app()


if __name__ == "__main__":
    main()
