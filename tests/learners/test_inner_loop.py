"""Descent on weights that are values."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medmeta.learners._inner_loop import Weights, descend, fixed_rate, trainable_weights


def half_square(weights: Weights) -> torch.Tensor:
    return weights["x"].square() / 2


@pytest.mark.parametrize("steps", [0, 1, 5])
def test_a_quadratic_shrinks_by_the_same_factor_at_each_step(steps: int) -> None:
    start = {"x": torch.tensor(3.0, dtype=torch.float64)}
    with torch.no_grad():
        found = descend(half_square, start, fixed_rate(0.1, first_order=False), steps)
    assert float(found["x"]) == pytest.approx(3.0 * 0.9**steps)
    assert float(start["x"]) == 3.0


@pytest.mark.parametrize(("first_order", "slope"), [(False, 0.9**2), (True, 1.0)])
def test_how_the_end_depends_on_the_start(first_order: bool, slope: float) -> None:
    start = torch.tensor(3.0, requires_grad=True)
    end = descend(half_square, {"x": start}, fixed_rate(0.1, first_order=first_order), 2)["x"]
    assert float(torch.autograd.grad(end, start)[0]) == pytest.approx(slope)


def test_frozen_weights_are_not_adapted() -> None:
    network = nn.Linear(2, 2)
    network.bias.requires_grad_(False)
    weights = trainable_weights(network)
    assert list(weights) == ["weight"]
    assert weights["weight"] is network.weight
