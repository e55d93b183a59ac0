"""The Triton kernels on the CPU, by Triton's interpreter: `test_kernels.py` runs this file in a process of its own.

Triton decides when it is imported whether it interprets, so it must not have been imported before.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glyffctl.core import noise
from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.kernels import check, layers, triton_group_norm
from glyffctl.core.kernels.triton_geglu import geglu
from glyffctl.core.kernels.triton_group_norm import group_norm
from glyffctl.core.kernels.triton_normal import normal, normal_operator
from glyffctl.core.networks.network import channels_last
from glyffctl.core.networks.unet import UNet, UNetConfig

# exp(−u) is infinite for u < −88, and 1/(1 + ∞) the right 0; numpy warns of it, a GPU does not.
pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered in exp")
CPU = torch.device("cpu")


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks so small that small pictures have many, and the passes over them loop."""
    monkeypatch.setattr(triton_group_norm, "_ROWS_MOMENTS", 8)
    monkeypatch.setattr(triton_group_norm, "_ROWS", 4)
    monkeypatch.setattr(triton_group_norm, "_FEW_ROWS", 4)
    monkeypatch.setattr(triton_group_norm, "_SMALL", (1, 16))
    monkeypatch.setattr(triton_group_norm, "_CHANNELS", 8)


def draw(seed: int, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


@dataclass
class Case:
    """Inputs of a group norm, with or without modulation."""

    x: Tensor
    film: bool
    silu: bool

    @property
    def inputs(self) -> list[Tensor]:
        B, C = self.x.shape[:2]
        modulation = [draw(3, B, C, dtype=self.x.dtype), draw(4, B, C, dtype=self.x.dtype)] if self.film else []
        return [self.x, 1 + draw(1, C) / 2, draw(2, C), *modulation]

    def by_kernel(self, x: Tensor, weight: Tensor, bias: Tensor, *film: Tensor) -> Tensor:
        scale, shift = film or (None, None)
        return group_norm(x, weight, bias, scale, shift, math.gcd(32, x.shape[1]), 1e-5, self.silu)[0]

    def plain(self, x: Tensor, weight: Tensor, bias: Tensor, *film: Tensor) -> Tensor:
        y = torch.group_norm(x, math.gcd(32, x.shape[1]), weight, bias, 1e-5)
        if film:
            y = y * (1 + film[0][:, :, None, None]) + film[1][:, :, None, None]
        return F.silu(y) if self.silu else y


def gradients(function: Any, inputs: list[Tensor], direction: Tensor) -> list[Tensor]:
    """The value and the gradient of every input."""
    leaves = [tensor.detach().clone(memory_format=torch.preserve_format).requires_grad_() for tensor in inputs]
    y = function(*leaves)
    return [y.detach(), *torch.autograd.grad(y, leaves, direction.to(y.dtype))]


def assert_close(ours: list[Tensor], theirs: list[Tensor], tolerance: float) -> None:
    for place, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        assert one.shape == other.shape
        allowed = tolerance if one.dtype == torch.float32 else 2.0**-7  # the interpreter cuts off instead of rounding
        error = (one.double() - other.double()).abs()
        assert float((error / (other.double().abs() + other.double().abs().max() / 4)).max()) < allowed, place


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(
    ("dtype", "shape", "film", "silu"),
    [
        # 4 groups of 3; 9 rows, blocks of 8 and of 4; a block of 8 channels and one of 4
        (torch.float32, (2, 12, 3, 3), True, True),
        (torch.bfloat16, (2, 12, 3, 3), True, True),
        (torch.float32, (1, 38, 2, 3), False, True),  # 2 groups of 19: more than a block of the small passes
        (torch.float32, (2, 10, 1, 1), True, True),
        (torch.float32, (2, 6, 2, 3), True, False),
        (torch.bfloat16, (1, 8, 3, 3), False, False),
    ],
)
def test_group_norm_is_the_plain_one(
    dtype: torch.dtype, shape: tuple[int, int, int, int], film: bool, silu: bool
) -> None:
    case = Case(draw(0, *shape, dtype=dtype), film, silu)
    direction = draw(5, *shape, dtype=dtype)
    ours = gradients(case.by_kernel, case.inputs, direction)
    theirs = gradients(case.plain, [tensor.double() for tensor in case.inputs], direction)
    assert [tensor.dtype for tensor in ours] == [dtype, *(tensor.dtype for tensor in case.inputs)]
    assert ours[0].is_contiguous(memory_format=torch.channels_last)
    assert ours[1].is_contiguous(memory_format=torch.channels_last)
    assert_close(ours, theirs, 2e-5)


@pytest.mark.thorough
def test_real_block_sizes_too() -> None:
    case = Case(draw(0, 2, 72, 9, 17), film=True, silu=True)
    direction = draw(5, 2, 72, 9, 17)
    theirs = gradients(case.plain, [tensor.double() for tensor in case.inputs], direction)
    assert_close(gradients(case.by_kernel, case.inputs, direction), theirs, 2e-5)


@pytest.mark.usefixtures("small_blocks")
def test_a_large_mean_costs_the_variance_nothing() -> None:
    """A difference of mean squares would lose four of seven digits."""
    x = 100 + draw(0, 2, 12, 3, 7)
    _, means, rstd = group_norm(x, torch.ones(12), torch.zeros(12), None, None, 4, 1e-5, False)
    groups = x.double().reshape(2, 4, -1)
    exact = (groups.var(2, correction=0) + 1e-5).rsqrt()
    assert torch.allclose(means.double(), groups.mean(2).repeat_interleave(3, dim=1), rtol=3e-7, atol=0)
    assert torch.allclose(rstd.double(), exact.repeat_interleave(3, dim=1), rtol=3e-6, atol=0)


@pytest.mark.thorough
@pytest.mark.usefixtures("small_blocks")
def test_any_order_of_memory_gives_the_same_bits() -> None:
    case = Case(draw(0, 2, 12, 5, 4), film=True, silu=True)
    x, weight, bias, scale, shift = case.inputs
    direction = draw(5, 2, 12, 5, 4)
    expected = gradients(case.by_kernel, case.inputs, direction)
    wide = draw(6, 2, 12, 5, 8)
    wide[..., ::2] = x
    both = torch.cat([scale, shift], dim=1)
    for given, modulation, back in (
        (x.to(memory_format=torch.channels_last), both.chunk(2, dim=1), direction.expand(2, 12, 5, 4)),
        (
            wide[..., ::2],
            (scale.T.contiguous().T, shift.T.contiguous().T),
            direction.to(memory_format=torch.channels_last),
        ),
    ):
        leaves = [tensor.detach().requires_grad_() for tensor in (given, weight, bias, *modulation)]
        y = case.by_kernel(*leaves)
        for one, other in zip([y, *torch.autograd.grad(y, leaves, back)], expected, strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(2, 3, 5, 2 * 11), (1, 2 * 300)])
