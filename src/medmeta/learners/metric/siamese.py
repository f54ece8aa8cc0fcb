"""Siamese networks: learn whether two images are of one class, then compare with the support."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medmeta.episode import Episode, Inputs, InputSpec, LabelledSet, Predictor, Target, any_tensor
from medmeta.learner import AbstractLearner, TrainingDefaults, Traits
from medmeta.learners._class_sums import class_means
from medmeta.learners._precision import at_least_single
from medmeta.learners._spec import HeadConfig, LearnerSpec

# Log-odds of an untrained head: 5 for a pair all alike, less 10 for each unit of the mean
# difference. Weights and bias are learned in these units: Adam takes steps of equal size whatever
# a parameter's unit, and would need thousands of them to bring the bias where it belongs.
UNIT = 10.0
FIRST_BIAS = 0.5


class SiameseConfig(HeadConfig):
    """Options of Siamese networks.

    ``balanced``: in the loss of a task, pairs of one class and pairs of two weigh half each; else
    all pairs weigh the same, so of five classes four fifths of the weight is on pairs of two.
    """

    training_defaults = TrainingDefaults(learning_rate=1e-3)
    balanced: bool = False


class SiameseHead(AbstractLearner):
    """Probability that two images are of one class: σ of the weighted L1 distance, and a bias.

    Takes embeddings ``(T, S, D)``. Koch, Zemel and Salakhutdinov 2015, section 3.1; the loss is
    the cross-entropy of its section 3.2 over all pairs of a query and a support image. A class's
    logit is the mean of its pairs' log-odds. (Not the log-odds of their mean probability: those
    are rounded to the same number where all pairs are surely different.)

    >>> images, labels = torch.tensor([[[0.0], [2.0]]]), torch.tensor([[0, 1]])
    >>> support = LabelledSet(images, labels, torch.zeros(1))
    >>> head = SiameseHead(SiameseConfig(), 1).requires_grad_(False)
    >>> head.adapt(support, Target("classes", 2))(torch.tensor([[[0.5]]]))
    tensor([[[  0., -10.]]])
    """

    def __init__(self, config: SiameseConfig, size: int) -> None:
        super().__init__()
        self.balanced = config.balanced
        self.weights = nn.Parameter(torch.full((size,), -1.0 / size))
        self.bias = nn.Parameter(torch.tensor(FIRST_BIAS))
        self.traits = Traits(input_kinds=frozenset({"vector"}))

    def adapt(self, support: LabelledSet, target: Target) -> Predictor:
        """Keep the embedded support; the predictor compares queries with it."""

        def predict(inputs: Inputs) -> Tensor:
            log_odds = self._log_odds(inputs, support.inputs)
            return class_means(log_odds.mT, support.labels, target.size).mT

        return predict

    def loss(self, episode: Episode) -> Tensor:
        """Binary cross-entropy of each task's query × support pairs, ``(T,)``."""
        support, query = episode.support, episode.query
        log_odds = self._log_odds(query.inputs, support.inputs)
        same = (query.labels[:, :, None] == support.labels[:, None]).to(log_odds.dtype)
        losses = F.binary_cross_entropy_with_logits(log_odds, same, reduction="none")
        if not self.balanced:
            return losses.mean((1, 2))
        return (_mean_where(same, losses) + _mean_where(1 - same, losses)) / 2

    def _log_odds(self, queries: Inputs, support: Inputs) -> Tensor:
        """That each query is of each support image's class: ``(T, Q, S)``."""
        first, second = at_least_single(any_tensor(queries)), at_least_single(any_tensor(support))
        return UNIT * (weighted_distances(first, second, self.weights) + self.bias)


def weighted_distances(queries: Tensor, images: Tensor, weights: Tensor) -> Tensor:
    """``Σ wⱼ |qⱼ - sⱼ|`` of ``(T, Q, D)`` and ``(T, S, D)``: ``(T, Q, S)``.

    Weights ``(D,)`` may be of either sign. Predicting never holds all differences at once. A weight
    of 0 stands on both sides as a number and its opposite, for its gradient is not 0.

    >>> one, other = torch.tensor([[[1.0, 1.0]]]), torch.tensor([[[4.0, 0.0]]])
    >>> weighted_distances(one, other, torch.tensor([2.0, -5.0]))
    tensor([[[1.]]])
    """
    both = (weights == 0).to(weights.dtype) / len(weights)
    apart = torch.where(weights < 0, 0, weights + both)
    towards = torch.where(weights < 0, -weights, both)
    farther = torch.cdist(queries * apart, images * apart, p=1.0)
    nearer = torch.cdist(queries * towards, images * towards, p=1.0)
    return farther - nearer


def _mean_where(chosen: Tensor, losses: Tensor) -> Tensor:
    return (chosen * losses).sum((1, 2)) / chosen.sum((1, 2)).clamp(min=1)


def _build_head(config: SiameseConfig, embedding: InputSpec, target: Target) -> AbstractLearner:
    return SiameseHead(config, embedding.channels)


SPEC = LearnerSpec.of_head(
    name="siamese",
    family="metric",
    summary="learns whether two images are of one class, and compares with the support",
    paper="Koch, Zemel and Salakhutdinov 2015, Siamese Neural Networks for One-shot Recognition",
    config=SiameseConfig,
    build_head=_build_head,
)
