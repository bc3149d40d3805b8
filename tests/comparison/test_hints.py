"""Hints, which are given only where the numbers bear them out."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.comparison.inputs import RANDOM, ROWS, an_input
from vfx.comparison.compare_rows import compare


def unit(rows: NDArray[Any]) -> NDArray[Any]:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_one_of_the_two_normalised() -> None:
    (hint,) = compare(an_input(ROWS), an_input(unit(ROWS))).hints
    assert hint == "rows of b have length 1, rows of a have not; brought to it they agree (least cosine 1.000000)"
    (hint,) = compare(an_input(unit(ROWS)), an_input(ROWS)).hints
    assert hint.startswith("rows of a have length 1, rows of b have not")
    zero = np.vstack([ROWS, np.zeros((1, 8), "f4")])  # which no normalisation changes
    assert len(compare(an_input(zero), an_input(np.vstack([unit(ROWS), zero[-1:]]))).hints) == 1


def test_one_a_multiple_of_the_other() -> None:
    (hint,) = compare(an_input(ROWS), an_input(ROWS * 255)).hints
    assert hint == "every row of b is 255 times that of a, and so they agree (least cosine 1.000000)"


def test_one_the_other_in_float16() -> None:
    found = compare(an_input(ROWS), an_input(ROWS.astype(np.float16)))
    assert found.hints == ["one is the other rounded to float16: they are equal once both are"]
    rounded = ROWS.astype(np.float16)
    assert compare(an_input(rounded.astype(np.float32)), an_input(rounded)).hints == []  # nothing to explain
    rounded[3, 3] += np.float16(0.01)
    assert compare(an_input(ROWS), an_input(rounded)).hints == []


def test_ids_that_stand_beside_other_rows() -> None:
    ids = [f"v_{i}" for i in RANDOM.permutation(40)]
    (hint,) = compare(an_input(ROWS), an_input(ROWS, ids)).hints
    assert hint == (
        "taken in the order of the files, rows agree (40 tried, least cosine 1.000000):"
        " their ids are others, or in another order"
    )
    assert len(compare(an_input(ROWS), an_input(ROWS, [f"w{i}" for i in range(40)])).hints) == 1


@pytest.mark.parametrize("by", [1, 1000])
def test_frames_counted_from_another_number(by: int) -> None:
    a, b = an_input(ROWS), an_input(ROWS, [f"v_{i + by}" for i in range(40)])
    end = "every frame index of b is {} {} that of a"
    assert compare(a, b).hints[0].endswith(end.format(by, "above"))
    assert compare(b, a).hints[0].endswith(end.format(by, "below"))


def test_no_hint_where_the_numbers_do_not_bear_it_out() -> None:
    noise = RANDOM.normal(0, 0.1, ROWS.shape).astype("f4")
    shifted = [f"v_{i + 1}" for i in range(40)]
    for b in [
        an_input(ROWS),
        an_input(ROWS + noise),
        an_input(unit(ROWS + noise)),
        an_input(ROWS * np.linspace(1, 2, 40, dtype="f4")[:, None]),
        an_input(ROWS[::-1].copy(), shifted),
        an_input(ROWS[:20]),
    ]:
        assert compare(an_input(ROWS), b).hints == []
