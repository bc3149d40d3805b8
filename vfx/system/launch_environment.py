"""What launched this process (a user, torchrun, SLURM), and as which rank; Lightning would take seconds to import."""

from __future__ import annotations

import os
from collections.abc import Iterable

from vfx.errors import UsageError

PARENT = os.getppid()  # asked early: it may be gone when it is needed
RANK_VARIABLES = ("RANK", "LOCAL_RANK", "SLURM_PROCID")  # the surest first
# Each launcher's environment in Lightning, and how it is used.
LAUNCHERS = {
    "torchrun": (
        "TorchElasticEnvironment",
        "torchrun --nnodes=2 --nproc-per-node=2 --rdzv-backend=c10d --rdzv-endpoint=<a host> --rdzv-id=<a name>"
        " -m vfx.extract ... trainer=multinode",
    ),
    "srun": ("SLURMEnvironment", "srun --kill-on-bad-exit=1 python -m vfx.extract ... trainer=slurm"),
}


def is_first_rank() -> bool:
    """Whether this process is the only one of its run, or the one that reports and writes for all."""
    return int(next((os.environ[name] for name in RANK_VARIABLES if name in os.environ), "0")) == 0


def launcher() -> str:
    """What launched this process as a rank: "torchrun", "srun", or "" if a user or the first rank did."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return "torchrun"
    return "srun" if "SLURM_STEP_NUM_TASKS" in os.environ else ""


def ranks_launched_externally() -> bool:
    """Whether torchrun or SLURM launched the ranks; then each must come to the rendezvous, even with no work."""
    return launcher() == "torchrun" or _world_size() > 1


def is_launched_by_first_rank() -> bool:
    """Whether the first rank launched this one; then it also tells it to end, and exits for both."""
    return not (is_first_rank() or ranks_launched_externally())


def job() -> str:
    """What names the job when torchrun or SLURM starts it again, maybe on another machine; "" without them."""
    jobs = {"torchrun": "TORCHELASTIC_RUN_ID", "SLURM": "SLURM_JOB_ID"}
    return ", ".join(f"{whose} {os.environ[name]}" for whose, name in jobs.items() if name in os.environ)


def starts_over(overwrite: bool) -> bool:
    """Whether this run discards what is there: if it is told to overwrite, but not if SLURM has requeued it.

    Raises:
        UsageError: told to overwrite under torchrun, which starts ranks again whenever a host comes or goes, and
            does not tell them so.
    """
    if overwrite and launcher() == "torchrun":
        raise UsageError(
            "overwrite=true would start over whenever torchrun starts the ranks anew: remove the output folder instead"
        )
    return overwrite and os.environ.get("SLURM_RESTART_COUNT", "0") == "0"


def check(environments: Iterable[str]) -> None:
    """Check that a trainer counts the ranks as they were launched.

    Args:
        environments: the class names of the trainer's cluster environments.

    Raises:
        UsageError: it does not, or the launcher's options do not suit it.
    """
    environments = set(environments)
    wanted = next((name for name, (environment, _) in LAUNCHERS.items() if environment in environments), "")
    found = launcher()
    if wanted and wanted != found:
        raise UsageError(
            f"this trainer is for processes that {wanted} started: {LAUNCHERS[wanted][1]} (docs/cluster.md)"
        )
    if found and not wanted and _world_size() > 1:
        raise UsageError(
            f"{found} started {_world_size()} processes, of which this trainer knows one: {LAUNCHERS[found][1]}"
            " (docs/cluster.md)"
        )
    if found == "torchrun":
        _check_torchrun()
    if found == "srun":
        _check_srun()


def _check_torchrun() -> None:
    if _number("LOCAL_WORLD_SIZE") * _number("GROUP_WORLD_SIZE") != _world_size():
        raise UsageError(
            f"torchrun started {_world_size()} processes, not as many on each host: give all one --nproc-per-node"
        )
    restarts = os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0"
    if restarts and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        raise UsageError(
            "torchrun would tell the ranks that it starts anew to look for each other where those before them were:"
            " give it --rdzv-backend=c10d and, before it, export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1; or"
            " --max-restarts=0 (docs/cluster.md)"
        )


def _check_srun() -> None:
    nodes = _number("SLURM_NNODES")
    if _world_size() > 1 and _number("SLURM_NTASKS_PER_NODE") * nodes != _world_size():
        raise UsageError(
            f"srun started {_world_size()} tasks on {nodes} nodes without being told how many on each:"
            " give --nodes and --ntasks-per-node, not --ntasks"
        )


def _world_size() -> int:
    """How many ranks torchrun or srun launched."""
    return _number("WORLD_SIZE" if launcher() == "torchrun" else "SLURM_STEP_NUM_TASKS")


def _number(name: str) -> int:
    return int(os.environ.get(name, "1"))
