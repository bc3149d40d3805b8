"""How many CPU cores this process may use."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath

MOUNT = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")


@cache
def cores() -> int:
    """The number of cores that this process may use.

    Those that it may run on (set by `taskset`, SLURM, `docker --cpuset-cpus`), or its quota of CPU time rounded up
    (`docker --cpus`, limits of Kubernetes, CPUQuota of systemd), whichever is less.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(allowed, quota())))


def quota(own: Path = OWN, mount: Path = MOUNT) -> float:
    """CPU seconds per second that control groups allow this process; infinity without a limit.

    A group may use no more than each of those above it. A container that sees the group names of its host has its own
    group at the top of the mount.

    Args:
        own: the file that names the groups of this process.
        mount: where the groups are mounted. Formats: cpu.max, https://docs.kernel.org/admin-guide/cgroup-v2.html;
            cpu.cfs_quota_us, https://docs.kernel.org/scheduler/sched-bwc.html.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:  # not Linux
        return math.inf
    return min((_limit(group) for line in lines for group in _groups(line, mount)), default=math.inf)


def _groups(line: str, mount: Path) -> Iterator[Path]:
    """The group of a line of /proc/self/cgroup, `hierarchy:controllers:name`, and all above it."""
    _, controllers, name = line.split(":", 2)
    if controllers and "cpu" not in controllers.split(","):
        return
    at = PurePosixPath(name.lstrip("/"))
    for base in (mount / controllers, mount / "cpu") if controllers else (mount, mount / "unified"):
        yield from (base / group for group in (at, *at.parents))


def _limit(group: Path) -> float:
    try:
        given, period = (group / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            given, period = ((group / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
        except OSError:
            return math.inf
    return math.inf if given in ("max", "-1") else int(given) / int(period)
