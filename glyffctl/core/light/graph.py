"""Writing an ONNX graph: the messages of its protocol buffer (onnx.proto of github.com/onnx/onnx) that a network needs.

The package onnx would do it, too; it takes as long to import as drawing a picture, and nothing else here needs it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Attribute = int | float | str | Sequence[int]

_OPSET, _IR_VERSION = 20, 9  # the first opset with Gelu, and the version of the format that came with it
_TYPES = {"float32": 1, "int64": 7, "float64": 11}
_FLOAT, _INT, _STRING, _INTS = 1, 2, 3, 7  # of attributes
_EXTERNAL = 1


class GraphWriter:
    """A graph under construction; nodes are added in the order in which they run.

    Attributes:
        weights: the shapes of the tensors that are given when the graph is loaded, by name.
    """

    def __init__(self) -> None:
        self._nodes: list[bytes] = []
        self._inputs: list[bytes] = []
        self._constants: dict[str, Array] = {}
        self.weights: dict[str, tuple[int, ...]] = {}

    def input(self, name: str, *dims: int | str) -> str:
        """A float32 input; named dimensions are free. Returns `name`."""
        self._inputs.append(_value(name, dims))
        return name

    def weight(self, name: str, *dims: int) -> str:
        """A float32 tensor that comes with the weights. Returns `name`."""
        self.weights[name] = dims
        return name

    def constant(self, value: Array) -> str:
        """A small tensor in the graph itself; equal ones are written once. Returns its name."""
        name = f"constant_{value.dtype}_{'x'.join(map(str, value.shape))}_{value.tobytes().hex()}"
        self._constants[name] = value
        return name

    def ints(self, *values: int) -> str:
        """The int64 vector `values`. Returns its name."""
        return self.constant(np.array(values, np.int64))

    def number(self, value: float) -> str:
        """The float32 scalar `value`. Returns its name."""
        return self.constant(np.array(value, np.float32))

    def node(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Attribute) -> Any:
        """Add an operator of ONNX. Returns the name of its output, or a list of them if there are several.

        Args:
            kind: its name, such as "Conv".
            inputs: names; "" is an optional one left out.
            outputs: how many it has.
            attributes: as ONNX defines them.
        """
        names = [f"{kind}_{len(self._nodes)}_{i}" for i in range(outputs)]
        parts = [_text(1, name) for name in inputs] + [_text(2, name) for name in names] + [_text(4, kind)]
        parts += [_block(5, _attribute(name, value)) for name, value in attributes.items()]
        self._nodes.append(b"".join(parts))
        return names[0] if outputs == 1 else names

    def model(self, outputs: Mapping[str, Sequence[int | str]]) -> bytes:
        """The model as onnxruntime takes it. `outputs`: the names that nodes returned, with their dimensions."""
        graph = b"".join(
            [
                *(_block(1, node) for node in self._nodes),
                _text(2, "network"),
                *(_block(5, _inside(name, value)) for name, value in self._constants.items()),
                *(_block(5, _outside(name, dims)) for name, dims in self.weights.items()),
                *(_block(11, value) for value in self._inputs),
                *(_block(12, _value(name, dims)) for name, dims in outputs.items()),
            ]
        )
        return _whole(1, _IR_VERSION) + _text(2, "glyffctl") + _block(7, graph) + _block(8, _whole(2, _OPSET))


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1  # negative numbers are written as 64 bits
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def _whole(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _block(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _text(field: int, value: str) -> bytes:
    return _block(field, value.encode())


def _attribute(name: str, value: Attribute) -> bytes:
    if isinstance(value, int):
        return _text(1, name) + _whole(3, value) + _whole(20, _INT)
    if isinstance(value, float):
        return _text(1, name) + _varint(2 << 3 | 5) + struct.pack("<f", value) + _whole(20, _FLOAT)
    if isinstance(value, str):
        return _text(1, name) + _text(4, value) + _whole(20, _STRING)
    return _text(1, name) + b"".join(_whole(8, number) for number in value) + _whole(20, _INTS)


def _value(name: str, dims: Sequence[int | str]) -> bytes:
    """A ValueInfoProto of float32."""
    shape = b"".join(_block(1, _text(2, dim) if isinstance(dim, str) else _whole(1, dim)) for dim in dims)
    return _text(1, name) + _block(2, _block(1, _whole(1, _TYPES["float32"]) + _block(2, shape)))


def _inside(name: str, value: Array) -> bytes:
    """A TensorProto with its numbers."""
    dims = b"".join(_whole(1, dim) for dim in value.shape)
    return dims + _whole(2, _TYPES[str(value.dtype)]) + _text(8, name) + _block(9, value.tobytes())


def _outside(name: str, dims: Sequence[int]) -> bytes:
    """A TensorProto whose numbers are given when the graph is loaded."""
    place = _text(1, "location") + _text(2, "given")
    return (
        b"".join(_whole(1, dim) for dim in dims)
        + _whole(2, _TYPES["float32"])
        + _text(8, name)
        + _block(13, place)
        + _whole(14, _EXTERNAL)
    )
