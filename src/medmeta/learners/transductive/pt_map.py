"""PT-MAP: queries transported to class centres, which move to where the queries are."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from medmeta.episode import InputSpec, Target
from medmeta.learner import AbstractLearner, TrainingDefaults
from medmeta.learners._precision import at_least_single
from medmeta.learners._spec import HeadConfig, LearnerSpec
from medmeta.learners.baselines._features import FeatureConfig, Transform
from medmeta.learners.metric.prototypical import squared_distances
from medmeta.learners.transductive._balance import balancing_offsets
from medmeta.learners.transductive._together import TogetherHead, member_means, tell_of_balance

LEAST_SIZE = 1e-6


class PTMAPConfig(HeadConfig):
    """Options of PT-MAP.

    ``power`` of the embeddings' numbers; ``sharpness``: the weight λ of the squared distance in
    the transport; ``steps`` of the centres, each by the share ``rate`` of the way. ``balanced``:
    the queries' classes are held to be equally many, as the paper does; otherwise each query
    is shared among the classes by a softmax, and queries are centred as the support is.
    """

    training_defaults = TrainingDefaults(learning_rate=1e-3)
    power: float = Field(0.5, gt=0, le=2)
    sharpness: float = Field(10.0, gt=0, le=1000)
    steps: int = Field(20, ge=0, le=1000)
    rate: float = Field(0.2, gt=0, le=1)
    balanced: bool = True


class PTMAPHead(TogetherHead):
    """Logits are logarithms of the transport of queries to classes.

    Takes embeddings ``(T, S, D)``. Hu, Gripon and Pateux 2021, equation 1 and algorithm 1. A
    negative number keeps its sign under the power; the paper's are all positive.
    """

    def __init__(self, config: PTMAPConfig, size: int) -> None:
        super().__init__(FeatureConfig(centre="none"), size)
        self.config = config

    def prepared(self, support: Tensor) -> Transform:
        """The power, then unit length."""
        unit = self.features.fitted(support)
        return lambda embeddings: unit(signed_power(at_least_single(embeddings), self.config.power))

    def answers(self, support: Tensor, members: Tensor, queries: Tensor) -> Tensor:
        """Centre support and queries, each on its own mean, and transport."""
        balanced = self.config.balanced and tell_of_balance(queries, members.shape[2])
        own = queries if balanced else support
        queries = F.normalize(queries - own.mean(1, keepdim=True), dim=-1)
        support = F.normalize(support - support.mean(1, keepdim=True), dim=-1)
        return map_shares(
            support,
            members,
            queries,
            sharpness=self.config.sharpness,
            steps=self.config.steps,
            rate=self.config.rate,
            balanced=balanced,
        )


def signed_power(numbers: Tensor, power: float) -> Tensor:
    """``(x + 1e-6) ** power``, and the same mirrored for negative numbers.

    >>> signed_power(torch.tensor([4.0, -9.0]), 0.5)
    tensor([ 2.0000, -3.0000])
    """
    size = (numbers.abs() + LEAST_SIZE).pow(power)
    return torch.where(numbers < 0, -size, size)


def map_shares(
    support: Tensor,
    members: Tensor,
    queries: Tensor,
    *,
    sharpness: float,
    steps: int,
    rate: float,
    balanced: bool,
) -> Tensor:
    """Logarithms of the queries' shares in the classes, ``(T, Q, N)``.

    ``support`` ``(T, S, D)`` with one-hot ``members`` ``(T, S, N)``, ``queries`` ``(T, Q, D)``.
    The centres start at the support's means; each step shares the queries among them and moves
    them towards the means of all images by these shares.
    """
    centres, images = member_means(support, members), torch.cat([support, queries], dim=1)
    offsets = torch.zeros_like(members[:, :1])
    for step in range(steps + 1):
        scores = -sharpness * squared_distances(queries, centres)
        if balanced:  # from where it was balanced before, since the centres moved but little
            offsets = balancing_offsets(scores, offsets)
        logs = (scores + offsets).log_softmax(2)
        if step < steps:
            shares = torch.cat([members, logs.exp()], dim=1)
            centres = centres + rate * (member_means(images, shares) - centres)
    return logs


def _build_head(config: PTMAPConfig, embedding: InputSpec, target: Target) -> AbstractLearner:
    return PTMAPHead(config, embedding.channels)


SPEC = LearnerSpec.of_head(
    name="pt_map",
    family="transductive",
    summary="queries transported evenly to class centres, which move to where the queries are",
    paper="Hu, Gripon and Pateux 2021, Leveraging the Feature Distribution in Transfer-based "
    "Few-Shot Learning",
    config=PTMAPConfig,
    build_head=_build_head,
)
