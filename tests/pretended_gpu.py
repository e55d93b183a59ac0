"""A GPU for machines that have none: tensors on the CPU that behave as if they were on another device.

What is pretended: their `device`; that they do not mix with tensors of the CPU (but for scalars, and indices); that
numpy does not read them; that generators of the CPU do not draw them; for Apple's, that they are never float64. What is
real: every number. So whole commands run, and their results can be compared with those of the CPU.

torch's own fake tensors refuse mixing too, but hold no numbers, so that nothing after the first `float(x)` runs.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._foreach_utils import _group_tensors_by_device_and_dtype

from glyffctl.core.kernels import switch

_WAITS = {"item", "tolist", "__bool__", "__float__", "__int__", "__index__", "nonzero", "unique"}


def leaves_of(value: Any) -> list[Any]:
    """What tuples, lists and dictionaries hold; torch's pytrees take most of the time of a pretended run."""
    found, left = [], [value]
    while left:
        value = left.pop()
        if isinstance(value, tuple | list):
            left += reversed(value)
        elif isinstance(value, dict):
            left += reversed(value.values())
        else:
            found.append(value)
    return found


def mapped(call: Callable[[Any], Any], value: Any) -> Any:
    """`value` with `call` applied to its leaves."""
    if isinstance(value, dict):
        return {key: mapped(call, part) for key, part in value.items()}
    if isinstance(value, tuple | list):
        parts = [mapped(call, part) for part in value]
        if isinstance(value, list):
            return parts
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return call(value)


class OnGPU(Tensor):
    """A tensor on the pretended device."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # Outside the block of `pretended_gpu`, in a thread of its own say, the same rules hold.
        del types
        return _call(func, args, kwargs or {})


class _State:
    """What is pretended now."""

    device = torch.device("cuda", 0)
    waits: ClassVar[Counter[str]] = Counter()
    forbid_waits = False


def _is_ours(value: Any) -> bool:
    if isinstance(value, int) and not isinstance(value, bool):
        return False
    try:
        return torch.device(value).type == _State.device.type
    except (RuntimeError, TypeError):
        return False


def _gpu(value: Any) -> Any:
    if not isinstance(value, Tensor) or isinstance(value, OnGPU):
        return value
    if _State.device.type == "mps" and value.dtype == torch.float64:
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64.")
    return value.as_subclass(OnGPU)


def _waits(name: str) -> None:
    if _State.forbid_waits:
        raise AssertionError(f"{name} waits for the GPU")
    _State.waits[name] += 1


def _leaves(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    """All that a function is given, but for what a copy remembers: everything that was copied before."""
    return leaves_of((args[:1] if getattr(func, "__name__", "") == "__deepcopy__" else args, kwargs))


def _call(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    name = getattr(func, "__name__", str(func))
    owner = getattr(getattr(func, "__self__", None), "__name__", "")
    with torch._C.DisableTorchFunction():
        leaves = [leaf for leaf in _leaves(func, args, kwargs) if isinstance(leaf, Tensor)]
        ours = [leaf for leaf in leaves if isinstance(leaf, OnGPU)]
        first = args[0] if args else None
        if name == "__get__" and isinstance(first, OnGPU):
            return _attribute(owner, func, first, kwargs)
        if name in ("numpy", "__array__") and isinstance(first, OnGPU):
            raise TypeError(f"can't convert {_State.device} device type tensor to numpy. Use Tensor.cpu() first.")
        if name in ("to", "cuda", "cpu", "mps") and isinstance(first, Tensor):
            return _move(name, first, args[1:], kwargs)
        if name == "_has_compatible_shallow_copy_type" and 0 < len(ours) < len(leaves):
            return False  # modules that move get new parameters
        if name == "__deepcopy__" and isinstance(first, OnGPU):
            return _copy(first, args[1])
        if name in _WAITS and isinstance(first, OnGPU):
            _waits(name)
        target = kwargs.get("device")
        here = _is_ours(target) if target is not None else bool(ours)
        _check_mixing(name, args, leaves, ours)
        _check_generator(kwargs.get("generator"), here)
        if target is not None:
            kwargs = {**kwargs, "device": torch.device("cpu")}
        answer = func(*args, **kwargs)
        return mapped(_gpu, answer) if here else answer


def _attribute(owner: str, func: Any, x: OnGPU, kwargs: dict[str, Any]) -> Any:
    if owner == "device":
        return _State.device
    if owner in ("is_cuda", "is_mps", "is_cpu"):
        return owner == f"is_{_State.device.type}"
    return mapped(_gpu, func(x, **kwargs))


def _copy(x: OnGPU, memo: dict[int, Any]) -> Any:
    if id(x) not in memo:
        copied = x.detach().clone().as_subclass(OnGPU).requires_grad_(x.requires_grad)
        copied._is_param = getattr(x, "_is_param", False)
        memo[id(x)] = copied
    return memo[id(x)]


def _move(name: str, x: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`x.to(…)`, `x.cpu()` and their like."""
    device: Any = {"cuda": "cuda", "cpu": "cpu", "mps": "mps"}.get(name, kwargs.pop("device", None))
    rest = list(args)
    for place, argument in enumerate(rest):
        if isinstance(argument, Tensor):
            device = _State.device if isinstance(argument, OnGPU) else torch.device("cpu")
            rest[place] = argument.dtype
        elif isinstance(argument, str | torch.device):
            device = argument
            rest[place] = None
    lazily = bool(kwargs.pop("non_blocking", False)) or True in rest[1:]
    rest = [argument for argument in rest if argument is not None and not isinstance(argument, bool)]
    here = isinstance(x, OnGPU)
    there = here if device is None else _is_ours(device)
    if here and not there:
        _waits("cpu")
    if there and not here and not lazily:
        _waits("to")
    plain = x.as_subclass(Tensor) if here else x
    moved = plain.to(*rest, **kwargs) if rest or kwargs else plain
    if here != there and moved is plain:
        moved = plain.clone()
    return _gpu(moved) if there else moved


