"""Text encoders turn a caption into one vector per token; and the table of those that need no folder."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.text import vocabulary


class TextEncoder(ABC):
    """Texts to one vector per token; `load_encoder` makes one. Subclasses define `split` and `encode_ids`.

    A vector depends on the ids of its text alone. Ids are any ints: captions are stored as vectors.

    Attributes:
        name: as the user gave it; local folders as absolute paths.
        width: D, the size of one token vector.
        fingerprint: any string that changes whenever the vectors do, such as a digest of weights and tokenizer: a model
            is used only with the encoder that it was trained with.
        max_tokens: longer captions are cut to this many tokens.
        encodes_empty: whether the empty text is encoded like any other; otherwise it counts as no caption.
    """

    def __init__(
        self, name: str, *, width: int, fingerprint: str, max_tokens: int, encodes_empty: bool = False
    ) -> None:
        self.name = name
        self.width = width
        self.fingerprint = fingerprint
        self.max_tokens = max_tokens
        self.encodes_empty = encodes_empty

    @abstractmethod
    def split(self, texts: list[str], limit: int) -> list[list[int]]:
        """Return the token ids of each of at least one text, end mark included if there is one, at most `limit`."""

    @abstractmethod
    def encode_ids(self, ids: list[list[int]]) -> Condition:
        """Encode texts from their token ids, see `tokenize` and `encode`; rows without ids have an all-False mask."""

    def all_known(self, ids: list[int]) -> bool:  # noqa: ARG002
        """Whether none of the token ids of a text is the unknown one, and some are no special tokens."""
        return True

    def find_unknown(self, text: str) -> vocabulary.UnknownText:  # noqa: ARG002
        """The parts of `text`, up to `max_tokens`, that are not in the vocabulary; without one, none."""
        return vocabulary.UnknownText((), whole=False)

    def tokenize(self, texts: list[str]) -> list[list[int]]:
        """The token ids of each text, at most `max_tokens`; none for an empty text, unless `encodes_empty`."""
        return self._tokenize(texts, self.max_tokens)

    def is_cut(self, text: str) -> bool:
        """Whether `text` has more tokens than `max_tokens`."""
        return len(self._tokenize([text], self.max_tokens + 1)[0]) > self.max_tokens

    def pieces(self, text: str) -> list[str]:
        """What of `text` each of its tokens stands for, to be shown; here just their numbers, from 1."""
        return [f"token {place}" for place in range(1, len(self.tokenize([text])[0]) + 1)]

    def encode(self, texts: list[str]) -> Condition:
        """Encode texts: (B, L, D) float32 on the encoder's device, padded on the right to the longest.

        The mask of the empty text is all False, unless `encodes_empty`.
        """
        return self.encode_ids(self.tokenize(texts))

    def _tokenize(self, texts: list[str], limit: int) -> list[list[int]]:
        # Tokenizers give even an empty text its end mark; and they refuse an empty list.
        encodes = [self.encodes_empty or bool(text.strip()) for text in texts]
        encoded = [text for text, encode in zip(texts, encodes, strict=True) if encode]
        ids = iter(self.split(encoded, limit) if encoded else [])
        return [next(ids) if encode else [] for encode in encodes]


class PretrainedEncoder(TextEncoder):
    """A pretrained network, frozen, with its tokenizer: of transformers, or the bundled one, which acts like those."""

    def __init__(self, name: str, tokenizer: Any, model: Any, *, width: int, fingerprint: str, max_tokens: int) -> None:
        super().__init__(name, width=width, fingerprint=fingerprint, max_tokens=max_tokens)
        self._tokenizer = tokenizer
        self._model = model

    def split(self, texts: list[str], limit: int) -> list[list[int]]:
        """Return the token ids of each text, end mark included, at most `limit`."""
        return [list(ids) for ids in self._tokenizer(texts, truncation=True, max_length=limit)["input_ids"]]

    def all_known(self, ids: list[int]) -> bool:
        """Whether none of the token ids of a text is the unknown one, and some are no special tokens."""
        return vocabulary.all_known(self._tokenizer, ids)

    def find_unknown(self, text: str) -> vocabulary.UnknownText:
        """The parts of `text`, up to `max_tokens`, that are not in the vocabulary."""
        return vocabulary.find_unknown(self._tokenizer, text, self.max_tokens)

    def pieces(self, text: str) -> list[str]:
        """The word, or the part of one, of each token of `text`; marks such as the end are in ‹ ›."""
        [ids] = self.tokenize([text])
        marks = set(self._tokenizer.all_special_ids)
        named = zip(ids, self._tokenizer.convert_ids_to_tokens(ids), strict=True)
        return [f"‹{name.strip('</>[]')}›" if number in marks else name.lstrip("▁Ġ#") or "␣" for number, name in named]

    def encode_ids(self, ids: list[list[int]]) -> Condition:
        """Encode texts from their token ids, see `tokenize` and `encode`."""
        device = self._model.device
        lengths = torch.tensor([len(row) for row in ids])
        length = max(1, int(lengths.max()))
        # The padding's id does not matter, since it is masked: not every tokenizer has one.
        lazily = device.type == "cuda"  # what is sent waits for nothing that the GPU still does
        padded = torch.tensor([row + [0] * (length - len(row)) for row in ids]).to(device, non_blocking=lazily)
        mask = (torch.arange(length) < lengths[:, None]).to(device, non_blocking=lazily)
        if bool(lengths.all()):
            tokens = last_hidden_state(self._model, padded, mask)
        else:  # attention over no token at all is undefined
            tokens = torch.zeros(len(ids), length, self.width, device=device)
            filled = lengths.nonzero().squeeze(1).to(device, non_blocking=lazily)
            if len(filled):
                tokens[filled] = last_hidden_state(self._model, padded[filled], mask[filled])
        return Condition(tokens.masked_fill(~mask[..., None], 0.0), mask)

    @contextmanager
    def plain_attention(self) -> Iterator[Any]:
        """The network with attention as matrix products, which exporters can trace; restored when the block ends."""
        before = self._model.config._attn_implementation
        self._model.set_attn_implementation("eager")
        try:
            yield self._model
        finally:
            self._model.set_attn_implementation(before)

    def save_tokenizer(self, folder: Path) -> None:
        """Write the tokenizer's files in the format of transformers."""
        with quiet():
            self._tokenizer.save_pretrained(folder)

    def save_model(self, folder: Path) -> str:
        """Write the network's config.json and weights; returns the name of its class in transformers."""
        with quiet():
            self._model.save_pretrained(folder)
        return type(self._model).__name__


