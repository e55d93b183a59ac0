"""The bundled text encoder in NumPy: what `text.t5` and `text.loading` make of it, without PyTorch."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors.numpy import load_file

from glyffctl.core.io.bundled import BUNDLED, pretrained
from glyffctl.core.light.model import Declined, LightModel
from glyffctl.core.text import vocabulary
from glyffctl.core.text.fingerprint import SAMPLE, TEST_SENTENCE
from glyffctl.core.text.tokenizer import BundledTokenizer

Array = np.ndarray[Any, np.dtype[Any]]


class Texts(NamedTuple):
    """Texts as `diffusion.condition.Condition` has them, in arrays."""

    tokens: Array  # (B, L, D) float32; zeros where mask is False
    mask: Array  # (B, L) bool; L >= 1


class LightEncoder:
    """The text encoder of a folder, as `text.t5.T5Encoder` computes it.

    Attributes:
        width: D, of the vectors.
        max_tokens: longer texts are cut.
        max_length: the most tokens of one text.
        fingerprint: as `text.loading` computes it.
    """

    def __init__(self, folder: Path, max_tokens: int) -> None:
        config, about = (
            json.loads((folder / name).read_text(encoding="utf-8")) for name in ("config.json", "tokenizer_config.json")
        )
        self.max_length: int = about["model_max_length"]
        self.width: int = config["d_model"]
        self.max_tokens = max_tokens
        self._tokenizer = BundledTokenizer(folder / "tokenizer.json")
        self._layers, self._heads = range(config["num_layers"]), config["num_heads"]
        self._max_distance = config["relative_attention_max_distance"]
        self._epsilon = np.float32(config["layer_norm_epsilon"])
        weights = load_file(folder / "model.safetensors")
        self.fingerprint = self._fingerprint(weights)
        self._table = weights.pop("shared.weight")  # half of all, of which a text takes a few rows
        self._weights = {name: value.astype(np.float32) for name, value in weights.items()}

    def _fingerprint(self, weights: dict[str, Array]) -> str:
        digest = hashlib.blake2b(digest_size=16)
        for name, value in sorted(weights.items()):
            flat = value.reshape(-1)
            digest.update(f"{name} {value.shape}".encode())
            digest.update(np.concatenate([flat[:SAMPLE], flat[-SAMPLE:]]).astype(np.float32).tobytes())
        digest.update(f"{len(self._tokenizer)} {self._tokenizer([TEST_SENTENCE])['input_ids'][0]}".encode())
        return digest.hexdigest()

    def find_unknown(self, text: str) -> vocabulary.UnknownText:
        """See `text.encoder.TextEncoder`."""
        return vocabulary.find_unknown(self._tokenizer, text, self.max_tokens)

    def is_cut(self, text: str) -> bool:
        """See `text.encoder.TextEncoder`."""
        return bool(text.strip()) and len(self._ids(text, self.max_tokens + 1)) > self.max_tokens

    def _ids(self, text: str, limit: int) -> list[int]:
        ids: list[int] = self._tokenizer([text], truncation=True, max_length=limit)["input_ids"][0]
        return ids

    def encode(self, texts: Sequence[str]) -> Texts:
        """Vectors of texts, one by one: they are the same beside others but for rounding. Empty ones have no token."""
        rows = [self._encode(self._ids(text, self.max_tokens)) if text.strip() else None for text in texts]
        length = max([1, *(len(row) for row in rows if row is not None)])
        encoded = Texts(np.zeros((len(texts), length, self.width), np.float32), np.zeros((len(texts), length), bool))
        for tokens, mask, row in zip(*encoded, rows, strict=True):
            if row is not None:
                tokens[: len(row)], mask[: len(row)] = row, True
        return encoded

    def _encode(self, ids: list[int]) -> Array:
        """(L, D) float32."""
        x = self._table[ids].astype(np.float32)
        bias = self._bias(len(ids))
        for layer in self._layers:
            block = f"encoder.block.{layer}.layer"
            x = x + self._attend(self._norm(x, f"{block}.0.layer_norm"), f"{block}.0.SelfAttention", bias)
            inner = self._linear(self._norm(x, f"{block}.1.layer_norm"), f"{block}.1.DenseReluDense.wi")
            x = x + self._linear(np.maximum(inner, 0), f"{block}.1.DenseReluDense.wo")
        return self._norm(x, "encoder.final_layer_norm")

    def _weight(self, name: str) -> Array:
        return self._weights[f"{name}.weight"]

    def _linear(self, x: Array, name: str) -> Array:
        return x @ self._weight(name).T

    def _norm(self, x: Array, name: str) -> Array:
        return x / np.sqrt(np.square(x).mean(-1, keepdims=True) + self._epsilon) * self._weight(name)

    def _attend(self, x: Array, name: str, bias: Array) -> Array:
        q, k, v = (
            self._linear(x, f"{name}.{part}").reshape(len(x), self._heads, -1).transpose(1, 0, 2) for part in "qkv"
        )
        scores = q @ k.transpose(0, 2, 1) + bias
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = weights / weights.sum(-1, keepdims=True) @ v
        return self._linear(mixed.transpose(1, 0, 2).reshape(len(x), -1), f"{name}.o")

    def _bias(self, length: int) -> Array:
        """(heads, L, L), see `T5Encoder`."""
        table = self._weight("encoder.block.0.layer.0.SelfAttention.relative_attention_bias")
        side = len(table) // 2
        exact = side // 2
        place = np.arange(length)
        distance = place - place[:, None]
        apart = np.abs(distance)
        far = np.log(np.maximum(apart, exact) / exact) / math.log(self._max_distance / exact) * (side - exact)
        bucket = np.where(apart < exact, apart, np.minimum(exact + far.astype(np.int64), side - 1))
        return table[bucket + side * (distance > 0)].transpose(2, 0, 1)


def load_light_encoder(model: LightModel) -> LightEncoder:
    """The text encoder of a model.

    Raises:
        Declined: it is not the bundled one, or that is damaged.
    """
    if model.encoder.name != BUNDLED:
        raise Declined
    try:
        encoder = LightEncoder(pretrained("encoder"), model.encoder.max_tokens)
    except Exception as cause:  # the tokenizer's own have no base but this one
        raise Declined from cause
    fits = encoder.width == model.text_width and 2 <= encoder.max_tokens <= encoder.max_length
    if not fits or model.encoder.fingerprint not in ("", encoder.fingerprint):
        raise Declined
    return encoder


def no_texts(count: int, width: int) -> Texts:
    """`count` empty texts, for vectors of `width` numbers."""
    return Texts(np.zeros((count, 1, width), np.float32), np.zeros((count, 1), bool))
