"""The SVG files that `sample` writes: outlines of the pictures, laid out as on a sheet. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

from glyffctl.core.io.images import Array, near_square, sheet_places
from glyffctl.core.io.svg import Label, Shape, save_svg
from glyffctl.workflows.events import Event, Progress
from glyffctl.workflows.sample_options import SampleOptions


def titles(prompts: Sequence[str]) -> list[str]:
    """What is written beside pictures of `prompts`."""
    return [prompt or "(no prompt)" for prompt in prompts]


def write_outlines(
    named: Sequence[tuple[SampleOptions, Path]],
    settings: Callable[[SampleOptions], dict[str, Any]],
    pictures: Array,
) -> Generator[Event, None, None]:
    """Trace the pictures, and write SVG files.

    Args:
        named: the files, each with the options that it records; those with `only` show that picture alone.
        settings: what a file records of its options.
        pictures: (P·count, H, W) uint8, prompt after prompt.

    Raises:
        OutputError: a file cannot be written.
    """
    from glyffctl.core.outlines.trace import trace  # noqa: PLC0415 - a PNG needs none of it

    wanted = sum(len(pictures) if options.only is None else 1 for options, _ in named)
    size, done = pictures.shape[1], 0
    for options, file in named:
        shown = range(len(pictures)) if options.only is None else [options.only]
        paths = []
        for k in shown:
            paths.append(trace(pictures[k]).as_path())
            done += 1
            yield Progress("Tracing", done, wanted, "pictures")
        title = ", ".join(titles(options.prompts))
        if options.only is not None:
            title = titles(options.prompts)[options.only // options.count]
            save_svg(file, (size, size), [Shape(paths[0])], settings(options), title)
            continue
        several = len(options.prompts) > 1
        columns = options.count if several else near_square(options.count)
        whole, places = sheet_places(len(paths), columns, (size, size), titled=several)
        shapes = [Shape(path, *place) for path, place in zip(paths, places, strict=True)]
        starts = [places[row * columns] for row in range(len(options.prompts))] if several else []
        lines = [Label(text, left, top - 5) for text, (left, top) in zip(titles(options.prompts), starts, strict=False)]
        save_svg(file, whole, shapes, settings(options), title, lines)
