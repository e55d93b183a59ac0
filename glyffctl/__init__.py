"""glyffctl: a small text-to-image diffusion model that draws new Chinese glyphs from English definitions.

    import glyffctl

    model = glyffctl.load()
    for picture in model.draw("lithium", count=4, seed=0):
        picture.show()

`prepare`, `embed` and `train` call `on_event` with each `Progress`, `Note` and `Caution`. The latter have a `kind` and
`facts` for programs, and a `text` for people.

Importing glyffctl imports neither torch nor transformers; using one of the names below does. Each has its documentation
where it is defined.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from glyffctl.version import __version__ as __version__

if TYPE_CHECKING:
    from glyffctl.api import DenoisingStep, GlyphModel, embed, load, prepare, train
    from glyffctl.core.errors import GlyffError
    from glyffctl.core.models.recipe import Recipe
    from glyffctl.workflows.embed import EmbedOptions, EmbedReport
    from glyffctl.workflows.events import Caution, Event, Note, Progress
    from glyffctl.workflows.prepare import PrepareOptions, PrepareReport
    from glyffctl.workflows.train import TrainOptions, TrainReport

__all__ = [
    "Caution",
    "DenoisingStep",
    "EmbedOptions",
    "EmbedReport",
    "Event",
    "GlyffError",
    "GlyphModel",
    "Note",
    "PrepareOptions",
    "PrepareReport",
    "Progress",
    "Recipe",
    "TrainOptions",
    "TrainReport",
    "embed",
    "load",
    "prepare",
    "train",
]

_HOMES = {
    "glyffctl.api": ("DenoisingStep", "GlyphModel", "embed", "load", "prepare", "train"),
    "glyffctl.core.errors": ("GlyffError",),
    "glyffctl.core.models.recipe": ("Recipe",),
    "glyffctl.workflows.embed": ("EmbedOptions", "EmbedReport"),
    "glyffctl.workflows.events": ("Caution", "Event", "Note", "Progress"),
    "glyffctl.workflows.prepare": ("PrepareOptions", "PrepareReport"),
    "glyffctl.workflows.train": ("TrainOptions", "TrainReport"),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module 'glyffctl' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
