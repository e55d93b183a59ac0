"""CUDA graphs for machines without a GPU: what is captured on `pretended_gpu` is recorded, and runs again at `replay`.

As on a real GPU a capture computes nothing: tensors of before keep their contents, and those made inside hold NaN until
the first replay. A replay repeats the operations of the GPU alone, on the very same memory, with the numbers of Python
and the scalars of the CPU as they were. So what is wrong in a captured step shows as a difference from a step that is
not: a rate that Python computes, a tensor that is made anew outside, moments that are made inside. What CUDA refuses is
refused: waiting, copies between GPU and CPU, generators of torch, an optimizer that is not `capturable`. One thing is
stricter: memory of before the capture must still be somebody's at a replay; CUDA would read whatever is there now. Not
seen are the order between streams, and memory of a pool that several graphs write to.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.optim.optimizer import Optimizer
from torch.utils import _foreach_utils
from torch.utils._python_dispatch import TorchDispatchMode

from tests import pretended_gpu
from tests.pretended_gpu import leaves_of, mapped

_FROM_LISTS = {"tensor", "as_tensor", "asarray", "from_numpy"}


class Stream:
    """A stream that does everything at once, and knows which one is current."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.device = torch.device("cuda", 0)
        self._modes = ExitStack()
        self.waited_for: list[object] = []
        """What it has been told to wait for: streams and events."""

    def wait_stream(self, stream: Stream) -> None:
        self.waited_for.append(stream)

    def wait_event(self, event: Event) -> None:
        self.waited_for.append(event)

    def record_event(self, event: Event | None = None) -> Event:
        event = event or Event()
        event.record(self)
        return event

    def query(self) -> bool:
        return True

    def synchronize(self) -> None:
        pretended_gpu._waits("synchronize")

    def __enter__(self) -> Stream:
        _now.streams.append(self)
        self._modes.enter_context(pretended_gpu._Pretending())  # modes belong to a thread, and streams come to threads
        return self

    def __exit__(self, *error: object) -> None:
        self._modes.close()
        _now.streams.pop()


