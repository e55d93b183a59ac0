"""What `sample` can be asked, where prompts come from, and how a picture remembers what was asked."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from glyffctl.core.errors import UsageError
from glyffctl.core.evaluation.prompts import check_prompt
from glyffctl.core.io.bundled import BUNDLED, model_name
from glyffctl.core.io.images import read_settings
from glyffctl.core.io.names import utf8_name
from glyffctl.core.io.reading import read_text, short_repr
from glyffctl.core.models.generate import Recipe
from glyffctl.core.precision import check_precision
from glyffctl.version import __version__

BESIDE = Path(".gif")
"""For `SampleOptions.gif`: the gif is named after the picture."""
MAX_PICTURES = 10_000
MAX_BATCH = 1024  # a network of 14 million parameters takes 2.5 MB for each
MAX_PROMPT_FILE = 10 * 2**20  # bytes


@dataclass(frozen=True, kw_only=True)
class SampleOptions:
    """What `sample` is asked to do.

    Attributes:
        prompts: each gives `count` pictures; "" draws without a condition.
        model: a model file or run folder, or a model of diffusers: its folder, or its name on the hub. None is the
            newest run under runs/, or the bundled model if there is none.
        encoder: where the model's text encoder is now, if not where it was in training.
        negative: what to be led away from; "" is the empty prompt.
        seed: picture k of a prompt is drawn from seed + k.
        out: a .png file for one sheet, or a folder for single pictures; None names a file after the prompt.
        gif: a .gif file for the denoising; BESIDE names it after the picture.
        fps: frames per second of the gif.
        batch: pictures drawn at once; changes memory and speed, and the pictures only by rounding.
        precision: of the inside of the network; changes speed, and the pictures only by rounding. "auto" is bfloat16
            where this machine is faster with it.
        device: where to draw, see `core.device.choose_device`.
        only: draw all, but write this picture alone (counted over all prompts).
        weights: the identity the model must have; None takes any.
        threads: how many torch computes with on a CPU, where the machine has as many; None leaves that alone.
        drawn_on: the kind of device that the picture was made on, if it is made again.
        typed: the prompts are words of a command line, where one prompt without quotes looks like several.
    """

    prompts: tuple[str, ...]
    model: Path | None = None
    encoder: str | None = None
    recipe: Recipe = field(default_factory=Recipe)
    negative: str = ""
    seed: int = 0
    count: int = 16
    out: Path | None = None
    gif: Path | None = None
    fps: float = 12.0
    batch: int = 16
    precision: str = "auto"
    device: str = "auto"
    only: int | None = None
    weights: str | None = None
    threads: int | None = None
    drawn_on: str | None = None
    typed: bool = False

    def __post_init__(self) -> None:
        """Raise UsageError for values out of range."""
        if not self.prompts:
            raise UsageError('name a prompt: glyffctl sample "lithium"')
        if self.count < 1 or self.count * len(self.prompts) > MAX_PICTURES:
            raise UsageError(
                f"--count times the number of prompts must be in 1…{MAX_PICTURES:,}, not "
                f"{self.count * len(self.prompts):,}"
            )
        if self.only is not None and not 0 <= self.only < self.count * len(self.prompts):
            raise UsageError(f"there is no picture {self.only} among {self.count * len(self.prompts):,}")
        if not 0 <= self.seed < 2**62:
            raise UsageError(f"--seed must be in 0…2⁶²−1, not {self.seed}")
        if not 0 < self.fps <= 50:
            raise UsageError(f"--fps must be more than 0 and at most 50, not {self.fps}")
        if not 1 <= self.batch <= MAX_BATCH:  # a picture to make again says it, too
            raise UsageError(f"--batch must be in 1…{MAX_BATCH:,}, not {self.batch}")
        check_precision(self.precision)
        if self.threads is not None and self.threads < 1:
            raise UsageError(f"a picture is drawn with at least 1 thread, not {self.threads}")
        for prompt in (*self.prompts, self.negative):
            check_prompt(prompt)


def to_settings(options: SampleOptions, model: Path, encoder: str, weights: str) -> dict[str, Any]:
    """All that makes the pictures of `options` again, as JSON for a PNG to carry."""
    recipe = asdict(options.recipe)
    recipe["interval"] = [end if math.isfinite(end) else None for end in options.recipe.interval]  # JSON has no ∞
    return {
        "glyffctl": __version__,
        "prompts": list(options.prompts),
        "negative": options.negative,
        "seed": options.seed,
        "count": options.count,
        "recipe": recipe,
        "batch": options.batch,
        "precision": options.precision,
        "threads": options.threads,
        "device": options.drawn_on,
        "only": options.only,
        "model": utf8_name(_lasting(model_name(model))),
        "weights": weights,
        "encoder": utf8_name(encoder),
    }


def _lasting(model: Path) -> Path:
    """How to name a model so that it is found from another folder."""
    return model if model == Path(BUNDLED) or not model.exists() else model.absolute()


def again(
    file: Path,
    *,
    model: Path | None = None,
    encoder: str | None = None,
    out: Path | None = None,
    device: str = "auto",
    gif: Path | None = None,
    fps: float = SampleOptions.fps,
) -> SampleOptions:
    """The options that make the picture `file` again; `model` and `encoder` say where those are now, if they moved.

    `gif` and `fps` are no part of the picture, and as in `SampleOptions`.

    Raises:
        GlyffError: `file` is not a picture of ours.
    """
    settings = read_settings(file)
    try:
        recipe = settings["recipe"]
        low, high = (math.inf if end is None else float(end) for end in recipe["interval"])
        return SampleOptions(
            prompts=tuple(str(prompt) for prompt in settings["prompts"]),
            negative=str(settings["negative"]),
            seed=int(settings["seed"]),
            count=int(settings["count"]),
            recipe=Recipe(
                sampler=str(recipe["sampler"]),
                steps=int(recipe["steps"]),
                guidance=float(recipe["guidance"]),
                interval=(low, high),
            ),
            batch=int(settings["batch"]),
            precision=str(settings.get("precision", "fp32")),  # all there was before it was said
            only=None if settings["only"] is None else int(settings["only"]),
            threads=None if settings.get("threads") is None else int(settings["threads"]),
            drawn_on=None if settings.get("device") is None else str(settings["device"])[:40],
            gif=gif,
            fps=fps,
            model=model or Path(settings["model"]),
            weights=str(settings["weights"]),
            encoder=encoder or str(settings["encoder"]),
            out=out or file.with_name(f"{file.stem}-again.png"),
            device=device,
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"{file} does not say in full how it was made ({short_repr(error)})") from error


def read_prompts(path: Path) -> tuple[str, ...]:
    """The prompts of a text file, one on a line; empty lines are passed over.

    Raises:
        UsageError: the file cannot be read, is too large, or holds no prompt.
    """
    text = read_text(path, UsageError, MAX_PROMPT_FILE)
    prompts = tuple(line.strip() for line in text.splitlines() if line.strip())
    if not prompts:
        raise UsageError(f"{path} holds no prompt; write one on each line")
    return prompts
