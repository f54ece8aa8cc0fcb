"""Which images of a task an inner step takes."""

from __future__ import annotations

import torch
from torch import Tensor

from medmeta.episode import Inputs, LabelledSet, joined_inputs, some_of
from medmeta.learners._chance import permutations
from medmeta.learners._inner_loop import LossOfTask, Update, Weights, copies, loss_and_gradients


def mini_batches(labelled: LabelledSet, steps: int, size: int | None) -> Tensor:
    """Which images each step takes, ``(T, steps, size)``, drawn by each task's own id.

    The images are gone through in an order drawn at random, and again in another when they are
    used up. All of them where ``size`` is None or as many as there are.
    """
    n, device = labelled.n_examples, labelled.labels.device
    if size is None or size >= n:
        return torch.arange(n, device=device).expand(labelled.n_tasks, steps, n)
    passes = -(-steps * size // n)
    orders = [permutations(labelled.task_ids, n, draw=number) for number in range(passes)]
    none = labelled.task_ids.new_empty((labelled.n_tasks, 0))
    order = torch.cat([none, *orders], dim=1)[:, : steps * size]
    return order.reshape(labelled.n_tasks, steps, size).to(device)


def descend_in_batches(
    loss: LossOfTask, start: Weights, update: Update, inputs: Inputs, labels: Tensor, order: Tensor
) -> Weights:
    """Weights of one task after a step on each of the batches that ``order`` ``(steps, n)`` names.

    ``loss(weights, inputs, labels)`` is of some of the task's ``inputs`` and ``labels``, which are
    ``(S, ...)``; gradients count as constants. After no steps they are copies.
    """
    weights = start if len(order) else copies(start)
    for chosen in order.unbind():
        shown, answers = some_of(inputs, chosen), labels[chosen]
        _, gradients = loss_and_gradients(
            lambda w, i=shown, y=answers: loss(w, i, y),  # type: ignore[misc]
            weights,
            first_order=True,
        )
        weights = update(weights, gradients, 0)
    return weights


def together(support: LabelledSet, query: LabelledSet) -> LabelledSet:
    """All images of each task: those of the support, then those of the query.

    Groups are kept where both have them, which number them alike.
    """
    inputs = joined_inputs(support.inputs, query.inputs)
    labels = torch.cat([support.labels, query.labels], dim=1)
    groups = None
    if support.groups is not None and query.groups is not None:
        groups = torch.cat([support.groups, query.groups], dim=1)
    return LabelledSet(inputs, labels, support.task_ids, groups)
