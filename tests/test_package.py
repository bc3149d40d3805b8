"""What is installed: the wheel and the source distribution, the commands, what they hold and where they run."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from configparser import ConfigParser
from email.parser import Parser
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import vfx
from tests.conftest import ROOT, TOYDATA
from vfx import CONF_DIR

SCRIPTS = {name: f"vfx-{name.replace('_', '-')}" for name in vfx.APPS}
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
BUILD = "import sys; from setuptools import build_meta as b; print(getattr(b, 'build_' + sys.argv[1])(sys.argv[2]))"


def tracked() -> set[str]:
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a checkout")
    return {name for name in done.stdout.splitlines() if (ROOT / name).exists()}


def build(kind: str, tree: Path, into: Path) -> Path:
    into.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", BUILD, kind, str(into)], cwd=tree, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return into / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = tmp_path_factory.mktemp("tree")
    for name in tracked():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tree / name)
    return build("sdist", tree, tree / "dist")


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the source distribution, as installers do."""
    folder = tmp_path_factory.mktemp("wheel")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (tree,) = folder.iterdir()
    return build("wheel", tree, folder / "dist")


def test_the_source_distribution_holds_what_the_repository_holds(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames() if not archive.getmember(name).isdir()}
    made = {"PKG-INFO", *(name for name in held if name.startswith("vfx.egg-info/"))}
    assert held - made - {"setup.cfg"} == tracked() - {"setup.cfg"}  # which setuptools writes anew


def test_the_wheel_holds_configs_types_and_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = Parser().parsestr(archive.read(f"vfx-{vfx.__version__}.dist-info/METADATA").decode())
        points = archive.read(f"vfx-{vfx.__version__}.dist-info/entry_points.txt").decode()
    code = {str(path.relative_to(ROOT)) for path in (ROOT / "vfx").rglob("*.py")}
    configs = {f"vfx/conf/{path.relative_to(CONF_DIR)}" for path in CONF_DIR.rglob("*.yaml")}
    pages = {str(path.relative_to(ROOT)) for path in (ROOT / "vfx/reporting/templates").iterdir()}
    assert names >= {"vfx/py.typed", f"vfx-{vfx.__version__}.dist-info/licenses/LICENSE"} | code | pages
    assert {name for name in names if name.endswith(".yaml")} == configs
    assert not [name for name in names if name.startswith(("tests/", "conf/", "toydata/"))]
    assert metadata["License"] == "Apache-2.0"
    assert metadata["Requires-Python"] == "<3.14,>=3.10"
    assert {f"Programming Language :: Python :: {version}" for version in PYTHONS} <= set(
        metadata.get_all("Classifier")
    )
    listed = ConfigParser()
    listed.read_string(points)
    assert dict(listed["console_scripts"]) == dict.fromkeys(SCRIPTS.values(), "vfx.cli.entry_points:run")


