"""The mean and standard deviation of pixels, from how often each grey occurs."""

from __future__ import annotations

from collections.abc import Sequence


def pixel_moments(counts: Sequence[int]) -> tuple[float, float]:
    """Mean and standard deviation in [-1, 1] from how often each pixel value 0…255 occurs."""
    total = sum(counts)
    mean = sum(n * value for value, n in enumerate(counts)) / total
    variance = sum(n * (value - mean) ** 2 for value, n in enumerate(counts)) / total
    return mean / 127.5 - 1, variance**0.5 / 127.5
