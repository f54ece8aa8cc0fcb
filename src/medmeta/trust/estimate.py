"""The honest figure for one task, by answers to its support images that were held out."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from medmeta.evaluation.metrics import area_under_roc, log_odds
from medmeta.trust.bounds import (
    area_interval,
    mean_of_shares,
    needed_for,
    share_interval,
)
from medmeta.trust.folds import class_groups
from medmeta.trust.prior import TrustPrior
from medmeta.trust.results import ClassFigures, Estimate, Figure, defined

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]
WIDEST = 0.4  # of an interval that something can still be concluded from
WANTED = 0.3


def no_estimate(
    labels: Numbers, groups: Numbers, names: tuple[str, ...], reason: str, *, patients_known: bool
) -> Estimate:
    """An estimate that says why there is none, and how many images would be needed."""
    return Estimate(
        images=len(labels),
        groups=len(np.unique(groups)),
        patients_known=patients_known,
        chance=chance_of(labels, len(names)),
        needed=needed_for(0.75, WANTED),
        reason=reason,
    )


def chance_of(labels: Numbers, n_classes: int) -> float:
    """What naming always the commonest class would get.

    >>> chance_of(np.array([0, 0, 1]), 2)
    0.6666666666666666
    """
    return float(np.bincount(labels, minlength=n_classes).max() / max(1, len(labels)))


def estimate(
    logits: Array,
    labels: Numbers,
    groups: Numbers,
    folds: Numbers,
    *,
    names: tuple[str, ...],
    prior: TrustPrior,
    patients_known: bool,
    exponent: float | None = None,
    shares: Array | None = None,
) -> Estimate:
    """Figures of the predictor that learned from all, by held-out logits ``(R, n, K)``.

    Of the answers as they are given: where these are calibrated, so are the logits (``crossed``).
    ``folds`` ``(R, n)``. The predictors of the folds learned from fewer images; the wrong answers
    that this costs are taken off by the power ``exponent`` (None: the prior's, which is 0 where
    nothing was learned). ``shares`` ``(n, K)`` are the readers' votes.
    """
    right = (logits.argmax(-1) == labels).astype(np.float64)
    each = right.mean(0)
    precision = prior.precision
    learned_from = float(1 - 1 / np.mean([len(np.unique(f)) for f in folds]))
    gain = float(learned_from ** (prior.exponent if exponent is None else exponent))
    raw, how = share_interval(each, groups, precision=precision)
    accuracy = _gained(raw, gain)
    by_class = [
        _one_class(k, name, logits, labels, groups, precision) for k, name in enumerate(names)
    ]
    balanced = _gained(mean_of_shares([c.sensitivity for c in by_class]), gain)
    figures = {
        "accuracy": accuracy,
        "balanced_accuracy": balanced,
        "auroc": _area(logits, labels, groups, precision),
    }
    width = (accuracy.high or 0) - (accuracy.low or 0)
    value = accuracy.value if accuracy.value is not None else 0.5
    per_group = len(labels) / max(1, len(np.unique(groups)))
    return Estimate(
        images=len(labels),
        groups=len(np.unique(groups)),
        patients_known=patients_known,
        chance=chance_of(labels, len(names)),
        folds=int(np.mean([len(np.unique(f)) for f in folds])),
        repeats=len(folds),
        figures=figures,
        by_class=tuple(by_class),
        cross_validated=raw.value,
        correction=(accuracy.value or 0) - (raw.value or 0),
        interval=how,
        enough=width <= WIDEST,
        needed=math.ceil(per_group * needed_for(value, WANTED, precision)),
        soft_accuracy=None if shares is None else _soft(logits, shares),
    )


def _gained(figure: Figure, gain: float) -> Figure:
    """A share of right answers once the wrong ones are multiplied by ``gain``."""

    def up(share: float | None) -> float | None:
        return None if share is None else 1 - (1 - share) * gain

    return Figure(up(figure.value), up(figure.low), up(figure.high))


def _one_class(
    k: int, name: str, logits: Array, labels: Numbers, groups: Numbers, precision: float
) -> ClassFigures:
    """Sensitivity and specificity of one class against the rest."""
    mine = labels == k
    named = (logits.argmax(-1) == k).mean(0)
    sensitivity, _ = share_interval(named[mine], groups[mine], precision=precision)
    specificity, _ = share_interval(1 - named[~mine], groups[~mine], precision=precision)
    counts = class_groups(labels, groups)
    return ClassFigures(name, int(mine.sum()), int(counts[k]), sensitivity, specificity)


def _area(logits: Array, labels: Numbers, groups: Numbers, precision: float) -> Figure:
    """The area in the mean of repeats and classes; its interval is that of a mean class's counts.

    Classes' areas are of the same images, so they are taken as fully correlated: the interval of
    their mean is as wide as one's.
    """
    k = logits.shape[-1]
    truth = np.broadcast_to(np.eye(k)[labels], logits.shape)
    areas = area_under_roc(log_odds(logits), np.ascontiguousarray(truth))
    counts = class_groups(labels, groups) * precision
    total = counts.sum()
    positive = float(counts.mean())
    return area_interval(float(np.mean(areas)), positive, float(total - positive))


def _soft(logits: Array, shares: Array) -> float | None:
    """The mean share of readers that agree with the answer; images nobody read do not count."""
    answers = logits.argmax(-1)
    agreed = np.take_along_axis(shares[None].repeat(len(answers), 0), answers[..., None], -1)
    known = shares.sum(1) > 0
    return defined(agreed[:, known, 0].mean()) if known.any() else None
