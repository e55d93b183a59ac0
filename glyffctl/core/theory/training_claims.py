"""Claims that take models trained for the purpose, decided from tables of what was measured on them.

A table has rows of plain values: numbers, and measured values as [value, low, high, count].
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from glyffctl.core.estimates import Estimate, mean
from glyffctl.core.theory.claims import Claim, Verdict, corrected, holds

Rows = Sequence[Mapping[str, Any]]
ADVISED = (0.1, 0.2)
"""The share of captions that a companion has dropped in training."""


def pooled(rows: Iterable[Mapping[str, Any]], name: str) -> Estimate:
    """One value of several runs: the mean of the values, and the widest of the intervals or the spread of the runs."""
    values = [Estimate(float(v), float(low), float(high), int(n)) for v, low, high, n in (row[name] for row in rows)]
    centre = sum(each.value for each in values) / len(values)
    low, high = min(each.low for each in values), max(each.high for each in values)
    return Estimate(centre, low, high, sum(each.count for each in values))


def _share(rows: Rows) -> Estimate:
    """The share of pictures with the radical asked for: the mean over prompts of the mean over runs."""
    return mean(_by_prompt(rows))


def _difference(rows: Rows, others: Rows) -> Estimate:
    """By how much that share is larger than that of other runs, prompt by prompt."""
    return mean(_by_prompt(rows) - _by_prompt(others))


def _by_prompt(rows: Rows) -> Tensor:
    """(prompts,): of each prompt the mean over runs."""
    return torch.tensor([row["prompts"] for row in rows], dtype=torch.float64).mean(0)


def dropout(rows: Rows) -> Claim:
    """Dropping 10 to 20 % of the captions is enough for guidance: radicals drawn, by the share that was dropped.

    Shares are compared prompt by prompt; their intervals know of the scatter between prompts, not of that between runs.

    Args:
        rows: with "dropout" from 0 to 1, and "prompts", for each prompt the share of pictures under guidance that have
            its radical; several with the same "dropout" are runs with other seeds. 0, 0.1 and 0.2 must be there.
    """
    by_share = defaultdict(list)
    for row in rows:
        by_share[float(row["dropout"])].append(row)
    if missing := {0.0, *ADVISED} - by_share.keys():
        raise KeyError(f"no model with {min(missing):.0%} dropped")
    estimates = {f"{part:.0%}": _share(by_share[part]) for part in sorted(by_share)}
    for part in ADVISED:
        estimates[f"{part:.0%} less 0%"] = _difference(by_share[part], by_share[0.0])
    others = [of for part, of in by_share.items() if part not in ADVISED]
    enough = not any(_difference(of, by_share[part]).low > 0 for of in others for part in ADVISED)
    needed = all(estimates[f"{part:.0%} less 0%"].low > 0 for part in ADVISED)
    return Claim("dropout", holds(True) if enough and needed else corrected(enough), estimates)


def contrastive(rows: Rows) -> Claim:
    """A text encoder need not have been trained beside pictures: radicals drawn, by the encoder of the text.

    With a correction where one that was does better, and the other draws at least half as many.

    Args:
        rows: with "contrastive", true or false, and "prompts" as for `dropout`.
    """
    without, trained = ([row for row in rows if bool(row["contrastive"]) is kind] for kind in (False, True))
    estimates = {"text alone": _share(without), "contrastive": _share(trained), "more": _difference(trained, without)}
    half = estimates["text alone"].value >= estimates["contrastive"].value / 2
    return Claim("contrastive", holds(True) if estimates["more"].low <= 0 else corrected(half), estimates)


def _family(rows: Rows, name: str) -> list[Mapping[str, Any]]:
    return [row for row in rows if row["family"] == name]


def _compare(rows: Rows, measured: str, names: tuple[str, str]) -> tuple[Estimate, Estimate]:
    one, other = (pooled(_family(rows, name), measured) for name in names)
    return one, other


def vae_blurry(rows: Rows) -> Claim:
    """Samples of a VAE are blurry: grey pixels, beside those of a diffusion model and of real glyphs."""
    vae, diffusion = _compare(rows, "grey", ("vae", "diffusion"))
    estimates = {"VAE": vae, "diffusion": diffusion, "real": pooled(_family(rows, "real"), "grey")}
    return Claim("VAE blurry", holds(vae.low > diffusion.high and vae.low > estimates["real"].high), estimates)


def gan_fast(rows: Rows) -> Claim:
    """A GAN is sharp and fast: grey pixels and seconds for a picture, beside a diffusion model."""
    gan, diffusion = _compare(rows, "grey", ("gan", "diffusion"))
    real = pooled(_family(rows, "real"), "grey")
    seconds = {name: float(_family(rows, name)[0]["seconds"]) for name in ("gan", "diffusion")}
    fast, sharp = seconds["gan"] < seconds["diffusion"] / 2, gan.low < 1.25 * max(real.high, diffusion.high)
    estimates = {"GAN": gan, "diffusion": diffusion, "real": real}
    verdict: Verdict = "holds" if fast and sharp else corrected(fast or sharp)
    return Claim("GAN fast", verdict, estimates, {f"seconds, {name}": each for name, each in seconds.items()})


def _spread(rows: Rows, name: str) -> float:
    """The largest less the smallest distance from real glyphs among runs that differ in their seed."""
    distances = torch.tensor([float(row["distance"][0]) for row in _family(rows, name)])
    return float(distances.max() - distances.min())


def gan_unstable(rows: Rows) -> Claim:
    """Training a GAN is unstable: how far runs with other seeds end apart, beside a VAE and a diffusion model."""
    numbers = {f"spread, {name}": _spread(rows, name) for name in ("gan", "vae", "diffusion")}
    numbers["runs"] = min(len(_family(rows, name)) for name in ("gan", "vae", "diffusion"))
    apart = numbers["spread, gan"] > 2 * max(numbers["spread, vae"], numbers["spread, diffusion"])
    return Claim("GAN unstable", holds(apart and numbers["runs"] >= 2), numbers=numbers)


def gan_collapses(rows: Rows) -> Claim:
    """A GAN loses modes: recall of real glyphs, beside a diffusion model."""
    gan, diffusion = _compare(rows, "recall", ("gan", "diffusion"))
    return Claim("mode collapse", holds(gan.high < diffusion.low), {"GAN": gan, "diffusion": diffusion})


def diffusion_quality(rows: Rows) -> Claim:
    """Diffusion draws best: the distance of its pictures from real glyphs, beside a VAE and a GAN."""
    estimates = {name: pooled(_family(rows, name), "distance") for name in ("diffusion", "vae", "gan")}
    best = all(estimates["diffusion"].high < estimates[name].low for name in ("vae", "gan"))
    lowest = min(estimates, key=lambda name: estimates[name].value) == "diffusion"
    return Claim("diffusion quality", holds(True) if best else corrected(lowest), estimates)


def diffusion_slow(rows: Rows) -> Claim:
    """Diffusion is slow, and fast samplers mitigate that: seconds for a picture, also of a student in few passes."""
    numbers = {f"seconds, {name}": float(_family(rows, name)[0]["seconds"]) for name in ("diffusion", "vae", "gan")}
    student = _family(rows, "student")
    if student:
        numbers["seconds, student"] = float(student[0]["seconds"])
    slow = numbers["seconds, diffusion"] > 2 * max(numbers["seconds, vae"], numbers["seconds, gan"])
    return Claim("diffusion slow", holds(slow), numbers=numbers)


def networks(rows: Rows) -> Claim:
    """The U-Net suits pictures particularly well: errors of a U-Net and a transformer after equal training, by σ.

    Args:
        rows: with "network", "unet" or "dit", and "error", a table of the mean squared error by σ as text.
    """
    errors = {row["network"]: row["error"] for row in rows}
    levels = sorted(errors["unet"], key=float)
    numbers = {f"{name}, σ = {level}": float(errors[name][level]) for name in ("unet", "dit") for level in levels}
    better = [errors["unet"][level] < errors["dit"][level] for level in levels]
    return Claim("U-Net", holds(True) if all(better) else corrected(any(better)), numbers=numbers)


TRAINED: dict[str, tuple[str, Callable[[Rows], Claim]]] = {
    "dropout": ("dropout", dropout),
    "contrastive": ("contrastive", contrastive),
    "U-Net": ("networks", networks),
    "VAE blurry": ("families", vae_blurry),
    "GAN fast": ("families", gan_fast),
    "GAN unstable": ("families", gan_unstable),
    "mode collapse": ("families", gan_collapses),
    "diffusion quality": ("families", diffusion_quality),
    "diffusion slow": ("families", diffusion_slow),
}
"""Claims by name: the table that decides on each, and how."""
