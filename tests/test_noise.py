"""Keyed random numbers: known answers, their law, and that nothing but (seed, index, stream) decides them."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from glyffctl.core.noise import Stream, normal, permutation, philox, uniform
from tests.toys import ks_statistic

MASK = 0xFFFFFFFF
word = st.integers(0, MASK)
index64 = st.integers(0, 2**63 - 1)


def words(*values: int) -> tuple[int, ...]:
    """Philox of one counter (four words) and one key (two)."""
    c0, c1, c2, c3, k0, k1 = values
    answer = philox((torch.tensor(c0), torch.tensor(c1), torch.tensor(c2), torch.tensor(c3)), (k0, k1))
    return tuple(int(part) for part in answer)


@pytest.mark.parametrize(
    ("counter_and_key", "answer"),
    [
        ("00000000 00000000 00000000 00000000 00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344 a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_known_answers_of_random123(counter_and_key: str, answer: str) -> None:
    """philox4x32-10 in the file kat_vectors of the Random123 library."""
    assert " ".join(f"{w:08x}" for w in words(*(int(w, 16) for w in counter_and_key.split()))) == answer


@given(st.tuples(word, word, word, word, word, word))
def test_philox_in_wrapping_int64_is_philox_in_whole_numbers(values: tuple[int, ...]) -> None:
    c0, c1, c2, c3, k0, k1 = values
    for _ in range(10):
        left, right = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (right >> 32) ^ c1 ^ k0, right & MASK, (left >> 32) ^ c3 ^ k1, left & MASK
        k0, k1 = (k0 + 0x9E3779B9) & MASK, (k1 + 0xBB67AE85) & MASK
    assert words(*values) == (c0, c1, c2, c3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_normals_are_standard_normal(dtype: torch.dtype) -> None:
    count = 400_000
    values = normal(3, torch.arange(count // 16), (4, 4), Stream.EPS, dtype).flatten().double()
    assert len(values) == count
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs(float((values**power).mean()) - moment) < 4 * math.sqrt(variance / count), power
    assert ks_statistic(values) < 1.95
    assert float(values.abs().max()) < 6.77


def test_the_four_normals_of_a_block_are_each_normal_and_uncorrelated() -> None:
    count = 50_000
    block = normal(0, torch.arange(count), (4,), Stream.EPS, torch.float64)
    assert all(ks_statistic(column) < 1.95 for column in block.T)
    assert float((block.T.corrcoef() - torch.eye(4)).abs().max()) < 4.5 / math.sqrt(count)
    # Of normals that shared a radius the squares would be correlated.
    assert float((block.T.square().corrcoef() - torch.eye(4)).abs().max()) < 4.5 / math.sqrt(count)


def test_uniforms_are_uniform() -> None:
    values = uniform(0, torch.arange(100_000), Stream.SIGMA)
    assert values.dtype == torch.float64
    assert 0 < float(values.min()) < float(values.max()) < 1
    assert ks_statistic(values, cdf=values.sort().values) < 1.95


def field(seed: int = 0, first: int = 0, stream: int = 0) -> Tensor:
    """100,000 normals of 100 samples."""
    return normal(seed, first + torch.arange(100), (1000,), stream, torch.float64).flatten()


OTHER_KEYS: dict[str, Callable[[], Tensor]] = {
    "next index": lambda: field(first=100),
    "neighbouring index": lambda: field(first=1),
    "index beyond 32 bits": lambda: field(first=2**32),
    "next seed": lambda: field(seed=1),
    "seed beyond 32 bits": lambda: field(seed=2**32),
    "negative seed": lambda: field(seed=-1),
    "next stream": lambda: field(stream=1),
    "a sampler's stream": lambda: field(stream=Stream.STEP),
}


@pytest.mark.parametrize("other", OTHER_KEYS)
def test_other_keys_give_unrelated_numbers(other: str) -> None:
    here, there = field(), OTHER_KEYS[other]()
    assert not bool((here == there).any())
    assert abs(float((here * there).mean())) < 4 / math.sqrt(len(here))
    assert abs(float(((here**2 - 1) * (there**2 - 1)).mean() / 2)) < 4 / math.sqrt(len(here))


def test_streams_are_apart() -> None:
    assert len(set(Stream)) == len(Stream.__members__)
    assert max(Stream) == Stream.STEP  # nothing lies above the first of the samplers' streams


@given(
    index=st.lists(index64, min_size=1, max_size=12),
    cuts=st.lists(st.integers(0, 12), max_size=4),
    seed=st.integers(-(2**63), 2**63 - 1),
    stream=st.integers(0, 2000),
)
def test_a_row_is_the_same_in_any_batch(index: list[int], cuts: list[int], seed: int, stream: int) -> None:
    rows = torch.tensor(index)
    bounds = sorted({0, len(index), *(min(cut, len(index)) for cut in cuts)})
    parts = [rows[a:b] for a, b in pairwise(bounds)]
    whole = normal(seed, rows, (3, 5), stream)
    assert whole.shape == (len(index), 3, 5)
    assert torch.equal(whole, torch.cat([normal(seed, part, (3, 5), stream) for part in parts]))
    assert torch.equal(whole.flip(0), normal(seed, rows.flip(0), (3, 5), stream))
    assert torch.equal(uniform(seed, rows, stream), torch.cat([uniform(seed, part, stream) for part in parts]))


def test_float32_agrees_with_float64() -> None:
    single, double = (normal(0, torch.arange(1000), (256,), 0, dtype) for dtype in (torch.float32, torch.float64))
    error = (single.double() - double).abs()
    # In float32, 1 − u of the words next to 2³² has few digits left; those normals are next to 0.
    assert float(error.max()) < 4e-4
    assert float((error > 4e-6).double().mean()) < 1e-3


@pytest.mark.parametrize("shape", [(), (1,), (3,), (4,), (5,), (1, 8, 8)])
def test_any_shape(shape: tuple[int, ...]) -> None:
    values = normal(0, torch.arange(2), shape, 0)
    assert values.shape == (2, *shape)
    assert values.dtype == torch.float32


@given(seed=st.integers(0, 2**40), epoch=st.integers(0, 2**40), count=st.integers(1, 500))
def test_a_permutation_visits_every_sample_once(seed: int, epoch: int, count: int) -> None:
    order = permutation(seed, epoch, count)
    assert order.sort().values.tolist() == list(range(count))
    assert torch.equal(order, permutation(seed, epoch, count))
    if count > 20:
        assert not torch.equal(order, permutation(seed, epoch + 1, count))
        assert not torch.equal(order, permutation(seed + 1, epoch, count))


def test_all_permutations_come_equally_often() -> None:
    counts: dict[tuple[int, ...], int] = {}
    for epoch in range(2400):
        order = tuple(permutation(0, epoch, 4).tolist())
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 24
    assert sum((n - 100) ** 2 / 100 for n in counts.values()) < 49.7  # 23 degrees of freedom, p = 0.001
