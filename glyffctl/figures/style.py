"""The style of all figures: dark marks on white paper, colours that are distinct for colour-blind readers, a Han font.

Figures are made without pyplot: no window, no global state, and several figures can exist at once.
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
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font
from matplotlib.text import Text

from glyffctl.core.data.fonts import system_fonts
from glyffctl.core.errors import FontError
from glyffctl.core.io.atomic import atomic_file
from glyffctl.core.io.images import SETTINGS_KEY

PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Okabe and Ito (2008), "Color Universal Design", the strongest first."""
INK, GREY, FAINT = "#1a1a1a", "#767676", "#d9d9d9"
DENSITY = LinearSegmentedColormap.from_list("density", ["#ffffff", "#cfe3f1", "#6aaed6", "#1f6fb2", "#08306b"])
"""0 is white, so that a density blends into the paper."""
DIFFERENCE = LinearSegmentedColormap.from_list("difference", [PALETTE[0], "#ffffff", PALETTE[1]])
"""Negative is blue, positive is orange, 0 is white."""
STRENGTH = LinearSegmentedColormap.from_list("strength", ["#d98a00", "#c24a00", "#5c1a00", "#1a1a1a"])
"""From weak to strong, for arrows: even the weakest stands out from the paper and from a density."""
DPI = 144
WIDTH = 7.4
"""Width of a figure on the page in inches: that of the text around it, so that lettering has one size throughout."""
SMALL = 9.5
"""The smallest lettering, in points."""
_SCRIPT = 0.7
"""The size of a subscript in matplotlib, relative to its text."""


@cache
def han_font(path: Path | None = None) -> str:
    """Register a font with Han characters in matplotlib, and return its family name.

    Args:
        path: the font; None is the system's Chinese font.

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
    """Draw and save everything inside the context in the common style.

    Args:
        han: a font for Han characters; None is the system's, if there is one.

    Raises:
        FontError: `han` is not a font.
    """
    families = ["DejaVu Sans"]
    try:
        families.append(han_font(han))
    except FontError:
        if han is not None:
            raise  # without a Han font the caller leaves such labels out
    parameters: Any = {
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
    with mpl.rc_context(parameters):
        yield


def signed(value: float, digits: int = 1) -> str:
    """A number with a minus sign, not a hyphen."""
    return f"{value:,.{digits}f}".replace("-", "−")


def drawable_text(text: str) -> str:
    """`text` in one line, without the characters that no font of the current style has."""
    fonts = [findfont(FontProperties(family=family)) for family in mpl.rcParams["font.family"]]
    known = [get_font(font).get_charmap() for font in fonts]
    return "".join(
        c for c in " ".join(text.split()) if c == " " or (c.isprintable() and any(ord(c) in k for k in known))
    )


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of width × height inches with constrained layout."""
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.07, h_pad=0.07)  # type: ignore[union-attr, call-arg]
    return figure


def smallest_lettering(figure: Figure) -> float:
    """The size in points of the smallest lettering in `figure`, subscripts included; infinity without any."""
    sizes = [math.inf]
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        content = text.get_text()
        if content.strip() and text.get_visible():
            formula = text.get_parse_math() and content.count("$") > 1 and ("_" in content or "^" in content)
            sizes.append(float(text.get_fontsize()) * (_SCRIPT if formula else 1))
    return min(sizes)


def save_figure(path: Path, figure: Figure, settings: dict[str, Any] | None = None) -> None:
    """Write `figure` as a PNG. The same figure gives the same bytes.

    Args:
        path: the file to write.
        figure: what to write.
        settings: are written as JSON into a text chunk.

    Raises:
        OutputError: the path cannot be written.
    """
    chunks = {"Software": "glyffctl"}
    if settings is not None:
        chunks[SETTINGS_KEY] = json.dumps(settings)
    with atomic_file(path) as temporary, warnings.catch_warnings():
        # A missing glyph would be drawn as an empty box: make it an error in the code that labels the figure.
        warnings.filterwarnings("error", message="Glyph .* missing from")
        figure.savefig(temporary, format="png", metadata=chunks)


def square_frame(axes: Axes, reach: float) -> None:
    """Frame a plane from −reach to reach both ways, without ticks."""
    axes.set_xlim(-reach, reach)
    axes.set_ylim(-reach, reach)
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_linewidth(0.6)
