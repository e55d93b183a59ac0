"""Whether this process computes with the kernels: only after they agreed with the plain code on its device."""

from __future__ import annotations

import os

import torch
from torch import Tensor

from glyffctl.core import noise

VARIABLE = "GLYFFCTL_KERNELS"

_answers: dict[tuple[torch.device, torch.dtype], str | None] = {}
_on: tuple[torch.dtype, ...] = ()


def enable(device: torch.device, dtype: torch.dtype) -> str | None:
    """Compute with the kernels from now on where inputs are of `dtype`, if they are right for it on `device`.

    The first call imports Triton, compiles the kernels for this type (seconds; Triton keeps them on disk) and compares
    values and gradients with those of the plain code. Asked again, it remembers its answer. One device or type for
    which they are not right turns them off for the process. The environment variable GLYFFCTL_KERNELS=0 keeps them off.

    Args:
        device: any; the kernels are for CUDA.
        dtype: of what a network computes inside, float32 or bfloat16.

    Returns:
        What is wrong with the kernels, in one line, or None: then they are on, unless the variable keeps them off.
    """
    global _on  # noqa: PLW0603 - the one switch of the process, a plain tuple so that torch.compile can guard it
    if device.type != "cuda":
        return f"the kernels are for CUDA, not for {device.type}"
    if os.environ.get(VARIABLE) == "0":
        return None
    if (device, dtype) not in _answers:
        _answers[device, dtype] = _try(device, dtype)
    reason = next((answer for answer in _answers.values() if answer is not None), None)
    _on = tuple(dict.fromkeys(checked for _, checked in _answers)) if reason is None else ()
    noise.use_kernel(_normal if _on else None)
    return reason


def enabled(dtype: torch.dtype) -> bool:
    """Whether `enable` was called for `dtype`, and all kernels were right."""
    return dtype in _on


def _normal(seed: int, index: Tensor, stream: int, count: int) -> Tensor:
    from glyffctl.core.kernels.triton_normal import normal  # noqa: PLC0415 - imports Triton

    return normal(seed, index, stream, count)


def _try(device: torch.device, dtype: torch.dtype) -> str | None:
    """What is wrong with the kernels for `dtype` on `device`, in one line, or None."""
    try:
        from glyffctl.core.kernels.check import mismatch  # noqa: PLC0415 - imports Triton

        return mismatch(device, dtype)
    except Exception as error:  # Triton, its compiler, the driver: each has errors of its own, and none may stop a run
        line = str(error).strip().partition("\n")[0][:200]
        return f"{type(error).__name__}: {line}" if line else type(error).__name__
