"""Kernels for CUDA: when they are used, what graphs see of them, and their numbers in Triton's interpreter."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call
from torch.fx.experimental.proxy_tensor import make_fx

from glyffctl.core import noise
from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.kernels import layers, switch
from glyffctl.core.models.config import fit_to_data, read_preset
from glyffctl.core.networks.captioned import Context
from glyffctl.core.networks.network import build_network, channels_last
from glyffctl.core.networks.residual import TimeEmbedding
from glyffctl.core.networks.unet import Block, UNetConfig
from tests.pretended_gpu import pretended_gpu

ROOT = Path(__file__).parents[1]
CUDA = torch.device("cuda", 0)
MODULES = [f"glyffctl.core.kernels.triton_{name}" for name in ("group_norm", "geglu", "normal")]


@pytest.fixture(autouse=True)
def untouched(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process that was not asked yet, and is as before afterwards."""
    monkeypatch.setattr(switch, "_answers", {})
    monkeypatch.setattr(switch, "_on", ())
    monkeypatch.delenv(switch.VARIABLE, raising=False)
    yield
    noise.use_kernel(None)


def answering(monkeypatch: pytest.MonkeyPatch, answers: list[Any]) -> list[tuple[torch.device, torch.dtype]]:
    """Let the check on the device give these answers, or raise them; the devices and types that it was asked about."""
    asked: list[tuple[torch.device, torch.dtype]] = []

    def mismatch(device: torch.device, dtype: torch.dtype) -> str | None:
        asked.append((device, dtype))
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setitem(sys.modules, "glyffctl.core.kernels.check", SimpleNamespace(mismatch=mismatch))
    return asked


def in_interpreter(marks: str) -> None:
    pytest.importorskip("triton")
    options = ["-p", "no:cacheprovider", "--noconftest", "-m", marks]
    command = [sys.executable, "-m", "pytest", *options, "tests/interpreted_kernels.py"]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    found = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout[-8000:] + found.stderr[-2000:]


@pytest.mark.thorough
def test_the_kernels_compute_what_the_plain_code_does() -> None:
    in_interpreter("not thorough")


@pytest.mark.slow
@pytest.mark.thorough
def test_the_kernels_as_operators_in_networks_and_in_any_order_of_memory() -> None:
    in_interpreter("thorough")


