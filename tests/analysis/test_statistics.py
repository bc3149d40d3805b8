"""What a feature looks like in numbers, against numpy on the whole of a known file."""

import numpy as np
import pytest

from vfx.analysis import statistics
from vfx.analysis.pca_map import unit
from vfx.analysis.similarity import COLUMNS, near_duplicates, strips
from vfx.analysis.statistics import Histogram, Moments, at, gather
from vfx.features.feature_file import FeatureFile
from vfx.features.rows import Failure, Rows
from vfx.features.writer import FeatureFileWriter

LENGTHS = [1, 3, 200, 7, 64, 2]


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> FeatureFile:
    """Rows of which every number is known: dimension 2 is silent, 5 constant; one row is NaN, one is zeros."""
    rng = np.random.default_rng(3)
    rows = np.maximum(rng.normal(size=(sum(LENGTHS), 12)), 0).astype("f4") + np.float32(0)
    rows[:, 2], rows[:, 5] = 0, 7
    rows[10] = 0
    rows[20] = np.nan
    path = tmp_path_factory.mktemp("known") / "features.h5"
    attributes = {"feature": "f", "collection": "c", "config": "", "provenance": '{"recipe": {}}'}
    start = 0
    with FeatureFileWriter(path, level="frame", shape=(12,), attributes=attributes) as writer:
        for v, n in enumerate(LENGTHS):
            seconds = np.arange(n) / 2 if v else np.full(n, np.nan)
            writer.add_video(f"v{v}", iter([Rows(rows[start : start + n], np.arange(n) * 12, seconds)]))
            start += n
        writer.add_failures([Failure(f"x{n:04}", "open" if n % 3 else "decode", "why\0") for n in range(700)])
    return FeatureFile(path)


def check_counts(found: Histogram, values: np.ndarray) -> None:
    """A value on an edge may have been rounded to either side."""
    below = np.searchsorted(np.sort(values), found.edges)
    assert np.abs(np.cumsum(found.counts) - below[1:]).max() <= 1
    assert found.counts.sum() == len(values)


@pytest.mark.parametrize("block", [1 << 20, 480])  # all at once, and ten rows at a time
def test_one_pass_finds_what_numpy_finds(known: FeatureFile, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "BLOCK_BYTES", block)
    monkeypatch.setattr(statistics, "BLOCK", 4)
    seen: list[int] = []
    found = gather(known, on_rows=seen.append)
    rows = known.features[:]
    sound = rows[np.isfinite(rows).all(axis=1)]
    norms = np.linalg.norm(sound.astype("f8"), axis=1)
    assert (found.rows, found.dims, found.unsound, found.empty, sum(seen)) == (277, 12, 1, 1, 277)
    np.testing.assert_array_equal(found.low, sound.min(axis=0))
    np.testing.assert_array_equal(found.high, sound.max(axis=0))
    np.testing.assert_array_equal(found.used, (sound != 0).sum(axis=0))
    assert found.silent.tolist() == [2]
    assert found.constant.tolist() == []  # but for the row of zeros it would be 5
    assert found.spread.mean == pytest.approx(norms.mean())
    assert found.spread.deviation == pytest.approx(norms.std())
    assert (found.spread.least, found.spread.most) == (norms.min(), norms.max())
    check_counts(found.norms, norms)
    assert found.videos == len(LENGTHS)
    np.testing.assert_array_equal(found.lengths.counts, np.histogram(LENGTHS, found.lengths.edges)[0])
    assert (found.seconds, found.timed) == (sum((n - 1) / 2 for n in LENGTHS[1:]), 5)
    assert found.failed == {"open": 466, "decode": 234}
    assert found.failures[1] == Failure("x0001", "open", "why\\0")
    assert len(found.failures) == statistics.SHOWN


def test_a_dimension_of_one_value_is_constant(known: FeatureFile, monkeypatch: pytest.MonkeyPatch) -> None:
    found = gather(known)
    found.low[5] = 7
    assert found.constant.tolist() == [5]


def test_a_histogram_widens_and_loses_nothing() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(10, 1, 500), rng.normal(-300, 5, 50), rng.normal(4000, 1, 50)])
    found = Histogram()
    for block in np.array_split(values, 30):
        found.add(block)
    assert found.counts.sum() == 600
    assert found.edges[0] <= values.min()
    assert found.edges[-1] > values.max()
    check_counts(found, values)
    same = Histogram()
    same.add(np.full(9, 3.0))
    assert same.counts.max() == 9


def test_moments_of_blocks_are_those_of_the_whole() -> None:
    values = np.random.default_rng(0).normal(1e6, 1, 1000)
    found = Moments()
    for block in np.array_split(values, 7):
        found.add(block)
    assert (found.count, found.mean) == (1000, pytest.approx(values.mean(), rel=1e-12))
    assert found.deviation == pytest.approx(values.std(), rel=1e-6)


def test_values_at_positions_are_those_of_the_column(known: FeatureFile) -> None:
    rows = np.array([0, 1, 5, 199, 276])
    np.testing.assert_array_equal(at(known, "index", rows), known.index[rows])
    assert at(known, "ids", rows[:1]).tolist() == [b"v0_0"]


def test_strips_hold_the_cosines_of_a_videos_frames(known: FeatureFile) -> None:
    found = strips(known, size=99)
    assert [(s.video, s.frames) for s in found] == [(f"v{v}", n) for v, n in enumerate(LENGTHS)]
    rows = unit(known["v3"])
    np.testing.assert_allclose(found[3].cosines, rows @ rows.T, atol=1e-6)
    long = found[2]
    assert (len(long.index), long.index[0], long.index[-1]) == (COLUMNS, 0, 199 * 12)
    assert len(strips(known, size=2)) == 2


def test_near_duplicates_are_all_pairs_above_the_threshold() -> None:
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(600, 20)).astype("f4")
    rows[500] = rows[3] * 2
    rows[400], rows[401] = rows[10] + 0.01 * rows[11], rows[12] + 0.02 * rows[13]
    rows[2] = rows[1]  # of one video
    rows = unit(rows)
    groups = np.arange(600) // 4
    pairs, total = near_duplicates(rows, groups, threshold=0.99, most=2)
    cosines = np.triu(rows @ rows.T, 1) * (groups[:, None] != groups[None])
    wanted = np.argwhere(cosines >= 0.99)
    assert total == len({tuple(groups[p]) for p in wanted}) == 3
    assert [(p.a, p.b, p.pairs) for p in pairs] == [(3, 500, 1), (10, 400, 1)]
    assert pairs[1].cosine == pytest.approx(cosines[10, 400], abs=1e-6)
    assert near_duplicates(rows, groups, threshold=2, most=9) == ([], 0)
