"""Work by threads: the same results in the same order, and torch's cores as they were."""

import threading
import time
from contextlib import closing

import pytest
import torch

from medmeta.evaluation import cores
from medmeta.evaluation.cores import side_by_side


@pytest.mark.parametrize("n_cores", [1, 2, 5])
def test_results_are_in_order(n_cores):
    torch.set_num_threads(n_cores)

    def work(i):
        time.sleep(0.003 if i % 3 == 0 else 0)
        return i, threading.get_ident()

    found = list(side_by_side(work, range(40)))
    assert [i for i, _ in found] == list(range(40))
    used = {thread for _, thread in found}
    assert (threading.get_ident() in used) == (n_cores == 1)
    assert len(used) <= n_cores
    assert torch.get_num_threads() == n_cores


@pytest.mark.parametrize(("n_cores", "most", "each"), [(6, 8, 1), (6, 3, 2), (7, 3, 2)])
def test_each_thread_has_its_share_of_the_cores(n_cores, most, each, monkeypatch):
    monkeypatch.setattr(cores, "MOST_THREADS", most)
    torch.set_num_threads(n_cores)
    assert set(side_by_side(lambda _: torch.get_num_threads(), range(20))) == {each}


@pytest.mark.parametrize(("light", "kept"), [(True, 1), (False, 3)])
def test_the_caller_keeps_to_one_core_where_it_has_little_to_do(light, kept):
    torch.set_num_threads(3)
    with closing(side_by_side(abs, range(20), light=light)) as results:
        assert next(results) == 0
        assert torch.get_num_threads() == kept
    assert torch.get_num_threads() == 3


def test_no_more_than_a_few_are_ahead():
    torch.set_num_threads(2)
    begun = []
    with closing(side_by_side(begun.append, range(100))) as results:
        for _ in range(3):
            next(results)
        time.sleep(0.02)
        assert len(begun) <= 3 + 2 * 2
    assert len(begun) <= 3 + 2 * 2  # what had not begun never does


def test_an_error_ends_it_and_nothing_is_left_behind():
    torch.set_num_threads(2)
    before = threading.active_count()
    results = side_by_side(lambda i: 1 / i, [1, 2, 0, 4])
    assert next(results) == 1
    assert next(results) == 0.5
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert torch.get_num_threads() == 2
    assert threading.active_count() == before


def test_another_device_is_left_to_the_caller():
    torch.set_num_threads(2)
    used = side_by_side(lambda _: threading.get_ident(), range(3), device=torch.device("meta"))
    assert set(used) == {threading.get_ident()}
