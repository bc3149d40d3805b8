"""The nearest rows of a feature, against numpy over all of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.retrieval.conftest import written
from vfx import pool
from vfx.features.feature_file import FeatureFile
from vfx.retrieval.exact_search import nearest, nearest_videos


def brute(rows: np.ndarray, query: np.ndarray, k: int) -> tuple[list[int], np.ndarray]:
    """The nearest rows and their cosines, of all at once in double precision."""
    rows, query = rows.astype("f8"), query.astype("f8")
    found = rows @ query / np.linalg.norm(rows, axis=1) / np.linalg.norm(query)
    order = np.argsort(-found, kind="stable")[:k]
    return order.tolist(), found[order]


@pytest.fixture
def many(tmp_path: Path) -> tuple[FeatureFile, np.ndarray]:
    rows = np.random.default_rng(0).normal(size=(3000, 24)).astype("f4") + 0.3
    return written(tmp_path / "features.h5", rows, [30] * 100), rows


@pytest.mark.parametrize("block_rows", [7, 8192])
def test_nearest_rows_are_those_of_numpy(many: tuple[FeatureFile, np.ndarray], block_rows: int) -> None:
    file, rows = many
    queries = np.random.default_rng(1).normal(size=(3, 24))
    for query, hits in zip(queries, nearest(file, queries, k=15, block_rows=block_rows), strict=True):
        expected, values = brute(rows, query, 15)
        assert [hit.row for hit in hits] == expected
        np.testing.assert_allclose([hit.cosine for hit in hits], values, atol=1e-6)


def test_a_query_does_not_find_what_it_must_not(many: tuple[FeatureFile, np.ndarray]) -> None:
    file, rows = many
    free, bound = nearest(file, rows[[45, 45]], k=12, without=[(0, 0), (30, 60)])
    assert (free[0].row, free[0].cosine) == (45, pytest.approx(1))
    expected = [row for row in brute(rows, rows[45], 100)[0] if not 30 <= row < 60][:12]
    assert [hit.row for hit in bound] == expected


def test_of_each_video_the_best_row_is_found(many: tuple[FeatureFile, np.ndarray]) -> None:
    file, rows = many
    (hits,) = nearest(file, rows[:1], k=100, offsets=file.offsets)
    values = rows @ rows[0] / np.linalg.norm(rows, axis=1) / np.linalg.norm(rows[0])
    best = values.reshape(100, 30).argmax(1) + np.arange(100) * 30
    assert [hit.row for hit in hits] == best[np.argsort(-values[best], kind="stable")].tolist()


def test_rows_without_a_direction_are_not_found_and_few_rows_are_few_hits(tmp_path: Path) -> None:
    rows = np.array([[1, 0], [0, 0], [np.nan, 1], [-1, 0], [1, 0]], "f4")
    (hits,) = nearest(written(tmp_path / "features.h5", rows, [5]), np.array([[2.0, 0.0]]), k=9)
    assert [(hit.row, hit.cosine) for hit in hits] == [(0, 1), (4, 1), (3, -1)]


def test_of_ten_crops_the_mean_is_compared(tmp_path: Path) -> None:
    rows = np.random.default_rng(2).normal(size=(20, 10, 6)).astype("f4")
    (hits,) = nearest(written(tmp_path / "features.h5", rows, [20]), rows[3].mean(0)[None], k=5)
    assert [hit.row for hit in hits] == brute(rows.mean(1), rows[3].mean(0), 5)[0]


def test_videos_by_their_means_are_those_of_the_pooled_feature(toy_features: FeatureFile) -> None:
    folder = toy_features.path.parents[2]
    made = pool.main("collection=toydata", f"feature={toy_features.feature}", f"output_dir={folder}")
    with FeatureFile(made) as pooled:
        query = pooled["cat"]
        (expected,) = nearest(pooled, query[None], k=8)
    hits = nearest_videos(toy_features, query, k=8)
    assert [hit.row for hit in hits] == [hit.row for hit in expected]
    np.testing.assert_allclose([h.cosine for h in hits], [h.cosine for h in expected], atol=1e-6)
    cat = toy_features.videos.tolist().index("cat")
    assert hits[0].row == cat
    assert cat not in [hit.row for hit in nearest_videos(toy_features, query, k=8, without=cat)]
