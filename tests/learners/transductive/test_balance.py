"""Even shares: by hand, against plain scaling, and their gradient against differences."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from medmeta.learners.transductive._balance import balancing_offsets
from tests.learners.normal_numbers import normal


def shares(scores: Tensor) -> Tensor:
    start = torch.zeros_like(scores[:, :1])
    return (scores + balancing_offsets(scores, start)).softmax(2)


def test_shares_by_hand() -> None:
    """[[1, 1], [1, k]] scaled to sums of 1 has the diagonal √k / (1 + √k)."""
    found = shares(torch.tensor([[[1.0, 1.0], [1.0, 9.0]]]).log())
    torch.testing.assert_close(found, torch.tensor([[[0.75, 0.25], [0.25, 0.75]]]))


@pytest.mark.parametrize("n_query", [5, 7, 40])
@pytest.mark.parametrize("size", [1.0, 10.0, 100.0])
def test_rows_and_columns_sum_up_evenly(n_query: int, size: float) -> None:
    found = shares(size * normal(8, n_query, 5))
    torch.testing.assert_close(found.sum(2), torch.ones(8, n_query).double())
    even = torch.full((8, 5), n_query / 5).double()
    torch.testing.assert_close(found.sum(1), even, rtol=1e-6, atol=1e-6)


def test_plain_scaling_ends_there_too() -> None:
    scores = 3 * normal(4, 12, 4)
    plan = scores.exp()
    for _ in range(5000):
        plan = plan / plan.sum(2, keepdim=True)
        plan = plan / plan.sum(1, keepdim=True) * 3
    torch.testing.assert_close(shares(scores), plan, rtol=1e-6, atol=1e-8)


def test_scores_of_any_size_stay_finite() -> None:
    """The second query resists the far class by 1 more: odds of √e to 1."""
    found = shares(torch.tensor([[[0.0, -4000.0], [0.0, -4001.0]]], dtype=torch.float64))
    odds = torch.tensor([[0.5, -0.5]], dtype=torch.float64).exp()
    torch.testing.assert_close(found[:, :, 1] / found[:, :, 0], odds)


def test_tasks_do_not_depend_on_each_other() -> None:
    scores = normal(6, 9, 3) * torch.tensor([1.0, 3.0, 10.0, 30.0, 0.0, 100.0])[:, None, None]
    alone = torch.cat([shares(scores[t : t + 1]) for t in range(6)])
    torch.testing.assert_close(shares(scores), alone, rtol=1e-6, atol=1e-9)


def test_where_the_search_begins_does_not_matter() -> None:
    scores = normal(3, 10, 4)
    elsewhere = (scores + balancing_offsets(scores, 5 * normal(3, 1, 4, seed=1))).softmax(2)
    torch.testing.assert_close(elsewhere, shares(scores), rtol=1e-6, atol=1e-9)


def test_the_gradient_of_the_shares() -> None:
    assert torch.autograd.gradcheck(shares, normal(2, 6, 3).requires_grad_())
