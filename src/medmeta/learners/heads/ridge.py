"""Ridge regression to the labels, solved exactly within each task and differentiated through."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from medmeta.episode import Inputs, InputSpec, LabelledSet, Predictor, Target, any_tensor
from medmeta.learner import AbstractLearner, TrainingDefaults, Traits
from medmeta.learners._class_sums import memberships
from medmeta.learners._precision import at_least_single
from medmeta.learners._spec import HeadConfig, LearnerSpec
from medmeta.learners.heads._class_blocks import solving_precision


class RidgeConfig(HeadConfig):
    """Options of the ridge head.

    ``regularisation``: where the penalty λ starts, in units of the support's mean squared length;
    it is learned across tasks. So it means nearly the same for long embeddings of any length, but
    not for short ones: the constant beside them is 1 whatever they are. ``scale``: where the
    factor from regression outputs to logits starts; learned too.
    """

    training_defaults = TrainingDefaults(learning_rate=1e-3)
    regularisation: float = Field(1.0, gt=0)
    scale: float = Field(10.0, gt=0)


class RidgeHead(AbstractLearner):
    """Regresses one-hot labels, or values, on embeddings ``(T, S, D)``.

    Logits are ``scale · x W + bias`` with the same scale and bias for all classes. A constant of 1
    is appended to the embeddings; its weight is penalised like the others, so values far from 0
    are drawn towards 0 unless they are centred. Bertinetto et al. 2019 (R2-D2), equations 5 and 6;
    λ, scale and bias are learned across tasks. The mean square that λ is in units of counts as a
    constant in the gradient, which thus is not that of the loss along the embeddings' length.
    """

    def __init__(self, config: RidgeConfig) -> None:
        super().__init__()
        self.log_regularisation = nn.Parameter(torch.tensor(math.log(config.regularisation)))
        self.log_scale = nn.Parameter(torch.tensor(math.log(config.scale)))
        self.bias = nn.Parameter(torch.zeros(()))
        self.traits = Traits(
            targets=frozenset({"classes", "values"}),
            input_kinds=frozenset({"vector"}),
            one_graph=True,
        )

    def adapt(self, support: LabelledSet, target: Target) -> Predictor:
        """Solve the task; the predictor is linear in the embedding."""
        design = with_constant(at_least_single(any_tensor(support.inputs)))
        classes = target.kind == "classes"
        wanted = memberships(support.labels, target.size) if classes else support.labels
        mean_square = design[..., :-1].detach().square().sum(-1).mean(1)
        strength = (self.log_regularisation.exp() * mean_square).clamp(min=1e-6)
        weights = ridge_weights(design, wanted.to(design.dtype), strength)

        def predict(inputs: Inputs) -> Tensor:
            outputs = with_constant(at_least_single(any_tensor(inputs))) @ weights
            return outputs * self.log_scale.exp() + self.bias if classes else outputs

        return predict


def with_constant(embeddings: Tensor) -> Tensor:
    """``(T, S, D)`` with a column of ones, ``(T, S, D + 1)``."""
    return F.pad(embeddings, (0, 1), value=1.0)


def ridge_weights(design: Tensor, wanted: Tensor, strength: Tensor) -> Tensor:
    """``argmin ‖X W - Y‖² + λ‖W‖²`` of each task: ``(T, D, K)``.

    ``design`` X ``(T, S, D)``, ``wanted`` Y ``(T, S, K)``, ``strength`` λ ``(T,)``. Solved in the
    smaller of the two equivalent forms (Woodbury): S×S for few images, D×D for many; in double
    precision, for in single a weak penalty is lost among the digits of the products.

    >>> x, y = torch.tensor([[[1.0]]]), torch.tensor([[[4.0]]])
    >>> ridge_weights(x, y, torch.tensor([1.0]))
    tensor([[[2.]]])
    """
    n_examples, size = design.shape[1:]
    # One graph for supports of any size has the form that any size allows.
    few = torch.compiler.is_exporting() or n_examples <= size
    exact, aim = solving_precision(design), solving_precision(wanted)
    gram = exact @ exact.mT if few else exact.mT @ exact
    eye = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    factor = torch.linalg.cholesky(gram + solving_precision(strength)[:, None, None] * eye)
    if few:
        weights = exact.mT @ torch.cholesky_solve(aim, factor)
    else:
        weights = torch.cholesky_solve(exact.mT @ aim, factor)
    return weights.to(design.dtype)


def _build_head(config: RidgeConfig, embedding: InputSpec, target: Target) -> AbstractLearner:
    return RidgeHead(config)


SPEC = LearnerSpec.of_head(
    name="ridge",
    family="heads",
    summary="ridge regression to the labels, in closed form",
    paper="Bertinetto et al. 2019, Meta-learning with differentiable closed-form solvers (R2-D2)",
    config=RidgeConfig,
    build_head=_build_head,
)
