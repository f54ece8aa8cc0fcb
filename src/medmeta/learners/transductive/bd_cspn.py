"""BD-CSPN: prototypes rectified by the queries that they are surest of."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from medmeta.episode import InputSpec, Target
from medmeta.learner import AbstractLearner, TrainingDefaults
from medmeta.learners._spec import LearnerSpec
from medmeta.learners.baselines._features import Centre, FeatureConfig
from medmeta.learners.transductive._together import TogetherHead, member_means, tell_of_balance

Shift = Literal["all", "prototypes", "none"]


class BDCSPNConfig(FeatureConfig):
    """Options of BD-CSPN.

    ``confident``: how many queries are taken to each class, those it is surest of (None: all that
    are nearest to it). ``sharpness``: the factor of the cosines by which images are weighed.
    ``shift``: whether queries are moved so that their mean is the support's, for ``all``, for the
    ``prototypes`` alone, or not (``none``: when classes are not equally many among the queries).
    ``scale``: the factor of the logits. ``centre`` and ``normalise`` prepare the embeddings, as
    of SimpleShot.
    """

    training_defaults = TrainingDefaults(learning_rate=1e-3)
    centre: Centre = "none"
    confident: int | None = Field(8, ge=1)
    sharpness: float = Field(10.0, ge=0, le=1000)
    shift: Shift = "all"
    scale: float = Field(10.0, gt=0)


class BDCSPNHead(TogetherHead):
    """Logits are cosines with prototypes of the support and of confident queries together.

    Liu, Song and Qin 2020: the cross-class bias is taken off by a shift of the queries, the bias
    within classes by pseudo-labels, weighed by a softmax of cosines. Queries fewer than the
    classes are not shifted.
    """

    def __init__(self, config: BDCSPNConfig, size: int) -> None:
        super().__init__(config, size)
        self.config = config

    def answers(self, support: Tensor, members: Tensor, queries: Tensor) -> Tensor:
        """Rectify the prototypes, then compare."""
        config, shifted = self.config, queries
        if config.shift != "none" and tell_of_balance(queries, members.shape[2]):
            shifted = queries + support.mean(1, keepdim=True) - queries.mean(1, keepdim=True)
        prototypes = rectified_prototypes(
            support, members, shifted, confident=config.confident, sharpness=config.sharpness
        )
        asked = shifted if config.shift == "all" else queries
        return config.scale * cosines(asked, prototypes)


def rectified_prototypes(
    support: Tensor,
    members: Tensor,
    queries: Tensor,
    *,
    confident: int | None,
    sharpness: float,
) -> Tensor:
    """Class means ``(T, N, D)`` over the support ``(T, S, D)`` and pseudo-labelled queries.

    ``members`` ``(T, S, N)`` are one-hot labels. A query ``(T, Q, D)`` counts for the class
    nearest to it, if it is among the ``confident`` likest to it; each image weighs
    ``exp(sharpness · cosine)`` with the mean of the class's support.
    """
    means = member_means(support, members)
    likeness = cosines(torch.cat([support, queries], dim=1), means)
    taken = pseudo_labels(likeness[:, support.shape[1] :], confident)
    counted = torch.cat([members, taken], dim=1)
    # The largest weight of each class is 1, so that none is lost to rounding.
    highest = likeness.where(counted > 0, likeness.new_tensor(-1.0)).amax(1, keepdim=True)
    weights = counted * (sharpness * (likeness - highest)).clamp(max=0).exp()
    return member_means(torch.cat([support, queries], dim=1), weights)


def pseudo_labels(likeness: Tensor, confident: int | None) -> Tensor:
    """One-hot labels ``(T, Q, N)`` by the largest likeness, zero where a query is not taken.

    >>> likeness = torch.tensor([[[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]]])
    >>> pseudo_labels(likeness, 1)[0].tolist()
    [[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]]
    """
    labels = F.one_hot(likeness.argmax(2), likeness.shape[2]).to(likeness.dtype)
    if confident is None or confident >= likeness.shape[1]:
        return labels
    own = likeness.detach().masked_fill(labels == 0, -torch.inf)
    rank = own.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    return labels * (rank < confident)


def cosines(images: Tensor, prototypes: Tensor) -> Tensor:
    """Cosines ``(T, n, N)`` of ``(T, n, D)`` with ``(T, N, D)``."""
    return F.normalize(images, dim=-1) @ F.normalize(prototypes, dim=-1).mT


def _build_head(config: BDCSPNConfig, embedding: InputSpec, target: Target) -> AbstractLearner:
    return BDCSPNHead(config, embedding.channels)


SPEC = LearnerSpec.of_head(
    name="bd_cspn",
    family="transductive",
    summary="cosine prototypes, rectified by the queries that they are surest of",
    paper="Liu, Song and Qin 2020, Prototype Rectification for Few-Shot Learning",
    config=BDCSPNConfig,
    build_head=_build_head,
)
