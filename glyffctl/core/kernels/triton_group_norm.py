"""Group norm, FiLM and SiLU in Triton, for the memory order channels_last.

A picture is P = H·W rows of C numbers. Groups of 2 to 14 channels would waste most of each memory transaction, so a
program owns a block of rows and a wide block of channels whatever its groups, and leaves partial results for each
channel; a small pass puts together those of a group, and writes the result once for each channel, so that no reader
has to know of groups. No atomics: the order of every sum is fixed, and the same input gives the same bits.

The variance is never a difference of large numbers: each block takes its own mean first, and blocks are combined as
Chan, Golub and LeVeque do (1983, "Algorithms for computing the sample variance"), for many blocks at once.

With n = (x − mean)·rstd, u = (n·weight + bias)·(1 + scale) + shift, y = silu(u) and du = dy·silu'(u), all gradients
come from two sums over the rows of each picture and channel, A = Σ du and N = Σ du·n:

    dshift = A   dscale = weight·N + bias·A   dweight = Σ_b (1 + scale)·N   dbias = Σ_b (1 + scale)·A
    dx = rstd·(weight·(1 + scale)·du − mean_g(weight·(1 + scale)·A) − n·mean_g(weight·(1 + scale)·N))

where mean_g sums over the channels of a group and divides by their values, P·C/groups.

Each variant of a kernel takes Triton some half a second to compile, one after the other, before the first step. So
whether there is FiLM and SiLU, the sizes of groups and how many blocks there are are arguments at run time, and there
are two heights of blocks. What C is divisible by stays known when compiling: it makes loads of 128 bits.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from glyffctl.core.kernels.launch import OPTIONS

# 64 channels of bfloat16 are 128 bytes, one transaction. Rows are as many as registers hold: what a program does once,
# shuffles of a sum and loads for each channel, costs as much as what it does for 32 values a thread. Few rows get
# blocks of few.
_ROWS_MOMENTS, _ROWS, _FEW_ROWS, _CHANNELS, _VALUES_OF_A_WARP = 256, 128, 64, 64, 1024
_SMALL = (16, 16)  # blocks of rows and channels of a group that a program of the small passes holds at a time


@triton.jit
def _tile(P, C, chunks, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr):
    """The picture, the channels, the places in memory and the mask of this program's block of rows and channels."""
    picture, chunk = tl.program_id(0) // chunks, tl.program_id(0) % chunks
    rows = chunk * BLOCK_P + tl.arange(0, BLOCK_P)
    channels = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    start = picture.to(tl.int64) * P  # whole tensors may have more than 2³¹ values
    places = (start + rows)[:, None] * C + channels[None, :]
    return picture, channels, places, (rows < P)[:, None] & (channels < C)[None, :]


@triton.jit(do_not_specialize=["P", "chunks"])
def _moments_kernel(x_ptr, mean_ptr, square_ptr, P, C, chunks, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr):
    """Mean and squared deviations of each block of rows and channel: reads x, writes 8/BLOCK_P bytes a value."""
    _, channels, places, mask = _tile(P, C, chunks, BLOCK_P, BLOCK_C)
    x = tl.load(x_ptr + places, mask=mask, other=0.0).to(tl.float32)
    count = tl.minimum(BLOCK_P, P - (tl.program_id(0) % chunks) * BLOCK_P).to(tl.float32)
    mean = tl.sum(x, axis=0) / count
    away = tl.where(mask, x - mean[None, :], 0.0)
    out = tl.program_id(0).to(tl.int64) * C + channels
    tl.store(mean_ptr + out, mean, mask=channels < C)
    tl.store(square_ptr + out, tl.sum(away * away, axis=0), mask=channels < C)


