"""Pictures that become a font: found in files and folders, cut out of sheets, with what they record."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from glyffctl.core.errors import DataError, UsageError
from glyffctl.core.io.images import Array, near_square, read_png, settings_in, split_sheet
from glyffctl.core.io.names import by_number
from glyffctl.core.io.picture import read_grey
from glyffctl.workflows.enlarge_options import DRAWN
from glyffctl.workflows.glyph_file import Shown, refuse_svg, shown_by

MOST_SIDE = 4096
"""Pixels of a side of a picture."""
_MOST_NAMED = 100_000  # files


@dataclass(frozen=True, eq=False)
class FontPicture:
    """A picture that becomes a glyph.

    Attributes:
        file: where it is.
        place: its number among the pictures of the file, from 0.
        pixels: (size, size) uint8, 255 is paper.
        prompt: that it was drawn of; "" if none is recorded.
        seed: that it was drawn with; None if none is recorded.
        settings: all that the file records of how it was drawn; None if it records nothing.
    """

    file: Path
    place: int
    pixels: Array
    prompt: str
    seed: int | None
    settings: dict[str, Any] | None


def find_pictures(paths: Sequence[Path]) -> list[Path]:
    """The files among `paths` and the PNGs in folders, with numbers in names in their order.

    Raises:
        UsageError: a folder has no PNG, or there are too many files.
    """
    files: list[Path] = []
    for path in paths:
        files += _pngs(path) if path.is_dir() else [path]
    if len(files) > _MOST_NAMED:
        raise UsageError(f"a font of {len(files):,} files is too large; name at most {_MOST_NAMED:,}")
    return files


def _pngs(folder: Path) -> list[Path]:
    files = sorted(folder.iterdir(), key=lambda file: by_number(file.name))
    found = [file for file in files if file.suffix.lower() == ".png"]
    if not found and (svg := next((file for file in files if file.suffix.lower() == ".svg"), None)) is not None:
        raise UsageError(f"{folder} holds SVGs; draw them again as PNGs: glyffctl sample --again {svg} --out FILE.png")
    if not found:
        raise UsageError(f'{folder} holds no PNG; draw some: glyffctl sample "lithium" --out {folder}')
    return found


def read_pictures(file: Path) -> Iterator[FontPicture]:
    """The pictures of a file: those of a sheet of `sample` one by one, any other picture as one.

    Raises:
        GlyffError: the file cannot be read, is too large, or is no sheet as its settings describe.
    """
    settings = None
    if file.suffix.lower() == ".png":
        with read_png(file) as image:
            settings = _of_drawing(settings_in(image))
            shown = shown_by(settings)
            if shown is not None and shown.only is None:
                yield from _of_sheet(file, image, settings, shown)
                return
    refuse_svg(file)
    grey = read_grey(file, "name another one")
    if max(grey.size) > MOST_SIDE:
        raise DataError(f"{file} has {grey.width}×{grey.height} pixels; a glyph has at most {MOST_SIDE:,} a side")
    size = max(grey.size)
    pixels = np.full((size, size), 255, np.uint8)
    left, top = (size - grey.width) // 2, (size - grey.height) // 2
    pixels[top : top + grey.height, left : left + grey.width] = np.asarray(grey)
    prompt, seed = "", None
    shown = shown_by(settings)
    if shown is not None:
        assert shown.only is not None
        first = _seed(settings)
        prompt = shown.prompts[shown.only // shown.count]
        seed = None if first is None else first + shown.only % shown.count
    yield FontPicture(file, 0, pixels, prompt, seed, settings)


def _of_sheet(file: Path, image: Any, settings: dict[str, Any] | None, shown: Shown) -> Iterator[FontPicture]:
    prompts, count, several, first = shown.prompts, shown.count, len(shown.prompts) > 1, _seed(settings)
    columns = count if several else near_square(count)
    try:
        pictures = split_sheet(image, len(prompts) * count, columns, titled=several)
    except UsageError as error:
        raise DataError(f"{file}: {error}; name the picture as `glyffctl sample` wrote it") from error
    if pictures.shape[1] > MOST_SIDE:
        raise DataError(f"the glyphs in {file} have {pictures.shape[1]} pixels a side, where {MOST_SIDE:,} are allowed")
    for place, pixels in enumerate(pictures):
        seed = None if first is None else first + place % count
        yield FontPicture(file, place, pixels, prompts[place // count], seed, settings)


def _of_drawing(settings: dict[str, Any] | None) -> dict[str, Any] | None:
    """The settings of a picture that was enlarged from one that `sample` drew: those of the drawing, and the size."""
    drawn = (settings or {}).get(DRAWN)
    if settings is None or not isinstance(drawn, dict):
        return settings
    return drawn | {"enlarged": settings.get("enlarged")}


def _seed(settings: dict[str, Any] | None) -> int | None:
    seed = (settings or {}).get("seed")
    return seed if isinstance(seed, int) else None
