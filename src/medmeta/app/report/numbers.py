"""The figures of a report on its query images: right answers by class, with intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from medmeta.app.report.content import QueryContent
from medmeta.evaluation.metrics import area_under_roc, calibration_error

NO_ANSWER = -1


@dataclass(frozen=True)
class Share:
    """``count`` of ``n`` and its 95 % Wilson interval; NaN where ``n`` is 0."""

    count: int
    n: int
    value: float
    low: float
    high: float


def wilson(count: int, n: int) -> Share:
    """A share with its 95 % interval (Wilson 1927), which stays within 0 and 1.

    >>> share = wilson(0, 10)
    >>> round(share.low, 3), round(share.high, 3)
    (0.0, 0.278)
    """
    if n == 0:
        return Share(0, 0, math.nan, math.nan, math.nan)
    z = NormalDist().inv_cdf(0.975)
    value = count / n
    centre = (value + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(value * (1 - value) / n + z * z / (4 * n * n))
    return Share(count, n, value, max(0.0, centre - half), min(1.0, centre + half))


@dataclass(frozen=True)
class ClassFigures:
    """How one class fared: of its images found, of the others' left alone, of its answers right."""

    name: str
    n: int
    sensitivity: Share
    specificity: Share
    precision: Share


@dataclass(frozen=True)
class QueryFigures:
    """What was measured on the query images whose class is known.

    ``confusion`` ``(K, K + 1)`` counts true class (row) against answer; its last column counts the
    images without a valid answer, which count as wrong. ``commonest`` is the share that always
    answering the commonest class would get right.
    """

    accuracy: Share
    commonest: float
    confusion: NDArray[np.int64]
    classes: tuple[ClassFigures, ...]
    auroc: float
    confidence: float
    calibration_error: float
    unanswered: int

    @property
    def reliability(self) -> str:
        """Whether confidence kept what it promised: ``over``, ``under``, ``fair`` or empty."""
        if math.isnan(self.confidence):
            return ""
        if self.confidence > self.accuracy.high:
            return "over"
        return "under" if self.confidence < self.accuracy.low else "fair"


def answers_of(query: QueryContent) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Answer ``(Q,)`` and confidence ``(Q,)``; ``NO_ANSWER`` and NaN where a row is not finite."""
    valid = np.asarray(np.isfinite(query.probabilities).all(1))
    clean = np.where(valid[:, None], query.probabilities, 0.0)
    answers = np.where(valid, clean.argmax(1), NO_ANSWER).astype(np.int64)
    return answers, np.where(valid, clean.max(1), np.nan)


def query_figures(query: QueryContent, class_names: tuple[str, ...]) -> QueryFigures | None:
    """Figures over the labelled query images; None where no label is known."""
    known = query.labels >= 0
    if not known.any():
        return None
    n_classes = len(class_names)
    answers, confidence = answers_of(query)
    truth, answers, confidence = query.labels[known], answers[known], confidence[known]
    confusion = np.zeros((n_classes, n_classes + 1), dtype=np.int64)
    np.add.at(confusion, (truth, np.where(answers == NO_ANSWER, n_classes, answers)), 1)
    valid = answers != NO_ANSWER
    right = answers == truth
    one_hot = np.eye(n_classes)[truth[valid]]
    probabilities = query.probabilities[known][valid]
    return QueryFigures(
        accuracy=wilson(int(right.sum()), len(truth)),
        commonest=float(confusion.sum(1).max() / len(truth)),
        confusion=confusion,
        classes=_by_class(confusion, class_names),
        auroc=float(area_under_roc(probabilities[None], one_hot[None])[0]),
        confidence=float(confidence[valid].mean()) if valid.any() else math.nan,
        calibration_error=calibration_error(confidence[valid], right[valid]),
        unanswered=int((~valid).sum()),
    )


def _by_class(
    confusion: NDArray[np.int64], class_names: tuple[str, ...]
) -> tuple[ClassFigures, ...]:
    total = int(confusion.sum())
    figures = []
    for k, name in enumerate(class_names):
        found, own, given = (
            int(confusion[k, k]),
            int(confusion[k].sum()),
            int(confusion[:, k].sum()),
        )
        others = total - own
        figures.append(
            ClassFigures(
                name,
                own,
                sensitivity=wilson(found, own),
                specificity=wilson(others - (given - found), others),
                precision=wilson(found, given),
            )
        )
    return tuple(figures)
