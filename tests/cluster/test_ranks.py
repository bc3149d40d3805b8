"""Trainers fit how a process was started, or are refused with the command that is meant."""

import os

import pytest

from tests.conftest import TOYDATA
from vfx import extract
from vfx.errors import ExtractionError, UsageError
from vfx.extraction.rank_barrier import distributed_errors
from vfx.system import launch_environment

TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "mine", "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2",
    "GROUP_RANK": "1", "GROUP_WORLD_SIZE": "2", "TORCHELASTIC_MAX_RESTARTS": "3",
    "TORCHELASTIC_USE_AGENT_STORE": "False",
}  # fmt: skip
SRUN = {
    "SLURM_JOB_ID": "7", "SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "3", "SLURM_NTASKS": "4",
    "SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "2",
}  # fmt: skip
BATCH = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_PROCID": "0"}  # within a script that sbatch started
ONE_TASK = BATCH | {"SLURM_STEP_NUM_TASKS": "1"}
OURS = {"LOCAL_RANK": "1", "WORLD_SIZE": "2", "NODE_RANK": "0"}  # Lightning's own further rank


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    for name in list(os.environ):
        if name.startswith(("SLURM_", "TORCHELASTIC_")) or name in launch_environment.RANK_VARIABLES:
            monkeypatch.delenv(name)
    for name, value in request.param.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("started", "first", "by_others", "told", "job"),
    [
        ({}, True, False, False, ""),
        (OURS, False, False, True, ""),
        (TORCHRUN, False, True, False, "torchrun mine"),
        (TORCHRUN | SRUN | {"RANK": "0"}, True, True, False, "torchrun mine, SLURM 7"),
        (SRUN, False, True, False, "SLURM 7"),
        (BATCH, True, False, False, "SLURM 7"),
        (ONE_TASK, True, False, False, "SLURM 7"),
        (ONE_TASK | OURS, False, False, True, "SLURM 7"),
    ],
    indirect=["started"],
)
def test_who_started_a_process(started: None, first: bool, by_others: bool, told: bool, job: str) -> None:
    assert (
        launch_environment.is_first_rank(),
        launch_environment.ranks_launched_externally(),
        launch_environment.is_launched_by_first_rank(),
        launch_environment.job(),
    ) == (
        first,
        by_others,
        told,
        job,
    )


@pytest.mark.parametrize(
    ("started", "over"),
    [
        ({}, True),
        (SRUN, True),
        (SRUN | {"SLURM_RESTART_COUNT": "0"}, True),
        (SRUN | {"SLURM_RESTART_COUNT": "1"}, False),
    ],
    indirect=["started"],
)
def test_a_job_that_is_queued_again_starts_over_once(started: None, over: bool) -> None:
    assert launch_environment.starts_over(True) is over
    assert not launch_environment.starts_over(False)


@pytest.mark.parametrize("started", [TORCHRUN], indirect=True)
def test_a_run_of_torchrun_does_not_start_over(started: None) -> None:
    with pytest.raises(UsageError, match="overwrite=true would start over whenever torchrun starts the ranks anew"):
        launch_environment.starts_over(True)


@pytest.mark.parametrize(
    ("started", "trainer", "error"),
    [
        ({}, "multinode", "is for processes that torchrun started: torchrun --nnodes=2 .* trainer=multinode"),
        ({}, "slurm", "is for processes that srun started: srun .* trainer=slurm"),
        (BATCH, "slurm", "is for processes that srun started: srun .* trainer=slurm"),
        (SRUN, "multinode", "is for processes that torchrun started"),
        (TORCHRUN, "slurm", "is for processes that srun started"),
        (TORCHRUN, "ddp", "torchrun started 4 processes, of which this trainer knows one: torchrun .*multinode"),
        (SRUN, "cpu", "srun started 4 processes, of which this trainer knows one: srun .*trainer=slurm"),
        (TORCHRUN | {"WORLD_SIZE": "5"}, "multinode", "started 5 processes, not as many on each host"),
        (TORCHRUN | {"TORCHELASTIC_USE_AGENT_STORE": "True"}, "multinode", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1"),
        (SRUN | {"SLURM_NTASKS_PER_NODE": "1"}, "slurm", "started 4 tasks on 2 nodes without .*--ntasks-per-node"),
    ],
    indirect=["started"],
)
def test_a_trainer_that_does_not_fit_is_refused(started: None, trainer: str, error: str) -> None:
    with pytest.raises(UsageError, match=error):
        extract.main(f"collection={TOYDATA}", f"trainer={trainer}")


def test_what_torch_says_of_ranks_that_do_not_meet_is_told_with_the_way_out() -> None:
    said = (
        "Gloo connectFullMesh failed with [/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:152] timed out"
        " connecting: SO_ERROR: Connection refused, remote=[127.0.1.1]:13698$1"
    )
    with (
        pytest.raises(ExtractionError, match=r"GLOO_SOCKET_IFNAME .* \(timed out connecting: .*\[127\.0\.1\.1\]:13698"),
        distributed_errors(),
    ):
        raise RuntimeError(said)
    with pytest.raises(RuntimeError, match="something else"), distributed_errors():
        raise RuntimeError("something else")
