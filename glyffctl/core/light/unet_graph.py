"""The U-Net of `networks.unet` as an ONNX graph, without its weights and without what depends on text and σ alone.

Written out by hand for the CPU: no exporter has to run, nothing has to be kept beside the program, and linear layers
are products of matrices, where `networks.unet` has convolutions for oneDNN. A test holds it to the network's numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from glyffctl.core.light.graph import GraphWriter

_NORM_EPSILON, _TRANSFORMER_EPSILON = 1e-5, 1e-6  # of group norms
_LAYER_EPSILON = 1e-5


@dataclass(frozen=True, kw_only=True)
class UNetSizes:
    """The sizes that a graph depends on, named and meant as in `networks.unet.UNetConfig`."""

    size: int
    in_channels: int
    patch: int
    channels: tuple[int, ...]
    blocks: int
    attention: tuple[int, ...]
    head_width: int
    context_width: int

    def __post_init__(self) -> None:
        """Raise ValueError for sizes that `UNetConfig` refuses because they do not divide."""
        attending = [self.channels[level] for level in (*self.attention, -1)]
        grid = self.patch * 2 ** (len(self.channels) - 1)
        if self.size % grid or any(width % self.head_width for width in attending):
            raise ValueError("sizes that do not divide")

    @property
    def pixels(self) -> int:
        """Channels of the widest grid: those of a patch."""
        return self.in_channels * self.patch**2

    @property
    def embedding(self) -> int:
        """The width of the embedding of σ, the text and the jump that every block takes."""
        return 4 * self.channels[0]


def unet_graph(sizes: UNetSizes) -> tuple[bytes, dict[str, tuple[int, ...]]]:
    """The graph of F, and the shapes of the weights that it needs, by their names in the network.

    Its inputs, all float32: "z" (B, patch²·C, size/patch, size/patch), unshuffled; "embedding" (B, 4·channels[0]),
    after its SiLU; "tokens" (B, L, context_width); "bias" (B, 1, 1, L), 0 where a token is and −∞ elsewhere. Its output
    has the shape of z.
    """
    return _UNet(sizes).build()


class _UNet:
    def __init__(self, sizes: UNetSizes) -> None:
        self.sizes = sizes
        self.graph = GraphWriter()

    def build(self) -> tuple[bytes, dict[str, tuple[int, ...]]]:
        sizes, graph, widths = self.sizes, self.graph, self.sizes.channels
        side = sizes.size // sizes.patch
        h = graph.input("z", "batch", sizes.pixels, side, side)
        graph.input("embedding", "batch", sizes.embedding)
        graph.input("tokens", "batch", "length", sizes.context_width)
        graph.input("bias", "batch", 1, 1, "length")

        h, width = self.convolution(h, "conv_in", sizes.pixels, widths[0]), widths[0]
        skips = [(h, width)]
        last = len(widths) - 1
        for level in range(len(widths)):
            for number in range(sizes.blocks):
                h = self.block(h, f"down.{level}.{number}", width, level, side, attends=level in sizes.attention)
                width = widths[level]
                skips.append((h, width))
            if level < last:
                h = self.convolution(h, f"downsample.{level}", width, width, stride=2)
                side //= 2
                skips.append((h, width))

        h = self.block(h, "middle_in", width, last, side, attends=True)
        h = self.block(h, "middle_out", width, last, side, attends=False)

        for place, level in enumerate(reversed(range(len(widths)))):
            for number in range(sizes.blocks + 1):
                skip, skip_width = skips.pop()
                h = graph.node("Concat", h, skip, axis=1)
                name, inputs = f"up.{place}.{number}", width + skip_width
                h = self.block(h, name, inputs, level, side, attends=level in sizes.attention)
                width = widths[level]
            if level > 0:
                h, side = self.doubled(h), 2 * side
                h = self.convolution(h, f"upsample.{place}", width, width)
        h = self.silu(self.group_norm(h, "norm_out", width, side, _NORM_EPSILON))
        output = self.convolution(h, "conv_out", width, sizes.pixels)
        return graph.model({output: ("batch", sizes.pixels, side, side)}), graph.weights

    def block(self, x: str, name: str, inputs: int, level: int, side: int, *, attends: bool) -> str:
        outputs = self.sizes.channels[level]
        x = self.residual(x, f"{name}.res", inputs, outputs, side)
        return self.transformer(x, f"{name}.transformer", outputs, side) if attends else x

    def residual(self, x: str, name: str, inputs: int, outputs: int, side: int) -> str:
        graph = self.graph
        film = self.linear("embedding", f"{name}.embed", self.sizes.embedding, 2 * outputs)
        scale, shift = (
            graph.node("Reshape", part, graph.ints(-1, outputs, 1, 1))
            for part in graph.node("Split", film, outputs=2, axis=1, num_outputs=2)
        )
        h = self.silu(self.group_norm(x, f"{name}.norm1", inputs, side, _NORM_EPSILON))
        h = self.convolution(h, f"{name}.conv1", inputs, outputs)
        h = self.silu(self.group_norm(h, f"{name}.norm2", outputs, side, _NORM_EPSILON, (scale, shift)))
        h = self.convolution(h, f"{name}.conv2", outputs, outputs)
        skip = x if inputs == outputs else self.convolution(x, f"{name}.skip", inputs, outputs, kernel=1)
        return graph.node("Add", skip, h)

    def transformer(self, x: str, name: str, width: int, side: int) -> str:
        graph, context = self.graph, self.sizes.context_width
        h = self.group_norm(x, f"{name}.norm", width, side, _TRANSFORMER_EPSILON)
        h = graph.node("Transpose", graph.node("Reshape", h, graph.ints(0, width, side**2)), perm=(0, 2, 1))
        h = self.linear(graph.node("Reshape", h, graph.ints(-1, width)), f"{name}.proj_in", width, width)

        normed = self.layer_norm(h, f"{name}.norm1", width)
        h = graph.node("Add", h, self.attention(normed, normed, f"{name}.self_attn", width, width, side**2))
        normed = self.layer_norm(h, f"{name}.norm2", width)
        tokens = graph.node("Reshape", "tokens", graph.ints(-1, context))
        h = graph.node("Add", h, self.attention(normed, tokens, f"{name}.cross_attn", width, context, side**2))
        up = self.linear(self.layer_norm(h, f"{name}.norm3", width), f"{name}.ff.up", width, 8 * width)
        hidden, gate = graph.node("Split", up, outputs=2, axis=1, num_outputs=2)
        gated = graph.node("Mul", hidden, graph.node("Gelu", gate))
        h = graph.node("Add", h, self.linear(gated, f"{name}.ff.down", 4 * width, width))

        h = graph.node("Reshape", self.linear(h, f"{name}.proj_out", width, width), graph.ints(-1, side**2, width))
        h = graph.node("Reshape", graph.node("Transpose", h, perm=(0, 2, 1)), graph.ints(0, width, side, side))
        return graph.node("Add", x, h)

    def attention(self, x: str, source: str, name: str, width: int, source_width: int, positions: int) -> str:
        """Rows (B·positions, width) look at rows of `source`, (B·L, source_width): at all, or as "bias" says."""
        graph, head = self.graph, self.sizes.head_width
        to_itself = x == source

        def heads(rows: str, part: str, inputs: int, order: tuple[int, ...], *, of_text: bool) -> str:
            made = self.linear(rows, f"{name}.{part}", inputs, width, biased=False)
            if of_text:
                split = graph.node("Concat", self.text_shape(), graph.ints(width // head, head), axis=0)
            else:
                split = graph.ints(-1, positions, width // head, head)
            return str(graph.node("Transpose", graph.node("Reshape", made, split), perm=order))

        query = heads(x, "query", width, (0, 2, 1, 3), of_text=False)
        key = heads(source, "key", source_width, (0, 2, 3, 1), of_text=not to_itself)
        value = heads(source, "value", source_width, (0, 2, 1, 3), of_text=not to_itself)
        scores = graph.node("MatMul", graph.node("Mul", query, graph.number(1 / math.sqrt(head))), key)
        if not to_itself:
            scores = graph.node("Add", scores, "bias")
        mixed = graph.node("MatMul", graph.node("Softmax", scores, axis=-1), value)
        rows = graph.node("Reshape", graph.node("Transpose", mixed, perm=(0, 2, 1, 3)), graph.ints(-1, width))
        return self.linear(rows, f"{name}.out", width, width)

    def text_shape(self) -> str:
        """The int64 vector (B, L)."""
        return str(self.graph.node("Shape", "tokens", start=0, end=2))

    def linear(self, x: str, name: str, inputs: int, outputs: int, *, biased: bool = True) -> str:
        """(N, inputs) → (N, outputs)."""
        weights = [self.graph.weight(f"{name}.weight", outputs, inputs)]
        if biased:
            weights.append(self.graph.weight(f"{name}.bias", outputs))
        return str(self.graph.node("Gemm", x, *weights, transB=1))

    def convolution(self, x: str, name: str, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> str:
        weight = self.graph.weight(f"{name}.weight", outputs, inputs, kernel, kernel)
        bias = self.graph.weight(f"{name}.bias", outputs)
        edge = (kernel // 2,) * 4
        return str(self.graph.node("Conv", x, weight, bias, pads=edge, strides=(stride, stride)))

    def doubled(self, x: str) -> str:
        """Every position twice in both directions."""
        scales = self.graph.constant(np.array([1, 1, 2, 2], np.float32))
        how: dict[str, Any] = {"nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}
        return str(self.graph.node("Resize", x, "", scales, mode="nearest", **how))

    def silu(self, x: str) -> str:
        return str(self.graph.node("Mul", x, self.graph.node("Sigmoid", x)))

    def layer_norm(self, x: str, name: str, width: int) -> str:
        weight, bias = self.graph.weight(f"{name}.weight", width), self.graph.weight(f"{name}.bias", width)
        return str(self.graph.node("LayerNormalization", x, weight, bias, axis=-1, epsilon=_LAYER_EPSILON))

    def group_norm(
        self, x: str, name: str, width: int, side: int, epsilon: float, film: tuple[str, str] | None = None
    ) -> str:
        """The norm in at most 32 groups; with `film`, a scale and a shift (B, width, 1, 1), y·(1 + scale) + shift."""
        graph = self.graph
        groups = math.gcd(32, width)
        ones = graph.constant(_filled(groups, 1.0))
        zeros = graph.constant(_filled(groups, 0.0))
        rows = graph.node("Reshape", x, graph.ints(0, groups, -1))
        rows = graph.node("InstanceNormalization", rows, ones, zeros, epsilon=epsilon)
        y = graph.node("Reshape", rows, graph.ints(-1, width, side, side))
        weight, bias = (graph.weight(f"{name}.{part}", width, 1, 1) for part in ("weight", "bias"))
        if film is not None:
            scale = graph.node("Add", film[0], graph.number(1.0))
            weight, bias = graph.node("Mul", weight, scale), graph.node("Mul", bias, scale)
            bias = graph.node("Add", bias, film[1])
        return str(graph.node("Add", graph.node("Mul", y, weight), bias))


def _filled(count: int, value: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.full(count, value, np.float32)
