"""Baseline++: a classifier of cosines trained on each task's embeddings by stochastic descent."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from medmeta.episode import InputSpec, LabelledSet, Predictor, Target, any_tensor
from medmeta.learner import AbstractLearner, Traits
from medmeta.learners._precision import at_least_single
from medmeta.learners._spec import LearnerSpec
from medmeta.learners.baselines._descent import Descent, DescentConfig, Weights, drawn_uniformly


class BaselinePlusPlusConfig(DescentConfig):
    """Options of Baseline++.

    ``scale`` of the cosines. ``learned_lengths``: a length for each class, which its cosines are
    multiplied by, as in the authors' code (with a scale of 2). ``rate``, ``momentum``,
    ``dampening`` and ``weight_decay`` of the descent; ``batch``: images in each step; ``epochs``
    over the support.
    """

    scale: float = Field(10.0, gt=0)
    learned_lengths: bool = False


class BaselinePlusPlusHead(AbstractLearner):
    """Logits are scaled cosines with a direction per class.

    Takes embeddings ``(T, S, D)``. Chen et al. 2019, section 3.3. The authors' code also learns
    lengths, by weight normalisation: where embeddings lie in nearly one direction, as those of
    rectified units do, the longest class wins. Its first weights and the order of the images are
    drawn by each task's own id. Nothing is learned across tasks: the encoder comes ready trained.
    """

    def __init__(self, config: BaselinePlusPlusConfig) -> None:
        super().__init__()
        self.scale = config.scale
        self.learned_lengths = config.learned_lengths
        self.descent = Descent(config, self.score)
        self.traits = Traits(
            trainable=False,
            differentiable=False,
            order_free=False,
            label_equivariant=False,
            input_kinds=frozenset({"vector"}),
        )

    @torch.no_grad()
    def adapt(self, support: LabelledSet, target: Target) -> Predictor:
        """Train the directions and lengths; the predictor holds those of each task."""
        images = at_least_single(any_tensor(support.inputs)).detach()
        shape = (target.size, images.shape[2])
        direction = drawn_uniformly(support, shape, images.shape[2] ** -0.5).to(images.dtype)
        start = {"direction": direction}
        if self.learned_lengths:
            start["length"] = direction.norm(dim=2)
        weights = self.descent.fitted(start, images, support)
        return lambda inputs: self.score(weights, at_least_single(any_tensor(inputs)).detach())

    def score(self, weights: Weights, images: Tensor) -> Tensor:
        """Scaled cosines, times lengths where they are learned, ``(T, n, N)``."""
        cosines = F.normalize(images, dim=2) @ F.normalize(weights["direction"], dim=2).mT
        if self.learned_lengths:
            cosines = cosines * weights["length"][:, None]
        return self.scale * cosines


def _build_head(
    config: BaselinePlusPlusConfig, embedding: InputSpec, target: Target
) -> AbstractLearner:
    return BaselinePlusPlusHead(config)


SPEC = LearnerSpec.of_head(
    name="baseline_plus_plus",
    family="baselines",
    summary="a classifier of cosines, trained on each task by stochastic descent",
    paper="Chen et al. 2019, A Closer Look at Few-shot Classification",
    config=BaselinePlusPlusConfig,
    build_head=_build_head,
)
