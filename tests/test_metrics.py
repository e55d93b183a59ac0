"""Figures against closed forms, direct sums and samples whose answer is known."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from glyffctl.core.estimates import Estimate, mean, quantile, share
from glyffctl.core.evaluation.metrics import kernel_distance, manifold
from tests.toys import eps


@given(st.integers(1, 5000), st.floats(0, 1))
def test_wilsons_interval_solves_its_equation(count: int, part: float):
    """Its ends are the p with |p̂ − p| = z·√(p(1−p)/n)."""
    hits = round(count * part)
    figure = share(hits, count)
    assert figure.value == hits / count
    assert 0 <= figure.low <= figure.value <= figure.high <= 1
    for end, at_edge in ((figure.low, hits == 0), (figure.high, hits == count)):
        gap = abs(figure.value - end) - 1.959964 * math.sqrt(end * (1 - end) / count)
        assert abs(gap) < 1e-6 or (at_edge and end in (0.0, 1.0))


def test_wilsons_interval_known():
    """No hit in ten: the upper end is z²/(n + z²)."""
    z2 = 1.959964**2
    assert share(0, 10).high == pytest.approx(z2 / (10 + z2))
    assert share(0, 10).low == 0


def test_the_interval_of_a_mean_is_students_for_many_values():
    values = eps(400, 1)[:, 0] + 3
    figure = mean(values)
    reach = 1.96 * float(values.std()) / 20
    assert figure.value == pytest.approx(float(values.mean()))
    assert figure.low == pytest.approx(figure.value - reach, abs=0.02)
    assert figure.high == pytest.approx(figure.value + reach, abs=0.02)
    assert mean(values) == figure


def test_intervals_of_means_hold_the_truth_19_times_in_20():
    """Of 300 samples; below 268 less than once in 10,000 at 95 %, and the bootstrap of 40 values reaches a bit less."""
    values = eps(300, 40)
    held = sum(figure.low <= 0 <= figure.high for figure in map(mean, values))
    assert 262 <= held <= 298


def test_a_quantile_with_its_interval():
    figure = quantile(torch.arange(1001).double(), 0.5)
    assert figure.value == 500
    assert 440 < figure.low < 500 < figure.high < 560


def _mmd(x: Tensor, y: Tensor) -> float:
    def kernel(a: Tensor, b: Tensor) -> float:
        return (float(a @ b) / len(a) + 1) ** 3

    n, m = len(x), len(y)
    total = sum(kernel(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    total += sum(kernel(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return total - 2 * sum(kernel(a, b) for a in x for b in y) / (n * m)


def test_kernel_distance_is_the_sum_over_pairs():
    x, y = eps(9, 5), eps(7, 5, seed=1) + 0.5
    assert kernel_distance(x, y).value == pytest.approx(_mmd(x, y), rel=1e-12)


def test_kernel_distance_is_0_on_average_for_equal_distributions_and_its_interval_holds_0():
    figures = [kernel_distance(eps(40, 6, seed=2 * i), eps(40, 6, seed=2 * i + 1)) for i in range(100)]
    values = torch.tensor([figure.value for figure in figures])
    error = float(values.std()) / 10
    assert abs(float(values.mean())) < 3.5 * error
    assert bool((values < 0).any()) and bool((values > 0).any())
    assert sum(figure.low <= 0 <= figure.high for figure in figures) >= 88


def test_the_interval_of_kernel_distance_is_as_wide_as_the_distance_scatters():
    figures = [kernel_distance(eps(60, 6, seed=2 * i), eps(60, 6, seed=2 * i + 1) + 0.7) for i in range(60)]
    scatter = float(torch.tensor([figure.value for figure in figures]).std())
    reach = sum((figure.high - figure.low) / 2 for figure in figures) / len(figures)
    assert 1.3 < reach / scatter < 3
    assert all(figure.low > 0 for figure in figures)


def test_a_sample_covers_itself():
    x = eps(50, 4)
    assert [figure.value for figure in manifold(x, x)] == [1, 1, 1]


def test_samples_far_apart_have_nothing_in_common():
    figures = manifold(eps(30, 4), eps(30, 4, seed=1) + 100)
    assert [figure.value for figure in figures] == [0, 0, 0]
    assert all(figure.high < 0.2 and figure.count == 30 for figure in figures)


def test_two_clusters_of_which_one_is_drawn():
    """All that is drawn is real: precision 1. Half of what is real is drawn: recall and coverage 1/2."""
    cluster = torch.arange(10.0)[:, None]
    figures = manifold(torch.cat([cluster, cluster + 1000]), torch.cat([cluster, cluster + 0.25]))
    assert (figures.precision.value, figures.recall.value, figures.coverage.value) == (1, 0.5, 0.5)


def test_points_on_a_line_by_hand():
    """Real 0…9. Of the drawn, only 4.5 and 5.5 are near; the k-th neighbors of the points are counted by hand.

    Reach of real points (k = 3): 3 at the left end, 2 inside; so 4.5 and 5.5 are inside balls, 100 and more are not.
    Drawn reach (k = 3) from 4.5: the third neighbor is 101, so its ball holds every real point.
    Coverage (k = 5): the reach is 5 at the ends, 4, 3 next to them, and 3 inside: all are covered.
    """
    real = torch.arange(10.0)[:, None]
    drawn = torch.cat([torch.tensor([4.5, 5.5]), torch.arange(100.0, 108.0)])[:, None]
    figures = manifold(real, drawn)
    assert (figures.precision.value, figures.recall.value, figures.coverage.value) == (0.2, 1, 1)


def test_recall_is_won_by_outliers_and_coverage_is_not():
    """The point of coverage (Naeem et al. 2020, figure 3)."""
    real, drawn = eps(60, 2), eps(60, 2, seed=1) * 40
    figures = manifold(real, drawn)
    assert figures.recall.value > 0.9
    assert figures.coverage.value < 0.5


def test_figures_are_plain():
    assert share(1, 2) == Estimate(0.5, share(1, 2).low, share(1, 2).high, 2)
