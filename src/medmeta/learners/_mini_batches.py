"""Which images of a task an inner step takes."""

from __future__ import annotations

import torch
from torch import Tensor

from medmeta.episode import LabelledSet, joined_inputs


def mini_batches(labelled: LabelledSet, steps: int, size: int | None) -> Tensor:
    """Which images each step takes, ``(T, steps, size)``, drawn by each task's own id.

    The images are gone through in an order drawn at random, and again in another when they are
    used up. All of them where ``size`` is None or as many as there are.
    """
    n, device = labelled.n_examples, labelled.labels.device
    if size is None or size >= n:
        return torch.arange(n, device=device).expand(labelled.n_tasks, steps, n)
    drawn = []
    for task_id in labelled.task_ids.tolist():
        random = torch.Generator().manual_seed(int(task_id))
        passes = -(-steps * size // n)
        order = [torch.randperm(n, generator=random) for _ in range(passes)]
        drawn.append(torch.cat([torch.arange(0), *order])[: steps * size].reshape(steps, size))
    return torch.stack(drawn).to(device)


def together(support: LabelledSet, query: LabelledSet) -> LabelledSet:
    """All images of each task: those of the support, then those of the query."""
    inputs = joined_inputs(support.inputs, query.inputs)
    labels = torch.cat([support.labels, query.labels], dim=1)
    return LabelledSet(inputs, labels, support.task_ids)
