"""Text encoders: a pretrained network, frozen, that turns a caption into one vector per token.

Any encoder of the T5 family, and any other text encoder that transformers knows. Weights are read from
safetensors files only, and no code of the model's author is run.
"""

from __future__ import annotations

import hashlib
import math
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from torch import Tensor

from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.errors import EmbeddingError, UsageError
from glyffctl.core.io import reading
from glyffctl.core.io.bundled import BUNDLED
from glyffctl.core.io.tensors import check_tensors
from glyffctl.core.text.han import HAN
from glyffctl.core.text.hub import has_weights, is_local, model_folder
from glyffctl.core.text.t5 import T5Encoder, WordPieces

# Words, digits, brackets, accents and Han: tokenizers that treat any of these in their own way differ here.
_PROBE = "Lithium (element 3, Li); naïve small swan 鋰 [U+92F0]"
_WORD = re.compile(rf"{HAN.pattern}|(?:(?!{HAN.pattern})[^\W_])+")  # Han has no spaces: each character is one
_SAFE = {"trust_remote_code": False, "local_files_only": True}
_LARGEST_TOKENIZER = 1 << 26  # bytes; those of a quarter of a million tokens have 35 million
_WITH_TOKENS = ("tokenizer.json", "vocab.json", "tokenizer_config.json", "added_tokens.json")
_LONGEST_TOKEN = 10_000
_MOST_LAYERS = 1000
_SAMPLE = 256  # values of each parameter, at either end, that go into the fingerprint


class Unread(NamedTuple):
    """What of a text an encoder does not know."""

    parts: tuple[str, ...]  # pieces of the text that are not in the vocabulary, in their order, each once
    whole: bool  # no letter or digit of the text reaches the encoder

    def __bool__(self) -> bool:
        """Whether there is anything that it does not know."""
        return self.whole or bool(self.parts)


