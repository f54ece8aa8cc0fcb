"""What is exported, as modules that torch can trace: one task at a time, of any size."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from medmeta.episode import InputSpec, LabelledSet, Target
from medmeta.learner import AbstractLearner, AdaptedTask, HeadedLearner


class EpisodeGraph(nn.Module):
    """``support`` ``(S, C, *space)``, one-hot ``labels`` ``(S, N)``, ``query`` → ``(Q, N)``."""

    def __init__(self, learner: AbstractLearner) -> None:
        super().__init__()
        self.learner = learner
        support, way = torch.export.Dim("n_support"), torch.export.Dim("n_way", min=2)
        query = torch.export.Dim("n_query")
        self.axes: tuple[dict[int, Any], ...] = ({0: support}, {0: support, 1: way}, {0: query})

    def forward(self, support: Tensor, labels: Tensor, query: Tensor) -> Tensor:
        """Logits of the queries."""
        n_way, first = labels.shape[1], torch.zeros(1, dtype=torch.int64)
        known = LabelledSet(support[None], labels.argmax(-1)[None], first)
        predictor = self.learner.adapt(known, Target("classes", n_way))
        return predictor(query[None])[0]


class EmbeddingGraph(nn.Module):
    """``images`` ``(N, C, *space)`` → ``embeddings`` ``(N, D)``."""

    def __init__(self, learner: AbstractLearner) -> None:
        super().__init__()
        self.learner = learner
        self.axes: tuple[dict[int, Any], ...] = ({0: torch.export.Dim("n_images")},)

    def forward(self, images: Tensor) -> Tensor:
        """Embeddings, as the learner's head is given them."""
        return cast(HeadedLearner, self.learner).encode(images[None])[0]


class PredictorGraph(nn.Module):
    """``query`` ``(Q, C, *space)`` → ``logits`` and calibrated ``probabilities`` ``(Q, N)``."""

    def __init__(self, task: AdaptedTask, temperature: float, bias: tuple[float, ...]) -> None:
        super().__init__()
        self.learner = task.learner  # so that its weights are seen as weights
        self.predictor = task.predictor
        self.temperature = temperature
        self.bias = torch.tensor(bias or (0.0,))
        self.axes: tuple[dict[int, Any], ...] = ({0: torch.export.Dim("n_query")},)

    def forward(self, query: Tensor) -> tuple[Tensor, Tensor]:
        """Both."""
        logits = self.predictor(query[None])[0]
        return logits, (logits / self.temperature + self.bias).softmax(-1)


def example_episode(
    spec: InputSpec, *, n_way: int, n_shot: int, n_query: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Noise of a brightness by class, as the inputs of an ``EpisodeGraph``.

    >>> episode = example_episode(InputSpec(1, (4, 4)), n_way=3, n_shot=2, n_query=5)
    >>> [tuple(part.shape) for part in episode]
    [(6, 1, 4, 4), (6, 3), (5, 1, 4, 4)]
    """
    chance = torch.Generator().manual_seed(n_way)
    labels = torch.arange(n_way).repeat(n_shot)
    levels = torch.linspace(-1, 1, n_way)[labels].reshape(-1, *[1] * len(spec.shape))
    support = levels + torch.rand(len(labels), *spec.shape, generator=chance) * 2 - 1
    query = torch.rand(n_query, *spec.shape, generator=chance) * 4 - 2
    return support, torch.eye(n_way)[labels], query
