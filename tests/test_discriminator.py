"""A classifier that tells two kinds of pictures apart, on pictures whose difference is known."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from glyffctl.core.data.dataset import GlyphSet
from glyffctl.core.evaluation.classifier import RadicalClassifier, load_classifier
from glyffctl.core.evaluation.discriminator import FOLDS, discriminator_features, two_sample_accuracy
from glyffctl.workflows.events import finish


@pytest.fixture(scope="module")
def classifier() -> RadicalClassifier:
    return load_classifier(None)[0]


def _features(classifier: RadicalClassifier, pictures: Tensor) -> Tensor:
    return finish(discriminator_features(classifier, pictures))


def test_the_same_distribution_is_not_told_apart_and_another_one_is() -> None:
    random = torch.Generator().manual_seed(0)
    x, y = (torch.randn(200, 300, generator=random) for _ in range(2))
    pairs = torch.arange(200)
    same = two_sample_accuracy(x, y, pairs, pairs, 0)
    assert same.low < 0.5 < same.high and same.high - same.low < 0.2
    shifted = two_sample_accuracy(x, y + torch.tensor([2.0] * 3 + [0.0] * 297), pairs, pairs, 0)
    assert shifted.value > 0.85 and shifted.low <= shifted.value <= shifted.high
    far = two_sample_accuracy(x, y + 5, pairs, pairs, 0)
    assert far.value == 1.0 and 0.95 < far.low < 1
    assert two_sample_accuracy(x, y, pairs, pairs, 0) == same
    assert two_sample_accuracy(x, y, pairs, pairs, 1) != same


def test_guessing_is_half_whatever_the_numbers() -> None:
    random = torch.Generator().manual_seed(1)
    x, y = torch.randn(400, 20, generator=random), torch.randn(40, 20, generator=random)
    found = two_sample_accuracy(x, y, torch.arange(400), torch.arange(40), 0)
    assert abs(found.value - 0.5) < 0.15


def test_no_verdict_comes_from_a_classifier_that_saw_the_character() -> None:
    """Ten copies of each of 20 random pictures: known by heart they would be told apart, and they must not be."""
    random = torch.Generator().manual_seed(2)
    x, y = torch.randn(20, 50, generator=random), torch.randn(20, 50, generator=random)
    group = torch.arange(20).repeat_interleave(10)
    leaked = two_sample_accuracy(x[group], y[group], torch.arange(200), torch.arange(200) + 200, 0)
    honest = two_sample_accuracy(x[group], y[group], group, group + 20, 0)
    assert leaked.value > 0.99
    assert honest.value < 0.8 and honest.count == 40


def test_real_glyphs_and_what_is_done_to_them(map_glyphs: GlyphSet, classifier: RadicalClassifier) -> None:
    odd, even = (map_glyphs.images(torch.arange(start, 160, 2))[:, 0] for start in (0, 1))
    pairs = torch.arange(len(odd))
    assert len(pairs) >= FOLDS * 2
    real = _features(classifier, odd)
    control = two_sample_accuracy(_features(classifier, even), real, pairs, pairs, 0)
    assert control.low < 0.6
    soft = F.avg_pool2d(F.pad(even[:, None].float(), (1, 1, 1, 1), value=255), 3, 1)[:, 0].round().to(torch.uint8)
    assert two_sample_accuracy(_features(classifier, soft), real, pairs, pairs, 0).value > 0.95
    # Paper that is not quite white is seen by nobody.
    dim = (even.int() - 4).clamp(min=0).to(torch.uint8)
    assert abs(two_sample_accuracy(_features(classifier, dim), real, pairs, pairs, 0).value - control.value) < 0.1


def test_features_are_of_one_picture_each(classifier: RadicalClassifier, map_glyphs: GlyphSet) -> None:
    pictures = map_glyphs.images(torch.arange(70))[:, 0]
    assert list(discriminator_features(classifier, pictures)) == [64 / 70, 1]
    whole = _features(classifier, pictures)
    assert torch.allclose(whole[69:], _features(classifier, pictures[69:]), atol=1e-4)
    assert whole.isfinite().all()
