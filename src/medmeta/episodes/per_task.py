"""What is drawn for each task by itself, put together for a batch of tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np


@dataclass(frozen=True)
class PerTask:
    """Base of what happens to the images of a task: a dataclass of arrays.

    >>> @dataclass(frozen=True)
    ... class Turns(PerTask):
    ...     quarters: np.ndarray
    >>> Turns.of_tasks([Turns(np.array([1])), Turns(np.array([3]))]).quarters.tolist()
    [[1], [3]]
    """

    @classmethod
    def of_tasks(cls, tasks: Sequence[Self]) -> Self:
        """Those of several tasks of equally many images, with a first axis of tasks."""
        names = [field.name for field in fields(cls)]
        return cls(**{name: np.stack([getattr(task, name) for task in tasks]) for name in names})
