"""Many processes that train one model, on one machine or on several: PyTorch's distributed package in a few words.

Whoever starts the processes (`glyffctl train --gpus N`, `torchrun`, Slurm's `srun`) says in the environment which of
how many a process is; `join` reads that. Every process holds the whole model and takes its share of each batch.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from glyffctl.core.errors import TrainingError, UsageError

# A step takes seconds at most: a process that says nothing for so long is gone, and with it the job.
_SILENCE = timedelta(minutes=10)
# While the first process embeds captions, the others wait for as long as it takes. If it dies, they hear of it.
_PATIENCE = timedelta(days=7)


@dataclass(frozen=True)
class Place:
    """Which of how many processes this one is."""

    rank: int = 0
    size: int = 1
    local: int = 0
    """Which of those on this machine: the number of its GPU."""


def in_job(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether torchrun or srun started this process as one of a job, though it were the only one."""
    return _names(environment)[0] in environment


def _names(environment: Mapping[str, str]) -> tuple[str, str, str]:
    # A shell in a Slurm allocation is no task of a job: only srun sets the step.
    if "RANK" not in environment and "SLURM_STEP_ID" in environment and "MASTER_ADDR" in environment:
        return "SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"
    return "RANK", "WORLD_SIZE", "LOCAL_RANK"


def place(environment: Mapping[str, str] = os.environ) -> Place:
    """The place of this process in its job, as torchrun or srun gives it; the only one of one where neither does.

    Raises:
        UsageError: what the environment says makes no sense.
    """
    names = _names(environment)
    if not in_job(environment):
        return Place()
    try:
        found = Place(*(int(environment[name]) for name in names))
    except (KeyError, ValueError):
        raise UsageError(f"{', '.join(names)} must all be whole numbers, as torchrun sets them") from None
    if not (0 <= found.rank < found.size and 0 <= found.local < found.size):
        raise UsageError(f"{names[0]} is {found.rank}, {names[1]} {found.size}, {names[2]} {found.local}: impossible")
    return found


class Team:
    """The processes of one job as one of them sees them; alone, every method does the obvious."""

    def __init__(self, where: Place, control: Any = None, waiting: Any = None) -> None:
        self.rank, self.size, self.local = where.rank, where.size, where.local
        self._control, self._waiting = control, waiting
        self._parent = os.getppid()

    @property
    def leads(self) -> bool:
        """Whether this is the one that writes, draws and speaks."""
        return self.rank == 0

    def share(self, number: Tensor) -> Tensor:
        """The part of a batch that is this process's: every `size`-th sample."""
        return number[self.rank :: self.size]

    def wrap(self, module: nn.Module, device: torch.device) -> nn.Module:
        """`module` so that its gradients are averaged over all processes."""
        if self.size == 1:
            return module
        gpu = [device] if device.type == "cuda" else None
        return DistributedDataParallel(module, device_ids=gpu)

    def mean(self, x: Tensor) -> Tensor:
        """The mean of `x` over all processes, in place."""
        if self.size > 1:
            with self.together():
                dist.all_reduce(x)
            x /= self.size
        return x

    @contextmanager
    def together(self) -> Iterator[None]:
        """Around whatever talks to the other processes: one of them being gone is told in one line.

        Raises:
            TrainingError: another process of the job has ended.
        """
        try:
            yield
        except RuntimeError as error:
            if self.size == 1 or not _is_about_others(error):
                raise
            raise TrainingError(
                "another process of this job has ended, and the job with it; run the same command again: it goes on "
                "from the last checkpoint"
            ) from error

    def told(self, value: Any) -> Any:
        """The first process's `value` (anything JSON can say), in all of them."""
        if self.size == 1:
            return value
        text = json.dumps(value).encode() if self.leads else b""
        with self.together():
            length = torch.tensor([len(text)])
            dist.broadcast(length, 0, group=self._waiting)
            letters = torch.zeros(int(length), dtype=torch.uint8)
            if self.leads:
                letters = torch.frombuffer(bytearray(text), dtype=torch.uint8)
            dist.broadcast(letters, 0, group=self._waiting)
        return json.loads(bytes(letters.tolist()))

    def tensors(self, mine: dict[str, Tensor]) -> dict[str, Tensor]:
        """The first process's tensors, in all of them; what the others bring is not looked at."""
        if self.size == 1:
            return mine
        kinds = self.told([[name, list(x.shape), str(x.dtype).split(".")[1]] for name, x in mine.items()])
        found = {}
        with self.together():
            for name, shape, dtype in kinds:
                x = mine[name].cpu().contiguous() if self.leads else torch.empty(shape, dtype=getattr(torch, dtype))
                dist.broadcast(x, 0, group=self._waiting)
                found[name] = x
        return found

    def wait(self) -> None:
        """Until all processes have come here."""
        if self.size > 1:
            with self.together():
                dist.barrier(group=self._waiting)

    def agree(self, progress: float, stop: int) -> tuple[float, int]:
        """The first process's `progress`, and the largest `stop` of all: nobody steps alone, nobody stops alone."""
        if self.size == 1:
            return progress, stop
        if os.getppid() != self._parent:  # whoever started the job was killed, and can stop it no more
            stop = max(stop, signal.SIGTERM)
        numbers = torch.tensor([progress if self.leads else 0.0, float(stop)], dtype=torch.float64)
        with self.together():
            dist.all_reduce(numbers, dist.ReduceOp.MAX, group=self._control)
        return float(numbers[0]), int(numbers[1])


ALONE = Team(Place())
"""The only process there is."""


def _is_about_others(error: RuntimeError) -> bool:
    # gloo's errors have no class of their own.
    about = ("gloo", "NCCL", "onnection", "socket")
    return isinstance(error, dist.DistError) or any(word in str(error) for word in about)


@contextmanager
def join(where: Place, device: torch.device) -> Iterator[Team]:
    """Be one of the processes of a job for a while; alone where there is no job.

    Raises:
        TrainingError: the others cannot be reached.
    """
    if where.size == 1:
        yield ALONE
        return
    try:
        dist.init_process_group(
            "nccl" if device.type == "cuda" else "gloo",
            rank=where.rank,
            world_size=where.size,
            timeout=_SILENCE,
            device_id=device if device.type == "cuda" else None,
        )
        control = dist.new_group(backend="gloo", timeout=_SILENCE)
        waiting = dist.new_group(backend="gloo", timeout=_PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise TrainingError(f"cannot reach the other processes of this job: {str(error).splitlines()[0]}") from error
    try:
        yield Team(where, control, waiting)
    finally:
        dist.destroy_process_group()
