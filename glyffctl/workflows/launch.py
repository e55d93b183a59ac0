"""Start the processes of a job on this machine with PyTorch's elastic launcher."""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, Std
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from glyffctl.core.errors import TrainingError

_REPORTED = (1, 2, 130, 143)  # exit codes of a process that has printed why it ended


def launch(arguments: Sequence[str], processes: int) -> int:
    """Run `glyffctl` with `arguments` in several processes that form one job, and wait for them.

    Only the first process writes to this terminal. If one process fails, all are ended, and none is restarted.

    Returns:
        The exit code of the first process, which has printed its result or its error.

    Raises:
        TrainingError: a process ended without printing why.
    """
    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)  # errors are reported below, in one line
    # By default every process would use all cores.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, torch.get_num_threads() // processes)))
    with tempfile.TemporaryDirectory(prefix="glyffctl-") as folder:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=processes,
            run_id="glyffctl",
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(log_dir=folder, redirects=dict.fromkeys(range(1, processes), Std.ALL)),
        )
        try:
            elastic_launch(config, sys.executable)("-m", "glyffctl", *arguments)
        except SignalException as stopped:
            return 128 + stopped.sigval
        except ChildFailedError as failed:
            codes = {rank: failure.exitcode for rank, failure in failed.failures.items()}
            if codes.get(0) in _REPORTED:
                return codes[0]
            rank, failure = failed.get_first_failure()
            raise TrainingError(_why_ended(rank, failure.exitcode, Path(folder))) from failed
    return 0


def _why_ended(rank: int, code: int, folder: Path) -> str:
    """Why a process ended that printed nothing: the signal, or the last line of its log."""
    if code < 0:
        why = f"was killed by {signal.Signals(-code).name}"
    else:
        written = sorted(folder.glob(f"**/{rank}/stderr.log"))
        lines = written[-1].read_text(errors="replace").splitlines() if written else []
        why = f"ended with exit code {code}" + (f": {lines[-1]}" if lines else "")
    return f"process {rank} of this job {why}; run the same command again: it resumes from the last checkpoint"
