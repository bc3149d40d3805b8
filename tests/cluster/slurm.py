"""A real SLURM on this machine, of two nodes that are both this machine: for tests, and to try batch scripts.

    python -m tests.cluster.slurm bash                    # a shell in which sbatch, squeue and the like find it
    python -m tests.cluster.slurm sbatch --wait job.sh    # any other command

munged, slurmctld and two slurmd run on loopback and free ports, with configuration, state and logs in a temporary
folder, as whoever starts them and without cgroups or systemd; a SLURM that the machine has is left alone. When the
command ends they end, with whatever jobs are still there.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "srun", "sbatch")
FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/sbin")  # of daemons; not on everybody's path
# Addresses for names: ranks meet at the name of the first node, and no other would lead here.
NODES = ("127.0.0.1", "127.0.0.2")
START_SECONDS = 60
END_SECONDS = 20
LINES = 5  # of a log, that are shown where a daemon does not start

# Two tasks with a processor of their own, twice at once, on however small a machine. Jobs of `main` make way for those
# of `urgent`: they have GraceTime seconds from the SIGTERM that tells them. A job that is queued again waits for
# cred_expire seconds. Ranks meet at a port made of their job's number, which should be another's in another SLURM here.
CONFIGURATION = """\
ClusterName=vfx
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
FirstJobId={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=10
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=30
{nodes}
PartitionName=main Nodes=ALL Default=YES PriorityTier=1 GraceTime=60
PartitionName=urgent Nodes=ALL PriorityTier=2 PreemptMode=OFF
"""
NODE = "NodeName={name} NodeAddr={name} NodeHostname={host} Port={port} CPUs=4"


class UnavailableError(Exception):
    """SLURM is not installed, or does not start here; says why."""


@contextmanager
def running() -> Iterator[dict[str, str]]:
    """Start SLURM; gives the environment in which its commands, and programs that call them, find it.

    Raises UnavailableError, with the reason.
    """
    programs = {name: shutil.which(name, path=os.pathsep.join([os.defpath, *FOLDERS])) for name in PROGRAMS}
    if missing := [name for name, path in programs.items() if path is None]:
        raise UnavailableError(f"{', '.join(missing)} not found (Debian: apt-get install slurm-wlm)")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slurm-", ignore_cleanup_errors=True)))
        folder.chmod(0o711)  # munge wants its socket in reach of all
        _configure(folder)
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "SBATCH_", "SRUN_"))}
        environment |= {"SLURM_CONF": str(folder / "slurm.conf")}
        stack.callback(_kill_all_of, environment["SLURM_CONF"])
        files = {"socket": "socket", "key-file": "key", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        munge = [f"--{option}={folder}/munge.{end}" for option, end in files.items()]
        commands = {
            "munged": ["--foreground", "--force", *munge],
            "slurmctld": ["-D", "-c"],
            **{f"slurmd {name}": ["-D", "-N", name] for name in NODES},
        }
        daemons = {}
        for name, options in commands.items():
            program = programs[name.split()[0]]
            assert program is not None
            daemons[name] = stack.enter_context(_daemon([program, *options], folder / f"{name}.log", environment))
        _wait_for_nodes(daemons, folder, environment)
        yield environment


def _configure(folder: Path) -> None:
    """Write the configuration, and a key that only these daemons have."""
    key = folder / "munge.key"
    key.touch(0o600)
    key.write_bytes(secrets.token_bytes(64))
    (folder / "state").mkdir()
    for name in NODES:
        (folder / name).mkdir()
    host = socket.gethostname().partition(".")[0]
    port, *ports = _free_ports(1 + len(NODES))
    nodes = "\n".join(NODE.format(name=n, host=host, port=p) for n, p in zip(NODES, ports, strict=True))
    user = pwd.getpwuid(os.getuid()).pw_name
    text = CONFIGURATION.format(host=host, port=port, user=user, folder=folder, nodes=nodes)
    (folder / "slurm.conf").write_text(text)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("", 0))
        return [each.getsockname()[1] for each in sockets]


@contextmanager
def _daemon(command: list[str], log: Path, environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as printed:
        daemon = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
            cwd=log.parent,
            start_new_session=True,  # Ctrl-C is for the command that runs within
        )
        try:
            yield daemon
        finally:
            daemon.terminate()
            try:
                daemon.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()


def _wait_for_nodes(daemons: Mapping[str, subprocess.Popen[bytes]], folder: Path, environment: dict[str, str]) -> None:
    until = time.monotonic() + START_SECONDS
    while True:
        for name, daemon in daemons.items():
            if daemon.poll() is not None:
                raise UnavailableError(f"{name} ended with code {daemon.returncode}: {_end_of(folder / f'{name}.log')}")
        states = _ask(["sinfo", "--noheader", "--Node", "--partition=main", "--format=%T"], environment).split()
        if states == ["idle"] * len(NODES):
            return
        if time.monotonic() > until:
            raise UnavailableError(f"nodes are {states} after {START_SECONDS} s: {_end_of(folder / 'slurmctld.log')}")
        time.sleep(0.2)


def _end_of(log: Path) -> str:
    return " / ".join(log.read_text(errors="replace").splitlines()[-LINES:])


def _ask(command: list[str], environment: Mapping[str, str]) -> str:
    """What a command says; "" where it fails."""
    with contextlib.suppress(subprocess.SubprocessError):
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=END_SECONDS, check=True
        ).stdout
    return ""


def _kill_all_of(configuration: str) -> None:
    """Kill the jobs that are left, and whatever else was started within and outlived its daemons."""
    mine = f"\0SLURM_CONF={configuration}\0".encode()
    found = True
    while found:
        found = False
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                if mine in b"\0" + (folder / "environ").read_bytes() and int(folder.name) != os.getpid():
                    os.kill(int(folder.name), signal.SIGKILL)
                    found = True


def main() -> int:
    """Run the command of the command line within, and return its exit code."""
    try:
        with running() as environment:
            return subprocess.run(sys.argv[1:] or [os.environ.get("SHELL", "sh")], env=environment).returncode
    except UnavailableError as reason:
        print(f"no SLURM here: {reason}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
