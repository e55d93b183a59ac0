"""Optimizer steps as CUDA graphs: what a step launches is recorded once, then replayed by one call.

A step of a small network launches some thousands of short kernels, and Python takes longer to ask for them than the GPU
to run them. A graph asks once. It always reads and writes the same memory, so what changes from step to step lies in
tensors that stay: the values of the batch, the learning rate, the share of the weights in their average.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

import torch
from torch import Tensor

from glyffctl.core.training.objective import Batch


class Outcome(NamedTuple):
    """Of an update of the weights, on the device."""

    loss: Tensor  # () weighted loss of the batch
    gradient: Tensor  # () norm of the gradient before clipping


def relative_difference(one: Outcome, other: Outcome) -> float:
    """The larger of the relative differences of two losses and of two gradients; ∞ if one is not finite."""
    pairs = [(float(a), float(b)) for a, b in zip(one, other, strict=True)]
    if not all(math.isfinite(a) and math.isfinite(b) for a, b in pairs):
        return math.inf
    return max(abs(a - b) / max(abs(a), abs(b), 1e-12) for a, b in pairs)


@contextmanager
def side_stream(device: torch.device) -> Iterator[None]:
    """A block that runs on a stream of its own, as what is to be captured has to before."""
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        yield
    torch.cuda.current_stream(device).wait_stream(stream)


Update = Callable[[Batch, Tensor, Tensor], Outcome]
"""(batch, learning rate (), share of the average ()), all on the device: changes weights, moments and average."""


class CapturedUpdate:
    """An update that is captured for each length of captions."""

    def __init__(self, batch: Batch) -> None:
        """Take memory for batches like `batch`, on the device."""
        self._values = tuple(value.clone() for value in batch.values)
        device = batch.values[0].device
        self._rate, self._share = torch.zeros((), device=device), torch.zeros((), device=device)
        self._outcome = Outcome(torch.zeros((), device=device), torch.zeros((), device=device))
        self._graphs: dict[int, torch.cuda.CUDAGraph] = {}
        # All graphs share memory: they run one after the other, and what is read afterwards lies outside of it.
        self._pool = torch.cuda.graph_pool_handle()

    def capture(self, update: Update, length: int) -> None:
        """Record `update` for captions padded to `length`. Nothing is computed.

        It must have run before, so that all it keeps exists: moments, workspaces, chosen algorithms. It is not kept.

        Raises:
            RuntimeError: CUDA cannot capture it.
        """
        graph, device = torch.cuda.CUDAGraph(), self._rate.device
        try:
            # torch's own block leaves the stream of the capture current where the capture fails,
            with torch.cuda.stream(torch.cuda.current_stream(device)), torch.cuda.graph(graph, pool=self._pool):
                outcome = update(Batch(self._values, length), self._rate, self._share)
                for kept, found in zip(self._outcome, outcome, strict=True):
                    kept.copy_(found)
        except RuntimeError:
            with suppress(RuntimeError, AttributeError):  # and its allocator in the pool.
                torch._C._cuda_endAllocateToPool(device.index, self._pool)
            raise
        self._graphs[length] = graph

    def __call__(self, batch: Batch, learning_rate: float, share: float) -> Outcome:
        """The update for a batch on the CPU; nothing waits for the device."""
        for kept, value in zip(self._values, batch.values, strict=True):
            kept.copy_(value, non_blocking=True)
        self._rate.fill_(learning_rate)
        self._share.fill_(share)
        self._graphs[batch.length].replay()
        return Outcome(*(kept.clone() for kept in self._outcome))
