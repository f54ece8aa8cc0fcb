"""A support vector machine with a kernel and a C that are learned across tasks."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from medmeta.episode import Inputs, InputSpec, LabelledSet, Predictor, Target, any_tensor
from medmeta.learner import AbstractLearner, TrainingDefaults, Traits, check_task_fits
from medmeta.learners._precision import at_least_single
from medmeta.learners._spec import HeadConfig, LearnerSpec
from medmeta.learners.classical._support_scale import SupportScale
from medmeta.learners.heads._class_blocks import solving_precision
from medmeta.learners.heads.svm import svm_duals


class MetaSVMConfig(HeadConfig):
    """Options of Meta-SVM.

    ``slack``: where the weight C of violated margins starts. ``width``: where γ of the radial
    kernel ``exp(-γ d²)`` starts, on embeddings of mean square length 1. ``linear``: where the share
    of the linear kernel starts. ``scale``: where the factor of the logits starts. All four are
    learned, and a factor of each feature. ``rounds``: most rounds of the solver,
    which stops at the optimum.
    """

    training_defaults = TrainingDefaults(learning_rate=1e-2, tasks_per_step=4)
    slack: float = Field(1.0, gt=0)
    width: float = Field(1.0, gt=0)
    linear: float = Field(0.5, gt=0, lt=1)
    scale: float = Field(3.0, gt=0)
    rounds: int = Field(200, ge=1, le=1000)


class MetaSVMHead(AbstractLearner):
    """Crammer and Singer's machine on embeddings ``(T, S, D)``, with a mixture of two kernels.

    Lee et al. 2019 differentiate through its solution; here what is learned by that is the kernel
    and C themselves. C leaves the bounds by ``A = C B``: then B solves the problem with the kernel
    ``C K`` and bounds of 1, and C has an ordinary gradient.
    """

    def __init__(self, config: MetaSVMConfig, size: int) -> None:
        super().__init__()
        self.rounds = config.rounds
        self.log_slack = nn.Parameter(torch.tensor(math.log(config.slack)))
        self.log_width = nn.Parameter(torch.tensor(math.log(config.width)))
        odds = config.linear / (1 - config.linear)
        self.linear_odds = nn.Parameter(torch.tensor(math.log(odds)))
        self.log_scale = nn.Parameter(torch.tensor(math.log(config.scale)))
        self.log_factors = nn.Parameter(torch.zeros(size))
        self.traits = Traits(input_kinds=frozenset({"vector"}))

    def adapt(self, support: LabelledSet, target: Target) -> Predictor:
        """Solve the task; the predictor holds its support and the duals."""
        check_task_fits(self, target)
        embeddings = at_least_single(any_tensor(support.inputs))
        scale = SupportScale.of(embeddings)
        given = self._features(embeddings, scale)
        wanted = solving_precision(F.one_hot(support.labels, target.size).to(given.dtype))
        slack = self.log_slack.exp()
        duals = svm_duals(slack * self.kernel(given, given), wanted, 1.0, rounds=self.rounds)

        def predict(inputs: Inputs) -> Tensor:
            asked = self._features(at_least_single(any_tensor(inputs)), scale)
            scores = self.kernel(asked, given) @ duals * slack * self.log_scale.exp()
            return scores.to(embeddings.dtype)

        return predict

    def kernel(self, first: Tensor, second: Tensor) -> Tensor:
        """``s x·x' + (1 - s) exp(-γ ‖x - x'‖²)``: ``(T, Q, D)`` and ``(T, S, D)``."""
        products = first @ second.mT
        squares = first.square().sum(-1)[..., None] + second.square().sum(-1)[:, None]
        distances = (squares - 2 * products).clamp(min=0)
        share = self.linear_odds.sigmoid()
        return share * products + (1 - share) * (-self.log_width.exp() * distances).exp()

    def _features(self, embeddings: Tensor, scale: SupportScale) -> Tensor:
        return solving_precision(scale.apply_to_length(embeddings) * (0.5 * self.log_factors).exp())


def _build_head(config: MetaSVMConfig, embedding: InputSpec, target: Target) -> AbstractLearner:
    return MetaSVMHead(config, embedding.channels)


SPEC = LearnerSpec.of_head(
    name="meta_svm",
    family="classical",
    summary="a support vector machine, its kernel and C learned across tasks",
    paper="Lee et al. 2019, Meta-Learning with Differentiable Convex Optimization, with kernels",
    config=MetaSVMConfig,
    build_head=_build_head,
)
