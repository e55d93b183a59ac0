"""Prompts to pictures in numbers: what every figure about a model starts from."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from glyffctl.core.checkpoint import Model
from glyffctl.core.config import Precision
from glyffctl.core.dataset import to_pixels
from glyffctl.core.denoiser import Denoiser
from glyffctl.core.errors import EmbeddingError, ModelError
from glyffctl.core.generate import Recipe, generate
from glyffctl.core.precision import settle
from glyffctl.core.samplers import Step
from glyffctl.core.schedule import Schedule, make_schedule
from glyffctl.core.text import TextBatch, TextEncoder, load_encoder
from glyffctl.workflows.events import Event, Progress

_ENCODE_AT_ONCE = 64  # texts


def reader(model: Model, encoder: str | None) -> Generator[Event, None, TextEncoder]:
    """The text encoder that `model` was trained with; `encoder` says where it is, if it moved.

    Raises:
        EmbeddingError: it cannot be had, or is another one.
    """
    trained = model.origin.encoder
    name = encoder or trained.name
    yield Progress("Loading the text encoder", 0, 1)
    loaded = load_encoder(name, max_tokens=trained.max_tokens)
    yield Progress("Loading the text encoder", 1, 1)
    if loaded.fingerprint != trained.fingerprint:
        raise EmbeddingError(
            f"the text encoder {name} is not the one this model was trained with ({trained.name}): "
            "its weights or tokenizer differ; say with --encoder where that one is"
        )
    return loaded


def read(encoder: TextEncoder, texts: Sequence[str]) -> TextBatch:
    """(N, L, D) the texts, a few at a time."""
    parts = [list(texts[i : i + _ENCODE_AT_ONCE]) for i in range(0, len(texts), _ENCODE_AT_ONCE)]
    return TextBatch.cat([encoder.encode(part) for part in parts])


@dataclass(frozen=True, eq=False)
class Pen:
    """A denoiser with all that drawing needs besides a prompt."""

    denoiser: Denoiser
    schedule: Schedule
    size: int
    width: int
    """D of the token vectors that the network reads."""
    device: torch.device
    batch: int = 16
    """Pictures drawn at once."""

    @property
    def precision(self) -> Precision:
        """What the inside of the network is computed in."""
        return "fp32" if self.denoiser.autocast is None else "bf16"

    @staticmethod
    def of(model: Model, device: torch.device, batch: int, precision: str = "auto") -> Pen:
        """A pen for a trained model, which is moved to `device`."""
        config = model.origin.config
        autocast = settle(precision, device)
        denoiser = Denoiser(model.network.to(device), config.diffusion.prediction, autocast)
        network = model.network.config
        return Pen(denoiser, make_schedule(config.diffusion.schedule), network.size, network.text_width, device, batch)

    def draw(
        self,
        recipe: Recipe,
        text: TextBatch,
        seeds: Tensor,
        *,
        negative: TextBatch | None = None,
        watch: Callable[[Step], None] | None = None,
    ) -> Generator[float, None, Tensor]:
        """One picture of each row of `text` with the seed of the same place: (B, H, W) uint8 on the CPU.

        Yields how many pictures are done, in fractions as the sampler steps.

        Args:
            negative: one row, what to be led away from; None is no caption.
            watch: is shown every step of every batch.

        Raises:
            ModelError: the network's answer is not finite.
        """
        pictures = [torch.empty(0, self.size, self.size, dtype=torch.uint8)]
        done = 0
        for rows in torch.arange(len(seeds)).split(self.batch):
            towards = text.rows(rows).to(self.device)
            away = (negative or TextBatch.none(1, self.width)).rows(torch.zeros_like(rows)).to(self.device)
            x = torch.empty(0)
            for step in generate(
                self.denoiser, self.schedule, recipe, towards, away, seeds[rows].to(self.device), self.size
            ):
                x = step.x
                if watch is not None:
                    watch(step)
                yield done + len(rows) * (step.i + 1) / recipe.steps
            if not bool(x.isfinite().all()):
                raise ModelError(
                    "the network's answer is not a finite number; try a smaller --guidance or another model"
                )
            pictures.append(to_pixels(x)[:, 0].cpu())
            done += len(rows)
        return torch.cat(pictures)


def told(drawing: Generator[float, None, Tensor], start: Progress, each: float = 1.0) -> Generator[Event, None, Tensor]:
    """Tell of a drawing as progress from `start` on, each picture counting `each`."""
    while True:
        try:
            done = next(drawing)
        except StopIteration as stop:
            pictures: Tensor = stop.value
            return pictures
        yield replace(start, done=start.done + each * done)
