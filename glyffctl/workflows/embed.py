"""`glyffctl embed`: encode every distinct caption of a data folder, once, into a cache beside the glyphs."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from glyffctl.core.bundled import BUNDLED
from glyffctl.core.dataset import open_glyphs
from glyffctl.core.device import choose_device
from glyffctl.core.embeddings import FILE_NAME, Embeddings, load_embeddings, save_embeddings, to_half
from glyffctl.core.errors import EmbeddingError
from glyffctl.core.files import check_writable
from glyffctl.core.text import TextEncoder, load_encoder
from glyffctl.workflows.events import Caution, Event, Note, Progress

# Tokens that go through the encoder at once.
BATCH_TOKENS = 2048


@dataclass(frozen=True)
class EmbedOptions:
    """`encoder` is "bundled", a folder or a name on the hub; captions longer than `max_tokens` are cut."""

    data: Path = Path("data")
    encoder: str = BUNDLED
    max_tokens: int = 64
    device: str = "auto"
    """Where to encode, see `core.device.choose_device`."""


@dataclass(frozen=True)
class EmbedReport:
    """What is in the cache now."""

    path: Path
    encoder: str
    width: int
    captions: int
    tokens: int
    longest: int
    """Tokens of the longest caption."""
    reused: bool
    """Whether the cache of an earlier run was right as it was."""


def embed(options: EmbedOptions) -> Generator[Event, None, EmbedReport]:
    """Encode the captions of a data folder, unless that was done with the same texts, encoder and settings.

    Raises:
        DataError: the data folder cannot be read.
        EmbeddingError: the encoder cannot be had or used, and there is no cache it made before.
        OutputError: the cache cannot be written.
    """
    device = choose_device(options.device)
    captions = open_glyphs(options.data).captions
    cached = _cached(options, captions)
    yield Note(f"loading the text encoder {options.encoder}")
    try:
        encoder = load_encoder(options.encoder, max_tokens=options.max_tokens, device=device)
    except EmbeddingError as error:
        names = (options.encoder, str(Path(options.encoder).expanduser().absolute()))
        if cached is None or cached.encoder not in names:
            raise
        yield Caution(f"{error}; the embeddings it made before are kept")
        return _report(options, cached, reused=True)
    if cached is not None and (cached.encoder, cached.fingerprint) == (encoder.name, encoder.fingerprint):
        yield Note(f"{options.data / FILE_NAME} is up to date: {len(captions):,} captions, {encoder.name}")
        return _report(options, cached, reused=True)

    check_writable(options.data / FILE_NAME)
    ids = encoder.tokenize(captions)
    full = [text for text, row in zip(captions, ids, strict=True) if len(row) == options.max_tokens]
    cut = sum(encoder.is_cut(text) for text in full)
    if cut:
        yield Caution(
            f"{cut:,} of {len(captions):,} captions were cut to {options.max_tokens} tokens; "
            "--max-tokens keeps more of them"
        )
    lengths = torch.tensor([len(row) for row in ids])
    tokens = yield from _encode(encoder, ids, lengths)
    embeddings = save_embeddings(
        options.data,
        captions,
        tokens,
        lengths,
        encoder=encoder.name,
        fingerprint=encoder.fingerprint,
        max_tokens=encoder.max_tokens,
    )
    return _report(options, embeddings, reused=False)


def _cached(options: EmbedOptions, captions: list[str]) -> Embeddings | None:
    """The cache of an earlier run if it has these captions and this setting."""
    try:
        cached = load_embeddings(options.data, captions)
    except EmbeddingError:
        return None
    return cached if cached.max_tokens == options.max_tokens else None


def _encode(encoder: TextEncoder, ids: list[list[int]], lengths: Tensor) -> Generator[Event, None, Tensor]:
    """The vectors of all captions (N, D) float16 on the CPU, in their order."""
    starts = lengths.cumsum(0) - lengths
    # At least one row, so that a gather has something to point at even if every caption is empty.
    tokens = torch.zeros(max(1, int(lengths.sum())), encoder.width, dtype=torch.float16)
    began, done = time.monotonic(), 0
    for rows in _batches(lengths):
        batch = encoder.encode_ids([ids[row] for row in rows])
        mask = batch.mask.cpu()
        place = starts[rows, None] + torch.arange(mask.shape[1])
        tokens[place[mask]] = to_half(batch.tokens).cpu()[mask]
        done += len(rows)
        speed = done / (time.monotonic() - began)
        yield Progress("encoding captions", done, len(ids), "captions", f"{speed:,.0f} captions/s")
    return tokens


def _batches(lengths: Tensor) -> Iterator[list[int]]:
    """Captions of like length together, so that little of a batch is padding; the longest first."""
    rows = lengths.argsort(descending=True, stable=True).tolist()
    while rows:
        count = max(1, BATCH_TOKENS // max(1, int(lengths[rows[0]])))
        yield rows[:count]
        rows = rows[count:]


def _report(options: EmbedOptions, embeddings: Embeddings, *, reused: bool) -> EmbedReport:
    return EmbedReport(
        path=options.data / FILE_NAME,
        encoder=embeddings.encoder,
        width=embeddings.width,
        captions=len(embeddings.lengths),
        tokens=len(embeddings.tokens),
        longest=embeddings.longest,
        reused=reused,
    )
