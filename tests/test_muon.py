"""Muon beside torch's own, in the same precision and in better ones."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from glyffctl.core.training.muon import Muon, orthogonalized, orthogonalized_together
from tests.pretended_gpu import pretended_gpu

SHAPES = [(48, 432), (64, 64), (96, 64), (160, 16), (8, 200)]


def random_matrix(shape: tuple[int, ...], seed: int = 0, *, rank: int | None = None) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    if rank is None:
        return torch.randn(shape, generator=generator)
    left, right = torch.randn(shape[0], rank, generator=generator), torch.randn(rank, shape[1], generator=generator)
    return left @ right + 1e-3 * torch.randn(shape, generator=generator)


def plainly(x: torch.Tensor) -> torch.Tensor:
    """The iteration as Jordan writes it, in float64."""
    x = x.double() / x.double().norm()
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x


@pytest.mark.parametrize("shape", SHAPES)
def test_in_bfloat16_its_steps_are_torch_s(shape: tuple[int, int]) -> None:
    ours, theirs = (torch.nn.Parameter(random_matrix(shape)) for _ in range(2))
    muon = Muon([ours], weight_decay=0.1)
    torch_s = torch.optim.Muon([theirs], lr=1e-2, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for seed in range(3):
        ours.grad, theirs.grad = (random_matrix(shape, seed) for _ in range(2))
        muon.step(1e-2, torch.bfloat16)
        torch_s.step()
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    kept, expected = muon.state[ours]["momentum_buffer"], torch_s.state[theirs]["momentum_buffer"]
    assert torch.equal(kept, expected)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rank", [None, 4])
def test_the_detour_over_the_gram_matrix_is_the_iteration(shape: tuple[int, int], rank: int | None) -> None:
    x = random_matrix(shape, rank=rank)
    exact = plainly(x)
    for dtype, tolerance in ((torch.float32, 5e-4), (torch.float64, 1e-11)):
        found = orthogonalized(x.to(dtype))
        assert found.dtype == dtype
        assert float((found - exact).norm() / exact.norm()) < tolerance


@given(rows=st.integers(1, 40), columns=st.integers(1, 40), seed=st.integers(0, 2**32 - 1), scale=st.floats(1e-3, 1e3))
def test_directions_do_not_depend_on_length_and_are_about_one_long(
    rows: int, columns: int, seed: int, scale: float
) -> None:
    x = random_matrix((rows, columns), seed).double()
    found = orthogonalized(x)
    assert found.shape == x.shape
    torch.testing.assert_close(orthogonalized(x * scale), found, rtol=1e-6, atol=1e-9)
    assert float(torch.linalg.svdvals(found).max()) < 1.3


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-11), (torch.float32, 1e-3)])
def test_matrices_of_like_shapes_go_through_together(dtype: torch.dtype, tolerance: float) -> None:
    shapes = [(24, 200), (24, 130), (200, 24), (24, 24), (24, 30), (31, 24), (24, 200)]
    matrices = [random_matrix(shape, seed).to(dtype) for seed, shape in enumerate(shapes)]
    scales = torch.arange(1, 8, dtype=dtype)[:, None, None]
    together = orthogonalized_together(matrices, scales=scales)
    for scale, x, found in zip(scales.flatten().tolist(), matrices, together, strict=True):
        expected = scale * plainly(x)
        assert found.shape == x.shape and found.dtype == dtype
        assert float((found - expected).norm() / expected.norm()) < tolerance


def test_in_bfloat16_together_is_as_near_as_one_by_one() -> None:
    matrices = [random_matrix(shape, seed) for seed, shape in enumerate([(48, 432), (432, 48), (48, 200)])]
    for x, found in zip(matrices, orthogonalized_together(matrices, torch.bfloat16), strict=True):
        exact, alone = plainly(x), orthogonalized(x, torch.bfloat16)
        assert found.dtype == torch.float32
        assert float((found - exact).norm()) < 1.1 * float((alone - exact).norm()) < 0.05 * float(exact.norm())


@pytest.mark.parametrize("shape", SHAPES)
def test_a_step_on_a_gpu_is_a_step_on_the_cpu(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    here = [torch.nn.Parameter(random_matrix(s)) for s in (shape, shape[::-1], shape)]
    first = Muon(here, weight_decay=0.1)
    for seed in range(2):
        for parameter in here:
            parameter.grad = random_matrix(tuple(parameter.shape), seed)
        first.step(1e-2)
    with pretended_gpu(monkeypatch):
        there = [torch.nn.Parameter(random_matrix(s).to("cuda")) for s in (shape, shape[::-1], shape)]
        second = Muon(there, weight_decay=0.1)
        for seed in range(2):
            for parameter in there:
                parameter.grad = random_matrix(tuple(parameter.shape), seed).to("cuda")
            second.step(torch.tensor(1e-2).to("cuda"))
        there_now = [parameter.detach().cpu() for parameter in there]
    for one, other in zip(here, there_now, strict=True):
        torch.testing.assert_close(other, one.detach(), rtol=0, atol=2e-5)


def test_nothing_is_nothing() -> None:
    assert torch.equal(orthogonalized(torch.zeros(4, 9)), torch.zeros(4, 9))
    parameter = torch.nn.Parameter(torch.ones(4, 9))
    muon = Muon([parameter], weight_decay=0.1)
    muon.step(1e-2)
    assert torch.equal(parameter, torch.ones(4, 9)) and not muon.state
