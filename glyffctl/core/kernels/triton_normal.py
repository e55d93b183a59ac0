"""The normal numbers of `core/noise.py` in Triton, whose Philox is the same Philox4x32-10."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from glyffctl.core.kernels.launch import OPTIONS

_BLOCK = 512  # counters of a program, four numbers each


@triton.jit
def _pair(radius_word, angle_word):
    """Two normals from two words, by Box and Muller's transform in float32."""
    radius = tl.sqrt(tl.log((radius_word.to(tl.float32) + 0.5) * 2.3283064365386963e-10) * -2.0)
    angle = (angle_word.to(tl.float32) + 0.5) * 1.4629180792671596e-09  # 2⁻³¹·π
    return radius * tl.cos(angle), radius * tl.sin(angle)


@triton.jit(do_not_specialize=["seed", "stream", "blocks"])
def _normal_kernel(index_ptr, out_ptr, seed: tl.int64, stream, count, blocks, BLOCK: tl.constexpr):
    """One sample's normals: writes 4 bytes for each and reads 8 for each sample."""
    sample, chunk = (tl.program_id(0) // blocks).to(tl.int64), tl.program_id(0) % blocks
    index = tl.load(index_ptr + sample)
    counter = (chunk * BLOCK + tl.arange(0, BLOCK)).to(tl.uint32)
    zero = counter * 0
    low, high = zero + (index & 0xFFFFFFFF).to(tl.uint32), zero + ((index >> 32) & 0xFFFFFFFF).to(tl.uint32)
    w0, w1, w2, w3 = tl.philox(seed, counter, zero + stream.to(tl.uint32), low, high)
    n0, n1 = _pair(w0, w1)
    n2, n3 = _pair(w2, w3)
    # The order of memory is n0 n1 n2 n3 of a counter, then those of the next: neighbours are written together.
    normals = tl.interleave(tl.interleave(n0, n2), tl.interleave(n1, n3))
    place = chunk * (4 * BLOCK) + tl.arange(0, 4 * BLOCK)
    tl.store(out_ptr + sample * count + place, normals, mask=place < count)


def normal(seed: int, index: Tensor, stream: int, count: int) -> Tensor:
    """(B, count) float32 for the samples `index` (B,): see `noise.normal`, which takes any integer as a seed."""
    signed = (seed & ((1 << 64) - 1)) - ((seed & (1 << 63)) << 1)  # the same 64 bits, as operators take integers
    return normal_operator(signed, index.to(torch.int64), stream, count)


@torch.library.custom_op("glyffctl::normal", mutates_args=())
def normal_operator(seed: int, index: torch.Tensor, stream: int, count: int) -> torch.Tensor:
    """`normal` for seeds from −2⁶³ to 2⁶³ − 1 and `index` int64."""
    index, out = index.contiguous(), _fake(seed, index, stream, count)
    if out.numel():
        blocks = triton.cdiv(count, 4 * _BLOCK)
        with torch.cuda.device_of(index):
            _normal_kernel[len(index) * blocks,](index, out, seed, stream, count, blocks, _BLOCK, **OPTIONS)
    return out


@normal_operator.register_fake
def _fake(seed: int, index: Tensor, stream: int, count: int) -> Tensor:
    del seed, stream
    return index.new_empty(index.shape[0], count, dtype=torch.float32)
