"""Claims about networks: which kinds work, how they get the time step, and what a pass costs.

Each function measures one claim, as those of `claims` do.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.diffusion.denoiser import Denoiser
from glyffctl.core.diffusion.schedule import make_schedule
from glyffctl.core.estimates import mean
from glyffctl.core.models.config import Config, merge, parse, read_preset
from glyffctl.core.networks.network import build_network
from glyffctl.core.networks.sinusoid import sinusoid
from glyffctl.core.theory.claims import Claim, corrected, holds
from glyffctl.core.theory.operations import operations

SIZES = (64, 128, 256, 512)
SIDE, TRAINED_STEPS, BATCH, RATE = 16, 100, 32, 3e-3
"""Pictures of 16×16, and how networks learn to denoise them."""
JUDGED_AT = 0.5
TRIED: dict[str, dict[str, Any]] = {
    "unet": {"patch": 2, "channels": [16, 32], "blocks": 1, "attention": [1]},
    "dit": {"kind": "dit", "patch": 4, "width": 32, "depth": 2, "detail": 0},
}
"""The sizes of the small networks that are tried, beside a perceptron of two layers."""
_COMMON = {"size": SIDE, "text_width": 8, "context_width": 32}
_SMALL = 1e-3


def time_embedding(width: int = 64) -> Claim:
    """An embedding of the time is different for each: the nearest two of a thousand, beside those of one frequency.

    Args:
        width: numbers of the embedding.
    """
    labels = make_schedule("linear").sigmas.log() / 4
    embedded = sinusoid(labels, width).double()
    alone = embedded[:, [0, width // 2]]  # one frequency: the cosine and the sine of 1000·label

    def nearest(some: Tensor) -> float:
        apart = torch.cdist(some, some, compute_mode="donot_use_mm_for_euclid_dist")
        typical = float(apart.mean())
        return float(apart.fill_diagonal_(torch.inf).min()) / typical

    numbers = {
        "nearest": nearest(embedded),
        "nearest, one frequency": nearest(alone),
        "different in bfloat16": len(embedded.to(torch.bfloat16).unique(dim=0)),
        "times": len(labels),
    }
    return Claim("time embedding", holds(numbers["nearest"] > _SMALL > numbers["nearest, one frequency"]), {}, numbers)


def level_range() -> Claim:
    """One network meets wildly different noise: the signal-to-noise ratio from the first step to the last."""
    numbers = {}
    for name in ("linear", "cosine", "karras"):
        sigmas = make_schedule(name).sigmas
        numbers[f"decades, {name}"] = 2 * math.log10(float(sigmas[-1] / sigmas[0]))
    return Claim("level range", holds(min(numbers.values()) > 4), numbers=numbers)


class _Perceptron(nn.Module):
    """Two layers from all pixels to all pixels: it knows nothing of neighbours."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.outside = nn.Linear(SIDE**2 + 1, 512), nn.Linear(512, SIDE**2)

    def encode(self, condition: Condition) -> Condition:
        return condition

    def forward(self, z: Tensor, sigma: Tensor, context: Any) -> Tensor:  # noqa: ARG002
        label = (sigma.log() / 4).to(z.dtype)[:, None]
        hidden = torch.relu(self.inside(torch.cat([z.flatten(1), label], 1)))
        return self.outside(hidden).reshape(z.shape)


def any_network(pictures: Tensor, seed: int = 0) -> Claim:
    """Any network will do whose output has the size of its input: three that have little in common learn to denoise.

    Each trains on four fifths of the glyphs, and denoises the rest at σ = 0.5. The control is the mean of the glyphs:
    what a network that does not look could say at best.

    Args:
        pictures: (N, 1, 16, 16) in [−1, 1], at least 10.
        seed: of the weights and the noise.
    """
    pictures = pictures.float()
    known, others = pictures[: len(pictures) * 4 // 5], pictures[len(pictures) * 4 // 5 :]
    generator = torch.Generator().manual_seed(seed)
    eps = torch.randn(others.shape, generator=generator)
    level = torch.full((len(others),), JUDGED_AT, dtype=torch.float64)
    estimates = {"mean picture": mean((others - known.mean(0)).square().flatten(1).mean(1))}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        networks: dict[str, Any] = {
            name: build_network(
                parse(merge(read_preset("cpu") | {"network": {}}, {"network": _COMMON | sizes})).network
            )
            for name, sizes in TRIED.items()
        }
        networks["perceptron"] = _Perceptron()
    for name, network in networks.items():
        denoiser = Denoiser(network.train(), "x0")
        optimizer = torch.optim.Adam(network.parameters(), RATE)
        for _ in range(TRAINED_STEPS):
            x0 = known[torch.randint(len(known), (BATCH,), generator=generator)]
            sigma = torch.randn(BATCH, generator=generator, dtype=torch.float64).sub(0.5).exp()
            noise = torch.randn(x0.shape, generator=generator)
            loss = denoiser.loss(x0, noise, sigma, network.encode(Condition.none(BATCH, 8))).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            guess = denoiser(others + JUDGED_AT * eps, level, network.eval().encode(Condition.none(len(others), 8)))
        estimates[name] = mean((guess - others).square().flatten(1).mean(1))
    learned = all(estimates[name].high < estimates["mean picture"].low * 3 / 4 for name in networks)
    return Claim("any network", holds(learned), estimates)


def _preset(name: str, size: int, channels: int = 1, **sizes: int) -> nn.Module:
    config: Config = parse(merge(read_preset(name), {"network": {"size": size, "in_channels": channels, **sizes}}))
    return build_network(config.network)


def pixel_cost() -> Claim:
    """In pixels large pictures are expensive, and a smaller space is cheaper: operations of a pass at four sizes.

    At the second size the same network takes pixel by pixel, patches of 4×4, and latents of a quarter the side.
    """
    numbers = {f"side {size}": operations(_preset("gpu", size), size) / 1e9 for size in SIZES}
    side = SIZES[1] // 4  # of latents, see core.networks.autoencoder
    numbers |= {
        "pixel by pixel": operations(_preset("gpu", SIZES[1], patch=1), SIZES[1]) / 1e9,
        "latents": operations(_preset("latent", side, 4), side, 4) / 1e9,
    }
    grows = all(numbers[f"side {large}"] >= 3.5 * numbers[f"side {small}"] for small, large in pairwise(SIZES))
    patches_do = numbers[f"side {SIZES[1]}"] < 1.5 * numbers["latents"]
    saved = numbers["latents"] < numbers["pixel by pixel"] / 4
    return Claim("pixel cost", corrected(grows and saved) if patches_do else holds(grows and saved), numbers=numbers)


def guide_cost() -> Claim:
    """A separate classifier makes guidance expensive: its pass and way back, against the second pass without one."""
    numbers = {
        "pass": operations(_preset("gpu", SIZES[1]), SIZES[1]) / 1e9,
        "classifier": operations(_preset("classifier", SIZES[1]), SIZES[1], backward=True) / 1e9,
    }
    return Claim("guide cost", holds(numbers["classifier"] > numbers["pass"]), numbers=numbers)
