"""Threads run batches side by side, each on one core, and hand over results and errors."""

import threading
import time

import pytest
import torch

from vfx.inference.executors import ThreadExecutor, one_torch_thread


def test_threads_run_batches_side_by_side_each_on_one_core() -> None:
    threads = ThreadExecutor(2)
    together = threading.Barrier(2, timeout=10)

    def work() -> list[torch.Tensor]:
        together.wait()  # two at once, or never
        return [torch.full((1,), float(torch.get_num_threads())), torch.zeros(2)]

    pending = [threads.submit(work) for _ in range(4)]
    for each in pending:
        (cores, zeros), seconds = each.result()
        assert cores.tolist() == [1.0]
        assert zeros.shape == (2,)
        assert seconds > 0
    threads.close()


def test_the_thread_beside_them_has_no_helpers_meanwhile() -> None:
    """They would be busy waiting between two batches."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with one_torch_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_what_goes_wrong_in_a_thread_is_raised_where_its_result_is_wanted() -> None:
    threads = ThreadExecutor(1)

    def work() -> list[torch.Tensor]:
        raise ArithmeticError("here")

    pending = threads.submit(work)
    with pytest.raises(ArithmeticError, match="here"):
        pending.result()
    threads.close()


def test_closing_forgets_what_has_not_begun() -> None:
    threads = ThreadExecutor(1)
    begun = []

    def work() -> list[torch.Tensor]:
        begun.append(1)
        time.sleep(0.2)
        return []

    pending = [threads.submit(work) for _ in range(5)]
    while not begun:
        time.sleep(0.01)
    threads.close()
    assert len(begun) == 1
    assert all(each.cancelled() for each in pending[1:])
