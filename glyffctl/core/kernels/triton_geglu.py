"""GEGLU in Triton: hidden·gelu(gate), GELU with the error function as PyTorch's default."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from glyffctl.core.kernels.launch import OPTIONS

_ROWS, _COLUMNS = 8, 256


@triton.jit
def _normal_law(gate):
    """Φ(gate), the share of a standard normal below it."""
    return 0.5 * (1.0 + tl.erf(gate * 0.7071067811865476))


@triton.jit
def _tile(x_ptr, rows, W, BLOCK_R: tl.constexpr, BLOCK_W: tl.constexpr):
    """Row numbers, columns, mask, and the hidden and gate halves of this block, in float32."""
    row = tl.program_id(0).to(tl.int64) * BLOCK_R + tl.arange(0, BLOCK_R)
    column = tl.program_id(1) * BLOCK_W + tl.arange(0, BLOCK_W)
    mask = (row < rows)[:, None] & (column < W)[None, :]
    start = row[:, None] * (2 * W) + column[None, :]
    hidden = tl.load(x_ptr + start, mask=mask, other=0.0).to(tl.float32)
    gate = tl.load(x_ptr + start + W, mask=mask, other=0.0).to(tl.float32)
    return row, column, mask, start, hidden, gate


@triton.jit(do_not_specialize=["rows"])
def _forward_kernel(x_ptr, y_ptr, rows, W, BLOCK_R: tl.constexpr, BLOCK_W: tl.constexpr):
    """Reads 2 numbers and writes 1 for each of the result: 6 bytes in bfloat16."""
    row, column, mask, _, hidden, gate = _tile(x_ptr, rows, W, BLOCK_R, BLOCK_W)
    y = hidden * gate * _normal_law(gate)
    tl.store(y_ptr + row[:, None] * W + column[None, :], y.to(y_ptr.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["rows"])
def _backward_kernel(dy_ptr, x_ptr, dx_ptr, rows, W, BLOCK_R: tl.constexpr, BLOCK_W: tl.constexpr):
    """Reads 3 numbers and writes 2 for each of the result: 10 bytes in bfloat16."""
    row, column, mask, start, hidden, gate = _tile(x_ptr, rows, W, BLOCK_R, BLOCK_W)
    dy = tl.load(dy_ptr + row[:, None] * W + column[None, :], mask=mask, other=0.0).to(tl.float32)
    law = _normal_law(gate)
    density = 0.3989422804014327 * tl.exp(-0.5 * gate * gate)
    dgate = dy * hidden * (law + gate * density)
    tl.store(dx_ptr + start, (dy * gate * law).to(dx_ptr.dtype.element_ty), mask=mask)
    tl.store(dx_ptr + start + W, dgate.to(dx_ptr.dtype.element_ty), mask=mask)


def _sizes(x: Tensor) -> tuple[tuple[int, int], tuple[int, int, int, int]]:
    """The grid, and rows, W, BLOCK_R, BLOCK_W, for x (…, 2W)."""
    W = x.shape[-1] // 2
    rows = x.numel() // (2 * W)
    return (triton.cdiv(rows, _ROWS), triton.cdiv(W, _COLUMNS)), (rows, W, _ROWS, _COLUMNS)


@torch.library.custom_op("glyffctl::geglu", mutates_args=())
def geglu(x: torch.Tensor) -> torch.Tensor:
    """x (…, 2W) → (…, W) of the same type. See `layers.geglu`."""
    x, y = x.contiguous(), _fake(x)
    if y.numel():
        grid, sizes = _sizes(x)
        with torch.cuda.device_of(x):
            _forward_kernel[grid](x, y, *sizes, **OPTIONS)
    return y


@geglu.register_fake
def _fake(x: Tensor) -> Tensor:
    return x.new_empty(*x.shape[:-1], x.shape[-1] // 2)


@torch.library.custom_op("glyffctl::geglu_backward", mutates_args=())
def geglu_backward(dy: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The gradient like x (…, 2W), from that of the result (…, W)."""
    dy, x, dx = dy.contiguous(), x.contiguous(), _fake_backward(dy, x)
    if dy.numel():
        grid, sizes = _sizes(x)
        with torch.cuda.device_of(x):
            _backward_kernel[grid](dy, x, dx, *sizes, **OPTIONS)
    return dx


@geglu_backward.register_fake
def _fake_backward(dy: Tensor, x: Tensor) -> Tensor:
    del dy
    return x.new_empty(x.shape)


def _save(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
    del output
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, dy: Tensor) -> Tensor:
    return geglu_backward(dy, *ctx.saved_tensors)


geglu.register_autograd(_backward, setup_context=_save)
