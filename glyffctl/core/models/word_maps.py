"""Where one drawing looks at which word of its prompt, by noise level and layer."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import torch
from torch import Tensor

from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.diffusion.denoiser import Denoiser
from glyffctl.core.diffusion.samplers import Step
from glyffctl.core.models.drawer import Drawer
from glyffctl.core.models.recipe import Recipe
from glyffctl.core.networks.attention_maps import kept_attention
from glyffctl.core.networks.network import Network


@dataclass(frozen=True, eq=False)
class WordMaps:
    """Maps of the attention in one drawing.

    Attributes:
        sigmas: the noise levels looked at, descending.
        guesses: (S, size, size) uint8, the guess of the picture at each.
        layers: names of the layers with cross-attention, in the order in which they compute.
        maps: for each level and layer (L, H, W): the share of each token in what a position of that layer takes from
            the text, the mean over heads.
    """

    sigmas: list[float]
    guesses: Tensor
    layers: list[str]
    maps: list[list[Tensor]]

    def mean_over_layers(self, level: int) -> Tensor:
        """(L, size, size): the maps of all layers, as large as the picture, at the level number `level`."""
        size = self.guesses.shape[-1]
        layers = [
            torch.nn.functional.interpolate(each[None], (size, size), mode="nearest") for each in self.maps[level]
        ]
        return torch.cat(layers).mean(0)


def word_maps(
    drawer: Drawer, network: Network, recipe: Recipe, condition: Condition, seed: int, sigmas: tuple[float, ...]
) -> Generator[float, None, WordMaps]:
    """Draw one picture, and look at the attention of its prompt near each of `sigmas`; yields fractions done.

    Args:
        drawer: draws it as ever.
        network: of the model, in float32, on the drawer's device; it has cross-attention
            (`attention_maps.looks_at_words`).
        recipe: to draw by.
        condition: one row.
        seed: of the drawing.
        sigmas: descending; each is replaced by the nearest level that the drawing passes.
    """
    steps: list[Step] = []
    yield from drawer.draw(recipe, condition, torch.tensor([seed]), watch=steps.append)
    passed = [step for step in steps if step.sigma > 0]
    near = {min(passed, key=lambda step: abs(step.sigma / sigma - 1)).i: None for sigma in sigmas} if passed else {}
    chosen = [step for step in passed if step.i in near]
    # A pass of its own in float32: what draws may be a narrowed copy of the network, and has rows without the prompt.
    denoiser = Denoiser(network, drawer.denoiser.prediction)
    with torch.no_grad():
        context = network.encode(condition.to(drawer.device))
        with kept_attention(network) as kept:
            found = [denoiser(step.x, torch.tensor([step.sigma], dtype=torch.float64), context) for step in chosen]
    guesses = drawer.pictures(torch.cat(found)) if found else torch.zeros(0, drawer.codec.size, drawer.codec.size)
    maps = [[layer[0] for layer in layers] for layers in kept.passes]
    return WordMaps([step.sigma for step in chosen], guesses, kept.layers, maps)
