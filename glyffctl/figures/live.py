"""What the page of `noise-demo` needs to compute a figure anew at every step t: small exact data, no frames.

`figures/demo_page` has the scripts. The levels, the glyph and the points that they get are those of the still figures,
and what they compute from them is what `core` computes. Noise is drawn in the page, by the same seed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from glyffctl.core.codecs.pixels import to_pixels
from glyffctl.core.diffusion.denoiser import Denoise
from glyffctl.core.diffusion.schedule import SCHEDULES, make_schedule
from glyffctl.core.theory.walks import PLACES, SIGMA, STEPS, WEIGHTS, compare_walks, modes
from glyffctl.figures import density_score, gaussians, walks
from glyffctl.figures.demo_scene import DemoScene, Live
from glyffctl.figures.inline import packed, picture_sheet
from glyffctl.figures.schedules import COLOURS
from glyffctl.figures.style import PALETTE

GUESSES = 25
"""Steps t of each schedule at which denoisers guess."""
GREYS = 127 * 2 / 255
"""What 127 steps of a guess are: one step is one grey of a picture."""
WALKERS, WALK_FRAMES = 100, 101
CLIP = 24
"""Frames of an animation: noise does not compress."""


def common_data(scene: DemoScene) -> dict[str, Any]:
    """What all live figures of a page use: the levels of the schedules, the glyph, colours."""
    return {
        "schedules": {
            name: {"sigmas": packed(make_schedule(name).sigmas, "<f8"), "colour": COLOURS[name]} for name in SCHEDULES
        },
        "schedule": scene.schedule_name,
        "glyph": packed(to_pixels(scene.glyph), "u1"),
        "side": scene.glyph.shape[-1],
        "seed": scene.seed % 2**32,
        "palette": list(PALETTE),
    }


def _noising(scene: DemoScene) -> Live:  # noqa: ARG001 - all of it is in `common_data`
    return Live(
        "noising",
        {},
        "Three pictures: what is left of the glyph, the noise so far, and their sum, the noisy glyph at step t.",
    )


def _strips(scene: DemoScene) -> Live:  # noqa: ARG001
    return Live(
        "strips",
        {},
        "The same glyph at the same step under each schedule, and below the share of signal over all steps with a mark "
        "at this one.",
    )


def _factor(scene: DemoScene) -> Live:  # noqa: ARG001
    return Live(
        "factor",
        {},
        "A noisy glyph, its noise, and the score with its sign flipped, whose contrast grows as the noise level falls; "
        "below, how many times longer it is than the noise, over all steps.",
    )


def _shrinking(scene: DemoScene) -> Live:  # noqa: ARG001
    return Live(
        "shrinking",
        {"points": packed(gaussians.spiral(400), "<f8"), "reach": 7},
        "Points of a spiral after the same steps: at the left they become a cloud that keeps its size, at the right, "
        "without the factor, one that grows.",
    )


def _plane(scene: DemoScene) -> dict[str, Any]:
    return {
        "points": packed(scene.plane, "<f8"),
        "groups": packed(scene.groups, "u1"),
        "names": list(scene.group_names),
        "reach": density_score.REACH,
        "sharpest": density_score.SHARPEST,
    }


def _density(scene: DemoScene) -> Live:
    return Live(
        "density",
        _plane(scene),
        "At the left the noisy glyphs as dots, at the right the density that they are drawn from.",
    )


def _score(scene: DemoScene) -> Live:
    return Live("score", _plane(scene), "Arrows of the score on the density of the noisy glyphs.")


def _brightness(scene: DemoScene) -> Live:
    """The mean of each glyph, in standard deviations of the mean of pure noise."""
    side = scene.glyph.shape[-1]
    return Live(
        "brightness",
        {"means": packed(scene.glyphs.double().mean((1, 2, 3)) * side, "<f8")},
        "The distribution of the brightness of noisy glyphs, and the bell curve of pure noise.",
    )


def _walks(scene: DemoScene) -> Live:
    found = compare_walks(scene.seed)
    kept = torch.linspace(0, STEPS, WALK_FRAMES).round().long()
    paths = {"without noise": found.climbing, "with noise": found.walking}
    return Live(
        "walks",
        {
            "frames": kept.tolist(),
            "paths": {name: packed(path[kept, :WALKERS], "<f4") for name, path in paths.items()},
            "walkers": WALKERS,
            "drawn": walks.SHOWN,
            "points": packed(torch.tensor(PLACES).repeat_interleave(torch.tensor(WEIGHTS), 0), "<f8"),
            "modes": modes().tolist(),
            "names": list(walks.NAMES),
            "expected": found.expected.tolist(),
            "sigma": SIGMA,
            "reach": walks.REACH,
        },
        "Two panels of walks on the same hill, without noise and with it, up to this step; below, how many are nearest "
        "to each top now.",
    )


LIVE: dict[str, Callable[[DemoScene], Live]] = {
    "process": _noising,
    "schedules": _strips,
    "factor": _factor,
    "first-step": _shrinking,
    "density": _density,
    "score": _score,
    "pure-noise": _brightness,
    "walks": _walks,
}
"""By the names of `registry`: the figures of a process that need no model."""


def live_guesses(scene: DemoScene, model: Denoise | None) -> Live:
    """What denoisers make of one noisy glyph, at `GUESSES` steps of each schedule.

    Kept is the difference of the glyph and the guess, in 254 steps of its largest value at each level: guess, predicted
    noise and its error follow from that as exactly at any level.

    Args:
        scene: the glyph, and the data of the exact denoiser.
        model: as in `process.draw_loop`.
    """
    eps = scene.noise(scene.glyph.double())
    denoisers: dict[str, Denoise] = {"exact denoiser": scene.data}
    if model is not None:
        denoisers["model"] = lambda x, sigma: model(x.float(), sigma.float()).double()
    content: dict[str, Any] = {"noise": packed(eps, "<f4"), "times": {}, "denoisers": list(denoisers), "guesses": {}}
    for name in SCHEDULES:
        levels = make_schedule(name).sigmas
        times = torch.linspace(1, len(levels), GUESSES).round().long()
        content["times"][name] = times.tolist()
        content["guesses"][name] = {}
        for who, denoise in denoisers.items():
            missed = []
            for sigma in levels[times - 1].split(5):
                x = scene.glyph.double() + sigma[:, None, None, None] * eps
                missed.append((scene.glyph.double() - denoise(x, sigma))[:, 0])
            content["guesses"][name][who] = scaled_sheet(torch.cat(missed))
    return Live(
        "guesses",
        content,
        "The noisy glyph, what each denoiser guesses behind it, and in colour the error of the noise that it predicts.",
    )


def recorded_drawings(noise: Tensor, levels: list[tuple[int, float]], guesses: list[Tensor]) -> dict[str, Any]:
    """Drawings by DDIM from one noise, for demo_page/drawing.js, which computes x and the predicted noise again.

    Args:
        noise: (1, H, W) N(0, 1).
        levels: (t, σ) of each of N steps and of the end.
        guesses: x0 as it is guessed at each step of each drawing, (N, 1, H, W).
    """
    return {
        "noise": packed(noise, "<f4"),
        "levels": levels,
        "sheets": [scaled_sheet(_changes(each[:, 0].double()), GREYS) for each in guesses],
    }


def decoded_drawings(levels: list[tuple[int, float]], drawings: list[tuple[Tensor, ...]]) -> dict[str, Any]:
    """Drawings of which the page computes nothing, for demo_page/drawing.js, in 16 greys.

    Args:
        levels: (t, σ) of each of N steps and of the end.
        drawings: of each x, the guess and the predicted noise as pictures (N + 1, H, W) uint8.
    """
    return {
        "levels": levels,
        "decoded": [[picture_sheet((row / 17).round().to(torch.uint8) * 17) for row in each] for each in drawings],
    }


def _changes(pictures: Tensor) -> Tensor:
    """(N, H, W): how each picture differs from what `scaled_sheet` keeps of those before: errors do not add up."""
    kept, changes = torch.zeros_like(pictures[0]), []
    for picture in pictures:
        changes.append(picture - kept)
        steps, reach = _in_steps(changes[-1][None], GREYS)
        kept = kept + steps[0] / 127 * reach[0]
    return torch.stack(changes)


def _in_steps(values: Tensor, least: float) -> tuple[Tensor, Tensor]:
    """Pictures (N, H, W) in whole steps, −127…127, and what 127 steps are (N,): the largest value, or `least`."""
    reach = values.abs().amax((1, 2)).double().clamp(min=least)
    return (values.double() / reach[:, None, None] * 127).round(), reach


def live_frames(frames: list[Image.Image], levels: list[tuple[int, float]], heading: str) -> Live:
    """At most `CLIP` frames of an animation, with (t, σ) of each, in 16 greys as in its GIF."""
    kept = torch.linspace(0, len(frames) - 1, min(CLIP, len(frames))).round().int().tolist()
    greys = np.stack([np.asarray(frames[k].convert("L")) for k in kept])
    rounded = ((greys / 17).round() * 17).astype(np.uint8)
    return Live(
        "frames", {"heading": heading, "levels": [levels[k] for k in kept], "sheet": picture_sheet(rounded)}, heading
    )


def scaled_sheet(values: Tensor, least: float = 1e-12) -> dict[str, Any]:
    """Pictures (N, H, W) of any numbers as a sheet; `reach` (N) is what −127 and 127 around the grey 128 stand for.

    Args:
        values: the numbers.
        least: the smallest `reach`. Numbers are kept to a 254th of it.
    """
    steps, reach = _in_steps(values, least)
    return picture_sheet((steps + 128).to(torch.uint8)) | {"reach": reach.tolist()}
