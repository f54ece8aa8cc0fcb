"""What is measured of each task, for a batch of tasks at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
HIGHER_IS_BETTER = {
    "accuracy": True,
    "balanced_accuracy": True,
    "auroc": True,
    "log_loss": False,
    "brier": False,
    "mean_squared_error": False,
    "mean_absolute_error": False,
    "r_squared": True,
    "dice": True,
    "iou": True,
    "area_error": False,
    "hd95": False,
    "surface_dice": True,
    "centreline_dice": True,
}
SHARES = frozenset(
    (
        "accuracy",
        "balanced_accuracy",
        "auroc",
        "dice",
        "iou",
        "surface_dice",
        "centreline_dice",
    )
)
"""Metrics that lie from 0 to 1, whatever is measured."""
FLOOR = 1e-12
CALIBRATION_BINS = 15


def softmax(logits: Array) -> Array:
    """Probabilities along the last axis; NaN where a logit is NaN or infinitely large.

    >>> softmax(np.zeros((1, 4))).tolist()
    [[0.25, 0.25, 0.25, 0.25]]
    """
    with np.errstate(invalid="ignore"):
        shifted = np.exp(logits - logits.max(-1, keepdims=True))
        return np.asarray(shifted / shifted.sum(-1, keepdims=True))


def log_odds(logits: Array) -> Array:
    """Of each class against the others together, along the last axis.

    They rank as probabilities do, and go on where these are 0 or 1 to the last digit.

    >>> log_odds(np.array([60.0, 10.0])).tolist()
    [50.0, -50.0]
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        largest = logits.max(-1, keepdims=True)
        top = np.arange(logits.shape[-1]) == logits.argmax(-1)[..., None]
        shares = np.exp(logits - largest)
        # Beside the likeliest class: from it, of which nothing is lost; without it, the others'.
        rest = np.where(top, -np.inf, logits)
        second = rest.max(-1, keepdims=True)
        second = np.where(second == -np.inf, 0.0, second)
        without = second + np.log(np.exp(rest - second).sum(-1, keepdims=True))
        others = largest + np.log(np.maximum(shares.sum(-1, keepdims=True) - shares, FLOOR))
        return np.asarray(logits - np.where(top, without, others))


def class_metrics(
    probabilities: Array, labels: NDArray[np.int64], *, odds: Array | None = None
) -> dict[str, Array]:
    """Metrics of ``T`` classification tasks, each ``(T,)``.

    ``probabilities`` ``(T, Q, N)``, ``labels`` ``(T, Q)``; ``odds`` (None: the probabilities) are
    what images are ranked by. AUROC is the unweighted mean over
    classes of one class against the rest; Brier is the sum over classes (Brier 1950). An answer
    that is not a number is a wrong one, and what is measured of such a task's probabilities NaN.
    """
    n_way = probabilities.shape[-1]
    truth = np.eye(n_way)[labels]
    right = answered_right(probabilities, labels)
    counts = truth.sum(1)
    recall = (right[..., None] * truth).sum(1) / np.maximum(counts, 1)
    present = counts > 0
    own = np.take_along_axis(probabilities, labels[..., None], -1)[..., 0]
    return {
        "accuracy": right.mean(1),
        "balanced_accuracy": (recall * present).sum(1) / present.sum(1),
        "auroc": area_under_roc(probabilities if odds is None else odds, truth),
        "log_loss": -np.log(np.maximum(own, FLOOR)).mean(1),
        "brier": np.square(probabilities - truth).sum(-1).mean(1),
    }


def answered_right(probabilities: Array, labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """``(T, Q)``: whether the likeliest class is the true one; no number is no answer."""
    known = ~np.isnan(probabilities).any(-1)
    return np.asarray(known & (probabilities.argmax(-1) == labels))


def area_under_roc(scores: Array, truth: Array) -> Array:
    """Mean area under the ROC curve of each class against the rest, ``(T,)``.

    ``scores`` and one-hot ``truth`` ``(T, Q, N)``. By ranks (Mann and Whitney), ties counted
    half; classes that are absent, or alone, do not count; NaN where none is left.
    """
    by_class = np.ascontiguousarray(scores.swapaxes(1, 2))
    order = by_class.argsort(-1)
    ranks = average_ranks(np.take_along_axis(by_class, order, -1))
    in_order = np.take_along_axis(truth.swapaxes(1, 2), order, -1)
    positive = truth.sum(1)
    negative = truth.shape[1] - positive
    wins = (ranks * in_order).sum(-1) - positive * (positive + 1) / 2
    pairs = positive * negative
    defined = pairs > 0
    area = np.where(defined, wins / np.maximum(pairs, 1), 0.0).sum(1)
    area[np.isnan(scores).any((1, 2))] = np.nan
    n_defined = defined.sum(1)
    return np.where(n_defined > 0, area / np.maximum(n_defined, 1), np.nan)


def average_ranks(ordered: Array) -> Array:
    """Ranks from 1 along the last axis, in which numbers rise; equal ones share their mean rank.

    >>> average_ranks(np.array([0.5, 2.0, 2.0, 7.0])).tolist()
    [1.0, 2.5, 2.5, 4.0]
    """
    place = np.arange(ordered.shape[-1])
    changes = ordered[..., 1:] != ordered[..., :-1]
    edge = np.ones((*ordered.shape[:-1], 1), dtype=bool)
    starts = np.where(np.concatenate([edge, changes], -1), place, 0)
    ends = np.where(np.concatenate([changes, edge], -1), place, len(place) - 1)
    first = np.maximum.accumulate(starts, -1)
    last = np.minimum.accumulate(ends[..., ::-1], -1)[..., ::-1]
    return np.asarray((first + last) / 2 + 1)


def value_metrics(predicted: Array, values: Array) -> dict[str, Array]:
    """Metrics of ``T`` tasks of values ``(T, Q, size)``, each ``(T,)``.

    R² is NaN where all values of a task are equal.
    """
    error = predicted - values
    squares = np.square(error).mean((1, 2))
    spread = np.square(values - values.mean(1, keepdims=True)).mean((1, 2))
    # By the extremes: the mean of equal values may differ from them in the last digit.
    varied = (np.ptp(values, axis=1) > 0).any(1) & (spread > 0)
    return {
        "mean_squared_error": squares,
        "mean_absolute_error": np.abs(error).mean((1, 2)),
        "r_squared": np.where(varied, 1 - squares / np.where(varied, spread, 1), np.nan),
    }


def calibration_gaps(
    confidence: Array, right: NDArray[np.bool_], n_bins: int = CALIBRATION_BINS
) -> Array:
    """Confidence less right answers, summed within equal-width bins of confidence: ``(n_bins,)``.

    The gaps of parts add up, so that predictions need not be kept.

    >>> calibration_gaps(np.array([0.75, 0.75]), np.array([True, False]), 2).tolist()
    [0.0, 0.5]
    """
    place = np.minimum((confidence * n_bins).astype(int), n_bins - 1)
    return np.bincount(place, confidence - right, n_bins).astype(np.float64, copy=False)


def calibration_error(
    confidence: Array, right: NDArray[np.bool_], n_bins: int = CALIBRATION_BINS
) -> float:
    """Expected calibration error: mean gap between confidence and accuracy over equal-width bins.

    Naeini et al. 2015; ``confidence`` and ``right`` are flat. NaN without predictions.

    >>> calibration_error(np.array([0.75, 0.75]), np.array([True, False]))
    0.25
    """
    if not len(confidence):
        return float("nan")
    gaps = calibration_gaps(confidence, right, n_bins)
    return float(np.abs(gaps).sum() / len(confidence))
