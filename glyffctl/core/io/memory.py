"""How much memory this process may take before the machine swaps, or its container ends it."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")
_FILES = {  # of a control group: its limit, its use, and what of that is files that nobody has read lately
    "memory.max": ("memory.current", "inactive_file"),
    "memory/memory.limit_in_bytes": ("memory/memory.usage_in_bytes", "total_inactive_file"),
}


def usable_memory(cgroup: Path = _CGROUP, meminfo: Path = _MEMINFO) -> int:
    """Bytes of memory that this machine has free or can free at once, and this process's container allows.

    Where the system does not say what is free: all that the machine has.

    Args:
        cgroup: where the system shows the limits of control groups, version 2 or 1.
        meminfo: where Linux says what is available.
    """
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError):
        if found := re.search(r"^MemAvailable:\s+(\d+) kB", meminfo.read_text(), re.MULTILINE):
            free = int(found[1]) * 1024
    for name, (used, idle) in _FILES.items():
        try:
            limit, taken = int((cgroup / name).read_text()), int((cgroup / used).read_text())
            counted = (cgroup / name).with_name("memory.stat").read_text()
        except (OSError, ValueError):  # no control groups of this version, or "max": no limit
            continue
        can_go = re.search(rf"^{idle} (\d+)$", counted, re.MULTILINE)
        free = min(free, max(0, limit - taken + (int(can_go[1]) if can_go else 0)))
    return free
