"""The workbench of the page of figures: data in the plane, noise, exact scores and samplers, computed in the browser.

The scripts in `workbench/` do the arithmetic of `core`: its schedules, samplers and random numbers, the exact denoiser
and the energy distance. Tests compare their numbers.
"""

from __future__ import annotations

import html
from typing import NamedTuple

from torch import Tensor

from glyffctl.core.io.names import printable
from glyffctl.figures.inline import one_scope, packed, part

_FOLDER = "workbench"
# The parts of one script, in this order and in one scope.
_SCRIPTS = (
    *("random.js", "schedule.js", "denoise.js", "solvers.js", "distance.js", "shapes.js"),
    *("state.js", "painting.js", "pen.js", "controls.js"),
)


class Workbench(NamedTuple):
    """Markup, which a script shows in place of the still picture after it, its style sheet and the script."""

    markup: str
    style: str
    script: str


def workbench(ink: Tensor, name: str, schedule: str, seed: int) -> Workbench:
    """The workbench, at first with the ink of a glyph.

    Args:
        ink: (N, 2) points in −32…32, of which the page keeps thousandths.
        name: of the glyph; any text.
        schedule: a name of `core.diffusion.schedule.SCHEDULES`.
        seed: of the noise.
    """
    fields = {
        "ink": packed((ink * 1000).round(), "<i2"),
        "name": html.escape(printable(name)),
        "schedule": schedule,
        "seed": str(seed),
    }
    # One pass over the template: what is inserted is not searched for fields again.
    first, *pieces = part(_FOLDER, "workbench.html").split("{{")
    markup = first + "".join(fields[field] + rest for field, rest in (piece.split("}}", 1) for piece in pieces))
    return Workbench(markup, part(_FOLDER, "workbench.css"), one_scope(_FOLDER, _SCRIPTS))
