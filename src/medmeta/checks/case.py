"""What a check works on: a learner, the tasks made for it, and how near is near enough."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from medmeta.check_tasks import TaskMaker
from medmeta.episode import Episode, LabelledSet, Target, map_inputs
from medmeta.errors import ContractError
from medmeta.learner import AbstractLearner

TOLERANCE = 1e-4
N_TASKS, N_WAY, N_SHOT, N_QUERY = 3, 3, 3, 4


class GapError(ContractError):
    """Two answers that should agree do not: by more than rounding, if double precision agrees."""


@dataclass(frozen=True)
class Case:
    """The learner in evaluation mode, what it is asked, and the tasks made for it."""

    learner: AbstractLearner
    target: Target
    maker: TaskMaker
    double: bool = False

    @property
    def episode(self) -> Episode:
        """A small episode, the same at each call."""
        drawn = self.maker.episode(N_TASKS, n_shot=N_SHOT, n_query=N_QUERY, seed=1)
        if not self.double:
            return drawn
        return Episode(_in_double(drawn.support), _in_double(drawn.query), drawn.target)

    def in_double(self) -> Case:
        """The same case in double precision."""
        return replace(self, learner=copy.deepcopy(self.learner).double(), double=True)

    def logits(
        self,
        episode: Episode,
        learner: AbstractLearner | None = None,
        *,
        gradients: bool = False,
    ) -> Tensor:
        """The learner's answers to an episode's queries, made with or without gradients."""
        with torch.set_grad_enabled(gradients):
            predictor = (learner or self.learner).adapt(episode.support, episode.target)
            return predictor(episode.query.inputs).detach()


Check = Callable[[Case], None]


def _in_double(labelled: LabelledSet) -> LabelledSet:
    labels = labelled.labels.double() if labelled.labels.is_floating_point() else labelled.labels
    inputs = map_inputs(Tensor.double, labelled.inputs)
    return LabelledSet(inputs, labels, labelled.task_ids)


def expect_answers(logits: Tensor, episode: Episode) -> None:
    """Raise ``ContractError`` unless the logits are ``(T, Q, size)``, floating and finite."""
    labels = episode.query.labels
    space = labels.shape[2:] if episode.target.kind == "masks" else ()
    wanted = (*labels.shape[:2], episode.target.size, *space)
    if tuple(logits.shape) != wanted:
        raise ContractError(
            f"logits have shape {tuple(logits.shape)}, not {wanted} (T, Q, size, *space)."
        )
    if not logits.is_floating_point() or not bool(torch.isfinite(logits).all()):
        raise ContractError("logits are not all finite floating-point numbers.")


def expect_close(
    first: Tensor, second: Tensor, complaint: str, *, tolerance: float = TOLERANCE
) -> None:
    """Raise ``ContractError`` where the two differ by more than rounding."""
    gap = float((first - second).abs().max())
    allowed = tolerance * (1 + float(first.abs().max()))
    if not gap <= allowed:
        raise GapError(f"{complaint} (largest gap {gap:.2g}).")
