"""The kernels against the plain code, values and gradients, on the device at hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from glyffctl.core.kernels.layers import plain_geglu, plain_group_norm
from glyffctl.core.kernels.triton_geglu import geglu
from glyffctl.core.kernels.triton_group_norm import group_norm
from glyffctl.core.kernels.triton_normal import normal as normal_by_kernel
from glyffctl.core.noise import normal

# Of the largest value. What a compiler gets wrong is wrong by far; the last bits are its own affair.
_TOLERANCES = {torch.float32: 1e-3, torch.bfloat16: 2**-6}
_EPS = 1e-5
_SEED = (1 << 63) + 12345  # its highest bit and both halves matter
# All are launched as for networks with widths of 16·n, in variants that these compile anyway, and in both heights of
# blocks (see `triton_group_norm`).
_CASES = (  # (B, C, H, W), modulation, SiLU
    ((3, 144, 12, 20), True, True),  # several blocks of rows and of channels, the last of them not full
    ((1, 80, 47, 96), False, True),  # so many blocks that the small passes loop over them
    ((2, 272, 8, 8), True, False),  # groups so wide that the small passes loop over them
    ((70, 80, 1, 1), False, False),  # so many pictures that their sum loops over them
)
_COUNT = 2512  # of normals: two blocks, the second not full
_WIDTH = 304  # of a GEGLU: the same


def mismatch(device: torch.device, dtype: torch.dtype) -> str | None:
    """Which kernel differs for `dtype` from the plain code on `device`, in one line, or None: all agree.

    Raises:
        Exception: whatever Triton, its compiler or the driver raise where they do not work.
    """
    if dtype not in _TOLERANCES:
        return f"the kernels are for float32 and bfloat16, not for {str(dtype).removeprefix('torch.')}"
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device.type, enabled=False):
        for name, error, tolerance in _errors(device, dtype):
            if not error <= tolerance:  # NaN is wrong, too
                return f"the kernel {name} is {error:.1e} off the plain code, allowed are {tolerance:.1e}"
    return None


def _errors(device: torch.device, dtype: torch.dtype) -> Iterator[tuple[str, float, float]]:
    """(what, largest error relative to the largest value, what is allowed) of all that is compared."""
    index = torch.tensor([0, 3, (1 << 40) + 5])
    plain = normal(_SEED, index, (_COUNT,), 7)  # on the CPU, where no kernel is ever used
    fast = normal_by_kernel(_SEED, index.to(device), 7, _COUNT)
    yield "normal", _distance(fast.cpu(), plain), _TOLERANCES[torch.float32]
    kind, tolerance = str(dtype).removeprefix("torch."), _TOLERANCES[dtype]
    for shape, film, silu in _CASES:
        for error in _group_norm_errors(shape, film, silu, dtype, device):
            yield f"group_norm for {kind}", error, tolerance
    x = _draw(1, (3, 5, 2 * _WIDTH)).to(device, dtype)
    for error in _distances(geglu, plain_geglu, [x]):
        yield f"geglu for {kind}", error, tolerance


def _group_norm_errors(
    shape: tuple[int, int, int, int], film: bool, silu: bool, dtype: torch.dtype, device: torch.device
) -> list[float]:
    B, C, _, _ = shape
    groups = math.gcd(32, C)
    x = 2 + _draw(2, shape).to(device, dtype).contiguous(memory_format=torch.channels_last)
    weight, bias = (1 + _draw(3, (C,)) / 2).to(device), _draw(4, (C,)).to(device)
    modulation = list(_draw(5, (B, 2 * C)).to(device, dtype).chunk(2, dim=1)) if film else []

    def fast(x: Tensor, weight: Tensor, bias: Tensor, *film: Tensor) -> Tensor:
        scale, shift = film or (None, None)
        return group_norm(x, weight, bias, scale, shift, groups, _EPS, silu)[0]

    def plain(x: Tensor, weight: Tensor, bias: Tensor, *film: Tensor) -> Tensor:
        def normed(x: Tensor) -> Tensor:
            # Not F.group_norm: see `group_norm.GroupNorm`.
            return torch.group_norm(x, groups, weight, bias, _EPS)

        return plain_group_norm(x, normed, *film, silu=silu)

    return _distances(fast, plain, [x, weight, bias, *modulation])


def _draw(stream: int, shape: tuple[int, ...]) -> Tensor:
    """Standard normal numbers on the CPU."""
    return normal(1, torch.zeros(1, dtype=torch.int64), shape, stream)[0]


def _distances(fast: Callable[..., Tensor], plain: Callable[..., Tensor], inputs: list[Tensor]) -> list[float]:
    """The errors of the value and of all gradients of `fast`, where `plain` gets the same numbers in float32."""
    answers = []
    for function, wide in ((fast, False), (plain, True)):
        leaves = [(x.float() if wide else x).detach().clone().requires_grad_() for x in inputs]
        y = function(*leaves)
        direction = _draw(6, tuple(y.shape)).to(y.device, inputs[0].dtype).to(y.dtype)
        answers.append([y.detach(), *torch.autograd.grad(y, leaves, direction)])
    return [_distance(one, other) for one, other in zip(*answers, strict=True)]


def _distance(one: Tensor, other: Tensor) -> float:
    """The largest difference, relative to the largest value."""
    return float((one.float() - other).abs().max() / other.abs().max().clamp(min=1e-3))
