"""Prototypical Networks: each class is the mean of its embedded support."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from medmeta.episode import Inputs, InputSpec, LabelledSet, Predictor, Target, any_tensor
from medmeta.learner import AbstractLearner, TrainingDefaults, Traits
from medmeta.learners._class_sums import class_means
from medmeta.learners._precision import at_least_single
from medmeta.learners._spec import HeadConfig, LearnerSpec

Distance = Literal["squared_euclidean", "euclidean", "cosine"]


class PrototypicalConfig(HeadConfig):
    """Options of Prototypical Networks.

    ``distance``: the squared Euclidean distance of the paper, the plain one, or cosine similarity
    times a learned scale that starts at ``cosine_scale`` (similarities alone, at most 1, could
    never say a class with confidence).
    """

    training_defaults = TrainingDefaults(learning_rate=1e-3)
    distance: Distance = "squared_euclidean"
    cosine_scale: float = Field(10.0, gt=0)


class PrototypicalHead(AbstractLearner):
    """Logits are minus the distance of a query to each class's mean.

    Takes embeddings ``(T, S, D)``. Snell, Swersky and Zemel 2017, equations 1 and 2.

    >>> images, labels = torch.tensor([[[0.0], [4.0]]]), torch.tensor([[0, 1]])
    >>> support = LabelledSet(images, labels, torch.zeros(1))
    >>> head = PrototypicalHead(PrototypicalConfig())
    >>> head.adapt(support, Target("classes", 2))(torch.tensor([[[1.0]]]))
    tensor([[[-1., -9.]]])
    """

    def __init__(self, config: PrototypicalConfig) -> None:
        super().__init__()
        self.distance: Distance = config.distance
        if config.distance == "cosine":
            self.log_scale = nn.Parameter(torch.tensor(math.log(config.cosine_scale)))
        # Distances alone have nothing to train; an encoder in front of them has.
        self.traits = Traits(
            trainable=config.distance == "cosine",
            input_kinds=frozenset({"vector"}),
            one_graph=True,
        )

    def adapt(self, support: LabelledSet, target: Target) -> Predictor:
        """Means of the classes; the predictor compares queries with them."""
        embeddings = at_least_single(any_tensor(support.inputs))
        prototypes = class_means(embeddings, support.labels, target.size)

        def predict(inputs: Inputs) -> Tensor:
            return self._similarity(at_least_single(any_tensor(inputs)), prototypes)

        return predict

    def _similarity(self, queries: Tensor, prototypes: Tensor) -> Tensor:
        if self.distance == "cosine":
            cosine = F.normalize(queries, dim=-1) @ F.normalize(prototypes, dim=-1).mT
            return cosine * self.log_scale.exp()
        squares = squared_distances(queries, prototypes)
        if self.distance == "squared_euclidean":
            return -squares
        # The gradient of a square root is infinite at zero, where a query is a prototype.
        return -(squares + 1e-12).sqrt()


def squared_distances(queries: Tensor, prototypes: Tensor) -> Tensor:
    """Squared Euclidean distances ``(T, Q, N)`` of ``(T, Q, D)`` to ``(T, N, D)``.

    Both are first moved so that the prototypes' mean is the origin: expanding the square then
    loses no digits where all points lie far from it.
    """
    centre = prototypes.mean(1, keepdim=True)
    queries, prototypes = queries - centre, prototypes - centre
    products = queries @ prototypes.mT
    squares = queries.square().sum(-1)[..., None] + prototypes.square().sum(-1)[:, None]
    return (squares - 2 * products).clamp(min=0)


def _build_head(
    config: PrototypicalConfig, embedding: InputSpec, target: Target
) -> AbstractLearner:
    return PrototypicalHead(config)


SPEC = LearnerSpec.of_head(
    name="prototypical",
    family="metric",
    summary="each class is the mean of its embedded support images",
    paper="Snell, Swersky and Zemel 2017, Prototypical Networks for Few-shot Learning",
    config=PrototypicalConfig,
    build_head=_build_head,
)
