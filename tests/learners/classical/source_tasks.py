"""Source tasks that have something in common, and how a head does on others of their kind."""

from __future__ import annotations

import torch
from torch import Tensor

from medmeta.episode import Episode, LabelledSet, Target
from medmeta.learner import AbstractLearner

SIZE, TARGET = 16, Target("classes", 3)
TELLING = 3  # features in which classes differ; all others are noise, in every task


def episode(n_tasks: int, seed: int, *, n_shot: int = 5, n_query: int = 8) -> Episode:
    """Classes differ in the same few features; task ids are those of the draw."""
    random = torch.Generator().manual_seed(seed)
    centres = torch.zeros(n_tasks, TARGET.size, SIZE)
    centres[..., :TELLING] = 1.5 * torch.randn(n_tasks, TARGET.size, TELLING, generator=random)

    def labelled(n: int) -> LabelledSet:
        labels = torch.arange(TARGET.size).repeat(n_tasks, n)
        clean = centres.gather(1, labels[..., None].expand(-1, -1, SIZE))
        images = clean + torch.randn(clean.shape, generator=random)
        return LabelledSet(images, labels, 1000 * seed + torch.arange(n_tasks))

    return Episode(labelled(n_shot), labelled(n_query), TARGET)


def trained(head: AbstractLearner, steps: int, *, rate: float = 1e-2, tasks: int = 8) -> None:
    """Adam on source tasks, none of which is asked for by ``accuracy``."""
    optimiser = torch.optim.Adam(head.parameters(), lr=rate)
    for step in range(steps):
        optimiser.zero_grad()
        head.loss(episode(tasks, 100 + step)).mean().backward()  # type: ignore[no-untyped-call]
        optimiser.step()


def accuracy(head: AbstractLearner, n_tasks: int = 100) -> float:
    """On tasks of the same kind that are held out."""
    held_out = episode(n_tasks, 1)
    with torch.no_grad():
        answers: Tensor = head.adapt(held_out.support, TARGET)(held_out.query.inputs)
    return float((answers.argmax(-1) == held_out.query.labels).float().mean())
