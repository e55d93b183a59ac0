"""The cache of encoded captions: a file beside the glyphs, written once for all training runs.

    tokens    (N, D)   float16   the token vectors of all captions, one caption after the other
    offsets   (n + 1,) int64     caption i is tokens[offsets[i]:offsets[i + 1]]

The metadata names the captions, encoder and settings, and holds a digest of both tensors.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from glyffctl.core.data.caption_table import captions_digest
from glyffctl.core.data.manifest import EMBEDDINGS
from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.errors import EmbeddingError
from glyffctl.core.io.tensors import load_tensors, save_tensors

FILE_NAME = EMBEDDINGS
KIND = "glyffctl-embeddings/1"


@dataclass(frozen=True, eq=False)
class Embeddings:
    """The encoded captions of a data set, in the order of its captions.

    `encoder`, `fingerprint` and `max_tokens` are those of the `TextEncoder` that made them.
    """

    encoder: str
    fingerprint: str
    max_tokens: int
    captions_sha256: str
    tokens: Tensor  # (N, D) float16
    offsets: Tensor  # (n + 1,) int64

    @property
    def width(self) -> int:
        """D, the size of one token vector."""
        return self.tokens.shape[1]

    @property
    def lengths(self) -> Tensor:
        """(n,) int64: tokens of each caption; 0 for the empty one."""
        return self.offsets.diff()

    @property
    def longest(self) -> int:
        """Tokens of the longest caption."""
        return int(self.lengths.max())

    def batch(
        self,
        index: Tensor,
        length: int | None = None,
        keep: Tensor | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Condition:
        """Gather captions into a padded batch.

        Args:
            index: (B,) int64 on the device of the embeddings, each in 0..n-1.
            length: L of the result; longer captions are cut. None is the longest caption of the batch, which needs
                a GPU synchronisation: training loops pass `longest` or a bucket.
            keep: (B,) bool; where it is False, the mask is all False, as for no caption.
            dtype: of the tokens.
        """
        start, count = self.offsets[index], self.offsets[index + 1] - self.offsets[index]
        if keep is not None:
            count = count * keep
        if length is None:
            length = max(1, int(count.max()))
        position = torch.arange(length, device=index.device)
        mask = position < count[:, None]
        # Positions beyond the end of a caption point to row 0, which always exists, and are zeroed.
        rows = torch.where(mask, start[:, None] + position, 0)
        return Condition(self.tokens[rows].to(dtype) * mask[..., None], mask)

    def to(self, device: torch.device | str) -> Embeddings:
        """A copy on another device."""
        return replace(self, tokens=self.tokens.to(device), offsets=self.offsets.to(device))


def no_embeddings(captions: int, width: int) -> Embeddings:
    """What stands for the embeddings of so many captions where none are read: all of them are empty."""
    return Embeddings("", "", 0, "", torch.zeros(1, width).half(), torch.zeros(captions + 1).long())


def to_half(tokens: Tensor) -> Tensor:
    """Convert to float16, clipped to its range (±65504), which some large encoders exceed."""
    limit = torch.finfo(torch.float16).max
    return tokens.clamp(-limit, limit).half()


def save_embeddings(
    folder: Path,
    captions: list[str],
    tokens: Tensor,
    lengths: Tensor,
    *,
    encoder: str,
    fingerprint: str,
    max_tokens: int,
) -> Embeddings:
    """Write the cache into the data folder, and replace an older one.

    Args:
        folder: of the data.
        captions: the distinct captions, in their order.
        tokens: (N, D) float16 on the CPU, N >= 1, the captions' vectors one caption after the other.
        lengths: (n,) int64, tokens of each caption.
        encoder: the name of the `TextEncoder`.
        fingerprint: of the `TextEncoder`.
        max_tokens: of the `TextEncoder`.

    Raises:
        OutputError: the folder cannot be written or the disk is full.
    """
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
    assert tokens.dtype == torch.float16
    assert len(lengths) == len(captions)
    assert int(offsets[-1]) <= len(tokens)
    embeddings = Embeddings(encoder, fingerprint, max_tokens, captions_digest(captions), tokens, offsets)
    header = {
        "encoder": encoder,
        "fingerprint": fingerprint,
        "max_tokens": max_tokens,
        "captions_sha256": embeddings.captions_sha256,
    }
    save_tensors(folder / FILE_NAME, KIND, {"tokens": tokens, "offsets": offsets}, header)
    return embeddings


def load_embeddings(folder: Path, captions: list[str]) -> Embeddings:
    """Load the cache of a data folder, on the CPU, and check its digest.

    Args:
        folder: of the data.
        captions: the current ones, in their order.

    Raises:
        EmbeddingError: there is none, it belongs to other captions, is damaged or of another version.
    """
    path = folder / FILE_NAME
    again = f"run `glyffctl embed --data {folder}`"
    if not path.is_file():
        raise EmbeddingError(f"{folder} has no embeddings; {again}")
    try:
        tensors, header = load_tensors(path, KIND, EmbeddingError)
        embeddings = Embeddings(tokens=tensors["tokens"], offsets=tensors["offsets"], **header)
    except EmbeddingError as error:
        raise EmbeddingError(f"{error}; {again} again") from error
    except (KeyError, TypeError) as error:
        raise EmbeddingError(f"{path} is not complete; {again} again") from error
    if embeddings.captions_sha256 != captions_digest(captions):
        raise EmbeddingError(f"{path} belongs to other captions than {folder} has now; {again} again")
    if not _is_consistent(embeddings, len(captions)):
        raise EmbeddingError(f"{path} does not fit its captions; {again} again")
    return embeddings


def _is_consistent(embeddings: Embeddings, captions: int) -> bool:
    """Whether types and shapes are those of `save_embeddings`: a digest detects damage, not other writers."""
    tokens, offsets = embeddings.tokens, embeddings.offsets
    kinds = [type(value) for value in (embeddings.encoder, embeddings.fingerprint, embeddings.max_tokens)]
    return (
        kinds == [str, str, int]
        and (tokens.dtype, offsets.dtype) == (torch.float16, torch.int64)
        and (tokens.ndim, tokens.numel() > 0, tuple(offsets.shape)) == (2, True, (captions + 1,))
        and 0 == int(offsets[0]) <= int(offsets.diff().min())
        and int(offsets[-1]) <= len(tokens)
    )
