"""The bundled text encoder without transformers, whose import takes as long as drawing sixteen pictures.

T5's encoder (Raffel et al., "Exploring the limits of transfer learning with a unified text-to-text transformer", 2020,
section 2.1) as in its first version: linear layers without biases, RMS norm before each sublayer, attention without a
scale and with a bias for the relative position of two tokens, ReLU in the feed-forward. Weights and results equal
those of `T5EncoderModel` of transformers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F


class EncoderOutput(NamedTuple):
    """The output of an encoder, under the name that transformers gives it."""

    last_hidden_state: Tensor  # (B, L, D)


class T5Encoder:
    """The encoder of a folder that transformers' `T5EncoderModel` wrote, in float32.

    Attributes:
        width: D, of the vectors.
        max_length: the most tokens of one text.
    """

    def __init__(self, folder: Path, device: torch.device | str) -> None:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self.width: int = config["d_model"]
        self.max_length: int = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))[
            "model_max_length"
        ]
        self._layers, self._heads = range(config["num_layers"]), config["num_heads"]
        self._max_distance, self._epsilon = config["relative_attention_max_distance"], config["layer_norm_epsilon"]
        weights = load_file(folder / "model.safetensors")
        self._weights = {name: tensor.float().to(device) for name, tensor in weights.items()}

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self._weights["shared.weight"].device

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """The weights, under their names in transformers."""
        yield from self._weights.items()

    def __call__(self, input_ids: Tensor, attention_mask: Tensor) -> EncoderOutput:
        """Vectors (B, L, D) of token ids (B, L) int64; `attention_mask` (B, L) is 0 where a row has no token."""
        x = F.embedding(input_ids, self._weights["shared.weight"])
        bias = self._bias(x.shape[1]).masked_fill(attention_mask[:, None, None, :] == 0, -math.inf)
        for layer in self._layers:
            block = f"encoder.block.{layer}.layer"
            x = x + self._attend(self._norm(x, f"{block}.0.layer_norm"), f"{block}.0.SelfAttention", bias)
            inner = self._linear(self._norm(x, f"{block}.1.layer_norm"), f"{block}.1.DenseReluDense.wi")
            x = x + self._linear(F.relu(inner), f"{block}.1.DenseReluDense.wo")
        return EncoderOutput(self._norm(x, "encoder.final_layer_norm"))

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self._weights[f"{name}.weight"])

    def _norm(self, x: Tensor, name: str) -> Tensor:
        return F.rms_norm(x, (self.width,), self._weights[f"{name}.weight"], self._epsilon)

    def _attend(self, x: Tensor, name: str, bias: Tensor) -> Tensor:
        q, k, v = (self._linear(x, f"{name}.{part}").unflatten(-1, (self._heads, -1)).transpose(1, 2) for part in "qkv")
        attended = F.scaled_dot_product_attention(q, k, v, bias, scale=1.0)
        return self._linear(attended.transpose(1, 2).flatten(2), f"{name}.o")

    def _bias(self, length: int) -> Tensor:
        """(1, heads, L, L), added to the products of queries and keys in every block; stored in the first.

        16 buckets on either side: distances 0 to 7 have one each, larger ones share the rest by their logarithm.
        """
        table = self._weights["encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"]
        side = len(table) // 2
        exact = side // 2
        place = torch.arange(length, device=table.device)
        distance = place - place[:, None]  # key minus query
        apart = distance.abs()
        far = (apart.clamp(min=exact) / exact).log() / math.log(self._max_distance / exact) * (side - exact)
        bucket = torch.where(apart < exact, apart, (exact + far.long()).clamp(max=side - 1))
        return F.embedding(bucket + side * (distance > 0), table).permute(2, 0, 1)[None]
