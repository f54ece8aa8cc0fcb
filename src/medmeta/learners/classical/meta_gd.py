"""Gradient descent of a linear classifier whose step sizes and last step are learned."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medmeta.episode import InputSpec, Target, TargetKind
from medmeta.learner import AbstractLearner
from medmeta.learners._inner_loop import Weights
from medmeta.learners._spec import LearnerSpec
from medmeta.learners.classical._descending import DescendingHead, DescentHeadConfig


class MetaGDConfig(DescentHeadConfig):
    """Options of Meta-GD.

    ``rate``: where the step sizes start, on embeddings of mean square length 1 (None: 2 for
    classes, 0.3 for values); each step learns one for the weights and one for the constants, and
    each feature a factor of them all. ``steps`` at most; after which of them to stop is learned.
    """


class MetaGDHead(DescendingHead):
    """A linear layer that starts at zero, so that any number of classes can be told apart.

    Step sizes learned for each step: Antoniou, Edwards and Storkey 2019, section 4; for each
    feature: Li et al. 2017, with one for all classes.
    """

    def __init__(self, config: MetaGDConfig, size: int, kind: TargetKind) -> None:
        super().__init__(config, kind, ["weight", "constant"])
        self.log_factors = nn.Parameter(torch.zeros(size))

    def start(self, embeddings: Tensor, size: int) -> Weights:
        """Zeros ``(D, size)`` and ``(size,)``."""
        zeros = embeddings.new_zeros(embeddings.shape[-1] + 1, size)
        return {"weight": zeros[1:], "constant": zeros[0]}

    def outputs(self, weights: Weights, embeddings: Tensor) -> Tensor:
        """``(x ∘ s) W + b``: as if the steps of each feature were ``s²`` times as long."""
        scaled = embeddings * (0.5 * self.log_factors).exp()
        return scaled @ weights["weight"] + weights["constant"].unsqueeze(-2)


def _build_head(config: MetaGDConfig, embedding: InputSpec, target: Target) -> AbstractLearner:
    return MetaGDHead(config, embedding.channels, target.kind)


SPEC = LearnerSpec.of_head(
    name="meta_gd",
    family="classical",
    summary="a linear head by gradient descent, its step sizes and last step learned across tasks",
    paper="Antoniou, Edwards and Storkey 2019, How to train your MAML (learned step sizes)",
    config=MetaGDConfig,
    build_head=_build_head,
)
