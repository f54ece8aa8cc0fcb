"""Baseline: a linear classifier trained on each task's embeddings by stochastic descent."""

from __future__ import annotations

import torch
from torch import Tensor

from medmeta.episode import InputSpec, LabelledSet, Predictor, Target, any_tensor
from medmeta.learner import AbstractLearner, Traits
from medmeta.learners._precision import at_least_single
from medmeta.learners._spec import LearnerSpec
from medmeta.learners.baselines._descent import Descent, DescentConfig, Weights, drawn_uniformly


class BaselineConfig(DescentConfig):
    """Options of Baseline.

    ``rate``, ``momentum``, ``dampening`` and ``weight_decay`` of the descent; ``batch``: images in
    each step; ``epochs`` over the support. All are the paper's.
    """


class BaselineHead(AbstractLearner):
    """A linear layer, trained anew within each task on embeddings ``(T, S, D)``.

    Chen et al. 2019, section 3.2. Its first weights and the order of the images are drawn by each
    task's own id. Nothing is learned across tasks: the encoder comes ready trained.
    """

    def __init__(self, config: BaselineConfig) -> None:
        super().__init__()
        self.descent = Descent(config, linear)
        self.traits = Traits(
            trainable=False,
            differentiable=False,
            order_free=False,
            label_equivariant=False,
            input_kinds=frozenset({"vector"}),
        )

    @torch.no_grad()
    def adapt(self, support: LabelledSet, target: Target) -> Predictor:
        """Train the layer; the predictor holds one per task."""
        images = at_least_single(any_tensor(support.inputs)).detach()
        bound = images.shape[2] ** -0.5  # as torch draws a linear layer
        shape = (target.size, images.shape[2] + 1)
        drawn = drawn_uniformly(support, shape, bound).to(images.dtype)
        start = {"weight": drawn[..., :-1], "bias": drawn[..., -1]}
        weights = self.descent.fitted(start, images, support)
        return lambda inputs: linear(weights, at_least_single(any_tensor(inputs)).detach())


def linear(weights: Weights, images: Tensor) -> Tensor:
    """``x W' + b`` of each task."""
    return images @ weights["weight"].mT + weights["bias"][:, None]


def _build_head(config: BaselineConfig, embedding: InputSpec, target: Target) -> AbstractLearner:
    return BaselineHead(config)


SPEC = LearnerSpec.of_head(
    name="baseline",
    family="baselines",
    summary="a linear classifier, trained on each task by stochastic descent",
    paper="Chen et al. 2019, A Closer Look at Few-shot Classification",
    config=BaselineConfig,
    build_head=_build_head,
)
