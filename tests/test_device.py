"""One function decides where tensors live."""

from __future__ import annotations

import pytest
import torch

from glyffctl.core.device import CPU, choose_device
from glyffctl.core.errors import UsageError
from tests.pretended_gpu import pretended_gpu


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
