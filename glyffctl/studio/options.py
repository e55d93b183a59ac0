"""Options of the studio. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from glyffctl.core.errors import UsageError
from glyffctl.core.precision import check_precision

PACKAGES = ("starlette", "uvicorn")
DATA = Path("data")
"""The data folder that is taken if none is named, where it exists."""


@dataclass(frozen=True, kw_only=True)
class StudioOptions:
    """Options of `serve.studio`.

    Attributes:
        model: as in `SampleOptions`.
        encoder: as in `SampleOptions`.
        upscaler: as in `EnlargeOptions`.
        data: a data folder with real glyphs, for neighbours and the map; None is `DATA` if it exists, else none.
        device: as in `SampleOptions`.
        precision: as in `SampleOptions`.
        port: of 127.0.0.1; 0 is any that is free.
    """

    model: Path | None = None
    encoder: str | None = None
    upscaler: Path | None = None
    data: Path | None = None
    device: str = "auto"
    precision: str = "auto"
    port: int = 0

    def __post_init__(self) -> None:
        """Raise UsageError for values out of range, or where a package is missing."""
        check_precision(self.precision)
        if not 0 <= self.port < 2**16:
            raise UsageError(f"--port must be in 0…65,535, not {self.port}")
        if any(find_spec(name) is None for name in PACKAGES):
            raise UsageError(f'the studio needs {" and ".join(PACKAGES)}: pip install "glyffctl[studio]"')
