"""`glyffctl embed`: encode every distinct caption of a data folder, once, into a cache beside the glyphs."""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from glyffctl.core.data.embeddings import FILE_NAME, Embeddings, load_embeddings, save_embeddings, to_half
from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.device import choose_device
from glyffctl.core.errors import EmbeddingError
from glyffctl.core.io.atomic import check_writable
from glyffctl.core.io.bundled import BUNDLED
from glyffctl.core.text.encoder import TextEncoder
from glyffctl.core.text.loading import load_encoder
from glyffctl.workflows.events import Caution, Event, Note, Progress
from glyffctl.workflows.words import shorten

BATCH_TOKENS = 2048
"""Tokens that are encoded at once."""


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
    """What the cache holds."""

    path: Path
    encoder: str
    width: int
    captions: int
    tokens: int
    longest: int
    """Tokens of the longest caption."""
    reused: bool
    """Whether the cache of an earlier run was valid."""


def embed(options: EmbedOptions) -> Generator[Event, None, EmbedReport]:
    """Encode the captions of a data folder, unless its cache has the same captions, encoder and settings.

    Raises:
        DataError: the data folder cannot be read.
        EmbeddingError: the encoder cannot be loaded, and there is no cache that it made before.
        OutputError: the cache cannot be written.
    """
    device = choose_device(options.device)
    captions = open_glyphs(options.data).captions
    cached = _load_cached(options, captions)
    yield Note(f"loading the text encoder {options.encoder}", "encoder-loading", {"encoder": options.encoder})
    try:
        encoder = load_encoder(options.encoder, max_tokens=options.max_tokens, device=device)
    except EmbeddingError as error:
        names = (options.encoder, str(Path(options.encoder).expanduser().absolute()))
        if cached is None or cached.encoder not in names:
            raise
        yield Caution(f"{error}; its earlier embeddings are kept", "embeddings-kept")
        return _report(options, cached, reused=True)
    if cached is not None and (cached.encoder, cached.fingerprint) == (encoder.name, encoder.fingerprint):
        yield Note(
            f"{options.data / FILE_NAME} is up to date: {len(captions):,} captions, {encoder.name}",
            "embeddings-up-to-date",
        )
        return _report(options, cached, reused=True)

    check_writable(options.data / FILE_NAME)
    ids = encoder.tokenize(captions)
    yield from _warn_of_lost_text(encoder, captions, ids)
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


def _load_cached(options: EmbedOptions, captions: list[str]) -> Embeddings | None:
    """The cache of an earlier run, if it has the same captions and `max_tokens`."""
    try:
        cached = load_embeddings(options.data, captions)
    except EmbeddingError:
        return None
    return cached if cached.max_tokens == options.max_tokens else None


def _warn_of_lost_text(encoder: TextEncoder, captions: list[str], ids: list[list[int]]) -> Generator[Event, None, None]:
    """Warn of captions that are cut, that the encoder does not know, or that it cannot tell apart."""
    groups: dict[tuple[int, ...], list[str]] = {}
    for text, row in zip(captions, ids, strict=True):
        if row:
            groups.setdefault(tuple(row), []).append(text)
    cut, same_when_cut, unknown, same = (list[str]() for _ in range(4))
    for tokens, texts in groups.items():
        full = len(tokens) == encoder.max_tokens
        cut += [text for text in texts if full and encoder.is_cut(text)]
        if not encoder.all_known(list(tokens)) and encoder.find_unknown(texts[0]).whole:
            unknown += texts
        distinct = {_comparable(text): text for text in texts}
        if len(distinct) > 1:
            (same_when_cut if full else same).extend(distinct.values())
    total = f"of {len(captions):,} captions"
    if cut:
        alike = f", and {len(same_when_cut):,} of them became equal to another" if same_when_cut else ""
        yield Caution(
            f"{len(cut):,} {total} were cut to {encoder.max_tokens} tokens{alike}; --max-tokens keeps more of them",
            "captions-cut",
            {"cut": len(cut), "indistinct": len(same_when_cut), "max_tokens": encoder.max_tokens},
        )
    if unknown:
        yield Caution(
            f"{len(unknown):,} {total} have only words that are unknown to the text encoder, such as "
            f"“{shorten(unknown[0])}”; choose one for their language with --encoder",
            "captions-unknown",
            {"unknown": tuple(unknown)},
        )
    if same:
        yield Caution(
            f"{len(same):,} {total} have the same tokens as another with other words, such as “{shorten(same[0])}” and "
            f"“{shorten(same[1])}”; a model cannot tell them apart",
            "captions-indistinct",
            {"indistinct": tuple(same)},
        )


def _comparable(text: str) -> str:
    """`text` without what encoders normally ignore: case, accents, and spaces."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in plain if not unicodedata.combining(letter) and not letter.isspace())


def _encode(encoder: TextEncoder, ids: list[list[int]], lengths: Tensor) -> Generator[Event, None, Tensor]:
    """The vectors (N, D) of all captions, float16 on the CPU, in their order."""
    starts = lengths.cumsum(0) - lengths
    # At least one row for `Embeddings.batch` to point at, even if all captions are empty.
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
    """Rows of captions of similar length, longest first, so that batches have little padding."""
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
