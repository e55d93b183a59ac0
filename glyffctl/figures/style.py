"""One look for all figures: dark marks on white paper, colours that colour-blind readers tell apart, letters for Han.

Figures are made without pyplot: no window, no state that outlives the figure, and two at once do not meet.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib as mpl
from cycler import cycler
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, fontManager
from matplotlib.text import Text

from glyffctl.core.data.fonts import system_fonts
from glyffctl.core.errors import FontError
from glyffctl.core.io.atomic import atomic_file
from glyffctl.core.io.images import SETTINGS_KEY

PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Okabe and Ito (2008), "Color Universal Design", the strongest first."""
INK, GREY, FAINT = "#1a1a1a", "#767676", "#d9d9d9"
DENSITY = LinearSegmentedColormap.from_list("density", ["#ffffff", "#cfe3f1", "#6aaed6", "#1f6fb2", "#08306b"])
"""Nothing is white, so that a density lies on the paper."""
DIFFERENCE = LinearSegmentedColormap.from_list("difference", [PALETTE[0], "#ffffff", PALETTE[1]])
"""Too little is blue, too much is orange, and nothing is white."""
STRENGTH = LinearSegmentedColormap.from_list("strength", ["#d98a00", "#c24a00", "#5c1a00", "#1a1a1a"])
"""From weak to strong, for arrows: even the weakest stands out from paper and from a density."""
DPI = 144
WIDTH = 7.4
"""Inches across a figure of the page: as wide as the text around it, so that lettering has one size throughout."""
SMALL = 9.5
"""Points of the smallest lettering."""
_SCRIPT = 0.7
"""What matplotlib makes of the size of a subscript."""


@cache
def han_font(path: Path | None = None) -> str:
    """The family name of a font with Han characters, known to matplotlib: of `path`, or of the system's Chinese font.

    Raises:
        FontError: the system has none, or matplotlib cannot read it.
    """
    path = system_fonts()[0] if path is None else path
    try:
        fontManager.addfont(path)
        return FontProperties(fname=path).get_name()
    except (OSError, RuntimeError) as error:
        raise FontError(f"cannot draw letters with {path}: {error}; name another font") from error


@contextmanager
def style(han: Path | None = None) -> Iterator[None]:
    """Everything drawn and saved inside has the look, with Han characters from the font `han` or the system's, if any.

    Raises:
        FontError: `han` is no font.
    """
    families = ["DejaVu Sans"]
    try:
        families.append(han_font(han))
    except FontError:
        if han is not None:
            raise  # without any, labels with Han characters are for the caller to leave out
    look: Any = {
        "font.family": families,
        "font.size": 10,
        "mathtext.fontset": "dejavusans",
        "text.color": INK,
        "axes.edgecolor": GREY,
        "axes.labelcolor": INK,
        "axes.titlesize": 10,
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.prop_cycle": cycler(color=PALETTE),
        "axes.formatter.useoffset": False,
        "xtick.color": INK,
        "ytick.color": INK,
        "grid.color": FAINT,
        "grid.linewidth": 0.6,
        "legend.frameon": False,
        "image.cmap": "gray",
        "image.interpolation": "nearest",
        "lines.linewidth": 1.8,
        "figure.dpi": DPI,
        "savefig.dpi": DPI,
    }
    with mpl.rc_context(look):
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of width × height inches whose labels make room for themselves."""
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.07, h_pad=0.07)  # type: ignore[union-attr, call-arg]
    return figure


def smallest_lettering(figure: Figure) -> float:
    """The size in points of the smallest letters in `figure`, indices of formulas included; infinity without any."""
    sizes = [math.inf]
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        said = text.get_text()
        if said.strip() and text.get_visible():
            formula = text.get_parse_math() and said.count("$") > 1 and ("_" in said or "^" in said)
            sizes.append(float(text.get_fontsize()) * (_SCRIPT if formula else 1))
    return min(sizes)


def save_figure(path: Path, figure: Figure, settings: dict[str, Any] | None = None) -> None:
    """Write `figure` as a PNG, `settings` as JSON in a text chunk of it; the same figure gives the same bytes.

    Raises:
        OutputError: the path cannot be written.
    """
    chunks = {"Software": "glyffctl"}
    if settings is not None:
        chunks[SETTINGS_KEY] = json.dumps(settings)
    with atomic_file(path) as temporary, warnings.catch_warnings():
        # A letter that no font holds would be an empty box; whoever labels a figure has to know.
        warnings.filterwarnings("error", message="Glyph .* missing from")
        figure.savefig(temporary, format="png", metadata=chunks)
