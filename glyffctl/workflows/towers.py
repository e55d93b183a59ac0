"""Contrastive towers as commands use them: found, loaded with their text encoder, and asked what fits what."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from glyffctl.core.codecs.codec import Codec
from glyffctl.core.data.dataset import GlyphSet
from glyffctl.core.errors import ModelError
from glyffctl.core.io.bundled import BUNDLED, model_name, pretrained
from glyffctl.core.models.checkpoint import TrainedModel, load_model
from glyffctl.core.models.files import TOWERS_FILE
from glyffctl.core.models.text_tower import encode_texts, load_below
from glyffctl.core.networks.contrastive import Contrastive
from glyffctl.core.text.encoder import TextEncoder
from glyffctl.workflows.events import Event, Note, Progress

_AT_ONCE = 128  # pictures


@dataclass(frozen=True, eq=False)
class Towers:
    """A pair of towers.

    Attributes:
        path: of their run or file.
        model: with the network on the device.
        below: the text encoder under the text tower, on the same device.
        device: where they compute.
    """

    path: Path
    model: TrainedModel
    below: TextEncoder
    device: torch.device

    @property
    def network(self) -> Contrastive:
        """Both towers."""
        assert isinstance(self.model.network, Contrastive)
        return self.model.network

    def texts(self, texts: list[str]) -> Tensor:
        """The unit vectors (T, E) of texts, on the CPU."""
        return encode_texts(self.network, self.below, texts)

    def glyphs(self, glyphs: GlyphSet, index: Tensor) -> Generator[Event, None, Tensor]:
        """The unit vectors (N, E) of the glyphs `index` (N,), on the CPU."""
        return (yield from self._compared(index, lambda rows: glyphs.images(rows)[:, 0]))

    def pictures(self, pictures: Tensor) -> Generator[Event, None, Tensor]:
        """The unit vectors (N, E) of pictures (N, H, W) uint8 of any size, on the CPU."""
        return (yield from self._compared(pictures, lambda some: some))

    def _compared(self, all_of: Tensor, pictures: Callable[[Tensor], Tensor]) -> Generator[Event, None, Tensor]:
        found, done = [torch.empty(0, self.network.config.embedding)], 0
        for some in all_of.split(_AT_ONCE) if len(all_of) else ():
            found.append(self._vectors(pictures(some)))
            done += len(some)
            yield Progress("Comparing pictures", done, len(all_of), "pictures")
        return torch.cat(found)

    @torch.no_grad()
    def _vectors(self, pictures: Tensor) -> Tensor:
        codec: Codec = self.model.codec
        size = self.model.origin.config.codec.size
        if pictures.shape[-1] != size:
            resized = F.interpolate(pictures[:, None].float(), (size, size), mode="bilinear", antialias=True)
            pictures = resized[:, 0].round().clamp(0, 255).byte()
        return self.network.pictures(codec.encode(pictures.to(self.device))).float().cpu()


def towers_path(named: Path | None) -> Path | None:
    """The path of the towers that a user names, or of the bundled ones; None where none came with the program.

    Raises:
        ModelError: there is nothing at the path.
    """
    if named is not None and named != Path(BUNDLED):
        if not named.exists():
            raise ModelError(
                f"there are no contrastive towers at {named}; name the run folder of `glyffctl train --preset "
                "contrastive`"
            )
        return named
    bundled = pretrained(TOWERS_FILE)
    if bundled.is_file():
        return bundled
    if named is not None:
        raise ModelError(
            "no contrastive towers came with this program; train them with `glyffctl train --preset contrastive`, and "
            "name them with --contrastive runs/contrastive"
        )
    return None


def load_towers(path: Path, device: torch.device) -> Generator[Event, None, Towers]:
    """Load towers, and the text encoder that they were trained with.

    Raises:
        ModelError: they cannot be used.
        EmbeddingError: the encoder cannot, or has changed.
    """
    model = load_model(path)
    if not model.network.compares:
        raise ModelError(f"{path} does not compare glyphs with texts; train what does: `train --preset contrastive`")
    yield Progress("Loading the text encoder", 0, 1)
    below = load_below(model, path, device=device)
    yield Progress("Loading the text encoder", 1, 1)
    model.network.to(device)
    yield Note(
        f"contrastive towers: {model_name(path)}, {model.history}",
        "towers-chosen",
        {"model": path, "history": model.history},
    )
    return Towers(path, model, below, device)
