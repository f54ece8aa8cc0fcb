"""Images whose class is decided by a small marker, and a learner that was trained on them."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from medmeta.episode import Episode, InputSpec, LabelledSet, Target
from medmeta.learner import AbstractLearner, AdaptedTask, adapt_task
from medmeta.learners import build_learner

SIDE, MARK = 32, 8
TWO = Target("classes", 2)


def marked_images(labels: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Images ``(N, 1, 32, 32)`` of noise with a marker somewhere, and where it is.

    Of class 0 the marker is bright, of class 1 dark.
    """
    random = torch.Generator().manual_seed(seed)
    images = 0.1 * torch.randn(len(labels), 1, SIDE, SIDE, generator=random)
    where = torch.zeros(len(labels), SIDE, SIDE, dtype=torch.bool)
    corners = torch.randint(0, SIDE - MARK + 1, (len(labels), 2), generator=random)
    for image, place, label, (y, x) in zip(
        images, where, labels.tolist(), corners.tolist(), strict=True
    ):
        image[0, y : y + MARK, x : x + MARK] += 2.0 if label == 0 else -2.0
        place[y : y + MARK, x : x + MARK] = True
    return images, where


def marked_set(n_tasks: int, n_shot: int, seed: int) -> LabelledSet:
    labels = torch.arange(2).repeat_interleave(n_shot).repeat(n_tasks)
    images, _ = marked_images(labels, seed)
    return LabelledSet(
        images.reshape(n_tasks, 2 * n_shot, 1, SIDE, SIDE),
        labels.reshape(n_tasks, -1),
        torch.arange(n_tasks),
    )


def marked_task(name: str = "prototypical") -> AdaptedTask:
    """The trained learner, adapted to five images of each class."""
    learner = trained(name)
    with torch.no_grad():
        return adapt_task(learner, marked_set(1, 5, seed=9999), TWO)


@cache
def trained(name: str) -> AbstractLearner:
    """A small Conv-4 after forty steps on such tasks."""
    torch.manual_seed(0)
    options = {"encoder": {"name": "conv4", "options": {"width": 16}}}
    learner = build_learner(name, options, InputSpec(1, (SIDE, SIDE)), TWO)
    descent = torch.optim.Adam(learner.parameters(), lr=3e-3)
    for step in range(40):
        support, query = marked_set(2, 3, seed=2 * step), marked_set(2, 5, seed=2 * step + 1)
        descent.zero_grad()
        learner.loss(Episode(support, query, TWO)).mean().backward()
        descent.step()
    return learner.eval()