def test_geglu_is_the_plain_one(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x, direction = 2 * draw(0, *shape, dtype=dtype), draw(1, *shape[:-1], shape[-1] // 2, dtype=dtype)
    expected = gradients(layers.plain_geglu, [x.double()], direction)
    assert_close(gradients(geglu, [x], direction), expected, 1e-6)
    turned = x.transpose(0, 1).contiguous().transpose(0, 1).requires_grad_()
    y = geglu(turned)
    assert torch.equal(y, geglu(x))
    assert_close([y.detach(), *torch.autograd.grad(y, turned, direction)], expected, 1e-6)


@pytest.mark.parametrize("seed", [0, 1, 7 << 32, (1 << 63) + 5, -3])
def test_normals_come_from_the_same_words(seed: int) -> None:
    index = torch.tensor([0, 1, (1 << 40) + 3, (1 << 63) - 1])
    expected = noise.normal(seed, index, (5, 419), 17)  # 2,095 numbers: two blocks, the last counter not used up
    assert float((normal(seed, index, 17, 5 * 419).reshape(4, 5, 419) - expected).abs().max()) < 2e-6


def test_empty_batches() -> None:
    norm = nn.GroupNorm(4, 8)
    y, mean, rstd = group_norm(torch.zeros(0, 8, 2, 2), norm.weight, norm.bias, None, None, 4, 1e-5, True)
    assert (y.shape, mean.shape, rstd.shape) == ((0, 8, 2, 2), (0, 8), (0, 8))
    y.sum().backward()
    assert norm.weight.grad is not None
    assert not norm.weight.grad.any()
    assert geglu(torch.zeros(0, 6)).shape == (0, 3)
    assert normal(0, torch.zeros(0, dtype=torch.int64), 0, 5).shape == (0, 5)


@pytest.mark.thorough
@pytest.mark.usefixtures("small_blocks")
def test_they_are_operators_as_torch_wants_them() -> None:
    x = draw(0, 2, 6, 3, 2).requires_grad_()
    weight, bias = draw(1, 6).requires_grad_(), draw(2, 6).requires_grad_()
    scale, shift = draw(3, 2, 6).requires_grad_(), draw(4, 2, 6).requires_grad_()
    torch.library.opcheck(group_norm, (x, weight, bias, scale, shift, 2, 1e-5, True))
    torch.library.opcheck(group_norm, (x, weight, bias, None, None, 2, 1e-5, False))
    torch.library.opcheck(geglu, (draw(0, 3, 8).requires_grad_(),))
    torch.library.opcheck(normal_operator, (3, torch.tensor([1, 5]), 2, 7))


CONFIG = UNetConfig(size=16, patch=4, channels=(10,), attention=(), head_width=10, text_width=6, context_width=8)


def unet_gradients(network: UNet, autocast: bool = False) -> dict[str, Tensor]:
    """The output of a U-Net and the gradients of its parameters."""
    z = draw(0, 2, 1, 16, 16)
    mask = torch.tensor([[False, False], [True, True]])
    sigma = torch.tensor([0.5, 2.0], dtype=torch.float64)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        y = network(z, sigma, network.encode(Condition(draw(1, 2, 2, 6) * mask[..., None], mask)))
    names, parameters = zip(*network.named_parameters(), strict=True)
    found = torch.autograd.grad((y.float() * draw(2, 2, 1, 16, 16)).sum(), parameters)
    return {"output": y.detach(), **dict(zip(names, found, strict=True))}


@pytest.fixture
def network() -> UNet:
    torch.manual_seed(0)
    network = channels_last(UNet(CONFIG))
    with torch.no_grad():
        for parameter in network.parameters():  # off its start, where zeros and ones would hide half of it
            parameter.add_(0.05 * torch.randn(parameter.shape))
    return network


@pytest.mark.thorough
@pytest.mark.parametrize("autocast", [False, True])
def test_a_u_net_with_kernels_is_the_u_net(network: UNet, autocast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = unet_gradients(network, autocast)
    exact = unet_gradients(network) if autocast else plain
    used = set()

    def by_kernel(x: Tensor) -> bool:
        used.add(x.dtype)
        return True

    monkeypatch.setattr(layers, "_by_kernel", by_kernel)
    ours = unet_gradients(network, autocast)
    assert used == ({torch.bfloat16} if autocast else {torch.float32})
    for name, expected in exact.items():
        error, usual = (float((found[name] - expected).norm() / expected.norm()) for found in (ours, plain))
        assert error < (1.5 * usual + 0.01 if autocast else 1e-4), name


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # torch asks itself
def test_a_u_net_with_kernels_compiles_whole(network: UNet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "_by_kernel", lambda _: True)
    expected = unet_gradients(network)
    network.compile(backend="aot_eager", fullgraph=True)
    for name, found in unet_gradients(network).items():
        assert torch.allclose(found, expected[name], rtol=1e-4, atol=1e-5), name


@pytest.mark.thorough
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_check_finds_nothing_wrong_here(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "_CASES", check._CASES[::2])  # the others are a minute of interpreting
    assert check.mismatch(CPU, dtype) is None


def test_the_check_is_for_two_types() -> None:
    assert "float64" in (check.mismatch(CPU, torch.float64) or "")


def wrong_normals(seed: int, index: Tensor, stream: int, count: int) -> Tensor:
    return normal(seed + 1, index, stream, count)


def wrong_gradient(x: Tensor) -> Tensor:
    return geglu(x.detach()) + 0 * x.chunk(2, dim=-1)[0]


def not_finite(*arguments: Any) -> tuple[Tensor]:
    return (group_norm(*arguments)[0] * math.nan,)


@pytest.mark.parametrize(
    ("name", "wrong", "told"),
    [
        ("normal_by_kernel", wrong_normals, "normal"),
        ("geglu", wrong_gradient, "geglu"),
        ("group_norm", not_finite, "group_norm"),
    ],
)
def test_the_check_finds_a_wrong_kernel(name: str, wrong: Any, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "_CASES", [((1, 16, 2, 2), True, True)] if name == "group_norm" else [])
    monkeypatch.setattr(check, name, wrong)
    reason = check.mismatch(CPU, torch.float32)
    assert reason is not None
    assert told in reason
    assert "\n" not in reason
