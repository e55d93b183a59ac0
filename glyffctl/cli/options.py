"""Types of options: checked numbers, and those that several commands share."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from glyffctl.core.errors import UsageError

if TYPE_CHECKING:
    from glyffctl.core.models.recipe import Recipe

MOST = 2**62 - 1
"""Upper limit of whole numbers that have no other; torch counts in 64 bits."""
SEED = "Seed of all random numbers."


def whole(option: str, help: str, low: int, high: int, *, metavar: str = "N", show_default: bool = True) -> Any:
    """Return an option for a whole number from `low` to `high`; other values raise UsageError with the range."""

    def parse(text: str | int) -> int:
        try:
            number = int(text)
        except ValueError:
            number = low - 1
        if not low <= number <= high:
            limits = f"from {low:,} to {high:,}" if high < MOST else f"from {low:,} up"
            raise UsageError(f"{option} must be a whole number {limits}, not {text}")
        return number

    return typer.Option(option, help=help, parser=parse, metavar=metavar, show_default=show_default)


def real(
    option: str,
    help: str,
    low: float,
    high: float = math.inf,
    *,
    above: bool = False,
    show_default: bool = True,
    word: str = "",
) -> Any:
    """Return an option for a finite number from `low` to `high`; other values raise UsageError with the range.

    Args:
        option: its name, such as "--fps".
        help: its help text.
        low: the least value.
        high: the greatest value.
        above: exclude `low` itself.
        show_default: whether the help shows the default.
        word: is taken in place of a number.
    """

    def parse(text: str | float) -> float | str:
        if word and text == word:
            return word
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not low <= number <= high or not math.isfinite(number) or (above and number == low):
            upto = f" {'and at most' if above else 'to'} {high:g}" if math.isfinite(high) else ""
            least = f"{'above' if above else 'from'} {low:g}"
            also = f", or {word}" if word else ""
            raise UsageError(f"{option} must be a finite number {least}{upto}{also}, not {text}")
        return number

    return typer.Option(
        option, help=help, parser=parse, metavar=f"NUMBER|{word}" if word else "NUMBER", show_default=show_default
    )


def choice(option: str, value: str, *choices: str) -> Any:
    """Return `value`, which must be one of `choices`; otherwise raise UsageError."""
    if value not in choices:
        raise UsageError(f"{option} must be {' or '.join(choices)}, not {value!r}")
    return value


def given_recipe(
    sampler: str | None,
    steps: int | None,
    guidance: float | None,
    interval: tuple[float, float] | None = None,
    passes: int | None = None,
    schedule: str | None = None,
    **tuning: Any,
) -> Recipe | None:
    """The recipe of these options; None, which is the model's own, if only guidance is left to say."""
    from glyffctl.core.models.level_table import read_table
    from glyffctl.core.models.recipe import FEW_STEP, Recipe

    levels = read_table(Path(schedule)) if schedule is not None and schedule.endswith(".toml") else schedule
    given: dict[str, Any] = {"sampler": sampler, "steps": steps, "interval": interval, "schedule": levels, **tuning}
    guided: dict[str, Any] = {} if guidance is None else {"guidance": guidance}
    if passes is not None:
        others = [f"--{name.replace('_', '-')}" for name, value in given.items() if value is not None]
        if others:
            raise UsageError(f"--passes is for the few-step student, {others[0]} for the whole model; leave one out")
        return Recipe(sampler=FEW_STEP, steps=passes, **guided)
    given = {name: value for name, value in given.items() if value is not None}
    return Recipe(**given, **guided) if given else None


DEFAULT_MODEL = "Default: the newest run under runs/ trained for at least one epoch, otherwise bundled."

Json = Annotated[bool, typer.Option("--json", help="Print the result on stdout as one line of JSON.")]
Data = Annotated[Path, typer.Option(help="Data folder written by `prepare`, or any image–caption folder.")]
Model = Annotated[
    Path | None,
    typer.Option(
        help=f"Run folder, model file, bundled, or a diffusers model (folder or name on the hub). {DEFAULT_MODEL}",
        show_default=False,
    ),
]
MovedEncoder = Annotated[
    str | None,
    typer.Option(help="Text encoder of the model, if it was moved after training.", show_default=False),
]
Device = Annotated[
    str,
    typer.Option(help="auto (a CUDA GPU if there is one, otherwise the CPU), cpu, cuda, cuda:1, or mps (Apple GPUs)."),
]
Passes = Annotated[
    int | None,
    whole(
        "--passes",
        "Draw with the model's few-step student, in 1, 2, 4 or 8 passes. The bundled model has one; `train --preset "
        "few-step` makes others. Default: the student's own number, if the model has a student and no other option "
        "needs the whole model.",
        1,
        1000,
        show_default=False,
    ),
]
Steps = Annotated[
    int | None,
    whole(
        "--steps",
        "Draw with the whole model, in this many sampler steps, 1 to 1000. Default where no student draws: 12, "
        "guided only at σ ≥ 1; with --sampler, or for a model whose schedule is not karras, 20, all guided.",
        1,
        1000,
        show_default=False,
    ),
]
Batch = Annotated[int, whole("--batch", "Most pictures to draw at once; fewer where memory is short.", 1, 1024)]
Sampler = Annotated[
    str | None,
    typer.Option(
        help="ddpm, ddim, dpmpp-2m, dpmpp-2m-sde, dpmpp-sde, heun, langevin, pc (predictor–corrector), or one that "
        "you added in code. Default: dpmpp-2m.",
        show_default=False,
    ),
]
Schedule = Annotated[
    str | None,
    typer.Option(
        help="Noise levels that the steps visit, between the model's lowest and highest: linear, cosine, karras, "
        "entropic (every step removes the same amount of uncertainty), rescaled-entropic (the same, weighted "
        "by σ), or a TOML file with a list sigma of levels, and unless they are to be spread evenly, a list "
        "information. Default: the model's own.",
        metavar="NAME|FILE.toml",
        show_default=False,
    ),
]
Snr = Annotated[
    float | None,
    real(
        "--snr",
        "Signal-to-noise ratio of a Langevin step, for the samplers langevin (default 0.4) and pc (default 0.16): "
        "higher values take larger steps.",
        0.001,
        0.95,
        show_default=False,
    ),
]
LangevinSteps = Annotated[
    int | None,
    whole(
        "--langevin-steps",
        "Langevin steps at each noise level, for the samplers langevin (default 5) and pc (default 1). "
        "Each is a pass of the network.",
        1,
        1000,
        show_default=False,
    ),
]
DdpmVariance = Annotated[
    Any,  # a number or a word
    real(
        "--ddpm-variance",
        "Variance of a step of the sampler ddpm: 0 is β̃ (the default), 1 is β, and values between them interpolate "
        "the logarithm; measured takes, at each step, what is best by the model's own errors.",
        0,
        1,
        show_default=False,
        word="measured",
    ),
]
Precision = Annotated[
    str, typer.Option(help="Precision of the network: fp32, bf16, or auto (bf16 if it is faster on this machine).")
]
