"""Descent on weights that are values."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medmeta.learners._inner_loop import (
    Weights,
    descend,
    descend_tasks,
    fixed_rate,
    trainable_weights,
)
from medmeta.tasks import TaskMap


def half_square(weights: Weights) -> torch.Tensor:
    return weights["x"].square() / 2


@pytest.mark.parametrize("steps", [0, 1, 5])
def test_a_quadratic_shrinks_by_the_same_factor_at_each_step(steps: int) -> None:
    start = {"x": torch.tensor(3.0, dtype=torch.float64)}
    with torch.no_grad():
        found = descend(half_square, start, fixed_rate(0.1), steps)
    assert float(found["x"]) == pytest.approx(3.0 * 0.9**steps)
    assert float(start["x"]) == 3.0


@pytest.mark.parametrize(("first_order", "slope"), [(False, 0.9**2), (True, 1.0)])
def test_how_the_end_depends_on_the_start(first_order: bool, slope: float) -> None:
    start = torch.tensor(3.0, requires_grad=True)
    end = descend(half_square, {"x": start}, fixed_rate(0.1), 2, first_order=first_order)["x"]
    assert float(torch.autograd.grad(end, start)[0]) == pytest.approx(slope)


DATA = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)


def scaled_square(weights: Weights, scale: Tensor) -> Tensor:
    return scale * weights["x"].square() / 2


@pytest.mark.parametrize("method", ["loop", "vmap"])
@pytest.mark.parametrize("checkpointed", [False, True])
def test_each_task_shrinks_by_its_own_factor(method: TaskMap, checkpointed: bool) -> None:
    """A weight becomes x (1 - 0.1 c)³ under the loss c x²/2, and so does its slope."""
    start = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    ends = descend_tasks(
        scaled_square,
        {"x": start},
        (DATA,),
        fixed_rate(0.1),
        3,
        checkpointed=checkpointed,
        method=method,
    )["x"]
    factors = (1 - 0.1 * DATA) ** 3
    torch.testing.assert_close(ends.detach(), 3 * factors)
    assert float(torch.autograd.grad(ends.sum(), start)[0]) == pytest.approx(float(factors.sum()))


@pytest.mark.parametrize("method", ["loop", "vmap"])
@pytest.mark.parametrize("checkpointed", [False, True])
def test_what_an_update_learns_has_a_gradient(method: TaskMap, checkpointed: bool) -> None:
    start = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    rate = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)

    def update(weights: Weights, gradients: Weights, step: int) -> Weights:
        return {"x": weights["x"] - rate * gradients["x"]}

    ends = descend_tasks(
        scaled_square,
        {"x": start},
        (DATA,),
        update,
        2,
        checkpointed=checkpointed,
        learned=[rate],
        method=method,
    )["x"]
    wanted = float((3 * 2 * (1 - 0.1 * DATA) * -DATA).sum())
    assert float(torch.autograd.grad(ends.sum(), rate)[0]) == pytest.approx(wanted)


@pytest.mark.parametrize("method", ["loop", "vmap"])
@pytest.mark.parametrize("guard", [torch.no_grad, torch.inference_mode])
def test_descent_leaves_no_graph_where_none_is_wanted(method: TaskMap, guard: Any) -> None:
    start = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    with guard():
        ends = descend_tasks(
            scaled_square, {"x": start}, (DATA,), fixed_rate(0.1), 3, method=method
        )["x"]
    assert not ends.requires_grad
    torch.testing.assert_close(ends.clone(), 3 * (1 - 0.1 * DATA) ** 3)


def test_frozen_weights_are_not_adapted() -> None:
    network = nn.Linear(2, 2)
    network.bias.requires_grad_(False)
    weights = trainable_weights(network)
    assert list(weights) == ["weight"]
    assert weights["weight"] is network.weight
