"""One run on several hosts, as docs/cluster.md has it typed: it makes the file of one process, whatever befalls a host.

The hosts are namespaces of this machine, see hosts.py; disk and processor are shared.
"""

import os
import platform
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from tests.cluster.hosts import Host, Impossible, network
from tests.conftest import FEATURE, ROOT, TOYDATA, link_clips
from tests.feature_files import same
from vfx import extract
from vfx.collection.collection import find_collection
from vfx.extraction.work_sharing import share
from vfx.features.feature_file import FeatureFile

DOCS = (ROOT / "docs" / "cluster.md").read_text()
COMMAND = next(block for block in re.findall(r"```bash\n(.*?)```", DOCS, re.DOTALL) if "torchrun" in block)
SAMPLER = ("sampler=fps", "sampler.fps=5")  # seconds of work, so that there is a middle of the run
SILENCE = 15
ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("SLURM_", "TORCH", "PET_", "GLOO_")) and name not in ("RANK", "LOCAL_RANK", "WORLD_SIZE")
} | {
    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    "PYTHONPATH": str(ROOT),
    "PET_RDZV_CONF": "last_call_timeout=5",  # torchrun's option: how long it waits for more hosts
}  # fmt: skip


@pytest.fixture(scope="module")
def possible(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skips, with the reason, where this machine grants no hosts."""
    try:
        with network(1, tmp_path_factory.mktemp("possible") / "hosts"):
            pass
    except Impossible as reason:
        pytest.skip(str(reason))


@pytest.fixture
def hosts(possible: None, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[Host]]:
    """As many as the test asks for."""
    with network(request.param, tmp_path / "hosts") as found:
        yield found


@pytest.fixture(scope="module")
def undisturbed(possible: None, tmp_path_factory: pytest.TempPathFactory) -> FeatureFile:
    """By a single process."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return FeatureFile(extract.main(f"collection={TOYDATA}", f"output_dir={folder}", "trainer=cpu", *SAMPLER))


class Run:
    """The command of the docs for some hosts, started on all of them or on `begin`; it commits a video at a time.

    `meeting`: the host of the endpoint. `options`: further ones of torchrun for a host. `without`: a line left out.
    """

    def __init__(
        self,
        hosts: list[Host],
        outputs: Path,
        *,
        collection: Path = TOYDATA,
        begin: list[Host] | None = None,
        meeting: str = "node1",
        options: Callable[[Host], str] = lambda host: "",
        without: str = "",
    ) -> None:
        self.hosts = hosts
        self.features = outputs / collection.name / FEATURE / "features.h5"
        self.began = time.monotonic()
        self._keys = [
            f"output_dir={outputs}", *SAMPLER, "trainer.accelerator=cpu", "dataset.num_workers=1",
            "writer.commit_mb=0", f"writer.silence_seconds={SILENCE}",
        ]  # fmt: skip
        self._typed = {
            "collection=mine": f"collection={shlex.quote(str(collection))}",
            "--rdzv-endpoint=node1:": f"--rdzv-endpoint={meeting}:",
            "--nnodes=1:2": f"--nnodes=1:{len(hosts)}",
        }
        self._options = options
        self._without = without
        self.programs = {host.name: self.start(host) for host in begin or hosts}

    def start(self, host: Host, *, meeting: str = "") -> subprocess.Popen[bytes]:
        command = f"{COMMAND.strip()} {shlex.join(self._keys)}".replace(self._without or "\0", "")
        typed_here = {"-m vfx": f"{self._options(host)} -m vfx"}
        if meeting:
            typed_here["--rdzv-endpoint=node1:"] = f"--rdzv-endpoint={meeting}:"
        for typed, meant in (self._typed | typed_here).items():
            assert typed in command
            command = command.replace(typed, meant)
        return host.start(command, cwd=ROOT, environment=ENVIRONMENT)

    def until(self, what: str, condition: Callable[[], object], seconds: float) -> None:
        """Wait until something is so. Fails with all that the hosts have printed."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                pytest.fail(f"not within {seconds} s: {what}\n{self.printed()}")
            time.sleep(0.05)

    def ranks(self, host: Host) -> list[int]:
        """The processes that torchrun started there."""
        return [number for number, line in host.running().items() if " -u -m vfx.extract " in line]

    def until_some_is_done(self) -> None:
        """Until videos have been committed, and others not."""
        self.until("a first part", self.done, 400)
        assert not self.features.exists(), self.printed()

    def done(self) -> set[str]:
        """The videos in the parts."""
        found: set[str] = set()
        for path in (self.features.parent / "parts").glob("part-*.h5"):
            with FeatureFile(path) as part:
                found.update(part)
        return found

    def ends(self, *hosts: Host, seconds: float = 400) -> None:
        """On these hosts with exit code 0, and nothing of it is left there."""
        for host in hosts:
            self.until(f"the end on {host.name}", lambda h=host: self.programs[h.name].poll() is not None, seconds)  # type: ignore[misc]
            assert self.programs[host.name].returncode == 0, self.printed()
            self.until(f"all processes gone on {host.name}", lambda h=host: not h.running(), 60)  # type: ignore[misc]

    def printed(self) -> str:
        return "\n".join(f"== {host}\n{host.log.read_text()}" for host in self.hosts)

    def starts(self) -> list[str]:
        """What was said at each start of how much there is to do."""
        log = (self.features.parent / "extract.log").read_text()
        return re.findall(rf"{FEATURE} of toydata: (.*)", log)

    def gives(self, undisturbed: FeatureFile) -> None:
        with FeatureFile(self.features) as file:
            same(file, undisturbed)
        assert not (self.features.parent / "parts").exists()
        assert not (self.features.parent / ".lock").exists()


def went_on_from(run: Run, kept: set[str]) -> None:
    """The second start found what there was in the middle of the first; nothing of it was read again."""
    first, second, *_ = run.starts()
    assert first == "8 videos to do"
    if "nothing to do" not in second:
        found = re.fullmatch(r"\d videos to do, (\d) of 8 done before", second)
        assert found is not None, second
        assert int(found[1]) >= len(kept)


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest) -> Callable[[Run, str], None]:
    """Prints what a test ran on, captured or not."""

    def print_it(run: Run, what: str) -> None:
        with capsys.disabled():
            print(
                f"\n{what}: {', '.join(map(str, run.hosts))}; Linux {platform.release()}, torch {torch.__version__},"
                f" gloo, {os.cpu_count()} cores; {time.monotonic() - run.began:.0f} s"
            )

    return print_it


Say = Callable[[Run, str], None]


def survives(
    run: Run, what: str, lose: Callable[[], None], left: list[Host], undisturbed: FeatureFile, say: Say
) -> None:
    """A run loses a host when some is done: the others go on, and make the file."""
    run.until_some_is_done()
    lose()
    kept = run.done()
    run.ends(*left, seconds=600)
    run.gives(undisturbed)
    went_on_from(run, kept)
    say(run, f"{what} when {len(kept)} of 8 videos were done")


@pytest.mark.slow  # the fast part has one of two hosts killed
@pytest.mark.timeout(900)  # on a machine that is busy
@pytest.mark.parametrize("hosts", [2], indirect=True)
def test_two_hosts_make_the_file_of_one_process(
    hosts: list[Host], tmp_path: Path, undisturbed: FeatureFile, say: Say
) -> None:
    """And neither waits for the other before its own work is done."""
    run = Run(hosts, tmp_path / "outputs")
    run.until_some_is_done()
    for rank in run.ranks(hosts[1]):
        os.kill(rank, signal.SIGSTOP)
    mine, others = ({source.id for source in share(find_collection(str(TOYDATA), ".").videos(), n, 2)} for n in (0, 1))
    run.until("the first host's share", lambda: mine <= run.done(), 400)
    assert others - run.done()
    for rank in run.ranks(hosts[1]):
        os.kill(rank, signal.SIGCONT)
    run.ends(*hosts)
    run.gives(undisturbed)
    assert run.starts() == ["8 videos to do"]
    assert hosts[0].log.read_text().splitlines()[-1] == str(run.features)
    assert str(run.features) not in hosts[1].log.read_text()
    say(run, "one run on two hosts")


@pytest.mark.dear
@pytest.mark.timeout(900)
@pytest.mark.parametrize("hosts", [2], indirect=True)
def test_a_host_that_is_killed(hosts: list[Host], tmp_path: Path, undisturbed: FeatureFile, say: Say) -> None:
    run = Run(hosts, tmp_path / "outputs")
    survives(run, "a host killed", hosts[1].kill, hosts[:1], undisturbed, say)
    assert "a rank is gone before all have done their work" in hosts[0].log.read_text()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("hosts", [2], indirect=True)
def test_a_host_that_is_cut_off(hosts: list[Host], tmp_path: Path, undisturbed: FeatureFile, say: Say) -> None:
    """Its processes go on for a while, and may commit what they finish, which does no harm."""
    run = Run(hosts, tmp_path / "outputs")
    survives(run, "a host cut off", hosts[1].cut_off, hosts[:1], undisturbed, say)
    run.until("the end of the rank that was cut off", lambda: not run.ranks(hosts[1]), 300)
    run.gives(undisturbed)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("hosts", [3], indirect=True)
def test_the_host_of_the_first_rank_is_killed(
    hosts: list[Host], tmp_path: Path, undisturbed: FeatureFile, say: Say
) -> None:
    """The others, of which one has the first rank now, wait until its lock has been silent for two minutes."""
    run = Run(hosts, tmp_path / "outputs", meeting="node2")
    survives(run, "the first rank's host killed", hosts[0].kill, hosts[1:], undisturbed, say)
    assert "waiting for an earlier attempt of this job to end: process" in run.printed()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("hosts", [2], indirect=True)
def test_a_host_that_comes_later(hosts: list[Host], tmp_path: Path, undisturbed: FeatureFile, say: Say) -> None:
    """The run begins without it, is told to end when it comes, commits what is finished, and goes on on both."""
    run = Run(hosts, tmp_path / "outputs", begin=hosts[:1])
    run.until_some_is_done()
    kept = run.done()
    run.programs["node2"] = run.start(hosts[1])
    run.ends(*hosts)
    run.gives(undisturbed)
    if len(run.starts()) > 1:
        went_on_from(run, kept)
    say(run, f"a second host came when {len(kept)} of 8 videos were done")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("hosts", [2], indirect=True)
def test_the_host_of_the_endpoint_is_killed(
    hosts: list[Host], tmp_path: Path, undisturbed: FeatureFile, say: Say
) -> None:
    """Then torchrun ends on the other too, and the same command with another endpoint goes on."""
    run = Run(hosts, tmp_path / "outputs")
    run.until_some_is_done()
    hosts[0].kill()
    kept = run.done()
    run.until("the end of torchrun on the other", lambda: run.programs["node2"].poll() is not None, 400)
    assert run.programs["node2"].returncode != 0
    run.programs["node2"] = run.start(hosts[1], meeting="node2")
    run.ends(hosts[1], seconds=600)
    run.gives(undisturbed)
    went_on_from(run, kept)
    say(run, f"the endpoint's host killed when {len(kept)} of 8 videos were done")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("hosts", [3], indirect=True)
def test_hosts_without_names_and_more_of_them_than_videos(
    hosts: list[Host], tmp_path: Path, undisturbed: FeatureFile, say: Say
) -> None:
    link_clips(tmp_path / "one", "retina.mp4")
    for host in hosts:
        host.know([])
    run = Run(
        hosts,
        tmp_path / "outputs",
        collection=tmp_path / "one",
        meeting=hosts[0].address,
        options=lambda host: f"--local-addr={host.address} --rdzv-conf=is_host={int(host is hosts[0])}",
    )
    run.ends(*hosts)
    with FeatureFile(run.features) as file:
        assert list(file) == ["retina"]
        assert abs(file["retina"] - undisturbed["retina"]).max() < 2e-5
    say(run, "one video on three hosts without names")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("hosts", [2], indirect=True)
def test_ranks_that_do_not_reach_each_other_say_what_to_do(hosts: list[Host], tmp_path: Path) -> None:
    """The hosts' own names lead to 127.0.1.1, where gloo looks for others unless it is told better."""
    run = Run(hosts, tmp_path / "outputs", without="export GLOO_SOCKET_IFNAME=eth0\n")
    run.until("a word of it", lambda: "GLOO_SOCKET_IFNAME must name the network interface" in run.printed(), 400)
    assert "remote=[127.0.1.1]" in run.printed()
    assert "Error executing job" not in run.printed()


TRIES = 6
MET_AGAIN = """
import os, pathlib, time, datetime, torch, torch.distributed as dist
second = os.environ["TORCHELASTIC_RESTART_COUNT"] == "1"
there = pathlib.Path(__file__).with_name("there")
if second and os.environ["RANK"] == "1":
    there.touch()
elif second:
    while not there.exists():
        time.sleep(0.1)
    time.sleep(5)  # so that the other finds what the first left
dist.init_process_group("gloo", timeout=datetime.timedelta(seconds=10))
dist.all_reduce(torch.zeros(1))
os._exit(0 if second else 1)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("shared", "code"), [("0", 1), ("1", 0)])
def test_why_torchrun_must_not_share_its_store(shared: str, code: int, tmp_path: Path) -> None:
    """By default ranks that are started again look for those before them. Once not, ranks.check need not ask.

    Of two addresses gloo has one call and the other wait, by their order, which is chance: a rank that waits is not led
    astray by an old address.
    """
    (tmp_path / "met.py").write_text(MET_AGAIN)
    for _ in range(TRIES if code else 1):
        (tmp_path / "there").unlink(missing_ok=True)
        done = subprocess.run(
            ["torchrun", "--nproc-per-node=2", "--max-restarts=1", "--rdzv-backend=c10d",
             "--rdzv-endpoint=localhost:0", str(tmp_path / "met.py")],
            env=ENVIRONMENT | {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": shared},
            capture_output=True, text=True, timeout=200,
        )  # fmt: skip
        if done.returncode == code:
            break
    assert done.returncode == code, done.stderr
    assert ("Gloo connectFullMesh failed" in done.stderr) == (code == 1)
