"""Similarities within and between videos, against numpy on all pairs."""

import numpy as np
import pytest

from tests.analysis.conftest import LENGTHS
from vfx.analysis.rows import normalize
from vfx.analysis.similarity import COLUMNS, near_duplicates, self_similarities
from vfx.features.feature_file import FeatureFile


def test_self_similarities_are_the_cosines_of_a_videos_frames(known: FeatureFile) -> None:
    found = self_similarities(known, size=99)
    assert [(s.video, s.frames) for s in found] == [(f"v{v}", n) for v, n in enumerate(LENGTHS)]
    rows = normalize(known["v3"])
    np.testing.assert_allclose(found[3].cosines, rows @ rows.T, atol=1e-6)
    long = found[2]
    assert (len(long.index), long.index[0], long.index[-1]) == (COLUMNS, 0, 199 * 12)
    assert len(self_similarities(known, size=2)) == 2


def test_near_duplicates_are_all_pairs_above_the_threshold() -> None:
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(600, 20)).astype("f4")
    rows[500] = rows[3] * 2
    rows[400], rows[401] = rows[10] + 0.01 * rows[11], rows[12] + 0.02 * rows[13]
    rows[2] = rows[1]  # of one video
    rows = normalize(rows)
    groups = np.arange(600) // 4
    pairs, total = near_duplicates(rows, groups, threshold=0.99, most=2)
    cosines = np.triu(rows @ rows.T, 1) * (groups[:, None] != groups[None])
    wanted = np.argwhere(cosines >= 0.99)
    assert total == len({tuple(groups[p]) for p in wanted}) == 3
    assert [(p.a, p.b, p.pairs) for p in pairs] == [(3, 500, 1), (10, 400, 1)]
    assert pairs[1].cosine == pytest.approx(cosines[10, 400], abs=1e-6)
    assert near_duplicates(rows, groups, threshold=2, most=9) == ([], 0)
