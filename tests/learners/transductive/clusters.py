"""Tasks of round clusters of embeddings, and how often their queries are answered rightly."""

from __future__ import annotations

import torch
from torch import Tensor

from medmeta.episode import Episode, InputSpec, LabelledSet, Target
from medmeta.learner import AbstractLearner

N_WAY, SIZE = 5, 32
TARGET, EMBEDDING = Target("classes", N_WAY), InputSpec(SIZE, ())


def clustered(
    n_tasks: int = 40,
    n_shot: int = 1,
    n_query: int = 15,
    *,
    spread: float = 1.0,
    shift: float = 0.0,
    seed: int = 0,
) -> Episode:
    """Classes at normal points, images with normal noise; not negative, as after ReLU."""
    random = torch.Generator().manual_seed(seed)
    centres = torch.randn(n_tasks, N_WAY, SIZE, generator=random)

    def labelled(n: int, offset: float) -> LabelledSet:
        labels = torch.arange(N_WAY).repeat(n).expand(n_tasks, -1)
        clean = centres.gather(1, labels[..., None].expand(-1, -1, SIZE))
        images = clean + spread * torch.randn(clean.shape, generator=random)
        images[..., 0] += offset
        return LabelledSet((images + 0.5).relu(), labels, torch.arange(n_tasks))

    return Episode(labelled(n_shot, 0.0), labelled(n_query, shift), TARGET)


def logits(head: AbstractLearner, tasks: Episode) -> Tensor:
    """What a head says of the queries ``(T, Q, N)``."""
    with torch.no_grad():
        return head.eval().adapt(tasks.support, tasks.target)(tasks.query.inputs)


def accuracy(head: AbstractLearner, tasks: Episode) -> float:
    """The share of queries that are answered rightly."""
    return float((logits(head, tasks).argmax(2) == tasks.query.labels).float().mean())
