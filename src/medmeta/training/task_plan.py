"""The ways in which the tasks of a step can be run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from medmeta.errors import CheckpointError, SettingsError
from medmeta.learner import AbstractLearner, name_of
from medmeta.tasks import TaskMap

TaskMapChoice = Literal["auto", "loop", "vmap", "loop-workers", "vmap-workers"]
TOGETHER = (4, 16)  # tried by auto
TOGETHER_UNMEASURED = 8
MOST_WORKERS = 256


@dataclass(frozen=True)
class TaskPlan:
    """How the tasks of a step are run.

    ``workers`` threads of one core each share them out, and each runs ``together`` of them at a
    time by ``method``, backward pass included. One worker: no thread of its own, all cores work on
    each operator. ``together`` 0: all tasks in one pass.
    """

    method: TaskMap = "vmap"
    workers: int = 1
    together: int = 0

    @property
    def name(self) -> str:
        """As ``--task-map`` calls it."""
        return f"{self.method}-workers" if self.workers > 1 else self.method

    def describe(self) -> str:
        """In words.

        >>> TaskPlan("vmap", 2, 4).describe()
        'vmap-workers (2 workers, 4 tasks at once)'
        """
        details = [f"{self.workers} workers"] if self.workers > 1 else []
        if self.method == "vmap":
            details.append(f"{self.together or 'all'} tasks at once")
        return f"{self.name} ({', '.join(details)})" if details else self.name

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TaskPlan:
        """Read what ``to_dict`` wrote; raises ``CheckpointError`` where it is something else."""
        method, workers, together = (values.get(k) for k in ("method", "workers", "together"))
        if (
            method in ("loop", "vmap")
            and isinstance(workers, int)
            and isinstance(together, int)
            and 1 <= workers <= MOST_WORKERS
            and together >= 0
        ):
            return cls(method, workers, together)
        raise CheckpointError(f"the checkpoint's task map {dict(values)} is not known here.")


def possible_plans(
    learner: AbstractLearner,
    choice: TaskMapChoice,
    *,
    n_tasks: int,
    threads: int,
    device: str,
    most_together: int = TOGETHER[-1],
) -> list[TaskPlan]:
    """The plans that a choice leaves for ``n_tasks`` tasks per step on some threads of a device.

    All but ``auto`` leave one, which depends on nothing that is measured; ``auto`` tries
    ``most_together`` tasks at once at most.

    Raises ``SettingsError`` for a choice that is not to be had.

    >>> from medmeta.learners import build_learner
    >>> from medmeta.episode import InputSpec, Target
    >>> maml = build_learner("maml", {}, InputSpec(1, (16, 16)), Target("classes", 2))
    >>> plans = possible_plans(maml, "auto", n_tasks=2, threads=2, device="cpu")
    >>> [plan.describe() for plan in plans]
    ['loop', 'vmap (2 tasks at once)', 'loop-workers (2 workers)']
    """
    if not learner.traits.maps_tasks:
        if choice != "auto":
            raise SettingsError(
                f"--task-map {choice}: {name_of(learner)} runs all tasks of a step in one pass; "
                "leave it out."
            )
        return [TaskPlan()]
    workers = min(threads, n_tasks, MOST_WORKERS) if device == "cpu" else 1
    sizes = TOGETHER if choice == "auto" else (TOGETHER_UNMEASURED,)
    plans = []
    for count in dict.fromkeys((1, workers)):
        share = -(-n_tasks // count)
        plans.append(TaskPlan("loop", count, 1))
        most = min(share, most_together) if choice == "auto" else share
        at_once = sorted({min(size, most) for size in sizes})
        plans += [TaskPlan("vmap", count, size) for size in at_once if size > 1]
    wanted = [plan for plan in plans if choice in ("auto", plan.name)]
    if not wanted:
        raise SettingsError(
            f"--task-map {choice} cannot be had with {n_tasks} tasks per step and {threads} "
            f"threads on {device}: workers need two threads of a processor and two tasks, vmap "
            "two tasks for each worker."
        )
    return wanted
