"""TIM: class weights that make the answers to all queries together tell the most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from medmeta.episode import InputSpec, Target
from medmeta.learner import AbstractLearner, TrainingDefaults
from medmeta.learners._spec import LearnerSpec
from medmeta.learners.baselines._features import FeatureConfig
from medmeta.learners.heads._class_blocks import solving_precision
from medmeta.learners.metric.prototypical import squared_distances
from medmeta.learners.transductive._together import TogetherHead, member_means, tell_of_balance

ADAM_DECAY, ADAM_SQUARE_DECAY, ADAM_EPS = 0.9, 0.999, 1e-8


class TIMConfig(FeatureConfig):
    """Options of TIM.

    ``solver``: ``alternating`` (TIM-ADM, which needs no rate and fewer steps) or ``gradient``
    (TIM-GD, by Adam at ``rate``; the paper takes 1000 steps). ``steps``; ``temperature``: the
    factor of half the squared distances. ``support_weight``, ``marginal_weight`` and
    ``conditional_weight`` are those of the support's cross-entropy, of the entropy of the mean
    answer, which holds the queries' classes to be equally many (0: not), and of the answers' mean
    entropy. ``centre`` and ``normalise`` prepare the embeddings, as of SimpleShot: the paper's are
    not centred (``centre=none``), but where an encoder gives all images nearly one direction, the
    steps then follow rounding.
    """

    training_defaults = TrainingDefaults(learning_rate=1e-3)
    solver: Literal["alternating", "gradient"] = "alternating"
    steps: int = Field(150, ge=0, le=10_000)
    rate: float = Field(1e-4, gt=0)
    temperature: float = Field(15.0, gt=0)
    support_weight: float = Field(0.1, gt=0)
    marginal_weight: float = Field(1.0, ge=0)
    conditional_weight: float = Field(0.1, ge=0)


@dataclass(frozen=True)
class Information:
    """The loss of class weights ``(T, N, D)`` on prepared images, and its minimisers.

    ``support`` ``(T, S, D)`` with one-hot ``members`` ``(T, S, N)``; ``queries`` ``(T, Q, D)``;
    ``marginal`` is the weight of the entropy of the mean answer. Boudiaf et al. 2020, equation 3.
    """

    support: Tensor
    members: Tensor
    queries: Tensor
    config: TIMConfig
    marginal: float

    def logits(self, images: Tensor, weights: Tensor) -> Tensor:
        """Of images ``(T, n, D)``: ``(T, n, N)``."""
        return -0.5 * self.config.temperature * squared_distances(images, weights)

    def loss(self, weights: Tensor) -> Tensor:
        """``(T,)``: cross-entropy of the support, less the queries' mutual information."""
        known = self.logits(self.support, weights).log_softmax(2)
        cross_entropy = -(self.members * known).sum(2).mean(1)
        logs = self.logits(self.queries, weights).log_softmax(2)
        conditional = -(logs.exp() * logs).sum(2).mean(1)
        shares = logs.exp().mean(1)
        marginal = -(shares * shares.clamp(min=1e-30).log()).sum(1)
        mutual = self.marginal * marginal - self.config.conditional_weight * conditional
        return self.config.support_weight * cross_entropy - mutual

    def descended(self, weights: Tensor) -> Tensor:
        """After ``steps`` of Adam (Kingma and Ba 2015), each task by itself."""
        slope = torch.func.grad(lambda w: self.loss(w).sum())
        mean, square = torch.zeros_like(weights), torch.zeros_like(weights)
        for step in range(1, self.config.steps + 1):
            gradient = slope(weights)
            mean = ADAM_DECAY * mean + (1 - ADAM_DECAY) * gradient
            square = ADAM_SQUARE_DECAY * square + (1 - ADAM_SQUARE_DECAY) * gradient.square()
            size = square / (1 - ADAM_SQUARE_DECAY**step)
            size = size.clamp(min=1e-30).sqrt() + ADAM_EPS  # a root at 0 has no gradient
            weights = weights - self.config.rate * (mean / (1 - ADAM_DECAY**step)) / size
        return weights

    def alternated(self, weights: Tensor) -> Tensor:
        """After ``steps`` that give the queries labels, then the weights their minimiser.

        Equations 7 and 8 (proposition 1): labels ``q ∝ p^(1 + α) / (Σ p^(1 + α))^β``, whose
        β is 1/2 where the marginal has weight 1, and 0 where it has none.
        """
        config = self.config
        power, even = 1 + config.conditional_weight, self.marginal / (1 + self.marginal)
        n_support, n_query = self.support.shape[1], self.queries.shape[1]
        known = config.support_weight / (1 + config.conditional_weight)
        images = torch.cat([self.support, self.queries], dim=1)
        worth = images.new_tensor([known] * n_support + [n_support / n_query] * n_query)[:, None]
        for _ in range(config.steps):
            logs = self.logits(images, weights).log_softmax(2)
            raised = power * logs[:, n_support:]
            labels = (raised - even * raised.logsumexp(1, keepdim=True)).softmax(2)
            wanted, given = worth * torch.cat([self.members, labels], dim=1), worth * logs.exp()
            pulled = (wanted - given).mT @ images + weights * given.sum(1)[..., None]
            weights = pulled / wanted.sum(1).clamp(min=1e-12)[..., None]
        return weights


class TIMHead(TogetherHead):
    """Logits are minus half the squared distances to class weights, times a temperature.

    Takes embeddings ``(T, S, D)``. Boudiaf, Ziko, Rony, Dolz, Piantanida and Ben Ayed 2020. The
    weights start at the support's means. With fewer queries than classes nothing is held of how
    many they are, as if ``marginal_weight`` were 0.
    """

    def __init__(self, config: TIMConfig, size: int) -> None:
        super().__init__(config, size)
        self.config = config

    def answers(self, support: Tensor, members: Tensor, queries: Tensor) -> Tensor:
        """Find the weights, then compare."""
        marginal = self.config.marginal_weight
        if not tell_of_balance(queries, members.shape[2]):
            marginal = 0.0
        # In double: the steps drive images apart, and rounding with them.
        known, labels, asked = (solving_precision(x) for x in (support, members, queries))
        task = Information(known, labels, asked, self.config, marginal)
        solve = task.alternated if self.config.solver == "alternating" else task.descended
        return task.logits(asked, solve(member_means(known, labels))).to(queries.dtype)


def _build_head(config: TIMConfig, embedding: InputSpec, target: Target) -> AbstractLearner:
    return TIMHead(config, embedding.channels)


SPEC = LearnerSpec.of_head(
    name="tim",
    family="transductive",
    summary="class weights that make the answers to all queries together tell the most",
    paper="Boudiaf et al. 2020, Transductive Information Maximization for Few-Shot Learning",
    config=TIMConfig,
    build_head=_build_head,
)
