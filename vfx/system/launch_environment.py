"""Who started this process, and as which of how many ranks; asked without Lightning, whose import takes seconds."""

from __future__ import annotations

import os
from collections.abc import Iterable

from vfx.errors import UsageError

PARENT = os.getppid()  # asked early: it may be gone when it is needed
NUMBERS = ("RANK", "LOCAL_RANK", "SLURM_PROCID")  # where a rank's own may stand, the surest first
# What starts ranks elsewhere than here, the environment of Lightning's that believes it, and how it is used.
STARTERS = {
    "torchrun": (
        "TorchElasticEnvironment",
        "torchrun --nnodes=2 --nproc-per-node=2 --rdzv-backend=c10d --rdzv-endpoint=<a host> --rdzv-id=<a name>"
        " -m vfx.extract ... trainer=multinode",
    ),
    "srun": ("SLURMEnvironment", "srun --kill-on-bad-exit=1 python -m vfx.extract ... trainer=slurm"),
}


def first_rank() -> bool:
    """Whether this process is the only one of its run, or the one that reports and writes for all."""
    return int(next((os.environ[name] for name in NUMBERS if name in os.environ), "0")) == 0


def starter() -> str:
    """What started this process as a rank: "torchrun", "srun", or "" for a user or a rank of ours."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return "torchrun"
    return "srun" if "SLURM_STEP_NUM_TASKS" in os.environ else ""


def started_by_others() -> bool:
    """Whether torchrun or SLURM started the ranks: then each must come to the rendezvous, even with no work."""
    return starter() == "torchrun" or _count() > 1


def is_told() -> bool:
    """Whether the first rank started this one and tells it to end, and will exit for both."""
    return not (first_rank() or started_by_others())


def job() -> str:
    """What a rank keeps when torchrun or SLURM starts it again, maybe on another machine; "" if neither does."""
    jobs = {"torchrun": "TORCHELASTIC_RUN_ID", "SLURM": "SLURM_JOB_ID"}
    return ", ".join(f"{whose} {os.environ[name]}" for whose, name in jobs.items() if name in os.environ)


def starts_over(overwrite: bool) -> bool:
    """Whether a run that is told to overwrite is to: not in a job that SLURM has queued again, which goes on.

    Raises UsageError under torchrun, which starts ranks anew whenever a host comes or goes, and tells them nothing.
    """
    if overwrite and starter() == "torchrun":
        raise UsageError(
            "overwrite=true would start over whenever torchrun starts the ranks anew: remove the output folder instead"
        )
    return overwrite and os.environ.get("SLURM_RESTART_COUNT", "0") == "0"


def check(environments: Iterable[str]) -> None:
    """Raises UsageError where a trainer with these environments does not count ranks as they were started."""
    wanted = next((name for name, (environment, _) in STARTERS.items() if environment in environments), "")
    found = starter()
    if wanted and wanted != found:
        raise UsageError(
            f"this trainer is for processes that {wanted} started: {STARTERS[wanted][1]} (docs/cluster.md)"
        )
    if found and not wanted and _count() > 1:
        raise UsageError(
            f"{found} started {_count()} processes, of which this trainer knows one: {STARTERS[found][1]}"
            " (docs/cluster.md)"
        )
    if found == "torchrun" and _number("LOCAL_WORLD_SIZE") * _number("GROUP_WORLD_SIZE") != _count():
        raise UsageError(
            f"torchrun started {_count()} processes, not as many on each host: give all one --nproc-per-node"
        )
    anew = os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0"
    if found == "torchrun" and anew and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        raise UsageError(
            "torchrun would tell the ranks that it starts anew to look for each other where those before them were:"
            " give it --rdzv-backend=c10d and, before it, export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1; or"
            " --max-restarts=0 (docs/cluster.md)"
        )
    if found == "srun" and _count() > 1 and _number("SLURM_NTASKS_PER_NODE") * _number("SLURM_NNODES") != _count():
        raise UsageError(
            f"srun started {_count()} tasks on {_number('SLURM_NNODES')} nodes without being told how many on each:"
            " give --nodes and --ntasks-per-node, not --ntasks"
        )


def _count() -> int:
    """How many ranks torchrun or srun started."""
    return _number("WORLD_SIZE" if starter() == "torchrun" else "SLURM_STEP_NUM_TASKS")


def _number(name: str) -> int:
    return int(os.environ.get(name, "1"))