ENCODERS: dict[str, Callable[[int], TextEncoder]] = {}
"""Encoders without a folder, by name; each is made for at most `max_tokens` tokens, and encodes on the CPU.

An encoder in a file of its own adds itself, and `text/__init__.py` imports that file.
"""


@torch.inference_mode()
def last_hidden_state(model: Any, ids: Tensor, mask: Tensor) -> Tensor:
    """The last hidden state (B, L, D) of token ids (B, L); `mask` (B, L) is False for padding."""
    hidden: Tensor = model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    return hidden


@contextmanager
def quiet() -> Iterator[None]:
    """Keep log lines, warnings and progress bars of transformers and the hub off the terminal; errors still raise."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from huggingface_hub.utils import logging as hub_logging  # noqa: PLC0415
        from transformers.utils import logging  # noqa: PLC0415

        verbosity, hub_verbosity = logging.get_verbosity(), hub_logging.get_verbosity()
        bars = logging.is_progress_bar_enabled()
        logging.set_verbosity(logging.ERROR)
        hub_logging.set_verbosity(logging.ERROR)
        logging.disable_progress_bar()  # the hub's too
        try:
            yield
        finally:
            logging.set_verbosity(verbosity)
            hub_logging.set_verbosity(hub_verbosity)
            if bars:
                logging.enable_progress_bar()
