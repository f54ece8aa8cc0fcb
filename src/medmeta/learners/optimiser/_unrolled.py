"""A learned optimiser, unrolled over the inner steps of many tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from medmeta.episode import Inputs, some_of
from medmeta.learners._inner_loop import LossOfTask, Weights, copies, loss_and_gradients
from medmeta.learners._recompute import recomputed
from medmeta.tasks import TaskMap, map_tasks

Memory = dict[str, Tensor]
State = tuple[Weights, Memory]
Rule = Callable[[State, Weights, Tensor], State]


def unroll_tasks(
    loss: LossOfTask,
    rule: Rule,
    start: State,
    data: tuple[Inputs, ...],
    chosen: Tensor,
    *,
    first_order: bool = False,
    checkpointed: bool = False,
    learned: Sequence[Tensor] = (),
    method: TaskMap | None = None,
) -> Weights:
    """Weights of each task after the steps of a rule, with a first axis of tasks.

    ``start`` are the weights and what the rule remembers, the same for all tasks. ``data`` are
    inputs, labels and what else ``loss(weights, *parts)`` reads of each image, ``(T, S, ...)``; a
    step looks at the images that ``chosen`` ``(T, steps, n)`` names. ``rule((weights, memory),
    gradients, loss)`` gives the next weights and memory. ``first_order``: gradients and losses
    count as constants. ``checkpointed`` keeps only weights and memory between the steps and
    computes each step again in the backward pass; ``learned`` are then the tensors that the rule
    reads, of which those that require a gradient get one. After no steps weights are copies.
    """

    def one_step(state: State, *given: Any) -> State:
        *parts, examples = given
        shown = [some_of(part, examples) for part in parts]
        value, gradients = loss_and_gradients(
            lambda weights: loss(weights, *shown),
            state[0],
            first_order=first_order,
        )
        return rule(state, gradients, value)

    def all_steps(*given: Any) -> Weights:
        *parts, order = given
        state = start if len(order) else (copies(start[0]), start[1])
        for examples in order.unbind():
            state = one_step(state, *parts, examples)
        return state[0]

    if checkpointed and torch.is_grad_enabled() and chosen.shape[1] > 1:
        return _recomputing(one_step, start, data, chosen, learned, method)
    return dict(map_tasks(all_steps, *data, chosen, method=method))


def _recomputing(
    one_step: Callable[..., State],
    start: State,
    data: tuple[Inputs, ...],
    chosen: Tensor,
    learned: Sequence[Tensor],
    method: TaskMap | None,
) -> Weights:
    n_tasks = len(chosen)
    first = _for_each_task(start[0], n_tasks), _for_each_task(start[1], n_tasks)
    values, form = pytree.tree_flatten(first)
    known = [*learned, *pytree.tree_leaves(data)]
    for examples in chosen.unbind(1):

        def step(*values: Tensor, examples: Tensor = examples) -> tuple[Tensor, ...]:
            state = pytree.tree_unflatten(list(values), form)
            after = map_tasks(one_step, state, *data, examples, method=method)
            return tuple(pytree.tree_leaves(after))

        values = recomputed(step, values, known)
    weights: Weights = pytree.tree_unflatten(values, form)[0]
    return weights


def _for_each_task(tensors: Mapping[str, Tensor], n_tasks: int) -> Weights:
    return {name: tensor.expand(n_tasks, *tensor.shape) for name, tensor in tensors.items()}


def all_examples(labels: Tensor, steps: int) -> Tensor:
    """Every step looks at all of ``labels`` ``(T, S, ...)``: ``(T, steps, S)``.

    >>> all_examples(torch.zeros(1, 3), 2)
    tensor([[[0, 1, 2],
             [0, 1, 2]]])
    """
    n_tasks, n_examples = labels.shape[:2]
    return torch.arange(n_examples, device=labels.device).expand(n_tasks, steps, n_examples)