class Event:
    """A mark in a stream."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.recorded_on: Stream | None = None

    def record(self, stream: Stream | None = None) -> None:
        self.recorded_on = stream or _now.streams[-1]

    def wait(self, stream: Stream | None = None) -> None:
        (stream or _now.streams[-1]).wait_event(self)

    def query(self) -> bool:
        return True

    def synchronize(self) -> None:
        pretended_gpu._waits("synchronize")


class _Now(threading.local):
    """What this thread does now: its streams, the current one last, and what it captures."""

    def __init__(self) -> None:
        self.streams = [_DEFAULT]
        self.recorder: _Recorder | None = None


_DEFAULT = Stream()
_now = _Now()


@dataclass(frozen=True)
class _Place:
    """A tensor of before the capture: where it is, but not its memory, which is for others to keep."""

    storage: StorageWeakRef
    dtype: torch.dtype
    offset: int
    size: torch.Size
    stride: tuple[int, ...]

    def tensor(self) -> Tensor:
        storage = torch.UntypedStorage._new_with_weak_ptr(self.storage.cdata)
        if storage is None:
            raise RuntimeError("memory that the graph uses has been freed since the capture; keep its tensors")
        return torch.empty(0, dtype=self.dtype).set_(storage, self.offset, self.size, self.stride)


@dataclass(frozen=True)
class Operation:
    """One operation of ATen as it was captured; its tensors are `_Place`s, or alive where they were made inside."""

    function: Any
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    made: list[Tensor]
    """The new tensors among the results, in order; empty where all results are arguments."""

    def run(self) -> None:
        given, named = mapped(_found, (self.arguments, self.keywords))
        results = [x for x in leaves_of(self.function(*given, **named)) if isinstance(x, Tensor)]
        if self.made:
            for kept, result in zip(self.made, results, strict=True):
                kept.copy_(result)


def _found(value: Any) -> Any:
    return value.tensor() if isinstance(value, _Place) else value


def _key(x: Tensor) -> int:
    return x.untyped_storage()._cdata


def _same_memory(x: Tensor) -> Tensor:
    """Another tensor of this memory, which holds no autograd graph."""
    return torch.empty(0, dtype=x.dtype).set_(x.untyped_storage(), x.storage_offset(), x.size(), x.stride())


class _Recorder(TorchDispatchMode):
    """Runs and writes down what is done on the GPU, below autograd: so passes backward as well."""

    def __init__(self, *, capturing: bool = True) -> None:
        super().__init__()
        self.capturing = capturing  # or else only counting
        self.operations: list[Operation] = []
        self.launches: Counter[str] = Counter()
        self.refused: str | None = None
        self.on_gpu = False  # what is made from nothing now
        self._gpu: dict[int, torch.UntypedStorage] = {}
        self._inside: dict[int, torch.UntypedStorage] = {}
        self._scalars: dict[int, torch.UntypedStorage] = {}
        self._before: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}

    def refuse(self, what: str) -> None:
        if self.capturing:
            self.refused = what
            raise RuntimeError(f"CUDA error: operation not permitted when stream is capturing: {what}")

    def hear(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Learn from a function of torch which of its tensors are on the GPU."""
        tensors = [leaf for leaf in leaves_of((args, kwargs)) if isinstance(leaf, Tensor)]
        ours = [x for x in tensors if isinstance(x, pretended_gpu.OnGPU)]
        strangers = [x for x in tensors if not isinstance(x, pretended_gpu.OnGPU)] if ours else []
        target = kwargs.get("device")
        self.on_gpu = pretended_gpu._is_ours(target) if target is not None else bool(ours)
        if name in _FROM_LISTS and self.on_gpu and not ours:
            self.refuse(f"{name}: a copy from the CPU")
        if strangers and (name in ("copy_", "__setitem__") or any(x.ndim for x in strangers)):
            self.refuse(f"{name}: a copy between GPU and CPU")
        if name in pretended_gpu._WAITS and args and isinstance(args[0], pretended_gpu.OnGPU):
            self.refuse(f"{name}: it waits for the GPU")
        self._gpu |= {_key(x): x.untyped_storage() for x in ours}
        self._scalars |= {_key(x): x.untyped_storage() for x in strangers}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        with torch._C.DisableTorchFunction():
            tensors = [leaf for leaf in leaves_of((args, kwargs)) if isinstance(leaf, Tensor)]
            here = any(_key(x) in self._gpu for x in tensors) if tensors else self.on_gpu
            if not here:
                return func(*args, **kwargs)  # the CPU works as ever; its work is in no graph
            self._check(func, args, kwargs)
            written, given, named = _written(func, args, kwargs), args, kwargs
            if self.capturing:
                for x in written:
                    self._keep_contents(x)
                given, named = mapped(self._written_down, (args, kwargs))
            answer = func(*args, **kwargs)
            new = self._new(func, {_key(x) for x in tensors}, answer)
            waits = torch.Tag.data_dependent_output in func.tags
            if "empty" not in func._schema.name and (new or written or waits):  # empty memory and views need no work
                self.launches[_kind(func)] += _launches(func, args)
                if self.capturing:
                    self.operations.append(Operation(func, given, named, [_same_memory(x) for x in new]))
            return answer

    def _check(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        name, tags = func._schema.name, func.tags
        if name == "aten::index":  # one of the shapes that depend on numbers, if indices are masks
            masks = [x for x in args[1] if isinstance(x, Tensor) and x.dtype in (torch.bool, torch.uint8)]
            if masks:
                self.refuse(f"{name}: the number of places in a mask")
        elif torch.Tag.data_dependent_output in tags:
            self.refuse(f"{name}: it waits for the GPU")
        elif torch.Tag.dynamic_output_shape in tags and kwargs.get("output_size") is None:
            self.refuse(f"{name}: the shape of its result depends on numbers")
        if torch.Tag.nondeterministic_seeded in tags and not name.startswith("aten::_scaled_dot_product"):
            self.refuse(f"{name}: it draws from a generator of torch")

    def _keep_contents(self, x: Tensor) -> None:
        """What was there before the capture is there after it."""
        if _key(x) not in self._inside and _key(x) not in self._before:
            storage = x.untyped_storage()
            self._before[_key(x)] = storage, storage.clone()

    def _written_down(self, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        if _key(value) in self._scalars:
            return value.detach().clone()
        if _key(value) in self._inside:
            return _same_memory(value)
        storage = value.untyped_storage()
        self._gpu[_key(value)] = storage
        return _Place(StorageWeakRef(storage), value.dtype, int(value.storage_offset()), value.size(), value.stride())

    def _new(self, func: Any, known: set[int], answer: Any) -> list[Tensor]:
        """Those of the results that have memory of their own."""
        results = [x for x in leaves_of(answer) if isinstance(x, Tensor)]
        new = [x for x in results if _key(x) not in known]
        assert len(new) in (0, len(results)), f"{func}: some results are new and some are arguments"
        for x in new:
            self._gpu[_key(x)] = self._inside[_key(x)] = x.untyped_storage()
        return new

    def end(self) -> None:
        """Leave everything as if nothing had been computed."""
        for storage, contents in self._before.values():
            storage.copy_(contents)
        for operation in self.operations:
            for x in operation.made:
                x.fill_(float("nan") if x.is_floating_point() else 1)


def _kind(func: Any) -> str:
    """The name of an operation, in place or not."""
    return func._schema.name.removeprefix("aten::").rstrip("_")


def _order(x: Tensor) -> tuple[int, ...]:
    """The strides of dimensions that have more than one place: those of others are not the same on a GPU."""
    return tuple(stride for stride, size in zip(x.stride(), x.shape, strict=True) if size > 1)


def _launches(func: Any, args: tuple[Any, ...]) -> int:
    """1; for lists of tensors as many as there are, unless all that are computed with each other lie in one order."""
    lists = [value for value in args if isinstance(value, list | tuple) and all(isinstance(x, Tensor) for x in value)]
    if "_foreach_" not in func._schema.name or not lists:
        return 1
    together = all(len({_order(x) for x in alike}) == 1 for alike in zip(*lists, strict=True))
    dense = all(torch.ops.aten.is_non_overlapping_and_dense(x) for list_ in lists for x in list_)
    return 1 if together and dense else len(lists[0])


def _written(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    """The arguments that an operation writes to."""
    written = []
    for place, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = args[place] if place < len(args) else kwargs.get(argument.name)
            written += [x for x in leaves_of(value) if x is not None]
    return written


class CUDAGraph:
    """What `torch.cuda.CUDAGraph` is on a GPU.

    Attributes:
        operations: what a replay runs, in order.
        launches: how many of them there are, by name.
    """

    def __init__(self, *_: Any, **__: Any) -> None:
        self.operations: list[Operation] = []
        self.launches: Counter[str] = Counter()
        self.replays = 0
        self._captured = False
        self._pool: object = None

    def capture_begin(self, pool: object = None, **_: Any) -> None:
        if _now.recorder is not None or self._captured:
            raise RuntimeError("CUDA error: a capture is underway, or this graph has one")
        if len(_now.streams) == 1:
            raise RuntimeError("CUDA graphs must be captured on a non-default stream")
        self._pool = pool or graph_pool_handle()
        _now.recorder = _Recorder()
        _now.recorder.__enter__()

    def capture_end(self) -> None:
        recorder, _now.recorder = _now.recorder, None
        assert recorder is not None
        recorder.__exit__(None, None, None)
        with torch._C.DisableTorchFunction(), torch.no_grad():
            recorder.end()
        if recorder.refused:
            raise RuntimeError(f"CUDA error: operation failed during capture before: {recorder.refused}")
        self.operations, self.launches, self._captured = recorder.operations, recorder.launches, True

    def replay(self) -> None:
        if not self._captured or _now.recorder is not None:
            raise RuntimeError("CUDA error: this graph is not captured, or a capture is underway")
        self.replays += 1
        off = torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False)
        with torch._C.DisableTorchFunction(), torch.no_grad(), off[0], off[1]:
            for operation in self.operations:
                operation.run()

    def reset(self) -> None:
        self.operations, self._captured = [], False

    def pool(self) -> object:
        return self._pool


class graph:  # noqa: N801 (torch's name)
    """What `torch.cuda.graph` is on a GPU."""

    def __init__(self, cuda_graph: CUDAGraph, pool: object = None, stream: Stream | None = None, **_: Any) -> None:
        self._graph, self._pool, self._stream = cuda_graph, pool, stream or Stream()

    def __enter__(self) -> None:
        torch.cuda.synchronize()
        self._stream.__enter__()
        self._graph.capture_begin(self._pool)

    def __exit__(self, *error: object) -> None:
        self._stream._modes.close()
        self._graph.capture_end()  # where that fails the stream stays current, as with torch's own
        _now.streams.pop()


@contextmanager
def _on(stream: Stream) -> Iterator[None]:
    """A block on `stream`; at its end the stream of before is current again, whatever was left current inside."""
    before = len(_now.streams)
    _now.streams.append(stream)
    try:
        with pretended_gpu._Pretending():  # modes belong to a thread, and streams come to threads
            yield
    finally:
        del _now.streams[before:]


def graph_pool_handle() -> object:
    return object()


def _heard(call: Callable[..., Any]) -> Callable[..., Any]:
    """`pretended_gpu._call`, of which a recorder hears."""

    def hearing(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        recorder = _now.recorder
        if recorder is None:
            return call(func, args, kwargs)
        before = recorder.on_gpu
        try:
            with torch._C.DisableTorchFunction():
                recorder.hear(getattr(func, "__name__", str(func)), args, kwargs)
            return call(func, args, kwargs)
        finally:
            recorder.on_gpu = before

    return hearing


def _refusing_moves(move: Callable[..., Any]) -> Callable[..., Any]:
    def moving(name: str, x: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        moved = move(name, x, args, kwargs)
        if _now.recorder is not None and isinstance(moved, pretended_gpu.OnGPU) != isinstance(x, pretended_gpu.OnGPU):
            _now.recorder.launches["copy between GPU and CPU"] += 1
            _now.recorder.refuse(f"{name}: a copy between GPU and CPU")
        return moved

    return moving


def _refusing_waits(waits: Callable[[str], None]) -> Callable[[str], None]:
    def waiting(name: str) -> None:
        if _now.recorder is not None:
            _now.recorder.refuse(f"{name}: it waits for the GPU")
        waits(name)

    return waiting


def _capturing() -> bool:
    return _now.recorder is not None and _now.recorder.capturing


def _check_capturable(optimizer: Optimizer) -> None:
    if _capturing() and not all(group.get("capturable") for group in optimizer.param_groups):
        assert _now.recorder is not None
        _now.recorder.refuse("step of an optimizer that is not capturable")


@contextmanager
def recorded_graphs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A block inside that of `pretended_gpu` in which `torch.cuda` has streams, events and graphs."""
    with monkeypatch.context() as patch:
        stand_ins = {
            "CUDAGraph": CUDAGraph,
            "Event": Event,
            "Stream": Stream,
            "current_stream": lambda *_: _now.streams[-1],
            "default_stream": lambda *_: _DEFAULT,
            "empty_cache": lambda: None,
            "graph": graph,
            "graph_pool_handle": graph_pool_handle,
            "is_current_stream_capturing": _capturing,
            "stream": _on,
        }
        for name, stand_in in stand_ins.items():
            patch.setattr(torch.cuda, name, stand_in)
        for name in ("_accelerator_graph_capture_health_check", "_cuda_graph_capture_health_check"):
            patch.setattr(Optimizer, name, _check_capturable, raising=False)
        supported = [*_foreach_utils._foreach_supported_types, pretended_gpu.OnGPU]
        patch.setattr(_foreach_utils, "_foreach_supported_types", supported)
        patch.setattr(pretended_gpu.OnGPU, "record_stream", lambda *_: None)  # torch's takes no stand-in
        patch.setattr(pretended_gpu, "_call", _heard(pretended_gpu._call))
        patch.setattr(pretended_gpu, "_move", _refusing_moves(pretended_gpu._move))
        patch.setattr(pretended_gpu, "_waits", _refusing_waits(pretended_gpu._waits))
        try:
            yield
        finally:
            del _now.streams[1:]  # that of a capture that failed


@contextmanager
def counted_launches() -> Iterator[Counter[str]]:
    """A block inside that of `recorded_graphs` whose work on the GPU is counted, by the names of ATen.

    What is counted are operations that need at least one kernel, and copies between CPU and GPU. An operation on a list
    (`_foreach_…`, `_fused_…`) counts as one where all lie in one order of memory, else each; normalization and its
    gradient are two or three kernels on a real GPU, and count as one.
    """
    assert _now.recorder is None
    _now.recorder = recorder = _Recorder(capturing=False)
    try:
        with recorder:
            yield recorder.launches
    finally:
        _now.recorder = None