class TextEncoder:
    """A text encoder with its tokenizer; `load_encoder` makes one.

    Attributes:
        name: as the user gave it; local folders as absolute paths.
        width: D, the size of one token vector.
        fingerprint: 32 hex digits that identify the weights and the tokenizer.
        max_tokens: longer captions are cut to this many tokens.
        reads_empty: the empty text is encoded like any other, where otherwise it is no caption.
    """

    def __init__(
        self,
        name: str,
        tokenizer: Any,
        model: Any,
        *,
        width: int,
        fingerprint: str,
        max_tokens: int,
        reads_empty: bool = False,
    ) -> None:
        self.name = name
        self.width = width
        self.fingerprint = fingerprint
        self.max_tokens = max_tokens
        self.reads_empty = reads_empty
        self._tokenizer = tokenizer
        self._model = model

    def tokenize(self, texts: list[str]) -> list[list[int]]:
        """The token ids of each text, end mark included, at most `max_tokens`; none for an empty text."""
        return self._tokenize(texts, self.max_tokens)

    def is_cut(self, text: str) -> bool:
        """Whether `text` has more tokens than `max_tokens`."""
        return len(self._tokenize([text], self.max_tokens + 1)[0]) > self.max_tokens

    def knows(self, ids: list[int]) -> bool:
        """Whether each of the token ids of a text stands for something in it, and there are any."""
        return _unknown_id(self._tokenizer) not in ids and not set(ids) <= set(self._tokenizer.all_special_ids)

    def unread(self, text: str) -> Unread:
        """What of `text`, as far as it is not cut off, stands for the encoder as the unknown token, or as none at all.

        Tokenizers that spell what they do not know in bytes know everything.
        """
        if not text.strip():
            return Unread((), whole=False)
        unknown, special = _unknown_id(self._tokenizer), set(self._tokenizer.all_special_ids)
        if not getattr(self._tokenizer, "is_fast", False):
            return self._unread_by_words(text, unknown, special)
        limit: dict[str, Any] = {"truncation": True, "max_length": self.max_tokens}
        read = self._tokenizer([text], return_offsets_mapping=True, **limit)
        ids, spans = read["input_ids"][0], read["offset_mapping"][0]
        tokens = list(zip(ids, self._tokenizer.convert_ids_to_tokens(ids), spans, strict=True))
        lost = {place for number, _, span in tokens if number == unknown for place in range(*span)}
        for word in _WORD.finditer(text):  # a soft sign is all that is left of огонь: that is no word known in part
            places = range(*word.span())
            if 2 * len(lost.intersection(places)) > len(places):
                lost.update(places)
        known = [(token, span) for number, token, span in tokens if number not in special]
        heard = {place for token, span in known if _has_letters(token) for place in range(*span)} - lost
        runs = "".join(letter if place in lost else "\0" for place, letter in enumerate(text)).split("\0")
        parts = tuple(dict.fromkeys(run.strip() for run in runs if run.strip()))
        return Unread(parts, whole=not heard and (bool(parts) or not known))

    def _unread_by_words(self, text: str, unknown: int | None, special: set[int]) -> Unread:
        """`unread` by a tokenizer that does not tell where in the text its tokens are: a word is known or it is not."""
        words = list(dict.fromkeys(text.split()))
        rows = [set(row) for row in self._tokenizer(words)["input_ids"]]
        parts = tuple(word for word, row in zip(words, rows, strict=True) if unknown in row)
        known = self._tokenizer.convert_ids_to_tokens(sorted(set().union(*rows) - special))
        return Unread(parts, whole=not any(map(_has_letters, known)) and (bool(parts) or not known))

    def encode(self, texts: list[str]) -> Condition:
        """Encode texts, padded on the right to the longest: float32, on the encoder's device.

        The empty text gives a row whose mask is all False, unless `reads_empty`.
        """
        return self.encode_ids(self.tokenize(texts))

    def encode_ids(self, ids: list[list[int]]) -> Condition:
        """`encode` for texts that `tokenize` has been through."""
        device = self._model.device
        lengths = torch.tensor([len(row) for row in ids])
        length = max(1, int(lengths.max()))
        # The padding's id does not matter, since it is masked: not every tokenizer has one.
        padded = torch.tensor([row + [0] * (length - len(row)) for row in ids]).to(device)
        mask = (torch.arange(length) < lengths[:, None]).to(device)
        tokens = torch.zeros(len(ids), length, self.width, device=device)
        worded = lengths.nonzero().squeeze(1).to(device)  # attention over no token at all is undefined
        if len(worded):
            tokens[worded] = _hidden(self._model, padded[worded], mask[worded])
        return Condition(tokens.masked_fill(~mask[..., None], 0.0), mask)

    @contextmanager
    def plain_attention(self) -> Iterator[Any]:
        """The network with attention as matrix products, which exporters can follow; as it was when the block ends."""
        known = self._model.config._attn_implementation
        self._model.set_attn_implementation("eager")
        try:
            yield self._model
        finally:
            self._model.set_attn_implementation(known)

    def save_tokenizer(self, folder: Path) -> None:
        """Write the tokenizer's files, as transformers reads them."""
        with _quiet():
            self._tokenizer.save_pretrained(folder)

    def save_model(self, folder: Path) -> str:
        """Write the network's config.json and weights; the name of its class in transformers."""
        with _quiet():
            self._model.save_pretrained(folder)
        return type(self._model).__name__

    def _tokenize(self, texts: list[str], limit: int) -> list[list[int]]:
        # Tokenizers give even an empty text its end mark; and they refuse an empty list.
        reads = [self.reads_empty or bool(text.strip()) for text in texts]
        worded = [text for text, read in zip(texts, reads, strict=True) if read]
        ids = iter(self._tokenizer(worded, truncation=True, max_length=limit)["input_ids"] if worded else [])
        return [list(next(ids)) if read else [] for read in reads]


def _has_letters(token: str) -> bool:
    return any(letter.isalnum() for letter in token)


def _unknown_id(tokenizer: Any) -> int | None:
    """The id that stands for all that is not in the vocabulary; None where there is none of its own.

    CLIP's tokenizer, which spells everything in bytes, names its end mark.
    """
    names = ("bos_token_id", "eos_token_id", "sep_token_id", "cls_token_id", "pad_token_id")
    unknown: int | None = tokenizer.unk_token_id
    return None if unknown in [getattr(tokenizer, name, None) for name in names] else unknown


