"""Lifting a function of one task over a batch of tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal

import torch
from torch.utils import _pytree as pytree

TaskMap = Literal["loop", "vmap"]
_preferred: ContextVar[TaskMap] = ContextVar("preferred task map", default="vmap")
_twice: ContextVar[bool] = ContextVar("gradient of a gradient", default=False)
_lifted_by: ContextVar[TaskMap | None] = ContextVar("task map at work", default=None)


def map_tasks(function: Callable[..., Any], *arguments: Any, method: TaskMap | None = None) -> Any:
    """``function`` of each task's arguments, its results stacked along a new first axis.

    ``arguments`` are tensors, or nested dictionaries and tuples of them, whose first axis is the
    task. ``function`` is pure: what it reads from outside (the learner's parameters) is shared by
    all tasks. ``vmap`` runs all tasks in one batched computation, ``loop`` one after the other;
    they agree to rounding. None: what ``preferring`` says, else ``vmap``.

    >>> map_tasks(lambda x: x.sum(), torch.ones(3, 4), method="loop")
    tensor([4., 4., 4.])
    """
    leaves = [leaf for argument in arguments for leaf in pytree.tree_leaves(argument)]
    n_tasks = leaves[0].shape[0]
    if (method or _preferred.get()) == "vmap" and n_tasks > 1:
        with _set(_lifted_by, "vmap"):
            return torch.func.vmap(function, randomness="different")(*arguments)
    with _set(_lifted_by, _lifted_by.get() or "loop"):
        results = [
            function(*(pytree.tree_map(lambda x, t=t: x[t], a) for a in arguments))
            for t in range(n_tasks)
        ]
    return pytree.tree_map(lambda *parts: torch.stack(parts), *results)


@contextmanager
def preferring(method: TaskMap) -> Iterator[None]:
    """Within the block and this thread, ``map_tasks`` does so unless told otherwise.

    >>> with preferring("loop"):
    ...     map_tasks(lambda x: x.sum(), torch.ones(2, 4))
    tensor([4., 4.])
    """
    with _set(_preferred, method):
        yield


def one_task_at_a_time() -> bool:
    """Whether this code runs in a loop of ``map_tasks``, on plain tensors.

    Operators whose derivatives are wrong or slow under ``vmap`` may be used then.
    """
    return _lifted_by.get() == "loop"


@contextmanager
def differentiated_twice() -> Iterator[None]:
    """What runs within will be differentiated, and its gradient once more."""
    with _set(_twice, True):
        yield


def is_differentiated_twice() -> bool:
    """Whether this code runs within ``differentiated_twice``."""
    return _twice.get()


def tasks_at_once() -> bool:
    """Whether this code runs under the ``vmap`` of ``map_tasks``, where layouts are torch's own."""
    return _lifted_by.get() == "vmap"


@contextmanager
def _set(variable: ContextVar[Any], value: Any) -> Iterator[None]:
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)
