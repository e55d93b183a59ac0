"""Loading a text encoder: the bundled one, or any that transformers supports.

Weights come from safetensors files only, and no code of the model's author is run.
"""

from __future__ import annotations

import difflib
import hashlib
import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypedDict

import torch
from safetensors import SafetensorError

from glyffctl.core.errors import EmbeddingError, UsageError, first_line
from glyffctl.core.io import reading
from glyffctl.core.io.bundled import BUNDLED
from glyffctl.core.io.tensor_files import check_tensors
from glyffctl.core.text.encoder import ENCODERS, PretrainedEncoder, TextEncoder, last_hidden_state, quiet
from glyffctl.core.text.fingerprint import SAMPLE, TEST_SENTENCE
from glyffctl.core.text.hub import encoder_folder, has_weights, is_local
from glyffctl.core.text.t5 import T5Encoder
from glyffctl.core.text.tokenizer import BundledTokenizer

MOST_TOKENS = 64
"""That captions are cut to where nothing else is said."""
_SAFE = {"trust_remote_code": False, "local_files_only": True}
_LARGEST_TOKENIZER = 1 << 26  # bytes; those of a quarter of a million tokens have 35 million
_TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "tokenizer_config.json", "added_tokens.json")
_LONGEST_TOKEN = 10_000
_MOST_LAYERS = 1000


class Loading(TypedDict, total=False):
    """The keywords of `load_encoder`, for what passes them on."""

    max_tokens: int
    device: torch.device | str
    encodes_empty: bool
    with_transformers: bool


def load_encoder(
    name: str | Path,
    *,
    max_tokens: int = MOST_TOKENS,
    device: torch.device | str = "cpu",
    encodes_empty: bool = False,
    with_transformers: bool = False,
) -> TextEncoder:
    """Load a text encoder, in float32 and evaluation mode.

    Args:
        name: "bundled", a name in `ENCODERS`, a folder, or a name on the Hugging Face hub such as
            "google-t5/t5-small". If a folder "text_encoder" has no tokenizer, as in pipelines of diffusers, that of
            "tokenizer" beside it is taken.
        max_tokens: longer captions are cut, end mark kept; at least 2.
        device: where to encode.
        encodes_empty: see `TextEncoder`.
        with_transformers: run even the bundled encoder with transformers, which takes ten times as long to start; only
            such encoders can be saved or traced with plain attention.

    Raises:
        EmbeddingError: it cannot be loaded, is not a text encoder, or takes fewer tokens.
        UsageError: `max_tokens` is below 2.
    """
    if max_tokens < 2:
        raise UsageError(f"`max_tokens` is {max_tokens}; a word and its end mark need at least 2")
    if name in ENCODERS:
        made = ENCODERS[str(name)](max_tokens)
        made.encodes_empty = encodes_empty
        return made
    shown = str(name)
    own = name == BUNDLED and not with_transformers
    try:
        with nullcontext() if own else quiet():
            folder = encoder_folder(name)
            if is_local(name):
                shown = str(folder)
            encoder = (_load_bundled if own else _load)(folder, shown, max_tokens, device)
    except (SafetensorError, OSError) as error:
        raise EmbeddingError(f"cannot load the text encoder {shown}: {first_line(error)}") from error
    except EmbeddingError as error:
        close = difflib.get_close_matches(shown.lower(), [BUNDLED, *ENCODERS], 1)
        if not close or Path(shown).exists():
            raise
        raise EmbeddingError(f"{error}; did you mean {close[0]}?") from error
    encoder.encodes_empty = encodes_empty
    return encoder


def _load_bundled(folder: Path, shown: str, max_tokens: int, device: torch.device | str) -> PretrainedEncoder:
    tokenizer, model = BundledTokenizer(folder / "tokenizer.json"), T5Encoder(folder, device)
    _check_length(shown, max_tokens, model.max_length)
    fingerprint = _fingerprint(tokenizer, model, set())
    return PretrainedEncoder(shown, tokenizer, model, width=model.width, fingerprint=fingerprint, max_tokens=max_tokens)


def _check_length(shown: str, max_tokens: int, limit: float) -> None:
    if max_tokens > limit:
        raise EmbeddingError(f"the text encoder {shown} takes at most {limit} tokens, not {max_tokens}")


