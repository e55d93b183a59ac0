"""The events that a workflow yields while it runs.

A workflow is a generator of events that *returns* its result: a command line can draw progress bars, a notebook can
ignore them, and a workflow can include another one with `yield from`.

    result = finish(prepare(PrepareOptions(fonts=(Path("fonts/"),))))

A program tells notes and cautions apart by `kind`, never by their text:

    for event in train(options):
        if isinstance(event, Note) and event.kind == "checkpoint":
            print(event.facts["images"])
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

Result = TypeVar("Result")
Yielded = TypeVar("Yielded")


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` of `total` units of `task`; `total` is None while it is unknown. `note` is a short live remark."""

    task: str
    done: float
    total: float | None = None
    unit: str = ""
    note: str = ""


NoteKind = Literal[
    # prepare and embed
    "font-chosen",
    "other-fonts-found",
    "definitions-chosen",
    "encoder-loading",
    "embeddings-up-to-date",
    # train
    "training-setup",
    "run-resumed",
    "weights-loaded",
    "teacher-loaded",
    "weight-averaging",
    "precision-chosen",
    "training-forecast",
    "checkpoint",
    "samples-still-noisy",
    "checkpoint-metrics",
    "budget-spent",
    "classifier-training",
    # commands that draw
    "model-chosen",
    "pictures-drawn",
    "pictures-enlarged",
    "classifier-leads",
    "towers-chosen",
    "model-guides",
    "picture-begins",
    "drawings-reused",
    "drawings-replaced",
    # visualize-umap and noise-demo
    "glyphs-subsampled",
    "layout-reused",
    "separation-measured",
    "glyphs-chosen",
    "page-begun",
    "claims-measured",
    # studio
    "studio-open",
]

CautionKind = Literal[
    # prepare and embed
    "font-skipped",
    "font-irregular",
    "weight-ignored",
    "glyphs-failed",
    "placeholder-skipped",
    "definitions-skipped",
    "embeddings-kept",
    "captions-cut",
    "captions-unknown",
    "captions-indistinct",
    # data and settings, before training
    "pictures-blank",
    "pictures-repeated",
    "pictures-dark",
    "pictures-faint",
    "embeddings-alike",
    "captions-empty",
    "captions-always-used",
    "captions-rarely-used",
    "brightness-left",
    "noise-level-far",
    "network-unsuitable",
    # train
    "no-gpu",
    "encoder-changed",
    "budget-too-small",
    "rolled-back",
    "slower-steps",
    "metrics-skipped",
    # the model and the prompts
    "few-epochs",
    "prompts-unquoted",
    "prompts-untyped",
    "pictures-framed",
    "prompt-cut",
    "prompts-unknown",
    "words-unknown",
    "definitions-suggested",
    "other-device",
    "other-runtime",
    "fewer-processors",
    "smaller-batch",
    # evaluate, visualize-umap, noise-demo, and export
    "training-data-unknown",
    "trained-on-holdout",
    "parts-skipped",
    "layout-not-saved",
    "figures-skipped",
    "character-missing",
    "export-untested",
    "tokenizer-not-portable",
]


@dataclass(frozen=True, slots=True)
class Note:
    """One line worth reading: what was chosen, what was measured, where something was written.

    Attributes:
        text: the line, for people; its words may change.
        kind: what happened, for programs.
        facts: the numbers and names behind the line, by names that the kind decides.
    """

    text: str
    kind: NoteKind
    facts: Mapping[str, object] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Caution:
    """One line about something that was skipped or is probably a mistake. The work continues.

    Attributes:
        text: the line, for people; its words may change.
        kind: what happened, for programs.
        facts: the numbers and names behind the line, by names that the kind decides.
    """

    text: str
    kind: CautionKind
    facts: Mapping[str, object] = field(default_factory=dict, hash=False)


Event = Progress | Note | Caution


def finish(workflow: Generator[Yielded, None, Result], on_event: Callable[[Yielded], None] | None = None) -> Result:
    """Run a workflow to its end, call `on_event` with each of its events, and return its result."""
    while True:
        try:
            event = next(workflow)
        except StopIteration as stop:
            result: Result = stop.value
            return result
        if on_event is not None:
            on_event(event)


def with_fraction(
    work: Generator[float, None, Result], task: str, total: float = 1, unit: str = ""
) -> Generator[Event, None, Result]:
    """Run work that yields the share done, 0 to 1, and report it as progress of `total` units of `task`."""
    while True:
        try:
            done = next(work)
        except StopIteration as stop:
            yield Progress(task, total, total, unit)
            result: Result = stop.value
            return result
        yield Progress(task, done * total, total, unit)


def with_progress(
    drawing: Generator[float, None, Result], start: Progress, each: float = 1.0
) -> Generator[Event, None, Result]:
    """Run work that yields the number of pictures done, and report it from `start` on, `each` units per picture."""
    while True:
        try:
            done = next(drawing)
        except StopIteration as stop:
            result: Result = stop.value
            return result
        yield replace(start, done=start.done + each * done)
