"""`glyffctl sample --upscale`: enlarge pictures that are there; each PNG records how."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from glyffctl.core.errors import DataError, UsageError
from glyffctl.core.io.images import Array, picture_digest, read_settings, save_png
from glyffctl.core.io.names import utf8_name
from glyffctl.core.io.reading import short_repr
from glyffctl.version import __version__
from glyffctl.workflows.companions import UPSCALER
from glyffctl.workflows.enlarge import Enlarger
from glyffctl.workflows.enlarge_options import DRAWN, SOURCE, EnlargeOptions
from glyffctl.workflows.events import Event
from glyffctl.workflows.glyph_file import read_glyph, settings_of, shown_by
from glyffctl.workflows.rounding import Conditions, warn_of_rounding
from glyffctl.workflows.sample import SampleReport
from glyffctl.workflows.sample_files import check_output, unused


@dataclass(frozen=True, kw_only=True)
class UpscaleOptions:
    """Options of `upscale`.

    Attributes:
        files: pictures of the size that the upscaler enlarges.
        enlarge: how.
        seed: of the noise of the first picture; picture k has seed + k.
        out: a .png file for one picture, or a folder; None writes beside each picture.
        device: see `core.device.choose_device`.
        digest: what `picture_digest` says of the only picture, when it is enlarged again; None allows any.
        drawn: what the large picture recorded of how the small one was drawn, when it is enlarged again; None is
            nothing.
    """

    files: tuple[Path, ...]
    enlarge: EnlargeOptions = field(default_factory=EnlargeOptions)
    seed: int = 0
    out: Path | None = None
    device: str = "auto"
    digest: str | None = None
    drawn: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        """Raise UsageError for options that do not go together."""
        if not self.files:
            raise UsageError("name a picture to enlarge: glyffctl sample --upscale FILE.png")
        if self.out is not None and len(self.files) > 1 and self.out.suffix.lower() == ".png":
            raise UsageError(f"--out takes a folder for several pictures, not {self.out}")
        if not 0 <= self.seed < 2**62:
            raise UsageError(f"--seed must be in 0…2⁶²−1, not {self.seed}")


def upscale(options: UpscaleOptions) -> Generator[Event, None, SampleReport]:
    """Enlarge pictures, one after the other, and write each into a PNG of its own.

    Raises:
        GlyffError: the upscaler, a picture or the output cannot be used.
    """
    if options.out is not None:
        check_output(options.out)
    path = UPSCALER.path(options.enlarge.upscaler)
    enlarger = Enlarger(options.enlarge, options.device)
    pictures = [_read(file, enlarger.small) for file in options.files]
    drawn = [options.drawn] if options.digest is not None else [_drawn(file) for file in options.files]
    if options.digest not in (None, picture_digest(pictures[0])):
        raise DataError(f"{options.files[0]} is no longer the picture that was enlarged; put that one back")
    now, before = enlarger.made, options.enlarge
    yield from warn_of_rounding(
        Conditions(device=before.drawn_on, threads=before.threads), Conditions(device=now.drawn_on)
    )
    started = time.perf_counter()
    written = []
    for number, (file, picture) in enumerate(zip(options.files, pictures, strict=True)):
        seed = options.seed + number
        # One at a time: the last digits of sums depend on how many are drawn together.
        large = yield from enlarger.enlarge(picture[None], [seed])
        settings = upscale_settings(utf8_name(file.absolute()), picture, seed, enlarger, drawn[number])
        out = _output(file, options.out, enlarger.made.size or 0)
        save_png(out, Image.fromarray(large[0]), settings)
        written.append(out)
    return SampleReport(written, path, time.perf_counter() - started)


def upscale_settings(
    source: str, picture: Array, seed: int, enlarger: Enlarger, drawn: dict[str, Any] | None
) -> dict[str, Any]:
    """What a large picture records: of the small one, the name, the pixels' digest and, if known, how it was drawn."""
    return {
        "glyffctl": __version__,
        SOURCE: source,
        "picture": picture_digest(picture),
        "seed": seed,
        "enlarged": enlarger.made.as_plain(),
        **({} if drawn is None else {DRAWN: drawn}),
    }


def _output(file: Path, out: Path | None, size: int) -> Path:
    if out is not None and out.suffix.lower() == ".png" and not out.is_dir():
        return out
    return unused((file.parent if out is None else out) / f"{file.stem}-{size}.png")


def _read(file: Path, size: int) -> Array:
    image = read_glyph(file, str(file), size)
    if image.size != (size, size):
        raise DataError(
            f"{file} has {image.width}×{image.height} pixels, the upscaler enlarges {size}×{size}; name a picture of "
            "that size, such as `glyffctl sample` draws without --size"
        )
    return np.array(image)


def _drawn(file: Path) -> dict[str, Any] | None:
    """What a picture of `sample`, or one that was enlarged from such a picture, records of how it was drawn."""
    settings = settings_of(file) or {}
    drawn = settings.get(DRAWN) if SOURCE in settings else settings
    shown = shown_by(drawn) if isinstance(drawn, dict) else None
    if drawn is None or shown is None:
        return None
    if shown.only is None:  # one glyph of it is enlarged, and only of a sheet of one is known which
        return drawn | {"only": 0} if shown.glyphs == 1 else None
    return drawn


def upscale_options_from_picture(
    file: Path, *, upscaler: Path | None = None, out: Path | None = None, device: str = "auto"
) -> UpscaleOptions:
    """The options that redraw the picture `file`, see `sample_options.options_from_picture`.

    Raises:
        GlyffError: `file` does not record how it was made, or cannot be read.
    """
    settings = read_settings(file)
    try:
        return UpscaleOptions(
            files=(Path(str(settings[SOURCE])),),
            enlarge=EnlargeOptions.from_plain(settings["enlarged"], upscaler),
            seed=int(settings["seed"]),
            out=out or file.with_name(f"{file.stem}-again.png"),
            device=device,
            digest=str(settings["picture"]),
            drawn=None if settings.get(DRAWN) is None else dict(settings[DRAWN]),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"{file} does not record in full how it was made ({short_repr(error)})") from error
