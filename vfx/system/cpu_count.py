"""How many processor cores this process may keep busy."""

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
    """Those that it may run on, as `taskset`, SLURM and `docker --cpuset-cpus` set them, or fewer where a container or
    a service has a quota of processor time (`docker --cpus`, limits of Kubernetes, CPUQuota of systemd), rounded up."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(allowed, quota())))


def quota(own: Path = OWN, mount: Path = MOUNT) -> float:
    """Seconds of processor time a second that control groups leave this process; infinity where they set no limit.

    A group may use no more than each of those above it. Of a container that sees its host's names, its own group is
    at the top. Formats: cpu.max, https://docs.kernel.org/admin-guide/cgroup-v2.html, and before it cpu.cfs_quota_us,
    https://docs.kernel.org/scheduler/sched-bwc.html.
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