def test_versions_agree() -> None:
    cited = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {vfx.__version__}\n" in cited
    assert "\n## [Unreleased]\n" in (ROOT / "CHANGELOG.md").read_text()


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands as installers write them, of this checkout."""
    folder = tmp_path_factory.mktemp("bin")
    for script in SCRIPTS.values():
        lines = [f"#!{sys.executable}", "import sys", "from vfx.cli.entry_points import run", "sys.exit(run())"]
        (folder / script).write_text("\n".join(lines) + "\n")
        (folder / script).chmod(0o755)
    return folder


def environment(scripts: Path) -> dict[str, str]:
    return os.environ | {"PATH": f"{scripts}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_groups_options_and_keys(scripts: Path, tmp_path: Path) -> None:
    """As docs/commands.md says to set it up."""
    (line,) = [s for s in (ROOT / "docs/commands.md").read_text().splitlines() if s.startswith("for app in")]
    script = f"""
{line}
complete -p vfx-pool
for COMP_LINE in "vfx-extract model=resnest" "vfx-pool feat"; do
    COMP_WORDS=($COMP_LINE) COMP_CWORD=1 COMP_POINT=${{#COMP_LINE}} COMPREPLY=()
    hydra_bash_completion
    echo "${{COMPREPLY[@]}}"
done
"""
    done = subprocess.run(
        ["bash", "--norc", "-c", script], cwd=tmp_path, env=environment(scripts), capture_output=True, text=True
    )
    installed, *completed = done.stdout.splitlines()
    assert installed.endswith("-F hydra_bash_completion vfx-pool"), done.stderr
    assert completed == ["model=resnest101 model=resnest200 model=resnest269 model=resnest50", "feature="]
    assert done.stderr == ""


def test_a_command_says_what_its_module_says(scripts: Path, tmp_path: Path) -> None:
    """Help that is piped to head ends quietly, and a mistake is the same line."""
    done = subprocess.run(
        "vfx-extract --help | head -1; vfx-import-bigfile levl=3",
        shell=True,
        cwd=tmp_path,
        env=environment(scripts),
        capture_output=True,
        text=True,
    )
    assert done.stdout.startswith("Step 2: ")
    assert done.stderr.splitlines() == [
        "error: vfx.import_bigfile has no key levl; nearest: level; python -m vfx.import_bigfile --help lists them"
    ]


@pytest.mark.parametrize("command", [[sys.executable, "-m", "vfx.extract"], ["vfx-extract"]], ids=["module", "script"])
def test_ctrl_c_before_anything_is_imported_says_one_line(command: list[str], scripts: Path, tmp_path: Path) -> None:
    """A library that takes for ever stands for a slow disk."""
    slow = "import time\nprint('at it', flush=True)\ntime.sleep(600)\n"
    (tmp_path / "omegaconf.py").write_text(slow)
    (tmp_path / "hydra.py").write_text(slow)
    given = environment(scripts) | {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    command = [shutil.which(command[0], path=given["PATH"]) or "", *command[1:]]
    run = subprocess.Popen(
        command, cwd=tmp_path, env=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert run.stdout is not None and run.stdout.readline() == "at it\n"
    run.send_signal(signal.SIGINT)
    _, error = run.communicate(timeout=120)
    assert run.returncode == 130
    assert error.splitlines() == [
        "error: ended by Ctrl-C; what was finished is kept: the same command goes on from there"
    ]


def interpreters() -> dict[str, str]:
    """The Pythons that vfx is for and this machine has, by version."""
    found = {".".join(map(str, sys.version_info[:2])): sys.executable}
    for version in PYTHONS:
        kept = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
        for path in [shutil.which(f"python{version}"), *map(str, kept)]:
            asked = [path or "false", "-c", "import sys, venv, ensurepip; print(*sys.version_info[:2], sep='.')"]
            if path and subprocess.run(asked, capture_output=True, text=True).stdout.strip() == version:
                found.setdefault(version, path)
    return found


@pytest.fixture
def venv(tmp_path: Path) -> Iterator[Path]:
    """For an environment of some GB, which goes when its test is done."""
    yield tmp_path / "venv"
    shutil.rmtree(tmp_path / "venv", ignore_errors=True)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("version", PYTHONS)
def test_the_wheel_runs_from_another_folder(version: str, wheel: Path, tmp_path: Path, venv: Path) -> None:
    """In a fresh environment of each Python, with the libraries of constraints.txt that are for it."""
    python = interpreters().get(version)
    if python is None:
        pytest.skip(f"no Python {version} here")
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    work = tmp_path / "work"
    work.mkdir()

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=work, env=clean, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run(python, "-m", "venv", str(venv))
    own = str(venv / "bin/python")
    run(own, "-m", "pip", "install", "--no-compile", "--constraint", str(ROOT / "constraints.txt"), str(wheel))
    (site,) = (venv / "lib").glob("python*/site-packages")
    assert run(own, "-c", "import vfx; print(vfx.CONF_DIR)").strip() == str(site / "vfx/conf")
    for name in vfx.APPS:
        assert "== Keys ==" in run(str(venv / "bin" / SCRIPTS[name]), "--help")
        assert "== Keys ==" in run(own, "-m", f"vfx.{name}", "--help")
    printed = run(str(venv / "bin/vfx-extract"), f"collection={TOYDATA}", "trainer=cpu", "sampler=uniform")
    assert printed == "outputs/toydata/efficientnet_lite0,avgpool/features.h5\n"
    assert (work / printed.strip()).is_file()


@pytest.mark.parametrize("version", PYTHONS)
def test_what_is_pinned_for_a_python_runs_on_it(version: str) -> None:
    """As the libraries that are installed here tell of themselves: a later one must have a marker."""
    pins = [Requirement(line) for line in (ROOT / "constraints.txt").read_text().splitlines() if line[:1] not in "#"]
    assert len(pins) > 50
    seen = 0
    for patch in (0, 18):
        full = f"{version}.{patch}"
        there = {"python_version": version, "python_full_version": full}
        for pin in pins:
            try:
                own = metadata(pin.name)
            except PackageNotFoundError:  # one of an extra
                continue
            if pin.specifier.contains(own["Version"]) and (pin.marker is None or pin.marker.evaluate(there)):
                seen += 1
                assert SpecifierSet(own.get("Requires-Python", "")).contains(full), f"{pin} on {full}"
    assert seen > 50
