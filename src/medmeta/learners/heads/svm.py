"""A linear support vector machine of many classes, solved within each task."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from medmeta.episode import Inputs, InputSpec, LabelledSet, Predictor, Target, any_tensor
from medmeta.learner import AbstractLearner, TrainingDefaults, Traits
from medmeta.learners._precision import at_least_single
from medmeta.learners._spec import HeadConfig, LearnerSpec
from medmeta.learners.heads._class_blocks import solve_class_blocks, solving_precision
from medmeta.learners.heads.logistic import mean_length

STEPS = 50  # between two solutions on the face that they reached
RELAXED = 1.6  # within 1.5 and 1.8, as Boyd et al. advise
SETTLED = 1e-10  # of C: a gradient step that moves no dual further is at the optimum
NEARLY = 1e-7  # of the mean of the kernel's diagonal: keeps repeated images solvable


class SVMConfig(HeadConfig):
    """Options of the support vector machine.

    ``slack``: the weight C of violated margins, on embeddings scaled to a mean square length of 1
    over the support (so that it means the same for embeddings of any size). ``scale``: where the
    factor of the logits starts; it is learned across tasks. ``rounds``: most rounds of the solver,
    which stops at the optimum: after one or two where embeddings are longer than the support, after
    some tens for hundreds of images with short embeddings.
    """

    training_defaults = TrainingDefaults(learning_rate=1e-3)
    slack: float = Field(1.0, gt=0)
    scale: float = Field(1.0, gt=0)
    rounds: int = Field(200, ge=1, le=1000)


class SVMHead(AbstractLearner):
    """Crammer and Singer's support vector machine on embeddings ``(T, S, D)``.

    Lee et al. 2019 (MetaOptNet), the dual problem, and their learned scale of the logits.
    """

    def __init__(self, config: SVMConfig) -> None:
        super().__init__()
        self.slack = config.slack
        self.rounds = config.rounds
        self.log_scale = nn.Parameter(torch.tensor(math.log(config.scale)))
        self.traits = Traits(input_kinds=frozenset({"vector"}))

    def adapt(self, support: LabelledSet, target: Target) -> Predictor:
        """Solve the task; the predictor is linear in the embedding."""
        embeddings = at_least_single(any_tensor(support.inputs))
        length = mean_length(embeddings)
        design = embeddings / length
        wanted = solving_precision(F.one_hot(support.labels, target.size).to(design.dtype))
        precise = solving_precision(design)
        kernel = precise @ precise.mT
        duals = svm_duals(kernel, wanted, self.slack, rounds=self.rounds)
        weights = design.mT @ duals.to(design.dtype)

        def predict(inputs: Inputs) -> Tensor:
            queries = at_least_single(any_tensor(inputs)) / length
            return queries @ weights * self.log_scale.exp()

        return predict


def svm_duals(kernel: Tensor, wanted: Tensor, slack: float, *, rounds: int) -> Tensor:
    """Dual variables ``A`` ``(T, S, N)`` that minimise ``½ tr A'KA - tr Y'A``.

    ``kernel`` K ``(T, S, S)``, one-hot ``wanted`` Y ``(T, S, N)``. They obey ``A ≤ C Y`` and each
    row adds to 0, exactly: every answer is a projection. A round is some steps, then the exact
    solution on the face that they reached, if that is better. Steps are by turns accelerated ones
    along the gradient, and alternating ones, which do not slow down where images are nearly
    parallel. The last such solution alone is differentiated: the gradient of the optimum, by its
    conditions.

    >>> kernel, wanted = torch.eye(2)[None], torch.eye(2)[None]
    >>> svm_duals(kernel, wanted, 10.0, rounds=2)
    tensor([[[ 0.5000, -0.5000],
             [-0.5000,  0.5000]]])
    """
    with torch.no_grad():
        step = 1 / torch.linalg.matrix_norm(kernel, ord=torch.inf)[:, None, None].clamp(min=1e-12)
        settled = slack * max(SETTLED, 10 * torch.finfo(kernel.dtype).eps)
        duals, turns = torch.zeros_like(wanted), None
        for done in range(rounds):
            if done % 2 == 0:
                near = _gradient_steps(kernel, wanted, slack, duals, step)
            else:
                turns = turns or _Turns(kernel, wanted, slack, duals)
                near = turns.steps()
            found = _on_face(kernel, wanted, slack, near)
            short = _up_to_a_bound(near, found, wanted, slack)
            tried = torch.stack([project(found, wanted, slack), short, near, duals])
            losses = _objective(kernel, wanted, tried)
            # The first is exact, where the others may be equal in all digits.
            losses[0] -= 1e-12 * losses[0].abs()
            best = losses.argmin(0)
            duals = tried[best, torch.arange(len(duals), device=duals.device)]
            rest = project(duals - step * (kernel @ duals - wanted), wanted, slack) - duals
            if bool((rest.abs() < settled).all()):
                break
    solved = project(_on_face(kernel, wanted, slack, duals), wanted, slack)
    stepped = project(duals - step * (kernel @ duals - wanted), wanted, slack)
    worse = _objective(kernel, wanted, solved) > _objective(kernel, wanted, stepped) + 1e-9 * slack
    return torch.where(worse[:, None, None], stepped, solved)


def project(duals: Tensor, wanted: Tensor, slack: float) -> Tensor:
    """The nearest duals with ``A ≤ C Y`` and rows that add to 0: ``C Y - A`` onto a simplex.

    >>> project(torch.tensor([3.0, 0.0]), torch.tensor([1.0, 0.0]), 1.0)
    tensor([ 1., -1.])
    """
    room = slack * wanted - duals
    ordered = room.sort(-1, descending=True).values
    counts = torch.arange(1, room.shape[-1] + 1, device=room.device, dtype=room.dtype)
    excess = (ordered.cumsum(-1) - slack) / counts
    last = (ordered > excess).sum(-1, keepdim=True).clamp(min=1) - 1
    return slack * wanted - (room - excess.gather(-1, last)).clamp(min=0)


def _gradient_steps(
    kernel: Tensor, wanted: Tensor, slack: float, duals: Tensor, step: Tensor
) -> Tensor:
    """Beck and Teboulle 2009 (FISTA)."""
    ahead, momentum = duals, 1.0
    for _ in range(STEPS):
        moved = project(ahead - step * (kernel @ ahead - wanted), wanted, slack)
        following = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        ahead = moved + (momentum - 1) / following * (moved - duals)
        duals, momentum = moved, following
    return duals


class _Turns:
    """Boyd et al. 2011 (ADMM): the problem without bounds, and the bounds, by turns.

    It goes on where it was, whatever is found in between. The penalty on the difference of the two
    is the images' mean square distance from their mean: what all images share does not change it.
    """

    def __init__(self, kernel: Tensor, wanted: Tensor, slack: float, duals: Tensor) -> None:
        size = kernel.diagonal(dim1=-2, dim2=-1).mean(-1)
        apart = (size - kernel.mean((-1, -2))).maximum(_nearly(kernel) * size.clamp(min=1e-6))
        eye = torch.eye(kernel.shape[-1], dtype=kernel.dtype, device=kernel.device)
        self.wanted, self.slack, self.duals = wanted, slack, duals
        self.penalty = apart[:, None, None]
        self.inverse = torch.linalg.inv(kernel + self.penalty * eye)
        self.pull = (wanted - kernel @ duals) / self.penalty  # stays so where these are the optimum

    def steps(self) -> Tensor:
        """Some more; the duals ``(T, S, N)`` then."""
        for _ in range(STEPS):
            free = self.inverse @ (self.wanted + self.penalty * (self.duals - self.pull))
            free = RELAXED * free + (1 - RELAXED) * self.duals
            self.duals = project(free + self.pull, self.wanted, self.slack)
            self.pull = self.pull + free - self.duals
        return self.duals


def _nearly(kernel: Tensor) -> float:
    return max(NEARLY, 1e3 * torch.finfo(kernel.dtype).eps)


def _on_face(kernel: Tensor, wanted: Tensor, slack: float, duals: Tensor) -> Tensor:
    """The optimum where the bounds that ``duals`` reach are kept and the others are forgotten."""
    free = (slack * wanted - duals > 1e-9 * slack).to(kernel.dtype)
    size = kernel.detach().diagonal(dim1=-2, dim2=-1).mean(-1).clamp(min=1e-6)
    held = 1 - free + _nearly(kernel) * size[:, None, None]
    return duals + solve_class_blocks(kernel, free, held, wanted - kernel @ duals)


def _up_to_a_bound(duals: Tensor, found: Tensor, wanted: Tensor, slack: float) -> Tensor:
    """From ``duals`` towards ``found`` as far as the bounds allow."""
    step, room = found - duals, slack * wanted - duals
    share = torch.where(step > 0, room / step, torch.inf).amin((-1, -2)).clamp(max=1)
    return project(duals + share[:, None, None] * step, wanted, slack)


def _objective(kernel: Tensor, wanted: Tensor, duals: Tensor) -> Tensor:
    return (duals * (0.5 * (kernel @ duals) - wanted)).sum((-1, -2))


def _build_head(config: SVMConfig, embedding: InputSpec, target: Target) -> AbstractLearner:
    return SVMHead(config)


SPEC = LearnerSpec.of_head(
    name="svm",
    family="heads",
    summary="a linear support vector machine, solved within each task",
    paper="Lee et al. 2019, Meta-Learning with Differentiable Convex Optimization (MetaOptNet)",
    config=SVMConfig,
    build_head=_build_head,
)
