"""Supervised pre-training: an encoder learns to tell all classes of all sources apart."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medmeta.episode import Episode, LabelledSet, Predictor, Target
from medmeta.errors import UnsupportedTaskError
from medmeta.learner import AbstractLearner
from medmeta.learners._embedding import EmbeddingLearner
from medmeta.task_loss import task_loss

Classifier = Literal["linear", "cosine"]

COSINE_SCALE = 10.0


class UnionClassifier(AbstractLearner):
    """Trains the encoder of an embedding learner by cross-entropy over a fixed set of classes.

    ``learner`` is what is kept: it answers tasks, by its own head. The classifier is only there
    for the loss. Chen, Liu, Kira, Wang and Huang 2019, section 3.2 (Baseline with a ``linear``,
    Baseline++ with a ``cosine`` classifier); Tian et al. 2020, equation 3.
    """

    def __init__(self, learner: EmbeddingLearner, n_classes: int, classifier: Classifier) -> None:
        super().__init__()
        self.learner = learner
        self.n_classes = n_classes
        size = learner.encoder.embedding_size
        kind = nn.Linear if classifier == "linear" else CosineClassifier
        self.classifier: nn.Module = kind(size, n_classes)
        learns = any(p.requires_grad for p in learner.encoder.parameters())
        self.traits = replace(learner.traits, trainable=learns, has_head=False, maps_tasks=False)

    def adapt(self, support: LabelledSet, target: Target) -> Predictor:
        """What the learner that is kept makes of a task."""
        return self.learner.adapt(support, target)

    def loss(self, episode: Episode) -> Tensor:
        """``(T,)``: cross-entropy of the query over all classes; the support plays no part.

        Raises ``UnsupportedTaskError`` for a task of other classes.
        """
        if episode.target != Target("classes", self.n_classes):
            raise UnsupportedTaskError(
                f"pre-training tells {self.n_classes} classes apart, and this batch is of "
                f"{episode.target.size} {episode.target.kind}."
            )
        logits = self.classifier(self.learner.encode(episode.query.inputs))
        return task_loss(logits, episode.query.labels, episode.target)


class CosineClassifier(nn.Module):
    """Cosines of embeddings ``(..., D)`` with a learned direction of each class, times a scale.

    The scale is learned, and starts at 10. Gidaris and Komodakis 2018, equation 5.

    >>> layer = CosineClassifier(2, 2)
    >>> _ = layer.directions.data.copy_(torch.eye(2))
    >>> layer(torch.tensor([[3.0, 4.0]])).detach().round(decimals=4)
    tensor([[6., 8.]])
    """

    def __init__(self, embedding_size: int, n_classes: int) -> None:
        super().__init__()
        self.directions = nn.Parameter(torch.randn(n_classes, embedding_size))
        self.log_scale = nn.Parameter(torch.tensor(math.log(COSINE_SCALE)))

    def forward(self, embeddings: Tensor) -> Tensor:
        """``(..., D)`` to logits ``(..., K)``."""
        cosines = F.normalize(embeddings, dim=-1) @ F.normalize(self.directions, dim=-1).T
        return cosines * self.log_scale.exp()