def _load(folder: Path, shown: str, max_tokens: int, device: torch.device | str) -> PretrainedEncoder:
    from transformers import AutoConfig  # noqa: PLC0415

    for file in folder.iterdir():
        # The libraries would block on a pipe and load files of any size.
        if file.suffix == ".safetensors":
            check_tensors(file, EmbeddingError)
        elif file.suffix in (".json", ".model", ".txt"):
            whole = file.name in _TOKENIZER_FILES or file.suffix != ".json"
            reading.check_file(file, EmbeddingError, _LARGEST_TOKENIZER if whole else reading.LARGEST_SETTINGS)
    if not (folder / "config.json").is_file():
        raise EmbeddingError(f"{shown} is not a text encoder: it has no config.json")
    if not has_weights(folder):
        raise EmbeddingError(
            f"the text encoder {shown} has no safetensors weights; other formats can run code when loaded"
        )
    with _plain_errors(shown):
        config = AutoConfig.from_pretrained(folder, **_SAFE)
    layers = getattr(config, "num_hidden_layers", 0)
    if type(layers) is not int or layers > _MOST_LAYERS:
        raise EmbeddingError(f"cannot use {folder / 'config.json'}: it asks for {reading.short_repr(layers)} layers")
    tokenizer = _load_tokenizer(folder, shown, config)
    limits = [tokenizer.model_max_length, getattr(config, "max_position_embeddings", math.inf)]
    for limit in limits:
        if isinstance(limit, bool) or not isinstance(limit, int | float):
            raise EmbeddingError(f"cannot use {shown}: its longest text is {reading.short_repr(limit)}, not a number")
    _check_length(shown, max_tokens, min(limits))
    model, missing = _load_model(folder, shown, config)
    fingerprint = _fingerprint(tokenizer, model, missing)
    if model.config.is_encoder_decoder:
        model = model.get_encoder()
    model = model.eval().to(device)
    width = _vector_width(tokenizer, model, shown)
    return PretrainedEncoder(shown, tokenizer, model, width=width, fingerprint=fingerprint, max_tokens=max_tokens)


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
            f"{shown} has no tokenizer that can be loaded ({first_line(error)}); name a text encoder"
        ) from error
    # Without these files transformers makes a tokenizer to which every word is unknown.
    if not any((folder / file).is_file() for file in tokenizer.vocab_files_names.values()):
        raise EmbeddingError(f"{shown} has no tokenizer; name a text encoder")
    return tokenizer


def _check_vocabulary(path: Path) -> None:
    """Refuse very long tokens: the library frees its trie of tokens by recursion, so a million letters crash it."""
    if not path.exists():
        return
    try:
        text = reading.read_text(path, EmbeddingError, _LARGEST_TOKENIZER)
        model = reading.parse_json(text)["model"]
        longest = max((len(row if isinstance(row, str) else row[0]) for row in model["vocab"]), default=0)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise EmbeddingError(
            f"{path.parent} has no tokenizer that can be loaded ({first_line(error)}); name a text encoder"
        ) from error
    if longest > _LONGEST_TOKEN:
        raise EmbeddingError(f"cannot use {path}: it has a token of {longest:,} characters")


def _load_model(folder: Path, shown: str, config: Any) -> tuple[Any, set[str]]:
    """The network in float32, and the names of its tensors that the files lack."""
    from transformers import AutoModel, AutoModelForTextEncoding  # noqa: PLC0415
    from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING  # noqa: PLC0415

    # The mapping has the encoder half of encoder-decoders such as T5; others are loaded whole.
    kind = AutoModelForTextEncoding if type(config) in MODEL_FOR_TEXT_ENCODING_MAPPING else AutoModel
    with _plain_errors(shown):
        model, loaded = kind.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **_SAFE,
        )
    # Missing tensors are random now. Many encoders come without the pooling layer, which we do not use.
    missing = {*loaded["missing_keys"], *(key for key, *_ in loaded["mismatched_keys"])}
    unfit = sorted(key for key in missing if "pooler" not in key)
    if unfit:
        raise EmbeddingError(
            f"the weights of the text encoder {shown} do not fit its config.json: {len(unfit)} missing or of "
            f"another shape, the first {unfit[0]}"
        )
    return model, missing


def _vector_width(tokenizer: Any, model: Any, shown: str) -> int:
    """The width of the vectors, found by encoding one word."""
    ids = torch.tensor([tokenizer("lithium")["input_ids"]], device=model.device)
    try:
        hidden = last_hidden_state(model, ids, torch.ones_like(ids, dtype=torch.bool))
        vocabulary = model.get_input_embeddings().num_embeddings
    except (TypeError, ValueError, AttributeError, NotImplementedError, IndexError, RuntimeError) as error:
        # What networks for other tasks raise. Errors of the GPU have types of torch's own.
        if type(error).__module__.startswith("torch"):
            raise
        raise EmbeddingError(f"{shown} is not a text encoder: encoding a word fails: {first_line(error)}") from error
    if len(tokenizer) > vocabulary:
        raise EmbeddingError(
            f"the tokenizer of the text encoder {shown} has {len(tokenizer):,} tokens, its weights only "
            f"{vocabulary:,}; the two do not belong together"
        )
    if not hidden.isfinite().all():
        raise EmbeddingError(f"the text encoder {shown} has broken weights: its vectors are not finite")
    return hidden.shape[-1]


@contextmanager
def _plain_errors(shown: str) -> Iterator[None]:
    """Turn any exception of transformers into an EmbeddingError: a damaged folder can raise nearly anything.

    Keep our own code out of this block, since its bugs would be blamed on the folder.
    """
    try:
        yield
    except EmbeddingError:
        raise
    except Exception as error:
        raise EmbeddingError(f"cannot load the text encoder {shown}: {first_line(error)}") from error


def _fingerprint(tokenizer: Any, model: Any, ignore: set[str]) -> str:
    """A digest of both ends of every parameter and of how the tokenizer splits one sentence.

    A few hundred values of each parameter cost milliseconds whatever the size of the model, and change with any
    training. Parameters in `ignore` are random.
    """
    digest = hashlib.blake2b(digest_size=16)
    for key, value in sorted(model.named_parameters()):
        if key not in ignore:
            flat = value.detach().flatten()
            ends = torch.cat([flat[:SAMPLE], flat[-SAMPLE:]]).float()
            digest.update(f"{key} {tuple(value.shape)}".encode())
            digest.update(ends.cpu().numpy().tobytes())
    digest.update(f"{len(tokenizer)} {tokenizer([TEST_SENTENCE])['input_ids'][0]}".encode())
    return digest.hexdigest()
