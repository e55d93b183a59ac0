"""Options of a picture that `sample` begins with, and how a PNG records them. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glyffctl.core.errors import UsageError
from glyffctl.core.io.names import utf8_name
from glyffctl.core.io.reading import short_repr

if TYPE_CHECKING:
    from PIL import Image

PARTS = ("left", "right", "top", "bottom")
RESAMPLE = 4
STRENGTH = 0.4
"""Of a picture that is varied."""
MOST_RESAMPLE = 100


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """A picture to begin with.

    Attributes:
        picture: a file, or an image, which no PNG records; as large as the model draws, or a whole number of times.
        part: the half of it that stays, one of `PARTS`; None, and no mask, keeps nothing as it is.
        mask: a picture that is black where `picture` stays.
        resample: how often each step is taken where a part stays, see `core.diffusion.inpainting`.
        strength: how much changes of what does not stay, from 0 to 1, see `core.models.source`.
        led: whether what stays leads what is drawn, see `core.models.source`; pictures of version 0.2 were not.
        digest, mask_digest: what `images.picture_digest` has to say of both; None allows any.
    """

    picture: Path | Image.Image
    part: str | None = None
    mask: Path | Image.Image | None = None
    resample: int = RESAMPLE
    strength: float = 1.0
    led: bool = True
    digest: str | None = None
    mask_digest: str | None = None

    def __post_init__(self) -> None:
        """Raise UsageError for values out of range."""
        if self.part not in (None, *PARTS):
            raise UsageError(
                f"--keep takes {', '.join(PARTS[:-1])} or {PARTS[-1]}, and a picture, not {short_repr(self.part)}; for "
                "other parts take --mask"
            )
        if self.part is not None and self.mask is not None:
            raise UsageError("--keep and --mask both say what stays; leave one of them out")
        if not 1 <= self.resample <= MOST_RESAMPLE:
            raise UsageError(f"--resample must be in 1…{MOST_RESAMPLE}, not {self.resample}")
        if not 0 <= self.strength <= 1:
            raise UsageError(f"--strength must be in 0…1, not {self.strength}")

    @property
    def option(self) -> str:
        """The option that names the picture."""
        return "--keep" if self.part is not None else "--mask" if self.mask is not None else "--vary"

    def as_plain(self) -> dict[str, Any]:
        """What redrawing needs, as JSON for a PNG, where all is known."""
        assert isinstance(self.picture, Path) and (self.mask is None or isinstance(self.mask, Path))
        return {
            "picture": utf8_name(self.picture.absolute()),
            "digest": self.digest,
            "part": self.part,
            "mask": None if self.mask is None else utf8_name(self.mask.absolute()),
            "mask_digest": self.mask_digest,
            "resample": self.resample,
            "strength": self.strength,
            "led": self.led,
        }

    @staticmethod
    def from_plain(plain: Mapping[str, Any]) -> SourceOptions:
        """The inverse of `as_plain`.

        Raises:
            UsageError: a value is out of range.
            KeyError, TypeError, ValueError, OverflowError: a value is missing or of another kind.
        """
        mask = plain["mask"]
        return SourceOptions(
            picture=Path(str(plain["picture"])),
            part=plain["part"],
            mask=None if mask is None else Path(str(mask)),
            resample=int(plain["resample"]),
            strength=float(plain["strength"]),
            led=bool(plain.get("led", False)),
            digest=str(plain["digest"]),
            mask_digest=None if mask is None else str(plain["mask_digest"]),
        )


def source_of(
    keep: tuple[str, Path | Image.Image] | None,
    mask: tuple[Path | Image.Image, Path | Image.Image] | None,
    vary: Path | Image.Image | None,
    strength: float | None,
    resample: int | None,
) -> SourceOptions | None:
    """The picture to begin with, as the command line and `GlyphModel.draw` name it; None where none is named.

    Args:
        keep: one of `PARTS`, and a picture.
        mask: a mask, and a picture.
        vary: a picture.
        strength: None is `STRENGTH` for `vary`, and else 1.
        resample: None is `RESAMPLE`.

    Raises:
        UsageError: they do not go together, or a value is out of range.
    """
    given = {"keep": keep, "mask": mask, "vary": vary}
    named = [f"`{name}`" for name, value in given.items() if value is not None]
    if len(named) > 1:
        raise UsageError(f"{' and '.join(named)} each begin with a picture; leave all but one of them out")
    if keep is None and mask is None and resample is not None:
        raise UsageError("`resample` is for what stays of a picture; name it with `keep` or `mask`")
    if vary is not None:
        return SourceOptions(picture=vary, strength=STRENGTH if strength is None else strength)
    kept: dict[str, Any] = {
        "resample": RESAMPLE if resample is None else resample,
        "strength": 1.0 if strength is None else strength,
    }
    if keep is not None:
        return SourceOptions(part=keep[0], picture=keep[1], **kept)
    if mask is not None:
        return SourceOptions(mask=mask[0], picture=mask[1], **kept)
    if strength is not None:
        raise UsageError("`strength` says how much of a picture changes; name it with `vary`")
    return None
