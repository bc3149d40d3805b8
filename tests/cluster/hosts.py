"""Hosts made of namespaces on this machine: each has a network address, a name, processes and a boot of its own.

They last as long as this process, however that ends, and take all their processes, links and names with them. The
network of the machine itself is not touched. Needs Linux with iproute2, and root or a kernel that grants namespaces to
everybody.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

TOOLS = ("unshare", "nsenter", "ip", "mount", "hostname")
PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"  # not everybody's has `ip`
LINK = "eth0"
SECONDS = 60


class Impossible(Exception):
    """This machine grants no such hosts; says why."""


@contextmanager
def network(count: int, folder: Path) -> Iterator[list[Host]]:
    """Hosts that are connected with each other and nothing else; what they print is kept in the folder.

    Raises Impossible where this machine grants none.
    """
    missing = [tool for tool in TOOLS if shutil.which(tool, path=PATH) is None]
    if sys.platform != "linux" or missing:
        raise Impossible(f"hosts are made by Linux with {', '.join(missing or TOOLS)}")
    folder.mkdir()
    with ExitStack() as stack:
        switch = _Namespaces(["unshare", *([] if _is_root() else ["--user", "--map-root-user"]), "--net"])
        stack.callback(switch.end)
        switch.run("ip link add switch type bridge && ip link set switch up")
        hosts: list[Host] = []
        for number in range(1, count + 1):
            hosts.append(Host(number, folder, switch))
            stack.callback(hosts[-1].kill)
        for host in hosts:
            host.plug_in(hosts)
        yield hosts


class Host:
    """One host: its `name`, its `address` on the network, its `log`."""

    def __init__(self, number: int, folder: Path, switch: _Namespaces) -> None:
        self.name = f"node{number}"
        self.address = f"10.77.0.{number}"
        self.log = folder / f"{self.name}.log"
        self._files = folder / self.name
        self._files.mkdir()
        self._port = f"port{number}"
        self._switch = switch
        self._namespaces = _Namespaces(
            [*switch.enter("--net"), "unshare", "--net", "--uts", "--pid", "--mount", "--fork", "--mount-proc"]
        )
        self._programs: list[subprocess.Popen[bytes]] = []

    def __repr__(self) -> str:
        return f"{self.name} ({self.address})"

    def plug_in(self, hosts: list[Host]) -> None:
        """Connect it, and tell it its name and those of others."""
        self.know(hosts)
        (self._files / "boot_id").write_text(f"{uuid.uuid4()}\n")  # by which vfx tells machines apart
        self._switch.run(
            f"ip link add {self._port} type veth peer name {LINK} netns {self._namespaces.first}"
            f" && ip link set {self._port} master switch up"
        )
        self.run(
            f"hostname {self.name} && ip link set lo up"
            f" && ip addr add {self.address}/24 dev {LINK} && ip link set {LINK} up"
            f" && mount --bind {shlex.quote(str(self._files / 'hosts'))} /etc/hosts"
            f" && mount --bind {shlex.quote(str(self._files / 'boot_id'))} /proc/sys/kernel/random/boot_id"
        )

    def know(self, hosts: list[Host]) -> None:
        """Let names of these lead to their addresses, its own name where Debian's installer has it."""
        names = [f"{host.address} {host.name}" for host in hosts if host is not self]
        (self._files / "hosts").write_text("\n".join(["127.0.0.1 localhost", f"127.0.1.1 {self.name}", *names, ""]))

    def start(self, script: str, *, cwd: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """Start a script of bash here. It ends with the host, at the latest."""
        with self.log.open("ab") as log:
            program = subprocess.Popen(
                [*self._enter(), "bash", "-c", f"cd {shlex.quote(str(cwd))} || exit\n{script}"],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._programs.append(program)
        return program

    def run(self, script: str) -> str:
        """Run a script of bash here, now; what it prints. Raises Impossible where it fails."""
        return _run([*self._enter(), "bash", "-c", script])

    def running(self) -> dict[int, str]:
        """What was started here and has not ended: number, as it is outside -> command line."""
        return {number: line for number, line in self._namespaces.processes() if number != self._namespaces.first}

    def cut_off(self) -> None:
        """Pull its cable: nothing is heard of it any more, and its processes go on."""
        self._switch.run(f"ip link set {self._port} down")

    def kill(self) -> None:
        """End all of its processes by SIGKILL, at once, and let go of its network, as when its power fails."""
        self._namespaces.end()
        for program in self._programs:
            program.wait(SECONDS)

    def _enter(self) -> list[str]:
        return self._namespaces.enter("--net", "--uts", "--pid", "--mount")


class _Namespaces:
    """Namespaces that a command makes; they last as long as their `first` process, and that until our end of a pipe."""

    def __init__(self, command: list[str]) -> None:
        self._command = subprocess.Popen(
            [*command, "bash", "-c", "echo ready; read -r _"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._command.stdout is not None
        if self._command.stdout.readline() != "ready\n":
            raise Impossible(f"this machine grants no namespaces: {self._command.communicate(timeout=SECONDS)[1]}")
        pid = self._command.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split() if "--fork" in command else []
        self.first = int(children[0]) if children else pid

    def enter(self, *kinds: str) -> list[str]:
        """The beginning of a command that runs in these."""
        own = [] if _is_root() else ["--user", "--preserve-credentials"]
        return ["nsenter", f"--target={self.first}", *own, *kinds]

    def run(self, script: str) -> None:
        _run([*self.enter("--net"), "bash", "-c", script])

    def processes(self) -> Iterator[tuple[int, str]]:
        """Those that live in these: number, command line."""
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                line = (folder / "cmdline").read_text().replace("\0", " ")
                if line and (folder / "ns/pid").samefile(f"/proc/{self.first}/ns/pid"):
                    yield int(folder.name), line

    def end(self) -> None:
        if self._command.poll() is None:
            self._command.communicate(timeout=SECONDS)


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, env=os.environ | {"PATH": PATH})
    if done.returncode != 0:
        raise Impossible(f"{command[-1]}: {done.stderr.strip()}")
    return done.stdout


def _is_root() -> bool:
    return os.geteuid() == 0
