"""Classifier guidance and autoguidance against closed forms: classes that are Gaussians have an exact posterior."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from glyffctl.core.diffusion.autoguidance import autoguide
from glyffctl.core.diffusion.classifier_guidance import NoisyClassifier, lead
from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.diffusion.denoiser import Denoiser
from glyffctl.core.diffusion.guidance import guide
from glyffctl.core.diffusion.samplers import SAMPLERS
from glyffctl.core.diffusion.schedule import karras
from glyffctl.core.models.generate import generate
from glyffctl.core.models.guides import Guides, Lead
from glyffctl.core.models.recipe import Recipe
from tests.toys import OracleNetwork, ToyNetwork, captions, eps, last

SHAPE = (1, 2, 2)
SIGMA = torch.tensor([0.05, 0.4, 1.0, 3.0, 20.0], dtype=torch.float64)


class Classes:
    """Pictures of three classes, each N(m_k, v), with their shares; everything about them is known."""

    def __init__(self, variance: float = 0.3) -> None:
        self.means = eps(3, *SHAPE, seed=3)
        self.shares = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
        self.variance = variance
        self.levels: list[float] = []  # that the classifier was asked about

    def logits(self, z: Tensor, sigma: Tensor) -> Tensor:
        """ln (share · N(x; m_k, v + σ²)), but for what no class changes; z = x/√(1+σ²)."""
        self.levels.append(float(sigma[0]))
        sigma = sigma.to(z.dtype)
        x = z * (1 + sigma**2).sqrt()[:, None, None, None]
        apart = (x[:, None] - self.means.to(z.dtype)).flatten(2).square().sum(2)
        return self.shares.log().to(z.dtype) - apart / (2 * (self.variance + sigma**2))[:, None]

    def of_class(self, label: int) -> OracleNetwork:
        """The exact denoiser of one class."""
        return OracleNetwork(lambda x, sigma: self._class(x, sigma)[:, label])

    def of_all(self) -> OracleNetwork:
        """The exact denoiser of all of them: those of the classes, weighted by the posterior."""

        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            z = x / (1 + sigma**2).sqrt().reshape(-1, 1, 1, 1)
            weight = self.logits(z, sigma).softmax(1)[:, :, None, None, None]
            return (weight * self._class(x, sigma)).sum(1)

        return OracleNetwork(denoise)

    def _class(self, x: Tensor, sigma: Tensor) -> Tensor:
        """(B, 3, C, H, W): (v·x + σ²·m_k)/(v + σ²)."""
        square = sigma.to(x.dtype).square()[:, None, None, None, None]
        means = self.means.to(x.dtype)
        return (self.variance * x[:, None] + square * means) / (self.variance + square)


NONE = Condition.none(len(SIGMA), 1)


def exact(network: OracleNetwork) -> Denoiser:
    return Denoiser(network, "eps")


@pytest.mark.parametrize("label", [0, 1, 2])
def test_bayes_rule_leads_to_the_denoiser_of_the_class(label: int) -> None:
    classes = Classes()
    x = eps(len(SIGMA), *SHAPE) * (1 + SIGMA)[:, None, None, None]
    gradient = NoisyClassifier(classes.logits).gradient(label)
    for row, sigma in enumerate(SIGMA):
        one, level = x[row : row + 1], sigma[None]
        led = lead(lambda x, sigma: exact(classes.of_all())(x, sigma, None), gradient, 1.0)(one, level)
        torch.testing.assert_close(led, exact(classes.of_class(label))(one, level, None), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("scale", [-1.5, 0.5, 3.0])
def test_the_led_score_is_the_closed_form(scale: float) -> None:
    """∇ log p(k | x) = (m_k − Σ p_j·m_j)/(v + σ²), the difference of two Gaussian scores."""
    classes, label = Classes(), 1
    gradient_of = NoisyClassifier(classes.logits).gradient(label)

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        return exact(classes.of_all())(x, sigma, None)

    for sigma in SIGMA:
        x, level = 2 * eps(4, *SHAPE, seed=9), sigma.expand(4)
        led = lead(denoise, gradient_of, scale)(x, level)
        weight = classes.logits(x / math.sqrt(1 + float(sigma) ** 2), level).softmax(1)
        expected = (weight[:, :, None, None, None] * classes.means).sum(1)
        gradient = (classes.means[label] - expected) / (classes.variance + sigma**2)
        score = (denoise(x, level) - x) / sigma**2
        torch.testing.assert_close((led - x) / sigma**2, score + scale * gradient, rtol=1e-10, atol=1e-10)


def identity(x: Tensor, sigma: Tensor) -> Tensor:
    return x


def test_scale_0_asks_no_classifier() -> None:
    assert lead(identity, NoisyClassifier(Classes().logits).gradient(0), 0.0) is identity


def test_it_leads_in_its_interval_alone() -> None:
    classes = Classes()
    gradient = NoisyClassifier(classes.logits).gradient(0)
    led = lead(identity, gradient, 2.0, (0.4, 3.0))
    for sigma in SIGMA:
        x = eps(1, *SHAPE)
        assert torch.equal(led(x, sigma[None]), x) is not bool(0.4 <= sigma <= 3.0)
    assert classes.levels == [0.4, 1.0, 3.0]


def test_every_row_is_led_as_it_would_be_alone_and_no_gradient_is_left() -> None:
    gradient = NoisyClassifier(Classes().logits).gradient(2)
    x, level = eps(3, *SHAPE), torch.full((3,), 0.7, dtype=torch.float64)
    with torch.no_grad():
        together = gradient(x, level)
        alone = torch.cat([gradient(row[None], level[:1]) for row in x])
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=1e-12)
    assert not together.requires_grad and not x.requires_grad


@pytest.mark.parametrize("sampler", list(SAMPLERS))
def test_every_sampler_is_led_to_the_class(sampler: str) -> None:
    """Classes that lie apart, and a class that few samples would belong to: all of them do."""
    classes = Classes(variance=0.01)
    seeds, label = torch.arange(32), 2
    guides = Guides(lead=Lead(NoisyClassifier(classes.logits).gradient(label), 1.0))
    recipe = Recipe(sampler=sampler, steps=40, guidance=1.0)
    condition = Condition.none(len(seeds), 1)

    def nearest(guides: Guides) -> Tensor:
        steps = generate(
            exact(classes.of_all()), karras(1000, 0.02, 80.0), recipe, condition, condition, seeds, SHAPE, None, guides
        )
        x = last(steps)
        return (x[:, None] - classes.means).flatten(2).square().sum(2).argmin(1)

    assert float((nearest(Guides()) == label).double().mean()) < 0.6
    assert bool((nearest(guides) == label).all())


def test_on_top_of_a_prompt_both_differences_are_added() -> None:
    classes, network = Classes(), ToyNetwork(4)
    denoiser, text = Denoiser(network, "v"), captions(3)
    none = Condition.none(3, 8)._replace(tokens=torch.zeros(3, 1, 8, dtype=torch.float64))
    recipe = Recipe(guidance=4.0)
    gradient = NoisyClassifier(classes.logits).gradient(1)
    x, level = eps(3, *SHAPE), torch.full((3,), 0.7, dtype=torch.float64)
    led = Guides(lead=Lead(gradient, 3.0)).around(denoiser, text, none, recipe)(x, level)
    prompted = guide(denoiser, text, none, 4.0)(x, level)
    torch.testing.assert_close(led, prompted + 3.0 * 0.7**2 * gradient(x, level), rtol=1e-12, atol=1e-12)


def test_a_classifier_leads_only_where_it_and_the_recipe_allow() -> None:
    classes = Classes()
    leading = Lead(NoisyClassifier(classes.logits).gradient(1), 3.0, (0.1, 2.0))
    recipe = Recipe(guidance=1.0, interval=(0.5, math.inf))
    led = Guides(lead=leading).around(exact(classes.of_all()), NONE, NONE, recipe)
    classes.levels.clear()
    for sigma in SIGMA:
        led(eps(5, *SHAPE), sigma.expand(5))
    asked = [level for level in set(classes.levels) if classes.levels.count(level) == 2]  # once by the exact denoiser
    assert asked == [1.0]


# Autoguidance --------------------------------------------------------------------------------------------------------


def test_autoguidance_leads_away_from_the_worse_model() -> None:
    better, worse = ToyNetwork(4), ToyNetwork(4)
    worse.outside = worse.outside * 0.5
    good, bad = Denoiser(better, "v"), Denoiser(worse, "x0")  # they may predict different things
    text = captions(3)
    x, level = eps(3, *SHAPE), torch.full((3,), 0.7, dtype=torch.float64)
    towards, away = (each(x, level, each.network.encode(text)) for each in (good, bad))
    guided = autoguide(good, bad, text, 2.5)(x, level)
    torch.testing.assert_close(guided, away + 2.5 * (towards - away), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(Guides(worse=bad).around(good, text, text, Recipe(guidance=2.5))(x, level), guided)


def test_autoguidance_asks_the_worse_model_only_where_it_acts() -> None:
    better, worse = ToyNetwork(4), ToyNetwork(4)
    good, bad, text = Denoiser(better, "v"), Denoiser(worse, "v"), captions(1)
    x = eps(1, *SHAPE)
    plain = good(x, SIGMA[:1], better.encode(text))
    assert torch.equal(autoguide(good, bad, text, 1.0)(x, SIGMA[:1]), plain)
    assert torch.equal(autoguide(good, bad, text, 3.0, (1.0, 3.0))(x, SIGMA[:1]), plain)
    assert not worse.calls
    autoguide(good, bad, text, 3.0, (1.0, 3.0))(x, SIGMA[2:3])
    assert len(worse.calls) == 1


def test_a_model_guided_by_itself_is_itself() -> None:
    denoiser, text = Denoiser(ToyNetwork(4), "eps"), captions(3)
    x, level = eps(3, *SHAPE), torch.full((3,), 0.7, dtype=torch.float64)
    plain = denoiser(x, level, denoiser.network.encode(text))
    torch.testing.assert_close(autoguide(denoiser, denoiser, text, 5.0)(x, level), plain, rtol=1e-12, atol=1e-12)
