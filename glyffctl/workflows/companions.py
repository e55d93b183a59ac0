"""Models that come with the program beside the one that draws: found, and named in a PNG. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from glyffctl.core.errors import UsageError
from glyffctl.core.io.bundled import BUNDLED, GUIDE_FILE, UPSCALER_FILE, pretrained
from glyffctl.core.io.names import utf8_name


@dataclass(frozen=True)
class Companion:
    """A kind of model that `sample` takes beside the one that draws.

    Attributes:
        file: of the bundled one.
        kind: what it is, in words.
        option: that names another.
        training: the commands that make one, in words.
    """

    file: str
    kind: str
    option: str
    training: str

    def path(self, named: Path | None) -> Path:
        """Of the one that a user names, or of the bundled one for None and "bundled".

        Raises:
            UsageError: there is none.
        """
        if named not in (None, Path(BUNDLED)):
            if not named.exists():
                raise UsageError(f"there is no {self.kind} at {named}; name the run folder of one with {self.option}")
            return named
        path = pretrained(self.file)
        if not path.is_file():
            raise UsageError(f"no {self.kind} came with this program; train one with {self.training}")
        return path

    def name(self, named: Path | None) -> str:
        """The same for a PNG: valid in any working directory, and "bundled" on any machine.

        Raises:
            UsageError: there is none.
        """
        path = self.path(named)
        return BUNDLED if path == pretrained(self.file) else utf8_name(path.absolute())


UPSCALER = Companion(
    UPSCALER_FILE,
    "upscaler",
    "--upscaler",
    "`glyffctl prepare --size 512 --out data-512` and `glyffctl train --preset upscaler --data data-512`, and name it "
    "with --upscaler runs/upscaler",
)
CLASSIFIER = Companion(
    GUIDE_FILE,
    "classifier of noisy pictures",
    "--classifier",
    "`glyffctl train --preset classifier`, and name it with --classifier runs/classifier",
)
