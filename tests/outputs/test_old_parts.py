"""Parts that earlier versions left, which say among their failures which chunk of a video they hold."""

import json
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import FEATURE, ROOT, link_clips
from vfx import extract
from vfx.collection.source import Chunk
from vfx.features import integrity
from vfx.features.feature_file import FeatureFile
from vfx.outputs.output_folder import OutputFolder

FIXTURE = ROOT / "tests" / "fixtures" / "before_packages.tar.gz"
# The command that was interrupted after three chunks. Batches of one frame make features comparable bit for bit.
COMMAND = [
    *("trainer=cpu", "dataset.num_workers=2", "+dataset.piece_cost=8000", "writer.commit_seconds=0"),
    *("writer.commit_mb=0", "batch_size=1", "num_threads=1", "writer.dtype=float16", "sampler=stride"),
    "sampler.stride=5",
]


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    return link_clips(tmp_path / "one", "camera.mp4", "retina.mp4")


@pytest.fixture
def old(collection: Path, tmp_path: Path) -> OutputFolder:
    """The output of the interrupted run, of a collection that now lies elsewhere."""
    with tarfile.open(FIXTURE) as archive:
        members = [member for member in archive.getmembers() if member.name.startswith("parts_out/")]
        archive.extractall(tmp_path, members, filter="data")
    output = OutputFolder(tmp_path / "parts_out" / "one" / FEATURE)
    recipe = dict(json.loads((output.parts / "recipe.json").read_text()), collection=str(collection.resolve()))
    (output.parts / "recipe.json").write_text(json.dumps(recipe))
    return output


def run(collection: Path, outputs: Path) -> tuple[FeatureFile, str, int]:
    """The finished file, the log of the run, and how many frames it read."""
    path = extract.main(f"collection={collection}", f"output_dir={outputs}", *COMMAND)
    log = path.with_name("extract.log").read_text().splitlines()
    begin = max(n for n, line in enumerate(log) if " of one: " in line)
    text = "\n".join(log[begin:])
    read = re.search(r"videos, (\d+) frames in", text)
    assert read is not None
    return FeatureFile(path), text, int(read[1])


def test_old_parts_tell_their_chunks(old: OutputFolder) -> None:
    assert old.done() == set()
    assert old.committed().chunks() == {("camera", Chunk(n, n + 1, 14)) for n in range(3)}
    assert all(file.failures == [] for file in old.files())
    assert [finding for _, finding in integrity.examine_files(old.part_paths())] == []


@pytest.mark.dear
def test_a_run_goes_on_from_old_parts(old: OutputFolder, collection: Path, tmp_path: Path) -> None:
    kept = sum(file.features.shape[0] for file in old.files())
    assert kept == 10
    resumed, log, read = run(collection, tmp_path / "parts_out")
    assert resumed.path == old.features
    assert "1 long videos are read in 11 pieces" in log
    undisturbed, log, all_frames = run(collection, tmp_path / "anew")
    assert "1 long videos are read in 14 pieces" in log
    assert read == all_frames - kept
    assert list(resumed) == list(undisturbed) == ["camera", "retina"]
    np.testing.assert_array_equal(resumed.features[:], undisturbed.features[:])
    ours, theirs = (json.loads(file.attributes["digests"]) for file in (resumed, undisturbed))
    for found in (ours, theirs):
        del found["attributes"]  # which tell the time and the folder
    assert ours == theirs
