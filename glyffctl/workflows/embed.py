"""`glyffctl embed`: encode every distinct caption of a data folder, once, into a cache beside the glyphs."""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from glyffctl.core.data.embeddings import FILE_NAME, Embeddings, load_embeddings, save_embeddings, to_half
from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.device import choose_device, send
from glyffctl.core.errors import EmbeddingError
from glyffctl.core.io.atomic import check_writable
from glyffctl.core.io.bundled import BUNDLED
from glyffctl.core.models.text_tower import open_encoder
from glyffctl.core.text.encoder import TextEncoder
from glyffctl.workflows.events import Caution, Event, Note, Progress
from glyffctl.workflows.words import shorten

BATCH_TOKENS, GPU_BATCH_TOKENS = 1 << 11, 1 << 15
"""Tokens that are encoded at once: on a CPU what fits its caches, on a GPU enough for all its processors."""
GPU_HELD_BYTES = 1 << 28
"""Vectors that stay on a GPU until they are fetched together, so that it does not wait after each batch."""


@dataclass(frozen=True)
class EmbedOptions:
    """`encoder` is as in `open_encoder`; captions longer than `max_tokens` are cut."""

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
        encoder = open_encoder(options.encoder, max_tokens=options.max_tokens, device=device)
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
    tokens = yield from _encode(encoder, ids, lengths, device)
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


def _encode(
    encoder: TextEncoder, ids: list[list[int]], lengths: Tensor, device: torch.device
) -> Generator[Event, None, Tensor]:
    """The vectors (N, D) of all captions, float16 on the CPU, in their order."""
    starts = lengths.cumsum(0) - lengths
    # At least one row for `Embeddings.batch` to point at, even if all captions are empty.
    tokens = torch.zeros(max(1, int(lengths.sum())), encoder.width, dtype=torch.float16)
    batch_tokens, held_bytes = (BATCH_TOKENS, 0) if device.type == "cpu" else (GPU_BATCH_TOKENS, GPU_HELD_BYTES)
    began, done = time.monotonic(), 0
    waiting: list[tuple[Tensor, Tensor]] = []  # rows of `tokens`, and what goes there, still on the device
    for rows in _batches(lengths, batch_tokens):
        with _short_products(device):
            batch = encoder.encode_ids([ids[row] for row in rows])
        # From the lengths, which the CPU knows: to ask the device for the mask would be to wait for it.
        position = torch.arange(batch.tokens.shape[1])
        mask = position < lengths[rows, None]
        place = mask.flatten().nonzero().squeeze(1)
        filled = to_half(batch.tokens).flatten(0, 1).index_select(0, send(place, batch.tokens.device))
        waiting.append(((starts[rows, None] + position)[mask], filled))
        done += len(rows)
        if done < len(ids) and sum(vectors.nbytes for _, vectors in waiting) <= held_bytes:
            continue
        vectors = torch.cat([vectors for _, vectors in waiting]) if len(waiting) > 1 else waiting[0][1]
        tokens[torch.cat([places for places, _ in waiting])] = vectors.cpu()
        waiting.clear()
        speed = done / (time.monotonic() - began)
        yield Progress("Encoding captions", done, len(ids), "captions", f"{speed:,.0f} captions/s")
    return tokens


@contextmanager
def _short_products(device: torch.device) -> Iterator[None]:
    """Matrix products of TF32 on a CUDA GPU: with the ten bits of mantissa that float16 stores, and float32's range.

    bfloat16 would lose three of them, so that captions differ from prompts, which are encoded in float32; and in
    float16 the products of large T5 encoders overflow.
    """
    if device.type != "cuda":
        yield
        return
    settings = torch.backends.cuda.matmul
    before, settings.allow_tf32 = settings.allow_tf32, True
    try:
        yield
    finally:
        settings.allow_tf32 = before


def _batches(lengths: Tensor, tokens: int) -> Iterator[list[int]]:
    """Rows of captions of similar length, longest first, so that batches of `tokens` have little padding."""
    rows = lengths.argsort(descending=True, stable=True).tolist()
    first = 0
    while first < len(rows):
        count = max(1, tokens // max(1, int(lengths[rows[first]])))
        yield rows[first : first + count]
        first += count


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