def load_encoder(
    name: str | Path,
    *,
    max_tokens: int = 64,
    device: torch.device | str = "cpu",
    reads_empty: bool = False,
    with_transformers: bool = False,
) -> TextEncoder:
    """Load a text encoder, in float32 and evaluation mode.

    Args:
        name: "bundled", a folder, or a name on the Hugging Face hub such as "google-t5/t5-small". In a folder
            "text_encoder" without a tokenizer, as pipelines of diffusers have, that of "tokenizer" beside it is taken.
        max_tokens: longer captions are cut, end mark kept; at least 2.
        device: where to encode.
        reads_empty: see `TextEncoder`.
        with_transformers: run even the bundled encoder with it, which starts in a tenth of the time without; only what
            transformers runs can be saved, and traced with plain attention.

    Raises:
        EmbeddingError: it cannot be had, is broken, is not a text encoder, or takes fewer tokens.
        UsageError: `max_tokens` is below 2.
    """
    if max_tokens < 2:
        raise UsageError(f"{max_tokens} tokens leave no room for a word and its end mark; give at least 2")
    shown = str(name)
    own = name == BUNDLED and not with_transformers
    try:
        with nullcontext() if own else _quiet():
            folder = model_folder(name)
            if is_local(name):
                shown = str(folder)
            encoder = (_load_own if own else _load)(folder, shown, max_tokens, device)
    except (SafetensorError, OSError) as error:
        raise EmbeddingError(f"cannot load the text encoder {shown}: {_cause(error)}") from error
    encoder.reads_empty = reads_empty
    return encoder


def _load_own(folder: Path, shown: str, max_tokens: int, device: torch.device | str) -> TextEncoder:
    tokenizer, model = WordPieces(folder / "tokenizer.json"), T5Encoder(folder, device)
    _check_length(shown, max_tokens, model.longest)
    fingerprint = _fingerprint(tokenizer, model, set())
    return TextEncoder(shown, tokenizer, model, width=model.width, fingerprint=fingerprint, max_tokens=max_tokens)


def _check_length(shown: str, max_tokens: int, limit: float) -> None:
    if max_tokens > limit:
        raise EmbeddingError(f"the text encoder {shown} takes at most {limit} tokens, not {max_tokens}")


def _load(folder: Path, shown: str, max_tokens: int, device: torch.device | str) -> TextEncoder:
    from transformers import AutoConfig  # noqa: PLC0415

    for file in folder.iterdir():
        # The libraries would wait for a pipe, and read whatever there is.
        if file.suffix == ".safetensors":
            check_tensors(file, EmbeddingError)
        elif file.suffix in (".json", ".model", ".txt"):
            whole = file.name in _WITH_TOKENS or file.suffix != ".json"
            reading.check_file(file, EmbeddingError, _LARGEST_TOKENIZER if whole else reading.LARGEST_SETTINGS)
    if not (folder / "config.json").is_file():
        raise EmbeddingError(f"{shown} is not a text encoder: it has no config.json")
    if not has_weights(folder):
        raise EmbeddingError(
            f"the text encoder {shown} has no safetensors weights; other formats can run code when loaded"
        )
    with _reading(shown):
        config = AutoConfig.from_pretrained(folder, **_SAFE)
    layers = getattr(config, "num_hidden_layers", 0)
    if type(layers) is not int or layers > _MOST_LAYERS:
        raise EmbeddingError(f"cannot use {folder / 'config.json'}: {reading.preview(layers)} layers are no network")
    tokenizer = _load_tokenizer(folder, shown, config)
    _check_length(
        shown, max_tokens, min(tokenizer.model_max_length, getattr(config, "max_position_embeddings", math.inf))
    )
    model, missing = _load_model(folder, shown, config)
    fingerprint = _fingerprint(tokenizer, model, missing)
    if model.config.is_encoder_decoder:
        model = model.get_encoder()
    model = model.eval().to(device)
    width = _probe(tokenizer, model, shown)
    return TextEncoder(shown, tokenizer, model, width=width, fingerprint=fingerprint, max_tokens=max_tokens)


def _load_tokenizer(folder: Path, shown: str, config: Any) -> Any:
    from transformers import AutoTokenizer  # noqa: PLC0415

    beside = folder.with_name("tokenizer")
    if folder.name == "text_encoder" and beside.is_dir() and not any(folder.glob("tokenizer*")):
        folder = beside
    _check_vocabulary(folder / "tokenizer.json")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, config=config, **_SAFE)
    except Exception as error:
        raise EmbeddingError(
            f"{shown} has no tokenizer that can be read ({_cause(error)}); name a text encoder"
        ) from error
    # Without its files a tokenizer is made up, to which every word is the unknown one.
    if not any((folder / file).is_file() for file in tokenizer.vocab_files_names.values()):
        raise EmbeddingError(f"{shown} has no tokenizer; name a text encoder")
    return tokenizer


