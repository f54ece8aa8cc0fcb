"""Lifting over tasks: the loop is the oracle."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from medmeta.tasks import TaskMap, map_tasks

METHODS: tuple[TaskMap, ...] = ("loop", "vmap")


def gradient_step(weights: dict[str, Tensor], images: Tensor) -> dict[str, Tensor]:
    found: dict[str, Tensor] = torch.func.grad(lambda w: (images @ w["a"] + w["b"]).square().sum())(
        weights
    )
    return {name: weights[name] - 0.1 * found[name] for name in weights}


def arguments() -> tuple[dict[str, Tensor], Tensor]:
    random = torch.Generator().manual_seed(0)
    weights = {"a": torch.randn(3, 4, generator=random), "b": torch.randn(3, generator=random)}
    return weights, torch.randn(3, 5, 4, generator=random)


def test_loop_and_vmap_agree_on_nested_arguments_and_results() -> None:
    loop, vmap = (map_tasks(gradient_step, *arguments(), method=method) for method in METHODS)
    assert loop.keys() == vmap.keys() == {"a", "b"}
    for name in loop:
        torch.testing.assert_close(loop[name], vmap[name])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("guard", [torch.no_grad, torch.inference_mode])
def test_gradients_within_a_task_need_no_grad_mode(method: TaskMap, guard: Any) -> None:
    with guard():
        found = map_tasks(gradient_step, *arguments(), method=method)
    wanted = map_tasks(gradient_step, *arguments(), method="loop")
    torch.testing.assert_close(found["a"].clone(), wanted["a"])


@pytest.mark.parametrize("method", METHODS)
def test_what_all_tasks_share_gets_the_gradient_of_all(method: Literal["loop", "vmap"]) -> None:
    shared = torch.tensor(2.0, requires_grad=True)
    total = map_tasks(lambda x: shared * x, torch.tensor([1.0, 2.0, 4.0]), method=method).sum()
    assert float(torch.autograd.grad(total, shared)[0]) == 7.0


@pytest.mark.parametrize("method", METHODS)
def test_a_result_that_depends_on_no_argument_is_repeated(method: TaskMap) -> None:
    constant = torch.arange(2.0)
    found = map_tasks(lambda x: constant, torch.zeros(3, 1), method=method)
    assert found.tolist() == [[0.0, 1.0]] * 3
