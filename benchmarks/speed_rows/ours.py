"""Our side of a training step, in one place: what ``medmeta train`` does, without its files."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from medmeta.episode import Episode, LabelledSet
from medmeta.learner import AbstractLearner
from medmeta.tasks import preferring
from medmeta.training.allocator import keep_freed_memory
from medmeta.training.plan_choice import choose_plan
from medmeta.training.settings import Precision, TrainingSettings
from medmeta.training.step import StepGradient
from medmeta.training.task_plan import TaskMapChoice

LEARNING_RATE = 1e-3


class TrainingStep:
    """The trainer's step, called with an episode: gradient by the plan that was fastest, Adam.

    ``first`` is the episode that the plans are measured on, as at the start of a run;
    ``task_map`` is the trainer's option.
    """

    def __init__(
        self,
        learner: AbstractLearner,
        first: Episode,
        *,
        threads: int,
        precision: Precision = "float32",
        task_map: TaskMapChoice = "auto",
    ) -> None:
        keep_freed_memory()
        torch.set_num_threads(threads)
        self.learner = learner.train()
        self.plan = choose_plan(learner, first, task_map, precision=precision).plan
        self.gradient = StepGradient(learner, self.plan, precision=precision)
        self.optimiser = torch.optim.Adam(learner.parameters(), lr=LEARNING_RATE)
        self.clip_norm = TrainingSettings().clip_norm

    def __call__(self, episode: Episode) -> float:
        """One step; returns the loss before it."""
        loss = self.gradient(episode)
        torch.nn.utils.clip_grad_norm_(self.learner.parameters(), self.clip_norm)
        self.optimiser.step()
        return loss


def plain_step(learner: AbstractLearner, episode: Episode) -> None:
    """Forward and backward pass of the tasks, one after the other, in single precision."""
    learner.zero_grad(set_to_none=True)
    with preferring("loop"):
        learner.loss(episode).mean().backward()  # type: ignore[no-untyped-call]


def fingerprint(loss: float, gradients: Iterator[Tensor | None]) -> list[float]:
    """A loss, the length of its gradient, and the gradient's shadow on a seeded direction.

    Both sides must get the same, or they did not do the same work.
    """
    parts = [g.detach().flatten().double().cpu() for g in gradients if g is not None]
    flat = torch.cat(parts)
    random = torch.Generator().manual_seed(7)
    direction = torch.randn(len(flat), generator=random, dtype=torch.float64)
    return [loss, float(flat.norm()), float(flat @ direction)]


def on_device(episode: Episode, device: str) -> Episode:
    """The same episode there."""

    def moved(part: LabelledSet) -> LabelledSet:
        assert isinstance(part.inputs, Tensor)
        return LabelledSet(part.inputs.to(device), part.labels.to(device), part.task_ids.to(device))

    return Episode(moved(episode.support), moved(episode.query), episode.target)