def test_without_cuda_nothing_is_imported() -> None:
    code = (
        "import sys, torch; from glyffctl.core.kernels.switch import enable, enabled; "
        "import glyffctl.core.networks.unet; reason = enable(torch.device('cpu'), torch.float32); "
        "assert reason and not enabled(torch.float32); assert 'triton' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_they_are_on_after_the_check_and_for_its_type_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answering(monkeypatch, [None, None])
    assert not switch.enabled(torch.float32)
    for _ in range(2):
        assert switch.enable(CUDA, torch.bfloat16) is None
        assert switch.enabled(torch.bfloat16)
        assert not switch.enabled(torch.float32)
    assert switch.enable(CUDA, torch.float32) is None
    assert switch.enabled(torch.bfloat16)
    assert switch.enabled(torch.float32)
    assert asked == [(CUDA, torch.bfloat16), (CUDA, torch.float32)]


@pytest.mark.parametrize(
    "answer", ["the kernel x is 1 off", RuntimeError("no compiler\nat all"), ImportError("triton")]
)
def test_one_device_on_which_they_are_wrong_turns_them_off(answer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, [None, answer])
    assert switch.enable(CUDA, torch.bfloat16) is None
    reason = switch.enable(torch.device("cuda", 1), torch.bfloat16)
    assert reason is not None
    assert str(answer).partition("\n")[0] in reason
    assert "\n" not in reason
    assert not switch.enabled(torch.bfloat16)
    assert switch.enable(CUDA, torch.bfloat16) == reason
    assert noise._kernel is None


def test_a_variable_keeps_them_off(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answering(monkeypatch, [None])
    monkeypatch.setenv(switch.VARIABLE, "0")
    assert switch.enable(CUDA, torch.float32) is None
    assert not switch.enabled(torch.float32)
    assert not asked


def test_normals_of_float32_on_cuda_come_from_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    def kernel(seed: int, index: Tensor, stream: int, count: int) -> Tensor:
        return index[:, None] * 100 + torch.arange(count, device=index.device) + 10 * seed + 1000 * stream

    index = torch.tensor([1, 2])
    expected = noise.normal(3, index, (2, 2), 4)
    noise.use_kernel(kernel)
    assert torch.equal(noise.normal(3, index, (2, 2), 4), expected)  # on the CPU
    with pretended_gpu(monkeypatch):
        index = index.to("cuda")
        assert noise.normal(3, index, (2, 2), 4).tolist() == [
            [[4130, 4131], [4132, 4133]],
            [[4230, 4231], [4232, 4233]],
        ]
        assert noise.normal(3, index, (2, 2), 4, torch.float64).cpu().allclose(expected.double())


def test_layer_norm_on_cuda_stays_in_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    norm = nn.LayerNorm(24)
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2, generator=generator)
        norm.bias.normal_(generator=generator)
    x = torch.randn(5, 3, 24, generator=generator).bfloat16()
    expected = norm(x.float())
    with pretended_gpu(monkeypatch):
        norm.to("cuda")
        y = layers.layer_norm(x.to("cuda"), norm)
        assert y.dtype == torch.bfloat16
        assert layers.layer_norm(x.float().to("cuda"), norm).dtype == torch.float32
        y.float().sum().backward()
        assert norm.weight.grad is not None
        assert norm.weight.grad.dtype == torch.float32
        error = (y.cpu().float() - expected).abs() / expected.abs().clamp(min=1)
    assert float(error.detach().max()) < 2**-7


def operators(function: Callable[..., Tensor], *inputs: Tensor) -> list[str]:
    """What `function` calls, in order, for fake inputs."""
    return [str(node.target) for node in make_fx(function)(*inputs).graph.nodes if node.op == "call_function"]


@pytest.mark.parametrize(
    ("time", "dtype"),
    [("film", torch.bfloat16), ("add", torch.float32), ("concat", torch.float32)]
    + [
        pytest.param(time, dtype, marks=pytest.mark.thorough)
        for time, dtype in (("film", torch.float32), ("add", torch.bfloat16), ("concat", torch.bfloat16))
    ],
)
def test_a_block_on_cuda_is_traced_into_kernels(
    dtype: torch.dtype, time: TimeEmbedding, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("triton")
    importlib.import_module("glyffctl.core.kernels.check")
    monkeypatch.setattr(switch, "_on", (torch.float32, torch.bfloat16))
    config = UNetConfig(channels=(24,), attention=(0,), head_width=8, context_width=8, time=time)
    block = Block(12, 24, 16, config, attends=True)
    names = list(dict(block.named_parameters()))

    def run(x: Tensor, embedding: Tensor, tokens: Tensor, mask: Tensor, *parameters: Tensor) -> Tensor:
        context = Context(tokens, mask, None)
        return functional_call(block, dict(zip(names, parameters, strict=True)), (x, embedding, context))

    # Without gradients: a PyTorch without CUDA cannot even prepare for those of a CUDA tensor.
    with FakeTensorMode(), torch.no_grad():
        fake = partial(torch.empty, device="cuda", dtype=dtype)
        weights = [fake(parameter.shape) for parameter in block.parameters()]
        mask = torch.empty(2, 1, 1, 5, device="cuda", dtype=torch.bool)
        called = operators(run, fake(2, 12, 4, 4), fake(2, 16), fake(2, 5, 8), mask, *weights)
    assert called.count("glyffctl.group_norm.default") == sum(
        isinstance(part, nn.GroupNorm) for part in block.modules()
    )
    assert called.count("glyffctl.geglu.default") == 1
    assert not [name for name in called if "group_norm" in name and not name.startswith("glyffctl")]


def test_exported_graphs_have_no_operators_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switch, "_on", (torch.float32, torch.bfloat16))
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    norm = nn.GroupNorm(4, 12, affine=False)
    with FakeTensorMode(), torch.no_grad():
        for function in (layers.geglu, partial(layers.group_norm, norm=norm, silu=True)):
            called = operators(function, torch.empty(2, 12, 4, 4, device="cuda"))
            assert called
            assert not [name for name in called if name.startswith("glyffctl")]


def test_shapes_types_and_memory_orders_are_known_without_running() -> None:
    pytest.importorskip("triton")
    importlib.import_module("glyffctl.core.kernels.check")
    ours = torch.ops.glyffctl
    with FakeTensorMode(), torch.no_grad():
        x = torch.empty(3, 12, 5, 4, device="cuda", dtype=torch.bfloat16)
        weight, scale = torch.empty(12, device="cuda"), torch.empty(3, 12, device="cuda", dtype=torch.bfloat16)
        y, mean, rstd = ours.group_norm(x, weight, weight, scale, scale, 4, 1e-5, True)
        assert (y.shape, y.dtype, y.device) == (x.shape, x.dtype, CUDA)
        assert y.is_contiguous(memory_format=torch.channels_last)
        assert mean.shape == rstd.shape == (3, 12)
        back = ours.group_norm_backward(y, x, mean, rstd, weight, weight, scale, scale, 4, True)
        for gradient, tensor in zip(back, (x, weight, weight, scale, scale), strict=True):
            assert (gradient.shape, gradient.dtype, gradient.device) == (tensor.shape, tensor.dtype, CUDA)
        gated = ours.geglu(torch.empty(2, 3, 8, device="cuda", dtype=torch.bfloat16))
        assert (gated.shape, gated.dtype) == ((2, 3, 4), torch.bfloat16)
        assert ours.geglu_backward(gated, torch.empty(2, 3, 8, device="cuda")).shape == (2, 3, 8)
        noise.use_kernel(switch._normal)
        drawn = noise.normal(1, torch.empty(3, dtype=torch.int64, device="cuda"), (2, 5), 0)
        assert (drawn.shape, drawn.dtype, drawn.device) == ((3, 2, 5), torch.float32, CUDA)


class Launches:
    """Stands in for all kernels: what would be compiled for the launches, by Triton's own rules, and nothing computed.

    A variant is a kernel with the type and divisibility of its arguments, its constants and options.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.variants: dict[str, tuple[Any, ...]] = {}
        jit = importlib.import_module("triton.runtime.jit")
        compiler = importlib.import_module("triton.compiler.compiler")
        self._backend = compiler.make_backend(HOPPER())
        for module in map(importlib.import_module, MODULES):
            for name, kernel in list(vars(module).items()):
                if name.endswith("_kernel"):
                    bind = jit.create_function_from_signature(kernel.signature, kernel.params, self._backend)
                    monkeypatch.setattr(module, name, Launcher(partial(self._note, kernel, bind)))

    def _note(self, kernel: Any, bind: Any, *arguments: Any, **options: Any) -> None:
        bound, specialization, options = bind(*arguments, debug=False, **options)
        self.variants[f"{kernel.__name__} {specialization} {options}"] = (kernel, bound, specialization, options)

    def compiled(self) -> Iterator[tuple[str, Any]]:
        """The name of every variant's kernel, and what Triton compiles it to."""
        compiler = importlib.import_module("triton.compiler")
        for kernel, bound, specialization, options in self.variants.values():
            parsed = kernel._pack_args(self._backend, options, bound, specialization, options)
            source = compiler.ASTSource(kernel, *parsed[1:])
            yield kernel.__name__, compiler.compile(source, target=HOPPER(), options=options)


class Launcher:
    def __init__(self, note: Callable[..., None]) -> None:
        self._note = note

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        return self._note


def HOPPER() -> Any:  # noqa: N802 - a constant, of a module that may not be there
    return importlib.import_module("triton.backends.compiler").GPUTarget("cuda", 90, 32)


def launches_of_the_check(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> Launches:
    launches = Launches(monkeypatch)
    check = importlib.import_module("glyffctl.core.kernels.check")
    monkeypatch.setattr(check, "_distance", lambda *_: 0.0)  # nothing was computed
    assert check.mismatch(torch.device("cpu"), dtype) is None
    return launches


@pytest.mark.thorough
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_few_variants_are_compiled_and_all_of_them_checked(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each costs the first step on a new machine half a second."""
    pytest.importorskip("triton")
    launches = launches_of_the_check(dtype, monkeypatch)
    checked = set(launches.variants)
    assert len(checked) <= 14
    launches.variants.clear()
    monkeypatch.setattr(layers, "_by_kernel", lambda x: x.dtype == dtype)
    for preset in ("gpu", "cpu"):
        config = fit_to_data(read_preset(preset), 128, 64)
        network = channels_last(build_network(config.network))
        condition = Condition(torch.zeros(1, 2, 64), torch.ones(1, 2, dtype=torch.bool))
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            y = network(torch.zeros(1, 1, 128, 128), torch.ones(1, dtype=torch.float64), network.encode(condition))
        y.float().sum().backward()
    noise_kernel = importlib.import_module("glyffctl.core.kernels.triton_normal")
    noise_kernel.normal(0, torch.arange(2), 1, 128 * 128)
    assert {key.partition(" ")[0] for key in launches.variants} == {key.partition(" ")[0] for key in checked}
    assert not set(launches.variants) - checked


@pytest.mark.thorough
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_they_compile_for_the_gpus_of_today(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Triton brings its whole compiler and needs no GPU for it; the interpreter takes what the compiler refuses."""
    pytest.importorskip("triton")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    launches = launches_of_the_check(dtype, monkeypatch)
    for name, compiled in launches.compiled():
        assert compiled.asm["cubin"]
        if name in ("_moments_kernel", "_apply_kernel", "_sums_kernel", "_inputs_kernel", "_forward_kernel"):
            assert re.search(r"ld\.global\S*\.v4\.b32", compiled.asm["ptx"]), f"{name} loads less than 128 bits"
