"""Normal numbers as those of `core.noise` (stream EPS), in NumPy: the same bits of Philox, equal to rounding."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float32]]

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_STREAM = 0  # EPS
_WEYL = (0x9E3779B9, 0xBB67AE85)
_MASK, _HALF, _ROUNDS = np.uint64(0xFFFFFFFF), np.uint64(32), 10


def start_noise(seeds: np.ndarray[Any, np.dtype[np.int64]], count: int) -> Array:
    """(B, count) float32 standard normal numbers: what pictures with the seeds (B,) start from."""
    index = seeds.astype(np.uint64)[:, None]
    block = np.arange(-(-count // 4), dtype=np.uint64)[None]
    c0, c1, c2, c3 = np.broadcast_arrays(block, np.uint64(_STREAM), index & _MASK, index >> _HALF)
    k0 = k1 = 0
    for _ in range(_ROUNDS):
        left, right = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            (right >> _HALF) ^ c1 ^ np.uint64(k0),
            right & _MASK,
            (left >> _HALF) ^ c3 ^ np.uint64(k1),
            left & _MASK,
        )
        k0, k1 = (k0 + _WEYL[0]) & 0xFFFFFFFF, (k1 + _WEYL[1]) & 0xFFFFFFFF
    normals = []
    for radius_word, angle_word in ((c0, c1), (c2, c3)):
        radius = np.sqrt(np.log((radius_word.astype(np.float32) + np.float32(0.5)) * np.float32(2.0**-32)) * -2)
        angle = (angle_word.astype(np.float32) + np.float32(0.5)) * np.float32(2.0**-31 * math.pi)
        normals += [radius * np.cos(angle), radius * np.sin(angle)]
    return np.stack(normals, axis=-1).reshape(len(seeds), -1)[:, :count]
