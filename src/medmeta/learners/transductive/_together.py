"""What heads share that answer all queries of a task together."""

from __future__ import annotations

from abc import abstractmethod

import torch.nn.functional as F
from torch import Tensor

from medmeta.episode import Episode, Inputs, LabelledSet, Predictor, Target, any_tensor
from medmeta.learner import AbstractLearner, Traits
from medmeta.learners._class_sums import class_means
from medmeta.learners.baselines._features import FeatureConfig, FeatureScaling, Transform
from medmeta.learners.metric.prototypical import squared_distances
from medmeta.task_loss import task_loss

TRAINING_SCALE = 10.0


class TogetherHead(AbstractLearner):
    """Prepares embeddings ``(T, S, D)`` and leaves the answers to a subclass.

    The query batch is used whole, by the predictor alone: a smaller batch gets other answers.
    In training the encoder learns from the start that the queries do not help: the nearest
    centroids of the prepared support.
    """

    def __init__(self, config: FeatureConfig, size: int) -> None:
        super().__init__()
        self.features = FeatureScaling(config, size)
        self.traits = Traits(trainable=False, transductive=True, input_kinds=frozenset({"vector"}))

    @abstractmethod
    def answers(self, support: Tensor, members: Tensor, queries: Tensor) -> Tensor:
        """Logits ``(T, Q, N)`` of prepared queries ``(T, Q, D)``.

        ``support`` ``(T, S, D)`` is prepared too; ``members`` ``(T, S, N)`` are its labels as
        one-hot numbers.
        """

    def prepared(self, support: Tensor) -> Transform:
        """What prepares the embeddings of the tasks with this support."""
        return self.features.fitted(support)

    def adapt(self, support: LabelledSet, target: Target) -> Predictor:
        """Prepare the support; the predictor does the rest, once it sees the queries."""
        embeddings = any_tensor(support.inputs)
        prepare = self.prepared(embeddings)
        known = prepare(embeddings)
        members = F.one_hot(support.labels, target.size).to(known.dtype)

        def predict(inputs: Inputs) -> Tensor:
            return self.answers(known, members, prepare(any_tensor(inputs)))

        return predict

    def loss(self, episode: Episode) -> Tensor:
        """``(T,)``: cross-entropy of the nearest centroids, each query answered alone."""
        if self.training:
            self.features.observe(episode)
        support, target = episode.support, episode.target
        embeddings = any_tensor(support.inputs)
        prepare = self.prepared(embeddings)
        centroids = class_means(prepare(embeddings), support.labels, target.size)
        distances = squared_distances(prepare(any_tensor(episode.query.inputs)), centroids)
        return task_loss(-TRAINING_SCALE * distances, episode.query.labels, target)


def tell_of_balance(queries: Tensor, n_way: int) -> bool:
    """Whether there are enough queries ``(T, Q, D)`` to hold their classes to be equally many.

    Fewer than one per class cannot be: a single image would be made to be of all classes alike.
    """
    return queries.shape[1] >= n_way


def member_means(images: Tensor, shares: Tensor) -> Tensor:
    """Means of images ``(T, n, D)`` weighted by their shares ``(T, n, N)``: ``(T, N, D)``.

    A class without any share has the mean 0.
    """
    totals = shares.sum(1)[..., None]
    return shares.mT @ images / totals.where(totals > 0, totals.new_ones(()))
