"""What is found of two features."""

import numpy as np
import pytest

from tests.comparison.inputs import INF, NAN, RANDOM, ROWS, an_input
from vfx.comparison.compare_rows import TimeDifferences, compare
from vfx.comparison.match_ids import CountedIds
from vfx.comparison.row_measures import MeasuredBlock, MeasuredRow, measure_rows
from vfx.comparison.text_report import text_report
from vfx.errors import UsageError
from vfx.features.rows import Failure


def test_blocks_do_not_change_what_is_found() -> None:
    order = RANDOM.permutation(40)
    other = ROWS + RANDOM.normal(0, 0.1, ROWS.shape).astype("f4")
    a, b = an_input(ROWS), an_input(other[order], [f"v_{i}" for i in order])
    whole = compare(a, b)
    seen: list[MeasuredBlock] = []
    found = compare(a, b, on_block=seen.append, block_bytes=7 * 8 * 8)
    assert [len(block.ids) for block in seen] == [7, 7, 7, 7, 7, 5]
    assert [id for block in seen for id in block.ids] == [f"v_{i}" for i in range(40)]
    expected = measure_rows(ROWS, other)
    for each in (whole, found):
        np.testing.assert_array_equal(each.cosine, expected.cosine)
        np.testing.assert_array_equal(each.difference, expected.difference)
        least, far = np.argsort(expected.cosine)[:5], int(expected.difference.argmax())
        assert each.worst == [MeasuredRow(f"v_{i}", expected.cosine[i], expected.difference[i]) for i in least]
        assert each.farthest == MeasuredRow(f"v_{far}", expected.cosine[far], expected.difference[far])
        assert not each.matched.same_order


def test_rows_that_hold_no_numbers_are_counted_and_never_within() -> None:
    a, b = ROWS.copy(), ROWS.copy()
    a[3, 2] = b[3, 2] = NAN
    b[5] = INF
    found = compare(an_input(a), an_input(b))
    assert found.not_finite == (CountedIds(1, ("v_3",)), CountedIds(2, ("v_3", "v_5")))
    assert found.problems(cosine=-1) == [
        "rows of a with NaN or infinity: 1 (v_3)",
        "rows of b with NaN or infinity: 2 (v_3, v_5)",
    ]
    assert found.worst[0].cosine == 1
    assert "NaN or infinity in b: 2 (v_3, v_5)" in text_report(found)
    nothing = compare(an_input(a[3:4]), an_input(b[3:4]))
    assert str(nothing) == "no row of numbers on both sides"
    assert len(nothing.problems(cosine=-1)) == 2
    assert "NaN or infinity in a: 1 (v_0)" in text_report(nothing)


def test_tolerances() -> None:
    other = ROWS.copy()
    other[[4, 9]] += [[1], [2]]
    found = compare(an_input(ROWS), an_input(other))
    cosine = measure_rows(ROWS, other).cosine
    low = 4 if cosine[4] < cosine[9] else 9
    assert found.problems(cosine=0.9999, difference=1.5) == [
        f"2 of 40 rows have a cosine below 0.9999, the least {cosine[low]:.6f} (v_{low})",
        "1 of 40 rows have a value that differs by more than 1.5, at most by 2 (v_9)",
    ]
    assert found.problems(cosine=0.5, difference=2.5) == []


def test_what_both_have_is_compared_on_request() -> None:
    found = compare(an_input(ROWS), an_input(ROWS[[0, 7]], ["v_0", "other"]))
    (problem,) = found.problems(cosine=0.9999)
    assert problem == (
        "ids: 39 (v_1, v_2, v_3, v_4, v_5, ...) only in a, 1 (other) only in b; subset=true compares what both have"
    )
    assert found.problems(cosine=0.9999, subset=True) == []


def test_no_id_in_common_is_a_problem_whatever_is_allowed() -> None:
    found = compare(an_input(ROWS), an_input(ROWS[:2] * -1, ["x", "y"]))
    (problem,) = found.problems(cosine=-1, subset=True)
    assert problem == "they share no id: a has 40 (v_0, v_1, v_2, v_3, v_4, ...), b has 2 (x, y)"
    assert "0 rows in both\nonly in a: 40" in text_report(found)


def test_times_are_those_of_one_id() -> None:
    seconds = np.arange(40) / 2
    later = seconds.copy()
    later[3] += 0.04
    later[5] = NAN
    order = np.arange(40)[::-1]
    b = an_input(ROWS[order], [f"v_{i}" for i in order], seconds=later[order])
    found = compare(an_input(ROWS, seconds=seconds), b)
    assert found.times == TimeDifferences(1, pytest.approx(0.04), 1)
    assert "seconds differ in 1 of them, at most by 0.04; 1 have them on one side alone" in text_report(found)
    assert compare(an_input(ROWS), b).times is None


def test_failures_of_one_side_are_named() -> None:
    both, lost = Failure("x", "open", "no video"), Failure("y", "decode", "cut short")
    found = compare(an_input(ROWS, failures=[both, lost]), an_input(ROWS, failures=[both]))
    assert found.failures == ([lost], [])
    assert "failed in a only: y: decode: cut short" in text_report(found)
    assert compare(an_input(ROWS, failures=[lost]), an_input(ROWS)).failures == ([], [])  # a BigFile tells of none


def test_recipes_stand_side_by_side() -> None:
    left = {"recipe": {"sampler": {"name": "fps", "fps": 2}}, "versions": {"torch": "2.14"}}
    right = {"recipe": {"sampler": {"name": "all"}}, "versions": {"torch": "2.14"}}
    found = compare(an_input(ROWS, provenance=left), an_input(ROWS, provenance=right))
    assert (
        "differs              a    b\n"
        "recipe.sampler.fps   2    nothing\n"
        "recipe.sampler.name  fps  all"
    ) in text_report(found)  # fmt: skip
    assert "weights, versions and recipe: the same" in text_report(
        compare(an_input(ROWS, provenance=left), an_input(ROWS, provenance=left))
    )


def test_what_cannot_be_compared_is_said() -> None:
    with pytest.raises(UsageError, match=r"a \(f\) is of frame level, and b \(f\) of video level: no row has its like"):
        compare(an_input(ROWS, level="frame"), an_input(ROWS, level="video"))
    with pytest.raises(
        UsageError,
        match=r"rows of a \(f\) have 8 values, and rows of b \(f\) 4: features of one model alone can be compared$",
    ):
        compare(an_input(ROWS), an_input(ROWS[:, :4]))
    with pytest.raises(UsageError, match=r"have 10 x 8 values, and rows of b \(f\) 8; one keeps ten crops apart"):
        compare(an_input(np.zeros((40, 10, 8), "f4")), an_input(ROWS))
