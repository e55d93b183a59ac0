"""Samplers: what a step costs beside the network, ours and diffusers', and how good pictures are after so many."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.diffusion.guidance import guide
from glyffctl.core.io.bundled import BUNDLED, pretrained
from glyffctl.core.models.checkpoint import MODEL_FILE, load_model
from glyffctl.core.models.drawer import Drawer, encode_prompts
from glyffctl.core.models.generate import generate
from glyffctl.core.models.recipe import Recipe
from glyffctl.core.text.loading import load_encoder
from tests.bench.measure import Row, Timing, alternate, device, glyffctl, processes

STEPS, COUNT = 20, 16
THEIRS: dict[str, tuple[str, dict[str, Any]]] = {
    "ddpm": ("DDPMScheduler", {"timestep_spacing": "trailing"}),
    "ddim": ("DDIMScheduler", {"timestep_spacing": "trailing"}),
    "dpmpp-2m": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++"}),
    "dpmpp-2m-sde": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    "heun": ("HeunDiscreteScheduler", {}),
}


def rows(repeats: int, data: Path) -> Iterator[Row]:
    """The model in the box under every sampler."""
    yield from _loops(repeats)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "evaluation.json"
        processes(
            {"": glyffctl("evaluate", "--data", str(data), "--model", BUNDLED, "--steps-table", "--out", str(out))}, 1
        )
        for row in json.loads(out.read_text())["steps"]:
            adherence, distance = row["adherence"], row["kernel_distance"]
            yield Row(
                group="quality",
                name=f"{row['sampler']}, {row['steps']} steps, {row['passes']} passes",
                ours=Timing([row["seconds"]]),
                note=f"{adherence['value']:.0%} with the radical asked for "
                f"({adherence['low']:.0%}–{adherence['high']:.0%}), kernel distance {distance['value']:.3f} "
                f"({distance['low']:.3f}–{distance['high']:.3f})",
                figures={"adherence": adherence["value"], "kernel distance": distance["value"]},
            )


def _loops(repeats: int) -> Iterator[Row]:
    """The same network driven by our sampler and by diffusers' scheduler of the same name."""
    import diffusers

    model = load_model(pretrained(MODEL_FILE))
    drawer = Drawer.of(model, device(), COUNT)
    encoder = load_encoder(BUNDLED, max_tokens=model.encoder.max_tokens)
    text = encode_prompts(encoder, ["gold"]).rows(torch.zeros(COUNT, dtype=torch.long)).to(device())
    nothing = Condition.none(COUNT, drawer.text_width).to(device())
    seeds = torch.arange(COUNT, device=device())
    for name, (kind, settings) in THEIRS.items():
        scheduler = getattr(diffusers, kind)(num_train_timesteps=1000, **settings)

        def ours(name: str = name) -> None:
            recipe = Recipe(sampler=name, steps=STEPS)
            for _ in generate(drawer.denoiser, drawer.schedule, recipe, text, nothing, seeds, drawer.codec.shape):
                pass

        @torch.no_grad()
        def theirs(scheduler: Any = scheduler) -> None:
            denoise = guide(drawer.denoiser, text, nothing, 4.0)
            scheduler.set_timesteps(STEPS, device=device())
            x: Tensor = torch.randn(COUNT, *drawer.codec.shape, device=device()) * scheduler.init_noise_sigma
            for t in scheduler.timesteps:
                z = scheduler.scale_model_input(x, t)
                alpha = scheduler.alphas_cumprod[int(t)]
                sigma = ((1 - alpha) / alpha).sqrt()
                guess = denoise(z / alpha.sqrt(), sigma.expand(COUNT).to(device()))
                eps = (z / alpha.sqrt() - guess) / sigma
                x = scheduler.step(eps.float(), t, x).prev_sample

        times = alternate({"ours": ours, "theirs": theirs}, repeats)
        yield Row(
            group="samplers",
            name=f"{name}, {STEPS} steps, {COUNT} pictures, the same network",
            ours=times["ours"],
            theirs=times["theirs"],
            instead=f"diffusers' {kind}",
        )
