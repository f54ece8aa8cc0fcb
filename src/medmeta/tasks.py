"""Lifting a function of one task over a batch of tasks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch.utils import _pytree as pytree

TaskMap = Literal["loop", "vmap"]


def map_tasks(function: Callable[..., Any], *arguments: Any, method: TaskMap = "vmap") -> Any:
    """``function`` of each task's arguments, its results stacked along a new first axis.

    ``arguments`` are tensors, or nested dictionaries and tuples of them, whose first axis is the
    task. ``function`` is pure: what it reads from outside (the learner's parameters) is shared by
    all tasks. ``vmap`` runs all tasks in one batched computation, ``loop`` one after the other;
    they agree to rounding.

    >>> map_tasks(lambda x: x.sum(), torch.ones(3, 4), method="loop")
    tensor([4., 4., 4.])
    """
    if method == "vmap":
        return torch.func.vmap(function, randomness="different")(*arguments)
    leaves = [leaf for argument in arguments for leaf in pytree.tree_leaves(argument)]
    results = [
        function(*(pytree.tree_map(lambda x, t=t: x[t], a) for a in arguments))
        for t in range(leaves[0].shape[0])
    ]
    return pytree.tree_map(lambda *parts: torch.stack(parts), *results)
