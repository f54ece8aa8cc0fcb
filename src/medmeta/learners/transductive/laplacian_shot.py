"""LaplacianShot: nearby queries are answered alike."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from medmeta.episode import InputSpec, Target
from medmeta.learner import AbstractLearner, TrainingDefaults
from medmeta.learners._spec import LearnerSpec
from medmeta.learners.baselines._features import FeatureConfig
from medmeta.learners.metric.prototypical import squared_distances
from medmeta.learners.transductive._together import TogetherHead, member_means
from medmeta.learners.transductive.bd_cspn import rectified_prototypes


class LaplacianShotConfig(FeatureConfig):
    """Options of LaplacianShot.

    ``neighbours`` of each query, not counting itself (the authors' k of 3 does); ``strength``: the
    weight λ of their answers; ``steps`` of the bound updates. ``rectify``: whether prototypes are
    means of the support and the queries nearest to each, weighed by ``sharpness`` times the cosine.
    ``centre`` and ``normalise`` prepare the embeddings, as of SimpleShot.
    """

    training_defaults = TrainingDefaults(learning_rate=1e-3)
    neighbours: int = Field(2, ge=1)
    strength: float = Field(0.7, ge=0)
    steps: int = Field(20, ge=0, le=1000)
    rectify: bool = True
    sharpness: float = Field(10.0, ge=0, le=1000)


class LaplacianShotHead(TogetherHead):
    """Logits are minus the squared distances to prototypes, plus λ times the neighbours' answers.

    Takes embeddings ``(T, S, D)``. Ziko, Dolz, Granger and Ben Ayed 2020, equation 12 and
    algorithm 1. Nothing is held of how many queries are of each class.
    """

    def __init__(self, config: LaplacianShotConfig, size: int) -> None:
        super().__init__(config, size)
        self.config = config

    def answers(self, support: Tensor, members: Tensor, queries: Tensor) -> Tensor:
        """Find the prototypes, then let neighbours agree."""
        config = self.config
        if config.rectify:
            prototypes = rectified_prototypes(
                support, members, queries, confident=None, sharpness=config.sharpness
            )
        else:
            prototypes = member_means(support, members)
        distances = squared_distances(queries, prototypes)
        near = nearest_neighbours(queries, config.neighbours)
        return bound_updates(-distances, config.strength * near, config.steps)


def nearest_neighbours(images: Tensor, n: int) -> Tensor:
    """``(T, Q, Q)``: 1 where the column is among the ``n`` nearest of the row, itself left out.

    >>> nearest_neighbours(torch.tensor([[[0.0], [1.0], [3.0]]]), 1)[0].tolist()
    [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    """
    n_images = images.shape[1]
    itself = torch.eye(n_images, dtype=torch.bool, device=images.device)
    distances = squared_distances(images, images).masked_fill(itself, torch.inf)
    chosen = distances.topk(min(n, n_images - 1), dim=2, largest=False).indices
    return torch.zeros_like(distances).scatter(2, chosen, 1.0)


def bound_updates(scores: Tensor, kernel: Tensor, steps: int) -> Tensor:
    """Scores ``(T, Q, N)`` plus the neighbours' last answers by ``kernel`` ``(T, Q, Q)``."""
    logits = scores
    for _ in range(steps):
        logits = scores + kernel @ logits.softmax(2)
    return logits


def _build_head(
    config: LaplacianShotConfig, embedding: InputSpec, target: Target
) -> AbstractLearner:
    return LaplacianShotHead(config, embedding.channels)


SPEC = LearnerSpec.of_head(
    name="laplacian_shot",
    family="transductive",
    summary="nearest prototypes, whose answers to neighbouring queries are made alike",
    paper="Ziko, Dolz, Granger and Ben Ayed 2020, Laplacian Regularized Few-Shot Learning",
    config=LaplacianShotConfig,
    build_head=_build_head,
)
