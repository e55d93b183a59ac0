"""Options of `sample`, and how a PNG records them; reading prompts from a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glyffctl.core.errors import UsageError
from glyffctl.core.io.bundled import BUNDLED, model_name
from glyffctl.core.io.images import read_settings
from glyffctl.core.io.names import utf8_name
from glyffctl.core.io.reading import read_text, short_repr
from glyffctl.core.models.recipe import Recipe
from glyffctl.core.precision import check_precision
from glyffctl.core.text.prompt import check_prompt
from glyffctl.version import __version__
from glyffctl.workflows.enlarge_options import EnlargeOptions
from glyffctl.workflows.guide_options import AwayOptions, LeadOptions
from glyffctl.workflows.source_options import SourceOptions

GIF_BESIDE_PICTURE = Path(".gif")
"""For `SampleOptions.gif`: the GIF is named after the picture."""
FORMATS = ("png", "svg")
MAX_PICTURES = 10_000
MAX_BATCH = 1024  # pictures; a network of 14 million parameters needs 2.5 MB for each
MAX_PIXELS = 160_000_000  # of large pictures together, so that a sheet of them can be read again
MAX_PROMPT_FILE = 10 * 2**20  # bytes


@dataclass(frozen=True, kw_only=True)
class SampleOptions:
    """Options of `sample`.

    Attributes:
        prompts: each gives `count` pictures; "" draws without a condition.
        model: a model file, a run folder, or a diffusers model: its folder, or its name on the Hugging Face hub. None
            is the newest run under runs/ that has trained for an epoch, or else the bundled model.
        encoder: where the model's text encoder is now; None is where it was in training.
        recipe: sampler, steps and guidance; None is the model's own, `Model.recipe`.
        guidance: γ instead of the recipe's; None leaves that.
        negative: the prompt that guidance leads away from; "" is the empty prompt.
        seed: the noise of picture k of a prompt has the seed `seed + k`.
        count: pictures per prompt.
        out: a .png or .svg file for one sheet, or a folder for single pictures; None names a file after the prompts.
        format: "png", or "svg" for outlines; None is what `out` ends in, or else "png".
        gif: a .gif file that shows the denoising; GIF_BESIDE_PICTURE names it after the picture; None writes none.
        fps: frames per second of the GIF, above 0 and up to 50.
        batch: most pictures drawn at once, fewer where memory is short; changes memory and speed, and the pictures only
            by rounding.
        precision: precision inside the network, "fp32", "bf16", or "auto" for the faster one here; changes speed, and
            the pictures only by rounding.
        device: see `core.device.choose_device`.
        only: draw all pictures, but write only this one (counted over all prompts).
        weights: the identity that the model must have; None allows any.
        threads: CPU threads that PyTorch uses, if the machine has as many; None leaves them as they are.
        drawn_on: the kind of device that first drew the picture, when it is redrawn.
        runtime: the library that first drew it, "onnxruntime" or "torch"; None takes what is faster to start.
        lead: a classifier that leads to a radical; None is none.
        away: a worse model that guidance leads away from, in place of the pass without a prompt; None is none.
        source: a picture to begin with; None is none.
        enlarge: how the pictures are enlarged; None leaves them as the model draws them.
        typed: the prompts come from a command line, where one prompt without quotes looks like several.
    """

    prompts: tuple[str, ...]
    model: Path | None = None
    encoder: str | None = None
    recipe: Recipe | None = None
    guidance: float | None = None
    negative: str = ""
    seed: int = 0
    count: int = 16
    out: Path | None = None
    format: str | None = None
    gif: Path | None = None
    fps: float = 12.0
    batch: int = 16
    precision: str = "auto"
    device: str = "auto"
    only: int | None = None
    weights: str | None = None
    threads: int | None = None
    drawn_on: str | None = None
    runtime: str | None = None
    lead: LeadOptions | None = None
    away: AwayOptions | None = None
    source: SourceOptions | None = None
    enlarge: EnlargeOptions | None = None
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
        if not 1 <= self.batch <= MAX_BATCH:  # a picture records it, too
            raise UsageError(f"--batch must be in 1…{MAX_BATCH:,}, not {self.batch}")
        check_precision(self.precision)
        self._check_format()
        if self.enlarge is not None:
            if self.gif is not None:
                raise UsageError("--gif shows the small pictures while they are drawn; leave out --gif or --size")
            size = self.enlarge.size or 0
            if self.count * len(self.prompts) * size**2 > MAX_PIXELS:
                raise UsageError(
                    f"{self.count * len(self.prompts):,} pictures of {size}×{size} are too many at once; draw at most "
                    f"{max(1, MAX_PIXELS // size**2):,} in one run"
                )
        self._check_guidance()
        if self.threads is not None and self.threads < 1:
            raise UsageError(f"a picture is drawn with at least 1 thread, not {self.threads}")
        for prompt in (*self.prompts, self.negative):
            check_prompt(prompt)

    def _check_guidance(self) -> None:
        if self.away is not None and self.negative.strip():
            raise UsageError("--guide takes the place of a negative prompt; leave --negative or --guide out")
        prompted = any(text.strip() for text in (*self.prompts, self.negative))
        if self.guidance not in (None, 1.0) and not prompted and self.away is None and (self.lead or self.source):
            more = "; how much the radical leads is --classifier-scale" if self.lead else ""
            raise UsageError(
                f"--guidance follows a prompt, and there is none: name a prompt, or leave --guidance out{more}"
            )

    def _check_format(self) -> None:
        if self.format not in (None, *FORMATS):
            raise UsageError(f"--format must be {' or '.join(FORMATS)}, not {self.format!r}")
        if self.is_sheet and self.out is not None and self.format not in (None, self.out.suffix.lower()[1:]):
            raise UsageError(f"--out {self.out} contradicts --format {self.format}; leave one of them out")

    @property
    def is_sheet(self) -> bool:
        """Whether all pictures go into one file."""
        return self.out is None or (self.out.suffix.lower()[1:] in FORMATS and not self.out.is_dir())

    @property
    def ending(self) -> str:
        """What the names of the files end in, ".png" or ".svg"."""
        if self.out is not None and self.is_sheet:
            return self.out.suffix.lower()
        return f".{self.format or FORMATS[0]}"


def to_settings(options: SampleOptions, recipe: Recipe, model: Path, encoder: str, weights: str) -> dict[str, Any]:
    """What redrawing the pictures of `options` by `recipe` needs, as JSON for a PNG."""
    parts = {"enlarged": options.enlarge, "led": options.lead, "away": options.away, "source": options.source}
    return {
        "glyffctl": __version__,
        "prompts": list(options.prompts),
        "negative": options.negative,
        "seed": options.seed,
        "count": options.count,
        "recipe": recipe.as_plain(),
        "batch": options.batch,
        "precision": options.precision,
        "threads": options.threads,
        "device": options.drawn_on,
        "runtime": options.runtime,
        "only": options.only,
        "model": utf8_name(_absolute(model_name(model))),
        "weights": weights,
        "encoder": utf8_name(encoder),
        **{name: part.as_plain() for name, part in parts.items() if part is not None},
    }


def _absolute(model: Path) -> Path:
    """A path of the model that is valid in any working directory."""
    return model if model == Path(BUNDLED) or not model.exists() else model.absolute()


def options_from_picture(
    file: Path,
    *,
    model: Path | None = None,
    encoder: str | None = None,
    upscaler: Path | None = None,
    classifier: Path | None = None,
    guide: Path | None = None,
    out: Path | None = None,
    format: str | None = None,
    device: str = "auto",
    gif: Path | None = None,
    fps: float = SampleOptions.fps,
) -> SampleOptions:
    """The options that redraw the picture `file`.

    Args:
        file: a PNG or SVG that `sample` has written.
        model: where the model is now; None is where it was.
        encoder: where its text encoder is now; None is where it was.
        upscaler: where its upscaler is now, if one enlarged it; None is where it was.
        classifier: where its classifier is now, if one led it; None is where it was.
        guide: where the worse model is now, if it was guided away from one; None is where it was.
        out: the file to write; None adds "-again" to the name of `file`.
        format: as in `SampleOptions`; None is that of `out`, or else of `file`.
        device: as in `SampleOptions`.
        gif: as in `SampleOptions`; a picture does not record it.
        fps: as in `SampleOptions`; a picture does not record it.

    Raises:
        GlyffError: `file` does not record how it was made, or cannot be read.
    """
    settings = read_settings(file)
    enlarged = settings.get("enlarged")
    if upscaler is not None and enlarged is None:
        raise UsageError(f"{file} was not enlarged; leave --upscaler out")
    led, away, source = settings.get("led"), settings.get("away"), settings.get("source")
    if classifier is not None and led is None:
        raise UsageError(f"{file} was not led by a classifier; leave --classifier out")
    if guide is not None and away is None:
        raise UsageError(f"{file} was not guided by another model; leave --guide out")
    try:
        return SampleOptions(
            prompts=tuple(str(prompt) for prompt in settings["prompts"]),
            negative=str(settings["negative"]),
            seed=int(settings["seed"]),
            count=int(settings["count"]),
            recipe=Recipe.from_plain(settings["recipe"]),
            batch=int(settings["batch"]),
            precision=str(settings.get("precision", "fp32")),  # pictures that do not record it were drawn in fp32
            only=None if settings["only"] is None else int(settings["only"]),
            threads=None if settings.get("threads") is None else int(settings["threads"]),
            drawn_on=None if settings.get("device") is None else str(settings["device"])[:40],
            runtime=str(settings.get("runtime", "torch"))[:40],  # pictures that do not record it were drawn by PyTorch
            gif=gif,
            fps=fps,
            model=model or Path(settings["model"]),
            weights=str(settings["weights"]),
            encoder=encoder or str(settings["encoder"]),
            out=out or file.with_name(f"{file.stem}-again.{format or file.suffix.lower()[1:] or FORMATS[0]}"),
            format=format,
            device=device,
            enlarge=None if enlarged is None else EnlargeOptions.from_plain(enlarged, upscaler),
            lead=None if led is None else LeadOptions.from_plain(led, classifier),
            away=None if away is None else AwayOptions.from_plain(away, guide),
            source=None if source is None else SourceOptions.from_plain(source),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"{file} does not record in full how it was made ({short_repr(error)})") from error


def read_prompts(path: Path) -> tuple[str, ...]:
    """The prompts of a text file, one per line; empty lines are skipped.

    Raises:
        UsageError: the file cannot be read, is too large, or holds no prompt.
    """
    text = read_text(path, UsageError, MAX_PROMPT_FILE)
    prompts = tuple(line.strip() for line in text.splitlines() if line.strip())
    if not prompts:
        raise UsageError(f"{path} holds no prompt; write one per line")
    return prompts