def _check_vocabulary(path: Path) -> None:
    """A token of a million letters ends the process: the library's trie of them is taken down by recursion."""
    if not path.exists():
        return
    try:
        text = reading.read_text(path, EmbeddingError, _LARGEST_TOKENIZER)
        model = reading.parse_json(text)["model"]
        longest = max((len(row if isinstance(row, str) else row[0]) for row in model["vocab"]), default=0)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise EmbeddingError(
            f"{path.parent} has no tokenizer that can be read ({_cause(error)}); name a text encoder"
        ) from error
    if longest > _LONGEST_TOKEN:
        raise EmbeddingError(f"cannot use {path}: it has a token of {longest:,} letters")


def _load_model(folder: Path, shown: str, config: Any) -> tuple[Any, set[str]]:
    """The network in float32, and the names of its tensors that were not in the files."""
    from transformers import AutoModel, AutoModelForTextEncoding  # noqa: PLC0415
    from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING  # noqa: PLC0415

    # The mapping knows the encoder half of encoder-decoders such as T5; the rest are taken whole.
    kind = AutoModelForTextEncoding if type(config) in MODEL_FOR_TEXT_ENCODING_MAPPING else AutoModel
    with _reading(shown):
        model, loaded = kind.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **_SAFE,
        )
    # What is missing is random now. Many encoders come without the pooling layer, which we do not use.
    missing = {*loaded["missing_keys"], *(key for key, *_ in loaded["mismatched_keys"])}
    unfit = sorted(key for key in missing if "pooler" not in key)
    if unfit:
        raise EmbeddingError(
            f"the weights of the text encoder {shown} do not fit its config.json: {len(unfit)} missing or of "
            f"another shape, the first {unfit[0]}"
        )
    return model, missing


def _probe(tokenizer: Any, model: Any, shown: str) -> int:
    """Encode one word; return the width of its vectors."""
    ids = torch.tensor([tokenizer("lithium")["input_ids"]], device=model.device)
    try:
        hidden = _hidden(model, ids, torch.ones_like(ids, dtype=torch.bool))
        vocabulary = model.get_input_embeddings().num_embeddings
    except (TypeError, ValueError, AttributeError, NotImplementedError, IndexError, RuntimeError) as error:
        # What networks for other things say to a word. A GPU that is full, or broken, says it in a type of its own.
        if type(error).__module__.startswith("torch"):
            raise
        raise EmbeddingError(f"{shown} is not a text encoder: asked to read a word it says: {_cause(error)}") from error
    if len(tokenizer) > vocabulary:
        raise EmbeddingError(
            f"the tokenizer of the text encoder {shown} has {len(tokenizer):,} tokens, its weights know only "
            f"{vocabulary:,}; the two do not belong together"
        )
    if not hidden.isfinite().all():
        raise EmbeddingError(f"the text encoder {shown} has broken weights: its vectors are not finite")
    return hidden.shape[-1]


@contextmanager
def _reading(shown: str) -> Iterator[None]:
    """Around what transformers reads from a stranger's folder, which can raise nearly anything, never the same twice.

    Nothing of ours belongs in this block: its faults would be taken for the folder's.
    """
    try:
        yield
    except EmbeddingError:
        raise
    except Exception as error:
        raise EmbeddingError(f"cannot load the text encoder {shown}: transformers says: {_cause(error)}") from error


def _cause(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(": ")[:200] or type(error).__name__


@torch.inference_mode()
def _hidden(model: Any, ids: Tensor, mask: Tensor) -> Tensor:
    """The last hidden state, (B, L, D)."""
    hidden: Tensor = model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    return hidden


def _fingerprint(tokenizer: Any, model: Any, ignore: set[str]) -> str:
    """A digest of the two ends of every parameter and of the tokenizer's answer to one sentence.

    It reads a few hundred values of each parameter, so it costs milliseconds whatever the size of the model,
    and changes with any training of it. Parameters in `ignore` were not loaded but drawn at random.
    """
    digest = hashlib.blake2b(digest_size=16)
    for key, value in sorted(model.named_parameters()):
        if key not in ignore:
            flat = value.detach().flatten()
            ends = torch.cat([flat[:_SAMPLE], flat[-_SAMPLE:]]).float()
            digest.update(f"{key} {tuple(value.shape)}".encode())
            digest.update(ends.cpu().numpy().tobytes())
    digest.update(f"{len(tokenizer)} {tokenizer([_PROBE])['input_ids'][0]}".encode())
    return digest.hexdigest()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the libraries' own log lines, warnings and bars off the terminal; errors still are exceptions."""
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
