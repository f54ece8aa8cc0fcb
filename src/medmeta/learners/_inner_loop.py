"""Gradient descent within a task, on weights that are values: what all gradient learners share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from medmeta.episode import Inputs
from medmeta.learners._recompute import recomputed
from medmeta.tasks import TaskMap, differentiated_twice, map_tasks, one_task_at_a_time

Weights = dict[str, Tensor]
LossOfWeights = Callable[[Weights], Tensor]
LossOfTask = Callable[..., Tensor]
Update = Callable[[Weights, Weights, int], Weights]


def descend(
    loss: LossOfWeights,
    start: Mapping[str, Tensor],
    update: Update,
    steps: int,
    *,
    first_order: bool = False,
) -> Weights:
    """Weights of one task after some steps from ``start``; ``start`` is left as it is.

    ``loss`` is a scalar function of the weights, ``update(weights, gradients, step)`` gives the
    next weights. Differentiable with respect to ``start``; works under ``no_grad``.
    ``first_order``: gradients count as constants, and cost no more than a gradient. After no steps
    they are copies, so that what was learned within a task stays when the start moves.

    >>> halve = lambda w, g, step: {"x": w["x"] - 0.25 * g["x"]}
    >>> descend(lambda w: w["x"] ** 2, {"x": torch.tensor(8.0)}, halve, 3)["x"]
    tensor(1.)
    """
    weights = dict(start) if steps else copies(start)
    for step in range(steps):
        _, gradients = loss_and_gradients(loss, weights, first_order=first_order)
        weights = update(weights, gradients, step)
    return weights


def descend_tasks(
    loss: LossOfTask,
    start: Mapping[str, Tensor],
    data: tuple[Inputs, ...],
    update: Update,
    steps: int,
    *,
    first_order: bool = False,
    checkpointed: bool = False,
    learned: Sequence[Tensor] = (),
    method: TaskMap | None = None,
) -> Weights:
    """The same for a batch of tasks from one start: weights with a first axis of tasks.

    ``data`` are inputs and labels ``(T, S, ...)``, of which each task's part goes to
    ``loss(weights, *parts)``. ``checkpointed`` keeps only the weights between the steps, and
    computes each step again in the backward pass: the same gradients, memory of one step, more
    time. ``learned`` are then the tensors that ``update`` reads; those that require a gradient get
    one.
    """

    def learn(weights: Weights, first: int, last: int, *parts: Inputs) -> Weights:
        def numbered(w: Weights, g: Weights, step: int) -> Weights:
            return update(w, g, first + step)

        return descend(
            lambda w: loss(w, *parts), weights, numbered, last - first, first_order=first_order
        )

    if not (checkpointed and torch.is_grad_enabled() and steps > 1):
        whole = map_tasks(lambda *parts: learn(dict(start), 0, steps, *parts), *data, method=method)
        return dict(whole)
    parts = pytree.tree_leaves(data)
    names = list(start)
    values = [start[name].expand(len(parts[0]), *start[name].shape) for name in names]
    for step in range(steps):

        def one_step(*values: Tensor, step: int = step) -> tuple[Tensor, ...]:
            weights = dict(zip(names, values, strict=True))
            after = map_tasks(
                lambda w, *parts: learn(w, step, step + 1, *parts), weights, *data, method=method
            )
            return tuple(after[name] for name in names)

        values = recomputed(one_step, values, [*learned, *parts])
    return dict(zip(names, values, strict=True))


def loss_and_gradients(
    loss: LossOfWeights, weights: Weights, *, first_order: bool = False
) -> tuple[Tensor, Weights]:
    """The loss of one task at its weights and its slopes there, of the same shapes.

    Differentiable with respect to the weights unless ``first_order``; works under ``no_grad``.

    >>> loss_and_gradients(lambda w: w["x"] ** 2, {"x": torch.tensor(3.0)})
    (tensor(9.), {'x': tensor(6.)})
    """
    if first_order:
        weights = {name: weight.detach() for name, weight in weights.items()}
    if not one_task_at_a_time() or torch.is_inference_mode_enabled():
        found_by_func, value = torch.func.grad_and_value(loss)(weights)
        if first_order:  # what the loss reads besides the weights may have a gradient
            value = value.detach()
            found_by_func = {name: gradient.detach() for name, gradient in found_by_func.items()}
        return value, dict(found_by_func)
    second_order = torch.is_grad_enabled() and not first_order
    with torch.enable_grad():
        known = {
            name: w if second_order and w.requires_grad else w.detach().requires_grad_()
            for name, w in weights.items()
        }
        with differentiated_twice() if second_order else nullcontext():
            value = loss(known)
        found = torch.autograd.grad(
            value, list(known.values()), create_graph=second_order, materialize_grads=True
        )
    kept = value if second_order else value.detach()
    return kept, dict(zip(weights, found, strict=True))


def fixed_rate(rate: float) -> Update:
    """``w - rate · g``."""

    def update(weights: Weights, gradients: Weights, step: int) -> Weights:
        return {name: weight - rate * gradients[name] for name, weight in weights.items()}

    return update


def trainable_weights(network: nn.Module) -> Weights:
    """The network's own parameters by name, not copies."""
    return {name: p for name, p in network.named_parameters() if p.requires_grad}


def weights_named(network: nn.Module, names: Iterable[str]) -> Weights:
    """Those of the network's own parameters, not copies."""
    return {name: network.get_parameter(name) for name in names}


def copies(weights: Mapping[str, Tensor]) -> Weights:
    """The same weights in a place of their own, with a gradient to where they come from."""
    return {name: weight.clone() for name, weight in weights.items()}
