"""The commands of docs/cluster.md for one machine and for shards, as they stand there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, TOYDATA
from tests.feature_files import same
from vfx.features.feature_file import FeatureFile

SECTIONS = {
    section.partition("\n")[0]: [
        line
        for block in re.findall(r"```bash\n(.*?)```", section, re.DOTALL)
        for line in block.splitlines()
        if line.startswith("python -m vfx.")
    ]
    for section in re.split(r"^## ", (ROOT / "docs" / "cluster.md").read_text(), flags=re.MULTILINE)
}
FEATURES = "outputs/mine/efficientnet_lite0,avgpool/features.h5"


def typed(command: str, folder: Path) -> str:
    """The last line that a command prints, typed in a folder where `mine` is the toy collection."""
    if not (folder / "mine").exists():
        (folder / "mine").symlink_to(TOYDATA)
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=os.environ
        | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "VFX_ROOTPATH": str(folder),
        },
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("command", SECTIONS["One machine"])
def test_one_machine(command: str, tmp_path: Path, toy_features: FeatureFile) -> None:
    assert typed(command, tmp_path) == FEATURES
    same(FeatureFile(tmp_path / FEATURES), toy_features)


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_shards(tmp_path: Path, toy_features: FeatureFile) -> None:
    *shards, merge, extract = SECTIONS["Jobs that know nothing of each other"]
    ends = [typed(command, tmp_path) for command in shards]
    folder = FEATURES.rpartition("/")[0]
    assert ends == [f"{folder}/shards/1-of-3", f"{folder}/shards/2-of-3", FEATURES]
    assert [typed(command, tmp_path) for command in (merge, extract)] == [FEATURES, FEATURES]
    same(FeatureFile(tmp_path / FEATURES), toy_features)
