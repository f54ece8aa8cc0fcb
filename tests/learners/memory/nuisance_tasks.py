"""Tasks of vectors whose classes differ in few numbers; the rest is louder noise."""

from __future__ import annotations

import torch
from torch import Tensor

from medmeta.check_tasks import TaskMaker
from medmeta.episode import Episode, InputSpec, LabelledSet, Target, any_tensor
from medmeta.learner import AbstractLearner

SIZE, SAID = 16, 6
FIVE = Target("classes", 5)


def episode(seed: int, n_tasks: int, *, n_shot: int = 2) -> Episode:
    """Five classes; only the first ``SAID`` of ``SIZE`` numbers tell them apart."""
    easy = TaskMaker(InputSpec(SIZE, ()), FIVE).episode(
        n_tasks, n_shot=n_shot, n_query=4, seed=seed, noise=0.3
    )
    random = torch.Generator().manual_seed(seed)
    return Episode(drowned(easy.support, random), drowned(easy.query, random), FIVE)


def drowned(labelled: LabelledSet, random: torch.Generator) -> LabelledSet:
    images = any_tensor(labelled.inputs).clone()
    noise = torch.randn(images[..., SAID:].shape, generator=random)
    images[..., SAID:] = 1.5 * noise
    return labelled.with_inputs(images)


def accuracy(learner: AbstractLearner) -> float:
    """On 60 tasks that are not trained on."""
    tasks = episode(7, 60)
    with torch.no_grad():
        answers: Tensor = learner.eval().adapt(tasks.support, FIVE)(tasks.query.inputs)
    return float((answers.argmax(-1) == tasks.query.labels).float().mean())


def train(learner: AbstractLearner, steps: int, rate: float = 0.01) -> None:
    optimiser = torch.optim.Adam(learner.parameters(), lr=rate)
    learner.train()
    for step in range(steps):
        optimiser.zero_grad()
        learner.loss(episode(1000 + step, 16)).mean().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
