"""A picture of one glyph, and what it records of how it was drawn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from glyffctl.core.errors import DataError, GlyffError, UsageError
from glyffctl.core.io.images import read_png, settings_in, split_sheet
from glyffctl.core.io.picture import read_grey, to_grey
from glyffctl.core.io.svg import SUFFIX

_MOST_GLYPHS = 100_000
"""Of a sheet."""


@dataclass(frozen=True)
class Shown:
    """What a picture of `sample` shows, by its record.

    Attributes:
        prompts: each has `count` pictures.
        count: pictures of each prompt.
        only: the one that is shown, counted over all prompts; None is a sheet of all.
    """

    prompts: list[str]
    count: int
    only: int | None

    @property
    def glyphs(self) -> int:
        """How many it shows."""
        return len(self.prompts) * self.count if self.only is None else 1


def shown_by(settings: dict[str, Any] | None) -> Shown | None:
    """What a picture with these settings shows; None for those that `sample` did not draw."""
    if settings is None or "prompts" not in settings:
        return None
    prompts, count, only = settings["prompts"], settings.get("count"), settings.get("only")
    if (
        not isinstance(prompts, list)
        or not all(isinstance(prompt, str) for prompt in prompts)
        or not isinstance(count, int)
        or not 1 <= count * len(prompts) <= _MOST_GLYPHS
        or not (only is None or (isinstance(only, int) and 0 <= only < count * len(prompts)))
    ):
        return None
    return Shown(prompts, count, only)


def settings_of(file: Path) -> dict[str, Any] | None:
    """The settings of a picture file; None where it records none."""
    try:
        return settings_in(read_png(file))
    except GlyffError:  # of another format, whatever its name: only PNGs record anything
        return None


def refuse_svg(file: Path) -> None:
    """Raise DataError for an SVG, which has no pixels."""
    if file.suffix.lower() == SUFFIX:
        raise DataError(f"{file} is an SVG; draw it again as a PNG: glyffctl sample --again {file} --out FILE.png")


def read_glyph(given: Path | Image.Image, what: str, size: int) -> Image.Image:
    """The glyph of a picture, in grey at its own size; that of a sheet of one glyph without the margin.

    Args:
        given: a file, or an image.
        what: what an error calls an image.
        size: height and width that are wanted; a picture that has them is taken for one glyph.

    Raises:
        DataError: it cannot be read, or is a sheet of several glyphs.
    """
    if isinstance(given, Path):
        refuse_svg(given)
        grey = read_grey(given, "name another one")
    else:
        grey = to_grey(given, what)
    if grey.size == (size, size):
        return grey
    shown = shown_by(settings_of(given) if isinstance(given, Path) else settings_in(given))
    if shown is None or shown.only is not None:
        return grey
    if shown.glyphs > 1:
        name, file = (given, given) if isinstance(given, Path) else (what, "SHEET.png")
        raise DataError(
            f"{name} is a sheet of {shown.glyphs:,} glyphs; name one of those that this writes: glyffctl sample "
            f"--again {file} --out FOLDER"
        )
    try:
        return Image.fromarray(split_sheet(grey, 1, 1, titled=False)[0])
    except UsageError:  # it was cut or scaled since
        return grey
