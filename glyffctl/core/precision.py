"""Which precision a device is fast in: measured, since no name of a processor tells.

Importing this does not import torch, since options are checked here.
"""

from __future__ import annotations

import time
from functools import cache
from typing import TYPE_CHECKING, Literal, get_args

from glyffctl.core.errors import UsageError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Precision = Literal["auto", "fp32", "bf16"]

_WORTH_IT = 1.5  # processors with arithmetic for bfloat16 reach 2 to 5, those without 0.1 to 0.8
_TRIES, _ENOUGH = 5, 0.3  # of a convolution in one precision: how often, and seconds after which no other is begun


def check_precision(precision: str) -> None:
    """Raise UsageError for what is no precision."""
    if precision not in get_args(Precision):
        raise UsageError(f"`precision` is {', '.join(get_args(Precision))}, not {precision}")


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """The lower precision for the inside of a network, or None for float32; "auto" takes what is faster here.

    One convolution decides, not the network at hand: where bfloat16 is faster at all it is so by far, and the same
    pictures must come out of the same command every time.
    """
    import torch  # noqa: PLC0415 - see the head of this file

    if precision == "auto":
        return torch.bfloat16 if _speedup(device) > _WORTH_IT else None
    return torch.bfloat16 if precision == "bf16" else None


@cache
def _speedup(device: torch.device) -> float:
    """How many times as fast as in float32 a 3×3 convolution is in bfloat16.

    Takes about 10 ms on a CPU core with arithmetic for bfloat16, and 50 ms on one without.
    """
    import torch  # noqa: PLC0415

    count = 2 if device.type == "cpu" else 512  # half a millisecond: a GPU takes microseconds to start
    best = {}
    for dtype in (torch.float32, torch.bfloat16):
        # Both in the memory order of `unet.channels_last`.
        x = torch.zeros(count, 16, 16, 128, device=device, dtype=dtype).permute(0, 3, 1, 2)
        kernel = torch.zeros(128, 3, 3, 128, device=device, dtype=dtype).permute(0, 3, 1, 2)
        best[dtype] = _best(x, kernel)
    return best[torch.float32] / best[torch.bfloat16]


def _best(x: Tensor, kernel: Tensor) -> float:
    """Seconds of the fastest try; the first pays for starting up."""
    from torch.nn import functional as F  # noqa: PLC0415

    from glyffctl.core.device import synchronize  # noqa: PLC0415

    times: list[float] = []
    while len(times) < 2 or (len(times) < _TRIES and sum(times) < _ENOUGH):
        synchronize(x.device)
        began = time.perf_counter()
        F.conv2d(x, kernel, padding=1)
        synchronize(x.device)
        times.append(time.perf_counter() - began)
    return min(times)
