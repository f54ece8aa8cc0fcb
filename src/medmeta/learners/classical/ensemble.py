"""Several heads per task, their options chosen by cross-validation, their answers combined."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, cast

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Tensor, nn

from medmeta.episode import Inputs, InputSpec, LabelledSet, Predictor, Target, any_tensor
from medmeta.learner import AbstractLearner, Traits, check_task_fits
from medmeta.learners import _folds
from medmeta.learners._precision import at_least_single
from medmeta.learners._spec import HeadConfig, LearnerSpec
from medmeta.learners.classical import _combining, _members
from medmeta.learners.classical._estimators import LEAST_PROBABILITY, task_seed

Combine = Literal["average", "vote", "stacking"]


class EnsembleConfig(HeadConfig):
    """Options of the ensemble.

    ``members``: names of heads (None: nearest_centroid, kernel_svm, logistic, mlp for classes;
    ridge, sgd, mlp for values). ``combine``: the mean of the members' probabilities; the share of
    votes (of values, the median); or weights by stacking. ``folds`` of the support on which options
    are compared and members are weighted, at most. ``copies`` of each member: the first learns from
    the whole support, each other from a bootstrap of it and from a start of its own.
    """

    members: tuple[str, ...] | None = None
    combine: Combine = "average"
    folds: int = Field(3, ge=2, le=100)
    copies: int = Field(2, ge=1, le=1000)

    @field_validator("members", mode="before")
    @classmethod
    def _read(cls, value: object) -> object:
        """A text such as ``ridge,mlp`` is two members."""
        return [part.strip() for part in value.split(",")] if isinstance(value, str) else value

    @field_validator("members")
    @classmethod
    def _some(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value is not None and not value:
            raise ValueError("at least one member is needed")
        return value


class EnsembleHead(AbstractLearner):
    """Members are heads over embeddings ``(T, S, D)``, each with several options to choose from.

    With one image of a class nothing can be left out: each member takes its first options, and
    stacking is the average. Averages of bootstraps: Breiman 1996, Bagging predictors.
    """

    def __init__(
        self, config: EnsembleConfig, members: list[list[AbstractLearner]], target: Target
    ) -> None:
        super().__init__()
        self.config = config
        self.members = nn.ModuleList([nn.ModuleList(options) for options in members])
        self.requires_grad_(False)
        self.traits = Traits(
            trainable=False,
            differentiable=False,
            order_free=False,
            label_equivariant=False,
            targets=frozenset({target.kind}),
            input_kinds=frozenset({"vector"}),
        )

    def adapt(self, support: LabelledSet, target: Target) -> Predictor:
        """Choose and fit the members of each task; the predictor holds them."""
        check_task_fits(self, target)
        embedded = support.with_inputs(at_least_single(any_tensor(support.inputs)).detach())
        with torch.no_grad():
            answers = [
                self._learn(embedded.tasks(t, t + 1), target) for t in range(support.n_tasks)
            ]

        def predict(inputs: Inputs) -> Tensor:
            queries = at_least_single(any_tensor(inputs)).detach()
            with torch.no_grad():
                return torch.cat([a(queries[t : t + 1]) for t, a in enumerate(answers)])

        return predict

    def _learn(self, task: LabelledSet, target: Target) -> Predictor:
        chance = np.random.default_rng(task_seed(task.task_ids[0]))
        classes = task.labels[0].cpu().numpy() if target.kind == "classes" else None
        groups = None if task.groups is None else task.groups[0].cpu().numpy()
        folds = _folds.folds_of(classes, groups, task.n_examples, self.config.folds, chance)
        chosen, left_out = [], []
        for options in self.members:
            heads = list(cast(Iterable[AbstractLearner], options))
            best, answers = (heads[0], None) if folds is None else _best(heads, task, folds, target)
            chosen.append(best)
            left_out.append(answers)
        weights = torch.full((len(chosen),), 1 / len(chosen))
        if folds is not None and self.config.combine == "stacking":
            weights = _stacked([a for a in left_out if a is not None], task, target)
        fitted = [self._copies(head, task, target, classes, chance) for head in chosen]
        return lambda inputs: _combined(
            [[copy(inputs) for copy in copies] for copies in fitted],
            weights.to(any_tensor(inputs)),
            target,
            vote=self.config.combine == "vote",
        )

    def _copies(
        self,
        head: AbstractLearner,
        task: LabelledSet,
        target: Target,
        classes: np.ndarray | None,
        chance: _folds.Chance,
    ) -> list[Predictor]:
        copies = [head.adapt(task, target)]
        for _ in range(1, self.config.copies):
            drawn = _take(task, _folds.bootstrap(classes, task.n_examples, chance))
            own_start = torch.from_numpy(chance.integers(2**62, size=1))
            again = LabelledSet(drawn.inputs, drawn.labels, own_start)
            copies.append(head.adapt(again, target))
        return copies


def _take(task: LabelledSet, images: np.ndarray) -> LabelledSet:
    rows = torch.from_numpy(images).to(task.labels.device)
    return task.images(rows)


def _best(
    heads: list[AbstractLearner], task: LabelledSet, folds: np.ndarray, target: Target
) -> tuple[AbstractLearner, Tensor]:
    """The head with the least error on images left out, and its answers to them ``(S, size)``."""
    answers = [_answers_left_out(head, task, folds, target) for head in heads]
    errors = [float(_error(a, task.labels[0], target)) for a in answers]
    best = int(np.argmin(errors))
    return heads[best], answers[best]


def _answers_left_out(
    head: AbstractLearner, task: LabelledSet, folds: np.ndarray, target: Target
) -> Tensor:
    answers = any_tensor(task.inputs).new_zeros(task.n_examples, target.size)
    for fold in range(folds.max() + 1):
        learned, asked = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        predictor = head.adapt(_take(task, learned), target)
        found = predictor(_take(task, asked).inputs)[0]
        answers[torch.from_numpy(asked)] = found.to(answers)
    return answers


def _error(answers: Tensor, labels: Tensor, target: Target) -> Tensor:
    if target.kind == "classes":
        return F.cross_entropy(answers, labels)
    return (answers - labels).square().mean()


def _stacked(left_out: list[Tensor], task: LabelledSet, target: Target) -> Tensor:
    """Weights ``(M,)`` of the members."""
    answers, labels = torch.stack(left_out).double(), task.labels[0]
    if target.kind == "classes":
        truth = labels[None, :, None].expand(len(answers), -1, 1)
        likely = answers.softmax(-1).gather(-1, truth)[..., 0]
        return torch.from_numpy(_combining.stacked_class_weights(likely.cpu().numpy()))
    given, wanted = answers.flatten(1).cpu().numpy(), labels.double().flatten().cpu().numpy()
    return torch.from_numpy(_combining.stacked_value_weights(given, wanted))


def _combined(
    answers: list[list[Tensor]], weights: Tensor, target: Target, *, vote: bool
) -> Tensor:
    """Answers ``(1, Q, size)`` of each copy of each member to one of this shape."""
    every = torch.stack([torch.stack(copies) for copies in answers])  # (M, copies, 1, Q, size)
    if target.kind == "values":
        if vote:
            return every.flatten(0, 1).quantile(0.5, dim=0)
        return torch.einsum("m,m...->...", weights, every.mean(1))
    shares = every.softmax(-1)
    likely = torch.einsum("m,m...->...", weights, shares.mean(1))
    if vote:  # those with as many votes stand as their probabilities do
        likely = 0.999 * _combining.votes(shares).mean((0, 1)) + 0.001 * likely
    return likely.clamp(min=LEAST_PROBABILITY).log()


def _build_head(config: EnsembleConfig, embedding: InputSpec, target: Target) -> AbstractLearner:
    names = config.members or _members.DEFAULT[target.kind]
    members = [_members.candidates(name, embedding, target) for name in names]
    return EnsembleHead(config, members, target)


SPEC = LearnerSpec.of_head(
    name="ensemble",
    family="classical",
    summary="several heads per task, cross-validated on its support, averaged or stacked",
    paper="Breiman 1996, Bagging predictors; Wolpert 1992, Stacked generalization",
    config=EnsembleConfig,
    build_head=_build_head,
)
