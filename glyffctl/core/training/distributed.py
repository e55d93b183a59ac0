"""Many processes that train one model, on one machine or on several: PyTorch's distributed package in a few words.

Whoever starts the processes (`glyffctl train --gpus N`, `torchrun`, Slurm's `srun`) says in the environment which of
how many a process is; `process_group` reads that. Every process holds the whole model and takes its share of each
batch.
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
_TIMEOUT = timedelta(minutes=10)
# While the first process embeds captions, the others wait for as long as it takes. If it dies, they hear of it.
_PREPARATION_TIMEOUT = timedelta(days=7)


@dataclass(frozen=True)
class ProcessInfo:
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


def process_info(environment: Mapping[str, str] = os.environ) -> ProcessInfo:
    """The place of this process in its job, as torchrun or srun gives it; the only one of one where neither does.

    Raises:
        UsageError: what the environment says makes no sense.
    """
    names = _names(environment)
    if not in_job(environment):
        return ProcessInfo()
    try:
        found = ProcessInfo(*(int(environment[name]) for name in names))
    except (KeyError, ValueError):
        raise UsageError(f"{', '.join(names)} must all be whole numbers, as torchrun sets them") from None
    if not (0 <= found.rank < found.size and 0 <= found.local < found.size):
        raise UsageError(f"{names[0]} is {found.rank}, {names[1]} {found.size}, {names[2]} {found.local}: impossible")
    return found


class ProcessGroup:
    """The processes of one job as one of them sees them; alone, every method does the obvious."""

    def __init__(self, where: ProcessInfo, control: Any = None, waiting: Any = None) -> None:
        self.rank, self.size, self.local = where.rank, where.size, where.local
        self._control, self._waiting = control, waiting
        self._parent = os.getppid()

    @property
    def is_main(self) -> bool:
        """Whether this is the one that writes, draws and speaks."""
        return self.rank == 0

    def shard(self, number: Tensor) -> Tensor:
        """The part of a batch that is this process's: every `size`-th sample."""
        return number[self.rank :: self.size]

    def data_parallel(self, module: nn.Module, device: torch.device) -> nn.Module:
        """`module` so that its gradients are averaged over all processes."""
        if self.size == 1:
            return module
        gpu = [device] if device.type == "cuda" else None
        return DistributedDataParallel(module, device_ids=gpu)

    def all_reduce_mean(self, x: Tensor) -> Tensor:
        """The mean of `x` over all processes, in place."""
        if self.size > 1:
            with self.collective():
                dist.all_reduce(x)
            x /= self.size
        return x

    @contextmanager
    def collective(self) -> Iterator[None]:
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

    def broadcast(self, value: Any) -> Any:
        """The first process's `value` (anything JSON can say), in all of them."""
        if self.size == 1:
            return value
        text = json.dumps(value).encode() if self.is_main else b""
        with self.collective():
            length = torch.tensor([len(text)])
            dist.broadcast(length, 0, group=self._waiting)
            letters = torch.zeros(int(length), dtype=torch.uint8)
            if self.is_main:
                letters = torch.frombuffer(bytearray(text), dtype=torch.uint8)
            dist.broadcast(letters, 0, group=self._waiting)
        return json.loads(bytes(letters.tolist()))

    def broadcast_tensors(self, mine: dict[str, Tensor]) -> dict[str, Tensor]:
        """The first process's tensors, in all of them; what the others bring is not looked at."""
        if self.size == 1:
            return mine
        kinds = self.broadcast([[name, list(x.shape), str(x.dtype).split(".")[1]] for name, x in mine.items()])
        found = {}
        with self.collective():
            for name, shape, dtype in kinds:
                x = mine[name].cpu().contiguous() if self.is_main else torch.empty(shape, dtype=getattr(torch, dtype))
                dist.broadcast(x, 0, group=self._waiting)
                found[name] = x
        return found

    def barrier(self) -> None:
        """Until all processes have come here."""
        if self.size > 1:
            with self.collective():
                dist.barrier(group=self._waiting)

    def synchronize(self, progress: float, stop: int) -> tuple[float, int]:
        """The first process's `progress`, and the largest `stop` of all: nobody steps alone, nobody stops alone."""
        if self.size == 1:
            return progress, stop
        if os.getppid() != self._parent:  # whoever started the job was killed, and can stop it no more
            stop = max(stop, signal.SIGTERM)
        numbers = torch.tensor([progress if self.is_main else 0.0, float(stop)], dtype=torch.float64)
        with self.collective():
            dist.all_reduce(numbers, dist.ReduceOp.MAX, group=self._control)
        return float(numbers[0]), int(numbers[1])


SINGLE_PROCESS = ProcessGroup(ProcessInfo())
"""The only process there is."""


def _is_about_others(error: RuntimeError) -> bool:
    # gloo's errors have no class of their own.
    about = ("gloo", "NCCL", "onnection", "socket")
    return isinstance(error, dist.DistError) or any(word in str(error) for word in about)


@contextmanager
def process_group(where: ProcessInfo, device: torch.device) -> Iterator[ProcessGroup]:
    """Be one of the processes of a job for a while; alone where there is no job.

    Raises:
        TrainingError: the others cannot be reached.
    """
    if where.size == 1:
        yield SINGLE_PROCESS
        return
    try:
        dist.init_process_group(
            "nccl" if device.type == "cuda" else "gloo",
            rank=where.rank,
            world_size=where.size,
            timeout=_TIMEOUT,
            device_id=device if device.type == "cuda" else None,
        )
        control = dist.new_group(backend="gloo", timeout=_TIMEOUT)
        waiting = dist.new_group(backend="gloo", timeout=_PREPARATION_TIMEOUT)
    except (RuntimeError, ValueError) as error:
        raise TrainingError(f"cannot reach the other processes of this job: {str(error).splitlines()[0]}") from error
    try:
        yield ProcessGroup(where, control, waiting)
    finally:
        dist.destroy_process_group()
