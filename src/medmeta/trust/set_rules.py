"""Conformal sets of one learned task: cross-conformal, from its support set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from medmeta.episode import Inputs
from medmeta.errors import SettingsError
from medmeta.learner import AdaptedTask
from medmeta.trust.conformal import (
    by_class,
    cross_p_values,
    exact_coverage,
    guarantee,
    least_percent,
    margins,
    own_scores,
    prediction_sets,
    split_p_values,
)
from medmeta.trust.folds import class_groups
from medmeta.trust.held_out import fold_predictors
from medmeta.trust.results import SetCoverage, SetRule

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]
LEVEL = 0.9


def set_rule(
    logits: Array,
    labels: Numbers,
    folds: Numbers,
    *,
    groups: Numbers | None = None,
    level: float = LEVEL,
) -> SetRule:
    """What sets are made by: held-out logits ``(n, K)`` of one repeat, and its folds ``(n,)``.

    ``groups`` ``(n,)``: images of one patient share a number. How large sets are is found on the
    support itself, each image by the others' scores. How often they hold its class cannot be: of
    any predictor whatsoever an image's score lies among the others' as ranks do.
    """
    scores = margins(logits)
    own = own_scores(scores, labels)
    linked = np.arange(len(labels)) if groups is None else groups
    images = np.bincount(labels, minlength=logits.shape[1]).tolist()
    patients, n_patients = class_groups(labels, linked).tolist(), len(np.unique(linked))
    coverage = []
    for kind in ("marginal", "class-conditional"):
        per_class = kind == "class-conditional"
        counts, unit = units(images, patients, n_patients, per_class=per_class)
        n, within = min(counts), len(np.unique(folds))
        inside = np.array([_left_out(scores, own, labels, i, kind, level) for i in range(len(own))])
        coverage.append(
            SetCoverage(
                kind,
                level,
                (least_percent(n, within, level) / 100, exact_coverage(n, level)),
                float(inside.sum(1).mean()),
                guarantee(counts, level, folds=within, per_class=per_class, unit=unit),
            )
        )
    return SetRule(tuple(folds.tolist()), tuple(own.tolist()), tuple(coverage))


def units(
    images: Sequence[int], patients: Sequence[int], n_patients: int, *, per_class: bool
) -> tuple[list[int], str]:
    """What vouches for sets, and in words: images, or patients where these have several.

    ``images`` and ``patients`` of each class, and all patients (one may be in several classes).
    A number of each class with ``per_class``, else one of all.

    >>> units([2, 2], [2, 2], 4, per_class=False), units([4, 4], [2, 3], 4, per_class=True)
    (([4], 'images'), ([2, 3], 'patients'))
    """
    if n_patients < sum(images):
        return (list(patients) if per_class else [n_patients]), "patients"
    return (list(images) if per_class else [sum(images)]), "images"


def _left_out(
    scores: Array, own: Array, labels: Numbers, image: int, kind: str, level: float
) -> NDArray[np.bool_]:
    """The set of one support image by the others' scores."""
    others = np.arange(len(own)) != image
    if kind == "marginal":
        return prediction_sets(split_p_values(own[others], scores[image]), level)
    p = [
        split_p_values(own[others & (labels == k)], scores[image, k : k + 1])[0]
        for k in range(scores.shape[1])
    ]
    return prediction_sets(np.array(p), level)


def check_level(level: float) -> None:
    """Raise ``SettingsError`` for a level that is no share of images."""
    if not 0.5 <= level < 1:
        raise SettingsError(
            f"--sets {level:g}: say how often a set must hold the true class, from 0.5 to below 1 "
            "(0.9 is usual)."
        )


class SetMaker:
    """Makes the sets of one task; each fold's predictor is adapted again, once.

    ``per_class``: coverage within every class, instead of over all.
    """

    def __init__(
        self, task: AdaptedTask, rule: SetRule, *, level: float, per_class: bool = False
    ) -> None:
        check_level(level)
        self.level, self.per_class = level, per_class
        self.folds, self.scores = np.array(rule.folds), np.array(rule.scores)
        self.labels = task.support.labels[0].cpu().numpy()
        self.predictors = fold_predictors(task, self.folds)

    def sets(self, query: Inputs) -> NDArray[np.bool_]:
        """Which classes ``(Q, K)`` are in the set of each image of ``query`` ``(1, Q, ...)``.

        Embeddings where the task has a head, else images.
        """
        with torch.no_grad():
            outputs = [p(query)[0].cpu().numpy().astype(np.float64) for p in self.predictors]
        asked = margins(np.stack(outputs))
        if self.per_class:
            p = by_class(self.scores, self.labels, self.folds, asked)
        else:
            p = cross_p_values(self.scores, self.folds, asked)
        return prediction_sets(p, self.level)
