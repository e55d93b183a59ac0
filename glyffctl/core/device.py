"""Where tensors live: the one place that decides between a GPU and the CPU."""

from __future__ import annotations

import os
import re
import warnings

import torch
from torch import Tensor

from glyffctl.core.errors import DeviceError, UsageError, first_line
from glyffctl.core.io.memory import usable_memory

CPU = torch.device("cpu")
_LEAST_FREE = 256 * 2**20  # the libraries for matrices and convolutions alone take a hundred megabytes


def choose_device(name: str = "auto", first: int = 0) -> torch.device:
    """The device called `name`: "auto", "cpu", "cuda", "cuda:1" or "mps".

    "auto" is a CUDA GPU, or the CPU where PyTorch finds none. Apple's GPUs ("mps") are taken only when named: nothing
    has run on one yet. A CUDA GPU computes something before it is returned, so that one that cannot is found out here.

    Args:
        name: as above.
        first: the number of the GPU that "auto" and "cuda" mean; in a job, every process has its own.

    Raises:
        UsageError: there is no such device.
        DeviceError: it cannot be used now.
    """
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return CPU
    if name == "auto":
        name = "cuda"
    if name == "mps":
        if not torch.backends.mps.is_available():
            raise UsageError("`device` mps is for Macs with an Apple GPU, and PyTorch finds none here")
        return torch.device("mps")
    named = re.fullmatch(r"cuda(?::(\d{1,4}))?", name, re.ASCII)
    if named is None:
        raise UsageError(f"`device` is auto, cpu, cuda, cuda:1 or mps, not {name!r}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what PyTorch says in several lines is an error of one line below
        if not torch.cuda.is_available():
            raise UsageError(f"`device` {name}: {_why_no_gpu()} (version {torch.__version__}); cpu works everywhere")
        number, count = int(named[1] or first), torch.cuda.device_count()
        if number >= count:
            raise UsageError(f"`device` {name}: this machine has {count} GPU{'s' * (count > 1)}, counted from cuda:0")
        device = torch.device("cuda", number)
        _check(device)
    return device


def _why_no_gpu() -> str:
    if torch.version.cuda is None:
        return "this PyTorch was built without CUDA"
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return gpu_failure(error) or "PyTorch finds no CUDA GPU"
    return "PyTorch finds no CUDA GPU"


def _check(device: torch.device) -> None:
    """Compute something on a CUDA GPU.

    Raises:
        DeviceError: that fails, or there is hardly any memory left.
    """
    try:
        if torch.cuda.memory_reserved(device):
            return  # this process has computed on it
        free, total = torch.cuda.mem_get_info(device)
        if free < _LEAST_FREE:
            raise DeviceError(
                f"`device` {device} has only {free / 2**20:,.0f} MiB of {total / 2**20:,.0f} free; end the other "
                f"programs on it (nvidia-smi lists them), or choose another device; cpu works everywhere"
            )
        float(torch.ones(8, device=device).sum())
    except RuntimeError as error:
        what = gpu_failure(error) or f"it fails: {first_line(error)}"
        raise DeviceError(f"`device` {device}: {what}; another device may do; cpu works everywhere") from error


_NO_MEMORY = r"out of memory|(CUBLAS|CUDNN)_STATUS_(ALLOC_FAILED|NOT_INITIALIZED)"
_FAILURES = {
    r"busy or unavailable": "another program has the GPU to itself; wait for its end (nvidia-smi shows it)",
    r"no kernel image|not compatible with the current PyTorch": "this PyTorch, version {torch}, has no code for this "
    "model of GPU; install one that has (pytorch.org/get-started)",
    r"driver version is insufficient|driver on your system is too old|no NVIDIA driver|unsupported display driver": (
        "the NVIDIA driver is missing, or too old for CUDA {cuda}, which this PyTorch needs; install a newer driver"
    ),
    r"ECC error|GPU is lost": "the GPU itself failed; look at nvidia-smi, and run the command again",
}


def gpu_failure(error: BaseException, smaller: str = "") -> str | None:
    """What an exception of PyTorch says about a GPU: a line that says what to do, or None if it is about other things.

    Args:
        error: what PyTorch raised.
        smaller: where memory ran out, what else to do about it, such as "make `batch` smaller, or ".
    """
    told = str(error)
    if re.search(_NO_MEMORY, told):
        asked = re.search(r"Tried to allocate ([\d.]+ \w+)", told)
        free = re.search(r"total capacity of ([\d.]+ \w+) of which ([\d.]+ \w+) is free", told)
        needed = f": {asked[1]} more were needed" if asked else ""
        left = f", {free[2]} of {free[1]} were free" if asked and free else ""
        return f"not enough memory on the GPU{needed}{left}; {smaller}end other programs that use the GPU"
    for pattern, line in _FAILURES.items():
        if re.search(pattern, told, re.IGNORECASE):
            return line.format(torch=torch.__version__, cuda=torch.version.cuda)
    return None


def memory_free(device: torch.device) -> int:
    """Bytes that this process can still use on `device`.

    On a CUDA GPU: what no program has, and what PyTorch keeps to use again. On the CPU, and on Apple's GPUs, which
    share its memory: see `usable_memory`.
    """
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    return usable_memory()


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
