"""Langevin dynamics: walks in the direction of the score, with noise, at one level after another.

A step of size ε at level σ is x ← x + ε·s(x, σ) + √(2ε)·z, with the score s = (D − x)/σ². The size is ε = 2r²σ²,
where r is the signal-to-noise ratio of a step. Song et al. 2021 (arXiv 2011.13456, algorithm 4) take
ε = 2(r·‖z‖/‖s‖)², and ‖s‖ is near ‖z‖/σ where most of x is noise. They take the mean of both norms over a batch; here
a picture does not depend on its batch. The ratio of a picture alone would make the step depend on x, and the walk end
in another law. In the coordinates of DDPM, z = x/√(1+σ²), this is their algorithm 5 but for its factor α, which is 1
in the limit of small steps. The size α of Song and Ermon 2019 (arXiv 1907.05600, algorithm 1) is 2ε: their α = 0.2·σ²
is r = 0.22.

Walks with steps of any size end a little beside the law of level σ: of a Gaussian whose variance is σ² alone the walk
makes σ²/(1 − r²). That does not fall with the number of levels, so these samplers have the order 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

from torch import Tensor

from glyffctl.core.diffusion.denoiser import Denoise
from glyffctl.core.diffusion.samplers import SAMPLERS, Draw, Sampler, Step, denoise_at, levels
from glyffctl.core.diffusion.tuning import TUNABLE, Tunable

LANGEVIN_SNR, LANGEVIN_STEPS = 0.4, 5
"""Song and Ermon take a hundred steps of 0.22 at each of ten levels. At 20 levels or more that lie closer, few large
steps get nearer to the law than ten of 0.22 do."""
CORRECTOR_SNR, CORRECTOR_STEPS = 0.16, 1
"""Those of the paper."""


def walk(
    denoise: Denoise, x: Tensor, sigma: float, draw: Draw, first: int, *, snr: float, count: int, noise: float = 1.0
) -> tuple[Tensor, Tensor]:
    """x after `count` Langevin steps at one level, and the last x0 that they went towards.

    Args:
        denoise: D.
        x: (B, C, H, W), where the walks start.
        sigma: the level σ > 0.
        draw: of random tensors.
        first: the number of the first of the `count` tensors that are drawn.
        snr: r in (0, 1).
        count: of steps, at least 1.
        noise: a factor of the noise: 1 walks with the law of level σ, 0 only climbs its density.
    """
    x0 = x
    for k in range(count):
        x0 = denoise_at(denoise, x, sigma)
        x = x + (x0 - x) * (2 * snr**2) + draw(first + k) * (2 * snr * sigma * noise)
    return x, x0


def langevin(
    denoise: Denoise, x: Tensor, sigmas: Tensor, draw: Draw, *, snr: float, count: int, noise: float = 1.0
) -> Iterator[Step]:
    """Annealed Langevin dynamics (Song and Ermon 2019, arXiv 1907.05600, algorithm 1).

    At each level after the first, which x has from the start, `count` steps of `walk`; into σ = 0 one of the denoiser.
    """
    for i, sigma, target in levels(sigmas):
        if target == 0:
            x = x0 = denoise_at(denoise, x, sigma)
        else:
            x, x0 = walk(denoise, x, target, draw, i * count, snr=snr, count=count, noise=noise)
        yield Step(i, target, x, x0)


def predictor_corrector(
    denoise: Denoise, x: Tensor, sigmas: Tensor, draw: Draw, *, snr: float, count: int
) -> Iterator[Step]:
    """Predictor and corrector (Song et al. 2021, arXiv 2011.13456, algorithm 2; algorithm 4 for the corrector).

    The predictor is an Euler step of the reverse SDE, x ← x + (σ² − σ'²)·s + √(σ² − σ'²)·z; the corrector takes `count`
    steps of `walk` at σ'. Into σ = 0 there is nothing to correct and x = D.
    """
    for i, sigma, target in levels(sigmas):
        x0 = denoise_at(denoise, x, sigma)
        x = x0 + (x - x0) * (target / sigma) ** 2
        if target > 0:
            first = i * (count + 1)
            x = x + draw(first) * math.sqrt(sigma**2 - target**2)
            x, x0 = walk(denoise, x, target, draw, first + 1, snr=snr, count=count)
        yield Step(i, target, x, x0)


def make_langevin(snr: float = LANGEVIN_SNR, langevin_steps: int = LANGEVIN_STEPS) -> Sampler:
    """Annealed Langevin dynamics with `langevin_steps` steps at each level, of signal-to-noise ratio `snr`."""
    function = partial(langevin, snr=snr, count=langevin_steps)
    return Sampler(function, evaluations=langevin_steps, draws=langevin_steps, order=0)


def make_predictor_corrector(snr: float = CORRECTOR_SNR, langevin_steps: int = CORRECTOR_STEPS) -> Sampler:
    """A predictor, and `langevin_steps` steps of a corrector of signal-to-noise ratio `snr` at each level."""
    function = partial(predictor_corrector, snr=snr, count=langevin_steps)
    return Sampler(function, evaluations=langevin_steps + 1, draws=langevin_steps + 1, order=0)


TUNABLE |= {
    "langevin": Tunable(make_langevin, ("snr", "langevin_steps")),
    "pc": Tunable(make_predictor_corrector, ("snr", "langevin_steps")),
}
SAMPLERS |= {"langevin": make_langevin(), "pc": make_predictor_corrector()}
