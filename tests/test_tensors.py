"""Tensor files: whole, unharmed and ours, or a plain error."""

import json
import os
import pickle  # noqa: TID251 (to make a hostile file)
import resource
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from glyffctl.core.errors import DataError, ModelError, OutputError
from glyffctl.core.io.tensors import digest, load_tensors, save_tensors

KIND = "glyffctl-test/1"
HEADER = {"name": "锂", "count": 3, "nested": {"a": [1.5, None, True]}}
TENSORS = {
    "half": torch.arange(6).reshape(2, 3).to(torch.bfloat16),
    "single": torch.tensor([[1.0, -0.0, float("inf")]]),
    "scalar": torch.tensor(7),
    "empty": torch.empty(0, 4),
    "bytes": torch.arange(5, dtype=torch.uint8),
    "flags": torch.tensor([True, False]),
    "strided": torch.arange(12.0).reshape(3, 4).t(),
}


def same(tensors: dict[str, Tensor]) -> bool:
    return tensors.keys() == TENSORS.keys() and all(
        tensor.dtype == TENSORS[name].dtype and torch.equal(tensor, TENSORS[name]) for name, tensor in tensors.items()
    )


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a good file."""
    path = tmp_path_factory.mktemp("raw") / "x.safetensors"
    save_tensors(path, KIND, TENSORS, HEADER)
    return path.read_bytes()


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file to be overwritten."""
    return tmp_path_factory.mktemp("scratch") / "x.safetensors"


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "x.safetensors"
    save_tensors(path, KIND, TENSORS, HEADER)
    tensors, header = load_tensors(path, KIND, ModelError)
    assert same(tensors)
    assert header == HEADER
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_trained_tensors_are_written(tmp_path: Path) -> None:
    layer = torch.nn.Linear(3, 2)
    save_tensors(tmp_path / "x", KIND, dict(layer.named_parameters()), {})
    tensors, _ = load_tensors(tmp_path / "x", KIND, ModelError)
    assert torch.equal(tensors["weight"], layer.weight.detach())
    assert not tensors["weight"].requires_grad


@settings(max_examples=400)
@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_a_damaged_byte_is_noticed(raw: bytes, scratch: Path, place: float, flip: int) -> None:
    damaged = bytearray(raw)
    damaged[int(place * len(raw))] ^= flip
    scratch.write_bytes(damaged)
    try:
        tensors, header = load_tensors(scratch, KIND, ModelError)
    except ModelError as error:
        assert str(scratch) in str(error)
        assert "\n" not in str(error)
    else:
        assert same(tensors)
        assert header == HEADER


@pytest.mark.parametrize("part", ["锂", "count", "1.5", "true", "half", "single"])
def test_a_changed_setting_or_name_is_noticed(raw: bytes, scratch: Path, part: str) -> None:
    other = {"锂": "锁", "count": "cound", "1.5": "2.5", "true": "null"}.get(part, part[::-1])
    assert part.encode() in raw
    scratch.write_bytes(raw.replace(part.encode(), other.encode()))
    with pytest.raises(ModelError, match=r"damaged|cut short"):
        load_tensors(scratch, KIND, ModelError)


def test_swapped_tensors_are_noticed(tmp_path: Path) -> None:
    one, two = torch.tensor([1.0]), torch.tensor([2.0])
    save_tensors(tmp_path / "x", KIND, {"a": one, "b": two}, {})
    raw = (tmp_path / "x").read_bytes()
    (tmp_path / "x").write_bytes(raw.replace(b'"a"', b'"_"').replace(b'"b"', b'"a"').replace(b'"_"', b'"b"'))
    with pytest.raises(ModelError, match="damaged"):
        load_tensors(tmp_path / "x", KIND, ModelError)


@settings(max_examples=100)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_cut_file_is_refused(raw: bytes, scratch: Path, share: float) -> None:
    scratch.write_bytes(raw[: int(share * len(raw))])
    with pytest.raises(ModelError, match=r"cannot read .*cut short or not a safetensors file"):
        load_tensors(scratch, KIND, ModelError)


def test_another_kind_is_refused(tmp_path: Path) -> None:
    save_tensors(tmp_path / "x", "glyffctl-test/2", TENSORS, HEADER)
    with pytest.raises(DataError, match="it is 'glyffctl-test/2', this version reads 'glyffctl-test/1'"):
        load_tensors(tmp_path / "x", KIND, DataError)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"kind": KIND}, {"kind": KIND, "header": "{"}])
def test_foreign_safetensors_are_refused(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "x", metadata)
    with pytest.raises(ModelError, match=r"cannot (use|read)"):
        load_tensors(tmp_path / "x", KIND, ModelError)


@pytest.mark.hostile
def test_a_header_that_promises_too_much_is_refused(tmp_path: Path) -> None:
    entry = {"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}
    table = json.dumps(entry).encode()
    for size in (len(table), 2**40, 2**64 - 1):
        (tmp_path / "x").write_bytes(struct.pack("<Q", size) + table)
        with pytest.raises(ModelError, match="cut short or not a safetensors file"):
            load_tensors(tmp_path / "x", KIND, ModelError)


class Bomb:
    """What a hostile checkpoint holds: unpickling it makes a folder."""

    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.sentinel),)


@pytest.mark.hostile
def test_a_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    sentinel, path = tmp_path / "sentinel", tmp_path / "model.safetensors"
    path.write_bytes(pickle.dumps({"weights": Bomb(sentinel)}))
    with pytest.raises(ModelError, match="not a safetensors file"):
        load_tensors(path, KIND, ModelError)
    assert not sentinel.exists()
    pickle.loads(path.read_bytes())
    assert sentinel.exists(), "the bomb is a dud: this test showed nothing"


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nothing\.safetensors does not exist"):
        load_tensors(tmp_path / "nothing.safetensors", KIND, ModelError)
    with pytest.raises(ModelError, match="cannot read"):
        load_tensors(tmp_path, KIND, ModelError)
    with pytest.raises(OutputError, match="it is a folder"):
        save_tensors(tmp_path, KIND, TENSORS, HEADER)


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """A disk on which a file cannot grow past `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.hostile
@pytest.mark.parametrize("room", [0, 100, 1_000_000])
def test_a_full_disk_leaves_the_old_file(tmp_path: Path, room: int) -> None:
    path = tmp_path / "x.safetensors"
    save_tensors(path, KIND, TENSORS, HEADER)
    with largest_file(room), pytest.raises(OutputError, match=r"cannot write .*x\.safetensors"):
        save_tensors(path, KIND, {"large": torch.zeros(2**20)}, HEADER)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert same(load_tensors(path, KIND, ModelError)[0])


def test_digest_depends_on_everything_but_order() -> None:
    whole = digest(TENSORS)
    assert whole == digest(dict(reversed(TENSORS.items())))
    seen = {whole}
    for name, tensor in TENSORS.items():
        rest = {other: value for other, value in TENSORS.items() if other != name}
        seen |= {digest(rest), digest({**rest, name + "2": tensor}), digest({**rest, name: tensor[None]})}
        seen.add(digest({**rest, name: tensor.to(torch.float64)}))
    assert len(seen) == 1 + 4 * len(TENSORS)
