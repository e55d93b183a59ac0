"""One function decides where tensors live."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from glyffctl.core.device import CPU, choose_device, gpu_failure, memory_free
from glyffctl.core.errors import DeviceError, UsageError, first_line
from tests.command_line import app
from tests.conftest import Workshop, crashed
from tests.pretended_gpu import pretended_gpu


def test_an_error_of_a_library_is_told_in_one_line() -> None:
    assert first_line(RuntimeError("\nout of luck: \nat line 3")) == "out of luck"
    assert first_line(RuntimeError("x" * 300), 100) == "x" * 100
    assert first_line(RuntimeError()) == first_line(RuntimeError("\n")) == "RuntimeError"


def test_without_a_gpu_it_is_the_cpu_and_others_are_refused() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    assert choose_device() == choose_device("auto") == choose_device("cpu") == CPU
    for name in ("cuda", "cuda:0"):
        with pytest.raises(UsageError, match=f"{name}.*cpu works everywhere"):
            choose_device(name)
    with pytest.raises(UsageError, match="Apple"):
        choose_device("mps")


@pytest.mark.parametrize("name", ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "CUDA", "cpu:0", "meta", "cuda:99999"])
def test_what_is_no_device_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="`device` is auto, cpu, cuda, cuda:1 or mps"):
        choose_device(name)


def test_with_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    with pretended_gpu(monkeypatch):
        assert choose_device() == choose_device("cuda") == choose_device("cuda:0") == torch.device("cuda", 0)
        assert choose_device("cpu") == CPU
        with pytest.raises(UsageError, match="this machine has 1 GPU"):
            choose_device("cuda:1")


def test_apple_s_are_taken_only_when_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pretended_gpu(monkeypatch, "mps"):
        assert choose_device("mps") == torch.device("mps")
        if not torch.cuda.is_available():
            assert choose_device() == CPU


def raising(error: Exception) -> Callable[..., Any]:
    def call(*_: object, **__: object) -> Any:
        raise error

    return call


CUDA = (
    "\nCUDA kernel errors might be asynchronously reported at some other API call.\nCompile with `TORCH_USE_CUDA_DSA`."
)
FAILURES = {
    "CUDA error: all CUDA-capable devices are busy or unavailable" + CUDA: "nvidia-smi",
    "CUDA error: CUDA-capable device(s) is/are busy or unavailable" + CUDA: "nvidia-smi",
    "CUDA error: out of memory" + CUDA: "end other programs",
    "CUDA error: no kernel image is available for execution on the device" + CUDA: "install one",
    "CUDA driver version is insufficient for CUDA runtime version": "newer driver",
    "The NVIDIA driver on your system is too old (found version 11040). Please update your GPU driver": "newer driver",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`": "end other programs",
    "cuDNN error: CUDNN_STATUS_NOT_INITIALIZED": "end other programs",
    "CUDA error: uncorrectable ECC error encountered" + CUDA: "run the command again",
    "CUDA error: something that nobody has seen" + CUDA: "something that nobody has seen",
}


@pytest.mark.parametrize("told", FAILURES)
@pytest.mark.parametrize("where", ["mem_get_info", "first kernel"])
def test_a_gpu_that_cannot_be_used_is_an_error_of_one_line(
    told: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pretended_gpu(monkeypatch):
        if where == "mem_get_info":
            monkeypatch.setattr(torch.cuda, "mem_get_info", raising(torch.AcceleratorError(told)))
        else:
            monkeypatch.setattr(torch, "ones", raising(torch.AcceleratorError(told)))
        for name in ("auto", "cuda", "cuda:0"):
            with pytest.raises(DeviceError) as failed:
                choose_device(name)
            message = str(failed.value)
            assert FAILURES[told] in message and "cuda:0" in message and "cpu works" in message
            assert "\n" not in message
        assert choose_device("cpu") == CPU


def test_a_gpu_that_is_full_is_refused_unless_this_process_fills_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with pretended_gpu(monkeypatch):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda *_: (100 * 2**20, 24 * 2**30))
        with pytest.raises(DeviceError, match="100 MiB of 24,576 free"):
            choose_device()
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda *_: 23 * 2**30)
        monkeypatch.setattr(torch.cuda, "memory_allocated", lambda *_: 22 * 2**30)
        device = choose_device()
        assert memory_free(device) == 2**30 + 100 * 2**20
    assert memory_free(CPU) > 2**28


def test_a_driver_that_is_too_old_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch.cuda, "init", raising(RuntimeError("The NVIDIA driver on your system is too old")))
    assert choose_device() == CPU
    with pytest.raises(UsageError, match=r"driver.*CUDA 12\.8"):
        choose_device("cuda")
    monkeypatch.setattr(torch.cuda, "init", raising(RuntimeError("No CUDA GPUs are available")))
    with pytest.raises(UsageError, match="finds no CUDA GPU"):
        choose_device("cuda")


OUT_OF_MEMORY = (
    "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79.10 GiB of which 5.31 GiB is "
    "free. Including non-PyTorch memory, this process has 73.78 GiB memory in use."
)


def test_memory_that_ran_out_is_told_in_figures() -> None:
    line = gpu_failure(torch.OutOfMemoryError(OUT_OF_MEMORY), "make it smaller, or ")
    assert line is not None and "20.00 GiB" in line and "5.31 GiB of 79.10 GiB" in line and "make it smaller" in line
    assert gpu_failure(RuntimeError("mat1 and mat2 shapes cannot be multiplied (3x4 and 5x6)")) is None


@pytest.mark.parametrize(
    ("command", "workflow", "smaller"),
    [
        (["train", "--device", "cuda"], "train.train", "--batch"),
        (["sample", "x", "--device", "cuda"], "sample.sample", "--batch"),
        (["embed", "--device", "cuda"], "embed.embed", "end other programs"),
    ],
)
def test_commands_end_in_one_line_when_memory_runs_out(
    command: list[str], workflow: str, smaller: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"glyffctl.workflows.{workflow}", raising(torch.OutOfMemoryError(OUT_OF_MEMORY)))
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 1
    assert not crashed(done.output) and "5.31 GiB of 79.10 GiB" in " ".join(done.output.split())
    assert smaller in " ".join(done.output.split())


BUSY = "CUDA error: CUDA-capable device(s) is/are busy or unavailable" + CUDA


@pytest.mark.parametrize(
    "command",
    [
        "train --gpus 1",
        "train --device cuda",
        "sample x",
        "embed",
        "evaluate",
        "visualize-umap",
    ],
)
def test_every_command_says_in_one_line_that_the_gpu_is_busy(
    command: str, workshop: Workshop, tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = command.split()
    if words[0] != "sample":
        words += ["--data", str(workshop.data)]
    if words[0] in ("sample", "evaluate"):
        words += ["--model", str(tiny_run)]
    with pretended_gpu(monkeypatch):
        monkeypatch.setattr(torch.cuda, "mem_get_info", raising(torch.AcceleratorError(BUSY)))
        done = CliRunner().invoke(app, words)
    assert done.exit_code == 1, done.output
    assert not crashed(done.output) and "nvidia-smi" in " ".join(done.output.split())
