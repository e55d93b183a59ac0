"""Where the time of a training step goes: steps a second by variant, the parts of a step, and its kernels.

Parts are timed on their own, each waiting for the one before: together they may take longer than the step. Kernels are
those of PyTorch's profiler, on a CPU the operators.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from glyffctl.core.data.dataset import GlyphSet
from glyffctl.core.data.embeddings import Embeddings, load_embeddings
from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.device import synchronize
from glyffctl.core.kernels import switch
from glyffctl.core.models.config import Config, fit_to_data, merge, read_preset
from glyffctl.core.noise import Stream, normal
from glyffctl.core.training.trainer import Trainer
from glyffctl.workflows.events import finish
from tests.bench.measure import Row, Timing, alternate, device, peak_flops

VARIANTS = ("plain", "kernels", "captured", "compiled")
"""PyTorch's kernels alone; with those of `core.kernels`, which stay on; with both, as a CUDA graph; compiled, as one.

On a CPU the first three are the same.
"""
KERNELS = 20
_TRACED = 3  # steps that the profiler watches


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--preset", default="cpu", help="profile: whose network")
    parser.add_argument("--batch", type=int, help="profile: pictures a step; 512 on a GPU, 32 on a CPU")
    parser.add_argument(
        "--variants", default=",".join(VARIANTS), help="profile: which ones; on a CPU compiling takes minutes"
    )


def rows(repeats: int, data: Path, preset: str, batch: int | None, variants: str) -> Iterator[Row]:
    """Each variant of a step; the tables of kernels are printed."""
    glyphs = open_glyphs(data)
    embeddings = load_embeddings(data, glyphs.captions)
    cuda = device().type == "cuda"
    batch = batch or (512 if cuda else 32)
    precision = "bf16" if cuda else "fp32"

    def config(*, compiled: bool) -> Config:
        training = {"batch": batch, "precision": precision, "compile": compiled}
        return fit_to_data(merge(read_preset(preset), {"training": training}), glyphs.size, embeddings.width)

    flops = operations(config(compiled=False), glyphs, embeddings)
    for variant in variants.split(","):
        name = f"a step of {batch} with the `{preset}` preset's network, {device().type}, {precision}, {variant}"
        made = config(compiled=variant == "compiled")
        yield _measured(variant, made, glyphs, embeddings, repeats, flops, name)


def operations(config: Config, glyphs: GlyphSet, embeddings: Embeddings) -> int:
    """Floating-point operations of the products of a step, forward and backward."""
    trainer = Trainer(config, glyphs, embeddings, device())
    with FlopCounterMode(display=False) as counter:
        trainer.loss(torch.arange(config.training.batch)).backward()
    return counter.get_total_flops()


def _measured(
    variant: str, config: Config, glyphs: GlyphSet, embeddings: Embeddings, repeats: int, flops: int, name: str
) -> Row:
    """The variant of a step of `flops` operations."""
    cuda = device().type == "cuda"
    peak = peak_flops(torch.bfloat16 if cuda else torch.float32)
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    trainer = Trainer(config, glyphs, embeddings, device())
    cautions = finish(trainer.prepare()) if variant in ("captured", "compiled") else ()
    dtype = trainer.autocast or trainer.objective.dtype
    if variant == "kernels" and cuda and (fault := switch.enable(device(), dtype)) is not None:
        cautions = (fault,)
    trainer.step(0.5)
    synchronize(device())
    first = time.perf_counter() - began
    count = 10 if cuda else 1
    times = alternate({"step": lambda: [trainer.step(0.5) for _ in range(count)]}, repeats)["step"]
    step = Timing([seconds / count for seconds in times.seconds])
    memory = torch.cuda.max_memory_allocated() / 2**30 if cuda else 0.0
    speed, share = config.training.batch / step.median, flops / step.median / peak
    figures = {
        "first step, seconds": first,
        "pictures/s": speed,
        "operations of a step": flops,
        "peak operations/s": peak,
        "share of the peak": share,
        "peak memory, GiB": memory,
    }
    figures |= {f"{part}, ms": 1e3 * seconds for part, seconds in parts(trainer, repeats).items()}
    found = kernels(lambda: trainer.step(0.5))
    print(kernel_table(name, found, step.median), flush=True)
    kind = "kernels" if cuda else "operators"
    figures[kind] = sum(calls for _, calls in found.values())
    figures[f"{kind}, ms"] = 1e3 * sum(seconds for seconds, _ in found.values())
    told = ", ".join(f"{part} {figures[f'{part}, ms']:.1f} ms" for part in parts_of_a_step(trainer))
    note = (
        f"{1e3 * step.median:.1f} ms, {speed:.0f} pictures/s, {share:.1%} of the peak, "
        f"first step after {first:.1f} s; {told}; {figures[kind]:.0f} {kind}{''.join(f'; {c}' for c in cautions)}"
    )
    return Row(group="profile", name=name, ours=step, note=note, figures=figures)


def parts_of_a_step(trainer: Trainer) -> dict[str, Callable[[], object]]:
    """What a step does, one call each. All but the noise change the trainer."""
    training = trainer.config.training
    number = torch.arange(training.batch)
    there = number.to(trainer.device)
    shape = trainer.config.codec.build().shape
    return {
        "noise": lambda: normal(training.seed, there, shape, Stream.EPS),
        "forward and backward": lambda: trainer.loss(number).backward(),
        "optimizer": lambda: trainer.optimizer.step(1e-4, trainer.autocast),
        "average": lambda: trainer.ema.update(trainer.network, 0.001),
    }


def parts(trainer: Trainer, repeats: int) -> dict[str, float]:
    """Seconds of each part of a step, the median."""
    trainer.optimizer.zero_grad()
    times = alternate(parts_of_a_step(trainer), repeats)
    trainer.optimizer.zero_grad()
    return {name: statistics.median(timing.seconds) for name, timing in times.items()}


def kernels(step: Callable[[], object]) -> dict[str, tuple[float, float]]:
    """(seconds, calls) a step of each kernel, the longest first; on a CPU of each operator, without those it calls."""
    cuda = device().type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    with profile(activities=activities) as watched:
        for _ in range(_TRACED):
            step()
        synchronize(device())
    found = {}
    for event in watched.key_averages():
        if event.device_type.name == device().type.upper():
            microseconds = event.self_device_time_total if cuda else event.self_cpu_time_total
            found[event.key] = microseconds / 1e6 / _TRACED, event.count / _TRACED
    return dict(sorted(found.items(), key=lambda item: -item[1][0]))


def kernel_table(name: str, found: dict[str, tuple[float, float]], step: float) -> str:
    """The longest kernels with their share of all, beside the `step` seconds of a step that nobody watches."""
    total = sum(seconds for seconds, _ in found.values())
    lines = [f"{name}: {1e3 * total:.2f} ms in those below and others, a step is {1e3 * step:.2f} ms"]
    lines += [
        f"{1e3 * seconds:9.3f} ms {seconds / total:6.1%} {calls:8.1f}×  {kernel[:90]}"
        for kernel, (seconds, calls) in list(found.items())[:KERNELS]
    ]
    return "\n".join(lines)
