"""The index of FAISS beside a feature: what it finds, how it says so, and that it is never an old one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.retrieval.conftest import clustered, written
from vfx.errors import UsageError
from vfx.features.feature_file import FeatureFile
from vfx.retrieval import faiss_index
from vfx.retrieval.exact_search import nearest
from vfx.retrieval.faiss_index import open_index

LENGTHS = [40] * 500


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> FeatureFile:
    """A feature with its index, which took several shards to make."""
    folder = tmp_path_factory.mktemp("indexed")
    file = written(folder / "features.h5", clustered(0), LENGTHS)
    open_index(file, shard_bytes=1 << 18)
    return file


def test_nearly_all_are_found_with_their_exact_cosines(indexed: FeatureFile) -> None:
    index = open_index(indexed)
    queries = indexed.features[::400] + np.random.default_rng(1).normal(size=(50, 32)).astype("f4") * 0.1
    truth = nearest(indexed, queries, k=10)
    found = [index.nearest(query, k=10) for query in queries]
    shares = [len({h.row for h in t} & {h.row for h in f}) / 10 for t, f in zip(truth, found, strict=True)]
    assert np.mean(shares) >= 0.85
    cosines = {hit.row: hit.cosine for hits in truth[:1] for hit in hits}
    assert all(hit.cosine == pytest.approx(cosines[hit.row], abs=1e-5) for hit in found[0] if hit.row in cosines)
    about = index.about
    assert about.recall >= faiss_index.RECALL
    assert about.probes < about.lists / 2
    assert (about.rows, about.queries) == (20_000, faiss_index.QUERIES)
    assert index.nearest(queries[0], k=10, probes=about.lists)[0].row == truth[0][0].row


def test_an_index_is_made_once_and_read_where_it_lies(indexed: FeatureFile, tmp_path: Path) -> None:
    (place,) = indexed.path.parent.glob("faiss.*")
    before = {path.name: path.stat().st_mtime_ns for path in place.iterdir()}
    assert before.keys() == {"about.json", "0.faiss", "1.faiss", "2.faiss"}
    assert place.joinpath("0.faiss").stat().st_size < 20_000 * 32 * 2
    hits = open_index(indexed).nearest(indexed.features[7], k=3)
    assert hits[0].row == 7
    assert {path.name: path.stat().st_mtime_ns for path in place.iterdir()} == before
    moved = tmp_path / "moved"
    shutil.copytree(indexed.path.parent, moved)
    assert open_index(FeatureFile(moved)).nearest(indexed.features[7], k=3) == hits


def test_own_rows_are_left_out_and_videos_collapsed_as_exactly(indexed: FeatureFile) -> None:
    index = open_index(indexed)
    query = indexed.features[45]
    all_lists = index.about.lists
    (truth,) = nearest(indexed, query[None], k=12, without=[(40, 80)])
    found = index.nearest(query, k=12, without=(40, 80), probes=all_lists)
    assert [hit.row for hit in found] == [hit.row for hit in truth]
    offsets = indexed.offsets
    (videos,) = nearest(indexed, query[None], k=30, offsets=offsets)
    found = index.nearest(query, k=30, offsets=offsets, probes=all_lists)
    assert len({hit.row // 40 for hit in found}) == 30
    assert len({hit.row for hit in found} & {hit.row for hit in videos}) >= 27
    every = index.nearest(query, k=500, offsets=offsets)  # more than a few lists hold
    assert len(every) == 500


def test_an_old_index_is_made_anew(tmp_path: Path) -> None:
    file = written(tmp_path / "features.h5", clustered(2)[:2000], LENGTHS[:50])
    old = open_index(file).about
    file.close()
    (tmp_path / "features.h5").unlink()
    rows = clustered(3)[:2000]
    file = written(tmp_path / "features.h5", rows, LENGTHS[:50])
    index = open_index(file)
    assert index.about.digest != old.digest
    assert index.nearest(rows[123], k=1)[0].row == 123
    (place,) = tmp_path.glob("faiss.*")
    (place / "about.json").write_text(json.dumps({"digest": "other"}))  # damaged
    assert open_index(file).about == index.about


def test_few_rows_need_none(toy_features: FeatureFile) -> None:
    with pytest.raises(UsageError, match=r"index=faiss is for at least 1000 rows, .* has 59: index=exact"):
        open_index(toy_features)


def test_without_faiss_the_command_that_installs_it_is_named(
    indexed: FeatureFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(
        UsageError, match=r"index=faiss \(index=exact does without it\) needs faiss: pip install 'vfx\[search\]'"
    ):
        open_index(indexed)


@pytest.mark.dear
@pytest.mark.parametrize("first", ["torch", "faiss"])
def test_faiss_and_torch_live_in_one_process(first: str) -> None:
    """Each brings an OpenMP of its own; two that do not bear each other abort or hang."""
    second = {"torch": "faiss", "faiss": "torch"}[first]
    code = f"""
import {first}, {second}
import numpy as np
rows = np.random.default_rng(0).normal(size=(5000, 64)).astype("f4")
for _ in range(3):
    product = torch.from_numpy(rows) @ torch.from_numpy(rows[:50]).T
    torch.nn.functional.conv2d(torch.ones(4, 3, 64, 64), torch.ones(8, 3, 3, 3)).sum()
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(64), 64, 16, faiss.METRIC_INNER_PRODUCT)
    index.train(rows)
    index.add(rows)
    index.nprobe = 16
    found = index.search(rows[:50], 1)[1][:, 0]
    assert (found == product.argmax(0).numpy()).all()
"""
    environment = {k: v for k, v in os.environ.items() if k != "KMP_DUPLICATE_LIB_OK"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
