"""What an outline is: closed contours of straight lines and cubic Bézier curves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from glyffctl.core.outlines.contours import Floats

Segment = Floats
"""(2, 2), a straight line, or (4, 2), a cubic with its control points; each begins where the last one ended."""


@dataclass(frozen=True)
class Outline:
    """The outline of a picture.

    Attributes:
        size: height and width of the picture, in pixels.
        contours: closed, of segments with points (x, y) in pixels from the upper left corner. Ink is to the left of
            one who follows a contour: as one sees them, outer contours turn counter-clockwise, as in PostScript
            outlines (CFF), and holes clockwise.
    """

    size: int
    contours: list[list[Segment]]

    @property
    def points(self) -> int:
        """The number of points, on and off the curves."""
        return sum(len(segment) - 1 for contour in self.contours for segment in contour)

    def moved(self, scale: float, x: float, y: float) -> Outline:
        """The outline with each point at (x + scale·px, y − scale·py): in units of a font, y upwards."""
        factors, origin = np.array([scale, -scale]), np.array([x, y])
        return Outline(self.size, [[origin + factors * segment for segment in contour] for contour in self.contours])

    def as_path(self) -> str:
        """The outline in the language of SVG paths, in hundredths of a pixel."""
        return "".join(_path(contour) for contour in self.contours)


def _path(contour: list[Segment]) -> str:
    parts, here = [f"M{_pair(contour[0][0])}"], _rounded(contour[0][0])
    for k, segment in enumerate(contour):
        end = _rounded(segment[-1])
        if len(segment) == 4:
            parts.append(f"C{' '.join(map(_pair, segment[1:]))}")
        elif k == len(contour) - 1:
            break  # Z draws it
        elif end[1] == here[1]:
            parts.append(f"H{end[0]:g}")
        elif end[0] == here[0]:
            parts.append(f"V{end[1]:g}")
        else:
            parts.append(f"L{_pair(segment[1])}")
        here = end
    return "".join(parts) + "Z"


def _rounded(point: Floats) -> tuple[float, float]:
    return round(float(point[0]), 2) + 0.0, round(float(point[1]), 2) + 0.0  # + 0.0: no -0


def _pair(point: Floats) -> str:
    x, y = _rounded(point)
    return f"{x:g} {y:g}"
