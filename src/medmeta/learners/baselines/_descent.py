"""Stochastic descent of a classifier on each task's embeddings, all tasks at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from medmeta.episode import LabelledSet
from medmeta.learners._spec import HeadConfig

Weights = dict[str, Tensor]
Score = Callable[[Weights, Tensor], Tensor]


class DescentConfig(HeadConfig):
    """Options of a classifier that is trained within each task by stochastic descent."""

    rate: float = Field(0.01, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    dampening: float = Field(0.9, ge=0, le=1)
    weight_decay: float = Field(1e-3, ge=0)
    batch: int = Field(4, ge=1)
    epochs: int = Field(100, ge=0, le=10_000)


@dataclass(frozen=True)
class Descent:
    """Torch's stochastic gradient descent, with a first axis of tasks.

    ``score`` gives logits ``(T, n, N)`` of weights and images ``(T, n, D)``. The first step has
    the whole gradient as its momentum, later ones ``1 - dampening`` of it.
    """

    config: DescentConfig
    score: Score

    def fitted(self, start: Weights, images: Tensor, support: LabelledSet) -> Weights:
        """The weights after all epochs over the support's images ``(T, S, D)``."""
        slopes = torch.func.grad(self._loss)
        weights, config = dict(start), self.config
        speed: Weights = {}
        for chosen in mini_batches(support, config.batch, config.epochs):
            part = images.gather(1, chosen[..., None].expand(-1, -1, images.shape[2]))
            found = slopes(weights, part, support.labels.gather(1, chosen))
            for name, weight in weights.items():
                slope = found[name] + config.weight_decay * weight
                if name in speed:
                    slope = config.momentum * speed[name] + (1 - config.dampening) * slope
                speed[name] = slope
            weights = {name: w - config.rate * speed[name] for name, w in weights.items()}
        return weights

    def _loss(self, weights: Weights, images: Tensor, labels: Tensor) -> Tensor:
        """The sum over tasks of the mean cross-entropy of a batch."""
        logits = self.score(weights, images)
        return F.cross_entropy(logits.mT, labels, reduction="none").mean(1).sum()


def mini_batches(support: LabelledSet, size: int, epochs: int) -> Iterator[Tensor]:
    """Which images each step takes, ``(T, n)``, in an order that each task's id draws.

    An epoch takes every image once, so its last batch may be smaller.
    """
    n = support.n_examples
    randoms = [task_generator(task_id, 1) for task_id in support.task_ids.tolist()]
    for _ in range(epochs):
        orders = torch.stack([torch.randperm(n, generator=random) for random in randoms])
        orders = orders.to(support.labels.device)
        yield from (orders[:, first : first + size] for first in range(0, n, size))


def drawn_uniformly(support: LabelledSet, shape: tuple[int, ...], bound: float) -> Tensor:
    """``(T, *shape)`` between ``-bound`` and ``bound``, drawn by each task's own id."""
    drawn = [
        torch.rand(shape, generator=task_generator(task_id, 0))
        for task_id in support.task_ids.tolist()
    ]
    return (2 * torch.stack(drawn) - 1).to(support.labels.device) * bound


def task_generator(task_id: float, purpose: int) -> torch.Generator:
    """Chance of a task's own, another one for each purpose."""
    return torch.Generator().manual_seed((int(task_id) * 2 + purpose) % 2**63)
