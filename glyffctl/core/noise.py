"""Random numbers that depend on (seed, index) alone: not on batch size, device, process count or history.

The generator is Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): a bijection that
turns a 128-bit counter and a 64-bit key into 128 random bits. There is no state: the counter selects the number. So a
run resumes without saved state, any number of GPUs draws the same noise, and a picture does not depend on its batch.
As tensor operations it runs on CPU and GPU: with identical bits, and normals that agree to rounding.

    counter = (block, stream, index mod 2³², index div 2³²)      key = (seed mod 2³², seed div 2³²)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import IntEnum

import torch
from torch import Tensor

_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10


class Stream(IntEnum):
    """The purpose of random numbers. Different streams are independent."""

    EPS = 0
    SIGMA = 1
    DROP = 2
    ORDER = 3
    CAPTION = 4
    GUIDANCE = 5
    JUMP = 6
    SMALL = 7
    LEVEL = 8
    TOP = 9
    LEFT = 10
    PICTURE = 11
    STEP = 16
    """The first stream of samplers: draw i of a sampling run uses stream STEP + i."""


def philox(counter: tuple[Tensor, Tensor, Tensor, Tensor], key: tuple[int, int]) -> tuple[Tensor, ...]:
    """Four words of 32 random bits for each counter.

    Args:
        counter: four int64 tensors of broadcastable shapes, values in [0, 2³²).
        key: two integers in [0, 2³²).

    Returns:
        four int64 tensors, values in [0, 2³²).
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        # int64 multiplication wraps at 2⁶⁴; low and high words are right nevertheless.
        left, right = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            ((right >> 32) & _MASK) ^ c1 ^ k0,
            right & _MASK,
            ((left >> 32) & _MASK) ^ c3 ^ k1,
            left & _MASK,
        )
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    return c0, c1, c2, c3


def _words(seed: int, index: Tensor, stream: int, blocks: int) -> tuple[Tensor, ...]:
    """Four (B, blocks) int64 tensors of 32-bit words for the samples `index` (B,)."""
    index = index.to(torch.int64)[:, None]
    block = torch.arange(blocks, device=index.device)[None, :]
    counter = (block, torch.full_like(block, stream), index & _MASK, (index >> 32) & _MASK)
    return philox(counter, (seed & _MASK, (seed >> 32) & _MASK))


def uniform(seed: int, index: Tensor, stream: int) -> Tensor:
    """One float64 in (0, 1) for each sample: (B,) from `index` (B,) int64. Resolution 2⁻³²."""
    return (_words(seed, index, stream, 1)[0][:, 0].double() + 0.5) * 2.0**-32


_kernel: Callable[[int, Tensor, int, int], Tensor] | None = None


def use_kernel(kernel: Callable[[int, Tensor, int, int], Tensor] | None) -> None:
    """Let `kernel(seed, index, stream, count)` → (B, count) make the float32 numbers of `normal` on CUDA, or None.

    It must use the same words.
    """
    global _kernel  # noqa: PLW0603 - the switch of the process; this module knows of no kernel
    _kernel = kernel


def normal(seed: int, index: Tensor, shape: tuple[int, ...], stream: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Standard normal numbers, (B, *shape) for the samples `index` (B,) int64, on the device of `index`.

    Box and Muller's transform of Philox words: two words make two normals; |z| < 6.77.
    """
    count = math.prod(shape)
    if _kernel is not None and index.is_cuda and dtype == torch.float32:
        return _kernel(seed, index, stream, count).reshape(len(index), *shape)
    words = _words(seed, index, stream, -(-count // 4))
    normals = []
    for radius_word, angle_word in (words[:2], words[2:]):
        radius = (((radius_word.to(dtype) + 0.5) * 2.0**-32).log() * -2.0).sqrt()
        angle = (angle_word.to(dtype) + 0.5) * (2.0**-31 * math.pi)
        normals += [radius * angle.cos(), radius * angle.sin()]
    return torch.stack(normals, dim=-1).flatten(1)[:, :count].reshape(len(index), *shape)


def permutation(seed: int, epoch: int, count: int) -> Tensor:
    """The order in which epoch `epoch` visits `count` samples: (count,) int64, the same everywhere.

    Sorts Philox words; equal words (expected in about count²/2³³ pairs) keep their order, which biases nothing.
    """
    words = _words(seed, torch.tensor([epoch]), Stream.ORDER, -(-count // 4))
    return torch.stack(words, dim=-1).flatten()[:count].argsort(stable=True)
