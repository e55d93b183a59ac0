"""A table of noise levels and the information lost at them. Importing this does not import torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glyffctl.core.errors import GlyffError, UsageError
from glyffctl.core.io.reading import read_toml, short_repr

if TYPE_CHECKING:
    from glyffctl.core.diffusion.schedule import Schedule

MOST_ROWS = 1000


@dataclass(frozen=True, slots=True)
class LevelTable:
    """Noise levels, and a quantity that the levels of a schedule are spaced evenly in, linear in ln σ between rows.

    Attributes:
        sigma: ascending, positive; 2 to 1,000 rows.
        information: ascending: that about x0 which is lost from the first row to each, see `diffusion.entropic`.
    """

    sigma: tuple[float, ...]
    information: tuple[float, ...]

    def __post_init__(self) -> None:
        """Raise UsageError for a table that is none."""
        if not 2 <= len(self.sigma) <= MOST_ROWS or len(self.information) != len(self.sigma):
            raise UsageError(
                f"a schedule takes as many numbers in information as in sigma, from 2 to {MOST_ROWS:,}, not "
                f"{len(self.information):,} and {len(self.sigma):,}"
            )
        for name, values in (("sigma", self.sigma), ("information", self.information)):
            if not all(map(math.isfinite, values)) or any(b <= a for a, b in pairwise(values)):
                raise UsageError(f"a schedule takes finite numbers in {name} that ascend")
        if self.sigma[0] <= 0:
            raise UsageError(f"a schedule takes positive numbers in sigma, not {self.sigma[0]:g}")

    def schedule(self) -> Schedule:
        """A thousand levels, spaced evenly in the information."""
        import torch  # noqa: PLC0415 - see the head of this file

        from glyffctl.core.diffusion.entropic import even_levels  # noqa: PLC0415 - as above

        sigmas, information = torch.tensor([self.sigma, self.information], dtype=torch.float64)
        return even_levels(sigmas, information)

    def rescaled(self) -> LevelTable:
        """The table of the rescaled entropic time: it rises by σ·dI where this one rises by dI.

        So levels with much noise, which decide what is drawn, get more steps, and those that only set greys fewer. That
        is ∫ σ dH[x0 | x] (Stancevic, Handke and Ambrogioni 2025, arXiv 2504.13612, section 5.3); of Gaussian data it is
        arctan(σ/c), the schedule of Euler's steps that Sabour et al. 2024 (arXiv 2404.14507, theorem 3.1) prove best.
        """
        risen = [0.0]
        for (low, high), (before, after) in zip(pairwise(self.sigma), pairwise(self.information), strict=True):
            risen.append(risen[-1] + (after - before) * (high - low) / math.log(high / low))  # σ's mean in ln σ
        return LevelTable.rising(self.sigma, risen)

    @staticmethod
    def rising(sigma: Sequence[float], information: Sequence[float]) -> LevelTable:
        """The table of rows between the first σ and the last, without those at which information does not rise.

        So small a rise is lost where numbers are added.

        Raises:
            UsageError: it rises nowhere, or that is no table for another reason.
        """
        rows = [(sigma[0], information[0])]
        for row in zip(sigma[1:], information[1:], strict=True):
            if not row[1] <= rows[-1][1]:  # what is no number is kept, and refused
                rows.append(row)
        if len(rows) > 1:
            rows[-1] = (sigma[-1], rows[-1][1])
        return LevelTable(*zip(*rows, strict=True))

    def as_plain(self) -> dict[str, Any]:
        """Values for JSON and TOML."""
        return {"sigma": list(self.sigma), "information": list(self.information)}

    @staticmethod
    def from_plain(plain: Mapping[str, Any]) -> LevelTable:
        """The inverse of `as_plain`. Without information, the rows count: levels are spread evenly between them.

        Raises:
            UsageError: that is no table.
        """
        sigma = plain.get("sigma")
        information = plain.get("information", list(range(len(sigma))) if isinstance(sigma, list) else None)
        for name, values in (("sigma", sigma), ("information", information)):
            if not isinstance(values, list) or not all(type(value) in (int, float) for value in values):
                raise UsageError(f"a schedule takes a list of numbers in {name}, not {short_repr(values)}")
        assert isinstance(sigma, list) and isinstance(information, list)
        try:
            return LevelTable(tuple(map(float, sigma)), tuple(map(float, information)))
        except OverflowError:  # whole numbers have no limit in TOML and JSON
            raise UsageError(
                "a schedule takes numbers in sigma and information, not ones of hundreds of digits"
            ) from None

    def as_toml(self, about: str) -> str:
        """The text of a file that `read_table` reads as this table, with a comment of one line."""
        rows = (f"{name} = [{', '.join(map(repr, values))}]" for name, values in self.as_plain().items())
        return "\n".join([f"# {about}", *rows]) + "\n"


def read_table(path: Path, kind: type[GlyffError] = UsageError) -> LevelTable:
    """The table of a TOML file with `sigma`, and `information` unless levels are spread evenly between its rows.

    Args:
        path: the file.
        kind: of the errors.

    Raises:
        GlyffError: of that kind: the file cannot be read, or holds no table.
    """
    plain: dict[str, Any] = read_toml(path, kind)
    try:
        if unknown := plain.keys() - {"sigma", "information"}:
            raise UsageError(f"a schedule has sigma and information, not {short_repr(min(unknown))}")
        return LevelTable.from_plain(plain)
    except UsageError as error:
        raise kind(f"cannot use {path}: {error}") from error
