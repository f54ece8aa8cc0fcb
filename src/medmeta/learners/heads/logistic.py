"""Logistic regression, solved to its optimum within each task and differentiated through."""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor, nn

from medmeta.episode import Inputs, InputSpec, LabelledSet, Predictor, Target, any_tensor
from medmeta.learner import AbstractLearner, TrainingDefaults, Traits
from medmeta.learners._class_sums import memberships
from medmeta.learners._precision import at_least_single
from medmeta.learners._spec import HeadConfig, LearnerSpec
from medmeta.learners.heads._class_blocks import solve_class_blocks, solving_precision
from medmeta.learners.heads.ridge import with_constant

SETTLED = 1e-10  # a step that moves no coefficient further is at the optimum (they are at most 1)
STEP_LENGTHS = (1.0, 0.5, 0.25, 0.125, 0.0)  # of Newton's step; none where all make it worse


class LogisticConfig(HeadConfig):
    """Options of the logistic head.

    ``regularisation``: where the penalty λ starts, on embeddings scaled to a mean square length
    of 1 over the support (so that it means the same for embeddings of any size); it is learned
    across tasks. ``scale``: where the factor of the logits starts; learned too. ``steps``: most
    Newton steps within a task, which end at the optimum (after some six; twenty with a weak
    penalty).
    """

    training_defaults = TrainingDefaults(learning_rate=1e-3)
    regularisation: float = Field(0.1, gt=0)
    scale: float = Field(1.0, gt=0)
    steps: int = Field(30, ge=1, le=100)


class LogisticHead(AbstractLearner):
    """Multinomial logistic regression on embeddings ``(T, S, D)``.

    Bertinetto et al. 2019 (LR-D2), whose two classes are any number here. A constant
    is appended to the embeddings; λ and the scale of the logits are learned across tasks.
    """

    def __init__(self, config: LogisticConfig) -> None:
        super().__init__()
        self.steps = config.steps
        self.log_regularisation = nn.Parameter(torch.tensor(math.log(config.regularisation)))
        self.log_scale = nn.Parameter(torch.tensor(math.log(config.scale)))
        self.traits = Traits(input_kinds=frozenset({"vector"}), one_graph=True)

    def adapt(self, support: LabelledSet, target: Target) -> Predictor:
        """Solve the task; the predictor is linear in the embedding."""
        embeddings = at_least_single(any_tensor(support.inputs))
        length = mean_length(embeddings)
        strength = self.log_regularisation.exp().clamp(min=1e-6)
        design = with_constant(embeddings / length)
        wanted = memberships(support.labels, target.size).to(design.dtype)
        weights = logistic_weights(design, wanted, strength, steps=self.steps)

        def predict(inputs: Inputs) -> Tensor:
            queries = with_constant(at_least_single(any_tensor(inputs)) / length)
            return queries @ weights * self.log_scale.exp()

        return predict


def mean_length(embeddings: Tensor) -> Tensor:
    """Root of the mean squared length of each task's embeddings: ``(T, S, D)`` to ``(T, 1, 1)``.

    >>> mean_length(torch.tensor([[[3.0, 4.0]]]))
    tensor([[[5.]]])
    """
    squares = embeddings.square().sum(-1).mean(1)
    return squares.clamp(min=1e-24).sqrt()[:, None, None]


def logistic_weights(design: Tensor, wanted: Tensor, strength: Tensor, *, steps: int) -> Tensor:
    """``argmin Σ CE(softmax(X W), Y) + λ/2 ‖W‖²`` of each task: ``(T, D, K)``.

    ``design`` X ``(T, S, D)``, one-hot ``wanted`` Y ``(T, S, K)``, ``strength`` λ a scalar or
    ``(T,)``. ``W = X'A / λ`` (the representer theorem), and A is found by Newton's method, whatever
    D is, in at most so many ``steps``. The last step alone is differentiated: at the optimum
    Newton's step does not depend on where it starts, so its gradient is that of the optimum, and
    the steps before keep no memory.

    >>> x, y = torch.tensor([[[1.0], [-1.0]]]), torch.eye(2)[None]
    >>> w = logistic_weights(x, y, torch.tensor([1.0]), steps=5)
    >>> torch.allclose(w, x.mT @ (y - (x @ w).softmax(-1)))  # where the gradient is zero
    True
    """
    scaled = design / strength.reshape(-1, 1, 1)
    kernel = solving_precision(scaled) @ solving_precision(design).mT
    wanted = solving_precision(wanted)
    solve = newton_weights if torch.compiler.is_exporting() else _solved
    return scaled.mT @ solve(kernel, wanted, steps).to(design.dtype)


def _solved(kernel: Tensor, wanted: Tensor, steps: int) -> Tensor:
    """Coefficients ``A`` ``(T, S, K)`` of the optimum."""
    with torch.no_grad():
        settled = max(SETTLED, 10 * torch.finfo(wanted.dtype).eps)
        known = torch.zeros_like(wanted)
        for _ in range(steps):
            before, known = known, _line_search(kernel, wanted, known)
            if not known.is_cuda and bool(((known - before).abs() < settled).all()):
                break  # on a GPU to ask would be to wait, and no recording of the step
    return _newton_step(kernel, wanted, kernel.detach() @ known)


@torch.library.custom_op("medmeta::newton_weights", mutates_args=())
def newton_weights(kernel: Tensor, wanted: Tensor, steps: int) -> Tensor:
    """``_solved`` as one operator, for graphs that would hold every step of it otherwise."""
    return _solved(kernel, wanted, steps)


@newton_weights.register_fake
def _(kernel: Tensor, wanted: Tensor, steps: int) -> Tensor:
    return torch.empty_like(wanted)


def _newton_step(kernel: Tensor, wanted: Tensor, logits: Tensor) -> Tensor:
    """Coefficients ``A`` ``(T, S, K)`` after one Newton step from the logits ``K A``."""
    shares = logits.softmax(-1)
    bent = shares * (logits - (shares * logits).sum(-1, keepdim=True))
    start = bent + wanted - shares
    ones = torch.ones_like(shares)
    return start - solve_class_blocks(kernel, shares.sqrt(), ones, kernel @ start)


def _line_search(kernel: Tensor, wanted: Tensor, known: Tensor) -> Tensor:
    """The best of some lengths of the Newton step from the coefficients ``known``."""
    lengths = known.new_tensor(STEP_LENGTHS)[:, None, None, None]
    step = _newton_step(kernel, wanted, kernel @ known) - known
    tried = known + lengths * step
    logits = kernel @ tried
    losses = (0.5 * tried * logits - wanted * logits.log_softmax(-1)).sum((-1, -2))
    best = losses.argmin(0)
    return tried[best, torch.arange(len(known), device=known.device)]


def _build_head(config: LogisticConfig, embedding: InputSpec, target: Target) -> AbstractLearner:
    return LogisticHead(config)


SPEC = LearnerSpec.of_head(
    name="logistic",
    family="heads",
    summary="logistic regression, solved within each task by Newton's method",
    paper="Bertinetto et al. 2019, Meta-learning with differentiable closed-form solvers (LR-D2)",
    config=LogisticConfig,
    build_head=_build_head,
)
