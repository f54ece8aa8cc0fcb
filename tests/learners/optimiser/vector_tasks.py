"""Noisy tasks of vectors, some meta-training on them, and fine-tuning beside it."""

from __future__ import annotations

import torch
from torch import nn

from medmeta.check_tasks import TaskMaker
from medmeta.episode import InputSpec, Target
from medmeta.learner import AbstractLearner
from medmeta.learners.gradient.maml import MAML, MAMLConfig
from medmeta.task_loss import task_loss

TARGET = Target("classes", 3)
TASKS = TaskMaker(InputSpec(8, ()), TARGET)


def network() -> nn.Sequential:
    """Vectors of 8 to 3 classes; the same at each call."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 3))


def loss_on_new_tasks(learner: AbstractLearner) -> float:
    """Mean over 100 tasks of one image per class."""
    tasks = TASKS.episode(100, n_shot=1, n_query=4, seed=7, noise=1.0)
    with torch.no_grad():
        answers = learner.eval().adapt(tasks.support, TARGET)(tasks.query.inputs)
    return float(task_loss(answers, tasks.query.labels, TARGET).mean())


def after_fine_tuning(steps: int) -> float:
    """The least that plain descent from the same weights reaches, of some rates."""
    return min(
        loss_on_new_tasks(
            MAML(
                network(),
                MAMLConfig(inner_rate=rate, inner_steps=steps),
                target=TARGET,
                max_way=3,
                input_kind="vector",
            )
        )
        for rate in (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
    )


def meta_train(learner: AbstractLearner, *, lessons: int) -> None:
    """Adam on the mean loss of 16 tasks at a time, other tasks than those of the test."""
    optimiser = torch.optim.Adam([p for p in learner.parameters() if p.requires_grad], lr=1e-2)
    for lesson in range(lessons):
        tasks = TASKS.episode(16, n_shot=1, n_query=4, seed=100 + lesson, noise=1.0)
        optimiser.zero_grad()
        learner.train().loss(tasks).mean().backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
        optimiser.step()
