"""Content addressing and writes against arithmetic and a plain loop."""

from __future__ import annotations

import math

import pytest
import torch

from medmeta.learners.memory._addressing import cosine_address, cosines, erase_and_add
from tests.learners.normal_numbers import normal


def test_an_address_by_hand() -> None:
    rows = torch.tensor([[[2.0, 0.0], [3.0, 4.0]]])
    found = cosine_address(torch.tensor([[[7.0, 0.0]]]), rows, torch.tensor(5.0))
    first, second = math.exp(5.0), math.exp(3.0)  # cosines 1 and 0.6
    assert found[0, 0].tolist() == pytest.approx(
        [first / (first + second), second / (first + second)], rel=1e-5
    )


def test_cosines_are_those_of_torch_and_addresses_sum_to_one() -> None:
    asked, rows = normal(2, 3, 4), normal(2, 5, 4, seed=1)
    wanted = torch.cosine_similarity(asked[:, :, None], rows[:, None], dim=-1)
    torch.testing.assert_close(cosines(asked, rows), wanted)
    sums = cosine_address(asked, rows, torch.tensor(20.0)).sum(-1)
    torch.testing.assert_close(sums, torch.ones(2, 3, dtype=torch.float64))


def test_an_empty_row_is_like_nothing_and_its_gradient_is_bounded() -> None:
    rows = torch.zeros(1, 2, 3, requires_grad=True)
    found = cosines(torch.ones(1, 1, 3), rows)
    assert found.tolist() == [[[0.0, 0.0]]]
    (gradient,) = torch.autograd.grad(found.sum(), rows)
    assert bool(torch.isfinite(gradient).all())


def test_one_write_by_hand() -> None:
    """A half erased where the address is 1, a quarter where it is a half; then what is added."""
    rows = torch.tensor([[[4.0, 8.0], [4.0, 8.0], [4.0, 8.0]]])
    found = erase_and_add(
        rows,
        torch.tensor([[[1.0, 0.5, 0.0]]]),
        torch.tensor([[[0.5, 0.0]]]),
        torch.tensor([[[10.0, 20.0]]]),
    )
    assert found.tolist() == [[[12.0, 28.0], [8.0, 18.0], [4.0, 8.0]]]


def test_several_writes_at_once_equal_a_plain_loop_and_have_no_order() -> None:
    rows, add = normal(2, 4, 3), normal(2, 5, 3, seed=1)
    weights, erase = normal(2, 5, 4, seed=2).softmax(-1), normal(2, 5, 3, seed=3).sigmoid()
    found = erase_and_add(rows, weights, erase, add)
    for t in range(2):
        for m in range(4):
            for d in range(3):
                kept, added = float(rows[t, m, d]), 0.0
                for i in range(5):
                    kept *= 1 - float(weights[t, i, m] * erase[t, i, d])
                    added += float(weights[t, i, m] * add[t, i, d])
                assert float(found[t, m, d]) == pytest.approx(kept + added)
    order = [2, 4, 0, 3, 1]
    again = erase_and_add(rows, weights[:, order], erase[:, order], add[:, order])
    torch.testing.assert_close(again, found)