def _check_mixing(name: str, args: tuple[Any, ...], leaves: list[Tensor], ours: list[OnGPU]) -> None:
    if not ours or len(ours) == len(leaves) or name == "copy_":
        return
    if name in ("__getitem__", "__setitem__", "index_put_") and isinstance(args[0], OnGPU):
        return  # indices may come from the CPU
    strangers = [leaf for leaf in leaves if not isinstance(leaf, OnGPU) and leaf.ndim > 0]
    if strangers:
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found at least two devices, {_State.device} and cpu! "
            f"({name})"
        )


def _check_generator(generator: torch.Generator | None, here: bool) -> None:
    if generator is not None and here:
        raise RuntimeError(f"Expected a '{_State.device.type}' device type for generator but found 'cpu'")


class _Pretending(TorchFunctionMode):
    """Hears of every function of torch, so of those that make tensors from nothing as well."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        kwargs = kwargs or {}
        leaves = _leaves(func, args, kwargs)
        if any(isinstance(leaf, OnGPU) for leaf in leaves) or any(map(_names_device, leaves)):
            return _call(func, args, kwargs)
        return func(*args, **kwargs)


def _names_device(leaf: Any) -> bool:
    return isinstance(leaf, str | torch.device) and _is_ours(leaf)


def _grouped(lists: list[list[Any]], with_indices: bool = False) -> dict[Any, Any]:
    """What torch does in C++, which sees the devices that tensors really have."""
    with torch._C.DisableTorchFunction():
        found = _group_tensors_by_device_and_dtype(lists, with_indices)
    ours = any(isinstance(tensor, OnGPU) for tensor in lists[0])
    return {(_State.device if ours else device, dtype): group for (device, dtype), group in found.items()}


class _Autocast(torch.autocast):
    """The CPU's, where the numbers are."""

    def __init__(self, device_type: str, *args: Any, **kwargs: Any) -> None:
        super().__init__("cpu" if _is_ours(device_type) else device_type, *args, **kwargs)


class _Stream:
    """A stream, and an event: what is asked of a pretended GPU is done at once."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def record(self, *_: Any) -> None: ...

    def wait_stream(self, *_: Any) -> None: ...

    def synchronize(self) -> None: ...


@contextmanager
def _on_stream(_: _Stream) -> Iterator[None]:
    """Threads that use a stream of their own hear of every function, too: modes belong to a thread."""
    with _Pretending():
        yield


@contextmanager
def pretended_gpu(monkeypatch: pytest.MonkeyPatch, kind: str = "cuda") -> Iterator[Counter[str]]:
    """A block in which PyTorch finds one GPU of `kind`, "cuda" or "mps"; what waited for it is counted."""
    _State.device = torch.device(kind, 0) if kind == "cuda" else torch.device(kind)
    _State.waits = Counter()
    with monkeypatch.context() as patch:
        module = torch.cuda if kind == "cuda" else torch.mps
        if kind == "cuda":
            patch.setattr(torch.cuda, "is_available", lambda: True)
            patch.setattr(torch.cuda, "device_count", lambda: 1)
            patch.setattr(torch.cuda, "set_device", lambda _: None)
            patch.setattr(torch.cuda, "get_device_name", lambda _: "a pretended GPU")
            patch.setattr(torch.cuda, "is_bf16_supported", lambda *_: True)
            patch.setattr(torch.cuda, "Stream", _Stream)
            patch.setattr(torch.cuda, "Event", _Stream)
            patch.setattr(torch.cuda, "stream", _on_stream)
            patch.setattr(torch.cuda, "current_stream", _Stream)
            patch.setattr(torch.cuda, "memory_reserved", lambda *_: 0)
            patch.setattr(torch.cuda, "mem_get_info", lambda *_: (80 << 30, 80 << 30))
        else:
            patch.setattr(torch.backends.mps, "is_available", lambda: True)
        patch.setattr(module, "synchronize", lambda *_: _waits("synchronize"))
        patch.setenv(switch.VARIABLE, "0")  # Triton would ask for a real one
        patch.setattr(torch, "autocast", _Autocast)
        patch.setattr(torch, "is_autocast_enabled", lambda _=None, real=torch.is_autocast_enabled: real("cpu"))
        for user in (
            importlib.import_module("torch.nn.utils.clip_grad"),
            importlib.import_module("torch.optim.optimizer"),
        ):
            patch.setattr(user, "_group_tensors_by_device_and_dtype", _grouped)
        before = torch.__future__.get_overwrite_module_params_on_conversion()
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        try:
            with _Pretending():
                yield _State.waits
        finally:
            torch.__future__.set_overwrite_module_params_on_conversion(before)


@contextmanager
def no_waiting() -> Iterator[None]:
    """A block in which nothing may wait for the GPU."""
    _State.forbid_waits = True
    try:
        yield
    finally:
        _State.forbid_waits = False
