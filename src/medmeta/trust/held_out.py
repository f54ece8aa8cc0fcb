"""Answers to support images by predictors that did not learn from them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medmeta.episode import Inputs, LabelledSet, Predictor, any_tensor, map_inputs
from medmeta.evaluation.encoded import encodes_apart
from medmeta.learner import AbstractLearner, AdaptedTask, HeadedLearner
from medmeta.modes import answering
from medmeta.tasks import preferring
from medmeta.trust.folds import draw_folds, number_of_folds

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]
TOGETHER = 32 * 2**20  # bytes of embeddings that are adapted to at once
REPEATS = 10
FEW_REPEATS, FEW_FOLDS = 2, 5  # where every fold is adapted to by itself


def is_cheap(task: AdaptedTask) -> bool:
    """Whether many folds can be adapted to at once: embeddings are at hand, the head is batched."""
    headed = task.support_embeddings is not None and encodes_apart(task.learner)
    return headed and solver_of(task)[0].traits.differentiable


def affordable_folds(
    task: AdaptedTask, groups: Numbers, *, repeats: int | None = None, seed: int = 0
) -> Numbers:
    """``(R, S)``, as of ``draw_folds``: as many as this learner can adapt to in a short time.

    ``repeats`` (None: ten, or two where folds are dear) are what is wanted; there may be fewer.
    """
    labels, cheap = task.support.labels[0].cpu().numpy(), is_cheap(task)
    n_folds = number_of_folds(labels, groups)
    return draw_folds(
        labels,
        groups,
        n_folds=n_folds if cheap else min(n_folds, FEW_FOLDS),
        repeats=repeats or (REPEATS if cheap else FEW_REPEATS),
        seed=seed,
    )


def solver_of(task: AdaptedTask) -> tuple[AbstractLearner, Inputs]:
    """Who adapts within folds, and to what ``(1, S, ...)``: the head to embeddings, if any.

    An encoder that looks at a batch's images together is asked again for every fold. A learner that
    settled choices by the support makes them again within every fold.
    """
    learner = task.procedure or task.learner
    if task.support_embeddings is not None and encodes_apart(learner):
        return cast(HeadedLearner, learner).head, task.support_embeddings
    return learner, task.support.inputs


def held_out_outputs(task: AdaptedTask, folds: Numbers) -> Array:
    """``(R, S, K)``: the output for each support image in each repeat, by the other folds.

    ``folds`` ``(R, S)``, as of ``draw_folds``. Folds of one size are adapted to together.
    """
    solver, inputs = solver_of(task)
    labels = task.support.labels[0]
    found = np.full((*folds.shape, task.target.size), np.nan)
    with answering(task.learner), preferring("vmap" if is_cheap(task) else "loop"):
        for part in _parts(folds, any_tensor(inputs)):
            learn = torch.from_numpy(np.stack([np.flatnonzero(~held) for _, held in part]))
            ask = torch.from_numpy(np.stack([np.flatnonzero(held) for _, held in part]))
            support = _support(task, inputs, labels, learn)
            outputs = solver.adapt(support, task.target)(_taken(inputs, ask)).numpy()
            for (repeat, held), answer in zip(part, outputs, strict=True):
                found[repeat, held] = answer
    return found


def fold_predictors(task: AdaptedTask, folds: Numbers) -> list[Predictor]:
    """The predictor of each fold of one repeat ``(S,)``, in the order of the folds' numbers.

    They take embeddings where the task has a head, else images. Choices that were settled stay as
    they are, so that a predictor answers alike before it is saved and when it is loaded.
    """
    task = replace(task, procedure=None)
    solver, inputs = solver_of(task)
    labels = task.support.labels[0]
    found = []
    with answering(task.learner), preferring("vmap" if is_cheap(task) else "loop"):
        for fold in np.unique(folds):
            learn = torch.from_numpy(np.flatnonzero(folds != fold))[None]
            found.append(solver.adapt(_support(task, inputs, labels, learn), task.target))
    return found


def subset_outputs(task: AdaptedTask, learn: Numbers, ask: Numbers) -> Array:
    """``(T, q, K)``: outputs for ``ask`` ``(T, q)`` after learning from ``learn`` ``(T, s)``.

    Both are numbers of support images.
    """
    solver, inputs = solver_of(task)
    rows = torch.from_numpy(learn)
    size = max(1, TOGETHER // max(1, rows.shape[1] * _bytes(any_tensor(inputs))))
    found = []
    with answering(task.learner), preferring("vmap" if is_cheap(task) else "loop"):
        for first in range(0, len(learn), size if is_cheap(task) else 1):
            last = first + (size if is_cheap(task) else 1)
            support = _support(task, inputs, task.support.labels[0], rows[first:last])
            asked = _taken(inputs, torch.from_numpy(ask[first:last]))
            found.append(solver.adapt(support, task.target)(asked).numpy())
    return np.concatenate(found).astype(np.float64)


def _parts(folds: Numbers, inputs: Tensor) -> Iterator[list[tuple[int, NDArray[np.bool_]]]]:
    """Repeat and held-out images of all folds, those of one size together, so far as fits."""
    by_size: dict[int, list[tuple[int, NDArray[np.bool_]]]] = {}
    for repeat, numbers in enumerate(folds):
        for fold in np.unique(numbers):
            held = numbers == fold
            by_size.setdefault(int(held.sum()), []).append((repeat, held))
    for alike in by_size.values():
        size = max(1, TOGETHER // (folds.shape[1] * _bytes(inputs)))
        for first in range(0, len(alike), size):
            yield alike[first : first + size]


def _bytes(inputs: Tensor) -> int:
    return max(1, inputs[0, 0].numel() * inputs.element_size())


def _support(task: AdaptedTask, inputs: Inputs, labels: Tensor, rows: Tensor) -> LabelledSet:
    ids = task.support.task_ids[:1].expand(len(rows))
    groups = task.support.groups
    held = replace(
        task.support,
        labels=labels[rows],
        task_ids=ids,
        groups=None if groups is None else groups[0][rows],
    )
    return held.with_inputs(_taken(inputs, rows))


def _taken(inputs: Inputs, rows: Tensor) -> Inputs:
    """Images ``rows`` ``(T, s)`` of inputs ``(1, S, ...)``: ``(T, s, ...)``."""
    return map_inputs(lambda x: x[0][rows], inputs)
