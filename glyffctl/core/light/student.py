"""A few-step student with onnxruntime: F of `networks.student` and `networks.unet`, and the passes of `flow_map`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from glyffctl.core.errors import ModelError
from glyffctl.core.light.model import Declined, LightModel
from glyffctl.core.light.noise import start_noise
from glyffctl.core.light.text import Texts, no_texts
from glyffctl.core.light.unet_graph import unet_graph

Array = np.ndarray[Any, np.dtype[Any]]

_EPSILON = np.float32(1e-5)  # of layer norms
_FATAL = 4  # the least severe of what onnxruntime prints; other errors are exceptions, too
_END = -1.5  # the label of σ' = 0, see `networks.student`


class LightStudent:
    """A network that draws; `load_student` makes one."""

    def __init__(self, model: LightModel, session: Any) -> None:
        self._sizes, self._weights, self._session = model.sizes, model.weights, session
        self._text_width = model.text_width

    def check(self) -> None:
        """See whether the weights outside of the graph fit their sizes.

        Raises:
            ValueError, TypeError: they do not.
        """
        sizes = self._sizes
        tokens, _, pooled = self._encode(no_texts(1, self._text_width))
        embedding = self._embed(1.0, 0.0, 1.0) + pooled
        if (tokens.shape, embedding.shape) != ((1, 1, sizes.context_width), (1, sizes.embedding)):
            raise ValueError("weights of other sizes")

    def draw(self, texts: Texts, prompt: Array, seeds: Array, levels: Array, guidance: float) -> Iterator[Array]:
        """Draw B pictures: yields after each pass what is diffused, (B, size, size) float32, last the pictures.

        Args:
            texts: the prompts, encoded.
            prompt: (B,) int64: which of them each picture shows.
            seeds: (B,) int64, of the noise that each starts from.
            levels: (n+1,) float64, descending to 0.
            guidance: γ.

        Raises:
            ModelError: the network's output is not finite.
            MemoryError: there is not enough for so many pictures at once.
        """
        tokens, bias, pooled = self._encode(texts)
        text = {"tokens": tokens[prompt], "bias": bias[prompt]}
        noise = start_noise(seeds, self._sizes.size**2)
        x = self._unshuffled(noise) * np.float32(math.sqrt(1 + float(levels[0]) ** 2))
        for sigma, target in zip(levels[:-1].tolist(), levels[1:].tolist(), strict=True):
            embedding = _silu(self._embed(sigma, target, guidance) + pooled[prompt])
            z = x * np.float32(1 / math.sqrt(1 + sigma**2))
            x0 = self._run({"z": z, "embedding": embedding, **text}).clip(-1, 1)
            x = x0 + (x - x0) * np.float32(target / sigma)
            if target == 0 and not np.isfinite(x).all():
                raise ModelError("the network's output is not finite; try a smaller `guidance` or another model")
            yield self._shuffled(x)

    def _run(self, inputs: dict[str, Array]) -> Array:
        try:
            output: Array = self._session.run(None, inputs)[0]
        except Exception as error:  # onnxruntime has no type of its own for it
            if "alloc" in str(error).lower():
                raise MemoryError from error
            raise
        return output

    def _encode(self, texts: Texts) -> tuple[Array, Array, Array]:
        """Tokens, bias and pooled text as every pass takes them, see `networks.unet.UNet.encode`."""
        absent = np.logical_not(texts.mask.any(axis=1))
        mask = texts.mask.copy()
        mask[absent, 0] = True
        tokens = self._linear(self._layer_norm(texts.tokens, "text_in.0"), "text_in.1")
        tokens = np.where(absent[:, None, None], self._weights["null_token"], tokens)
        shares = mask.astype(np.float32)
        mean = (tokens * shares[:, :, None]).sum(1) / shares.sum(1, keepdims=True)
        pooled = self._linear(self._layer_norm(mean, "embed_text.0"), "embed_text.1")
        bias = np.where(mask, np.float32(0), np.float32(-np.inf))[:, None, None]
        return tokens, bias, self._linear(_silu(pooled), "embed_text.3")

    def _embed(self, sigma: float, target: float, guidance: float) -> Array:
        """(1, embedding): σ and the jump, see `networks.unet.UNet` and `networks.student.JumpEmbedding`."""
        width = self._sizes.channels[0]
        hidden = self._linear(_sinusoid(math.log(sigma) / 4, width), "embed_sigma.0")
        codes = self._sizes.embedding // 4
        level = math.log(max(target, 1e-3)) / 4 if target > 0 else _END
        jump = np.concatenate([_sinusoid(label, codes) for label in (level, math.log(guidance) / 40)], axis=1)
        shift = self._linear(_silu(self._linear(jump, "embed_jump.hidden")), "embed_jump.out")
        return self._linear(_silu(hidden), "embed_sigma.2") + shift

    def _linear(self, x: Array, name: str) -> Array:
        return x @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]

    def _layer_norm(self, x: Array, name: str) -> Array:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt(np.square(centred).mean(-1, keepdims=True) + _EPSILON)
        return scaled * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]

    def _unshuffled(self, x: Array) -> Array:
        """(B, size²) → (B, patch², size/patch, size/patch)."""
        patch, side = self._sizes.patch, self._sizes.size // self._sizes.patch
        blocks = x.reshape(-1, side, patch, side, patch).transpose(0, 2, 4, 1, 3)
        return blocks.reshape(len(x), patch**2, side, side)

    def _shuffled(self, x: Array) -> Array:
        """(B, patch², size/patch, size/patch) → (B, size, size)."""
        patch, side = self._sizes.patch, self._sizes.size // self._sizes.patch
        blocks = x.reshape(-1, patch, patch, side, side).transpose(0, 3, 1, 4, 2)
        return blocks.reshape(len(x), self._sizes.size, self._sizes.size)


def load_student(model: LightModel, threads: int) -> LightStudent:
    """The student of a model, computed by so many threads.

    Raises:
        Declined: onnxruntime cannot be used, or the weights do not fit.
    """
    try:
        graph, shapes = unet_graph(model.sizes)
        import onnxruntime  # noqa: PLC0415 - an extra

        onnxruntime.set_default_logger_severity(_FATAL)
        onnxruntime.disable_telemetry_events()  # on Windows it has some
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # Waiting threads sleep, as torch's do, see `cli.main`: beside a busy process spinning ones take twice as long.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        given = [onnxruntime.OrtValue.ortvalue_from_numpy(model.weights[name].reshape(shapes[name])) for name in shapes]
        options.add_external_initializers(list(shapes), given)
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        student = LightStudent(model, session)
        student.check()
    except Exception as cause:  # onnxruntime's own have no base but this one, and forged sizes are of any kind
        raise Declined from cause
    return student


def to_pixels(x: Array) -> Array:
    """`codecs.pixels.to_pixels` of arrays."""
    return np.rint((x + np.float32(1)) * np.float32(127.5)).clip(0, 255).astype(np.uint8)


def _silu(x: Array) -> Array:
    return x / (1 + np.exp(-x))


def _sinusoid(label: float, width: int) -> Array:
    """(1, width) float32, see `networks.unet.sinusoid`."""
    half = width // 2
    frequencies = np.exp(np.arange(half, dtype=np.float32) * np.float32(-math.log(1e4)) / np.float32(half))
    angle = np.float32(1000) * np.float32(label) * frequencies
    return np.concatenate([np.cos(angle), np.sin(angle)])[None]
