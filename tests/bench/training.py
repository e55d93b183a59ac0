"""Training: our step, and a loop as the reference writes it, with accelerate and diffusers; text encoded beforehand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from diffusers import DDPMScheduler
from diffusers.optimization import get_cosine_schedule_with_warmup
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

from glyffctl.core.codecs.pixels import to_unit
from glyffctl.core.data.dataset import GlyphSet
from glyffctl.core.data.embeddings import Embeddings, load_embeddings
from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.interop.diffusers_export import as_unet
from glyffctl.core.models.config import Config, parse, read_preset
from glyffctl.core.networks.unet import UNetConfig
from glyffctl.core.training.trainer import Trainer
from glyffctl.workflows.events import finish
from tests.bench.measure import Row, alternate, device, peak_flops
from tests.bench.networks import in_groups
from tests.test_unet import in_diffusers

STEPS = 4  # of the optimizer, timed together


class _Glyphs(Dataset[dict[str, Tensor]]):
    """Pictures as PIL gives them, with the caption's tokens from a cache."""

    def __init__(self, glyphs: GlyphSet, embeddings: Embeddings) -> None:
        self.glyphs, self.embeddings = glyphs, embeddings

    def __len__(self) -> int:
        return len(self.glyphs)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        text = self.embeddings.batch(self.glyphs.caption_of[index : index + 1], length=self.embeddings.longest)
        return {
            "picture": to_unit(self.glyphs.images(torch.tensor([index])))[0],
            "tokens": text.tokens[0],
            "mask": text.mask[0],
        }


class _Patched(nn.Module):
    """diffusers' network behind our pixel blocks and our layer on the text, to be the same network."""

    def __init__(self, trainer: Trainer) -> None:
        super().__init__()
        network = as_unet(trainer.network.cpu())
        self.patch = network.config.patch
        self.text = nn.Linear(network.config.text_width, network.config.context_width)
        self.network = in_diffusers(network)

    def forward(self, x: Tensor, t: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        answer: Tensor = self.network(
            F.pixel_unshuffle(x, self.patch),
            t,
            encoder_hidden_states=self.text(tokens),
            encoder_attention_mask=mask,
        ).sample
        return F.pixel_shuffle(answer, self.patch)


def _loop(trainer: Trainer, precision: str) -> Iterator[None]:
    """The reference's training loop (yue-here/glyffuser), a step each time it is asked."""
    training, data = trainer.config.training, trainer.objective.data
    model: Any = _Patched(trainer)
    AcceleratorState._reset_state(reset_partial_state=True)  # else the first precision of a process is its last
    accelerator = Accelerator(mixed_precision=precision.replace("fp32", "no"), cpu=device().type == "cpu")
    optimizer: Any = torch.optim.AdamW(model.parameters(), lr=1e-4)
    loader: Any = DataLoader(
        _Glyphs(data.glyphs, data.embeddings.to(torch.device("cpu"))),
        batch_size=training.batch,
        shuffle=True,
    )
    rate: Any = get_cosine_schedule_with_warmup(optimizer, 500, 100_000)
    model, optimizer, loader, rate = accelerator.prepare(model, optimizer, loader, rate)
    scheduler = DDPMScheduler(num_train_timesteps=1000)
    while True:
        for batch in loader:
            clean = batch["picture"]
            noise = torch.randn(clean.shape).to(clean.device)
            t = torch.randint(0, 1000, (len(clean),), device=clean.device)
            noisy = scheduler.add_noise(clean, noise, t)
            with accelerator.accumulate(model):
                loss = F.mse_loss(model(noisy, t, batch["tokens"], batch["mask"]), noise)
                accelerator.backward(loss)
                accelerator.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                rate.step()
                optimizer.zero_grad()
            loss.detach().item()  # shown in the bar at every step
            yield


def rows(repeats: int, data: Path) -> Iterator[Row]:
    """Pictures a second, and the share of what this device reaches on a product of matrices."""
    glyphs = open_glyphs(data)
    embeddings = load_embeddings(data, glyphs.captions)
    cuda = device().type == "cuda"
    for preset, batch in (("cpu", 32), ("gpu", 256), ("glyffuser", 64)) if cuda else (("cpu", 32),):
        for precision in ("bf16",) if cuda else ("fp32", "bf16"):
            yield _compare(
                preset, _same(parse(read_preset(preset)), embeddings, batch, precision), glyphs, embeddings, repeats
            )
    if not cuda:
        yield Row(group="training", name="training on a GPU, and 100 epochs in 150 seconds", ours=None, asked=5)


def _same(config: Config, embeddings: Embeddings, batch: int, precision: str) -> Config:
    """A preset as diffusers can build it, too."""
    network = config.network
    assert isinstance(network, UNetConfig)
    channels = in_groups(network.channels)
    network = replace(network, pooled_text=False, channels=channels, text_width=embeddings.width)
    training = replace(config.training, batch=batch, precision=precision, optimizer="adamw")  # type: ignore[arg-type]
    return replace(config, network=network, training=training)


def _compare(preset: str, config: Config, glyphs: GlyphSet, embeddings: Embeddings, repeats: int) -> Row:
    trainer = Trainer(config, glyphs, embeddings, torch.device("cpu"))
    theirs = _loop(trainer, config.training.precision)
    trainer = Trainer(config, glyphs, embeddings, device())
    with FlopCounterMode(display=False) as counter:
        trainer.loss(torch.arange(config.training.batch)).backward()
    flops = counter.get_total_flops()
    cautions = finish(trainer.prepare())
    times = alternate(
        {
            "ours": lambda: [trainer.step(0.5) for _ in range(STEPS)],
            "theirs": lambda: [next(theirs) for _ in range(STEPS)],
        },
        repeats,
    )
    dtype = torch.bfloat16 if config.training.precision == "bf16" else torch.float32
    peak = peak_flops(dtype)
    speed = {name: STEPS * config.training.batch / timing.median for name, timing in times.items()}
    share = STEPS * flops / times["ours"].median / peak
    return Row(
        group="training",
        name=f"training the `{preset}` preset's network, {STEPS} steps of {config.training.batch}, "
        f"{device().type}, {config.training.precision}",
        ours=times["ours"],
        theirs=times["theirs"],
        instead="accelerate and diffusers as the reference has them",
        asked=5 if device().type == "cuda" else None,
        note="; ".join(
            [f"{speed['ours']:.0f} pictures/s against {speed['theirs']:.0f}", f"{share:.0%} of the peak", *cautions]
        ),
        figures={
            "pictures/s": speed["ours"],
            "pictures/s instead": speed["theirs"],
            "operations of a step": flops,
            "peak operations/s": peak,
            "share of the peak": share,
        },
    )
