"""Where tensors live: the one place that decides between a GPU and the CPU."""

from __future__ import annotations

import os
import re

import torch
from torch import Tensor

from glyffctl.core.errors import UsageError

CPU = torch.device("cpu")


def choose_device(name: str = "auto") -> torch.device:
    """The device called `name`: "auto", "cpu", "cuda", "cuda:1" or "mps".

    "auto" is the first CUDA GPU, or the CPU where PyTorch finds none. Apple's GPUs ("mps") are taken only when named:
    nothing has run on one yet.

    Raises:
        UsageError: there is no such device, or this PyTorch cannot use it.
    """
    if name == "auto":
        return torch.device("cuda", 0) if torch.cuda.is_available() else CPU
    if name == "cpu":
        return CPU
    if name == "mps":
        if not torch.backends.mps.is_available():
            raise UsageError("`device` mps is for Macs with an Apple GPU, and PyTorch finds none here")
        return torch.device("mps")
    named = re.fullmatch(r"cuda(?::(\d{1,4}))?", name, re.ASCII)
    if named is None:
        raise UsageError(f"`device` is auto, cpu, cuda, cuda:1 or mps, not {name!r}")
    if not torch.cuda.is_available():
        why = "this PyTorch was built without CUDA" if torch.version.cuda is None else "PyTorch finds no CUDA GPU"
        raise UsageError(f"`device` {name}: {why} (version {torch.__version__}); cpu works everywhere")
    number, count = int(named[1] or 0), torch.cuda.device_count()
    if number >= count:
        raise UsageError(f"`device` {name}: this machine has {count} GPU{'s' * (count > 1)}, counted from cuda:0")
    return torch.device("cuda", number)


def send(x: Tensor, device: torch.device) -> Tensor:
    """`x` from the CPU on `device`, without waiting for what the device is doing.

    float64 stays on the CPU where the device has none, which is Apple's.
    """
    if device.type == "mps" and x.dtype == torch.float64:
        return x
    return x.to(device, non_blocking=device.type == "cuda")


def prefer_speed(device: torch.device) -> None:
    """Let cuDNN try its kernels for convolutions and keep the fastest: not always the same one."""
    if device.type == "cuda" and not torch.are_deterministic_algorithms_enabled():
        torch.backends.cudnn.benchmark = True


def make_deterministic() -> None:
    """Take only kernels that give the same bits every time, in this process; before it multiplies matrices on a GPU.

    As https://docs.pytorch.org/docs/stable/notes/randomness.html has it, and attention by plain products: the backward
    passes of its fused kernels add in any order.
    """
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    torch.backends.cuda.enable_flash_sdp(False)
    torch.backends.cuda.enable_mem_efficient_sdp(False)
    torch.backends.cuda.enable_cudnn_sdp(False)


def synchronize(device: torch.device) -> None:
    """Wait until `device` has done all it was asked: for whoever measures time."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
