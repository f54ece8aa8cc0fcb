"""Other tasks made of the tasks of masks that there are (Butoi et al. 2023, section 3.2).

Support and query images are altered each by itself, within ``ALLOWED``; besides, what is here is
done to all images of a task alike, so that the task stays one: it becomes another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medmeta.episode import Target
from medmeta.episodes.modality_table import Allowed

ALLOWED = Allowed(
    mirror=True, rotation=15, shift=0.1, zoom=0.2, gain=0.25, brightness=0.3, colour=0.1,
    noise=0.15, softness=0.5,
)  # fmt: skip
INVERTED, SWAPPED, TURNED = 0.25, 0.1, 0.5


@dataclass(frozen=True)
class TaskChanges:
    """What becomes of whole tasks, each ``(T,)``.

    ``inverted``: dark and bright change places. ``swapped``: what was marked is the background, and
    the background is marked, where one structure is. ``turns``: quarter turns of pictures, and of
    volumes within their slices. ``order`` ``(T, 3)`` and ``flips`` ``(T, 3)``: of volumes, which
    axis takes the place of each (where these are as long), and which run the other way.
    """

    inverted: NDArray[np.bool_]
    swapped: NDArray[np.bool_]
    turns: NDArray[np.int64]
    order: NDArray[np.int64]
    flips: NDArray[np.bool_]

    @classmethod
    def of_tasks(cls, tasks: Sequence[TaskChanges]) -> TaskChanges:
        """Those of several tasks."""
        names = cls.__dataclass_fields__
        return cls(
            **{name: np.concatenate([getattr(task, name) for task in tasks]) for name in names}
        )

    def apply(self, images: Tensor, masks: Tensor, target: Target) -> tuple[Tensor, Tensor]:
        """Changed images ``(T, n, C, *space)``, in -2 to 2, and masks ``(T, n, *space)``."""
        square = images.shape[-1] == images.shape[-2]
        pictures, labels = [], []
        for task in range(len(images)):
            shown, marked = images[task], masks[task]
            if self.inverted[task]:
                shown = -shown
            if self.swapped[task] and target.size == 2:
                marked = torch.where(marked >= 0, 1 - marked, marked)
            if square and self.turns[task]:
                shown = shown.rot90(int(self.turns[task]), (-2, -1))
                marked = marked.rot90(int(self.turns[task]), (-2, -1))
            if marked.ndim == 4:
                shown, marked = self._placed(task, shown), self._placed(task, marked)
            pictures.append(shown)
            labels.append(marked)
        return torch.stack(pictures), torch.stack(labels)

    def _placed(self, task: int, volumes: Tensor) -> Tensor:
        """Volumes ``(..., D, H, W)`` with their axes in another order and direction.

        Axes change places only among those that are as long, so that the shape stays.
        """
        space = volumes.shape[-3:]
        order = self.order[task].tolist()
        if any(space[to] != space[at] for at, to in enumerate(order)):
            order = [0, *(at for at in order if at)] if space[1] == space[2] else [0, 1, 2]
        first = volumes.ndim - 3
        turned = volumes.permute(*range(first), *(first + at for at in order))
        return turned.flip([first + int(axis) for axis in np.flatnonzero(self.flips[task])])


def draw_task_changes(random: np.random.Generator) -> TaskChanges:
    """Draw those of one task."""
    return TaskChanges(
        inverted=np.array([random.random() < INVERTED]),
        swapped=np.array([random.random() < SWAPPED]),
        turns=random.integers(4, size=1) * np.array([random.random() < TURNED]),
        # After what pictures draw: their tasks stay what they were.
        order=random.permutation(3)[None],
        flips=random.random((1, 3)) < 0.5,
    )
