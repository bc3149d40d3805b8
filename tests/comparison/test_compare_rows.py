"""What is found of two features, and what is only said when the numbers say so."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from vfx.comparison import compare_rows
from vfx.comparison.compare_rows import Block, Row, Times, compare, numbers
from vfx.comparison.inputs import ComparisonInput
from vfx.comparison.match_ids import Listed
from vfx.comparison.text_report import report
from vfx.errors import UsageError
from vfx.features.rows import Failure

RANDOM = np.random.default_rng(0)
ROWS = RANDOM.random((40, 8), np.float32)
NAN, INF = float("nan"), float("inf")


def side(rows: NDArray[Any], ids: list[str] | None = None, **told: Any) -> ComparisonInput:
    names = ids or [f"v_{i}" for i in range(len(rows))]
    return ComparisonInput(
        Path("f"), "vfx", rows.shape, rows.dtype.name, lambda: iter(names), lambda at: rows[at], **told
    )


@pytest.mark.parametrize(
    ("a", "b", "cosine", "difference"),
    [
        ([3.0, 4.0], [3.0, 4.0], 1, 0),
        ([3.0, 4.0], [6.0, 8.0], 1, 4),
        ([1.0, 0.0], [0.0, 2.0], 0, 2),
        ([1.0, 1.0], [-1.0, -1.0], -1, 2),
        ([1.0, 0.0], [1.0, 1.0], 0.5**0.5, 1),
        ([0.0, 0.0], [0.0, 0.0], 1, 0),
        ([0.0, 0.0], [0.0, 5.0], 0, 5),
        ([1e-30, 0.0], [1e-30, 0.0], 1, 0),
        ([1.0, NAN], [1.0, NAN], NAN, NAN),
        ([1.0, INF], [1.0, INF], NAN, NAN),
        ([1.0, 2.0], [-INF, 2.0], NAN, NAN),
    ],
)
def test_numbers_of_a_row(a: list[float], b: list[float], cosine: float, difference: float) -> None:
    for x, y in [(a, b), (b, a)]:
        found = numbers(np.array([x], np.float32), np.array([y], np.float32))
        np.testing.assert_allclose([found.cosine[0], found.difference[0]], [cosine, difference], rtol=1e-12)


def test_ten_crops_are_one_row() -> None:
    crops = RANDOM.random((3, 10, 4), np.float32)
    other = crops.copy()
    other[1, 7, 2] += 0.5
    found = numbers(crops, other)
    np.testing.assert_allclose(found.difference, [0, 0.5, 0], rtol=1e-6)
    x, y = crops[1].ravel().astype("f8"), other[1].ravel().astype("f8")
    assert found.cosine[1] == pytest.approx(x @ y / np.linalg.norm(x) / np.linalg.norm(y), abs=1e-12)
    assert found.cosine[0] == 1


def test_blocks_do_not_change_what_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    order = RANDOM.permutation(40)
    other = ROWS + RANDOM.normal(0, 0.1, ROWS.shape).astype("f4")
    a, b = side(ROWS), side(other[order], [f"v_{i}" for i in order])
    whole = compare(a, b)
    seen: list[Block] = []
    monkeypatch.setattr(compare_rows, "BLOCK_BYTES", 7 * 8 * 8)
    found = compare(a, b, on_block=seen.append)
    assert [len(block.ids) for block in seen] == [7, 7, 7, 7, 7, 5]
    assert [id for block in seen for id in block.ids] == [f"v_{i}" for i in range(40)]
    expected = numbers(ROWS, other)
    for each in (whole, found):
        np.testing.assert_array_equal(each.cosine, expected.cosine)
        np.testing.assert_array_equal(each.difference, expected.difference)
        least, far = np.argsort(expected.cosine)[:5], int(expected.difference.argmax())
        assert each.worst == [Row(f"v_{i}", expected.cosine[i], expected.difference[i]) for i in least]
        assert each.farthest == Row(f"v_{far}", expected.cosine[far], expected.difference[far])
        assert not each.pairing.in_order


def test_rows_that_hold_no_numbers_are_counted_and_never_within() -> None:
    a, b = ROWS.copy(), ROWS.copy()
    a[3, 2] = b[3, 2] = NAN
    b[5] = INF
    found = compare(side(a), side(b))
    assert found.damaged == (Listed(1, ("v_3",)), Listed(2, ("v_3", "v_5")))
    assert found.problems(cosine=-1) == [
        "rows of a with NaN or infinity: 1 (v_3)",
        "rows of b with NaN or infinity: 2 (v_3, v_5)",
    ]
    assert found.worst[0].cosine == 1
    assert "NaN or infinity in b: 2 (v_3, v_5)" in report(found)
    nothing = compare(side(a[3:4]), side(b[3:4]))
    assert str(nothing) == "no row of numbers on both sides"
    assert len(nothing.problems(cosine=-1)) == 2
    assert "NaN or infinity in a: 1 (v_0)" in report(nothing)


def test_tolerances() -> None:
    other = ROWS.copy()
    other[[4, 9]] += [[1], [2]]
    found = compare(side(ROWS), side(other))
    cosine = numbers(ROWS, other).cosine
    low = 4 if cosine[4] < cosine[9] else 9
    assert found.problems(cosine=0.9999, difference=1.5) == [
        f"2 of 40 rows have a cosine below 0.9999, the least {cosine[low]:.6f} (v_{low})",
        "1 of 40 rows have a value that differs by more than 1.5, at most by 2 (v_9)",
    ]
    assert found.problems(cosine=0.5, difference=2.5) == []


def test_what_both_have_is_compared_on_request() -> None:
    found = compare(side(ROWS), side(ROWS[[0, 7]], ["v_0", "other"]))
    (problem,) = found.problems(cosine=0.9999)
    assert problem == (
        "ids: 39 (v_1, v_2, v_3, v_4, v_5, ...) only in a, 1 (other) only in b; subset=true compares what both have"
    )
    assert found.problems(cosine=0.9999, subset=True) == []


def test_no_id_in_common_is_a_problem_whatever_is_allowed() -> None:
    found = compare(side(ROWS), side(ROWS[:2] * -1, ["x", "y"]))
    (problem,) = found.problems(cosine=-1, subset=True)
    assert problem == "they share no id: a has 40 (v_0, v_1, v_2, v_3, v_4, ...), b has 2 (x, y)"
    assert "0 rows in both\nonly in a: 40" in report(found)


def test_times_are_those_of_one_id() -> None:
    seconds = np.arange(40) / 2
    later = seconds.copy()
    later[3] += 0.04
    later[5] = NAN
    order = np.arange(40)[::-1]
    b = side(ROWS[order], [f"v_{i}" for i in order], seconds=later[order])
    found = compare(side(ROWS, seconds=seconds), b)
    assert found.times == Times(1, pytest.approx(0.04), 1)
    assert "seconds differ in 1 of them, at most by 0.04; 1 have them on one side alone" in report(found)
    assert compare(side(ROWS), b).times is None


def test_failures_of_one_side_are_named() -> None:
    both, lost = Failure("x", "open", "no video"), Failure("y", "decode", "cut short")
    found = compare(side(ROWS, failures=[both, lost]), side(ROWS, failures=[both]))
    assert found.failures == ([lost], [])
    assert "failed in a only: y: decode: cut short" in report(found)
    assert compare(side(ROWS, failures=[lost]), side(ROWS)).failures == ([], [])  # a BigFile tells of none


def test_recipes_stand_side_by_side() -> None:
    left = {"recipe": {"sampler": {"name": "fps", "fps": 2}}, "versions": {"torch": "2.14"}}
    right = {"recipe": {"sampler": {"name": "all"}}, "versions": {"torch": "2.14"}}
    found = compare(side(ROWS, provenance=left), side(ROWS, provenance=right))
    assert (
        "differs              a    b\n"
        "recipe.sampler.fps   2    nothing\n"
        "recipe.sampler.name  fps  all"
    ) in report(found)  # fmt: skip
    assert "weights, versions and recipe: the same" in report(
        compare(side(ROWS, provenance=left), side(ROWS, provenance=left))
    )


def unit(rows: NDArray[Any]) -> NDArray[Any]:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_one_of_the_two_normalised() -> None:
    (hint,) = compare(side(ROWS), side(unit(ROWS))).hints
    assert hint == "rows of b have length 1, rows of a have not; brought to it they agree (least cosine 1.000000)"
    (hint,) = compare(side(unit(ROWS)), side(ROWS)).hints
    assert hint.startswith("rows of a have length 1, rows of b have not")
    zero = np.vstack([ROWS, np.zeros((1, 8), "f4")])  # which no normalisation changes
    assert len(compare(side(zero), side(np.vstack([unit(ROWS), zero[-1:]]))).hints) == 1


def test_one_a_multiple_of_the_other() -> None:
    (hint,) = compare(side(ROWS), side(ROWS * 255)).hints
    assert hint == "every row of b is 255 times that of a, and so they agree (least cosine 1.000000)"


def test_one_the_other_in_float16() -> None:
    found = compare(side(ROWS), side(ROWS.astype(np.float16)))
    assert found.hints == ["one is the other rounded to float16: they are equal once both are"]
    rounded = ROWS.astype(np.float16)
    assert compare(side(rounded.astype(np.float32)), side(rounded)).hints == []  # nothing to explain
    rounded[3, 3] += np.float16(0.01)
    assert compare(side(ROWS), side(rounded)).hints == []


def test_ids_that_stand_beside_other_rows() -> None:
    ids = [f"v_{i}" for i in RANDOM.permutation(40)]
    (hint,) = compare(side(ROWS), side(ROWS, ids)).hints
    assert hint == (
        "taken in the order of the files, rows agree (40 tried, least cosine 1.000000):"
        " their ids are others, or in another order"
    )
    assert len(compare(side(ROWS), side(ROWS, [f"w{i}" for i in range(40)])).hints) == 1


@pytest.mark.parametrize("by", [1, 1000])
def test_frames_counted_from_another_number(by: int) -> None:
    a, b = side(ROWS), side(ROWS, [f"v_{i + by}" for i in range(40)])
    end = "every frame index of b is {} {} that of a"
    assert compare(a, b).hints[0].endswith(end.format(by, "above"))
    assert compare(b, a).hints[0].endswith(end.format(by, "below"))


def test_no_hint_where_the_numbers_do_not_bear_it_out() -> None:
    noise = RANDOM.normal(0, 0.1, ROWS.shape).astype("f4")
    shifted = [f"v_{i + 1}" for i in range(40)]
    for b in [
        side(ROWS),
        side(ROWS + noise),
        side(unit(ROWS + noise)),
        side(ROWS * np.linspace(1, 2, 40, dtype="f4")[:, None]),
        side(ROWS[::-1].copy(), shifted),
        side(ROWS[:20]),
    ]:
        assert compare(side(ROWS), b).hints == []


def test_what_cannot_be_compared_is_said() -> None:
    with pytest.raises(UsageError, match=r"a \(f\) is of frame level, and b \(f\) of video level: no row has its like"):
        compare(side(ROWS, level="frame"), side(ROWS, level="video"))
    with pytest.raises(
        UsageError,
        match=r"rows of a \(f\) have 8 values, and rows of b \(f\) 4: features of one model alone can be compared$",
    ):
        compare(side(ROWS), side(ROWS[:, :4]))
    with pytest.raises(UsageError, match=r"have 10 x 8 values, and rows of b \(f\) 8; one keeps ten crops apart"):
        compare(side(np.zeros((40, 10, 8), "f4")), side(ROWS))