@triton.jit(do_not_specialize=["P", "width", "chunks", "block_rows"])
def _statistics_kernel(
    mean_ptr, square_ptr, group_mean_ptr, group_rstd_ptr, P, C, width, chunks, block_rows, eps,
    BLOCK_S: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Mean and 1/deviation of a group of `width` channels from those of its blocks: reads 8/block_rows bytes a value.

    Twice, which the caches serve: the mean must be known before deviations from it are summed.
    """
    picture, group = tl.program_id(0).to(tl.int64), tl.program_id(1)
    total = tl.zeros([BLOCK_S, BLOCK_D], tl.float32)
    for s in range(0, chunks, BLOCK_S):
        chunk = s + tl.arange(0, BLOCK_S)
        count = tl.minimum(block_rows, P - chunk * block_rows).to(tl.float32)
        for d in range(0, width, BLOCK_D):
            inside = d + tl.arange(0, BLOCK_D)
            mask = (chunk < chunks)[:, None] & (inside < width)[None, :]
            places = (picture * chunks + chunk)[:, None] * C + (group * width + inside)[None, :]
            total += tl.load(mean_ptr + places, mask=mask, other=0.0) * (count / P)[:, None]
    mean = tl.sum(tl.sum(total, axis=1), axis=0) / width
    total = tl.zeros([BLOCK_S, BLOCK_D], tl.float32)
    for s in range(0, chunks, BLOCK_S):
        chunk = s + tl.arange(0, BLOCK_S)
        count = tl.minimum(block_rows, P - chunk * block_rows).to(tl.float32)
        for d in range(0, width, BLOCK_D):
            inside = d + tl.arange(0, BLOCK_D)
            mask = (chunk < chunks)[:, None] & (inside < width)[None, :]
            places = (picture * chunks + chunk)[:, None] * C + (group * width + inside)[None, :]
            away = tl.load(mean_ptr + places, mask=mask, other=0.0) - mean
            squares = tl.load(square_ptr + places, mask=mask, other=0.0) + count[:, None] * away * away
            total += tl.where(mask, squares, 0.0) / P
    variance = tl.sum(tl.sum(total, axis=1), axis=0) / width
    nothing = tl.zeros([BLOCK_D], tl.float32)
    for d in range(0, width, BLOCK_D):
        inside = d + tl.arange(0, BLOCK_D)
        out = picture * C + group * width + inside
        tl.store(group_mean_ptr + out, nothing + mean, mask=inside < width)
        tl.store(group_rstd_ptr + out, nothing + 1.0 / tl.sqrt(variance + eps), mask=inside < width)


@triton.jit
def _affine(
    picture, channels, C, mean_ptr, rstd_ptr, weight_ptr, bias_ptr, scale_ptr, shift_ptr, scale_row, shift_row, film,
):  # fmt: skip
    """What happens to a channel: mean, 1/deviation, and the factor and summand after them."""
    mask = channels < C
    place = picture.to(tl.int64) * C + channels
    mean, rstd = tl.load(mean_ptr + place, mask=mask, other=0.0), tl.load(rstd_ptr + place, mask=mask, other=0.0)
    factor = tl.load(weight_ptr + channels, mask=mask, other=0.0).to(tl.float32)
    summand = tl.load(bias_ptr + channels, mask=mask, other=0.0).to(tl.float32)
    row, modulated = picture.to(tl.int64), channels < film * C  # 0 without FiLM: nothing is read, and 0 stands for it
    scale = 1.0 + tl.load(scale_ptr + row * scale_row + channels, mask=modulated, other=0.0).to(tl.float32)
    shift = tl.load(shift_ptr + row * shift_row + channels, mask=modulated, other=0.0).to(tl.float32)
    return mean, rstd, factor * scale, summand * scale + shift


@triton.jit(do_not_specialize=["P", "chunks", "film", "silu"])
def _apply_kernel(
    x_ptr, y_ptr, mean_ptr, rstd_ptr, weight_ptr, bias_ptr, scale_ptr, shift_ptr, scale_row, shift_row,
    P, C, chunks, film, silu, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """y from x and the statistics: reads x once and writes y once, 4 bytes a value in bfloat16."""
    picture, channels, places, mask = _tile(P, C, chunks, BLOCK_P, BLOCK_C)
    mean, rstd, factor, summand = _affine(
        picture, channels, C, mean_ptr, rstd_ptr, weight_ptr, bias_ptr, scale_ptr, shift_ptr,
        scale_row, shift_row, film,
    )  # fmt: skip
    x = tl.load(x_ptr + places, mask=mask, other=0.0).to(tl.float32)
    u = (x - mean[None, :]) * (rstd * factor)[None, :] + summand[None, :]
    u = tl.where(silu != 0, u * tl.sigmoid(u), u)
    tl.store(y_ptr + places, u.to(y_ptr.dtype.element_ty), mask=mask)


@triton.jit
def _slope(x, dy, mask, mean, rstd, factor, summand, silu):
    """n and du of the module's docstring, both 0 outside."""
    n = tl.where(mask, (x.to(tl.float32) - mean[None, :]) * rstd[None, :], 0.0)
    du = dy.to(tl.float32)
    u = n * factor[None, :] + summand[None, :]
    gate = tl.sigmoid(u)
    return n, tl.where(silu != 0, du * gate * (1.0 + u * (1.0 - gate)), du)


@triton.jit(do_not_specialize=["P", "chunks", "film", "silu"])
def _sums_kernel(
    x_ptr, dy_ptr, a_ptr, n_ptr, mean_ptr, rstd_ptr, weight_ptr, bias_ptr, scale_ptr, shift_ptr, scale_row, shift_row,
    P, C, chunks, film, silu, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """A and N of each block of rows and channel: reads x and dy, writes 8/BLOCK_P bytes a value."""
    picture, channels, places, mask = _tile(P, C, chunks, BLOCK_P, BLOCK_C)
    mean, rstd, factor, summand = _affine(
        picture, channels, C, mean_ptr, rstd_ptr, weight_ptr, bias_ptr, scale_ptr, shift_ptr,
        scale_row, shift_row, film,
    )  # fmt: skip
    x, dy = tl.load(x_ptr + places, mask=mask, other=0.0), tl.load(dy_ptr + places, mask=mask, other=0.0)
    n, du = _slope(x, dy, mask, mean, rstd, factor, summand, silu)
    out = tl.program_id(0).to(tl.int64) * C + channels
    tl.store(a_ptr + out, tl.sum(du, axis=0), mask=channels < C)
    tl.store(n_ptr + out, tl.sum(du * n, axis=0), mask=channels < C)


@triton.jit(do_not_specialize=["P", "width", "chunks", "scale_row", "film"])
def _group_sums_kernel(
    a_ptr, n_ptr, wa_ptr, wn_ptr, group_a_ptr, group_n_ptr, dscale_ptr, dshift_ptr,
    weight_ptr, bias_ptr, scale_ptr, scale_row, P, C, width, chunks, film,
    BLOCK_S: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """From A and N of blocks to those of a picture: dscale, dshift, the summands of dweight and dbias, and mean_g."""
    picture, group = tl.program_id(0).to(tl.int64), tl.program_id(1)
    total_a, total_n = tl.zeros([BLOCK_D], tl.float32), tl.zeros([BLOCK_D], tl.float32)
    for d in range(0, width, BLOCK_D):
        inside = d + tl.arange(0, BLOCK_D)
        channels = group * width + inside
        block_a, block_n = tl.zeros([BLOCK_S, BLOCK_D], tl.float32), tl.zeros([BLOCK_S, BLOCK_D], tl.float32)
        for s in range(0, chunks, BLOCK_S):
            chunk = s + tl.arange(0, BLOCK_S)
            mask = (chunk < chunks)[:, None] & (inside < width)[None, :]
            places = (picture * chunks + chunk)[:, None] * C + channels[None, :]
            block_a += tl.load(a_ptr + places, mask=mask, other=0.0)
            block_n += tl.load(n_ptr + places, mask=mask, other=0.0)
        a, n = tl.sum(block_a, axis=0), tl.sum(block_n, axis=0)
        some = inside < width
        modulated = inside < film * width
        weight = tl.load(weight_ptr + channels, mask=some, other=0.0).to(tl.float32)
        bias = tl.load(bias_ptr + channels, mask=modulated, other=0.0).to(tl.float32)
        scale = 1.0 + tl.load(scale_ptr + picture * scale_row + channels, mask=modulated, other=0.0).to(tl.float32)
        out = picture * C + channels
        tl.store(dscale_ptr + out, (weight * n + bias * a).to(dscale_ptr.dtype.element_ty), mask=modulated)
        tl.store(dshift_ptr + out, a.to(dshift_ptr.dtype.element_ty), mask=modulated)
        a, n = a * scale, n * scale
        tl.store(wa_ptr + out, a, mask=some)
        tl.store(wn_ptr + out, n, mask=some)
        total_a += weight * a
        total_n += weight * n
    values, nothing = (P * width).to(tl.float32), tl.zeros([BLOCK_D], tl.float32)
    mean_a, mean_n = tl.sum(total_a, axis=0) / values, tl.sum(total_n, axis=0) / values
    for d in range(0, width, BLOCK_D):
        inside = d + tl.arange(0, BLOCK_D)
        out = picture * C + group * width + inside
        tl.store(group_a_ptr + out, nothing + mean_a, mask=inside < width)
        tl.store(group_n_ptr + out, nothing + mean_n, mask=inside < width)


@triton.jit(do_not_specialize=["B"])
def _weights_kernel(wa_ptr, wn_ptr, dweight_ptr, dbias_ptr, B, C, BLOCK_B: tl.constexpr, BLOCK_C: tl.constexpr):
    """dweight and dbias, sums over the batch: reads 8 bytes for each picture and channel."""
    channels = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    total_a, total_n = tl.zeros([BLOCK_B, BLOCK_C], tl.float32), tl.zeros([BLOCK_B, BLOCK_C], tl.float32)
    for b in range(0, B, BLOCK_B):
        pictures = b + tl.arange(0, BLOCK_B)
        mask = (pictures < B)[:, None] & (channels < C)[None, :]
        places = pictures.to(tl.int64)[:, None] * C + channels[None, :]
        total_a += tl.load(wa_ptr + places, mask=mask, other=0.0)
        total_n += tl.load(wn_ptr + places, mask=mask, other=0.0)
    dweight, dbias = tl.sum(total_n, axis=0), tl.sum(total_a, axis=0)
    tl.store(dweight_ptr + channels, dweight.to(dweight_ptr.dtype.element_ty), mask=channels < C)
    tl.store(dbias_ptr + channels, dbias.to(dbias_ptr.dtype.element_ty), mask=channels < C)


@triton.jit(do_not_specialize=["P", "chunks", "film", "silu"])
def _inputs_kernel(
    x_ptr, dy_ptr, dx_ptr, group_a_ptr, group_n_ptr, mean_ptr, rstd_ptr, weight_ptr, bias_ptr, scale_ptr, shift_ptr,
    scale_row, shift_row, P, C, chunks, film, silu, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """dx: reads x and dy once and writes dx once, 6 bytes a value in bfloat16."""
    picture, channels, places, mask = _tile(P, C, chunks, BLOCK_P, BLOCK_C)
    mean, rstd, factor, summand = _affine(
        picture, channels, C, mean_ptr, rstd_ptr, weight_ptr, bias_ptr, scale_ptr, shift_ptr,
        scale_row, shift_row, film,
    )  # fmt: skip
    x, dy = tl.load(x_ptr + places, mask=mask, other=0.0), tl.load(dy_ptr + places, mask=mask, other=0.0)
    n, du = _slope(x, dy, mask, mean, rstd, factor, summand, silu)
    place = picture.to(tl.int64) * C + channels
    mean_a = tl.load(group_a_ptr + place, mask=channels < C, other=0.0)
    mean_n = tl.load(group_n_ptr + place, mask=channels < C, other=0.0)
    dx = rstd[None, :] * (factor[None, :] * du - mean_a[None, :] - n * mean_n[None, :])
    tl.store(dx_ptr + places, dx.to(dx_ptr.dtype.element_ty), mask=mask)


def _blocks(P: int, rows: int) -> tuple[int, int, int]:
    """(chunks, BLOCK_P, warps) for pictures of P rows, in blocks of `rows`, or of few if there are not more."""
    block_p = rows if P > _FEW_ROWS else _FEW_ROWS
    return triton.cdiv(P, block_p), block_p, max(1, min(8, block_p * _CHANNELS // _VALUES_OF_A_WARP))


def _rows(x: Tensor | None, default: Tensor) -> tuple[Tensor, int]:
    """(B, C) with unit stride along C, and its stride along B; for None `default`, of its type and never read."""
    if x is None:
        return default, 0
    x = x if x.stride(1) == 1 else x.contiguous()
    return x, x.stride(0)


@torch.library.custom_op("glyffctl::group_norm", mutates_args=())
def group_norm(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    scale: torch.Tensor | None,
    shift: torch.Tensor | None,
    groups: int,
    eps: float,
    silu: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """y like x (B, C, H, W), channels_last; mean and 1/deviation of each channel's group, (B, C) float32.

    See `layers.group_norm` for the arguments.
    """
    x = x.contiguous(memory_format=torch.channels_last)
    B, C, P = x.shape[0], x.shape[1], x.shape[2] * x.shape[3]
    y, mean, rstd = _fake(x, weight, bias, scale, shift, groups, eps, silu)
    if not x.numel():
        return y, mean, rstd
    scale_, scale_row = _rows(scale, x)
    shift_, shift_row = _rows(shift, x)
    with torch.cuda.device_of(x):
        chunks, block_p, warps = _blocks(P, _ROWS_MOMENTS)
        means, squares = x.new_empty(2, B, chunks, C, dtype=torch.float32).unbind()
        _moments_kernel[B * chunks, triton.cdiv(C, _CHANNELS)](
            x, means, squares, P, C, chunks, block_p, _CHANNELS, num_warps=warps, **OPTIONS
        )
        _statistics_kernel[B, groups](
            means, squares, mean, rstd, P, C, C // groups, chunks, block_p, eps, *_SMALL, **OPTIONS
        )
        chunks, block_p, warps = _blocks(P, _ROWS)
        _apply_kernel[B * chunks, triton.cdiv(C, _CHANNELS)](
            x, y, mean, rstd, weight, bias, scale_, shift_, scale_row, shift_row, P, C, chunks,
            int(scale is not None), int(silu), block_p, _CHANNELS, num_warps=warps, **OPTIONS,
        )  # fmt: skip
    return y, mean, rstd


@group_norm.register_fake
def _fake(
    x: Tensor, weight: Tensor, bias: Tensor, scale: Tensor | None, shift: Tensor | None,
    groups: int, eps: float, silu: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    del weight, bias, scale, shift, groups, eps, silu
    y = torch.empty_like(x, memory_format=torch.channels_last)
    mean, rstd = (x.new_empty(x.shape[0], x.shape[1], dtype=torch.float32) for _ in range(2))
    return y, mean, rstd


@torch.library.custom_op("glyffctl::group_norm_backward", mutates_args=())
def group_norm_backward(
    dy: torch.Tensor,
    x: torch.Tensor,
    mean: torch.Tensor,
    rstd: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    scale: torch.Tensor | None,
    shift: torch.Tensor | None,
    groups: int,
    silu: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients like x, weight, bias, scale and shift; the last two are empty without modulation."""
    x, dy = (tensor.contiguous(memory_format=torch.channels_last) for tensor in (x, dy))
    B, C, P = x.shape[0], x.shape[1], x.shape[2] * x.shape[3]
    dx, dweight, dbias, dscale, dshift = _fake_backward(dy, x, mean, rstd, weight, bias, scale, shift, groups, silu)
    if not x.numel():
        return dx, dweight.zero_(), dbias.zero_(), dscale.zero_(), dshift.zero_()
    film, width = int(scale is not None), C // groups
    chunks, block_p, warps = _blocks(P, _ROWS)
    a, n = x.new_empty(2, B, chunks, C, dtype=torch.float32).unbind()
    wa, wn = x.new_empty(2, B, C, dtype=torch.float32).unbind()
    group_a, group_n = torch.empty_like(mean), torch.empty_like(mean)
    scale_, scale_row = _rows(scale, x)
    shift_, shift_row = _rows(shift, x)
    grid = (B * chunks, triton.cdiv(C, _CHANNELS))
    common = (
        mean, rstd, weight, bias, scale_, shift_, scale_row, shift_row,
        P, C, chunks, film, int(silu), block_p, _CHANNELS,
    )  # fmt: skip
    with torch.cuda.device_of(x):
        _sums_kernel[grid](x, dy, a, n, *common, num_warps=warps, **OPTIONS)
        _group_sums_kernel[B, groups](
            a, n, wa, wn, group_a, group_n, dscale, dshift, weight, bias, scale_, scale_row, P, C, width, chunks,
            film, *_SMALL, **OPTIONS,
        )  # fmt: skip
        _weights_kernel[triton.cdiv(C, 16),](wa, wn, dweight, dbias, B, C, 64, 16, **OPTIONS)
        _inputs_kernel[grid](x, dy, dx, group_a, group_n, *common, num_warps=warps, **OPTIONS)
    return dx, dweight, dbias, dscale, dshift


@group_norm_backward.register_fake
def _fake_backward(
    dy: Tensor, x: Tensor, mean: Tensor, rstd: Tensor, weight: Tensor, bias: Tensor,
    scale: Tensor | None, shift: Tensor | None, groups: int, silu: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    del dy, mean, rstd, groups, silu
    dx = torch.empty_like(x, memory_format=torch.channels_last)
    dscale, dshift = (x.new_empty(0) if part is None else part.new_empty(part.shape) for part in (scale, shift))
    return dx, weight.new_empty(weight.shape), bias.new_empty(bias.shape), dscale, dshift


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    x, weight, bias, scale, shift, ctx.groups, _, ctx.silu = inputs
    ctx.set_materialize_grads(False)  # mean and deviation have none
    ctx.save_for_backward(x, output[1], output[2], weight, bias, scale, shift)


def _backward(ctx: Any, dy: Tensor, dmean: Tensor, drstd: Tensor) -> tuple[Tensor | None, ...]:
    del dmean, drstd  # nobody uses them but this function
    found: list[Tensor | None] = [*group_norm_backward(dy, *ctx.saved_tensors, ctx.groups, ctx.silu)]
    if ctx.saved_tensors[5] is None:
        found[3:] = [None, None]
    return *found, None, None, None


group_norm.register_autograd(_backward, setup_context=_save)
