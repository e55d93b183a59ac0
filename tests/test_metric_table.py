"""What every metric of the list must do, on ordinary pictures, blank ones and few."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from glyffctl.core.estimates import mean
from glyffctl.core.evaluation.metric import METRICS, Metric, Pictures
from glyffctl.core.evaluation.prompts import radical_prompts


def crosses(count: int, seed: int) -> Tensor:
    """Pictures (count, 32, 32) of a stroke across and a stroke down."""
    places = torch.randint(4, 26, (count, 2), generator=torch.Generator().manual_seed(seed)).tolist()
    found = torch.full((count, 32, 32), 255, dtype=torch.uint8)
    for picture, (row, column) in zip(found, places, strict=True):
        picture[row : row + 3] = 0
        picture[:, column : column + 3] = 0
    return found


def samples(drawn: Tensor, real: Tensor) -> Pictures:
    prompts = radical_prompts()[:2]
    return Pictures(prompts, drawn[:4].unflatten(0, (2, 2)), drawn, real)


@pytest.mark.parametrize("metric", METRICS)
def test_rows_are_named_explained_and_have_their_interval(metric: Metric) -> None:
    rows = list(metric(samples(crosses(24, 1), crosses(24, 2))))
    assert rows and len({row.name for row in rows}) == len(rows)
    for row in rows:
        assert row.note
        for estimate in filter(None, (row.model, row.real)):
            assert estimate.low <= estimate.value <= estimate.high and estimate.count > 0


@pytest.mark.parametrize("metric", METRICS)
def test_blank_pictures_and_few_give_no_broken_numbers(metric: Metric) -> None:
    blank = torch.full((16, 32, 32), 255, dtype=torch.uint8)
    for pictures in (samples(blank, crosses(16, 2)), samples(crosses(16, 2), blank), samples(*[crosses(4, 3)] * 2)):
        for row in metric(pictures):
            assert math.isfinite(row.model.value), row.name


def test_the_mean_of_nothing_is_refused() -> None:
    for values in (torch.empty(0), torch.tensor([1.0, math.nan])):
        with pytest.raises(ValueError, match="no values"):
            mean(values)
