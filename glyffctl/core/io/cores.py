"""How many processor cores this process may use: fewer than the machine has, in a container or a job of a cluster."""

from __future__ import annotations

import math
import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def usable_cores(cgroup: Path = _CGROUP) -> int:
    """Cores that this process may run on, at least 1: by its affinity, and by the quota of its container.

    A quota of 2.5 cores counts as 3.

    Args:
        cgroup: where the system shows the limits of control groups, version 2 or 1.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        if (cgroup / "cpu.max").is_file():
            quota, period = (cgroup / "cpu.max").read_text().split()
        else:
            quota, period = ((cgroup / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        allowed = math.ceil(int(quota) / int(period))
    except (OSError, ValueError, ZeroDivisionError):  # no control groups, or "max": no quota
        return cores
    return min(cores, allowed) if allowed > 0 else cores  # version 1 writes -1 for no quota
