"""Tasks whose truth is known: classes are Gaussian clouds, the learner is the nearest mean."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medmeta.episode import Inputs, LabelledSet, Predictor, Target
from medmeta.learner import AbstractLearner, AdaptedTask, HeadedLearner, Traits

Array = NDArray[np.float64]


class NearestMean(AbstractLearner):
    """Logits are ``scale`` times minus the squared distances to the classes' means."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.traits = Traits(trainable=False, input_kinds=frozenset({"vector"}))

    def adapt(self, support: LabelledSet, target: Target) -> Predictor:
        x = support.inputs
        assert isinstance(x, Tensor)
        own = torch.nn.functional.one_hot(support.labels, target.size).to(x.dtype)
        means = own.transpose(1, 2) @ x / own.sum(1)[..., None]

        def predict(query: Inputs) -> Tensor:
            assert isinstance(query, Tensor)
            return -self.scale * torch.cdist(query, means).square()

        return predict


class Plain(HeadedLearner):
    """Images ``(T, S, C, H, W)`` are their own embeddings."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.head = NearestMean(scale)
        self.traits = Traits(trainable=False, has_head=True)

    def encode(self, inputs: Inputs) -> Tensor:
        assert isinstance(inputs, Tensor)
        return inputs.flatten(2)

    def adapt(self, support: LabelledSet, target: Target) -> Predictor:
        inner = self.head.adapt(support.with_inputs(self.encode(support.inputs)), target)
        return lambda inputs: inner(self.encode(inputs))


def clouds(
    random: np.random.Generator, per_class: int, *, way: int = 2, apart: float = 2.0, size: int = 4
) -> tuple[Array, NDArray[np.int64]]:
    """Points ``(way · per_class, size²)`` about centres ``apart`` standard deviations apart."""
    labels = np.repeat(np.arange(way), per_class)
    points = random.standard_normal((len(labels), size * size))
    points[np.arange(len(labels)), labels] += apart / np.sqrt(2)
    return points, labels


def adapted(points: Array, labels: NDArray[np.int64], *, scale: float = 1.0) -> AdaptedTask:
    """The nearest-mean learner on these points, each a square image of one channel."""
    side = int(np.sqrt(points.shape[1]))
    images = torch.from_numpy(points).float().reshape(1, len(points), 1, side, side)
    learner = Plain(scale).eval()
    support = LabelledSet(images, torch.from_numpy(labels)[None], torch.tensor([3]))
    target = Target("classes", int(labels.max()) + 1)
    embeddings = learner.encode(images)
    head = learner.head.adapt(support.with_inputs(embeddings), target)
    return AdaptedTask(
        learner, support, target, lambda x: head(learner.encode(x)), embeddings, head
    )
