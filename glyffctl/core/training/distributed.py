"""Data-parallel training in several processes, on one machine or several, with PyTorch's distributed package.

What starts the processes (`glyffctl train --gpus N`, `torchrun`, Slurm's `srun`) sets environment variables that say
which of how many each one is; `process_group` joins them. Every process holds the whole model and computes its share of
each batch.
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

from glyffctl.core.errors import TrainingError, UsageError, first_line

# A step takes seconds at most: a process that does not answer for so long has died, and the job ends.
_TIMEOUT = timedelta(minutes=10)
# While the main process embeds captions, the others wait for as long as that takes. If it dies, their wait fails.
_PREPARATION_TIMEOUT = timedelta(days=7)


@dataclass(frozen=True)
class ProcessInfo:
    """The rank of this process and the number of processes.

    Attributes:
        rank: of all processes of the job, from 0, the main one.
        size: processes of the job.
        local: rank among the processes of this machine: the number of its GPU.
    """

    rank: int = 0
    size: int = 1
    local: int = 0


def in_job(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether torchrun or srun started this process, even as the only one of its job."""
    return _names(environment)[0] in environment


def _names(environment: Mapping[str, str]) -> tuple[str, str, str]:
    # A shell in a Slurm allocation is no task of a job: only srun sets the step.
    if "RANK" not in environment and "SLURM_STEP_ID" in environment and "MASTER_ADDR" in environment:
        return "SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"
    return "RANK", "WORLD_SIZE", "LOCAL_RANK"


def process_info(environment: Mapping[str, str] = os.environ) -> ProcessInfo:
    """Read the rank of this process from the variables of torchrun or srun; without them it is the only process.

    Raises:
        UsageError: the variables are incomplete or contradict each other.
    """
    names = _names(environment)
    if not in_job(environment):
        return ProcessInfo()
    try:
        found = ProcessInfo(*(int(environment[name]) for name in names))
    except (KeyError, ValueError):
        raise UsageError(f"{', '.join(names)} must all be whole numbers, as torchrun sets them") from None
    if not (0 <= found.rank < found.size and 0 <= found.local < found.size):
        raise UsageError(
            f"{names[0]} is {found.rank}, {names[1]} {found.size} and {names[2]} {found.local}, which do not fit "
            "together; start the job with torchrun or srun"
        )
    return found


class ProcessGroup:
    """The processes of a job, from the view of one of them. With one process, nothing is communicated."""

    def __init__(self, where: ProcessInfo, control: Any = None, waiting: Any = None) -> None:
        self.rank, self.size, self.local = where.rank, where.size, where.local
        self._control, self._waiting = control, waiting
        self._parent = os.getppid()

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0: the process that writes files, draws samples and reports events."""
        return self.rank == 0

    def shard(self, number: Tensor) -> Tensor:
        """This process's part of the sample numbers of a batch: every `size`-th one."""
        return number[self.rank :: self.size]

    def data_parallel(self, module: nn.Module, device: torch.device) -> nn.Module:
        """Wrap `module` so that its gradients are averaged over all processes."""
        if self.size == 1:
            return module
        gpu = [device] if device.type == "cuda" else None
        return DistributedDataParallel(module, device_ids=gpu)

    def all_reduce_mean(self, x: Tensor) -> Tensor:
        """Replace `x` by its mean over all processes, and return it."""
        if self.size > 1:
            with self.collective():
                dist.all_reduce(x)
            x /= self.size
        return x

    @contextmanager
    def collective(self) -> Iterator[None]:
        """Wrap communication, so that the death of another process becomes a one-line error.

        Raises:
            TrainingError: another process of the job has ended.
        """
        try:
            yield
        except RuntimeError as error:
            if self.size == 1 or not _is_communication_error(error):
                raise
            raise TrainingError(
                "another process of this job has ended, and the job with it; run the same command again to "
                "resume from the last checkpoint"
            ) from error

    def broadcast(self, value: Any) -> Any:
        """Return the main process's `value`, which JSON can hold, in all processes."""
        if self.size == 1:
            return value
        text = json.dumps(value).encode() if self.is_main else b""
        with self.collective():
            length = torch.tensor([len(text)])
            dist.broadcast(length, 0, group=self._waiting)
            buffer = torch.zeros(int(length), dtype=torch.uint8)
            if self.is_main:
                buffer = torch.frombuffer(bytearray(text), dtype=torch.uint8)
            dist.broadcast(buffer, 0, group=self._waiting)
        return json.loads(bytes(buffer.tolist()))

    def broadcast_tensors(self, mine: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the main process's tensors in all processes; those of the others are ignored."""
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
        """Wait for all processes."""
        if self.size > 1:
            with self.collective():
                dist.barrier(group=self._waiting)

    def synchronize(self, progress: float, stop: int) -> tuple[float, int]:
        """Return the main process's `progress` and the largest `stop` of all, so that all step or stop together."""
        if self.size == 1:
            return progress, stop
        if os.getppid() != self._parent:  # the launcher was killed, and can no longer stop this process
            stop = max(stop, signal.SIGTERM)
        numbers = torch.tensor([progress if self.is_main else 0.0, float(stop)], dtype=torch.float64)
        with self.collective():
            dist.all_reduce(numbers, dist.ReduceOp.MAX, group=self._control)
        return float(numbers[0]), int(numbers[1])


SINGLE_PROCESS = ProcessGroup(ProcessInfo())
"""A group of one."""


def _is_communication_error(error: RuntimeError) -> bool:
    # gloo raises plain RuntimeErrors.
    signs = ("gloo", "NCCL", "onnection", "socket")
    return isinstance(error, dist.DistError) or any(word in str(error) for word in signs)


@contextmanager
def process_group(where: ProcessInfo, device: torch.device) -> Iterator[ProcessGroup]:
    """Join the processes of a job for the length of the block.

    Raises:
        TrainingError: the other processes cannot be reached.
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
        raise TrainingError(f"cannot reach the other processes of this job: {first_line(error)}") from error
    try:
        yield ProcessGroup(where, control, waiting)
    finally:
        dist.destroy_process_group()
