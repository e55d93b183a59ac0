"""The text tower of a contrastive run as a text encoder, and the one way in which text encoders are opened."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Unpack

import torch
from torch import Tensor

from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.errors import EmbeddingError, ModelError
from glyffctl.core.models.checkpoint import TrainedModel, load_model
from glyffctl.core.models.files import MODEL_FILE, compares
from glyffctl.core.networks.contrastive import Contrastive
from glyffctl.core.text.encoder import TextEncoder
from glyffctl.core.text.hub import is_local
from glyffctl.core.text.loading import MOST_TOKENS, Loading, load_encoder
from glyffctl.core.text.vocabulary import UnknownText


class TowerEncoder(TextEncoder):
    """The tokens of the text tower, over the vectors of the encoder that it was trained with; see `Contrastive`."""

    def __init__(self, name: str, below: TextEncoder, model: TrainedModel, device: torch.device | str) -> None:
        """Put a tower on an encoder.

        Args:
            name: see `TextEncoder`.
            below: the encoder that the tower was trained with, on `device`.
            model: the run of the tower, whose network is moved to `device`.
            device: where to encode.
        """
        assert isinstance(model.network, Contrastive)
        width = model.network.config.text_channels
        super().__init__(name, width=width, fingerprint=_fingerprint(model), max_tokens=below.max_tokens)
        self._below, self._tower = below, model.network.to(device)

    def split(self, texts: list[str], limit: int) -> list[list[int]]:
        """See `TextEncoder`: as the encoder below does."""
        return self._below.split(texts, limit)

    @torch.inference_mode()
    def encode_ids(self, ids: list[list[int]]) -> Condition:
        """See `TextEncoder`."""
        below = self._below.encode_ids(ids)
        tokens, _ = self._tower.tokens(below)  # where there are none, the mask stays False
        return Condition(tokens * below.mask[..., None], below.mask)

    def all_known(self, ids: list[int]) -> bool:
        """See `TextEncoder`: as the encoder below does."""
        return self._below.all_known(ids)

    def find_unknown(self, text: str) -> UnknownText:
        """See `TextEncoder`: as the encoder below does."""
        return self._below.find_unknown(text)

    def pieces(self, text: str) -> list[str]:
        """See `TextEncoder`: as the encoder below does."""
        return self._below.pieces(text)


def open_encoder(name: str | Path, **loading: Unpack[Loading]) -> TextEncoder:
    """Load a text encoder, or the text tower of a run of `glyffctl train --preset contrastive`.

    Args:
        name: as in `load_encoder`; or a run folder with towers, or its model file.
        loading: as in `load_encoder`; of a tower `max_tokens` are those of the encoder below it, and
            `with_transformers` is ignored.

    Raises:
        EmbeddingError: it cannot be loaded, is not a text encoder, or takes fewer tokens; or the encoder that a tower
            was trained with has changed.
        UsageError: `max_tokens` is below 2.
    """
    path, model = Path(name).expanduser(), _load_tower(name)
    if model is None:
        return load_encoder(name, **loading)
    device = loading.get("device", "cpu")
    below = load_below(model, path, loading.get("max_tokens", MOST_TOKENS), device)
    encoder = TowerEncoder(str(path.absolute()), below, model, device)
    encoder.encodes_empty = loading.get("encodes_empty", False)
    return encoder


def load_below(
    model: TrainedModel, path: Path, max_tokens: int | None = None, device: torch.device | str = "cpu"
) -> TextEncoder:
    """Load the text encoder that towers were trained with.

    Args:
        model: the towers.
        path: of the model, for messages.
        max_tokens: captions are cut to so many; None is as many as in training.
        device: where to encode.

    Raises:
        EmbeddingError: it cannot be loaded, or is not the same encoder any more.
        UsageError: `max_tokens` is below 2.
    """
    known = model.encoder
    # Towers are compared before what is below them is opened: where they took the place of those that they were trained
    # with, that is themselves, and so on without end.
    tower = _load_tower(known.name)
    if tower is None or _fingerprint(tower) == known.fingerprint:
        below = open_encoder(known.name, max_tokens=max_tokens or known.max_tokens, device=device)
        if below.fingerprint == known.fingerprint:
            return below
    raise EmbeddingError(
        f"{path} was trained with another text encoder than {known.name} is now; train it again with "
        "`glyffctl train --preset contrastive`"
    )


def encode_texts(network: Contrastive, below: TextEncoder, texts: list[str]) -> Tensor:
    """The unit vectors (T, E) float32 of texts on the CPU, by towers and the encoder that they were trained with.

    Both on one device.
    """
    found = []
    with torch.inference_mode():
        for start in range(0, len(texts), _AT_ONCE):
            found.append(network.texts(below.encode(texts[start : start + _AT_ONCE])).cpu())
    return torch.cat(found).clone()


def _load_tower(name: str | Path) -> TrainedModel | None:
    """The towers at `name`, or None: it is that of an encoder of another kind."""
    path = Path(name).expanduser()
    if not ((is_local(name) or path.name == MODEL_FILE) and compares(path)):
        return None
    try:
        return load_model(path)
    except ModelError as error:
        raise EmbeddingError(f"cannot use the text tower of {path}: {error}") from error


def _fingerprint(towers: TrainedModel) -> str:
    """That of the text tower, by its weights and the encoder that it was trained with."""
    return hashlib.blake2b(f"{towers.encoder.fingerprint} {towers.identity}".encode(), digest_size=16).hexdigest()


_AT_ONCE = 128  # texts
