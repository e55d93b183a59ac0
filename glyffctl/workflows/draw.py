"""Prompts to pictures in numbers: what every figure about a model starts from."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from glyffctl.core.data.dataset import to_pixels
from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.diffusion.denoiser import Denoiser
from glyffctl.core.diffusion.samplers import Step
from glyffctl.core.diffusion.schedule import Schedule
from glyffctl.core.errors import EmbeddingError, ModelError
from glyffctl.core.interop.diffusers_model import DiffusersModel
from glyffctl.core.models.checkpoint import Model
from glyffctl.core.models.generate import Recipe, generate
from glyffctl.core.precision import Precision, autocast_dtype
from glyffctl.core.text.encoder import TextEncoder
from glyffctl.core.text.loading import load_encoder
from glyffctl.workflows.events import Event, Progress

_ENCODE_AT_ONCE = 64  # texts


def load_text_encoder(
    model: Model | DiffusersModel, encoder: str | None, *, with_transformers: bool = False
) -> Generator[Event, None, TextEncoder]:
    """The text encoder that `model` was trained with; `encoder` says where it is, if it moved.

    `with_transformers` as in `load_encoder`.

    Raises:
        EmbeddingError: it cannot be had, or is another one.
    """
    trained = model.encoder
    name = encoder or trained.name
    if not name:
        raise EmbeddingError(
            f"this model does not say which text encoder it was trained with; it reads vectors of {model.text_width} "
            "numbers: name one with --encoder"
        )
    yield Progress("Loading the text encoder", 0, 1)
    loaded = load_encoder(
        name, max_tokens=trained.max_tokens, encodes_empty=model.encodes_empty, with_transformers=with_transformers
    )
    yield Progress("Loading the text encoder", 1, 1)
    if loaded.width != model.text_width:
        raise EmbeddingError(
            f"the text encoder {name} gives vectors of {loaded.width} numbers, this model reads {model.text_width}: "
            "it was trained with another one; name that with --encoder"
        )
    if trained.fingerprint not in ("", loaded.fingerprint):
        raise EmbeddingError(
            f"the text encoder {name} is not the one this model was trained with ({trained.name}): "
            "its weights or tokenizer differ; say with --encoder where that one is"
        )
    return loaded


def encode_prompts(encoder: TextEncoder, texts: Sequence[str]) -> Condition:
    """(N, L, D) the texts, a few at a time."""
    parts = [list(texts[i : i + _ENCODE_AT_ONCE]) for i in range(0, len(texts), _ENCODE_AT_ONCE)]
    return Condition.cat([encoder.encode(part) for part in parts])


@dataclass(frozen=True, eq=False)
class Drawer:
    """A denoiser with all that drawing needs besides a prompt."""

    denoiser: Denoiser
    schedule: Schedule
    size: int
    width: int
    """D of the token vectors that the network reads."""
    device: torch.device
    batch: int = 16
    """Pictures drawn at once."""
    channels: int = 1
    clip: float | None = 1.0
    """Guesses of x0 are held in ±clip."""
    low: float = -1.0
    """The value of black in the data that the network learned from; white is 1."""

    @property
    def precision(self) -> Precision:
        """What the inside of the network is computed in."""
        return "fp32" if self.denoiser.autocast is None else "bf16"

    @staticmethod
    def of(model: Model | DiffusersModel, device: torch.device, batch: int, precision: str = "auto") -> Drawer:
        """A drawer for a trained model, which is moved to `device`."""
        return Drawer(
            Denoiser(model.network.to(device), model.prediction, autocast_dtype(precision, device)),
            model.schedule,
            model.size,
            model.text_width,
            device,
            batch,
            model.channels,
            model.clip,
            model.low,
        )

    def pixels(self, x: Tensor) -> Tensor:
        """(B, H, W) uint8 on the CPU: pictures (B, C, H, W) as the network knows them, their channels averaged."""
        grey = x.mean(1)
        return to_pixels(grey if self.low == -1 else (grey - self.low) * (2 / (1 - self.low)) - 1).cpu()

    def draw(
        self,
        recipe: Recipe,
        text: Condition,
        seeds: Tensor,
        *,
        negative: Condition | None = None,
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
            away = (negative or Condition.none(1, self.width)).rows(torch.zeros_like(rows)).to(self.device)
            x = torch.empty(0)
            for step in generate(
                self.denoiser,
                self.schedule,
                recipe,
                towards,
                away,
                seeds[rows].to(self.device),
                self.size,
                channels=self.channels,
                clip=self.clip,
            ):
                x = step.x
                if watch is not None:
                    watch(step)
                yield done + len(rows) * (step.i + 1) / recipe.steps
            if not bool(x.isfinite().all()):
                raise ModelError(
                    "the network's answer is not a finite number; try a smaller --guidance or another model"
                )
            pictures.append(self.pixels(x))
            done += len(rows)
        return torch.cat(pictures)


def with_progress(
    drawing: Generator[float, None, Tensor], start: Progress, each: float = 1.0
) -> Generator[Event, None, Tensor]:
    """Tell of a drawing as progress from `start` on, each picture counting `each`."""
    while True:
        try:
            done = next(drawing)
        except StopIteration as stop:
            pictures: Tensor = stop.value
            return pictures
        yield replace(start, done=start.done + each * done)
